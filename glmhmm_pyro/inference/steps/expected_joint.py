"""What an M-step of independent blocks minimises: minus the expected log-joint.

The component's block objective gives the expected log-probability and its gradient by
hand; here the smooth prior and the bounds of its numbers come in.
"""

from typing import Any, NamedTuple

import numpy as np

from glmhmm_pyro.components.objectives import Beginning, BlockObjective
from glmhmm_pyro.inference.steps.blocks import LogPrior
from glmhmm_pyro.optim.preconditioning import Evaluation
from glmhmm_pyro.ranks import Ranks


class Box(NamedTuple):
    """Bounds of every problem's numbers, beyond which an objective is flat.

    At a bound it is flat too where it falls beyond: a number that is held there must
    not stand for all that is left to gain.

    Attributes:
        low: smallest values, shape (problems, numbers), or -inf.
        high: largest values, same shape, or inf.
    """

    low: np.ndarray
    high: np.ndarray

    def inside(self, points: np.ndarray, which: np.ndarray) -> np.ndarray:
        """The nearest points (running, numbers) within the bounds."""
        return np.clip(points, self.low[which], self.high[which])

    def free(
        self, points: np.ndarray, which: np.ndarray, gradient: np.ndarray
    ) -> np.ndarray:
        """The gradient inside, 0 for numbers that are held."""
        low, high = self.low[which], self.high[which]
        held = (points < low) | ((points == low) & (gradient > 0))
        held |= (points > high) | ((points == high) & (gradient < 0))
        return np.where(held, 0.0, gradient)


class ExpectedJoint:
    """Minus the expected log-joint of all blocks of all sets, at given counts.

    Args:
        objective: of the component.
        counts: what its ``prepare`` gave.
        prior: the smooth log prior; ``None`` where it is flat.
        box: bounds of the numbers.
        scale: what values are multiplied by.
        ranks: the processes that hold the data.
    """

    def __init__(
        self,
        objective: BlockObjective,
        counts: Any,
        prior: LogPrior | None,
        box: Box,
        scale: float,
        ranks: Ranks,
    ):
        self.objective, self.counts, self.prior = objective, counts, prior
        self.box, self.scale, self.ranks = box, scale, ranks

    def __call__(self, points: np.ndarray, which: np.ndarray) -> Evaluation:
        """Values and gradients at ``points`` (running, numbers) of these problems."""
        inside = self.box.inside(points, which)
        found = self.objective(inside, which, self.counts)
        return self._joint(points, inside, which, found)

    def begin(self, points: np.ndarray) -> Beginning:
        """Values, gradients and rough second derivatives of all problems."""
        every = np.arange(len(points))
        inside = self.box.inside(points, every)
        beginning = self.objective.begin(inside, self.counts)
        curvature = likely = self.ranks.total(beginning.curvature)
        if self.prior is not None:
            curvature = likely + self.prior.curvature(inside, likely.shape)
        coupling = beginning.coupling
        if coupling is not None:
            coupling = _with_prior(self.ranks.total(coupling), likely, curvature)
        found = beginning.values, beginning.gradient
        values, gradient = self._joint(points, inside, every, found)
        return Beginning(values, gradient, self.scale * curvature, coupling)

    def _joint(
        self,
        points: np.ndarray,
        inside: np.ndarray,
        which: np.ndarray,
        found: Evaluation,
    ) -> Evaluation:
        """Values and gradients with the prior, from those of the log-probability."""
        values, gradient = self.ranks.totals(*found)
        if self.prior is not None:
            prior_values, prior_gradient = self.prior(inside, which)
            values, gradient = values + prior_values, gradient + prior_gradient
        values, gradient = -self.scale * values, -self.scale * gradient
        return values, self.box.free(points, which, gradient)


def _with_prior(
    coupling: np.ndarray, likely: np.ndarray, curvature: np.ndarray
) -> np.ndarray:
    """Curvature between rows where the prior, which knows none, has added to theirs.

    Args:
        coupling: that of the likelihood, shape (problems, rows, rows).
        likely: within rows, shape (problems, rows, features, features).
        curvature: the same with the prior's.
    """
    before, after = (np.trace(one, axis1=-2, axis2=-1) for one in (likely, curvature))
    rows = range(coupling.shape[-1])
    found = coupling.copy()
    found[:, rows, rows] *= np.where(before > 0, after, 1.0) / np.where(
        before > 0, before, 1.0
    )
    return found
