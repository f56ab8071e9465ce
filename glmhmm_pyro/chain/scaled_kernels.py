r"""Compiled expected counts in scaled probability space: the fast way, with a check.

The scaled forward-backward recursion (Rabiner 1989, "A tutorial on hidden Markov models
and selected applications in speech recognition", section V.A). With
:math:`M_t(i, j) = A_t(i, j)\, \ell_t(j)`, the potential of a step from i to j and of
what is emitted there, and messages that have any scale,

.. math::
    \alpha_t = \alpha_{t-1} M_t, \quad \beta_{t-1} = M_t \beta_t, \quad
    \gamma_t(j) = \frac{\alpha_t(j)\, \beta_t(j)}{\sum_k \alpha_t(k)\, \beta_t(k)},
    \quad \xi_t(i, j) =
    \frac{\alpha_{t-1}(i)\, M_t(i, j)\, \beta_t(j)}{\sum_k \alpha_t(k)\, \beta_t(k)}.

As a loop over one session of ``n`` steps, with the scales left out::

    M = exp(transition + emission[:, None, :])
    alpha[0], beta[n - 1] = exp(initial + emission[0]), 1.0
    for t in range(1, n):
        alpha[t] = alpha[t - 1] @ M[t]
    for t in range(n - 1, 0, -1):
        beta[t - 1] = M[t] @ beta[t]
    total = sum(alpha[n - 1])
    log_marginal, out_emission = log(total), alpha * beta / total
    for t in range(1, n):
        out_transition[t] = alpha[t - 1][:, None] * M[t] * beta[t] / total

Two messages run through a session at once, ``alpha`` from its first step and ``beta``
from its last, independent of each other so that the processor overlaps them. Until they
meet, each leaves its values in ``out_emission`` and the exponentials of its potentials
in ``out_transition``; from there on each meets what the other has left and puts the
counts in its place. Nothing but the results is stored, and everything is computed once.

Messages have a scale of their own, a power of two that is taken out every few steps;
each step's counts are normalised by their own sum. What underflows is lost: therefore
the log marginal is had in three ways, from ``alpha`` at the end, from ``beta`` at the
start and from both in the middle, and a session of which they disagree is done again in
log space. The arrays are those of :mod:`glmhmm_pyro.chain.log_kernels`, here flat, so
that the compiler knows every stride. ``states`` is a tuple, or for large numbers of
states an array, that has their number as its length.
"""

from __future__ import annotations

import numpy as np

from glmhmm_pyro.chain.arithmetic import LOG_2, at, exp, rescale, stack_vector
from glmhmm_pyro.chain.compiler import compiled
from glmhmm_pyro.chain.log_kernels import Array

# Steps whose exponentials are taken together, so that they are still in a near
# cache when the recursion reads them.
_TILE = 128


@compiled(reassociate=False)
def _fill(
    states: tuple[float, ...] | np.ndarray,
    transition: Array,
    emission: Array,
    first: int,
    last: int,
    out: Array,
) -> float:
    """Exponentials of both potentials by step, relative to the greatest emission."""
    size = len(states)
    total = 0.0
    relative = stack_vector(states)
    for t in range(first, last):
        top = emission[at(t * size)]
        for j in range(size):
            relative[j] = emission[at(t * size + j)]
            top = max(top, relative[j])
        total += top
        for j in range(size):
            relative[j] -= top
        for i in range(size):
            for j in range(size):
                k = at((t * size + i) * size + j)
                out[k] = transition[k] + relative[j]
    for k in range(first * size * size, last * size * size):
        out[at(k)] = exp(out[at(k)])
    return total


@compiled(inline=True)
def _forward(alpha: Array, work: Array, moves: Array, t: int) -> None:
    """alpha_t = alpha_{t-1} M_t."""
    size = len(alpha)
    for j in range(size):
        work[j] = alpha[0] * moves[at(t * size * size + j)]
    for i in range(1, size):
        for j in range(size):
            work[j] += alpha[i] * moves[at((t * size + i) * size + j)]
    for j in range(size):
        alpha[j] = work[j]


