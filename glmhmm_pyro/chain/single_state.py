"""The chain of one state: there is one path, and nothing to compile for it."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def counts_single(
    initial: Array,
    transition: Array,
    emission: Array,
    offsets: NDArray[np.int64],
    first: int,
    last: int,
    session_weights: Array,
    space: Array,
    log_marginal: Array,
    out_initial: Array,
    out_transition: Array,
    out_emission: Array,
) -> int:
    r"""Log marginal and weighted expected counts of a single state.

    .. math:: \log \pi(0) + \sum_{t \ge 1} \log A_t(0, 0) + \sum_t \log \ell_t(0)

    Arguments are flat, as those of the compiled kernels. Writes and adds as
    :func:`glmhmm_pyro.chain.log_kernels.counts_log` does, and returns how many sessions
    are left to it: impossible ones, whose log marginal is NaN.
    """
    steps, sessions = slice(offsets[first], offsets[last]), np.arange(first, last)
    lengths = np.diff(offsets[first : last + 1])
    starts = offsets[first:last] - offsets[first]
    found = initial[np.minimum(sessions, len(initial) - 1)]
    found = found + np.add.reduceat(emission[steps], starts)
    if len(transition) == 1:
        # What forbids all moves does not concern a session of one step.
        found += np.where(lengths > 1, transition[0], 0.0) * (lengths - 1)
    else:
        moves = transition[steps].copy()
        moves[starts] = 0.0
        found += np.add.reduceat(moves, starts)
    possible = np.isfinite(found)
    log_marginal[first:last] = np.where(possible, found, np.nan)

    weights = np.where(possible, session_weights[first:last], 0.0)
    by_step = np.repeat(weights, lengths)
    out_emission[steps] = by_step
    np.add.at(out_initial, np.minimum(sessions, len(out_initial) - 1), weights)
    if len(out_transition) == 1:
        out_transition[0] += weights @ (lengths - 1)
    else:
        by_step[starts] = 0.0
        out_transition[steps] = by_step
    return int((~possible).sum())
