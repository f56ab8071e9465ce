"""Fits and priors in the form that ArviZ reads: groups of arrays with named axes.

The groups are plain ``xarray`` data sets. What holds them is the ``InferenceData`` of
arviz 0.x where that is installed, and xarray's ``DataTree``, which arviz 1.0 and newer
read, where it is not.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from glmhmm_pyro.arguments import (
    has_items,
    one_of,
    seed_number,
    suggests_names,
    whole_number,
)
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference.draws.arviz_versions import container
from glmhmm_pyro.inference.fits.latents import carried
from glmhmm_pyro.inference.fits.predictive import prior_draws, replicated
from glmhmm_pyro.inference.program.batches import at_draws
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.labels import Labels, named_draws, session_coords
from glmhmm_pyro.inference.program.program import Data, Model, Program, check_order
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.version import __version__

if TYPE_CHECKING:
    import xarray as xr

    from glmhmm_pyro.inference.fits.fit import Fit

# Names that ArviZ knows our numbers by.
_STATS = {"log_joint": "lp"}


class Exporter:
    """Groups of a model, its data and draws of its parameters.

    Args:
        program: the model with its data.
        labels: names of the axes of the parameters.
        draws: values (chains, draws, *shape) by site.
        kept: numbers of the draws that these are, for their coordinate.
        seed: makes predictions reproducible.
    """

    def __init__(
        self,
        program: Program,
        labels: Labels,
        draws: Params,
        kept: np.ndarray,
        seed: int,
    ):
        self.program, self.labels, self.seed = program, labels, seed
        self.draws = draws
        first = {name: value[0, 0] for name, value in draws.items()}
        with torch.no_grad():
            self.sites = program.observed(first)
        chains = len(next(iter(draws.values())))
        self.by_draw = {"chain": np.arange(chains), "draw": kept}

    def parameters(self) -> "xr.Dataset":
        """All sites, reference rows in place; axes of unlike names told apart."""
        named = named_draws(self.program.model, self.draws, self.labels)
        axes, arrays = _Axes(), {}
        # The covariates of the emissions have the first claim to their name.
        for name in sorted(named, key=lambda name: not name.startswith("emissions.")):
            array = named[name]
            dims = {
                dim: axes.name(str(dim), array[dim].values, name)
                for dim in array.dims[2:]
            }
            arrays[name] = array.rename(dims).assign_coords(self.by_draw)
        return _dataset({name: arrays[name] for name in named}, {})

    def predictions(self) -> "xr.Dataset":
        """Emissions drawn anew at every draw, on the steps of the data."""
        found = replicated(self.program, self.draws, self.seed)
        return self._emissions(found, ("chain", "draw"), self.by_draw)

    def log_likelihood(self) -> "xr.Dataset":
        """Log p(y_t | earlier y of the session), and its sums over sessions, nats."""
        flat = {name: value.flatten(0, 1) for name, value in self.draws.items()}
        model, data = self.program.model, self.program.data
        found = at_draws(
            model, data, flat, lambda s: s.hidden.log_prob_per_step(s.value)
        )
        per_step = found.cpu().numpy()
        lengths, sessions = self._sessions()
        starts = np.cumsum(lengths) - lengths
        per_session = np.add.reduceat(per_step, starts, axis=1)
        shape = tuple(len(coord) for coord in self.by_draw.values())
        coords = {
            **self.by_draw,
            "step": np.arange(per_step.shape[1]),
            **{name: ("session", values) for name, values in sessions.items()},
            **_of_steps("step", sessions, lengths),
        }
        return _dataset(
            {
                "per_step": (
                    ("chain", "draw", "step"),
                    per_step.reshape(shape + (-1,)),
                ),
                "per_session": (
                    ("chain", "draw", "session"),
                    per_session.reshape(shape + (-1,)),
                ),
            },
            coords,
        )

    def observed(self) -> "xr.Dataset":
        """The emissions, NaN where they were not observed."""
        values = {}
        for name, site in self.sites.items():
            values[name] = site.value.cpu().numpy()
            if site.hidden.mask is not None:
                seen = site.hidden.mask.cpu().numpy()
                seen = seen.reshape(seen.shape + (1,) * (values[name].ndim - seen.ndim))
                values[name] = np.where(seen, values[name], np.nan)
        return self._emissions(values, (), {})

    def constant(self) -> "xr.Dataset":
        """Covariates, and the number of steps of each session."""
        lengths, sessions = self._sessions()
        arrays: dict[str, Any] = {"num_steps": ("session", lengths)}
        coords: dict[str, Any] = {k: ("session", v) for k, v in sessions.items()}
        data, axes = self.program.data, _Axes()
        designs = (
            ("covariates", "step", "emissions"),
            ("transition_covariates", "step", "transitions"),
            ("initial_covariates", "session", "initial"),
        )
        for attribute, rows, prefix in designs:
            design = getattr(data, attribute, None)
            if design is None or not isinstance(data, Sequences):
                continue
            columns = getattr(data, f"{attribute.removesuffix('s')}_names")
            axis = axes.name("covariate", np.array(columns, dtype=object), prefix)
            coords[axis] = np.array(columns, dtype=object)
            arrays[attribute] = ((rows, axis), design.cpu().numpy())
        if "covariates" in arrays:
            coords["step"] = np.arange(int(lengths.sum()))
        return _dataset(arrays, coords)

    def _emissions(
        self,
        values: Mapping[str, np.ndarray],
        leading: tuple[str, ...],
        coords: Mapping[str, Any],
    ) -> "xr.Dataset":
        """Variables with the steps of their own site, each with its session."""
        data, arrays, coords = self.program.data, {}, dict(coords)
        classes = getattr(data, "class_names", None)
        attributes = {"class_names": list(classes)} if classes else {}
        for name, value in values.items():
            hidden = self.sites[name].hidden
            own = "" if len(self.sites) == 1 else f"{name}_"
            lengths = hidden.lengths.cpu().numpy()
            coords[f"{own}step"] = np.arange(int(lengths.sum()))
            of_steps = _of_steps(f"{own}step", session_coords(hidden, data), lengths)
            coords |= {f"{own}{key}": value for key, value in of_steps.items()}
            extra = [f"{name}_dim_{i}" for i in range(len(hidden.event_shape) - 1)]
            outputs = getattr(data, "emission_names", ())
            if extra and len(outputs) == value.shape[-1]:
                coords[extra[-1]] = np.array(outputs, dtype=object)
            arrays[name] = ((*leading, f"{own}step", *extra), value, attributes)
        return _dataset(arrays, coords)

    def _sessions(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Lengths of the sessions of all sites; their names, and groups if any."""
        lengths, found = [], []
        for name, site in self.sites.items():
            lengths.append(site.hidden.lengths.cpu().numpy())
            found.append(session_coords(site.hidden, self.program.data))
            if len(self.sites) > 1:
                found[-1]["session"] = f"{name} " + found[-1]["session"]
        known = [key for key in found[0] if all(key in coords for coords in found)]
        coords = {key: np.concatenate([c[key] for c in found]) for key in known}
        return np.concatenate(lengths), coords


