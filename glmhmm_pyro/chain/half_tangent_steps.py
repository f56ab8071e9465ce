"""Compiled half-steps of derivatives of messages and counts, ahead and back.

One half-step is that of many small chains: a slow one for every fast state, a fast one
for every slow state, and one from all pairs to the slow states in which fast ones begin
anew (:mod:`glmhmm_pyro.chain.half_steps`). A few directions go side by side.
"""

from __future__ import annotations

import numpy as np

from glmhmm_pyro.chain.arithmetic import stack_vector
from glmhmm_pyro.chain.compiler import compiled
from glmhmm_pyro.chain.half_log_kernels import (
    fast_moves,
    moves_anew,
    of_slow_state,
    slow_moves,
)
from glmhmm_pyro.chain.log_kernels import Array, origin_weights

# Directions side by side; where there are fewer, the others are 0.
SIDE = 8
BESIDE = (0.0,) * SIDE


@compiled
def origins_of(
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
        for b in range(SIDE):
            now[here, b] = 0.0
        for i in range(len(origins)):
            weight, there = origins[i, j], place + i * stride
            move = first + i * by_origin + j * by_destination
            for b in range(SIDE):
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
    now: tuple[int, int],
    earlier: Array,
    pairs: Array,
) -> None:
    """A half-step back: derivatives of moves are added to ``pairs``.

    Counts of the states from which it goes are added to what is there earlier, those of
    the states to which it goes are at ``now``, a place and a stride of ``gamma``.
    """
    for j in range(origins.shape[1]):
        here = now[0] + j * now[1]
        for b in range(SIDE):
            mean[b] = 0.0
        for i in range(len(origins)):
            weight, there = origins[i, j], place + i * stride
            move = first + i * by_origin + j * by_destination
            for b in range(SIDE):
                mean[b] += weight * (before[there, b] + moves[move, b])
        for i in range(len(origins)):
            weight, there = origins[i, j], place + i * stride
            move = first + i * by_origin + j * by_destination
            earlier[there, SIDE] += weight * gamma[here, SIDE]
            for b in range(SIDE):
                away = before[there, b] + moves[move, b] - mean[b]
                moved = weight * (gamma[here, SIDE] * away + gamma[here, b])
                earlier[there, b] += moved
                pairs[move, b] += moved


@compiled
def ahead(
    of_slow: Array,
    of_anew: Array,
    of_fast: Array,
    t: int,
    moves: Array,
    before: Array,
    middle: Array,
    now: Array,
) -> None:
    """Derivatives of log messages a step further, those in its middle left there."""
    slow, fast, slots, by, first, width = _places(of_slow, of_fast)
    for z in range(fast):
        own, move = of_slow[t, z], z * (slots - fast)
        _carry(own, before, z, fast, moves, move, by, width, middle, z, slots)
    if slots > fast:
        own, move = of_anew[t], slow * fast
        _carry(own, before, 0, 1, moves, move, 1, width, middle, fast, slots)
    for j in range(slow):
        own, move, place = of_fast[t, j], j * width + first, j * slots
        _carry(own, middle, place, 1, moves, move, fast, 1, now, j * fast, 1)


@compiled
def back(
    of_slow: Array,
    of_anew: Array,
    of_fast: Array,
    t: int,
    moves: Array,
    before: Array,
    middle: Array,
    gamma: Array,
    between: Array,
    pairs: Array,
) -> None:
    """Derivatives of a step's counts in ``pairs``; gamma becomes that before it.

    Args:
        gamma: derivatives of counts of states, and last these, (pairs, SIDE + 1).
        between: memory for these in the middle.
    """
    slow, fast, slots, by, first, width = _places(of_slow, of_fast)
    mean = stack_vector(BESIDE)
    pairs[:], between[:] = 0.0, 0.0
    for j in range(slow):
        own, move, place = of_fast[t, j], j * width + first, j * slots
        now = j * fast, 1
        _back(
            own,
            middle,
            place,
            1,
            moves,
            move,
            fast,
            1,
            mean,
            gamma,
            now,
            between,
            pairs,
        )
    gamma[:] = 0.0
    for z in range(fast):
        own, move, now = of_slow[t, z], z * (slots - fast), (z, slots)
        _back(
            own,
            before,
            z,
            fast,
            moves,
            move,
            by,
            width,
            mean,
            between,
            now,
            gamma,
            pairs,
        )
    if slots > fast:
        own, move, now = of_anew[t], slow * fast, (fast, slots)
        _back(
            own, before, 0, 1, moves, move, 1, width, mean, between, now, gamma, pairs
        )
