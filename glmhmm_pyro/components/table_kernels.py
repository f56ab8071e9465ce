"""Compiled softmaxes of many short rows, and what expected counts make of them.

A row of free scores stands for itself and a reference of score 0. Exponentials are
taken of a tile of steps together, so that processors work on several at once, and what
a tile needs stays in a near cache.
"""

import numpy as np

from glmhmm_pyro.chain.arithmetic import at, exp, log
from glmhmm_pyro.chain.compiler import compiled

# Steps of a tile.
_TILE = 128
_TILE_OF_MOVES = 32


@compiled(reassociate=False)
def _probabilities(
    scores: np.ndarray, base: np.ndarray, tops: np.ndarray, totals: np.ndarray
) -> None:
    """Turn scores (rows, free) into probabilities, in place.

    ``base`` gets the probability of the reference, ``tops`` the largest score and
    ``totals`` the logarithm of the sum relative to it.
    """
    rows, free = scores.shape
    flat = scores.reshape(-1)
    for r in range(rows):
        top = 0.0
        for f in range(free):
            top = max(top, flat[r * free + f])
        tops[r] = top
        base[r] = -top
        for f in range(free):
            flat[r * free + f] -= top
    for i in range(flat.size):
        flat[i] = exp(flat[i])
    for r in range(rows):
        base[r] = exp(base[r])
    for r in range(rows):
        total = base[r]
        for f in range(free):
            total += flat[r * free + f]
        totals[r] = total
        share = 1.0 / total
        for f in range(free):
            flat[r * free + f] *= share
        base[r] *= share
    for r in range(rows):
        totals[r] = log(totals[r])


@compiled(reassociate=False)
def label_logs(scores: np.ndarray, labels: np.ndarray, logs: np.ndarray) -> None:
    """Log-probabilities of labels; scores (steps, states, free) become probabilities.

    Args:
        labels: of the steps, 0 for the reference, -1 where there is none: it counts as
            certain.
        logs: shape (steps, states), written.
    """
    steps, states, free = scores.shape
    base, tops, totals = np.empty((3, _TILE * states))
    for first in range(0, steps, _TILE):
        last = min(first + _TILE, steps)
        for t in range(first, last):
            for k in range(states):
                logs[t, k] = scores[t, k, labels[t] - 1] if labels[t] > 0 else 0.0
        _probabilities(scores[first:last].reshape(-1, free), base, tops, totals)
        for t in range(first, last):
            for k in range(states):
                r = (t - first) * states + k
                seen = logs[t, k] - tops[r] - totals[r]
                logs[t, k] = seen if labels[t] >= 0 else 0.0


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
def _spread_moves(free: np.ndarray, first: int, states: int, out: np.ndarray) -> None:
    """Scores of moves (steps, origins, destinations) in out, those of staying 0.

    Between a diagonal element and the next there are as many others as states.

    Args:
        free: of moves to other states, flat, those of a tile from ``first`` on.
    """
    for t in range(len(out) // (states * states)):
        here, there = first + t * states * (states - 1), t * states * states
        for i in range(states):
            out[at(there + i * (states + 1))] = 0.0
        for gap in range(states - 1):
            for k in range(states):
                score = free[at(here + gap * states + k)]
                out[at(there + gap * (states + 1) + k + 1)] = score


@compiled(reassociate=False)
def _normalise(
    rows: int, states: int, relative: np.ndarray, probs: np.ndarray, totals: np.ndarray
) -> None:
    """Probabilities of rows of scores, which are made relative to the largest.

    ``totals`` gets the logarithm of the sum of their exponentials.
    """
    for r in range(rows):
        top = 0.0
        for j in range(states):
            top = max(top, relative[at(r * states + j)])
        for j in range(states):
            relative[at(r * states + j)] -= top
    for k in range(rows * states):
        probs[at(k)] = exp(relative[at(k)])
    for r in range(rows):
        total = 0.0
        for j in range(states):
            total += probs[at(r * states + j)]
        totals[at(r)] = total
        share = 1.0 / total
        for j in range(states):
            probs[at(r * states + j)] *= share
    for r in range(rows):
        totals[at(r)] = log(totals[at(r)])


@compiled(reassociate=False)
def move_logs(scores: np.ndarray, logs: np.ndarray) -> None:
    """Log-probabilities of moves, staying being the reference.

    Scores (steps, origins, destinations - 1) become probabilities.

    Args:
        logs: shape (steps, origins * destinations), written; rows may lie apart.
    """
    steps, states, free = scores.shape
    size = states * states
    relative, probs = np.empty((2, _TILE_OF_MOVES * size))
    totals, flat = np.empty(_TILE_OF_MOVES * states), scores.reshape(-1)
    for first in range(0, steps, _TILE_OF_MOVES):
        number = min(_TILE_OF_MOVES, steps - first)
        _spread_moves(flat, first * states * free, states, relative[: number * size])
        _normalise(number * states, states, relative, probs, totals)
        for t in range(number):
            here, there = (first + t) * states * free, t * size
            for i in range(states):
                for j in range(states):
                    k = i * states + j
                    log_prob = relative[at(there + k)] - totals[at(t * states + i)]
                    logs[at(first + t), at(k)] = log_prob
            for gap in range(free):
                for k in range(states):
                    prob = probs[at(there + gap * (states + 1) + k + 1)]
                    flat[at(here + gap * states + k)] = prob


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
    base, tops, totals = np.empty((3, _TILE * problems))
    for first in range(0, steps, _TILE):
        last = min(first + _TILE, steps)
        for t in range(first, last):
            for p in range(problems):
                for f in range(free):
                    values[p] += counts[p, f, t] * scores[t, p, f]
        _probabilities(scores[first:last].reshape(-1, free), base, tops, totals)
        for t in range(first, last):
            for p in range(problems):
                r = (t - first) * problems + p
                values[p] -= total[p, t] * (tops[r] + totals[r])
                for f in range(free):
                    expected = total[p, t] * scores[t, p, f]
                    scores[t, p, f] = counts[p, f, t] - expected
