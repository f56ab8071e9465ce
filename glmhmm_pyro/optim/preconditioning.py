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
    """

    def __init__(
        self,
        objective: Objective,
        start: np.ndarray,
        values: np.ndarray,
        gradient: np.ndarray,
        curvature: np.ndarray,
    ):
        self.objective, self.start, self.values = objective, start, values
        self.roots = _inverse_roots(curvature)
        self.gradient = self._rotate(gradient, self.roots.swapaxes(-1, -2))
        self.sizes = np.maximum(np.abs(self.gradient).sum(1), _SMALLEST_GRADIENT)

    def __call__(self, points: np.ndarray, which: np.ndarray) -> Evaluation:
        """Scaled value and gradient at points in the new coordinates."""
        sizes = self.sizes[which]
        if not points.any():
            return np.zeros(len(which)), self.gradient[which] / sizes[:, None]
        values, gradient = self.objective(self.original(points, which), which)
        gradient = self._rotate(gradient, self.roots[which].swapaxes(-1, -2))
        return (values - self.values[which]) / sizes**2, gradient / sizes[:, None]

    def original(self, points: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Points in the coordinates of the objective."""
        moves = self._rotate(points * self.sizes[which, None], self.roots[which])
        return self.start[which] + moves

    @staticmethod
    def _rotate(points: np.ndarray, roots: np.ndarray) -> np.ndarray:
        rows = points.reshape(roots.shape[:2] + (roots.shape[-1], 1))
        with np.errstate(invalid="ignore"):  # A gradient may be infinite far off.
            return (roots @ rows).reshape(points.shape)


def _inverse_roots(curvature: np.ndarray) -> np.ndarray:
    """R with R' H R = 1; a little is added where H has (nearly) no curvature."""
    size = curvature.shape[-1]
    mean = np.trace(curvature, axis1=-2, axis2=-1)[..., None, None] / size
    ridge = (1e-9 * mean + _SMALLEST_CURVATURE) * np.eye(size)
    roots = np.linalg.cholesky(curvature + ridge)
    for at in np.ndindex(roots.shape[:-2]):
        roots[at] = dtrtri(roots[at].T)[0]
    return roots