def _of_steps(
    dim: str, sessions: Mapping[str, np.ndarray], lengths: np.ndarray
) -> dict[str, tuple[str, np.ndarray]]:
    """What is known of every session, at each of its steps."""
    return {
        f"{key}_of_step": (dim, np.repeat(values, lengths))
        for key, values in sessions.items()
    }


class _Axes:
    """Names of the axes of one data set, in which a name has one set of coordinates."""

    def __init__(self) -> None:
        self.taken: dict[str, list[Any]] = {}

    def name(self, dim: str, coords: np.ndarray, variable: str) -> str:
        """The plain name where it is free or means the same, else a longer one."""
        prefix = variable.partition(".")[0].removesuffix("s")
        if dim.startswith("axis_"):
            return f"{variable}_dim_{dim.removeprefix('axis_')}"
        for name in (dim, f"{prefix}_{dim}"):
            if self.taken.setdefault(name, coords.tolist()) == coords.tolist():
                return name
        return f"{variable}_{dim}"


@usual_modes()
def to_arviz(
    fit: "Fit[Data]",
    data: Data,
    groups: Sequence[str] | None = None,
    *,
    num_draws: int | None = None,
    num_prior_draws: int = 500,
    seed: int = 0,
) -> Any:
    """The fit in the form that ArviZ reads, names on every axis.

    - ``posterior``: all parameters, reference rows in place. A fit without draws
      gives one chain of one draw, its estimate.
    - ``sample_stats``: what the method knows of a draw; ``lp`` is its log-joint.
    - ``log_likelihood``: ``per_step``, log p(y_t | earlier y of the session), and
      its sums ``per_session``, the independent units of
      ``az.loo(..., var_name="per_session")``.
    - ``posterior_predictive``, ``prior``, ``prior_predictive``: emissions drawn
      anew at each draw along states drawn from each session's start; draws of the
      priors, if all are proper, and emissions at these.
    - ``observed_data`` (NaN: not observed), ``constant_data``: the covariates.

    Where sessions have groups, these are coordinates too: ``group`` of every session,
    ``group_of_step`` of every step.

    An axis whose coordinates differ from those of an axis of the same name gets the
    component's name, as in ``transition_covariate``. Per draw and step,
    ``log_likelihood`` and ``posterior_predictive`` take 8 bytes each.

    Args:
        data: as the model takes it.
        groups: names of the groups wanted; all that there are by default.
        num_draws: draws to keep of each chain, evenly spaced; all by default.
        num_prior_draws: draws from the prior.
        seed: makes the draws of emissions and from the prior reproducible.

    Returns:
        An ``InferenceData``; with arviz 1.0 or newer an ``xarray.DataTree``.

    Raises:
        ValueError: ``groups`` asks for the prior, but a site's prior is flat.
    """
    data = fit.as_fitted(data)
    fit = carried(fit, data)
    program = Program.of(fit.model, data)
    kept = _kept(next(iter(fit.draws.values())).shape[1], num_draws)
    draws = {name: value[:, kept] for name, value in fit.draws.items()}
    exporter = Exporter(program, fit.labels, draws, kept, seed)
    makers: dict[str, Callable[[], Any]] = {
        "posterior": exporter.parameters,
        "sample_stats": lambda: _sample_stats(fit, exporter),
        "log_likelihood": exporter.log_likelihood,
        "posterior_predictive": exporter.predictions,
    }
    if groups is None:
        no_draws = program.improper or program.unnormalised
        groups = [g for g in GROUPS if not (no_draws and g in PRIOR)]
    seed = seed_number(seed)
    if isinstance(groups, str) or not has_items(groups):
        raise ValueError(
            f"groups must be a list of names, got {groups!r:.80}; write "
            "['posterior'] for one"
        )
    for group in groups:
        one_of("groups", group, GROUPS)
    if any(group in PRIOR for group in groups):
        number = whole_number("num_prior_draws", num_prior_draws, 1)
        makers |= _prior(program, fit.labels, number, seed)
    makers |= {"observed_data": exporter.observed, "constant_data": exporter.constant}
    return container({group: makers[group]() for group in GROUPS if group in groups})


