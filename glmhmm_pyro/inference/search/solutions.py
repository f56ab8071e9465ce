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

from glmhmm_pyro.inference.program.batches import sites_at_draws
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.runs import Run, Solution
from glmhmm_pyro.inference.status import Status

# Ends whose log-joints are this close, in nats, are said to agree.
AGREEMENT = 0.1

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


def decodings(
    program: Program, sets: Sequence[Params], whole: bool = False
) -> list[Decoding]:
    """What parameter sets decode.

    Args:
        program: the model with its data.
        sets: values of all sites, for every set.
        whole: whether all steps are wanted; else there may be a choice of them, the
            same for all sets.
    """
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
            kept.append(probs if whole else probs[:, _compared(probs.shape[1])])
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
    heads = [runs[i] for i in ranked(runs)]
    heads = [r for r in heads if r.joined is None and r.status is not Status.PRUNED]
    alone = len(heads) == 1
    decoded = [()] if alone else decodings(program, [run.params for run in heads])
    groups: list[list[int]] = []
    for i, run in enumerate(heads):
        for group in groups:
            first = group[0]
            apart = abs(heads[first].log_joints[-1] - run.log_joints[-1])
            if apart <= AGREEMENT and similarity(decoded[first], decoded[i]) >= SAME:
                group.append(i)
                break
        else:
            groups.append([i])
    return tuple(_solution(runs, [heads[i] for i in group]) for group in groups)


def _solution(runs: Sequence[Run], ends: list[Run]) -> Solution:
    """The solution of which these are the ends."""
    led = [i for i, run in enumerate(runs) if any(run.end is end for end in ends)]
    head, restarts = ends[0], {i: runs[i].restart for i in led}
    return Solution(
        params=head.params,
        log_likelihood=head.log_likelihoods[-1],
        log_joint=head.log_joints[-1],
        status=head.restart.status,
        starts=tuple(i for i in led if not restarts[i].is_kick),
        kicks=tuple(i for i in led if restarts[i].is_kick),
    )
