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
from glmhmm_pyro.chain.half_log_kernels import (
    fast_moves,
    filter_session,
    of_slow_state,
    slow_moves,
)
from glmhmm_pyro.chain.log_kernels import Array, origin_weights

Numbers = NDArray[np.int64]

# Directions side by side; where there are fewer, the others are 0.
_SIDE = 8
_BESIDE = (0.0,) * _SIDE


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
def _gather(values: Array, sets: Numbers, row: int, out: Array) -> None:
    """A row of each direction, (numbers, directions), from (sets, rows, numbers)."""
    for k in range(len(out)):
        for b in range(len(sets)):
            out[k, b] = values[sets[b], row, k]
        for b in range(len(sets), _SIDE):
            out[k, b] = 0.0


@compiled
def _scatter(values: Array, sets: Numbers, row: int, out: Array) -> None:
    """Add the values of every set (values, side by side) to a row of its own array."""
    for k in range(len(values)):
        for b in range(len(sets)):
            out[sets[b], row, k] += values[k, b]


@compiled(inline=True)
def _carry(
    origins: Array,
    size: int,
    before: Array,
    place: int,
    stride: int,
    moves: Array,
    first: int,
    by_origin: int,
    by_destination: int,
    now: Array,
) -> None:
    """Derivative of log messages a half-step further.

    A state k of the half-step is ``place + k * stride`` of the messages, a move from i
    to j ``first + i * by_origin + j * by_destination`` of the moves.
    """
    for j in range(size):
        here = place + j * stride
        for b in range(_SIDE):
            now[here, b] = 0.0
        for i in range(size):
            weight, there = origins[i, j], place + i * stride
            move = first + i * by_origin + j * by_destination
            for b in range(_SIDE):
                now[here, b] += weight * (before[there, b] + moves[move, b])


@compiled(inline=True)
def _back(
    origins: Array,
    size: int,
    before: Array,
    place: int,
    stride: int,
    moves: Array,
    first: int,
    by_origin: int,
    by_destination: int,
    mean: Array,
    gamma: Array,
    d_gamma: Array,
    earlier: Array,
    d_earlier: Array,
    pairs: Array,
) -> None:
    """A half-step back: derivatives of moves go to ``pairs``, those of states on."""
    for i in range(size):
        earlier[place + i * stride] = 0.0
        for b in range(_SIDE):
            d_earlier[place + i * stride, b] = 0.0
    for j in range(size):
        here = place + j * stride
        for b in range(_SIDE):
            mean[b] = 0.0
        for i in range(size):
            weight, there = origins[i, j], place + i * stride
            move = first + i * by_origin + j * by_destination
            for b in range(_SIDE):
                mean[b] += weight * (before[there, b] + moves[move, b])
        for i in range(size):
            weight, there = origins[i, j], place + i * stride
            move = first + i * by_origin + j * by_destination
            earlier[there] += weight * gamma[here]
            for b in range(_SIDE):
                away = before[there, b] + moves[move, b] - mean[b]
                moved = weight * (gamma[here] * away + d_gamma[here, b])
                d_earlier[there, b] += moved
                pairs[move, b] += moved


@compiled(inline=True)
def _centre(filtered: Array, emission: Array, tangent: Array, mean: Array) -> None:
    """Add what a step emits to its derivatives, and take their mean out."""
    for b in range(_SIDE):
        mean[b] = 0.0
    for k in range(len(tangent)):
        for b in range(_SIDE):
            tangent[k, b] += emission[k, b]
            mean[b] += filtered[k] * tangent[k, b]
    for k in range(len(tangent)):
        for b in range(_SIDE):
            tangent[k, b] -= mean[b]


@compiled
def _forward(
    filtered: Array,
    of_slow: Array,
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
    slow, fast = of_fast.shape[1], of_slow.shape[1]
    width, states = slow + fast * fast, slow * fast
    moves, here = np.empty((slow * width, _SIDE)), np.empty((states, _SIDE))
    mean = stack_vector(_BESIDE)
    for t in range(len(filtered)):
        if t == 0:
            _gather(d_initial, sets, min(session, d_initial.shape[1] - 1), tangent[0])
        else:
            _gather(
                d_transition, sets, min(start + t, d_transition.shape[1] - 1), moves
            )
            before, middle, now = tangent[t - 1], d_middle[t], tangent[t]
            for z in range(fast):
                own = of_slow[t, z]
                _carry(own, slow, before, z, fast, moves, 0, 1, width, middle)
            for j in range(slow):
                own, first = of_fast[t, j], j * width + slow
                _carry(own, fast, middle, j * fast, 1, moves, first, fast, 1, now)
        _gather(d_emission, sets, start + t, here)
        _centre(filtered[t], here, tangent[t], mean)
        for b in range(_SIDE):
            total[b] += mean[b]


@compiled
def _backward(
    last: Array,
    of_slow: Array,
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
    slow, fast = of_fast.shape[1], of_slow.shape[1]
    width, states = slow + fast * fast, slow * fast
    moves, pairs = np.empty((2, slow * width, _SIDE))
    gamma, earlier = last.copy(), np.empty(states)
    d_gamma, d_earlier = np.empty((2, states, _SIDE))
    mean = stack_vector(_BESIDE)
    for k in range(states):
        for b in range(_SIDE):
            d_gamma[k, b] = last[k] * tangent[-1, k, b]
    for t in range(len(tangent) - 1, 0, -1):
        _scatter(d_gamma, sets, start + t, out_emission)
        _gather(d_transition, sets, min(start + t, d_transition.shape[1] - 1), moves)
        pairs[:] = 0.0
        for j in range(slow):
            _back(
                of_fast[t, j],
                fast,
                d_middle[t],
                j * fast,
                1,
                moves,
                j * width + slow,
                fast,
                1,
                mean,
                gamma,
                d_gamma,
                earlier,
                d_earlier,
                pairs,
            )
        for z in range(fast):
            _back(
                of_slow[t, z],
                slow,
                tangent[t - 1],
                z,
                fast,
                moves,
                0,
                1,
                width,
                mean,
                earlier,
                d_earlier,
                gamma,
                d_gamma,
                pairs,
            )
        row = min(start + t, out_transition.shape[1] - 1)
        _scatter(pairs, sets, row, out_transition)
    _scatter(d_gamma, sets, start, out_emission)
    _scatter(d_gamma, sets, min(session, out_initial.shape[1] - 1), out_initial)


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
        middle, predicted, filtered = np.empty((3, steps, states))
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
        of_slow, of_fast = _origins(transition, start, middle, filtered)
        filtered = np.exp(filtered)
        d_middle, tangent = np.empty((2, steps, states, _SIDE))
        for piece in range(0, len(sets), _SIDE):
            own, total = sets[piece : piece + _SIDE], np.zeros(_SIDE)
            _forward(
                filtered,
                of_slow,
                of_fast,
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
                of_slow,
                of_fast,
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
