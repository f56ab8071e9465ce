"""What behaviour is compared by: autocorrelation, runs, curves, visits of states."""

from collections.abc import Callable

import numpy as np

# Length of runs and visits up to which they are told one by one.
LONGEST = 30

# A statistic of values, of many simulations side by side (simulations, steps).
Statistic = Callable[[np.ndarray], np.ndarray]


def autocorrelation(
    values: np.ndarray, starts: np.ndarray, lags: np.ndarray
) -> np.ndarray:
    """Correlation within sessions of values so many steps apart, by simulation and lag.

    Args:
        values: shape (simulations, steps), NaN where not observed.
        starts: first steps of the sessions.
        lags: in steps.
    """
    session = np.searchsorted(starts, np.arange(values.shape[1]), "right")
    centred = values - np.nanmean(values, 1, keepdims=True)
    variance = np.nanmean(centred**2, 1)
    found = np.full((len(values), len(lags)), np.nan)
    for place, lag in enumerate(lags):
        same = session[lag:] == session[:-lag]
        if same.any():
            products = centred[:, lag:][:, same] * centred[:, :-lag][:, same]
            found[:, place] = np.nanmean(products, 1)
    return found / np.where(variance > 0, variance, np.nan)[:, None]


def survival(values: np.ndarray, starts: np.ndarray, longest: int) -> np.ndarray:
    """Share of runs of equal values that last longer than 1, 2, ... steps.

    Args:
        values: shape (simulations, steps); runs end with sessions.
        starts: first steps of the sessions.
        longest: number of lengths.
    """
    begins = np.zeros(values.shape[1], dtype=bool)
    begins[starts] = True
    found = []
    for row in values:
        first = np.flatnonzero(begins | (np.diff(row, prepend=np.nan) != 0))
        lengths = np.diff(np.append(first, len(row)))
        found.append([(lengths > n).mean() for n in range(1, longest + 1)])
    return np.array(found)


def in_bins(values: np.ndarray, bins: np.ndarray, number: int) -> np.ndarray:
    """Means of values in bins of steps, shape (simulations, bins)."""
    return np.stack([np.nanmean(values[:, bins == b], 1) for b in range(number)], 1)


def bins_of(column: np.ndarray, most: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Bins of a covariate's values: their means, and the bin of every step."""
    values, bins = np.unique(column, return_inverse=True)
    if len(values) > most:
        edges = np.unique(np.quantile(column, np.linspace(0, 1, most + 1)[1:-1]))
        bins = np.unique(np.searchsorted(edges, column, "right"), return_inverse=True)[
            1
        ]
        values = np.bincount(bins, column) / np.bincount(bins)
    return values, bins
