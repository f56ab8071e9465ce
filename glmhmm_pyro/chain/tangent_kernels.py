"""Compiled derivatives of expected counts, along many directions at once.

The counts are the gradient of the log marginal, so that these are products of its
Hessian with directions. Arrays are those of :mod:`glmhmm_pyro.chain.log_kernels`; those
of directions, and of what is made of them, have an axis more, the first: ``sets`` says
which of its rows are meant. One filter serves all of these.

As a loop over one session of ``n`` steps and for one direction, ``origins[t]`` being
P(z_{t-1} = i | z_t = j, y_0..t-1), ``filtered[t]`` P(z_t = j | y_0..t), and
``gamma[t]`` the posterior of z_t::

    moved, d_log_marginal = d_initial + d_emission[0], 0.0
    for t in range(n):
        if t > 0:
            move = tangent[t - 1][:, None] + d_transition[t]
            moved = sum(origins[t] * move, 0) + d_emission[t]
        mean = sum(filtered[t] * moved)
        tangent[t], d_log_marginal = moved - mean, d_log_marginal + mean
    out_emission[n - 1] = gamma[n - 1] * tangent[n - 1]
    for t in range(n - 1, 0, -1):
        move = tangent[t - 1][:, None] + d_transition[t]
        move = move - sum(origins[t] * move, 0)
        out_transition[t] = origins[t] * (gamma[t] * move + out_emission[t])
        out_emission[t - 1] = sum(out_transition[t], 1)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from glmhmm_pyro.chain.compiler import compiled
from glmhmm_pyro.chain.log_kernels import Array, filter_session, origin_weights

Numbers = NDArray[np.int64]


@compiled
def _posterior(
    initial: Array, transition: Array, emission: Array, start: int, stop: int
) -> tuple[Array, Array, Array, bool]:
    """Filtered states, origins and posterior of a session; whether it is possible."""
    steps, states = stop - start, emission.shape[1]
    log_predicted = np.empty((steps, states))
    log_filtered = np.empty((steps, states))
    log_probs = np.empty(steps)
    filter_session(
        initial, transition, emission, start, log_predicted, log_filtered, log_probs
    )
    filtered, gamma = np.exp(log_filtered), np.zeros((steps, states))
    origins = np.empty((steps, states, states))
    # Numbers one by one: to assign rows, numba compiles what words its error.
    for j in range(states):
        gamma[steps - 1, j] = filtered[steps - 1, j]
    for t in range(steps - 1, 0, -1):
        row = min(start + t, len(transition) - 1)
        origin_weights(log_filtered[t - 1], transition[row], origins[t])
        for i in range(states):
            for j in range(states):
                gamma[t - 1, i] += origins[t, i, j] * gamma[t, j]
    return filtered, origins, gamma, log_probs.sum() != -np.inf


@compiled
def origins_log(
    initial: Array,
    transition: Array,
    emission: Array,
    offsets: Numbers,
    first: int,
    last: int,
    origins: Array,
    gamma: Array,
) -> None:
    """Origins and posterior of all steps of some sessions, zeros where impossible.

    Args:
        origins: written, shape (steps of these, states, states).
        gamma: written, shape (steps of these, states).
    """
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        entry = initial[min(s, len(initial) - 1)]
        _, back, states, possible = _posterior(entry, transition, emission, start, stop)
        whole = 1.0 if possible else 0.0
        back[0] = 0.0
        for t in range(stop - start):
            own = start - offsets[first] + t
            for j in range(states.shape[1]):
                gamma[own, j] = whole * states[t, j]
                for i in range(states.shape[1]):
                    origins[own, i, j] = whole * back[t, i, j]


@compiled
def _carry(
    origins: Array,
    before: Array,
    sets: Numbers,
    d_transition: Array,
    d_row: int,
    now: Array,
) -> None:
    """Add what the messages before moved by, and the transition, to those now."""
    states, number = now.shape
    for j in range(states):
        for i in range(states):
            weight = origins[i, j]
            for b in range(number):
                move = before[i, b] + d_transition[sets[b], d_row, i, j]
                now[j, b] += weight * move


@compiled
def _centre(filtered: Array, tangent: Array, mean: Array) -> None:
    """Take the mean out of one step's derivatives."""
    states, number = tangent.shape
    mean[:] = 0.0
    for j in range(states):
        for b in range(number):
            mean[b] += filtered[j] * tangent[j, b]
    for j in range(states):
        for b in range(number):
            tangent[j, b] -= mean[b]


