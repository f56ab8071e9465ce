"""Compiled derivatives of expected counts of chains that move by half-steps.

What :mod:`glmhmm_pyro.chain.tangent_kernels` does, with the same arguments, for
transitions as :mod:`glmhmm_pyro.chain.half_steps` has them: its recursion is run over
the slow half-step and over the fast one of every step, each of them for every state of
the other level. One filter serves all directions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glmhmm_pyro.chain.compiler import compiled
from glmhmm_pyro.chain.half_log_kernels import (
    fast_moves,
    filter_session,
    of_slow_state,
    slow_moves,
)
from glmhmm_pyro.chain.log_kernels import Array, origin_weights

Numbers = NDArray[np.int64]


@compiled
def _origins(
    transition: Array, start: int, log_middle: Array, log_filtered: Array
) -> tuple[Array, Array]:
    """Origins of slow half-steps by fast state, of fast ones by slow state."""
    steps, states = log_filtered.shape
    slow = transition.shape[1]
    fast = states // slow
    of_slow = np.empty((steps, fast, slow, slow))
    of_fast = np.empty((steps, slow, fast, fast))
    for t in range(1, steps):
        row = transition[min(start + t, len(transition) - 1)]
        for z in range(fast):
            before = log_filtered[t - 1, z::fast]
            origin_weights(before, slow_moves(row), of_slow[t, z])
        for j in range(slow):
            before = of_slow_state(log_middle[t], j, fast)
            origin_weights(before, fast_moves(row, j, fast), of_fast[t, j])
    return of_slow, of_fast


@compiled
def _carry(origins: Array, before: Array, d_moves: Array, now: Array) -> None:
    """Derivative of log messages a half-step further."""
    for j in range(len(now)):
        now[j] = 0.0
        for i in range(len(before)):
            now[j] += origins[i, j] * (before[i] + d_moves[i, j])


@compiled
def _back(
    origins: Array,
    before: Array,
    d_moves: Array,
    gamma: Array,
    d_gamma: Array,
    out: Array,
) -> None:
    """A half-step back: derivatives of pairs go to ``out``, both gammas are renewed."""
    states = len(gamma)
    earlier, d_earlier = np.zeros(states), np.zeros(states)
    for j in range(states):
        mean = 0.0
        for i in range(states):
            mean += origins[i, j] * (before[i] + d_moves[i, j])
        for i in range(states):
            move = gamma[j] * (before[i] + d_moves[i, j] - mean) + d_gamma[j]
            earlier[i] += origins[i, j] * gamma[j]
            d_earlier[i] += origins[i, j] * move
            out[i, j] += origins[i, j] * move
    gamma[:], d_gamma[:] = earlier, d_earlier


@compiled
def _forward(
    filtered: Array,
    of_slow: Array,
    of_fast: Array,
    start: int,
    d_initial: Array,
    d_transition: Array,
    d_emission: Array,
    d_middle: Array,
    tangent: Array,
) -> float:
    """Derivatives of one session's log messages and, returned, of its log marginal."""
    slow, fast, total = of_fast.shape[1], of_slow.shape[1], 0.0
    for t in range(len(filtered)):
        row = d_transition[min(start + t, len(d_transition) - 1)]
        if t == 0:
            tangent[0] = d_initial
        else:
            for z in range(fast):
                before, now = tangent[t - 1, z::fast], d_middle[t, z::fast]
                _carry(of_slow[t, z], before, slow_moves(row), now)
            for j in range(slow):
                before = of_slow_state(d_middle[t], j, fast)
                now = of_slow_state(tangent[t], j, fast)
                _carry(of_fast[t, j], before, fast_moves(row, j, fast), now)
        mean = 0.0
        for k in range(slow * fast):
            tangent[t, k] += d_emission[start + t, k]
            mean += filtered[t, k] * tangent[t, k]
        tangent[t] -= mean
        total += mean
    return total


@compiled
def _backward(
    last: Array,
    of_slow: Array,
    of_fast: Array,
    start: int,
    d_transition: Array,
    d_middle: Array,
    tangent: Array,
    out_initial: Array,
    out_transition: Array,
    out_emission: Array,
) -> None:
    """Derivatives of one session's counts; ``last`` is its weighted last posterior."""
    slow, fast = of_fast.shape[1], of_slow.shape[1]
    gamma, d_gamma = last.copy(), last * tangent[-1]
    for t in range(len(tangent) - 1, 0, -1):
        out_emission[start + t] = d_gamma
        row = d_transition[min(start + t, len(d_transition) - 1)]
        out = out_transition[min(start + t, len(out_transition) - 1)]
        for j in range(slow):
            _back(
                of_fast[t, j],
                of_slow_state(d_middle[t], j, fast),
                fast_moves(row, j, fast),
                of_slow_state(gamma, j, fast),
                of_slow_state(d_gamma, j, fast),
                fast_moves(out, j, fast),
            )
        for z in range(fast):
            _back(
                of_slow[t, z],
                tangent[t - 1, z::fast],
                slow_moves(row),
                gamma[z::fast],
                d_gamma[z::fast],
                slow_moves(out),
            )
    out_emission[start] = d_gamma
    out_initial += d_gamma


@compiled
def halved_tangents_log(
    initial: Array,
    transition: Array,
    emission: Array,
    offsets: Numbers,
    first: int,
    last: int,
    session_weights: Array,
    sets: Numbers,
    d_initial: Array,
    d_transition: Array,
    d_emission: Array,
    d_log_marginal: Array,
    out_initial: Array,
    out_transition: Array,
    out_emission: Array,
) -> None:
    """Derivatives of the log marginals and of the weighted counts along directions."""
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        shape = (stop - start, emission.shape[1])
        middle, filtered, predicted = np.empty(shape), np.empty(shape), np.empty(shape)
        d_middle, tangent = np.empty(shape), np.empty(shape)
        log_probs, entry = np.empty(shape[0]), initial[min(s, len(initial) - 1)]
        filter_session(
            entry,
            transition,
            emission,
            start,
            middle,
            predicted,
            filtered,
            log_probs,
        )
        if log_probs.sum() == -np.inf:
            continue
        of_slow, of_fast = _origins(transition, start, middle, filtered)
        filtered = np.exp(filtered)
        for b in sets:
            d_log_marginal[b, s] = _forward(
                filtered,
                of_slow,
                of_fast,
                start,
                d_initial[b, min(s, d_initial.shape[1] - 1)],
                d_transition[b],
                d_emission[b],
                d_middle,
                tangent,
            )
            _backward(
                session_weights[s] * filtered[-1],
                of_slow,
                of_fast,
                start,
                d_transition[b],
                d_middle,
                tangent,
                out_initial[b, min(s, out_initial.shape[1] - 1)],
                out_transition[b],
                out_emission[b],
            )
