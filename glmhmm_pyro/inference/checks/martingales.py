"""Tests of sums that have mean 0 at the right parameters, each a p value."""

import numpy as np
from scipy.special import chdtrc, eval_legendre, ndtr

# Share of a sum's variance that a single step may have for the sum to be normal.
_LARGEST_SHARE = 0.2

# Longest lag at which residuals are compared, and fewest pairs of steps at a lag.
_MOST_LAGS = 50
_FEWEST_PAIRS = 30


def z_score(terms: np.ndarray) -> float:
    """Sum of martingale differences over the root of the sum of their squares.

    It is near to standard normal for many terms (Hall & Heyde 1980, theorem 3.2), NaN
    where a few of them make up the sum.
    """
    squares = terms**2
    total = squares.sum()
    if total <= 0 or squares.max() > _LARGEST_SHARE * total:
        return float("nan")
    return float(terms.sum() / np.sqrt(total))


def lagged(
    residuals: np.ndarray, steps: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Autocorrelations of residuals within sessions, by lag.

    Args:
        residuals: with mean 0 and variance 1 given the past, shape (n,).
        steps: at which they are, shape (n,).
        starts: first steps of the sessions.

    Returns:
        Lags, means of the products, and their z scores; lags of few pairs are left out.
    """
    whole = np.full(int(steps[-1]) + 1 if len(steps) else 0, np.nan)
    whole[steps] = residuals
    session = np.searchsorted(starts, np.arange(len(whole)), "right")
    lags, means, scores = [], [], []
    for lag in range(1, min(_MOST_LAGS, len(whole) - 1) + 1):
        products = whole[lag:] * whole[:-lag]
        products = products[(session[lag:] == session[:-lag]) & ~np.isnan(products)]
        if len(products) < _FEWEST_PAIRS:
            continue
        score = z_score(products)
        if not np.isnan(score):
            lags.append(lag)
            means.append(products.mean())
            scores.append(score)
    return np.array(lags, int), np.array(means), np.array(scores)


def memory_p_value(scores: np.ndarray) -> float:
    """Of z scores of independent lags: the first, their sum, their squares, 3 tests."""
    if not len(scores):
        return 1.0
    together = float(scores.sum() / np.sqrt(len(scores)))
    scattered = float(chdtrc(len(scores), (scores**2).sum()))
    return of_several([two_sided(float(scores[0])), two_sided(together), scattered])


def smooth_p_value(uniform: np.ndarray) -> float:
    """Neyman's (1937) smooth test of uniformity, with four Legendre polynomials.

    They see the mean, spread, skew and tails of a law; where parameters were fitted to
    the same numbers it is conservative.
    """
    if not len(uniform):
        return 1.0
    moments = [
        np.sqrt((2 * order + 1) / len(uniform))
        * eval_legendre(order, 2 * uniform - 1).sum()
        for order in range(1, 5)
    ]
    return float(chdtrc(4, np.square(moments).sum()))


def of_several(p_values: list[float]) -> float:
    """The least of several p values, for as many tests (Bonferroni); 1 without any."""
    known = [p for p in p_values if not np.isnan(p)]
    return min(1.0, len(known) * min(known)) if known else 1.0


def two_sided(score: float) -> float:
    """p value of a z score; NaN of NaN."""
    return float(2 * ndtr(-abs(score)))
