"""The law of dwell times that a fit has, where it is the same at every step."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from glmhmm_pyro.analysis.states.paths import interval_table
from glmhmm_pyro.arguments import suggests_names, whole_number
from glmhmm_pyro.components import SemiMarkov, Stationary
from glmhmm_pyro.components.dwell import DwellLaw, NegativeBinomial
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.inference import Fit, Posterior
from glmhmm_pyro.inference.fits.mixture import Draws

if TYPE_CHECKING:
    import pandas as pd


@suggests_names
@usual_modes()
def dwell_law(fit: Fit, *, steps: int = 50) -> "pd.DataFrame":
    r"""Probabilities that a state lasts 1, 2, ... steps, by the law of a fit.

    That of :class:`~glmhmm_pyro.components.SemiMarkov` transitions whose dwell times
    are not driven, or the geometric one of
    :class:`~glmhmm_pyro.components.Stationary` ones; how long states lasted in data,
    and what driven transitions do, is told by :func:`dwell_times`.

    Args:
        fit: the fit.
        steps: the longest dwell told of.

    Returns:
        Index ``state`` and ``step``, from 1 on; columns ``estimate``, ``lower`` and
        ``upper``, the 95 % interval of the draws, NaN where a fit has none, and
        ``beyond``, the probability of a longer dwell.

    Raises:
        ValueError: the law is not the same at every step, or not known.

    Example:
        >>> import glmhmm_pyro as gh
        >>> simulated = gh.datasets.simulate_choices(num_sessions=2, num_steps=100)
        >>> model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, simulated.data, num_restarts=1, progress=False)
        >>> law = dwell_law(fit, steps=3)
        >>> [column for column in law], law.index.names
        (['estimate', 'lower', 'upper', 'beyond'], FrozenList(['state', 'step']))
    """
    steps = whole_number("steps", steps, 1)
    law, site = _law_of(fit)
    posterior = fit.posterior or Posterior(fit.draws)
    draws = Draws.of(posterior, None)
    value = draws.params[site]
    if site == "transitions.probs":
        value = 1 - value.diagonal(dim1=-2, dim2=-1)
    with torch.no_grad():
        probs = draws.numbered(law.probs(value, steps).mT, 0).mT.cpu().numpy()
    mean, of_draws = probs.mean(0), probs
    if fit.posterior is None:
        of_draws = np.full_like(probs, np.nan)
    names = {"state": list(fit.state_names), "step": np.arange(1, steps + 1)}
    beyond = (1 - mean.cumsum(-1)).clip(0)
    return interval_table(mean, of_draws, **names).assign(beyond=beyond.ravel())


def _law_of(fit: Fit) -> tuple[DwellLaw, str]:
    """The law of a fit, and the site of its parameters."""
    transitions = getattr(fit.model, "transitions", None)
    if isinstance(transitions, Stationary):
        return NegativeBinomial(1), "transitions.probs"
    if isinstance(transitions, SemiMarkov) and not transitions.dwell.is_driven:
        return transitions.dwell, f"transitions.{transitions.law}"
    raise ValueError(
        "fit must have a law of dwell times that is the same at every step, got "
        f"{type(transitions).__name__} transitions; take dwell_times(fit, data), or "
        "SemiMarkov or Stationary transitions"
    )
