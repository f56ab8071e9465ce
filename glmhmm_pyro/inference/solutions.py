"""The distinct solutions that starts lead to, told apart by the states they decode.

Two ends with the same log-joint may explain the data by other states, as mirrored ones
do, and two runs may be far apart in log-joint on their way to one solution. What tells
solutions apart is the probability of every state at every step, after the states have
been matched, since their numbers mean nothing.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.fits.batches import sites_at_draws
from glmhmm_pyro.inference.fits.tables import AGREEMENT
from glmhmm_pyro.inference.program import Program
from glmhmm_pyro.inference.runs import Run, Solution
from glmhmm_pyro.inference.status import Status

# Correlation over time of every state's probability with its match, from which two
# parameter sets decode the same states.
SAME = 0.95

# Statuses of runs that found no maximum, however high their density rose.
NO_MAXIMUM = (Status.COLLAPSED, Status.UNBOUNDED)

# Steps at which states are compared, and the spread below which a state's probability
# counts as constant.
_MOST_STEPS = 20_000
_CONSTANT = 0.005

# Probabilities of the states (steps, states) at every HiddenMarkov site.
Decoding = tuple[np.ndarray, ...]


def decodings(program: Program, sets: Sequence[Params]) -> list[Decoding]:
    """What parameter sets decode, at some steps that are the same for all of them."""
    if not sets:
        return []
    draws = {name: torch.stack([s[name] for s in sets]) for name in sets[0]}
    found: list[Decoding] = []
    for sites in sites_at_draws(program.model, program.data, draws):
        kept = []
        for hidden, value in sites.values():
            with torch.no_grad():
                probs = hidden.smoothed_probs(value).cpu().double().numpy()
            probs = probs.reshape(-1, *probs.shape[-2:])
            kept.append(probs[:, _compared(probs.shape[1])])
        found += list(zip(*kept))
    return found


def _compared(num_steps: int) -> np.ndarray:
    """Numbers of the steps at which states are compared."""
    if num_steps <= _MOST_STEPS:
        return np.arange(num_steps)
    rng = np.random.default_rng(num_steps)
    return np.sort(rng.choice(num_steps, _MOST_STEPS, replace=False))


def similarity(first: Decoding, second: Decoding) -> float:
    """Least correlation of a state's probability with that of its match.

    A state that is rarely visited counts as much as any other. Whatever the numbers of
    the states, it is 1 for the same decoding.
    """
    return min(_matched(*pair) for pair in zip(first, second))


def _matched(first: np.ndarray, second: np.ndarray) -> float:
    moves = [probs - probs.mean(0) for probs in (first, second)]
    spreads = [np.sqrt((m**2).mean(0)) for m in moves]
    products = np.maximum(spreads[0], _CONSTANT)[:, None] * np.maximum(
        spreads[1], _CONSTANT
    )
    correlations = moves[0].T @ moves[1] / len(first) / products
    # Where both are constant nothing tells them apart.
    still = [spread < _CONSTANT for spread in spreads]
    correlations[np.ix_(*still)] = 1.0
    return float(correlations[linear_sum_assignment(-correlations)].min())


def ranked(runs: Sequence[Run]) -> list[int]:
    """Numbers of the runs, best first: ends before what was pruned or has no end."""
    last = NO_MAXIMUM + (Status.PRUNED,)
    return sorted(
        range(len(runs)),
        key=lambda i: (runs[i].status in last, -runs[i].log_joints[-1]),
    )


def solutions_of(program: Program, runs: Sequence[Run]) -> tuple[Solution, ...]:
    """The distinct solutions of runs that have ended, best first."""
    order = [i for i in ranked(runs) if runs[i].status is not Status.PRUNED]
    sets = [runs[i].params for i in order]
    decoded = decodings(program, sets) if len(order) > 1 else [()] * len(order)
    groups: list[list[int]] = []
    for place, i in enumerate(order):
        for group in groups:
            head = runs[order[group[0]]]
            near = abs(head.log_joints[-1] - runs[i].log_joints[-1]) <= AGREEMENT
            if near and similarity(decoded[group[0]], decoded[place]) >= SAME:
                group.append(place)
                break
        else:
            groups.append([place])
    members = [[order[place] for place in group] for group in groups]
    return tuple(_solution(runs, group) for group in members)


def _solution(runs: Sequence[Run], group: list[int]) -> Solution:
    head, ended = runs[group[0]], set(group)
    with_pruned = [i for i in range(len(runs)) if _end(runs, i) in ended]
    restarts = {i: runs[i].restart for i in with_pruned}
    return Solution(
        params=head.params,
        log_likelihood=head.log_likelihoods[-1],
        log_joint=head.log_joints[-1],
        status=restarts[group[0]].status,
        starts=tuple(i for i in with_pruned if not restarts[i].is_kick),
        kicks=tuple(i for i in with_pruned if restarts[i].is_kick),
    )


def _end(runs: Sequence[Run], number: int) -> int:
    """The run that was led on in the place of this one, or itself."""
    joined = runs[number].joined
    return number if joined is None else _end(runs, joined)
