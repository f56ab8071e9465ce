r"""Compiled expected counts of chains whose transition is the same at every step.

The recursions of :mod:`glmhmm_pyro.chain.scaled_kernels`, with one exponentiated matrix
instead of one for every step, :math:`M_t(i, j) = A(i, j)\, \ell_t(j)`, and pairs that
are added up as they arise, but for the factor A that they have in common::

    A, l = exp(transition[0]), exp(emission)
    alpha[0], beta[n - 1] = exp(initial) * l[0], 1.0
    for t in range(1, n):
        alpha[t] = (alpha[t - 1] @ A) * l[t]
    for t in range(n - 1, 0, -1):
        beta[t - 1] = A @ (l[t] * beta[t])
        pairs += alpha[t - 1][:, None] * (l[t] * beta[t])
    total = sum(alpha[n - 1])
    log_marginal, out_emission = log(total), alpha * beta / total
    out_transition[0] += A * pairs / total
"""

from __future__ import annotations

import numpy as np

from glmhmm_pyro.chain.arithmetic import LOG_2, at, exp, rescale, stack_vector
from glmhmm_pyro.chain.compiler import compiled
from glmhmm_pyro.chain.log_kernels import Array
from glmhmm_pyro.chain.scaled_kernels import (
    add_row,
    agree,
    dot,
    enter,
    put_product,
    store,
)


@compiled(reassociate=False)
def likelihoods(emission: Array, first: int, last: int, size: int, out: Array) -> float:
    """Exponentials of the emissions relative to each step's greatest.

    Returns the sum of these, without the first, which ``enter`` takes out.
    """
    total = 0.0
    for t in range(first, last):
        top = emission[at(t * size)]
        for j in range(1, size):
            top = max(top, emission[at(t * size + j)])
        total += top if t > first else 0.0
        for j in range(size):
            out[at((t - first) * size + j)] = emission[at(t * size + j)] - top
    for k in range((last - first) * size):
        out[at(k)] = exp(out[at(k)])
    return total


@compiled(inline=True)
def _load(vector: Array, values: Array, t: int) -> None:
    for j in range(len(vector)):
        vector[j] = values[at(t * len(vector) + j)]


@compiled(inline=True)
def _multiply(vector: Array, values: Array, t: int) -> None:
    for j in range(len(vector)):
        vector[j] *= values[at(t * len(vector) + j)]


@compiled(inline=True)
def _forward(alpha: Array, work: Array, moves: Array, likely: Array, t: int) -> None:
    """alpha_t = alpha_{t-1} A l_t."""
    size = len(alpha)
    for j in range(size):
        work[j] = alpha[0] * moves[at(j)]
    for i in range(1, size):
        for j in range(size):
            work[j] += alpha[i] * moves[at(i * size + j)]
    for j in range(size):
        alpha[j] = work[j] * likely[at(t * size + j)]


@compiled(inline=True)
def _backward(beta: Array, work: Array, moves: Array, likely: Array, t: int) -> None:
    """beta_{t-1} = A l_t beta_t; leaves l_t beta_t in ``work``."""
    size = len(beta)
    for j in range(size):
        work[j] = likely[at(t * size + j)] * beta[j]
    for i in range(size):
        total = 0.0
        for j in range(size):
            total += moves[at(i * size + j)] * work[j]
        beta[i] = total


@compiled(inline=True)
def _add_pairs(earlier: Array, later: Array, scale: float, pairs: Array) -> None:
    size = len(earlier)
    for i in range(size):
        for j in range(size):
            pairs[at(i * size + j)] += (scale * earlier[i]) * later[j]


@compiled(inline=True)
def _top(values: Array, first: int, last: int) -> float:
    top = values[at(first)]
    for k in range(first + 1, last):
        top = max(top, values[at(k)])
    return top


@compiled(inline=True)
def _approach(
    alpha: Array,
    beta: Array,
    work_a: Array,
    work_b: Array,
    moves: Array,
    likely: Array,
    start: int,
    stop: int,
    half: int,
    out: Array,
) -> tuple[int, int]:
    """Advance both messages until they meet; the powers of two taken out of each."""
    power_a, power_b = 0, 0
    store(alpha, out, start)
    for k in range(stop - half):
        a, b = start + 1 + k, stop - 1 - k
        store(beta, out, b)
        _backward(beta, work_b, moves, likely, b - start)
        if a < half:
            _forward(alpha, work_a, moves, likely, a - start)
        if k & 3 == 3:
            power_a += rescale(alpha)
            power_b += rescale(beta)
        if a < half:
            store(alpha, out, a)
    return power_a, power_b


