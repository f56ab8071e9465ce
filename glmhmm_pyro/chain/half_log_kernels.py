"""Compiled recursions in log space for chains that move by half-steps.

The functions of :mod:`glmhmm_pyro.chain.log_kernels`, under their names and with their
arguments, for transitions as :mod:`glmhmm_pyro.chain.half_steps` has them. Either
half-step is that of many small chains: a slow one for every fast state, a fast one for
every slow state. ``log_middle`` stands between both, in the places (slow states, slots)
that are there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glmhmm_pyro.chain.compiler import compiled
from glmhmm_pyro.chain.log_kernels import (
    Array,
    chosen,
    clear_rows,
    condition,
    origin_weights,
)


@compiled
def _advance(logs: Array, moves: Array, out: Array) -> None:
    """out = logsumexp(logs[:, None] + moves, 0)."""
    for j in range(len(out)):
        top = -np.inf
        for i in range(len(logs)):
            top = max(top, logs[i] + moves[i, j])
        shift = top if top > -np.inf else 0.0
        total = 0.0
        for i in range(len(logs)):
            total += np.exp(logs[i] + moves[i, j] - shift)
        out[j] = shift + np.log(total)


@compiled
def slots_between(transition: Array, fast: int) -> int:
    """Number of places by slow state between both half-steps."""
    slow, width = transition.shape[1:]
    return fast if width == slow + fast * fast else fast + 1


@compiled
def slow_moves(row: Array, z: int, fast: int, slots: int) -> Array:
    """Slow moves of a step that keep a fast state, (origins, destinations)."""
    first, last, by = 0, row.shape[0], 1
    if slots > fast:
        first, last, by = z, last * fast, fast
    return row[:, first:last:by].T


@compiled
def moves_anew(row: Array, fast: int) -> Array:
    """Slow moves of a step after which fast states begin anew, (pairs, slow)."""
    states = row.shape[0] * fast
    return row[:, states : 2 * states : 1].T


@compiled
def fast_moves(row: Array, slow_state: int, fast: int, slots: int) -> Array:
    """Fast moves of a step, where this slow state was arrived at, (slots, fast)."""
    first = row.shape[1] - slots * fast
    return row[slow_state, first:].reshape(slots, fast)


@compiled
def of_slow_state(pairs: Array, slow_state: int, fast: int) -> Array:
    """What is there of a slow state, by fast ones or by places between half-steps."""
    return pairs[slow_state * fast : (slow_state + 1) * fast : 1]


@compiled
def _step(row: Array, fast: int, filtered: Array, middle: Array, ahead: Array) -> None:
    """Both half-steps."""
    slots = len(middle) // len(row)
    for z in range(fast):
        moves = slow_moves(row, z, fast, slots)
        _advance(filtered[z::fast], moves, middle[z::slots])
    if slots > fast:
        _advance(filtered[0::1], moves_anew(row, fast), middle[fast::slots])
    for j in range(len(row)):
        _advance(
            of_slow_state(middle, j, slots),
            fast_moves(row, j, fast, slots),
            of_slow_state(ahead, j, fast),
        )


@compiled
def filter_session(
    initial: Array,
    transition: Array,
    emission: Array,
    start: int,
    log_middle: Array,
    log_predicted: Array,
    log_filtered: Array,
    log_probs: Array,
) -> None:
    """Normalised log messages of one session, and the logs of their normalisers."""
    steps, states = log_filtered.shape
    fast = states // transition.shape[1]
    for t in range(steps):
        row = transition[min(start + t, len(transition) - 1)]
        if t == 0:
            log_predicted[0] = initial
        else:
            _step(row, fast, log_filtered[t - 1], log_middle[t], log_predicted[t])
        condition(log_predicted, emission, start, t, log_filtered, log_probs)


@compiled
def filter_log(
    initial: Array,
    transition: Array,
    emission: Array,
    offsets: NDArray[np.int64],
    first: int,
    last: int,
    log_predicted: Array,
    log_filtered: Array,
    log_probs: Array,
) -> None:
    """Forward recursion; log probabilities of the states and normalisers by step."""
    slow = transition.shape[1]
    slots = slots_between(transition, emission.shape[1] // slow)
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        filter_session(
            initial[min(s, len(initial) - 1)],
            transition,
            emission,
            start,
            np.empty((stop - start, slow * slots)),
            log_predicted[start:stop],
            log_filtered[start:stop],
            log_probs[start:stop],
        )


@compiled
def _back(weights: Array, gamma: Array, earlier: Array, out: Array) -> None:
    """Counts of a half-step are added to out, and to earlier those of its origins."""
    for i in range(len(earlier)):
        for j in range(len(gamma)):
            pair = weights[i, j] * gamma[j]
            earlier[i] += pair
            out[i, j] += pair


@compiled
def counts_log(
    initial: Array,
    transition: Array,
    emission: Array,
    offsets: NDArray[np.int64],
    first: int,
    last: int,
    session_weights: Array,
    log_marginal: Array,
    out_initial: Array,
    out_transition: Array,
    out_emission: Array,
) -> None:
    """Log marginal and weighted expected counts, the fast half-step taken back first.

    Written and added to as in :func:`glmhmm_pyro.chain.log_kernels.counts_log`.
    """
    states, slow = emission.shape[1], transition.shape[1]
    fast = states // slow
    slots = slots_between(transition, fast)
    of_slow, of_fast = np.empty((slow, slow)), np.empty((slots, fast))
    of_anew = np.empty((states, slow))
    gamma, between = np.empty(states), np.empty(slow * slots)
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        middle = np.empty((stop - start, slow * slots))
        predicted, filtered = np.empty((2, stop - start, states))
        log_probs = np.empty(stop - start)
        filter_session(
            initial[min(s, len(initial) - 1)],
            transition,
            emission,
            start,
            middle,
            predicted,
            filtered,
            log_probs,
        )
        log_marginal[s] = log_probs.sum()
        # An impossible session has no posterior: its counts are zero, not NaN.
        weight = session_weights[s] if log_marginal[s] != -np.inf else 0.0
        gamma[:] = weight * np.exp(filtered[-1])
        clear_rows(out_transition, start, stop)
        for t in range(stop - start - 1, 0, -1):
            out_emission[start + t] = gamma
            row = transition[min(start + t, len(transition) - 1)]
            out = out_transition[min(start + t, len(out_transition) - 1)]
            between[:] = 0.0
            for j in range(slow):
                here, moves = middle[t], fast_moves(row, j, fast, slots)
                origin_weights(of_slow_state(here, j, slots), moves, of_fast)
                now = of_slow_state(gamma, j, fast)
                earlier = of_slow_state(between, j, slots)
                _back(of_fast, now, earlier, fast_moves(out, j, fast, slots))
            gamma[:] = 0.0
            for z in range(fast):
                moves = slow_moves(row, z, fast, slots)
                counts = slow_moves(out, z, fast, slots)
                origin_weights(filtered[t - 1, z::fast], moves, of_slow)
                _back(of_slow, between[z::slots], gamma[z::fast], counts)
            if slots > fast:
                origin_weights(filtered[t - 1, 0::1], moves_anew(row, fast), of_anew)
                counts = moves_anew(out, fast)
                _back(of_anew, between[fast::slots], gamma[0::1], counts)
        out_emission[start] = gamma
        out_initial[min(s, len(out_initial) - 1)] += gamma


@compiled
def _best(score: Array, moves: Array, out: Array, origin: NDArray[np.int32]) -> None:
    """Greatest sums and where they come from; of equals, the lowest number."""
    for j in range(len(out)):
        best = 0
        for i in range(1, len(score)):
            if score[i] + moves[i, j] > score[best] + moves[best, j]:
                best = i
        origin[j] = best
        out[j] = score[best] + moves[best, j]


@compiled
def viterbi_log(
    initial: Array,
    transition: Array,
    emission: Array,
    offsets: NDArray[np.int64],
    first: int,
    last: int,
    log_prob: Array,
    out_states: NDArray[np.int64],
) -> None:
    """Most probable path of every session."""
    states, slow = emission.shape[1], transition.shape[1]
    fast = states // slow
    slots = slots_between(transition, fast)
    middle = np.empty(slow * slots)
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        from_slow = np.empty((stop - start, slow * slots), np.int32)
        from_slot = np.empty((stop - start, states), np.int32)
        score = initial[min(s, len(initial) - 1)] + emission[start]
        for t in range(start + 1, stop):
            row = transition[min(t, len(transition) - 1)]
            for z in range(fast):
                moves = slow_moves(row, z, fast, slots)
                origins = from_slow[t - start, z::slots]
                _best(score[z::fast], moves, middle[z::slots], origins)
            if slots > fast:
                origins = from_slow[t - start, fast::slots]
                moves = moves_anew(row, fast)
                _best(score[0::1], moves, middle[fast::slots], origins)
            for j in range(slow):
                origins = of_slow_state(from_slot[t - start], j, fast)
                _best(
                    of_slow_state(middle, j, slots),
                    fast_moves(row, j, fast, slots),
                    of_slow_state(score, j, fast),
                    origins,
                )
            score += emission[t]
        state = np.argmax(score)
        log_prob[s] = score[state]
        for t in range(stop - 1, start - 1, -1):
            out_states[t] = state
            if t > start:
                slot = from_slot[t - start, state]
                state = from_slow[t - start, state // fast * slots + slot]
                if slot < fast:
                    state = state * fast + slot


@compiled
def sample_log(
    log_filtered: Array,
    transition: Array,
    offsets: NDArray[np.int64],
    first: int,
    last: int,
    uniforms: Array,
    out_states: NDArray[np.int64],
) -> None:
    """States drawn backward given the filtered ones, one uniform number a step."""
    states, slow = log_filtered.shape[1], transition.shape[1]
    fast = states // slow
    slots = slots_between(transition, fast)
    first_fast = transition.shape[2] - slots * fast
    probs = np.empty(states)
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        state = 0
        for t in range(stop - 1, start - 1, -1):
            top = -np.inf
            row = transition[min(t + 1, len(transition) - 1), state // fast]
            for k in range(states):
                probs[k] = log_filtered[t, k]
                if t < stop - 1:
                    place = k // fast if slots == fast else k
                    moved = row[first_fast + k % fast * fast + state % fast]
                    move = row[place] + moved
                    if slots > fast:
                        begun = row[first_fast + fast * fast + state % fast]
                        move = np.logaddexp(move, row[states + k] + begun)
                    probs[k] += move
                top = max(top, probs[k])
            state = chosen(probs, top, uniforms[t])
            out_states[t] = state
