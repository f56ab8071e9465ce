"""Weighted least squares: many regressions on one design, exact where singular too."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from glmhmm_pyro.components.rescaling import ColumnUnits, OutputUnits
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.priors.affine import Affine
from glmhmm_pyro.priors.answers import innermost, normal_precision
from glmhmm_pyro.ranks import ALONE, Ranks
from glmhmm_pyro.sequences import Sequences

# A scale is never taken to be below this part of that of the data: the end at 0, where
# a density is infinite, cannot be computed with.
LEAST_SCALE = 1e-9

# Values that differ by less than this part of their size may be equal but for rounding.
_ROUNDING = 8 * torch.finfo(torch.float64).eps


def weighted_regressions(
    design: DesignMatrix,
    values: Tensor,
    counts: Tensor,
    prior: "NormalPrior | None" = None,
) -> Tensor:
    r"""Weights that minimise weighted squares, of least norm where several do.

    .. math:: \arg\min_w \sum_t n_t (y_t - w^\top x_t)^2 + (w - m)^\top P (w - m)

    Args:
        design: covariates, shape (steps, features).
        values: shape (steps,) or (problems, steps).
        counts: weight of every step in every problem, shape (problems, steps).
        prior: means m and precisions P times the variance of the values.

    Returns:
        Shape (problems, features).
    """
    ranks, values = design.ranks, values.expand(counts.shape)
    moments = ranks.total(design.gram(counts))
    weights = counts.new_zeros(moments.shape[:-1])
    if prior is not None:
        weights, moments = weights + prior.mean, moments + prior.precision
    # Columns of one size, so that units of the covariates do not cost digits.
    size = moments.diagonal(dim1=-2, dim2=-1).sqrt()
    size = torch.where(size > 0, size, 1.0)
    # What sums of so many products may be off: smaller eigenvalues are rounding alone.
    rounding = _ROUNDING * design.total_rows**0.5
    scaled = moments / size.unsqueeze(-1) / size.unsqueeze(-2)
    inverse = torch.linalg.pinv(scaled, rtol=rounding, hermitian=True)
    # The second time on what is left, which takes back the rounding of the moments.
    for _ in range(2):
        pull = ranks.total((counts * (values - (design @ weights.mT).mT)) @ design)
        if prior is not None:
            pull += _products(prior.precision, prior.mean - weights)
        weights = weights + _products(inverse, pull / size) / size
    return weights


def _products(matrices: Tensor, vectors: Tensor) -> Tensor:
    """Products of matrices (..., n, n) and vectors (..., n), one by one."""
    return (matrices @ vectors.unsqueeze(-1)).squeeze(-1)


class NormalPrior(NamedTuple):
    """Normal priors of the weights of many regressions.

    Attributes:
        mean: shape (problems, features).
        precision: shape (problems, features, features).
    """

    mean: Tensor
    precision: Tensor

    @classmethod
    def of(cls, prior: Distribution, shape: torch.Size) -> "NormalPrior | None":
        """The normal prior of weights (problems..., features); ``None`` for others."""
        precision = normal_precision(prior)
        if precision is None:
            return None
        return cls(
            innermost(prior).mean.expand(shape), precision.expand(shape + shape[-1:])
        )


def observed_deviations(
    values: Tensor, mask: Tensor | None, ranks: Ranks = ALONE, constant: float = 1.0
) -> Tensor:
    """Standard deviation of what was observed of every column.

    Args:
        values: shape (steps, outputs).
        mask: shape (steps, outputs), or ``None`` if all of it was.
        ranks: over which steps are spread.
        constant: what stands for it where a column varies by no more than rounding.
    """
    return mean_and_spread(values, mask, ranks, constant)[1]


def mean_and_spread(
    values: Tensor, mask: Tensor | None, ranks: Ranks = ALONE, constant: float = 1.0
) -> tuple[Tensor, Tensor]:
    """As :func:`observed_deviations`, the means first."""
    seen = torch.ones_like(values) > 0 if mask is None else mask
    counts = seen.to(values)
    values = torch.where(seen, values, 0.0)
    total, sums = ranks.totals(counts.sum(0), (counts * values).sum(0))
    total = total.clamp(min=1.0)
    mean = sums / total
    squares = ranks.total((counts * (values - mean).square()).sum(0))
    found = (squares / total).sqrt()
    low = ranks.least(torch.where(seen, values, torch.inf).amin(0))
    high = ranks.most(torch.where(seen, values, -torch.inf).amax(0))
    rounding = _ROUNDING * torch.maximum(low.abs(), high.abs())
    return mean, torch.where(high - low > rounding, found, constant)


def location_units(
    columns: ColumnUnits, data: Sequences, is_single: bool
) -> OutputUnits:
    """Units of outputs whose families have a location and a scale.

    Args:
        columns: units of the covariates.
        data: where the outputs stand.
        is_single: whether there is one output, without an axis of its own.
    """
    mean, scale = mean_and_spread(*columns_of(data))
    if columns.constant is None:
        scale = (scale.square() + mean.square()).sqrt()
        mean = torch.zeros_like(mean)
    centre = mean.squeeze(0) if is_single else mean.unsqueeze(-1)
    factor = scale.squeeze(0) if is_single else scale.unsqueeze(-1)
    weights = columns.affine(factor, centre)
    sizes = Affine(scale.squeeze(0) if is_single else scale)
    return OutputUnits(scale, mean, {"weights": weights, "scale": sizes})


def columns_of(data: Sequences) -> tuple[Tensor, Tensor | None, Ranks]:
    """Emissions (steps, outputs) as numbers, their mask of that shape if any, ranks."""
    values = data.emissions.reshape(data.num_steps, -1).to(torch.float64)
    if data.mask is None:
        return values, None, data.ranks
    mask = data.mask.reshape(data.num_steps, -1).expand(values.shape)
    return values, mask, data.ranks


def one_regression(
    design: DesignMatrix, values: Tensor, mask: Tensor | None, ranks: Ranks = ALONE
) -> tuple[Tensor, Tensor]:
    """Weights (1, features) of a single output, and the spread (1,) of what is left.

    Args:
        design: covariates, shape (steps, features).
        values: shape (steps, 1).
        mask: shape (steps, 1), or ``None``.
        ranks: those of the design.
    """
    counts = torch.ones_like(values) if mask is None else mask.to(values)
    design = design.to(values)
    weights = weighted_regressions(design, values[:, 0], counts.T)
    return weights, observed_deviations(values - design @ weights.T, mask, ranks)
