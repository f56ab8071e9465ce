"""Compiled softmaxes of many short rows, and what expected counts make of them.

A row of free scores stands for itself and a reference of score 0. A tile of rows is
turned on its side, so that the same entry of all its rows lies together: what is done
to one row is done to several at once, however few entries it has.
"""

import numpy as np

from glmhmm_pyro.chain.arithmetic import at, exp, log, stack_vector
from glmhmm_pyro.chain.compiler import compiled

# Rows of a tile.
_TILE = 64
_ROWS = (0.0,) * _TILE


@compiled(reassociate=False, inline=True)
def _turn(
    flat: np.ndarray, start: int, stride: int, rows: int, free: int, scores: np.ndarray
) -> None:
    """Put a tile of rows into ``scores``, entry f of row r at ``f * _TILE + r``.

    Entry 0 is the reference; a row's free scores stand ``stride`` after another's.
    """
    for r in range(_TILE):
        scores[at(r)] = 0.0
    for f in range(free):
        for r in range(rows):
            scores[at((f + 1) * _TILE + r)] = flat[at(start + r * stride + f)]


@compiled(reassociate=False, inline=True)
def _softmax(
    free: int,
    scores: np.ndarray,
    probs: np.ndarray,
    totals: np.ndarray,
    shares: np.ndarray,
) -> None:
    """Probabilities of a tile of rows.

    Args:
        scores: made relative to the greatest of their row.
        probs: written, like the scores.
        totals: written, logarithms of the sums of a row's exponentials.
        shares: memory of a number by row.
    """
    for r in range(_TILE):
        totals[at(r)], shares[at(r)] = 0.0, 0.0
    for f in range(1, free + 1):
        for r in range(_TILE):
            shares[at(r)] = max(shares[at(r)], scores[at(f * _TILE + r)])
    for f in range(free + 1):
        for r in range(_TILE):
            score = scores[at(f * _TILE + r)] - shares[at(r)]
            scores[at(f * _TILE + r)] = score
            probs[at(f * _TILE + r)] = exp(score)
            totals[at(r)] += probs[at(f * _TILE + r)]
    for r in range(_TILE):
        shares[at(r)] = 1.0 / totals[at(r)]
        totals[at(r)] = log(totals[at(r)])
    for f in range(free + 1):
        for r in range(_TILE):
            probs[at(f * _TILE + r)] *= shares[at(r)]


@compiled(reassociate=False, inline=True)
def _keep(
    probs: np.ndarray, free: int, rows: int, flat: np.ndarray, start: int, stride: int
) -> None:
    """Put probabilities where the free scores of their rows are."""
    for f in range(free):
        for r in range(rows):
            flat[at(start + r * stride + f)] = probs[at((f + 1) * _TILE + r)]