@compiled(inline=True)
def _part(
    alpha: Array,
    beta: Array,
    work_a: Array,
    work_b: Array,
    other_a: Array,
    other_b: Array,
    moves: Array,
    likely: Array,
    start: int,
    stop: int,
    half: int,
    power_a: int,
    power_b: int,
    weight: float,
    pairs: Array,
    out: Array,
) -> tuple[float, bool]:
    """Counts from where the messages meet; a log marginal, and whether to trust it."""
    total = dot(alpha, beta)
    middle = np.log(total) + (power_a + power_b) * LOG_2
    put_product(alpha, beta, weight / total, out, half - 1)
    least, end, power_end = total, total, power_a + power_b
    for k in range(stop - half):
        a, b = half + k, half - 1 - k
        if k & 3 == 3:
            power_a += rescale(alpha)
            power_b += rescale(beta)
        for j in range(len(alpha)):
            other_a[j] = alpha[j]
        _forward(alpha, work_a, moves, likely, a - start)
        _load(work_a, out, a)
        total = dot(alpha, work_a)
        least = min(least, total)
        put_product(alpha, work_a, weight / total, out, a)
        _multiply(work_a, likely, a - start)
        _add_pairs(other_a, work_a, weight / total, pairs)
        if b > start:
            _backward(beta, work_b, moves, likely, b - start)
            _load(other_b, out, b - 1)
            end, power_end = dot(other_b, beta), power_b
            least = min(least, end)
            put_product(other_b, beta, weight / end, out, b - 1)
            _add_pairs(other_b, work_b, weight / end, pairs)
    from_end = np.log(end) + power_end * LOG_2
    for j in range(len(alpha)):
        beta[j] = 1.0
    from_start = np.log(dot(alpha, beta)) + power_a * LOG_2
    return from_start, agree(from_start, middle, from_end, least)


@compiled(exact=True)
def counts_stationary(
    states: tuple[float, ...] | np.ndarray,
    initial: Array,
    transition: Array,
    emission: Array,
    offsets: np.ndarray,
    first: int,
    last: int,
    session_weights: Array,
    space: Array,
    log_marginal: Array,
    out_initial: Array,
    out_transition: Array,
    out_emission: Array,
) -> int:
    """Log marginal and weighted expected counts; one transition for all steps.

    Writes and adds as :func:`glmhmm_pyro.chain.log_kernels.counts_log` does, and
    returns how many sessions are to be done again by it: their log marginal is NaN.
    ``space`` holds the exponentiated matrix, the pairs of a session but for that
    factor, and its likelihoods.
    """
    size, doubtful = len(states), 0
    squared = size * size
    moves, pairs, likely = space[:squared], space[squared:], space[2 * squared :]
    alpha, beta = stack_vector(states), stack_vector(states)
    work_a, work_b = stack_vector(states), stack_vector(states)
    other_a, other_b = stack_vector(states), stack_vector(states)
    top = _top(transition, 0, squared)
    for k in range(squared):
        moves[at(k)] = np.exp(transition[at(k)] - top)
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        half = start + 1 + (stop - start - 1) // 2
        entry = min(s, len(initial) // size - 1)
        shift = likelihoods(emission, start, stop, size, likely)
        shift += enter(alpha, beta, initial, entry, emission, start)
        power_a, power_b = _approach(
            alpha,
            beta,
            work_a,
            work_b,
            moves,
            likely,
            start,
            stop,
            half,
            out_emission,
        )
        for k in range(squared):
            pairs[at(k)] = 0.0
        from_start, trusted = _part(
            alpha,
            beta,
            work_a,
            work_b,
            other_a,
            other_b,
            moves,
            likely,
            start,
            stop,
            half,
            power_a,
            power_b,
            session_weights[s],
            pairs,
            out_emission,
        )
        # What forbids all moves does not concern a session of one step.
        single = stop - start == 1
        if not trusted or not (single or np.isfinite(top)):
            log_marginal[s] = np.nan
            doubtful += 1
            continue
        moved = 0.0 if single else top * (stop - start - 1)
        log_marginal[s] = shift + from_start + moved
        row = min(s, len(out_initial) // size - 1)
        add_row(out_emission, start, out_initial, row, size)
        for k in range(squared):
            out_transition[at(k)] += pairs[at(k)] * moves[at(k)]
    return doubtful
