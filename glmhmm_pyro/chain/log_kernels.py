"""Compiled recursions in log space: exact for any potentials, for any number of states.

Every function works on one parameter set and on the sessions ``first`` to ``last``; the
sessions lie end to end, session ``s`` on the steps ``offsets[s]:offsets[s + 1]``.
Arrays: ``initial`` (sessions|1, states), ``transition`` (steps|1, states, states),
``emission`` (steps, states), all C-contiguous float64. An axis of size 1 is shared, and
what belongs to it is added up.

``weights`` stands for P(z_{t-1} = i | z_t = j, y_0..t-1), an (origin, destination)
matrix whose columns sum to one: with it the backward recursions need no messages of
their own and no scaling.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glmhmm_pyro.chain.compiler import compiled

Array = NDArray[np.float64]


@compiled(inline=True)
def condition(
    log_predicted: Array,
    emission: Array,
    start: int,
    t: int,
    log_filtered: Array,
    log_probs: Array,
) -> None:
    """Filtered states of step t of a session, from those predicted."""
    states, top, total = log_filtered.shape[1], -np.inf, 0.0
    for j in range(states):
        log_filtered[t, j] = log_predicted[t, j] + emission[start + t, j]
        top = max(top, log_filtered[t, j])
    shift = top if top > -np.inf else 0.0
    for j in range(states):
        total += np.exp(log_filtered[t, j] - shift)
    log_probs[t] = shift + np.log(total)
    shift = 0.0 if log_probs[t] == -np.inf else log_probs[t]
    for j in range(states):
        log_filtered[t, j] -= shift


@compiled
def filter_session(
    initial: Array,
    transition: Array,
    emission: Array,
    start: int,
    log_predicted: Array,
    log_filtered: Array,
    log_probs: Array,
) -> None:
    r"""Normalised log messages of one session, and the logs of their normalisers.

    .. math:: p(z_t = j \mid y_{0..t}) \propto
        \ell_t(j) \sum_i p(z_{t-1} = i \mid y_{0..t-1}) A_t(i, j)

    As a loop over its ``n`` steps::

        log_predicted[0] = initial
        for t in range(n):
            if t > 0:
                before = log_filtered[t - 1][:, None]
                log_predicted[t] = logsumexp(before + transition[t], 0)
            log_probs[t] = logsumexp(log_predicted[t] + emission[t])
            log_filtered[t] = log_predicted[t] + emission[t] - log_probs[t]
    """
    steps, states = log_filtered.shape
    for t in range(steps):
        row = min(start + t, len(transition) - 1)
        for j in range(states):
            if t == 0:
                log_predicted[t, j] = initial[j]
                continue
            top = -np.inf
            for i in range(states):
                top = max(top, log_filtered[t - 1, i] + transition[row, i, j])
            shift = top if top > -np.inf else 0.0
            total = 0.0
            for i in range(states):
                log_weight = log_filtered[t - 1, i] + transition[row, i, j]
                total += np.exp(log_weight - shift)
            log_predicted[t, j] = shift + np.log(total)
        condition(log_predicted, emission, start, t, log_filtered, log_probs)


@compiled
def origin_weights(log_filtered: Array, transition: Array, weights: Array) -> None:
    r"""Posterior of the origin given the destination; zeros where impossible.

    .. math:: p(z_{t-1} = i \mid z_t = j, y_{0..t-1}) \propto
        p(z_{t-1} = i \mid y_{0..t-1}) A_t(i, j)

    Without a loop: ``weights = softmax(log_filtered[:, None] + transition, 0)``.
    """
    states, destinations = weights.shape
    for j in range(destinations):
        top = -np.inf
        for i in range(states):
            top = max(top, log_filtered[i] + transition[i, j])
        shift = top if top > -np.inf else 0.0
        total = 0.0
        for i in range(states):
            weights[i, j] = np.exp(log_filtered[i] + transition[i, j] - shift)
            total += weights[i, j]
        scale = 1.0 if total == 0.0 else 1.0 / total
        for i in range(states):
            weights[i, j] *= scale


@compiled
def clear_rows(out_transition: Array, start: int, stop: int) -> None:
    """Set the rows of one session to zero, unless they are shared by all steps."""
    if len(out_transition) > 1:
        out_transition[start:stop] = 0.0


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
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        filter_session(
            initial[min(s, len(initial) - 1)],
            transition,
            emission,
            start,
            log_predicted[start:stop],
            log_filtered[start:stop],
            log_probs[start:stop],
        )


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
    r"""Log marginal and weighted expected counts of the sessions, from the last step.

    .. math:: \xi_t(i, j) = p(z_{t-1} = i \mid z_t = j, y_{0..t-1})\, \gamma_t(j),
        \quad \gamma_{t-1}(i) = \sum_j \xi_t(i, j)

    As a loop over one session of ``n`` steps, after the filter::

        log_marginal, gamma = sum(log_probs), exp(log_filtered[n - 1])
        for t in range(n - 1, 0, -1):
            out_emission[t] = gamma
            weights = softmax(log_filtered[t - 1][:, None] + transition[t], 0)
            out_transition[t] = weights * gamma
            gamma = sum(out_transition[t], 1)
        out_emission[0] = out_initial = gamma

    ``out_emission`` and the rows of ``out_transition`` that belong to one step are
    written, rows that are shared and ``out_initial`` are added to.
    """
    states = emission.shape[1]
    weights = np.empty((states, states))
    gamma, earlier = np.empty(states), np.empty(states)
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        steps = stop - start
        log_predicted = np.empty((steps, states))
        log_filtered = np.empty((steps, states))
        log_probs = np.empty(steps)
        filter_session(
            initial[min(s, len(initial) - 1)],
            transition,
            emission,
            start,
            log_predicted,
            log_filtered,
            log_probs,
        )
        log_marginal[s] = log_probs.sum()
        # An impossible session has no posterior: its counts are zero, not NaN.
        possible = log_marginal[s] != -np.inf
        for j in range(states):
            gamma[j] = np.exp(log_filtered[steps - 1, j]) if possible else 0.0
            gamma[j] *= session_weights[s]
        clear_rows(out_transition, start, stop)
        for t in range(steps - 1, 0, -1):
            out_emission[start + t] = gamma
            row = min(start + t, len(transition) - 1)
            out_row = min(start + t, len(out_transition) - 1)
            origin_weights(log_filtered[t - 1], transition[row], weights)
            earlier[:] = 0.0
            for i in range(states):
                for j in range(states):
                    xi = weights[i, j] * gamma[j]
                    earlier[i] += xi
                    out_transition[out_row, i, j] += xi
            gamma[:] = earlier
        out_emission[start] = gamma
        out_initial[min(s, len(out_initial) - 1)] += gamma


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
    r"""Most probable path of every session; of equals, the state of lowest number.

    .. math:: \delta_t(j) = \ell_t(j) \max_i \delta_{t-1}(i) A_t(i, j)

    In logarithms, as a loop over one session of ``n`` steps (Viterbi 1967)::

        score = initial + emission[0]
        for t in range(1, n):
            paths = score[:, None] + transition[t]
            origin[t] = argmax(paths, 0)
            score = max(paths, 0) + emission[t]
        state[n - 1], log_prob = argmax(score), max(score)
        for t in range(n - 1, 0, -1):
            state[t - 1] = origin[t, state[t]]
    """
    states = emission.shape[1]
    score, later = np.empty(states), np.empty(states)
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        origin = np.empty((stop - start, states), np.int32)
        for j in range(states):
            score[j] = initial[min(s, len(initial) - 1), j] + emission[start, j]
        for t in range(start + 1, stop):
            row = min(t, len(transition) - 1)
            for j in range(states):
                best = 0
                for i in range(1, states):
                    here = score[i] + transition[row, i, j]
                    if here > score[best] + transition[row, best, j]:
                        best = i
                origin[t - start, j] = best
                later[j] = score[best] + transition[row, best, j] + emission[t, j]
            score[:] = later
        state = np.argmax(score)
        log_prob[s] = score[state]
        for t in range(stop - 1, start - 1, -1):
            out_states[t] = state
            state = origin[t - start, state] if t > start else state


@compiled(inline=True)
def chosen(probs: Array, top: float, uniform: float) -> int:
    """A state drawn by logarithms of probabilities up to a constant, changed.

    Args:
        top: the greatest of them.
    """
    state, total, running = 0, 0.0, 0.0
    for i in range(len(probs)):
        probs[i] = np.exp(probs[i] - top)
        total += probs[i]
    for i in range(len(probs)):
        if probs[i] > 0.0 and running <= uniform * total:
            state = i
        running += probs[i]
    return state


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
    r"""Paths of states drawn from their posterior, one uniform number a step.

    .. math:: p(z_t = i \mid z_{t+1} = j, y) \propto
        p(z_t = i \mid y_{0..t}) A_{t+1}(i, j)

    As a loop over one session of ``n`` steps, from the last one::

        probs = exp(log_filtered[n - 1])
        for t in range(n - 1, -1, -1):
            left = uniforms[t] * sum(probs)
            state[t] = searchsorted(cumsum(probs), left, side="right")
            if t > 0:
                probs = exp(log_filtered[t - 1] + transition[t, :, state[t]])
    """
    states = log_filtered.shape[1]
    probs = np.empty(states)
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        state = 0
        for t in range(stop - 1, start - 1, -1):
            top = -np.inf
            for i in range(states):
                probs[i] = log_filtered[t, i]
                if t < stop - 1:
                    row = min(t + 1, len(transition) - 1)
                    probs[i] += transition[row, i, state]
                top = max(top, probs[i])
            state = chosen(probs, top, uniforms[t])
            out_states[t] = state
