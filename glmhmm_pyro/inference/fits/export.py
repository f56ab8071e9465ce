"""Fits and priors in the form that ArviZ reads: groups of arrays with named axes.

The groups are plain ``xarray`` data sets. What holds them is the ``InferenceData`` of
arviz 0.x where that is installed, and xarray's ``DataTree``, which arviz 1.0 and newer
read, where it is not.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.arguments import (
    has_items,
    one_of,
    seed_number,
    suggests_names,
    whole_number,
)
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference.draws.arviz_versions import container
from glmhmm_pyro.inference.fits.exporter import Exporter, dataset
from glmhmm_pyro.inference.fits.latent_draws import with_latents_for
from glmhmm_pyro.inference.fits.predictive_draws import prior_draws
from glmhmm_pyro.inference.program.labels import Labels
from glmhmm_pyro.inference.program.program import Data, Model, Program
from glmhmm_pyro.inference.program.refusals import check_is_model, check_kept_together

if TYPE_CHECKING:
    import xarray as xr

    from glmhmm_pyro.inference.fits.fit import Fit

# Names that ArviZ knows our numbers by.
_STATS = {"log_joint": "lp"}


@usual_modes()
def to_arviz(
    fit: "Fit[Data]",
    data: Data,
    groups: Sequence[str] | None = None,
    *,
    unit: str | None = None,
    num_draws: int | None = None,
    num_prior_draws: int = 500,
    seed: int = 0,
) -> Any:
    """The fit in the form that ArviZ reads, names on every axis.

    - ``posterior``: all parameters, reference rows in place. A fit without draws
      gives one chain of one draw, its estimate.
    - ``sample_stats``: what the method knows of a draw; ``lp`` is its log-joint.
    - ``log_likelihood``: where a ``unit`` is given one variable of it, called as the
      emissions are, so that ``az.loo`` and ``az.compare`` leave out sessions, the
      independent units, each times its weight in the fit, or steps, by log p(y_t | all
      other y of the session). Else
      ``per_step``, log p(y_t | earlier y of the session), and its sums ``per_session``.
    - ``posterior_predictive``, ``prior``, ``prior_predictive``: emissions drawn
      anew at each draw along states drawn from each session's start; draws of the
      priors, if all are proper, and emissions at these.
    - ``observed_data`` (NaN: not observed), ``constant_data``: the covariates.

    Where sessions have groups, these are coordinates too: ``group`` of every session,
    ``group_of_step`` of every step.

    An axis whose coordinates differ from those of an axis of the same name gets the
    component's name, as in ``transition_covariate``. Per draw and step,
    ``log_likelihood`` and ``posterior_predictive`` take 8 bytes each.

    The draws of Laplace and SVI are independent, one chain: ``az.summary(...,
    kind="stats")`` has what can be said of them, and without it R-hat, which compares
    chains, is NaN with a warning. Of a fit without draws take :meth:`summary`.

    Args:
        data: as the model takes it.
        groups: names of the groups wanted; all that there are by default.
        unit: ``"session"`` or ``"step"``, what cross-validation is to leave out. The
            emissions are then called as the data call them in all groups; of steps,
            those observed are kept.
        num_draws: draws to keep of each chain, evenly spaced; all by default.
        num_prior_draws: draws from the prior.
        seed: makes the draws of emissions and from the prior reproducible.

    Returns:
        An ``InferenceData``; with arviz 1.0 or newer an ``xarray.DataTree``.

    Raises:
        ValueError: ``groups`` asks for the prior, but a site's prior is flat.
    """
    data = fit.as_fitted(data)
    fit = with_latents_for(fit, data)
    program = Program.of(fit.model, data)
    if unit is not None:
        one_of("unit", unit, ("session", "step"))
    if unit == "session":
        check_kept_together(fit.model, "unit", "'session'", "give unit='step'")
    kept = _kept(next(iter(fit.draws.values())).shape[1], num_draws)
    draws = {name: value[:, kept] for name, value in fit.draws.items()}
    exporter = Exporter(program, fit.labels, draws, kept, seed, unit)
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
        makers |= _prior(program, fit.labels, number, seed, unit)
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
        seed: the same number gives the same draws, so that a second call without one
            repeats the first: give another for others.

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
    check_is_model(model, data)
    num_samples = whole_number("num_samples", num_samples, 1)
    program = Program.of(copy.deepcopy(model), data)
    labels = Labels.of_program(program)
    makers = _prior(program, labels, num_samples, seed_number(seed))
    return container({group: maker() for group, maker in makers.items()})


def _prior(
    program: Program,
    labels: Labels,
    num_draws: int,
    seed: int,
    unit: str | None = None,
) -> dict[str, Callable[[], Any]]:
    """Makers of the groups that need no fit."""
    draws = prior_draws(program, num_draws, seed)
    exporter = Exporter(program, labels, draws, np.arange(num_draws), seed, unit)
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
    return dataset(arrays, exporter.by_draw)


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