@compiled
def _forward(
    filtered: Array,
    origins: Array,
    start: int,
    session: int,
    sets: Numbers,
    d_initial: Array,
    d_transition: Array,
    d_emission: Array,
    tangent: Array,
    total: Array,
) -> None:
    """Derivatives of one session's log messages, and, added up, of its log marginal.

    The derivative of a log message is a posterior mean of what the messages before it
    moved by; its own mean is taken out at every step, so that it stays bounded.
    """
    steps, states, number = tangent.shape
    mean = np.empty(number)
    for t in range(steps):
        for j in range(states):
            for b in range(number):
                tangent[t, j, b] = d_emission[sets[b], start + t, j]
        if t > 0:
            row = min(start + t, d_transition.shape[1] - 1)
            _carry(origins[t], tangent[t - 1], sets, d_transition, row, tangent[t])
        else:
            row = min(session, d_initial.shape[1] - 1)
            for j in range(states):
                for b in range(number):
                    tangent[t, j, b] += d_initial[sets[b], row, j]
        _centre(filtered[t], tangent[t], mean)
        for b in range(number):
            total[b] += mean[b]


@compiled
def _back(
    origins: Array,
    gamma: Array,
    tangent: Array,
    sets: Numbers,
    d_transition: Array,
    d_row: int,
    d_gamma: Array,
    out_transition: Array,
    out_row: int,
    move: Array,
    earlier: Array,
) -> None:
    """One step back: the pairs' derivatives are added, ``d_gamma`` is renewed.

    Args:
        tangent: of the step before, shape (states, directions).
        move, earlier: memory of this shape.
    """
    states, number = tangent.shape
    mean = np.empty(number)
    earlier[:] = 0.0
    for j in range(states):
        mean[:] = 0.0
        for i in range(states):
            for b in range(number):
                move[i, b] = tangent[i, b] + d_transition[sets[b], d_row, i, j]
                mean[b] += origins[i, j] * move[i, b]
        for i in range(states):
            weight = origins[i, j]
            for b in range(number):
                moved = gamma[j] * (move[i, b] - mean[b]) + d_gamma[j, b]
                earlier[i, b] += weight * moved
                out_transition[sets[b], out_row, i, j] += weight * moved
    d_gamma[:] = earlier


@compiled
def _session(
    filtered: Array,
    origins: Array,
    gamma: Array,
    start: int,
    session: int,
    sets: Numbers,
    d_initial: Array,
    d_transition: Array,
    d_emission: Array,
    d_log_marginal: Array,
    out_initial: Array,
    out_transition: Array,
    out_emission: Array,
) -> None:
    """All derivatives of one possible session, ``gamma`` being weighted."""
    steps, states = filtered.shape
    number = len(sets)
    tangent, total = np.empty((steps, states, number)), np.zeros(number)
    move, earlier = np.empty((2, states, number))
    d_gamma = np.empty((states, number))
    _forward(
        filtered,
        origins,
        start,
        session,
        sets,
        d_initial,
        d_transition,
        d_emission,
        tangent,
        total,
    )
    for b in range(number):
        d_log_marginal[sets[b], session] = total[b]
    for j in range(states):
        for b in range(number):
            d_gamma[j, b] = gamma[steps - 1, j] * tangent[steps - 1, j, b]
    for t in range(steps - 1, -1, -1):
        for j in range(states):
            for b in range(number):
                out_emission[sets[b], start + t, j] = d_gamma[j, b]
        if t > 0:
            _back(
                origins[t],
                gamma[t],
                tangent[t - 1],
                sets,
                d_transition,
                min(start + t, d_transition.shape[1] - 1),
                d_gamma,
                out_transition,
                min(start + t, out_transition.shape[1] - 1),
                move,
                earlier,
            )
    row = min(session, out_initial.shape[1] - 1)
    for j in range(states):
        for b in range(number):
            out_initial[sets[b], row, j] += d_gamma[j, b]


@compiled
def tangents_log(
    initial: Array,
    transition: Array,
    emission: Array,
    offsets: Numbers,
    first: int,
    last: int,
    session_weights: Array,
    sets: Numbers,
    d_initial: Array,
    d_transition: Array,
    d_emission: Array,
    d_log_marginal: Array,
    out_initial: Array,
    out_transition: Array,
    out_emission: Array,
) -> None:
    """Derivatives of the log marginals and of the weighted counts along directions.

    The first seven arguments are those of
    :func:`glmhmm_pyro.chain.log_kernels.counts_log`; what is written must hold zeros,
    which is what an impossible session has.
    """
    for s in range(first, last):
        start, stop = offsets[s], offsets[s + 1]
        entry = initial[min(s, len(initial) - 1)]
        filtered, origins, gamma, possible = _posterior(
            entry, transition, emission, start, stop
        )
        gamma *= session_weights[s]
        if possible:
            _session(
                filtered,
                origins,
                gamma,
                start,
                s,
                sets,
                d_initial,
                d_transition,
                d_emission,
                d_log_marginal,
                out_initial,
                out_transition,
                out_emission,
            )
