r"""Compiled expected counts of a chain that moves by half-steps, in scaled space.

The recursion of :mod:`glmhmm_pyro.chain.recursion` for pairs of a slow and a fast
state (:mod:`glmhmm_pyro.chain.half_steps`), with what a step leaves in its middle::

    S, F, l = exp(slow), exp(fast), exp(emission)
    for t in range(1, n):
        middle[t] = einsum("iz,ij->jz", alpha[t - 1], S[t])
        alpha[t] = einsum("ja,jab->jb", middle[t], F[t]) * l[t]
    for t in range(n - 1, 0, -1):
        back = einsum("jab,jb->ja", F[t], l[t] * beta[t])
        out_fast[t] = middle[t][:, :, None] * F[t] * (l[t] * beta[t])[:, None] / total
        out_slow[t] = einsum("iz,ij,jz->ij", alpha[t - 1], S[t], back) / total
        beta[t - 1] = einsum("ij,jz->iz", S[t], back)

Where fast states may begin anew the middle has a place more by slow state, ``S[t]`` one
number for every pair that is left, and another one for those that go to that place.
``S`` and ``F`` are given as such, often by those who had probabilities before they had
logarithms. The first loop leaves ``alpha`` in ``out_emission``, where the second puts
the counts. Scales are kept as there, and what was lost is found out in the same way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glmhmm_pyro.chain.arithmetic import LOG_2, at, exp, rescale, stack_pairs
from glmhmm_pyro.chain.compiler import compiled
from glmhmm_pyro.chain.log_kernels import Array
from glmhmm_pyro.chain.recursion import add_row, agree, enter, store
from glmhmm_pyro.chain.stationary_kernels import likelihoods


@compiled(reassociate=False, allocates=False)
def _exponentials(values: Array, out: Array) -> None:
    """Those of all values, in ``out``."""
    for k in range(len(values)):
        out[at(k)] = exp(values[at(k)])


def exponentiated_in(
    counts: Array, transition: Array, steps: NDArray[np.int64]
) -> Array:
    """Exponentials of half-steps: in the memory of their counts, if these are by step.

    Args:
        counts: shape (steps|1, slow, slow + fast^2).
        transition: log potentials, of the same shape.
        steps: the first that is meant, and the one after the last.
    """
    shared = len(transition) == 1
    here = slice(None) if shared else slice(*steps)
    out = np.empty_like(transition) if shared else counts
    _exponentials(transition[here].reshape(-1), out[here].reshape(-1))
    return out


@compiled(inline=True)
def _row(slow: int, fast: int, slots: int) -> tuple[int, int]:
    """Where the fast moves of a row begin, and how many numbers it has."""
    first = 2 * slow * fast if slots > fast else slow
    return first, first + slots * fast


@compiled(inline=True)
def _slow_ahead(
    slow: int,
    fast: int,
    slots: int,
    alpha: Array,
    moves: Array,
    row: int,
    mid: Array,
    here: int,
) -> None:
    """alpha_{t-1} in the middle of one slow state, ``mid`` from ``here`` on."""
    for z in range(slots):
        mid[at(here + z)] = 0.0
    for i in range(slow):
        if slots == fast:
            move = moves[at(row + i)]
            for z in range(fast):
                mid[at(here + z)] += move * alpha[at(i * fast + z)]
        else:
            for z in range(fast):
                k, m = i * fast + z, (slow + i) * fast + z
                mid[at(here + z)] += moves[at(row + k)] * alpha[at(k)]
                mid[at(here + fast)] += moves[at(row + m)] * alpha[at(k)]


@compiled(inline=True)
def _ahead(
    slow: int,
    fast: int,
    slots: int,
    alpha: Array,
    moves: Array,
    base: int,
    mid: Array,
    place: int,
) -> None:
    """alpha_{t-1} by both half-steps, the middle left in ``mid`` from ``place`` on."""
    first, width = _row(slow, fast, slots)
    for j in range(slow):
        row, here = base + j * width, place + j * slots
        _slow_ahead(slow, fast, slots, alpha, moves, row, mid, here)
    for j in range(slow):
        row, here = base + j * width + first, place + j * slots
        for b in range(fast):
            alpha[at(j * fast + b)] = 0.0
        for a in range(slots):
            origin = mid[at(here + a)]
            for b in range(fast):
                alpha[at(j * fast + b)] += origin * moves[at(row + a * fast + b)]


@compiled(inline=True)
def _fast_back(
    slow: int,
    fast: int,
    slots: int,
    ahead: Array,
    moves: Array,
    base: int,
    pairs: Array,
    back: Array,
) -> None:
    """back = F (l beta), from what is ahead; its terms are left in ``pairs``."""
    first, width = _row(slow, fast, slots)
    for j in range(slow):
        row = base + j * width + first
        for a in range(slots):
            total = 0.0
            for b in range(fast):
                term = moves[at(row + a * fast + b)] * ahead[at(j * fast + b)]
                pairs[at(row + a * fast + b)] = term
                total += term
            back[at(j * slots + a)] = total


@compiled(inline=True)
def _slow_back(
    slow: int,
    fast: int,
    slots: int,
    back: Array,
    moves: Array,
    base: int,
    beta: Array,
) -> None:
    """beta_{t-1} = S back."""
    _, width = _row(slow, fast, slots)
    for k in range(slow * fast):
        beta[k] = 0.0
    for j in range(slow):
        row = base + j * width
        for i in range(slow):
            if slots == fast:
                move = moves[at(row + i)]
                for z in range(fast):
                    beta[at(i * fast + z)] += move * back[at(j * fast + z)]
            else:
                anew = back[at(j * slots + fast)]
                for z in range(fast):
                    k = i * fast + z
                    beta[at(k)] += moves[at(row + k)] * back[at(j * slots + z)]
                    beta[at(k)] += moves[at(row + slow * fast + k)] * anew


@compiled(inline=True)
def _count(
    slow: int,
    fast: int,
    slots: int,
    earlier: Array,
    place: int,
    mid: Array,
    here: int,
    back: Array,
    scale: float,
    moves: Array,
    base: int,
    pairs: Array,
) -> None:
    """Counts of both half-steps, in ``pairs``, where the terms of ``back`` are."""
    first, width = _row(slow, fast, slots)
    for j in range(slow):
        row = base + j * width
        for i in range(slow):
            if slots == fast:
                both = 0.0
                for z in range(fast):
                    both += earlier[at(place + i * fast + z)] * back[at(j * fast + z)]
                move = moves[at(row + i)]
                pairs[at(row + i)] = scale * both * move
            else:
                anew = back[at(j * slots + fast)]
                for z in range(fast):
                    k, m = i * fast + z, (slow + i) * fast + z
                    left = scale * earlier[at(place + k)]
                    move, other = moves[at(row + k)], moves[at(row + m)]
                    pairs[at(row + k)] = left * back[at(j * slots + z)] * move
                    pairs[at(row + m)] = left * anew * other
        for a in range(slots):
            origin = scale * mid[at(here + j * slots + a)]
            moved = row + first + a * fast
            for b in range(fast):
                pairs[at(moved + b)] *= origin


@compiled(inline=True)
def _forward(
    slow: int,
    fast: int,
    slots: int,
    start: int,
    stop: int,
    shared: bool,
    moves: Array,
    likely: Array,
    alpha: Array,
    mid: Array,
    out: Array,
) -> tuple[float, float]:
    """Advance alpha to the end; its logarithm there, and what was taken out by half."""
    size, width = slow * fast, slow * _row(slow, fast, slots)[1]
    power, power_half, total = 0, 0, 0.0
    store(alpha, out, start)
    for t in range(start + 1, stop):
        place, base = (t - start) * size, 0 if shared else t * width
        middle = (t - start) * slow * slots
        _ahead(slow, fast, slots, alpha, moves, base, mid, middle)
        for j in range(size):
            alpha[j] *= likely[at(place + j)]
        if (t - start) & 3 == 0:
            power += rescale(alpha)
        store(alpha, out, t)
        if t == (start + stop) // 2:
            power_half = power
    for j in range(size):
        total += alpha[j]
    return np.log(total) + power * LOG_2, power_half * LOG_2


@compiled(inline=True)
def _backward(
    slow: int,
    fast: int,
    slots: int,
    start: int,
    stop: int,
    shared: bool,
    moves: Array,
    likely: Array,
    mid: Array,
    beta: Array,
    ahead: Array,
    back: Array,
    weight: float,
    pairs: Array,
    counts: Array,
    out: Array,
) -> tuple[float, float, float]:
    """Counts from the end on; log marginals at half and at the start, least total."""
    size, width = slow * fast, slow * _row(slow, fast, slots)[1]
    power, least, middle = 0, np.inf, 0.0
    half = (start + stop) // 2
    for t in range(stop - 1, start - 1, -1):
        total = 0.0
        for j in range(size):
            total += out[at(t * size + j)] * beta[j]
        least = min(least, total)
        if t == half or t == start:
            from_end = np.log(total) + power * LOG_2
            middle = from_end if t == half else middle
        scale = weight / total
        for j in range(size):
            out[at(t * size + j)] *= scale * beta[j]
        if t == start:
            break
        place, base = (t - start) * size, 0 if shared else t * width
        for j in range(size):
            ahead[j] = likely[at(place + j)] * beta[j]
        _fast_back(slow, fast, slots, ahead, moves, base, pairs, back)
        total, here = 0.0, (t - start) * slow * slots
        for j in range(slow * slots):
            total += mid[at(here + j)] * back[j]
        _slow_back(slow, fast, slots, back, moves, base, beta)
        scale, earlier = weight / total, (t - 1) * size
        _count(
            slow, fast, slots, out, earlier, mid, here, back, scale, moves, base, pairs
        )
        if shared:
            add_row(pairs, 0, counts, 0, width)
        if (stop - t) & 3 == 3:
            power += rescale(beta)
    return middle, from_end, least


@compiled(inline=True)
def _close(shared: bool, first: int, width: int, counts: Array, out: Array) -> None:
    """Add a session's counts, or clear the row of its first step, as it has none."""
    if shared:
        add_row(counts, 0, out, 0, width)
    else:
        for k in range(first, first + width):
            out[at(k)] = 0.0


