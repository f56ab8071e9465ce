"""Compiled derivatives of expected counts of chains that move by half-steps.

What :mod:`glmhmm_pyro.chain.tangent_kernels` does, with the same arguments, for
transitions as :mod:`glmhmm_pyro.chain.half_steps` has them: its recursion is run over
the slow half-step and over the fast one of every step, each of them for every state of
the other level. One filter serves all directions, of which a few go side by side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glmhmm_pyro.chain.arithmetic import stack_vector
from glmhmm_pyro.chain.compiler import compiled
from glmhmm_pyro.chain.half_log_kernels import filter_session, slots_between
from glmhmm_pyro.chain.half_tangent_steps import (
    BESIDE,
    SIDE,
    ahead,
    back,
    origins_of,
)
from glmhmm_pyro.chain.log_kernels import Array

Numbers = NDArray[np.int64]


@compiled
def _gather(values: Array, sets: Numbers, row: int, out: Array) -> None:
    """A row of each direction, (numbers, directions), from (sets, rows, numbers)."""
    for k in range(len(out)):
        for b in range(len(sets)):
            out[k, b] = values[sets[b], row, k]
        for b in range(len(sets), SIDE):
            out[k, b] = 0.0


@compiled
def _scatter(values: Array, sets: Numbers, row: int, out: Array) -> None:
    """Add the values of every set (values, side by side) to a row of its own array."""
    for k in range(len(values)):
        for b in range(len(sets)):
            out[sets[b], row, k] += values[k, b]


@compiled(inline=True)
def _centre(filtered: Array, emission: Array, tangent: Array, mean: Array) -> None:
    """Add what a step emits to its derivatives, and take their mean out."""
    for b in range(SIDE):
        mean[b] = 0.0
    for k in range(len(tangent)):
        for b in range(SIDE):
            tangent[k, b] += emission[k, b]
            mean[b] += filtered[k] * tangent[k, b]
    for k in range(len(tangent)):
        for b in range(SIDE):
            tangent[k, b] -= mean[b]


@compiled
def _forward(
    filtered: Array,
    of_slow: Array,
    of_anew: Array,
    of_fast: Array,
    start: int,
    session: int,
    sets: Numbers,
    d_initial: Array,
    d_transition: Array,
    d_emission: Array,
    d_middle: Array,
    tangent: Array,
    total: Array,
) -> None:
    """Derivatives of one session's log messages and, added up, of its log marginal."""
    states, numbers = filtered.shape[1], d_transition.shape[2]
    moves, here = np.empty((numbers, SIDE)), np.empty((states, SIDE))
    mean = stack_vector(BESIDE)
    for t in range(len(filtered)):
        if t == 0:
            _gather(d_initial, sets, min(session, d_initial.shape[1] - 1), tangent[0])
        else:
            row = min(start + t, d_transition.shape[1] - 1)
            _gather(d_transition, sets, row, moves)
            messages = tangent[t - 1], d_middle[t], tangent[t]
            ahead(of_slow, of_anew, of_fast, t, moves, *messages)
        _gather(d_emission, sets, start + t, here)
        _centre(filtered[t], here, tangent[t], mean)
        for b in range(SIDE):
            total[b] += mean[b]


@compiled
def _backward(
    last: Array,
    of_slow: Array,
    of_anew: Array,
    of_fast: Array,
    start: int,
    session: int,
    sets: Numbers,
    d_transition: Array,
    d_middle: Array,
    tangent: Array,
    out_initial: Array,
    out_transition: Array,
    out_emission: Array,
) -> None:
    """Derivatives of one session's counts; ``last`` is its weighted last posterior."""
    moves, pairs = np.empty((2, d_transition.shape[2], SIDE))
    gamma = np.empty((len(last), SIDE + 1))
    between = np.empty((d_middle.shape[1], SIDE + 1))
    gamma[:, SIDE] = last
    for k in range(len(last)):
        for b in range(SIDE):
            gamma[k, b] = last[k] * tangent[-1, k, b]
    for t in range(len(tangent) - 1, 0, -1):
        _scatter(gamma, sets, start + t, out_emission)
        _gather(d_transition, sets, min(start + t, d_transition.shape[1] - 1), moves)
        messages = tangent[t - 1], d_middle[t], gamma, between
        back(of_slow, of_anew, of_fast, t, moves, *messages, pairs)
        row = min(start + t, out_transition.shape[1] - 1)
        _scatter(pairs, sets, row, out_transition)
    _scatter(gamma, sets, start, out_emission)
    _scatter(gamma, sets, min(session, out_initial.shape[1] - 1), out_initial)


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
    number, rows = d_transition.shape[:2]
    d_moves = d_transition.reshape(number, rows, -1)
    out_moves = out_transition.reshape(number, out_transition.shape[1], -1)
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        steps, states = stop - start, emission.shape[1]
        slow = transition.shape[1]
        places = slow * slots_between(transition, states // slow)
        middle = np.empty((steps, places))
        predicted, filtered = np.empty((2, steps, states))
        log_probs, entry = np.empty(steps), initial[min(s, len(initial) - 1)]
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
        origins = origins_of(transition, start, middle, filtered)
        filtered = np.exp(filtered)
        d_middle = np.empty((steps, places, SIDE))
        tangent = np.empty((steps, states, SIDE))
        for piece in range(0, len(sets), SIDE):
            own, total = sets[piece : piece + SIDE], np.zeros(SIDE)
            _forward(
                filtered,
                *origins,
                start,
                s,
                own,
                d_initial,
                d_moves,
                d_emission,
                d_middle,
                tangent,
                total,
            )
            for b in range(len(own)):
                d_log_marginal[own[b], s] = total[b]
            _backward(
                session_weights[s] * filtered[-1],
                *origins,
                start,
                s,
                own,
                d_moves,
                d_middle,
                tangent,
                out_initial,
                out_moves,
                out_emission,
            )
