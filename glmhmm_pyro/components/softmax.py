"""Weighted softmax regressions that share a design: value and gradient, many at once.

The M-step of a categorical emission and of input-driven transitions is a softmax
regression on soft labels for every state. Here all of them are evaluated together, a
cache-sized stretch of time after another, so that the design is read once.
"""

from collections.abc import Callable

import numpy as np

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
