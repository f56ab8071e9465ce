"""M-steps of labels and of transitions: softmax regressions on expected counts.

Steps with the same row of the design (and, for emissions, the same label) are pooled
first, where the design knows which they are.
"""

import numpy as np
from torch import Tensor

from glmhmm_pyro.components.objectives import Beginning, counts_by_problem
from glmhmm_pyro.components.softmax import SoftmaxRegression, Targets
from glmhmm_pyro.designs import DesignLike, as_design
from glmhmm_pyro.sequences import Sequences


class LabelObjective:
    """Block objective of labelled emissions: one softmax regression a state.

    Args:
        data: where the labels stand; masked steps count as never seen.
        design: covariates, shape (steps, features); an array or a ``DesignMatrix``.
        num_classes: number of classes, the reference included.
    """

    def __init__(self, data: Sequences, design: DesignLike, num_classes: int):
        self.pool = as_design(design).pooled(data.emissions)
        self.regression = SoftmaxRegression(self.pool.design, num_classes)
        free_classes = np.arange(1, num_classes)[:, None]
        labels = data.emissions[self.pool.member].numpy()
        self.labels = (labels == free_classes).astype(np.float64)

    def prepare(self, counts: Tensor) -> np.ndarray:
        """Counts (sets, steps, states) with problems first and groups of steps last."""
        return counts_by_problem(self.pool.sums(counts))

    def __call__(
        self, points: np.ndarray, which: np.ndarray, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Value and gradient of the running problems, numbered sets times states."""
        return self.regression(points, which, self._targets(counts))

    def begin(self, points: np.ndarray, counts: np.ndarray) -> Beginning:
        """Value, gradient and rough curvature of all problems."""
        return self.regression.begin(points, self._targets(counts))

    def _targets(self, counts: np.ndarray) -> Targets:
        """Expected counts of problems and a stretch of time: the labels, weighted."""

        def targets(rows: np.ndarray, time: slice) -> tuple[np.ndarray, np.ndarray]:
            total = counts[rows, time]
            return total[:, None] * self.labels[:, time], total

        return targets


class TransitionObjective:
    """Block objective of input-driven transitions: one softmax regression an origin.

    Args:
        design: transition covariates, shape (steps, features); an array or a
            ``DesignMatrix``.
        num_states: number of states.
    """

    def __init__(self, design: DesignLike, num_states: int):
        self.pool = as_design(design).pooled()
        self.regression = SoftmaxRegression(self.pool.design, num_states)
        self.num_states = num_states

    def prepare(self, counts: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Counts of leaving, and in all, problems first and groups of steps last."""
        states = self.num_states
        counts = counts.flatten(0, -4)  # Problems of all sets, and of slow states.
        time_last = self.pool.sums(counts).permute(0, 2, 3, 1).numpy()
        leaving = ~np.eye(states, dtype=bool)
        leaves = time_last[:, leaving].reshape(-1, states - 1, time_last.shape[-1])
        return np.ascontiguousarray(leaves), np.ascontiguousarray(
            time_last.sum(2).reshape(-1, time_last.shape[-1])
        )

    def __call__(
        self,
        points: np.ndarray,
        which: np.ndarray,
        counts: tuple[np.ndarray, np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Value and gradient of the running problems, numbered sets times origins."""
        return self.regression(points, which, _targets(*counts))

    def begin(
        self, points: np.ndarray, counts: tuple[np.ndarray, np.ndarray]
    ) -> Beginning:
        """Value, gradient and rough curvature of all problems."""
        return self.regression.begin(points, _targets(*counts))


def _targets(leaves: np.ndarray, total: np.ndarray) -> Targets:
    """Expected counts of problems and a stretch of time, out of the whole."""
    return lambda rows, time: (leaves[rows, :, time], total[rows, time])
