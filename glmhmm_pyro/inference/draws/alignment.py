"""States numbered alike: in every draw, in two fits, or as a user wants them.

A hidden Markov model does not change when its states change numbers, so chains that
agree may disagree about them. The numbers are matched to a reference by the assignment
that agrees best with its probabilities of the states (Stephens 2000, JRSS B 62, 795;
Kuhn 1955). Draws keep their distribution if they are renumbered only as leaves the
prior unchanged; numbers given by what states do, whatever the prior says of them, are
kept beside the draws. Two solutions are compared after their states have been matched.
"""

from collections.abc import Callable, Iterator, Sequence
from math import factorial
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from tqdm import tqdm

from glmhmm_pyro.inference.program.batches import sites_at_draws
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Data, Observed, Program
from glmhmm_pyro.inference.program.renumbering import Renumbering
from glmhmm_pyro.inference.program.symmetry import (
    Symmetry,
    possible_orders,
    symmetry_of,
)
from glmhmm_pyro.ranks import ALONE, Ranks

# How sentences begin about draws that are not numbered by what their states do.
AS_DRAWN = "states are numbered as the chains numbered them: "
TOLD_APART = "priors tell states apart"

# Steps at which states are compared, and the spread below which a state's probability
# counts as constant.
_MOST_STEPS = 20_000
_CONSTANT = 0.005

# Probabilities of the states (steps, states) at every HiddenMarkov site.
Decoding = tuple[np.ndarray, ...]


def state_probs(model: Callable[[Data], Any], data: Data, params: Params) -> Tensor:
    """Smoothed probabilities of all HiddenMarkov sites, shape (steps, states)."""
    with torch.no_grad():
        return _of_sites(Program.kind_of(model).observed_sites(model, data, params))


def _of_sites(sites: dict[str, Observed]) -> Tensor:
    """Smoothed probabilities of given sites, shape (*draws, steps, states)."""
    probs = [site.hidden.smoothed_probs(site.value) for site in sites.values()]
    states = {p.shape[-1] for p in probs}
    if len(states) > 1:
        raise ValueError(
            "HiddenMarkov sites must have the same number of states to be aligned, got "
            f"{sorted(states)}; fit one number of states in all"
        )
    return torch.cat(probs, -2)


def best_order(
    reference: Tensor, probs: Tensor, possible: Symmetry | None = None
) -> Tensor:
    r"""The numbers that states should have had, to agree with a reference.

    .. math:: \arg\max_\pi \sum_t \sum_k r_{tk} \, p_{t \pi(k)}

    Args:
        reference: probabilities of the states, shape (steps, states).
        probs: the same of what is to be renumbered.
        possible: the renumberings to choose from; by default all.

    Returns:
        Shape (states,): state k is what was number ``order[k]``.

    Example:
        >>> best_order(torch.eye(3), torch.eye(3)[:, [2, 0, 1]])
        tensor([1, 2, 0])
    """
    agreement = reference.T @ probs.to(reference.dtype)
    possible = possible or Symmetry.full(len(agreement))
    return possible.best_order(agreement)


class Numbering(NamedTuple):
    """What is done about the numbers of states in draws.

    Attributes:
        within: renumbering of every draw that keeps the prior (chains, draws, states).
        by_label: what is left to be renumbered for states to be numbered by what they
            do; ``None`` where nothing is.
        notes: sentences about draws that are not renumbered, or not by what they do.
    """

    within: Tensor
    by_label: Tensor | None
    notes: tuple[str, ...]

    @property
    def num_relabelled(self) -> int:
        """Number of draws that change."""
        return int(renumbers(self.within).sum())


def number_draws(
    program: Program,
    params: Params,
    draws: Params,
    renumbering: Renumbering,
    progress: bool = False,
) -> Numbering:
    """How draws are to be renumbered to agree with the states at ``params``.

    Args:
        program: the model with its data.
        params: values of the sites, whose numbers of states are the reference.
        draws: values (chains, draws, *shape) by site.
        renumbering: how the parameters follow.
        progress: whether to show a bar.
    """
    reference = state_probs(program.model, program.data, params)
    symmetry = symmetry_of(program, params, renumbering, reference.shape[-1])
    arguments = (program.model, program.data, draws, reference, symmetry, progress)
    within, best = best_orders(*arguments)
    by_label = within.argsort(-1).gather(-1, best)
    other = int(renumbers(by_label).sum())
    notes: tuple[str, ...] = ()
    if renumbering.unknown:
        notes = (f"{AS_DRAWN}{renumbering.advice}, to have draws aligned",)
    elif other:
        notes = (_distinct_states_note(symmetry, other, within[..., 0].numel()),)
    return Numbering(within, by_label if other else None, notes)


def _distinct_states_note(symmetry: Symmetry, other: int, total: int) -> str:
    """A sentence about draws that are not numbered by what their states do."""
    ways = f"{symmetry.size} of the {factorial(symmetry.num_states)} renumberings"
    left = "keep the numbers that the chains gave"
    if symmetry.size > 1:
        left = f"are renumbered only by the {ways} that leave the priors unchanged"
    return (
        f"{TOLD_APART}, so that draws {left}; by what their states do {other} of "
        f"{total} draws would be numbered otherwise, as fit.aligned(fit, data) shows"
    )


