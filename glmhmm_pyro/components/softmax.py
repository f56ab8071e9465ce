"""Softmax regressions: rows without the reference; value and gradient, many at once.

The M-step of a categorical emission and of input-driven transitions is a softmax
regression on soft labels for every state. Here all of them are evaluated together, a
cache-sized stretch of time after another, so that the design is read once.
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.components.objectives import Beginning
from glmhmm_pyro.components.table_kernels import soft_residuals
from glmhmm_pyro.concurrency import in_threads
from glmhmm_pyro.designs import DesignLike, DesignMatrix, as_design
from glmhmm_pyro.designs.matrix import STRETCH
from glmhmm_pyro.designs.thin_products import add_sums, multiply

# Least number of steps that a rough curvature is estimated from; per feature, the least
# number and the one that is enough.
_LEAST_STEPS, _LEAST_PER_FEATURE, _ENOUGH_PER_FEATURE = 1000, 2, 20

# Steps whose weight is below this part of the mean one do not count for it.
_NEGLIGIBLE = 1e-3

# Share of the unweighted second moments that keeps rough curvature invertible, and the
# one for a sample, over features per sampled step: chance is as large as that ratio.
_FLOOR, _SHARE_OF_CHANCE = 1e-3, 2.0

# Products of two numbers of a row, for all rows, that are kept.
_FEW_SQUARES = 1 << 16

# Numbers of one stretch that should stay in the cache between the two products.
_CACHED_NUMBERS = 1 << 19

Targets = Callable[[np.ndarray, slice], tuple[np.ndarray, np.ndarray]]


class SoftmaxRegression:
    r"""Expected log-probability of softmax regressions, with its gradient.

    .. math:: \sum_t \sum_{c \ge 1} n_{tc} \, w_c^\top x_t
        - \sum_t n_t \log\Big(1 + \sum_{c \ge 1} e^{w_c^\top x_t}\Big)

    Class 0 is the reference: it has no weights. ``n_tc`` are expected counts of class
    c at step t, ``n_t`` their sum over all classes, the reference included.

    Args:
        design: covariates, shape (steps, features); an array or a ``DesignMatrix``.
        num_classes: number of classes, the reference included.
    """

    def __init__(self, design: DesignLike, num_classes: int):
        self.design = row_by_row(design)
        self.num_free = num_classes - 1
        self.mean_moments = mean_moments(self.design)

    def __call__(
        self, points: np.ndarray, which: np.ndarray, targets: Targets
    ) -> tuple[np.ndarray, np.ndarray]:
        """Value (problems,) and gradient, in the shape of ``points``.

        Args:
            points: weights, shape (problems, (classes - 1) * features).
            which: number of the problem of every row, handed to ``targets``.
            targets: from problems and a stretch of time to the expected counts of the
                free classes (problems, classes - 1, steps), all (problems, steps).
        """
        return self._evaluated(points, which, targets)

    def begin(self, points: np.ndarray, targets: Targets) -> Beginning:
        """All problems, with minus the second derivatives from some of the steps.

        These serve to precondition: moments of all steps are added, a share that is the
        larger the smaller the sample, and of curvature between classes there is its
        mean over the steps alone.
        """
        which = np.arange(len(points))
        expected = np.empty((len(points), self.num_free, len(self.design)))
        values, gradient = self._evaluated(points, which, targets, expected)
        weights, coupling = self._weights(expected, targets)
        return Beginning(values, gradient, self._curvature(weights), coupling)

    def _evaluated(
        self,
        points: np.ndarray,
        which: np.ndarray,
        targets: Targets,
        expected: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As ``__call__``; puts what is expected of free classes into an array.

        Its shape is (problems, classes - 1, steps).
        """
        features = self.design.shape[1]
        weights = torch.from_numpy(points).reshape(-1, features)
        shape = len(which), self.num_free

        def summed(stretch: slice, rows: Tensor) -> tuple[np.ndarray, Tensor]:
            """Value and gradient of a stretch."""
            values, gradient = np.zeros(len(which)), torch.zeros_like(weights)
            scores = torch.empty(len(rows), len(weights), dtype=rows.dtype)
            multiply(rows, weights.T, scores)
            by_problem = scores.numpy().reshape(-1, *shape)
            counts, total = targets(which, stretch)
            soft_residuals(by_problem, counts, total, values)
            add_sums(scores.T, rows, gradient)
            if expected is not None:
                expected[..., stretch] = counts - by_problem.transpose(1, 2, 0)
            return values, gradient

        values, gradient = np.zeros(len(which)), torch.zeros_like(weights)
        stretches = self.design.stretches(_fitting(features, len(weights)))
        for value, slope in in_threads(summed, stretches):
            values += value
            gradient += slope
        return values, gradient.numpy().reshape(points.shape)

    def _weights(
        self, expected: np.ndarray, targets: Targets
    ) -> tuple[np.ndarray, np.ndarray]:
        """Minus the second derivatives by the predictors of free classes.

        Args:
            expected: counts of these, (problems, classes - 1, steps); overwritten.

        Returns:
            Those of every step and class by itself, in the shape of ``expected``, and
            between classes the sums over steps, (problems, classes - 1, classes - 1).
        """
        which = np.arange(len(expected))
        between = np.zeros((*expected.shape[:2], self.num_free))
        for first in range(0, expected.shape[-1], STRETCH):
            stretch = slice(first, first + STRETCH)
            _, total = targets(which, stretch)
            some = expected[..., stretch]
            shares = some / np.where(total > 0, total, 1.0)[:, None]
            between -= some @ shares.swapaxes(-1, -2)
            some *= 1 - shares
        np.maximum(expected, 0.0, out=expected)
        every = range(self.num_free)
        between[:, every, every] = expected.sum(-1)
        return expected, between

    def _curvature(self, weights: np.ndarray) -> np.ndarray:
        """Minus the second derivatives (problems, classes - 1, features, features).

        Args:
            weights: those by the predictors, shape (problems, classes - 1, steps).
        """
        features, ranks = self.design.shape[1], self.design.ranks
        mean = ranks.total(weights.sum(-1)) / self.design.total_rows
        if self._squares is not None:
            floor = _FLOOR * len(self.design) * mean[..., None, None]
            kept = np.where(weights > _NEGLIGIBLE * mean[..., None], weights, 0.0)
            moments = (kept @ self._squares).reshape(*mean.shape, features, features)
            return np.asarray(moments + floor * self.mean_moments)
        number = (weights > _NEGLIGIBLE * mean[..., None]).sum(-1)
        by_rank = ranks.by_rank(torch.from_numpy(number)).numpy()
        every = np.maximum(1, by_rank.sum(0) // self._sample_size)
        # All ranks together take every n-th of the steps that count.
        first = -by_rank[: ranks.number].sum(0) % every
        curvature = np.empty(weights.shape[:2] + (features, features))
        for at in np.ndindex(weights.shape[:2]):
            sampled = slice(first[at], None, every[at])
            curvature[at] = self._moments(weights[at], mean[at], sampled)
        return curvature

    @cached_property
    def _squares(self) -> np.ndarray | None:
        """Products of a row's numbers, (steps, features^2), if few and all are read."""
        steps, features = self.design.shape
        is_sampled = self.design.total_rows >= 2 * self._sample_size
        is_large = self.design.is_streamed or steps * features**2 > _FEW_SQUARES
        if is_large or is_sampled:
            return None
        rows = self.design.dense().numpy()
        return (rows[:, :, None] * rows[:, None, :]).reshape(steps, -1)

    @cached_property
    def _sample_size(self) -> int:
        """Least number of steps that a rough curvature is estimated from.

        Where enough are dear, as many as cost no more than an evaluation.
        """
        features = self.design.shape[1]
        affordable = 4 * self.design.total_rows // max(features, 1)
        enough = min(_ENOUGH_PER_FEATURE * features, affordable)
        return max(_LEAST_STEPS, _LEAST_PER_FEATURE * features, enough)

    def _moments(self, weights: np.ndarray, mean: float, sampled: slice) -> np.ndarray:
        """Weighted second moments of the design, from some of the steps that count."""
        steps = np.flatnonzero(weights > _NEGLIGIBLE * mean)[sampled]
        rows = self.design.read(torch.from_numpy(steps)).numpy()
        rows = rows * np.sqrt(sampled.step * weights[steps, None])
        share = _FLOOR
        if sampled.step > 1:
            share = max(share, _SHARE_OF_CHANCE * rows.shape[1] / self._sample_size)
        # NumPy computes half of a symmetric product.
        return rows.T @ rows + share * mean * len(weights) * self.mean_moments


def row_by_row(design: DesignLike) -> DesignMatrix:
    """An array or a design in double precision, a row's numbers side by side."""
    return as_design(design).to(torch.float64).contiguous()


def predictors(design: DesignMatrix, weights: np.ndarray) -> np.ndarray:
    """Products (problems, steps) of a design and weights (problems, features)."""
    found = torch.empty(len(design), len(weights), dtype=torch.float64)
    design.multiply(torch.from_numpy(weights).T, found)
    return np.ascontiguousarray(found.numpy().T)


def mean_moments(design: DesignMatrix) -> np.ndarray:
    """Second moments of a design, every row counting alike, (features, features)."""
    ones = torch.ones(len(design), dtype=design.dtype)
    moments = design.ranks.total(design.gram(ones))
    return moments.numpy() / design.total_rows


def _fitting(features: int, scores: int) -> int:
    """Number of steps whose arrays together fit into the processor's cache."""
    return int(np.clip(_CACHED_NUMBERS // (features + 4 * scores), 256, 16384))


def insert_zeros(weights: Tensor) -> Tensor:
    """Weights (..., classes - 1, features) with the zeros of reference class 0."""
    return torch.nn.functional.pad(weights, (0, 0, 1, 0))


def permuted_rows(weights: Tensor, order: Tensor) -> Tensor:
    """Rows (..., states - 1, features) of a softmax, its states renumbered.

    Only differences of rows count: the row of the new state 0 is subtracted from all.
    """
    rows = insert_zeros(weights).index_select(-2, order)
    return (rows - rows[..., :1, :])[..., 1:, :]
