"""Objectives of M-steps with gradients written by hand."""

from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from torch import Tensor

Counts = TypeVar("Counts")


class Beginning(NamedTuple):
    """What an M-step needs to know where it begins, for all problems.

    Attributes:
        values: expected log-probability, shape (problems,).
        gradient: shape (problems, block's numbers).
        curvature: roughly minus the second derivatives, shape (problems, rows,
            features, features). A block's numbers are rows of weights; curvature
            between rows is left out. With further parameters a block is one row of
            all its numbers.
        coupling: the same by the predictors of rows, summed over steps, those between
            rows included, shape (problems, rows, rows); ``None`` where there is but
            one row, or none is known.
    """

    values: np.ndarray
    gradient: np.ndarray
    curvature: np.ndarray
    coupling: np.ndarray | None = None


class BlockObjective(Protocol[Counts]):
    """Expected log-probability of independent blocks, with its gradient.

    Problems are numbered sets times blocks. A block's numbers are its weights, then the
    logarithms of its positive parameters in the order of their declaration.
    """

    def prepare(self, counts: Tensor) -> Counts:
        """Expected counts (sets, ...) in the form that ``__call__`` takes."""

    def __call__(
        self, points: np.ndarray, which: np.ndarray, counts: Counts
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values (running,) and gradients at ``points`` (running, block's numbers).

        ``which`` holds the problem of each row, ``counts`` what ``prepare`` gave.
        """

    def begin(self, points: np.ndarray, counts: Counts) -> Beginning:
        """Value, gradient and rough curvature at ``points`` of all problems."""


def counts_by_problem(counts: Tensor) -> np.ndarray:
    """Expected counts of emissions, problems first and time last.

    Args:
        counts: shape (sets, steps, states).

    Returns:
        Shape (sets * states, steps), a problem's steps side by side in memory.
    """
    steps = counts.shape[-2]
    return np.ascontiguousarray(counts.transpose(-1, -2).reshape(-1, steps).numpy())
