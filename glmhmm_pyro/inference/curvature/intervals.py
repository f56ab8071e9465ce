r"""Intervals from standard errors, each on a scale on which the value has no border.

.. math:: f^{-1}\big(f(x) \pm z \, f'(x) \, \mathrm{se}(x)\big), \qquad
    f(x) = \log(x - a) - \log(b - x)

for a value between a and b, where a term without a border is left out: log-odds for
probabilities, logarithms for positive numbers, Fisher's z (twice) for correlations, the
value itself for weights. An interval never leaves the support, and it is that of each
value as it is shown: it does not matter which state or class is the reference (Fisher
1921; Brown, Cai & DasGupta 2001, section 4.1.2).
"""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from torch.distributions import constraints

if TYPE_CHECKING:
    import xarray as xr

_REAL, _POSITIVE = (-math.inf, math.inf), (0.0, math.inf)
_PROBABILITY, _CORRELATION = (0.0, 1.0), (-1.0, 1.0)

# Bounds of the entries of what has no bounds of its own; of matrices, those off the
# diagonal and those on it.
_OF_ENTRIES = {
    type(constraints.boolean): (_PROBABILITY, _PROBABILITY),
    type(constraints.simplex): (_PROBABILITY, _PROBABILITY),
    type(constraints.corr_cholesky): (_CORRELATION, _PROBABILITY),
    type(constraints.lower_cholesky): (_REAL, _POSITIVE),
    type(constraints.positive_definite): (_REAL, _POSITIVE),
    type(constraints.positive_semidefinite): (_REAL, _POSITIVE),
}


class SupportBounds(NamedTuple):
    """Ends of what values can be, infinite where there is none, as they broadcast."""

    lower: ArrayLike
    upper: ArrayLike

    @classmethod
    def of(
        cls, support: constraints.Constraint, shape: tuple[int, ...]
    ) -> "SupportBounds":
        """Bounds of the entries of an array whose values have a support.

        Args:
            support: a constraint of torch or Pyro.
            shape: of the array.
        """
        while hasattr(support, "base_constraint"):
            support = support.base_constraint
        kind = type(support)
        if kind not in _OF_ENTRIES:
            lower = getattr(support, "lower_bound", -math.inf)
            upper = getattr(support, "upper_bound", math.inf)
            return cls(np.asarray(lower, dtype=float), np.asarray(upper, dtype=float))
        others, diagonal = _OF_ENTRIES[kind]
        on_it = np.eye(shape[-1]) if diagonal != others else np.zeros(())
        return cls(*(np.where(on_it, d, o) for d, o in zip(diagonal, others)))


def interval(
    values: np.ndarray, errors: np.ndarray, bounds: SupportBounds, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends; NaN where an error is, or where a value is at a border.

    What has no error, such as the weights of a reference, is its own interval.

    Args:
        values: any shape.
        errors: their standard errors, the same shape.
        bounds: of the values.
        level: how often the interval should hold the true value.

    Example:
        >>> low, high = interval(np.array(0.9), np.array(0.1), SupportBounds(0.0, 1.0))
        >>> print(low.round(2), high.round(2))
        0.5 0.99
    """
    low, high = (np.broadcast_to(end, values.shape) for end in bounds)
    no_low, no_high = np.isinf(low), np.isinf(high)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        below = np.where(no_low, 1.0, values - low)
        above = np.where(no_high, 1.0, high - values)
        slope = np.where(no_low, 0.0, 1 / below) + np.where(no_high, 0.0, 1 / above)
        slope = np.where(no_low & no_high, 1.0, slope)
        step = NormalDist().inv_cdf((1 + level) / 2) * slope * errors
        inside = (below > 0) & (above > 0) & np.isfinite(step)
        ends = []
        for move in (-step, step):
            odds = below / above * np.exp(move)
            cases = [no_low & no_high, no_high, no_low]
            values_there = [values + move, low + odds, high - 1 / odds]
            between = low + (high - low) / (1 + 1 / odds)
            end = np.where(inside, np.select(cases, values_there, between), np.nan)
            ends.append(np.where(np.equal(errors, 0), values, end))
    return ends[0], ends[1]


def named_intervals(
    parameters: "Mapping[str, xr.DataArray]",
    errors: "Mapping[str, xr.DataArray]",
    supports: Mapping[str, constraints.Constraint],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Ends of the 95 % interval of every parameter, in its shape.

    Args:
        parameters: as users are shown them, by site.
        errors: their standard errors.
        supports: of the sites.
    """
    return {
        name: interval(
            array.values,
            errors[name].values,
            SupportBounds.of(supports[name], array.shape),
        )
        for name, array in parameters.items()
    }
