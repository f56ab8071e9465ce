"""Coordinates in which the M-step's problems look alike: unit curvature, unit gradient.

Every problem is shifted to its start, rotated by a rough inverse root of its curvature
and scaled by its first gradient. A quasi-Newton method then takes nearly a Newton step
first, and one tolerance asks of every problem for the same share of what is to be
gained, be it the first M-step or the last.
"""

from collections.abc import Callable

import numpy as np
from scipy.linalg.lapack import dtrtri

Evaluation = tuple[np.ndarray, np.ndarray]
Objective = Callable[[np.ndarray, np.ndarray], Evaluation]

# Curvature of the mean over all steps below this is none: a state nobody visits.
_SMALLEST_CURVATURE = 1e-16

# What is added to the unit diagonal of curvature between rows, whose inverse may be
# large where these go together.
_APART = 1e-3

# Gradients below this are rounding, so problems are not scaled up further.
_SMALLEST_GRADIENT = 1e-6


class Preconditioned:
    """An objective in its own coordinates; its start is 0.

    Args:
        objective: value and gradient at points (running, numbers) of the problems
            named by (running,).
        start: where every problem starts, shape (problems, numbers).
        values: the objective there, shape (problems,).
        gradient: its derivatives there, shape (problems, numbers).
        curvature: second derivatives there, roughly and only within rows of the
            numbers, shape (problems, rows, features, features).
        coupling: the same of rows with each other, were each one number, of any scale,
            shape (problems, rows, rows); by default there is none between rows.
    """

    def __init__(
        self,
        objective: Objective,
        start: np.ndarray,
        values: np.ndarray,
        gradient: np.ndarray,
        curvature: np.ndarray,
        coupling: np.ndarray | None = None,
    ):
        self.objective, self.start, self.values = objective, start, values
        self.roots = _inverse_roots(curvature)
        self.mixing = None if coupling is None else _mixing(coupling)
        self.gradient = self._turned(gradient, np.arange(len(start)))
        self.sizes = np.maximum(np.abs(self.gradient).sum(1), _SMALLEST_GRADIENT)

    def __call__(self, points: np.ndarray, which: np.ndarray) -> Evaluation:
        """Scaled value and gradient at points in the new coordinates."""
        sizes = self.sizes[which]
        if not points.any():
            return np.zeros(len(which)), self.gradient[which] / sizes[:, None]
        values, gradient = self.objective(self.original(points, which), which)
        gradient = self._turned(gradient, which)
        return (values - self.values[which]) / sizes**2, gradient / sizes[:, None]

    def original(self, points: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Points in the coordinates of the objective."""
        rows = self._rows(points * self.sizes[which, None])
        if self.mixing is not None:
            rows = self.mixing[which] @ rows
        moves = self.roots[which] @ rows[..., None]
        return self.start[which] + moves.reshape(points.shape)

    def _turned(self, gradient: np.ndarray, which: np.ndarray) -> np.ndarray:
        """A gradient by the new coordinates, but for their size."""
        rows = self._rows(gradient)[..., None]
        with np.errstate(invalid="ignore"):  # A gradient may be infinite far off.
            rows = (self.roots[which].swapaxes(-1, -2) @ rows)[..., 0]
            if self.mixing is not None:
                rows = self.mixing[which].swapaxes(-1, -2) @ rows
        return rows.reshape(gradient.shape)

    def _rows(self, points: np.ndarray) -> np.ndarray:
        """Numbers of the problems, (problems, rows, features)."""
        return points.reshape(len(points), self.roots.shape[1], -1)


def _inverse_roots(curvature: np.ndarray) -> np.ndarray:
    """R with R' H R = 1; a little is added where H has (nearly) no curvature."""
    size = curvature.shape[-1]
    mean = np.trace(curvature, axis1=-2, axis2=-1)[..., None, None] / size
    ridge = (1e-9 * mean + _SMALLEST_CURVATURE) * np.eye(size)
    roots = np.linalg.cholesky(curvature + ridge)
    for at in np.ndindex(roots.shape[:-2]):
        roots[at] = dtrtri(roots[at].T)[0]
    return roots


def _mixing(coupling: np.ndarray) -> np.ndarray:
    """M with M' C M = 1, for rows' curvature C with each other at unit diagonal."""
    size = coupling.shape[-1]
    diagonal = np.maximum(
        np.diagonal(coupling, axis1=-2, axis2=-1), _SMALLEST_CURVATURE
    )
    scale = np.sqrt(diagonal)
    alike = coupling / (scale[:, :, None] * scale[:, None, :])
    alike[:, range(size), range(size)] = 1.0 + _APART
    return np.linalg.inv(np.linalg.cholesky(alike)).swapaxes(-1, -2)
