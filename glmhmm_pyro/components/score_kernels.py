r"""Compiled covariances of a chain's scores: what hidden states hide of a curvature.

The score of a path is the slope of its log-probability by the numbers that softmaxes
are made of. Louis' identity (1982, "Finding the observed information matrix when using
the EM algorithm") has the second derivatives of the log marginal as the covariance of
the score over the posterior of paths, less the expected information of the softmaxes.
With :math:`m_t(j)` the mean of the scores up to t given that state j is reached, which
one pass forward gives, the covariance is a sum over steps of those with :math:`m`,

.. math:: \mathrm{Cov}(S, S) = \sum_t C_t + C_t^\top, \quad
    C_t = \mathrm{Cov}\big(s_t, \; m_{t-1}(z_{t-1}) + \tfrac12 s_t\big)

A score is what a number is expected to differ by, times the covariates of the step, so
that of C_t the left side alone is written here, a row for every predictor: the product
with covariates is one of matrices, of many steps together. Half of the information is
taken off; all rows end with the slope. All means are posterior ones, taken out of ``m``
(states, numbers) at every step. Arrays of softmaxes are (groups, free): first states
are one, origins or states are many.
"""

import numpy as np

from glmhmm_pyro.chain.compiler import compiled


@compiled
def _enter(
    gamma: np.ndarray, probs: np.ndarray, weight: float, m: np.ndarray, out: np.ndarray
) -> None:
    """A session begins: rows of the probabilities of first states are added to."""
    m[:] = 0.0
    free = probs.shape[1]
    for f in range(free):
        out[f, -1] += weight * (gamma[f] - probs[0, f])
        for g in range(free):
            same = 1.0 if f == g else 0.0
            m[f, g] = same - gamma[g]
            known = gamma[f] * m[f, g] - probs[0, f] * (same - probs[0, g])
            out[f, g] += 0.5 * weight * known


@compiled
def _fill(
    slope: float, numbers: np.ndarray, width: int, weight: float, row: np.ndarray
) -> None:
    """A row: its slope times the mean of the scores so far, and the slope."""
    for p in range(width):
        row[p] = weight * slope * numbers[p]
    row[width] = weight * slope


@compiled
def _add(
    factor: float, covariates: np.ndarray, first: int, number: int, row: np.ndarray
) -> None:
    """Add a factor times the covariates where a predictor's numbers stand."""
    size = len(covariates)
    place = first + number * size
    for d in range(size):
        row[place + d] += factor * covariates[d]


@compiled
def _count_moves(
    origins: np.ndarray,
    gamma: np.ndarray,
    probs: np.ndarray,
    has_reference: bool,
    pairs: np.ndarray,
    left: np.ndarray,
    slopes: np.ndarray,
) -> None:
    """Expected moves to free destinations, from every origin, and their slopes."""
    groups, free = probs.shape
    for i in range(groups):
        left[i] = 0.0
        for j in range(len(gamma)):
            left[i] += origins[i, j] * gamma[j]
        for f in range(free):
            j = f + 1 if has_reference and f >= i else f
            pairs[i, f] = origins[i, j] * gamma[j]
            slopes[i, f] = pairs[i, f] - left[i] * probs[i, f]


@compiled
def _renew(
    origins: np.ndarray,
    probs: np.ndarray,
    slopes: np.ndarray,
    covariates: np.ndarray,
    has_reference: bool,
    first: int,
    m: np.ndarray,
    later: np.ndarray,
) -> None:
    """Means of the scores up to a step, from those before it; slopes are taken out."""
    states, width = m.shape
    groups, free = probs.shape
    for j in range(states):
        later[j] = 0.0
        for i in range(states):
            for p in range(width):
                later[j, p] += origins[i, j] * m[i, p]
        for i in range(groups):
            for f in range(free):
                to = f + 1 if has_reference and f >= i else f
                moved = origins[i, j] * ((1.0 if to == j else 0.0) - probs[i, f])
                factor = moved - slopes[i, f]
                _add(factor, covariates, first, i * free + f, later[j])
    # Numbers one by one: to assign arrays, numba compiles what words its error.
    for j in range(states):
        for p in range(width):
            m[j, p] = later[j, p]


