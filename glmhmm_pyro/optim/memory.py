"""Limited-memory BFGS: past steps and gradient changes, and the direction they give."""

from typing import Protocol

import numpy as np
from scipy.linalg.lapack import dtrtrs

from glmhmm_pyro.optim.interpolation import divide

# Below this product of step and gradient change a pair says nothing of curvature.
SMALLEST_CURVATURE = 1e-10

# Part of the modelled curvature that Powell's damping leaves at least.
DAMPING = 0.02


class History(Protocol):
    """The pairs that an approximation of the inverse Hessian is made of."""

    def add(self, step: np.ndarray, change: np.ndarray) -> None:
        """Remember a step and the change of the gradient over it."""

    def direction(self, grad: np.ndarray) -> np.ndarray:
        """Minus the approximate inverse Hessian times the gradient."""


class SkippingHistory:
    r"""The last pairs of positive curvature; others are skipped (minFunc's default).

    The two loops of Nocedal and Wright (2006), algorithm 7.4, with the initial scaling
    of their eq. 7.20. Each loop is the substitution that solves a triangular system:
    with the steps as rows of S, the changes as rows of Y and R the upper triangle of
    :math:`S Y^\top`, the first gives :math:`\alpha = R^{-1} S q`, the second
    :math:`R^{-\top} (\mathrm{diag}(R) \alpha - Y r)`. So a direction costs four
    products and two solves, however long the history.

    Args:
        size: pairs kept at most.
        num_variables: length of a step.
        max_pairs: pairs that will ever be added, if that is known.
    """

    def __init__(
        self, size: int, num_variables: int, max_pairs: int | None = None
    ) -> None:
        # Twice the rows: the window of current pairs slides, and is moved back to the
        # top once in ``size`` updates instead of by a row in each.
        rows = 2 * size if max_pairs is None else min(2 * size, max(max_pairs, size))
        self._size = size
        self._steps = np.empty((rows, num_variables))
        self._changes = np.empty((rows, num_variables))
        self._products = np.zeros((rows, rows))
        self._first = self._end = 0
        self._scale = 1.0

    def add(self, step: np.ndarray, change: np.ndarray) -> None:
        """Remember a step and the change of the gradient over it."""
        curvature = float(change.dot(step))
        if not curvature > SMALLEST_CURVATURE:
            return
        if self._end == len(self._steps):
            self._move_to_top()
        new, self._end = self._end, self._end + 1
        self._first = max(self._first, self._end - self._size)
        self._steps[new] = step
        self._changes[new] = change
        window = slice(self._first, self._end)
        self._products[window, new] = self._steps[window].dot(change)
        self._products[new, new] = curvature
        self._scale = divide(curvature, float(change.dot(change)))

    def direction(self, grad: np.ndarray) -> np.ndarray:
        """Minus the approximate inverse Hessian times the gradient."""
        if self._end == 0:
            return -grad
        window = slice(self._first, self._end)
        steps, changes = self._steps[window], self._changes[window]
        # LAPACK reads columns first: the transpose of the rows is what it wants.
        lower = self._products[window, window].T
        direction = -grad
        weights, _ = dtrtrs(lower, steps.dot(direction), lower=1, trans=1)
        direction -= weights.dot(changes)
        direction *= self._scale
        rest = lower.diagonal() * weights - changes.dot(direction)
        weights, _ = dtrtrs(lower, rest, lower=1)
        direction += weights.dot(steps)
        return direction

    def _move_to_top(self) -> None:
        """Move the current pairs, but the oldest if there is no room, to row 0."""
        kept = min(self._size - 1, self._end)
        old = slice(self._end - kept, self._end)
        self._steps[:kept] = self._steps[old]
        self._changes[:kept] = self._changes[old]
        self._products[:kept, :kept] = self._products[old, old]
        self._first, self._end = 0, kept


class DampedHistory:
    """Pairs whose gradient change is damped until its curvature is positive.

    Powell's damping (Nocedal and Wright 2006, procedure 18.2): the change is mixed
    with what the model of the Hessian predicts for the step. As in minFunc, that model
    (the compact form, their theorem 7.4) leaves the oldest remembered pair out.

    Args:
        size: pairs kept at most.
        num_variables: length of a step.
    """

    def __init__(self, size: int, num_variables: int) -> None:
        self._size = size
        self._steps = np.empty((0, num_variables))
        self._changes = np.empty((0, num_variables))
        self._scale = 1.0

    def add(self, step: np.ndarray, change: np.ndarray) -> None:
        """Remember a step and the damped change of the gradient over it."""
        predicted = self._hessian_product(step)
        curvature, model = change.dot(step), step.dot(predicted)
        if curvature < DAMPING * model:
            mix = min(max(0.0, (1.0 - DAMPING) * model / (model - curvature)), 1.0)
            change = mix * change + (1.0 - mix) * predicted
        oldest = max(0, len(self._steps) + 1 - self._size)
        self._steps = np.vstack([self._steps[oldest:], step])
        self._changes = np.vstack([self._changes[oldest:], change])
        self._scale = float(change.dot(step) / change.dot(change))

    def direction(self, grad: np.ndarray) -> np.ndarray:
        """Minus the approximate inverse Hessian times the gradient."""
        inverses = [
            float(np.float64(1.0) / change.dot(step))
            for step, change in zip(self._steps, self._changes)
        ]
        pairs = list(zip(self._steps, self._changes, inverses))
        direction = -grad
        weights = []
        for step, change, inverse in reversed(pairs):
            weight = inverse * float(step.dot(direction))
            direction -= weight * change
            weights.append(weight)
        direction *= self._scale
        for step, change, inverse in pairs:
            weight = weights.pop() - inverse * float(change.dot(direction))
            direction += weight * step
        return direction

    def _hessian_product(self, step: np.ndarray) -> np.ndarray:
        """The modelled Hessian times a step, the oldest pair left out."""
        steps, changes = self._steps[1:], self._changes[1:]
        product = step / self._scale
        if len(steps) == 0:
            return product
        mixed = steps @ changes.T
        lower = np.tril(mixed, -1)
        inner = np.block(
            [
                [steps @ steps.T / self._scale, lower],
                [lower.T, -np.diag(np.diag(mixed))],
            ]
        )
        outer = np.vstack([steps / self._scale, changes])
        return product - outer.T @ _solve(inner, outer @ step)


def _solve(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Solution of a linear system; nan where there is none."""
    try:
        return np.linalg.solve(matrix, target)
    except np.linalg.LinAlgError:
        return np.full(len(target), np.nan)