@compiled(inline=True)
def _backward(beta: Array, work: Array, moves: Array, t: int) -> None:
    """beta_{t-1} = M_t beta_t."""
    size = len(beta)
    for i in range(size):
        total = 0.0
        for j in range(size):
            total += moves[at((t * size + i) * size + j)] * beta[j]
        work[i] = total
    for i in range(size):
        beta[i] = work[i]


@compiled(inline=True)
def store(vector: Array, out: Array, t: int) -> None:
    for j in range(len(vector)):
        out[at(t * len(vector) + j)] = vector[j]


@compiled(inline=True)
def _meet_forward(
    alpha: Array, work: Array, later: Array, moves: Array, out: Array, t: int, w: float
) -> float:
    """Advance alpha to t, where beta waits; put the counts in place of both."""
    size = len(alpha)
    for j in range(size):
        later[j] = out[at(t * size + j)]
        work[j] = 0.0
    for i in range(size):
        for j in range(size):
            k = at((t * size + i) * size + j)
            moves[k] *= alpha[i]
            work[j] += moves[k]
    total = 0.0
    for j in range(size):
        total += work[j] * later[j]
    scale = w / total
    for j in range(size):
        later[j] *= scale
        alpha[j] = work[j]
    for i in range(size):
        for j in range(size):
            moves[at((t * size + i) * size + j)] *= later[j]
    for j in range(size):
        out[at(t * size + j)] = alpha[j] * later[j]
    return total


@compiled(inline=True)
def _meet_backward(
    beta: Array, work: Array, earlier: Array, moves: Array, out: Array, t: int, w: float
) -> float:
    """Advance beta to t-1, where alpha waits; put the counts in place of both."""
    size = len(beta)
    total = 0.0
    for i in range(size):
        earlier[i] = out[at((t - 1) * size + i)]
    for i in range(size):
        row = 0.0
        for j in range(size):
            k = at((t * size + i) * size + j)
            moves[k] *= beta[j]
            row += moves[k]
        work[i] = row
        total += row * earlier[i]
    scale = w / total
    for i in range(size):
        earlier[i] *= scale
        beta[i] = work[i]
    for i in range(size):
        for j in range(size):
            moves[at((t * size + i) * size + j)] *= earlier[i]
    for i in range(size):
        out[at((t - 1) * size + i)] = earlier[i] * beta[i]
    return total


@compiled(inline=True)
def dot(first: Array, second: Array) -> float:
    total = 0.0
    for j in range(len(first)):
        total += first[j] * second[j]
    return total


@compiled(inline=True)
def enter(
    alpha: Array, beta: Array, initial: Array, row: int, emission: Array, t: int
) -> float:
    """Messages at both ends of a session; returns the shift of ``alpha``."""
    shift = -np.inf
    for j in range(len(alpha)):
        alpha[j] = initial[at(row * len(alpha) + j)] + emission[at(t * len(alpha) + j)]
        shift = max(shift, alpha[j])
        beta[j] = 1.0
    for j in range(len(alpha)):
        alpha[j] = exp(alpha[j] - shift)
    return shift


@compiled(inline=True)
def put_product(alpha: Array, beta: Array, scale: float, out: Array, t: int) -> None:
    for j in range(len(alpha)):
        out[at(t * len(alpha) + j)] = scale * alpha[j] * beta[j]


@compiled(inline=True)
def add_row(values: Array, t: int, out: Array, row: int, size: int) -> None:
    for j in range(size):
        out[at(row * size + j)] += values[at(t * size + j)]


@compiled(inline=True)
def agree(from_start: float, middle: float, from_end: float, least: float) -> bool:
    """Whether nothing that counts was lost; False if anything is not a number."""
    spread = max(abs(from_start - middle), abs(from_end - middle))
    return least > 1e-280 and spread < 1e-9 * max(1.0, 1e-5 * abs(middle))