@compiled
def _move(
    origins: np.ndarray,
    gamma: np.ndarray,
    probs: np.ndarray,
    covariates: np.ndarray,
    has_reference: bool,
    first: int,
    weight: float,
    m: np.ndarray,
    later: np.ndarray,
    work: np.ndarray,
    rows: np.ndarray,
) -> None:
    """A step of the chain: rows of the transitions are written, ``m`` is renewed."""
    states, width = m.shape
    groups, free = probs.shape
    pairs, slopes, left = work[0], work[1], work[2, :, 0]
    _count_moves(origins, gamma, probs, has_reference, pairs, left, slopes)
    for i in range(groups):
        for f in range(free):
            row = rows[i * free + f]
            _fill(slopes[i, f], m[i], width, weight, row)
            for k in range(groups):
                for g in range(free):
                    known = -slopes[i, f] * slopes[k, g]
                    if i == k:
                        known += 2.0 * left[i] * probs[i, f] * probs[i, g]
                        known -= pairs[i, f] * probs[i, g] + probs[i, f] * pairs[i, g]
                        known += slopes[i, f] if f == g else 0.0
                    factor = 0.5 * weight * known
                    _add(factor, covariates, first, k * free + g, row)
    _renew(origins, probs, slopes, covariates, has_reference, first, m, later)


@compiled
def _emit(
    gamma: np.ndarray,
    probs: np.ndarray,
    label: int,
    covariates: np.ndarray,
    first: int,
    weight: float,
    m: np.ndarray,
    rows: np.ndarray,
) -> None:
    """What is emitted at a step: rows of the emissions are written, ``m`` moves on."""
    states, width = m.shape
    free = probs.shape[1]
    if label < 0:
        rows[:] = 0.0
        return
    for k in range(states):
        for f in range(free):
            row = rows[k * free + f]
            away = (1.0 if label == f + 1 else 0.0) - probs[k, f]
            _fill(gamma[k] * away, m[k], width, weight, row)
            for i in range(states):
                for g in range(free):
                    other = (1.0 if label == g + 1 else 0.0) - probs[i, g]
                    known = -gamma[k] * away * gamma[i] * other
                    if i == k:
                        known += gamma[k] * (away * other + probs[k, f] * probs[k, g])
                        known -= gamma[k] * probs[k, f] if f == g else 0.0
                    factor = 0.5 * weight * known
                    _add(factor, covariates, first, i * free + g, row)
    for i in range(states):
        for g in range(free):
            other = (1.0 if label == g + 1 else 0.0) - probs[i, g]
            for k in range(states):
                moved = (1.0 if i == k else 0.0) - gamma[i]
                _add(moved * other, covariates, first, i * free + g, m[k])


@compiled
def _emit_given(
    gamma: np.ndarray,
    scores: np.ndarray,
    weight: float,
    m: np.ndarray,
    mean: np.ndarray,
    rows: np.ndarray,
) -> None:
    """What is emitted at a step: rows are added to by scores, ``m`` moves on.

    Args:
        scores: of the last numbers, given the state, shape (states, last numbers).
        mean: memory, shape (last numbers,).
    """
    states, width = m.shape
    number = scores.shape[1]
    first = width - number
    for q in range(number):
        mean[q] = 0.0
        for k in range(states):
            mean[q] += gamma[k] * scores[k, q]
    for k in range(states):
        for r in range(number):
            slope = weight * gamma[k] * scores[k, r]
            if slope != 0.0:
                for p in range(width):
                    rows[r, p] += slope * m[k, p]
                for q in range(number):
                    rows[r, first + q] += 0.5 * slope * (scores[k, q] - mean[q])
                rows[r, width] += slope
    for k in range(states):
        for q in range(number):
            m[k, first + q] += scores[k, q] - mean[q]


