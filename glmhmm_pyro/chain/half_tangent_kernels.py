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
    moves_anew,
    of_slow_state,
    slots_between,
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
) -> tuple[Array, Array, Array]:
    """Origins of half-steps: of slow ones by fast state, of fast ones by slow state.

    Between them come those of slow half-steps after which fast states begin anew, none
    if they never do.
    """
    steps, states = log_filtered.shape
    slow = transition.shape[1]
    fast, slots = states // slow, log_middle.shape[1] // slow
    of_slow = np.empty((steps, fast, slow, slow))
    of_anew = np.empty((steps if slots > fast else 0, states, slow))
    of_fast = np.empty((steps, slow, slots, fast))
    for t in range(1, steps):
        row = transition[min(start + t, len(transition) - 1)]
        for z in range(fast):
            before = log_filtered[t - 1, z::fast]
            origin_weights(before, slow_moves(row, z, fast, slots), of_slow[t, z])
        if slots > fast:
            before = log_filtered[t - 1, 0::1]
            origin_weights(before, moves_anew(row, fast), of_anew[t])
        for j in range(slow):
            between = of_slow_state(log_middle[t], j, slots)
            origin_weights(between, fast_moves(row, j, fast, slots), of_fast[t, j])
    return of_slow, of_anew, of_fast


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
    before: Array,
    place: int,
    stride: int,
    moves: Array,
    first: int,
    by_origin: int,
    by_destination: int,
    now: Array,
    now_place: int,
    now_stride: int,
) -> None:
    """Derivative of log messages a half-step further.

    A state i from which it goes is ``place + i * stride`` of the messages before, a
    state j to which it goes ``now_place + j * now_stride`` of those now, and a move
    ``first + i * by_origin + j * by_destination`` of the moves.
    """
    for j in range(origins.shape[1]):
        here = now_place + j * now_stride
        for b in range(_SIDE):
            now[here, b] = 0.0
        for i in range(len(origins)):
            weight, there = origins[i, j], place + i * stride
            move = first + i * by_origin + j * by_destination
            for b in range(_SIDE):
                now[here, b] += weight * (before[there, b] + moves[move, b])


@compiled(inline=True)
def _back(
    origins: Array,
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
    now_place: int,
    now_stride: int,
    earlier: Array,
    d_earlier: Array,
    pairs: Array,
) -> None:
    """A half-step back: derivatives of moves are added to ``pairs``.

    Those of the states from which it goes are added to what is there of them earlier.
    """
    for j in range(origins.shape[1]):
        here = now_place + j * now_stride
        for b in range(_SIDE):
            mean[b] = 0.0
        for i in range(len(origins)):
            weight, there = origins[i, j], place + i * stride
            move = first + i * by_origin + j * by_destination
            for b in range(_SIDE):
                mean[b] += weight * (before[there, b] + moves[move, b])
        for i in range(len(origins)):
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
def _places(of_slow: Array, of_fast: Array) -> tuple[int, int, int, int, int, int]:
    """Numbers of states and of places between half-steps, and where moves are.

    The latter: by which the origins of slow moves that keep the fast state are apart,
    where fast moves begin, and how many numbers a row has.
    """
    fast, slow = of_slow.shape[1:3]
    slots = of_fast.shape[2]
    first = 2 * slow * fast if slots > fast else slow
    by_origin = fast if slots > fast else 1
    return slow, fast, slots, by_origin, first, first + slots * fast


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
    slow, fast, slots, by, first, width = _places(of_slow, of_fast)
    states = slow * fast
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
                own, move = of_slow[t, z], z * (slots - fast)
                _carry(own, before, z, fast, moves, move, by, width, middle, z, slots)
            if slots > fast:
                own = of_anew[t]
                _carry(own, before, 0, 1, moves, states, 1, width, middle, fast, slots)
            for j in range(slow):
                own, move, place = of_fast[t, j], j * width + first, j * slots
                _carry(own, middle, place, 1, moves, move, fast, 1, now, j * fast, 1)
        _gather(d_emission, sets, start + t, here)
        _centre(filtered[t], here, tangent[t], mean)
        for b in range(_SIDE):
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
    slow, fast, slots, by, first, width = _places(of_slow, of_fast)
    states = slow * fast
    moves, pairs = np.empty((2, slow * width, _SIDE))
    gamma, d_gamma = last.copy(), np.empty((states, _SIDE))
    between, d_between = np.empty(slow * slots), np.empty((slow * slots, _SIDE))
    mean = stack_vector(_BESIDE)
    for k in range(states):
        for b in range(_SIDE):
            d_gamma[k, b] = last[k] * tangent[-1, k, b]
    for t in range(len(tangent) - 1, 0, -1):
        _scatter(d_gamma, sets, start + t, out_emission)
        _gather(d_transition, sets, min(start + t, d_transition.shape[1] - 1), moves)
        pairs[:], between[:], d_between[:] = 0.0, 0.0, 0.0
        for j in range(slow):
            _back(
                of_fast[t, j],
                d_middle[t],
                j * slots,
                1,
                moves,
                j * width + first,
                fast,
                1,
                mean,
                gamma,
                d_gamma,
                j * fast,
                1,
                between,
                d_between,
                pairs,
            )
        gamma[:], d_gamma[:] = 0.0, 0.0
        for z in range(fast):
            _back(
                of_slow[t, z],
                tangent[t - 1],
                z,
                fast,
                moves,
                z * (slots - fast),
                by,
                width,
                mean,
                between,
                d_between,
                z,
                slots,
                gamma,
                d_gamma,
                pairs,
            )
        if slots > fast:
            _back(
                of_anew[t],
                tangent[t - 1],
                0,
                1,
                moves,
                states,
                1,
                width,
                mean,
                between,
                d_between,
                fast,
                slots,
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
        origins = _origins(transition, start, middle, filtered)
        filtered = np.exp(filtered)
        d_middle = np.empty((steps, places, _SIDE))
        tangent = np.empty((steps, states, _SIDE))
        for piece in range(0, len(sets), _SIDE):
            own, total = sets[piece : piece + _SIDE], np.zeros(_SIDE)
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
