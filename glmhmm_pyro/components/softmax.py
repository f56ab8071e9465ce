"""Softmax regressions: rows without the reference; value and gradient, many at once.

The M-step of a categorical emission and of input-driven transitions is a softmax
regression on soft labels for every state. Here all of them are evaluated together, a
cache-sized stretch of time after another, so that the design is read once.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# Steps that a rough curvature is estimated from, at least this many and this many times
# the number of features.
_SAMPLED_STEPS, _SAMPLED_PER_FEATURE = 1000, 20

# Steps whose weight is below this part of the mean one do not count for it.
_NEGLIGIBLE = 1e-3

# Share of the unweighted second moments that keeps a rough curvature invertible.
_FLOOR = 1e-3

# Numbers of one stretch that should stay in the cache between the two products.
_CACHED_NUMBERS = 1 << 17

Targets = Callable[[np.ndarray, slice], tuple[np.ndarray, np.ndarray]]


class SoftmaxRegression:
    r"""Expected log-probability of softmax regressions, with its gradient.

    .. math:: \sum_t \sum_{c \ge 1} n_{tc} \, w_c^\top x_t
        - \sum_t n_t \log\Big(1 + \sum_{c \ge 1} e^{w_c^\top x_t}\Big)

    Class 0 is the reference: it has no weights. ``n_tc`` are expected counts of class
    c at step t, ``n_t`` their sum over all classes, the reference included.

    Args:
        design: covariates, shape (steps, features).
        num_classes: number of classes, the reference included.
    """

    def __init__(self, design: np.ndarray, num_classes: int):
        self.design = np.ascontiguousarray(design, dtype=np.float64)
        self.num_free = num_classes - 1
        self.mean_moments = self.design.T @ self.design / len(self.design)

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
        steps, features = self.design.shape
        weights = points.reshape(-1, features)
        values, gradient = np.zeros(len(which)), np.zeros_like(weights)
        for stretch in self._stretches(steps, features, len(weights)):
            rows = self.design[stretch]
            scores = (weights @ rows.T).reshape(len(which), self.num_free, len(rows))
            counts, total = targets(which, stretch)
            values += _residuals(scores, counts, total)
            gradient += scores.reshape(len(weights), len(rows)) @ rows
        return values, gradient.reshape(points.shape)

    def curvature(self, points: np.ndarray, targets: Targets) -> np.ndarray:
        """Minus the second derivatives, class by class, from some of the steps.

        Shape (problems, classes - 1, features, features). It serves to precondition:
        curvature between classes is left out, and what covariates hardly show is given
        a small share of the moments of all steps.
        """
        features = self.design.shape[1]
        scores = points.reshape(-1, features) @ self.design.T
        scores = scores.reshape(len(points), self.num_free, len(self.design))
        _, total = targets(np.arange(len(points)), slice(None))
        probs = _probabilities(scores)
        weights = total[:, None] * probs * (1 - probs)
        curvature = np.empty(weights.shape[:2] + (features, features))
        for problem, row in np.ndindex(weights.shape[:2]):
            curvature[problem, row] = self._moments(weights[problem, row])
        return curvature

    def _moments(self, weights: np.ndarray) -> np.ndarray:
        """Weighted second moments of the design, from every n-th step that counts."""
        mean = weights.mean()
        steps = np.flatnonzero(weights > _NEGLIGIBLE * mean)
        features = self.design.shape[1]
        every = max(
            1, len(steps) // max(_SAMPLED_STEPS, _SAMPLED_PER_FEATURE * features)
        )
        steps = steps[::every]
        rows = self.design[steps]
        moments = every * (rows * weights[steps, None]).T @ rows
        return moments + _FLOOR * mean * len(weights) * self.mean_moments

    @staticmethod
    def _stretches(steps: int, features: int, scores: int) -> list[slice]:
        """The time axis, cut so that one piece of all arrays stays in the cache."""
        size = int(np.clip(_CACHED_NUMBERS // (features + 4 * scores), 256, 16384))
        return [slice(start, start + size) for start in range(0, steps, size)]


def _residuals(scores: np.ndarray, counts: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Value of each problem; ``scores`` become counts minus their expectations."""
    largest = np.maximum(scores.max(axis=1), 0.0)
    values = np.einsum("pct,pct->p", counts, scores)
    scores -= largest[:, None]
    np.exp(scores, out=scores)
    normaliser = scores.sum(axis=1)
    normaliser += np.exp(-largest)
    values -= np.einsum("pt,pt->p", total, largest + np.log(normaliser))
    scores *= (total / normaliser)[:, None]
    np.subtract(counts, scores, out=scores)
    return values


def _probabilities(scores: np.ndarray) -> np.ndarray:
    """Probabilities of the free classes, shape (problems, classes - 1, steps)."""
    largest = np.maximum(scores.max(axis=1, keepdims=True), 0.0)
    probs = np.exp(scores - largest)
    return probs / (probs.sum(axis=1, keepdims=True) + np.exp(-largest))


def insert_zeros(weights: Tensor) -> Tensor:
    """Weights (..., classes - 1, features) with the zeros of reference class 0."""
    return torch.nn.functional.pad(weights, (0, 0, 1, 0))


def permuted_rows(weights: Tensor, order: Tensor) -> Tensor:
    """Rows (..., states - 1, features) of a softmax, its states renumbered.

    Only differences of rows count, so the state that becomes 0 is taken off all others.
    """
    rows = insert_zeros(weights).index_select(-2, order)
    return (rows - rows[..., :1, :])[..., 1:, :]
