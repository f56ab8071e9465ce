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

from glmhmm_pyro.chain.arithmetic import LOG_2, exp, rescale, stack_vector
from glmhmm_pyro.chain.compiler import compiled
from glmhmm_pyro.chain.log_kernels import Array, counts_log
from glmhmm_pyro.chain.scaled_kernels import agree, at, dot, enter, put_product, store


@compiled(reassociate=False)
def _likelihoods(
    states: tuple[float, ...] | np.ndarray,
    emission: Array,
    first: int,
    last: int,
    out: Array,
) -> float:
    """Exponentials of the emissions relative to each step's greatest; their sum."""
    size = len(states)
    total = 0.0
    for t in range(first, last):
        top = emission[at(t * size)]
        for j in range(1, size):
            top = max(top, emission[at(t * size + j)])
        total += top
        for j in range(size):
            out[at((t - first) * size + j)] = emission[at(t * size + j)] - top
    for k in range((last - first) * size):
        out[k] = exp(out[k])
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


@compiled
def _session(
    states: tuple[float, ...] | np.ndarray,
    initial: Array,
    moves: Array,
    emission: Array,
    first: int,
    stop: int,
    weight: float,
    likely: Array,
    pairs: Array,
    out: Array,
) -> tuple[float, bool]:
    """Counts of one session; its log marginal, and whether they can be trusted.

    ``pairs`` gathers the pairwise counts but for the factor ``moves``.
    """
    alpha, beta = stack_vector(states), stack_vector(states)
    work_a, work_b = stack_vector(states), stack_vector(states)
    other_a, other_b = stack_vector(states), stack_vector(states)
    shift = _likelihoods(states, emission, first, stop, likely)
    shift -= emission[first * len(states) : (first + 1) * len(states)].max()
    shift += enter(alpha, beta, initial, emission, first)
    store(alpha, out, first)
    half = first + 1 + (stop - first - 1) // 2
    power_a, power_b = 0, 0
    for k in range(stop - half):
        a, b = first + 1 + k, stop - 1 - k
        store(beta, out, b)
        _backward(beta, work_b, moves, likely, b - first)
        if a < half:
            _forward(alpha, work_a, moves, likely, a - first)
        if k & 3 == 3:
            power_a += rescale(alpha)
            power_b += rescale(beta)
        if a < half:
            store(alpha, out, a)
    total = dot(alpha, beta)
    middle = np.log(total) + (power_a + power_b) * LOG_2
    put_product(alpha, beta, weight / total, out, half - 1)
    least, last, power_end = total, total, power_a + power_b
    for k in range(stop - half):
        a, b = half + k, half - 1 - k
        if k & 3 == 3:
            power_a += rescale(alpha)
            power_b += rescale(beta)
        for j in range(len(states)):
            other_a[j] = alpha[j]
        _forward(alpha, work_a, moves, likely, a - first)
        _load(work_a, out, a)
        total = dot(alpha, work_a)
        least = min(least, total)
        put_product(alpha, work_a, weight / total, out, a)
        _multiply(work_a, likely, a - first)
        _add_pairs(other_a, work_a, weight / total, pairs)
        if b > first:
            _backward(beta, work_b, moves, likely, b - first)
            _load(other_b, out, b - 1)
            last, power_end = dot(other_b, beta), power_b
            least = min(least, last)
            put_product(other_b, beta, weight / last, out, b - 1)
            _add_pairs(other_b, work_b, weight / last, pairs)
    from_end = np.log(last) + power_end * LOG_2
    for j in range(len(states)):
        beta[j] = 1.0
    from_start = np.log(dot(alpha, beta)) + power_a * LOG_2
    return shift + from_start, agree(from_start, middle, from_end, least)


@compiled
def counts_stationary(
    states: tuple[float, ...] | np.ndarray,
    initial: Array,
    transition: Array,
    emission: Array,
    offsets: np.ndarray,
    first: int,
    last: int,
    session_weights: Array,
    log_marginal: Array,
    out_initial: Array,
    out_transition: Array,
    out_emission: Array,
) -> None:
    """Log marginal and weighted expected counts; one transition for all steps.

    Writes and adds as :func:`glmhmm_pyro.chain.log_kernels.counts_log` does.
    """
    longest = 0
    for s in range(first, last):
        longest = max(longest, offsets[s + 1] - offsets[s])
    likely = np.empty(longest * len(states))
    top = transition.max()
    moves = np.exp(transition - top).reshape(-1)
    pairs = np.empty(moves.size)
    for s in range(first, last):
        pairs[:] = 0.0
        value, trusted = _session(
            states,
            initial[min(s, len(initial) - 1)],
            moves,
            emission.reshape(-1),
            offsets[s],
            offsets[s + 1],
            session_weights[s],
            likely,
            pairs,
            out_emission.reshape(-1),
        )
        steps = offsets[s + 1] - offsets[s]
        if trusted and (steps == 1 or np.isfinite(top)):
            log_marginal[s] = value + (top * (steps - 1) if steps > 1 else 0.0)
            out_initial[min(s, len(out_initial) - 1)] += out_emission[offsets[s]]
            out_transition[0] += (pairs * moves).reshape(transition.shape[1:])
        else:
            counts_log(
                initial,
                transition,
                emission,
                offsets,
                s,
                s + 1,
                session_weights,
                log_marginal,
                out_initial,
                out_transition,
                out_emission,
            )
