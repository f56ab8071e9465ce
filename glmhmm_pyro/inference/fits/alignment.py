"""States numbered alike: in every draw, in two fits, or as a user wants them.

A hidden Markov model does not change when its states change numbers, so chains that
agree may disagree about them. The numbers are matched to a reference by the assignment
that agrees best with its probabilities of the states (Stephens 2000, JRSS B 62, 795;
Kuhn 1955).
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from tqdm import tqdm

from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.fits.posterior import Posterior
from glmhmm_pyro.inference.program import observed_sites
from glmhmm_pyro.inference.renumbering import Renumbering, StateAxes


def state_probs(model: Any, data: Any, params: Params) -> Tensor:
    """Smoothed probabilities of all HiddenMarkov sites, shape (steps, states)."""
    with torch.no_grad():
        sites = observed_sites(model, data, params).values()
        probs = [site.hidden.smoothed_probs(site.value) for site in sites]
    states = {p.shape[-1] for p in probs}
    if len(states) > 1:
        raise ValueError(
            "HiddenMarkov sites must have the same number of states to be aligned, got "
            f"{sorted(states)}"
        )
    return torch.cat(probs)


def best_order(reference: Tensor, probs: Tensor) -> Tensor:
    r"""The numbers that states should have had, to agree with a reference.

    .. math:: \arg\max_\pi \sum_t \sum_k r_{tk} \, p_{t \pi(k)}

    Args:
        reference: probabilities of the states, shape (steps, states).
        probs: the same of what is to be renumbered.

    Returns:
        Shape (states,): state k is what was number ``order[k]``.

    Example:
        >>> best_order(torch.eye(3), torch.eye(3)[:, [2, 0, 1]])
        tensor([1, 2, 0])
    """
    agreement = (reference.T @ probs.to(reference.dtype)).cpu().numpy()
    _, order = linear_sum_assignment(agreement, maximize=True)
    return torch.from_numpy(order)


def align_draws(
    model: Any,
    data: Any,
    draws: Params,
    reference: Tensor,
    renumbering: Renumbering,
    progress: bool = False,
) -> tuple[Params, int]:
    """Draws (chains, draws, *shape) numbered as the reference, and how many changed."""
    chains, length = next(iter(draws.values())).shape[:2]
    aligned = {name: value.clone() for name, value in draws.items()}
    relabelled = 0
    places = list(np.ndindex(chains, length))
    for place in tqdm(places, desc="aligning", unit="draw", disable=not progress):
        params = {name: value[place] for name, value in draws.items()}
        order = best_order(reference, state_probs(model, data, params))
        if order.equal(torch.arange(len(order))):
            continue
        relabelled += 1
        for name, value in renumbering(params, order).items():
            aligned[name][place] = value
    return aligned, relabelled


def aligned_fit(
    found: Any, reference: Any, data: Any, state_axes: StateAxes | None
) -> Any:
    """What :meth:`Fit.aligned` returns."""
    own = _probs_of(found, data)
    if hasattr(reference, "params"):
        reference = _probs_of(reference, data)
    probs = torch.as_tensor(np.asarray(reference), dtype=own.dtype)
    if probs.shape != own.shape:
        raise ValueError(
            f"reference must have probabilities of shape {tuple(own.shape)} (steps,"
            f" states), got {tuple(probs.shape)}"
        )
    order = best_order(probs, own)
    is_kept = order.equal(torch.arange(len(order)))
    return found if is_kept else permuted_fit(found, order, state_axes)


def _probs_of(found: Any, data: Any) -> Tensor:
    return state_probs(found.model, found.as_fitted(data), found.params)


def permuted_fit(found: Any, order: Any, state_axes: StateAxes | None) -> Any:
    """The fit with its states renumbered, in every array; see ``Fit.permuted``."""
    renumbering = Renumbering(found.model, found.params, state_axes)
    order = _checked_order(order, renumbering.states)
    undeclared = [n for n in renumbering.unknown if n not in renumbering.components]
    if undeclared:
        raise ValueError(
            "state_axes must say along which axes states stand in "
            f"{', '.join(undeclared)}, got nothing; write "
            f"state_axes={{{undeclared[0]!r}: (0,)}} for the first axis, () for none"
        )
    posterior: Posterior | None = found.posterior
    if posterior is not None:
        posterior = replace(posterior, draws=renumbering(posterior.draws, order))
    before = "before its states were renumbered: "
    return replace(
        found,
        params=renumbering(found.params, order),
        weights=tuple(renumbering(weights, order) for weights in found.weights),
        posterior=posterior,
        solutions=tuple(
            replace(solution, params=renumbering(solution.params, order))
            for solution in found.solutions
        ),
        unbounded=tuple(before + sentence for sentence in found.unbounded),
    )


def _checked_order(order: Any, states: int | None) -> Tensor:
    """The user's order as a tensor, if it is a permutation."""
    numbers = torch.as_tensor(np.asarray(order))
    states = len(numbers) if states is None else states
    if numbers.is_floating_point() or sorted(numbers.tolist()) != list(range(states)):
        raise ValueError(
            f"order must hold every state from 0 to {states - 1} once, got "
            f"{numbers.tolist()}"
        )
    return numbers.long()