def best_orders(
    model: Callable[[Data], Any],
    data: Data,
    draws: Params,
    reference: Tensor,
    symmetry: Symmetry,
    progress: bool = False,
) -> tuple[Tensor, Tensor]:
    """The renumberings that agree best, of a group and of all (chains, draws, states).

    Args:
        model: as a fit holds it.
        data: as the model takes it.
        draws: values (chains, draws, *shape) by site.
        reference: probabilities of the states, shape (steps, states).
        symmetry: the group.
        progress: whether to show a bar.
    """
    shape = next(iter(draws.values())).shape[:2]
    flat = {name: value.flatten(0, 1) for name, value in draws.items()}
    every = possible_orders(model, symmetry.num_states)
    within, best = [], []
    with tqdm(
        total=shape.numel(), desc="aligning", unit="draw", disable=not progress
    ) as bar:
        for sites in sites_at_draws(model, data, flat):
            probs = _of_sites(sites).to(reference.dtype)
            agreements = reference.T @ probs
            agreements = agreements.reshape(-1, *agreements.shape[-2:])
            within.append(symmetry.best_order(agreements))
            best.append(every.best_order(agreements))
            bar.update(len(agreements))
    states = (symmetry.num_states,)
    return (
        torch.cat(within).reshape(shape + states),
        torch.cat(best).reshape(shape + states),
    )


def renumber_draws(draws: Params, orders: Tensor, renumbering: Renumbering) -> Params:
    """Every draw renumbered by an order of its own.

    Args:
        draws: values (chains, draws, *shape) by site.
        orders: shape (chains, draws, states).
        renumbering: how the parameters follow.
    """
    turned = {name: value.clone() for name, value in draws.items()}
    for order in orders[renumbers(orders)].unique(dim=0):
        rows = (orders == order).all(-1)
        some = renumbering({n: v[rows] for n, v in draws.items()}, order)
        for name, value in some.items():
            turned[name][rows] = value
    return turned


def renumbers(orders: Tensor) -> Tensor:
    """Which orders (*batch, states) change any number, shape (*batch,)."""
    return (orders != torch.arange(orders.shape[-1])).any(-1)


def decodings(
    program: Program, sets: Sequence[Params], whole: bool = False
) -> list[Decoding]:
    """Posterior probabilities of the states under parameter sets.

    Args:
        program: the model with its data.
        sets: values of all sites, for every set.
        whole: whether at all steps; else at a sample of them, the same for all sets.
    """
    if not sets:
        return []

    def compared(probs: np.ndarray) -> np.ndarray:
        if whole:
            return probs
        return probs[..., _compared_steps(probs.shape[-2], program.ranks), :]

    found: list[Decoding] = []
    for params in sets:
        known = program.known_posterior(params)
        if known is None:
            return list(_decodings_of_sites(program, sets, compared))
        found.append((compared(known),))
    return found


def _decodings_of_sites(
    program: Program,
    sets: Sequence[Params],
    compared: Callable[[np.ndarray], np.ndarray],
) -> Iterator[Decoding]:
    """What is compared of every site's states, set by set."""
    draws = {name: torch.stack([s[name] for s in sets]) for name in sets[0]}
    for sites in sites_at_draws(program.model, program.data, draws):
        kept = []
        for hidden, value in sites.values():
            with torch.no_grad():
                probs = hidden.smoothed_probs(value).cpu().double().numpy()
            kept.append(compared(probs.reshape(-1, *probs.shape[-2:])))
        yield from zip(*kept)


def _compared_steps(num_steps: int, ranks: Ranks) -> np.ndarray:
    """Numbers of this rank's steps at which states are compared."""
    total, before = ranks.total(num_steps), ranks.before(num_steps)
    if total <= _MOST_STEPS:
        return np.arange(num_steps)
    rng = np.random.default_rng(total)
    chosen = np.sort(rng.choice(total, _MOST_STEPS, replace=False)) - before
    return chosen[(chosen >= 0) & (chosen < num_steps)]


def similarity(first: Decoding, second: Decoding, ranks: Ranks = ALONE) -> float:
    """Least correlation of a state's probability with that of its match.

    Rarely visited states count as much as others. It is 1 for the same decoding under
    any numbering of the states.

    Args:
        first, second: probabilities of the states at this rank's steps.
        ranks: processes over which the steps are spread.
    """
    return min(_least_correlation(*pair, ranks) for pair in zip(first, second))


def _least_correlation(first: np.ndarray, second: np.ndarray, ranks: Ranks) -> float:
    """:func:`similarity` of the states of one site."""
    number = ranks.total(len(first))
    # Sums over steps as products, which are several times faster for a few states.
    ones = np.ones(len(first))
    means = ranks.totals(ones @ first, ones @ second)
    moves = [probs - m / number for probs, m in zip((first, second), means)]
    sums = (np.einsum("ts,ts->s", m, m) for m in moves)
    *squares, products = ranks.totals(*sums, moves[0].T @ moves[1])
    spreads = [np.sqrt(one / number) for one in squares]
    floors = [np.maximum(one, _CONSTANT) for one in spreads]
    correlations = products / number / np.outer(*floors)
    # Two constant probabilities count as the same.
    still = [spread < _CONSTANT for spread in spreads]
    correlations[np.ix_(*still)] = 1.0
    return float(correlations[linear_sum_assignment(-correlations)].min())
