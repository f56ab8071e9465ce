"""The groups of a model, its data and draws of its parameters, as ArviZ knows them."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.chain import left_out
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.fits.predictive_draws import replicated
from glmhmm_pyro.inference.program.batches import at_draws
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.labels import Labels, named_draws, session_coords
from glmhmm_pyro.inference.program.program import Observed, Program
from glmhmm_pyro.masking import steps_observed
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.version import __version__

if TYPE_CHECKING:
    import xarray as xr


class Exporter:
    """Groups of a model, its data and draws of its parameters.

    Args:
        program: the model with its data.
        labels: names of the axes of the parameters.
        draws: values (chains, draws, *shape) by site.
        kept: numbers of the draws that these are, for their coordinate.
        seed: makes predictions reproducible.
        unit: what is left out by cross-validation, ``"session"`` or ``"step"``;
            variables are then called as the data call them.
    """

    def __init__(
        self,
        program: Program,
        labels: Labels,
        draws: Params,
        kept: np.ndarray,
        seed: int,
        unit: str | None = None,
    ):
        self.program, self.labels, self.seed = program, labels, seed
        self.draws, self.unit = draws, unit
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
        return dataset({name: arrays[name] for name in named}, {})

    def predictions(self) -> "xr.Dataset":
        """Emissions drawn anew at every draw, on the steps of the data."""
        found = replicated(self.program, self.draws, self.seed)
        return self._emissions(found, ("chain", "draw"), self.by_draw)

    def log_likelihood(self) -> "xr.Dataset":
        """Log-likelihoods of the units asked for, or of steps and sessions; nats."""
        if self.unit == "step":
            per_step = self._by_draw(_given_all_others)[..., self._steps()]
            name = self._name_of(next(iter(self.sites)))
            return self._per_step(name, per_step)
        per_step = self._by_draw(_given_the_past)
        lengths, sessions = self._sessions()
        starts = np.cumsum(lengths) - lengths
        per_session = np.add.reduceat(per_step, starts, axis=-1)
        of_sessions = {name: ("session", values) for name, values in sessions.items()}
        dims = ("chain", "draw", "session")
        if self.unit == "session":
            name = self._name_of(next(iter(self.sites)))
            found = {name: (dims, per_session * self._copies())}
            return dataset(found, {**self.by_draw, **of_sessions})
        both = self._per_step("per_step", per_step)
        return both.assign(per_session=(dims, per_session)).assign_coords(of_sessions)

    def _copies(self) -> np.ndarray | float:
        """How often every session counts in the fit."""
        weights = getattr(self.program.data, "session_weights", None)
        return 1.0 if weights is None else weights.cpu().numpy()

    def _by_draw(self, function: Callable[[Observed], Tensor]) -> np.ndarray:
        """What a function gives of every step at every draw, (chains, draws, steps)."""
        flat = {name: value.flatten(0, 1) for name, value in self.draws.items()}
        found = at_draws(self.program.model, self.program.data, flat, function)
        shape = tuple(len(coord) for coord in self.by_draw.values())
        return found.cpu().numpy().reshape(shape + (-1,))

    def _per_step(self, name: str, values: np.ndarray) -> "xr.Dataset":
        lengths, sessions = self._sessions()
        steps = self._steps()
        of_steps = {
            key: (dim, names[steps])
            for key, (dim, names) in _of_steps("step", sessions, lengths).items()
        }
        coords = {**self.by_draw, "step": np.arange(lengths.sum())[steps], **of_steps}
        return dataset({name: (("chain", "draw", "step"), values)}, coords)

    def _steps(self) -> np.ndarray:
        """The steps that are exported: those observed, where they are the units."""
        if self.unit == "step":
            masks = [_is_step_observed(site.hidden) for site in self.sites.values()]
            return np.concatenate(masks)
        return np.ones(int(self._sessions()[0].sum()), dtype=bool)

    def _name_of(self, site: str) -> str:
        """The name of a site's emissions; that of the data if a unit is given."""
        names: Sequence[str] = getattr(self.program.data, "emission_names", ())
        if self.unit and len(self.sites) == 1 and len(names) == 1:
            return str(names[0])
        return site

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
        return dataset(arrays, coords)

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
            seen = _is_step_observed(hidden) if self.unit == "step" else slice(None)
            coords[f"{own}step"] = np.arange(int(lengths.sum()))[seen]
            of_steps = _of_steps(f"{own}step", session_coords(hidden, data), lengths)
            for key, (dim, sessions) in of_steps.items():
                coords[f"{own}{key}"] = (dim, sessions[seen])
            value = value[(slice(None),) * len(leading) + (seen,)]
            extra = [f"{name}_dim_{i}" for i in range(len(hidden.event_shape) - 1)]
            outputs = getattr(data, "emission_names", ())
            if extra and len(outputs) == value.shape[-1]:
                coords[extra[-1]] = np.array(outputs, dtype=object)
            dims = (*leading, f"{own}step", *extra)
            arrays[self._name_of(name)] = (dims, value, attributes)
        return dataset(arrays, coords)

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


def _is_step_observed(hidden: HiddenMarkov) -> np.ndarray:
    """Whether anything of a step was observed, shape (steps,)."""
    seen = steps_observed(hidden.mask)
    if seen is None:
        return np.ones(int(hidden.lengths.sum()), dtype=bool)
    return seen.cpu().numpy()


def _given_the_past(site: Observed) -> Tensor:
    return site.hidden.log_prob_per_step(site.value)


def _given_all_others(site: Observed) -> Tensor:
    return left_out(*site.hidden.potentials(site.value))


def dataset(arrays: Mapping[str, Any], coords: Mapping[str, Any]) -> "xr.Dataset":
    import xarray as xr

    attributes = {
        "inference_library": "glmhmm_pyro",
        "inference_library_version": __version__,
    }
    return xr.Dataset(arrays, coords=coords, attrs=attributes)
