r"""The compiled recursion of expected counts in scaled space, for any kind of moves.

The scaled forward-backward recursion (Rabiner 1989, "A tutorial on hidden Markov models
and selected applications in speech recognition", section V.A). With
:math:`M_t(i, j) = A_t(i, j)\, \ell_t(j)`, the potential of a step from i to j and of
what is emitted there, and messages that have any scale,

.. math::
    \alpha_t = \alpha_{t-1} M_t, \quad \beta_{t-1} = M_t \beta_t, \quad
    \gamma_t(j) = \frac{\alpha_t(j)\, \beta_t(j)}{\sum_k \alpha_t(k)\, \beta_t(k)},
    \quad \xi_t(i, j) =
    \frac{\alpha_{t-1}(i)\, M_t(i, j)\, \beta_t(j)}{\sum_k \alpha_t(k)\, \beta_t(k)}.

Two messages run through a session at once, ``alpha`` from its first step and ``beta``
from its last, independent of each other so that the processor overlaps them. Until they
meet, each leaves its values in ``out_emission``; from there on each meets what the
other has left and puts the counts in its place. Everything is computed once.

Messages have a scale of their own, a power of two that is taken out every few steps;
each step's counts are normalised by their own sum. What underflows is lost: therefore
the log marginal is had in three ways, from ``alpha`` at the end, from ``beta`` at the
start and from both in the middle, and a session of which they disagree is done again in
log space. The arrays are those of :mod:`glmhmm_pyro.chain.log_kernels`, here flat, so
that the compiler knows every stride. ``states`` is a tuple, or for large numbers of
states an array, that has their number as its length.

A kind of moves (:mod:`glmhmm_pyro.chain.scaled_kernels`, one for every step;
:mod:`glmhmm_pyro.chain.stationary_kernels`, one for all of them) is these functions,
which are copied into its kernel:

- ``fill`` takes the exponentials of some steps' potentials, relative to the greatest
  emission of each, and returns the sum of these;
- ``forward`` makes alpha_t of alpha_{t-1}, ``backward`` beta_{t-1} of beta_t;
- ``meet_forward`` makes alpha_t where beta_t waits in ``out``, ``meet_backward``
  beta_{t-1} where alpha_{t-1} waits: they put the states' counts there, times the
  session's weight, note those of the moves, and return the sum that these had;
- ``close`` puts the counts of a session's moves where they belong.

``moves``, ``likely`` and ``pairs`` are theirs: exponentials of moves, and, if they keep
them apart, of a session's emissions, and what they add up of its moves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from glmhmm_pyro.chain.arithmetic import LOG_2, at, exp, rescale, stack_vector
from glmhmm_pyro.chain.compiler import compiled
from glmhmm_pyro.chain.log_kernels import Array

Move = Callable[..., Any]

# Steps whose exponentials are taken together, so that they are still in a near
# cache when the recursion reads them.
_TILE = 128


@compiled(inline=True)
def store(vector: Array, out: Array, t: int) -> None:
    for j in range(len(vector)):
        out[at(t * len(vector) + j)] = vector[j]


@compiled(inline=True)
def load(vector: Array, values: Array, t: int) -> None:
    for j in range(len(vector)):
        vector[j] = values[at(t * len(vector) + j)]


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
    fill: Move,
    forward: Move,
    backward: Move,
    states: tuple[float, ...] | np.ndarray,
    messages: tuple[Array, ...],
    transition: Array,
    emission: Array,
    session: tuple[int, int, int],
    moves: Array,
    likely: Array,
    out: Array,
) -> tuple[float, int, int]:
    """Advance both messages until they meet; what was taken from the scale of each."""
    (start, stop, half), (alpha, beta, work_a, work_b, _, _) = session, messages
    shift, power_a, power_b = 0.0, 0, 0
    store(alpha, out, start)
    a, b = start + 1, stop - 1
    while b >= half:
        num_a, num_b = min(half - a, _TILE), min(b - half + 1, _TILE)
        low = b - num_b + 1
        shift += fill(states, transition, emission, a, a + num_a, start, moves, likely)
        shift += fill(states, transition, emission, low, b + 1, start, moves, likely)
        for k in range(num_b):
            store(beta, out, b - k)
            backward(beta, work_b, moves, likely, b - k, start)
            if k < num_a:
                forward(alpha, work_a, moves, likely, a + k, start)
            if k & 3 == 3:
                power_a += rescale(alpha)
                power_b += rescale(beta)
            if k < num_a:
                store(alpha, out, a + k)
        a += num_a
        b -= num_b
    return shift, power_a, power_b


@compiled(inline=True)
def _part(
    meet_forward: Move,
    meet_backward: Move,
    messages: tuple[Array, ...],
    session: tuple[int, int, int],
    power_a: int,
    power_b: int,
    weight: float,
    moves: Array,
    likely: Array,
    pairs: Array,
    out: Array,
) -> tuple[float, bool]:
    """Counts from where the messages meet; a log marginal, and whether to trust it."""
    (start, stop, half), (alpha, beta, work_a, work_b, other_a, other_b) = (
        session,
        messages,
    )
    total = dot(alpha, beta)
    middle = np.log(total) + (power_a + power_b) * LOG_2
    put_product(alpha, beta, weight / total, out, half - 1)
    least, end, power_end = total, total, power_a + power_b
    for k in range(stop - half):
        a, b = half + k, half - 1 - k
        if k & 3 == 3:
            power_a += rescale(alpha)
            power_b += rescale(beta)
        total = meet_forward(
            alpha, work_a, other_a, moves, likely, pairs, out, a, start, weight
        )
        least = min(least, total)
        if b > start:
            end = meet_backward(
                beta, work_b, other_b, moves, likely, pairs, out, b, start, weight
            )
            power_end = power_b
            least = min(least, end)
    from_end = np.log(end) + power_end * LOG_2
    for j in range(len(alpha)):
        beta[j] = 1.0
    from_start = np.log(dot(alpha, beta)) + power_a * LOG_2
    return from_start, agree(from_start, middle, from_end, least)


@compiled(inline=True)
def counts_over(
    fill: Move,
    forward: Move,
    backward: Move,
    meet_forward: Move,
    meet_backward: Move,
    close: Move,
    states: tuple[float, ...] | np.ndarray,
    moves: Array,
    likely: Array,
    pairs: Array,
    by_move: float,
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
) -> int:
    """Log marginal and weighted expected counts of the sessions from first to last.

    Writes and adds as :func:`glmhmm_pyro.chain.log_kernels.counts_log` does, and
    returns how many sessions are to be done again by it: their log marginal is NaN.
    ``by_move`` is what was taken from the logarithm of every move.
    """
    size, doubtful = len(states), 0
    alpha, beta = stack_vector(states), stack_vector(states)
    messages = (
        alpha,
        beta,
        stack_vector(states),
        stack_vector(states),
        stack_vector(states),
        stack_vector(states),
    )
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        session = (start, stop, start + 1 + (stop - start - 1) // 2)
        entry = min(s, len(initial) // size - 1)
        shift = enter(alpha, beta, initial, entry, emission, start)
        moved, power_a, power_b = _approach(
            fill,
            forward,
            backward,
            states,
            messages,
            transition,
            emission,
            session,
            moves,
            likely,
            out_emission,
        )
        for k in range(len(pairs)):
            pairs[at(k)] = 0.0
        from_start, trusted = _part(
            meet_forward,
            meet_backward,
            messages,
            session,
            power_a,
            power_b,
            session_weights[s],
            moves,
            likely,
            pairs,
            out_emission,
        )
        # What forbids all moves does not concern a session of one step.
        single = stop - start == 1
        if not trusted or not (single or np.isfinite(by_move)):
            log_marginal[s] = np.nan
            doubtful += 1
            continue
        moved += 0.0 if single else by_move * (stop - start - 1)
        log_marginal[s] = shift + moved + from_start
        row = min(s, len(out_initial) // size - 1)
        add_row(out_emission, start, out_initial, row, size)
        close(moves, pairs, start, size, out_transition)
    return doubtful
