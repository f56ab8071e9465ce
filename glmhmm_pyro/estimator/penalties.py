"""The original's penalties as priors: ridge, smoothness over bins, own behaviour.

The original adds them to an objective divided by the number of bins T, so that on the
scale of the log-likelihood each is T / 2 times a quadratic form of the weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints


class Quadratic(TorchDistribution):
    r"""Density of a vector whose logarithm is a quadratic form, and no normaliser.

    .. math:: \log p(w) = -\tfrac{1}{2} w^\top Q w

    Where Q is singular, as smoothness leaves the level of a filter free, it is
    improper, and ``sample`` gives start values near 0, as a flat prior does.

    Args:
        precision: the matrix Q, symmetric, shape (features, features).
        batch_shape: shape of the vectors.
    """

    arg_constraints: dict = {}
    has_rsample = False
    support = constraints.real_vector

    def __init__(self, precision: Tensor, batch_shape: torch.Size = torch.Size()):
        self.precision = precision
        super().__init__(batch_shape, precision.shape[-1:], validate_args=False)

    @property
    def is_proper(self) -> bool:
        """Whether the density has a finite integral."""
        return bool(torch.linalg.cholesky_ex(self.precision).info == 0)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "Quadratic":
        """This prior over a batch of vectors."""
        return Quadratic(self.precision, torch.Size(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus half the quadratic form."""
        return -(value * (value @ self.precision)).sum(-1) / 2

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Start values near 0."""
        return 0.1 * torch.randn(self.shape(sample_shape), dtype=self.precision.dtype)


@dataclass(frozen=True)
class Columns:
    """Which columns of the covariates a penalty acts on.

    Attributes:
        neighbours: pairs of columns that are neighbouring bins of one filter.
        stimuli: columns with the ridge of their part of the model.
        own: columns of the animal's own past behaviour, with a strength of their own.
    """

    neighbours: tuple[tuple[int, int], ...]
    stimuli: tuple[int, ...]
    own: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        num_features: int,
        filters: tuple[int, int] = (1, 0),
        stimuli: Sequence[int] | None = None,
        own: Sequence[int] = (),
    ) -> "Columns":
        """From the order of the columns: one filter after another, then offsets.

        Args:
            num_features: number of columns.
            filters: bins of a filter and number of offsets; filters of one bin have no
                neighbours.
            stimuli: ``None`` for all that are not ``own``. A column in neither has no
                ridge, and no pair is of one of both.
            own: those of the animal's own behaviour.
        """
        bins, offsets = filters
        pairs = [(i - 1, i) for i in range(1, num_features - offsets) if i % bins]
        if stimuli is None:
            stimuli = [i for i in range(num_features) if i not in set(own)]
        return cls(
            tuple((i, j) for i, j in pairs if (i in set(own)) == (j in set(own))),
            tuple(stimuli),
            tuple(own),
        )


@dataclass(frozen=True)
class Penalties:
    r"""Strengths of all penalties, and what they act on.

    .. math:: \tfrac{\lambda}{2} \sum_i w_i^2
        + \tfrac{\lambda_s}{2} \sum_{\text{neighbours}} (w_i - w_j)^2

    is added to minus the log-likelihood per bin, for every row of weights. The second
    sum is w'Dw, with the gradient lambda D w that the original follows; the value it
    reports and searches a line on is another one.

    Attributes:
        emit_lambda: ridge of emission weights.
        trans_lambda: ridge of transition weights.
        smooth_lambda: strength of smoothness, of both.
        own_lambda: strength of ridge and smoothness of columns of the animal's own
            behaviour; ``None`` if they have that of all others.
        columns: which those are.
    """

    emit_lambda: float
    trans_lambda: float
    smooth_lambda: float
    own_lambda: float | None
    columns: Columns

    def with_ridge(self, change: Callable[[float], float]) -> "Penalties":
        """These penalties with a function applied to both ridge strengths."""
        emit, trans = change(self.emit_lambda), change(self.trans_lambda)
        return replace(self, emit_lambda=emit, trans_lambda=trans)

    def matrix(self, ridge: float, columns: Sequence[int]) -> np.ndarray:
        """The quadratic form of one row of weights, per bin.

        Args:
            ridge: ``emit_lambda`` or ``trans_lambda``.
            columns: those that the row has weights of.
        """
        size = 1 + max((*columns, *self.columns.stimuli, *self.columns.own), default=0)
        form = np.zeros((size, size))
        for column in self.columns.stimuli:
            form[column, column] += ridge
        for column in self.columns.own:
            form[column, column] += self._of_own(ridge)
        for i, j in self.columns.neighbours:
            if {i, j} <= set(columns):
                smooth = self.smooth_lambda
                strength = self._of_own(smooth) if i in self.columns.own else smooth
                form[[i, j], [i, j]] += strength
                form[[i, j], [j, i]] -= strength
        return form[np.ix_(columns, columns)]

    def prior(self, ridge: float, columns: Sequence[int], num_steps: int) -> Any:
        """The penalty as a prior of rows of weights; ``None`` where it is 0."""
        form = self.matrix(ridge, columns)
        return Quadratic(torch.from_numpy(form * num_steps)) if form.any() else None

    def _of_own(self, others: float) -> float:
        """Strength for columns of own behaviour, from that of all others."""
        return others if self.own_lambda is None else self.own_lambda
