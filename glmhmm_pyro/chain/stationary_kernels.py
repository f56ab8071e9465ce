r"""Compiled expected counts of chains whose transition is the same at every step.

Moves of :mod:`glmhmm_pyro.chain.recursion`, with one exponentiated matrix instead of
one for every step, :math:`M_t(i, j) = A(i, j)\, \ell_t(j)`, and pairs that are added up
as they arise, but for the factor A that they have in common::

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

from glmhmm_pyro.chain.arithmetic import at, exp
from glmhmm_pyro.chain.compiler import compiled
from glmhmm_pyro.chain.log_kernels import Array
from glmhmm_pyro.chain.recursion import counts_over, dot, load, put_product


@compiled(reassociate=False, allocates=False)
def likelihoods(
    states: tuple[float, ...] | np.ndarray,
    transition: Array,
    emission: Array,
    first: int,
    last: int,
    start: int,
    moves: Array,
    likely: Array,
) -> float:
    """Exponentials of the emissions relative to each step's greatest, from ``start``.

    Returns the sum of these.
    """
    size, total = len(states), 0.0
    for t in range(first, last):
        top = emission[at(t * size)]
        for j in range(1, size):
            top = max(top, emission[at(t * size + j)])
        total += top
        for j in range(size):
            likely[at((t - start) * size + j)] = emission[at(t * size + j)] - top
    for k in range((first - start) * size, (last - start) * size):
        likely[at(k)] = exp(likely[at(k)])
    return total


@compiled(inline=True)
def _multiply(vector: Array, values: Array, t: int) -> None:
    for j in range(len(vector)):
        vector[j] *= values[at(t * len(vector) + j)]


@compiled(inline=True)
def _forward(
    alpha: Array, work: Array, moves: Array, likely: Array, t: int, start: int
) -> None:
    """alpha_t = alpha_{t-1} A l_t."""
    size = len(alpha)
    for j in range(size):
        work[j] = alpha[0] * moves[at(j)]
    for i in range(1, size):
        for j in range(size):
            work[j] += alpha[i] * moves[at(i * size + j)]
    for j in range(size):
        alpha[j] = work[j] * likely[at((t - start) * size + j)]


@compiled(inline=True)
def _backward(
    beta: Array, work: Array, moves: Array, likely: Array, t: int, start: int
) -> None:
    """beta_{t-1} = A l_t beta_t; leaves l_t beta_t in ``work``."""
    size = len(beta)
    for j in range(size):
        work[j] = likely[at((t - start) * size + j)] * beta[j]
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
def _meet_forward(
    alpha: Array,
    work: Array,
    earlier: Array,
    moves: Array,
    likely: Array,
    pairs: Array,
    out: Array,
    t: int,
    start: int,
    w: float,
) -> float:
    """Advance alpha to t, where beta waits; count the state and the pair."""
    for j in range(len(alpha)):
        earlier[j] = alpha[j]
    _forward(alpha, work, moves, likely, t, start)
    load(work, out, t)
    total = dot(alpha, work)
    put_product(alpha, work, w / total, out, t)
    _multiply(work, likely, t - start)
    _add_pairs(earlier, work, w / total, pairs)
    return total


@compiled(inline=True)
def _meet_backward(
    beta: Array,
    work: Array,
    earlier: Array,
    moves: Array,
    likely: Array,
    pairs: Array,
    out: Array,
    t: int,
    start: int,
    w: float,
) -> float:
    """Advance beta to t-1, where alpha waits; count the state and the pair."""
    _backward(beta, work, moves, likely, t, start)
    load(earlier, out, t - 1)
    total = dot(earlier, beta)
    put_product(earlier, beta, w / total, out, t - 1)
    _add_pairs(earlier, work, w / total, pairs)
    return total


@compiled(inline=True)
def _close(moves: Array, pairs: Array, start: int, size: int, out: Array) -> None:
    """Add the session's pairs, times the factor that they have in common."""
    for k in range(size * size):
        out[at(k)] += pairs[at(k)] * moves[at(k)]


@compiled(inline=True)
def _exponentiate(values: Array, number: int, out: Array) -> float:
    """Exponentials relative to the greatest of some values, which is returned."""
    top = values[at(0)]
    for k in range(1, number):
        top = max(top, values[at(k)])
    for k in range(number):
        out[at(k)] = np.exp(values[at(k)] - top)
    return top


@compiled(exact=True, allocates=False)
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
    """As :func:`glmhmm_pyro.chain.recursion.counts_over`.

    ``space`` holds the exponentiated matrix, the pairs of a session but for that
    factor, and its likelihoods.
    """
    squared = len(states) * len(states)
    moves, pairs, likely = (
        space[:squared],
        space[squared : 2 * squared],
        space[2 * squared :],
    )
    top = _exponentiate(transition, squared, moves)
    return counts_over(
        likelihoods,
        _forward,
        _backward,
        _meet_forward,
        _meet_backward,
        _close,
        states,
        moves,
        likely,
        pairs,
        top,
        initial,
        transition,
        emission,
        offsets,
        first,
        last,
        session_weights,
        log_marginal,
        out_initial,
        out_transition,
        out_emission,
    )
