"""Compiled expected counts of chains with a transition of its own at every step.

Moves of :mod:`glmhmm_pyro.chain.recursion`: the matrices :math:`M_t` are made in
``out_transition``, where their counts come to stand. As a loop over one session of
``n`` steps, with the scales left out::

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

The arrays are those of :mod:`glmhmm_pyro.chain.log_kernels`, here flat, so that the
compiler knows every stride. ``states`` is a tuple, or for large numbers of states an
array, that has their number as its length.
"""

from __future__ import annotations

import numpy as np

from glmhmm_pyro.chain.arithmetic import at, exp, stack_vector
from glmhmm_pyro.chain.compiler import compiled
from glmhmm_pyro.chain.log_kernels import Array
from glmhmm_pyro.chain.recursion import counts_over


@compiled(reassociate=False, allocates=False)
def _fill(
    states: tuple[float, ...] | np.ndarray,
    transition: Array,
    emission: Array,
    first: int,
    last: int,
    start: int,
    moves: Array,
    likely: Array,
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
                moves[k] = transition[k] + relative[j]
    for k in range(first * size * size, last * size * size):
        moves[at(k)] = exp(moves[at(k)])
    return total


@compiled(inline=True)
def _forward(
    alpha: Array, work: Array, moves: Array, likely: Array, t: int, start: int
) -> None:
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
def _backward(
    beta: Array, work: Array, moves: Array, likely: Array, t: int, start: int
) -> None:
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
def _meet_forward(
    alpha: Array,
    work: Array,
    later: Array,
    moves: Array,
    likely: Array,
    pairs: Array,
    out: Array,
    t: int,
    start: int,
    w: float,
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
def _close(moves: Array, pairs: Array, start: int, size: int, out: Array) -> None:
    """No move leads to the first step of a session."""
    for k in range(start * size * size, (start + 1) * size * size):
        out[at(k)] = 0.0


@compiled(exact=True, allocates=False)
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
    """As :func:`glmhmm_pyro.chain.recursion.counts_over`; ``space`` is not used."""
    return counts_over(
        _fill,
        _forward,
        _backward,
        _meet_forward,
        _meet_backward,
        _close,
        states,
        out_transition,
        space,
        space,
        0.0,
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
