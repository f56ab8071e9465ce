"""The objective along a line: what both line searches see of a problem."""

import math
from collections.abc import Generator
from typing import NamedTuple

import numpy as np
from scipy.linalg.blas import idamax

# A problem hands out points and is sent the value and the gradient there.
Reply = tuple[float, np.ndarray]


class Line(NamedTuple):
    """Where a line search starts and where it leads.

    Args:
        x: the start.
        direction: the direction, whose slope at the start is negative.
        fun: value at the start.
        grad: gradient at the start.
        slope: derivative along the direction at the start.
    """

    x: np.ndarray
    direction: np.ndarray
    fun: float
    grad: np.ndarray
    slope: float


class Trial(NamedTuple):
    """One evaluated point of a line.

    Args:
        step: multiple of the direction.
        x: the point.
        fun: value there.
        grad: gradient there.
        slope: derivative along the direction there.
    """

    step: float
    x: np.ndarray
    fun: float
    grad: np.ndarray
    slope: float

    @property
    def is_finite(self) -> bool:
        """Whether the value and every entry of the gradient are finite."""
        return math.isfinite(self.fun) and is_finite(self.grad)


class Found(NamedTuple):
    """Outcome of a line search.

    Args:
        trial: the point that was chosen; of step 0 when none was better.
        num_evals: evaluations spent.
        any_finite: whether the objective was finite anywhere along the line.
        fell_without_end: whether the value fell to minus infinity, or still fell
            steeply at the far end of a long extrapolation.
    """

    trial: Trial
    num_evals: int
    any_finite: bool
    fell_without_end: bool


def is_finite(vector: np.ndarray) -> bool:
    """Whether every entry is finite; cheap for the usual case that all are."""
    # A finite sum of squares proves it, an overflowing one may still be legal.
    return math.isfinite(vector.dot(vector)) or bool(np.isfinite(vector).all())


def start_of(line: Line) -> Trial:
    """The start of the line as a trial of step 0."""
    return Trial(0.0, line.x, line.fun, line.grad, line.slope)


def evaluate(line: Line, step: float) -> Generator[np.ndarray, Reply, Trial]:
    """Hand out the point at a step and make a trial of the answer."""
    x = line.x + step * line.direction
    fun, grad = yield x
    return Trial(step, x, fun, grad, float(grad.dot(line.direction)))


def largest_entry(vector: np.ndarray) -> float:
    """Largest absolute entry of a finite vector."""
    return abs(float(vector[idamax(vector)]))
