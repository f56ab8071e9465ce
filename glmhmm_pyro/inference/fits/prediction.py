"""What a fit says of data: states decoded, emissions predicted, a score."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from glmhmm_pyro.distributions import HiddenMarkov, expected_emission
from glmhmm_pyro.inference.fits.batches import at_draws
from glmhmm_pyro.inference.fits.labels import Labels, by_step_dataset
from glmhmm_pyro.inference.program import Observed

if TYPE_CHECKING:
    import xarray as xr


def decoded(observed: Observed, data: Any) -> "xr.Dataset":
    """What :meth:`Fit.decode` returns."""
    hidden, y = observed
    by_state, by_step = ("step", "state"), ("step",)
    with torch.no_grad():
        return by_step_dataset(
            hidden,
            data,
            filtered_probs=(by_state, hidden.filtered_probs(y)),
            predicted_probs=(by_state, hidden.predicted_probs(y)),
            smoothed_probs=(by_state, hidden.smoothed_probs(y)),
            viterbi_states=(by_step, hidden.viterbi_states(y)),
            log_prob_per_step=(by_step, hidden.log_prob_per_step(y)),
        )


def predicted(observed: Observed, data: Any, labels: Labels, steps_ahead: int) -> Any:
    """What :meth:`Fit.predict` returns."""
    hidden, y = observed
    with torch.no_grad():
        states = states_ahead(hidden, y, steps_ahead)
        outputs = hidden.outputs(y)
        means = {
            n: expected_emission(o.emission_dist, states) for n, o in outputs.items()
        }
    arrays: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for name, found in means.items():
        own = f"{name}_" if name else ""
        names = ["class"]
        if not outputs[name].emission_dist.has_enumerate_support:
            names = [f"output_{i}" for i in range(found.dim() - 1)]
        known = labels.coords("emissions", tuple(names), tuple(found.shape[1:]))
        coords |= {f"{own}{dim}": values for dim, values in known.items()}
        arrays[name or "predicted"] = (("step", *(f"{own}{n}" for n in names)), found)
    dataset = by_step_dataset(hidden, data, **arrays).assign_coords(coords)
    return dataset["predicted"] if list(means) == [""] else dataset


def score(fit: Any, data: Any, sites: Mapping[str, Observed], marginal: bool) -> float:
    """What :meth:`Fit.score` returns, from the sites at the estimate."""
    observed = sum(site.hidden.num_observed for site in sites.values())
    if not observed:
        raise ValueError("data must have an observed step to be scored, got none")
    if not marginal:
        found = [float(s.hidden.log_prob(s.value)) for s in sites.values()]
        return sum(found) / observed
    flat = {name: value.flatten(0, 1) for name, value in fit.draws.items()}
    by_session = at_draws(
        fit.model, data, flat, lambda s: s.hidden.log_prob_per_session(s.value)
    )
    total = (by_session.logsumexp(0) - math.log(len(by_session))).sum()
    return float(total) / observed


def states_ahead(hidden: HiddenMarkov, value: Tensor, steps_ahead: int) -> Tensor:
    r"""p(z_t | y_0..t-k), shape (steps, states), by one more transition a round.

    .. math:: p(z_t \mid y_{0..t-k}) =
        \sum_i p(z_{t-1} = i \mid y_{0..t-k}) A_t(i, \cdot)
    """
    if not isinstance(steps_ahead, int) or steps_ahead < 1:
        raise ValueError(
            f"steps_ahead must be a whole number from 1, got {steps_ahead!r}"
        )
    probs = hidden.predicted_probs(value)
    starts = hidden.lengths.cumsum(0) - hidden.lengths
    first, moves = probs[starts], hidden.transition_logits.exp().to(probs.dtype)
    longest = int(hidden.lengths.max())
    for _ in range(min(int(steps_ahead), longest) - 1):
        probs = (probs.roll(1, 0).unsqueeze(-2) @ moves).squeeze(-2)
        probs[starts] = first
    return probs