@compiled(reassociate=False)
def label_logs(scores: np.ndarray, labels: np.ndarray, logs: np.ndarray) -> None:
    """Log-probabilities of labels; scores (steps, states, free) become probabilities.

    Args:
        labels: of the steps, 0 for the reference, -1 where there is none: it counts as
            certain.
        logs: shape (steps, states), written; contiguous.
    """
    steps, states, free = scores.shape
    flat, out = scores.reshape(-1), logs.reshape(-1)
    relative, probs = np.empty((2, (free + 1) * _TILE))
    totals, shares = stack_vector(_ROWS), stack_vector(_ROWS)
    for first in range(0, steps * states, _TILE):
        rows, start = min(_TILE, steps * states - first), first * free
        _turn(flat, start, free, rows, free, relative)
        _softmax(free, relative, probs, totals, shares)
        _keep(probs, free, rows, flat, start, free)
        for r in range(rows):
            label = labels[(first + r) // states]
            seen = relative[at(max(label, 0) * _TILE + r)] - totals[at(r)]
            out[at(first + r)] = seen if label >= 0 else 0.0


@compiled(reassociate=False)
def label_residuals(probs: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> None:
    """Probabilities (steps, states, free) become slopes by the scores.

    Args:
        labels: as for :func:`label_logs`.
        counts: how often every state is expected, shape (steps, states).
    """
    steps, states, free = probs.shape
    for t in range(steps):
        for k in range(states):
            count = counts[t, k] if labels[t] >= 0 else 0.0
            for f in range(free):
                probs[t, k, f] *= -count
            if labels[t] > 0:
                probs[t, k, labels[t] - 1] += count


@compiled(reassociate=False)
def move_table(scores: np.ndarray, out: np.ndarray, as_logs: bool) -> None:
    """Probabilities of moves or their logarithms, staying being the reference.

    Scores (steps, origins, destinations - 1) become probabilities.

    Args:
        out: shape (steps, origins, destinations), written.
        as_logs: whether logarithms are.
    """
    steps, states, free = scores.shape
    flat, stride = scores.reshape(-1), states * free
    relative, probs = np.empty((2, states * _TILE))
    totals, shares = stack_vector(_ROWS), stack_vector(_ROWS)
    for first in range(0, steps, _TILE):
        rows = min(_TILE, steps - first)
        for i in range(states):
            start = first * stride + i * free
            _turn(flat, start, stride, rows, free, relative)
            _softmax(free, relative, probs, totals, shares)
            _keep(probs, free, rows, flat, start, stride)
            if as_logs:
                for f in range(states):
                    for r in range(_TILE):
                        k = at(f * _TILE + r)
                        probs[k] = relative[k] - totals[at(r)]
            for f in range(states):
                j = i if f == 0 else f - (f <= i)
                for r in range(rows):
                    out[at(first + r), at(i), at(j)] = probs[at(f * _TILE + r)]


@compiled(reassociate=False)
def move_residuals(probs: np.ndarray, counts: np.ndarray) -> None:
    """Probabilities (steps, origins, destinations - 1) become slopes by the scores.

    Args:
        counts: how often every move is expected, (steps, origins, destinations).
    """
    steps, states, free = probs.shape
    for t in range(steps):
        for i in range(states):
            total = 0.0
            for j in range(states):
                total += counts[t, i, j]
            for f in range(free):
                moved = counts[t, i, f + (f >= i)]
                probs[t, i, f] = moved - total * probs[t, i, f]


@compiled(reassociate=False)
def shared_scores(
    predictors: np.ndarray, baseline: np.ndarray, scores: np.ndarray
) -> None:
    """Scores of moves against staying, from a baseline and predictors of destinations.

    Args:
        predictors: shape (steps, destinations - 1), that of state 0 being 0.
        baseline: shape (origins, destinations - 1).
        scores: shape (steps, origins, destinations - 1), written.
    """
    steps, states, free = scores.shape
    for t in range(steps):
        for i in range(states):
            own = predictors[t, i - 1] if i > 0 else 0.0
            for f in range(free):
                j = f + (f >= i)
                towards = predictors[t, j - 1] if j > 0 else 0.0
                scores[t, i, f] = baseline[i, f] + towards - own


@compiled(reassociate=False)
def shared_slopes(
    residuals: np.ndarray, by_predictor: np.ndarray, by_baseline: np.ndarray
) -> None:
    """Slopes by what :func:`shared_scores` takes, from those by the scores.

    Args:
        residuals: shape (steps, origins, destinations - 1).
        by_predictor: shape (steps, destinations - 1), written.
        by_baseline: shape (origins, destinations - 1), added to.
    """
    steps, states, free = residuals.shape
    by_predictor[:] = 0.0
    for t in range(steps):
        for i in range(states):
            for f in range(free):
                j, slope = f + (f >= i), residuals[t, i, f]
                by_baseline[i, f] += slope
                if j > 0:
                    by_predictor[t, j - 1] += slope
                if i > 0:
                    by_predictor[t, i - 1] -= slope


@compiled(reassociate=False)
def soft_residuals(
    scores: np.ndarray, counts: np.ndarray, total: np.ndarray, values: np.ndarray
) -> None:
    """Expected log-probabilities are added to values; scores become their slopes.

    Args:
        scores: free ones (steps, problems, free), changed.
        counts: expected counts of these (problems, free, steps).
        total: those of all, the reference included, shape (problems, steps).
        values: shape (problems,).
    """
    steps, problems, free = scores.shape
    flat, stride = scores.reshape(-1), problems * free
    relative, probs = np.empty((2, (free + 1) * _TILE))
    totals, shares = stack_vector(_ROWS), stack_vector(_ROWS)
    sums = np.empty(problems * _TILE)
    for k in range(problems * _TILE):
        sums[k] = 0.0
    for first in range(0, steps, _TILE):
        rows = min(_TILE, steps - first)
        for p in range(problems):
            start = first * stride + p * free
            _turn(flat, start, stride, rows, free, relative)
            _softmax(free, relative, probs, totals, shares)
            for r in range(rows):
                # The reference, of score 0, is relative to the greatest.
                above = totals[at(r)] - relative[at(r)]
                sums[at(p * _TILE + r)] -= total[p, first + r] * above
            for f in range(free):
                for r in range(rows):
                    count, k = counts[p, f, first + r], at(start + r * stride + f)
                    expected = total[p, first + r] * probs[at((f + 1) * _TILE + r)]
                    sums[at(p * _TILE + r)] += count * flat[k]
                    flat[k] = count - expected
    for p in range(problems):
        for r in range(_TILE):
            values[p] += sums[at(p * _TILE + r)]