@compiled
def covary(
    begins: np.ndarray,
    weights: np.ndarray,
    origins: np.ndarray,
    gamma: np.ndarray,
    entry_probs: np.ndarray,
    move_probs: np.ndarray,
    move_index: np.ndarray,
    move_covariates: np.ndarray,
    has_reference: bool,
    label_probs: np.ndarray,
    label_index: np.ndarray,
    label_covariates: np.ndarray,
    labels: np.ndarray,
    m: np.ndarray,
    out_entry: np.ndarray,
    out_moves: np.ndarray,
    out_labels: np.ndarray,
) -> None:
    """Rows of some consecutive steps, on from the means of the scores before them.

    Args:
        begins: whether a session begins at a step, shape (steps,).
        weights: how often its session counts, shape (steps,).
        origins: P(z_t-1 = i | z_t = j, y_0..t-1), shape (steps, states, states).
        gamma: posterior of the states, shape (steps, states).
        entry_probs, move_probs, label_probs: of softmaxes, shape (kinds, groups, free).
        move_index, label_index: which kind each step is of, shape (steps,).
        move_covariates, label_covariates: shape (steps, features).
        has_reference: whether staying has no number of its own.
        labels: of the kinds, 0 for the reference, -1 for none.
        m: means of scores given the state before, shape (states, numbers), renewed.
        out_entry: added to, shape (states or 0, numbers + 1).
        out_moves, out_labels: written, shape (steps, groups * free, numbers + 1).
    """
    groups, free = move_probs.shape[1:]
    later, work = np.empty_like(m), np.empty((3, groups, max(free, 1)))
    first_moves = entry_probs.shape[1] * entry_probs.shape[2]
    first_labels = first_moves + groups * free * move_covariates.shape[1]
    for t in range(len(begins)):
        if begins[t]:
            _enter(gamma[t], entry_probs[0], weights[t], m, out_entry)
            out_moves[t] = 0.0
        else:
            _move(
                origins[t],
                gamma[t],
                move_probs[move_index[t]],
                move_covariates[t],
                has_reference,
                first_moves,
                weights[t],
                m,
                later,
                work,
                out_moves[t],
            )
        _emit(
            gamma[t],
            label_probs[label_index[t]],
            labels[label_index[t]],
            label_covariates[t],
            first_labels,
            weights[t],
            m,
            out_labels[t],
        )


@compiled
def covary_given(
    begins: np.ndarray,
    weights: np.ndarray,
    origins: np.ndarray,
    gamma: np.ndarray,
    entry_probs: np.ndarray,
    move_probs: np.ndarray,
    move_index: np.ndarray,
    move_covariates: np.ndarray,
    has_reference: bool,
    scores: np.ndarray,
    m: np.ndarray,
    out_entry: np.ndarray,
    out_emissions: np.ndarray,
    out_moves: np.ndarray,
) -> None:
    """As :func:`covary`, where scores of the emissions are given.

    Args:
        scores: given the state, shape (steps, states, numbers of emissions), which are
            the last.
        out_emissions: added to, shape (numbers of emissions, numbers + 1).
    """
    groups, free = move_probs.shape[1:]
    later, work = np.empty_like(m), np.empty((3, groups, max(free, 1)))
    mean = np.empty(scores.shape[2])
    first_moves = entry_probs.shape[1] * entry_probs.shape[2]
    for t in range(len(begins)):
        if begins[t]:
            _enter(gamma[t], entry_probs[0], weights[t], m, out_entry)
            out_moves[t] = 0.0
        else:
            _move(
                origins[t],
                gamma[t],
                move_probs[move_index[t]],
                move_covariates[t],
                has_reference,
                first_moves,
                weights[t],
                m,
                later,
                work,
                out_moves[t],
            )
        _emit_given(gamma[t], scores[t], weights[t], m, mean, out_emissions)