@compiled(inline=True)
def _approach(
    states: tuple[float, ...] | np.ndarray,
    alpha: Array,
    beta: Array,
    work_a: Array,
    work_b: Array,
    transition: Array,
    emission: Array,
    start: int,
    stop: int,
    half: int,
    out_transition: Array,
    out_emission: Array,
) -> tuple[float, int, int]:
    """Advance both messages until they meet; what was taken from the scale of each."""
    shift, power_a, power_b = 0.0, 0, 0
    store(alpha, out_emission, start)
    a, b = start + 1, stop - 1
    while b >= half:
        num_a, num_b = min(half - a, _TILE), min(b - half + 1, _TILE)
        low = b - num_b + 1
        shift += _fill(states, transition, emission, a, a + num_a, out_transition)
        shift += _fill(states, transition, emission, low, b + 1, out_transition)
        for k in range(num_a):
            _forward(alpha, work_a, out_transition, a + k)
            store(beta, out_emission, b - k)
            _backward(beta, work_b, out_transition, b - k)
            if k & 3 == 3:
                power_a += rescale(alpha)
                power_b += rescale(beta)
            store(alpha, out_emission, a + k)
        if num_b > num_a:
            store(beta, out_emission, low)
            _backward(beta, work_b, out_transition, low)
            power_b += rescale(beta)
        a += num_a
        b -= num_b
    return shift, power_a, power_b


@compiled(inline=True)
def _part(
    alpha: Array,
    beta: Array,
    work_a: Array,
    work_b: Array,
    other_a: Array,
    other_b: Array,
    start: int,
    stop: int,
    half: int,
    power_a: int,
    power_b: int,
    weight: float,
    moves: Array,
    out: Array,
) -> tuple[float, bool]:
    """Counts from where the messages meet; a log marginal, and whether to trust it."""
    total = dot(alpha, beta)
    middle = np.log(total) + (power_a + power_b) * LOG_2
    put_product(alpha, beta, weight / total, out, half - 1)
    least, end, from_end = total, total, middle
    for k in range(half - 1 - start):
        if k & 3 == 3:
            power_a += rescale(alpha)
            power_b += rescale(beta)
        total = _meet_forward(alpha, work_a, other_a, moves, out, half + k, weight)
        end = _meet_backward(beta, work_b, other_b, moves, out, half - 1 - k, weight)
        least = min(least, min(total, end))
    if half - 1 > start:
        from_end = np.log(end) + power_b * LOG_2
    if 2 * half - 1 - start < stop:
        total = _meet_forward(alpha, work_a, other_a, moves, out, stop - 1, weight)
        least = min(least, total)
    for j in range(len(alpha)):
        beta[j] = 1.0
    from_start = np.log(dot(alpha, beta)) + power_a * LOG_2
    return from_start, agree(from_start, middle, from_end, least)


@compiled(exact=True)
def counts_scaled(
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
    """Log marginal and weighted expected counts; transitions with a row for each step.

    Writes and adds as :func:`glmhmm_pyro.chain.log_kernels.counts_log` does, and
    returns how many sessions are to be done again by it: their log marginal is NaN.
    """
    size, doubtful = len(states), 0
    alpha, beta = stack_vector(states), stack_vector(states)
    work_a, work_b = stack_vector(states), stack_vector(states)
    other_a, other_b = stack_vector(states), stack_vector(states)
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        half = start + 1 + (stop - start - 1) // 2
        entry = min(s, len(initial) // size - 1)
        shift = enter(alpha, beta, initial, entry, emission, start)
        moved, power_a, power_b = _approach(
            states,
            alpha,
            beta,
            work_a,
            work_b,
            transition,
            emission,
            start,
            stop,
            half,
            out_transition,
            out_emission,
        )
        from_start, trusted = _part(
            alpha,
            beta,
            work_a,
            work_b,
            other_a,
            other_b,
            start,
            stop,
            half,
            power_a,
            power_b,
            session_weights[s],
            out_transition,
            out_emission,
        )
        log_marginal[s] = shift + moved + from_start if trusted else np.nan
        if not trusted:
            doubtful += 1
            continue
        for k in range(start * size * size, (start + 1) * size * size):
            out_transition[at(k)] = 0.0
        row = min(s, len(out_initial) // size - 1)
        add_row(out_emission, start, out_initial, row, size)
    return doubtful