PRIOR = ("prior", "prior_predictive")
GROUPS = (
    "posterior",
    "sample_stats",
    "log_likelihood",
    "posterior_predictive",
    *PRIOR,
    "observed_data",
    "constant_data",
)


@suggests_names
@usual_modes()
def prior_predictive(
    model: Model, data: Data, num_samples: int = 500, seed: int = 0
) -> Any:
    """Draws of the parameters from their priors, and of emissions at each of them.

    What the priors say about behaviour before any is seen: emissions are drawn at the
    covariates of ``data`` along paths of states from the start of every session.

    Args:
        model: a :class:`GLMHMM`, or any Pyro model with ``HiddenMarkov`` sites. It is
            not changed.
        data: as the model takes it; its emissions are not used.
        num_samples: number of draws.
        seed: makes the draws reproducible.

    Returns:
        An ``InferenceData`` (or, with arviz 1.0 or newer, an ``xarray.DataTree``) with
        groups ``prior``, ``prior_predictive``, ``observed_data``, ``constant_data``.

    Raises:
        ValueError: a prior is flat, and so has no draws; it is named.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from torch.distributions import Dirichlet, Normal
        >>> import torch
        >>> even = Dirichlet(torch.ones(2))
        >>> model = gh.GLMHMM(
        ...     2, gh.Bernoulli(Normal(0.0, 1.0)), gh.Stationary(even), gh.Initial(even)
        ... )
        >>> data = gh.Sequences([0, 1, 1], lengths=[2, 1])
        >>> prior_predictive(model, data, num_samples=10).prior_predictive["y"].shape
        (1, 10, 3)
    """
    check_order(model, data)
    num_samples = whole_number("num_samples", num_samples, 1)
    program = Program.of(copy.deepcopy(model), data)
    labels = Labels.of_program(program)
    makers = _prior(program, labels, num_samples, seed_number(seed))
    return container({group: maker() for group, maker in makers.items()})


def _prior(
    program: Program, labels: Labels, num_draws: int, seed: int
) -> dict[str, Callable[[], Any]]:
    """Makers of the groups that need no fit."""
    draws = prior_draws(program, num_draws, seed)
    exporter = Exporter(program, labels, draws, np.arange(num_draws), seed)
    return {
        "prior": exporter.parameters,
        "prior_predictive": exporter.predictions,
        "observed_data": exporter.observed,
        "constant_data": exporter.constant,
    }


def _sample_stats(fit: "Fit", exporter: Exporter) -> "xr.Dataset":
    """What the method knows of every draw kept; the log-joint is called ``lp``."""
    stats: Mapping[str, Any] = {"log_joint": np.array([[fit.log_joint]])}
    if fit.posterior is not None:
        stats = fit.posterior.stats
    kept = exporter.by_draw["draw"]
    arrays = {
        _STATS.get(name, name): (("chain", "draw"), np.asarray(values)[:, kept])
        for name, values in stats.items()
    }
    return _dataset(arrays, exporter.by_draw)


def _kept(available: int, wanted: int | None) -> np.ndarray:
    """Numbers of the draws to keep, evenly spaced."""
    if wanted is None:
        return np.arange(available)
    wanted = whole_number("num_draws", wanted, 1)
    if wanted > available:
        raise ValueError(
            f"num_draws must be from 1 to {available}, the number of draws of a chain, "
            f"got {wanted}; leave it out to keep all"
        )
    return np.linspace(0, available - 1, wanted).round().astype(int)


def _dataset(arrays: Mapping[str, Any], coords: Mapping[str, Any]) -> "xr.Dataset":
    import xarray as xr

    attributes = {
        "inference_library": "glmhmm_pyro",
        "inference_library_version": __version__,
    }
    return xr.Dataset(arrays, coords=coords, attrs=attributes)
