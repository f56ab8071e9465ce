"""Minimisers of polynomials through values and slopes, the trial steps of a search."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Known(NamedTuple):
    """What is known of a function of one variable at one place; None is unknown."""

    at: float
    value: float | None
    slope: float | None


def divide(numerator: float, denominator: float) -> float:
    """Quotient by the rules of IEEE 754, which Python replaces by an exception.

    Example:
        >>> divide(-1.0, 0.0)
        -inf
    """
    if denominator != 0.0:
        return numerator / denominator
    if numerator == 0.0 or math.isnan(numerator):
        return math.nan
    return math.copysign(math.inf, numerator) * math.copysign(1.0, denominator)


def clamp(value: float, low: float, high: float) -> float:
    """The value moved into [low, high]; nan becomes ``low``, as in MATLAB."""
    return min(value if value > low else low, high)


def cubic_minimizer(a: Known, b: Known, low: float, high: float) -> float:
    """Place in [low, high] where the cubic through two values and slopes is smallest.

    The local minimiser, moved into the interval; its middle where the cubic has none
    (Nocedal and Wright 2006, eq. 3.59). The order of the two points does not matter.

    Args:
        a: one place with its value and slope.
        b: another place with its value and slope.
        low: lower bound of the answer.
        high: upper bound of the answer.
    """
    if b.at < a.at:
        a, b = b, a
    if a.value is None or b.value is None or a.slope is None or b.slope is None:
        raise ValueError(f"a cubic needs both values and slopes, got {a} and {b}")
    width = b.at - a.at
    # Multiplied before it is divided: far out on a straight line, where rounding
    # decides whether there is a minimiser, the golden runs need this very order.
    mean = a.slope + b.slope - divide(3.0 * (a.value - b.value), -width)
    discriminant = mean * mean - a.slope * b.slope
    if discriminant < 0.0:
        return (low + high) / 2.0
    root = math.sqrt(discriminant)
    fraction = divide(b.slope + root - mean, b.slope - a.slope + 2.0 * root)
    return clamp(b.at - width * fraction, low, high)


def polynomial_minimizer(
    points: Sequence[Known], low: float | None = None, high: float | None = None
) -> float:
    """Place in [low, high] where the interpolating polynomial is smallest.

    The polynomial has the degree that the known values and slopes determine. Two full
    points, the usual case, are left to :func:`cubic_minimizer`; otherwise the bounds,
    the points and the critical points are compared, and the middle is the answer when
    the polynomial cannot be had (minFunc's ``polyinterp``).

    Args:
        points: two or three places with what is known there.
        low: lower bound of the answer; the lowest place by default.
        high: upper bound of the answer; the highest place by default.

    Example:
        >>> polynomial_minimizer([Known(0.0, 1.0, -1.0), Known(1.0, 0.5, None)])
        1.0
        >>> polynomial_minimizer([Known(0.0, 0.0, -1.0), Known(2.0, 2.0, None)])
        0.5
    """
    places = [point.at for point in points]
    low = min(places) if low is None else low
    high = max(places) if high is None else high
    if len(points) == 2 and all(None not in point for point in points):
        return cubic_minimizer(points[0], points[1], low, high)
    coefficients = _fit_polynomial(points)
    if not np.isfinite(coefficients).all():
        return (low + high) / 2.0
    best, smallest = (low + high) / 2.0, math.inf
    for place in [low, high, *places, *_critical_points(coefficients)]:
        if low <= place <= high:
            value = float(np.polyval(coefficients, place))
            if value < smallest:
                best, smallest = place, value
    return best


@np.errstate(all="ignore")
def _fit_polynomial(points: Sequence[Known]) -> np.ndarray:
    """Coefficients, highest power first; nan where the equations are singular."""
    values = [(point.at, point.value) for point in points if point.value is not None]
    slopes = [(point.at, point.slope) for point in points if point.slope is not None]
    degree = len(values) + len(slopes) - 1
    powers = np.arange(degree, -1, -1)
    rows = [np.float64(at) ** powers for at, _ in values]
    rows += [powers * np.float64(at) ** np.maximum(powers - 1, 0) for at, _ in slopes]
    target = np.array([known for _, known in values + slopes], dtype=np.float64)
    try:
        return np.linalg.solve(np.array(rows), target)
    except np.linalg.LinAlgError:
        return np.full(degree + 1, np.nan)


@np.errstate(all="ignore")
def _critical_points(coefficients: np.ndarray) -> list[float]:
    """Real places where the slope of the polynomial is zero."""
    slopes = np.polyder(coefficients)
    if not np.isfinite(slopes).all():
        return []
    try:
        roots = np.roots(slopes)
    except np.linalg.LinAlgError:
        return []
    return [float(root.real) for root in roots if root.imag == 0.0]