@compiled(exact=True, allocates=False)
def counts_halved(
    slow_states: tuple[float, ...] | np.ndarray,
    fast_states: tuple[float, ...] | np.ndarray,
    slots_between: tuple[float, ...] | np.ndarray,
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
    """Log marginal and weighted expected counts of a chain of pairs.

    Writes and adds as :func:`glmhmm_pyro.chain.recursion.counts_over` does, and
    returns the same. Transitions are given as exponentials, and may be in the memory of
    ``out_transition``. ``slots_between`` is as long as there are places by slow state
    between half-steps. ``space`` has room for a number by step and pair, one by step
    and such place, and for two rows of the transitions, which one for all steps needs.
    """
    slow, fast, slots = len(slow_states), len(fast_states), len(slots_between)
    size, width, doubtful = slow * fast, slow * _row(slow, fast, slots)[1], 0
    steps = offsets[last] - offsets[first]
    shared = len(transition) == width
    likely, mid = space[: steps * size], space[steps * size : -2 * width]
    pairs, counts = out_transition, out_transition
    alpha = stack_pairs(slow_states, fast_states)
    beta = stack_pairs(slow_states, fast_states)
    ahead = stack_pairs(slow_states, fast_states)
    back = stack_pairs(slow_states, slots_between)
    if shared:
        pairs, counts = space[-2 * width : -width], space[-width:]
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        entry = min(s, len(initial) // size - 1)
        shift = enter(alpha, beta, initial, entry, emission, start)
        after = start + 1
        shift += likelihoods(alpha, pairs, emission, after, stop, start, pairs, likely)
        if shared:
            counts[:] = 0.0
        from_start, taken = _forward(
            slow,
            fast,
            slots,
            start,
            stop,
            shared,
            transition,
            likely,
            alpha,
            mid,
            out_emission,
        )
        middle, from_end, least = _backward(
            slow,
            fast,
            slots,
            start,
            stop,
            shared,
            transition,
            likely,
            mid,
            beta,
            ahead,
            back,
            session_weights[s],
            pairs,
            counts,
            out_emission,
        )
        if not agree(from_start, middle + taken, from_end, least):
            log_marginal[s] = np.nan
            doubtful += 1
            continue
        log_marginal[s] = shift + from_start
        row = min(s, len(out_initial) // size - 1)
        add_row(out_emission, start, out_initial, row, size)
        _close(shared, start * width, width, counts, out_transition)
    return doubtful
