"""A prior of differences: between states, or between covariates."""

import copy
import math
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.priors.answers import (
    curvature,
    is_proper,
    log_mass,
    majoriser,
    storable,
)
from glmhmm_pyro.priors.filling import Prior, elementwise_log_prob, fill, recipe_of
from glmhmm_pyro.priors.recipe import Place, PriorRecipe

# Contrasts that have names, of so many entries.
_NAMED = {
    "pairs": lambda size: torch.combinations(torch.arange(size)),
    "neighbours": lambda size: torch.arange(size).unfold(0, 2, 1),
}


@storable
@suggests_names
@dataclass(frozen=True)
class Contrast(PriorRecipe):
    r"""A prior of differences of weights, on top of one of the weights themselves.

    .. math:: \log p(w) = \log p_0(w) + \log p_d(C w) + \text{const}

    Such as that the weights of state 1 minus those of state 0 are small, or that
    neighbouring lags differ little (with :class:`Lasso`: that few differ, the fused
    lasso of Tibshirani et al. 2005).

    It is a factor on the weights, not a change of variables: C w are fewer or more
    numbers than w, so that no Jacobian belongs to it, and the density is left without
    a normaliser. What maximises the posterior or draws from it (EM, MAP, Laplace, SVI,
    NUTS) does not depend on that; an evidence and draws from the prior would, and are
    refused. With a flat ``base`` it is improper, unless all weights follow from their
    contrasts.

    States may change numbers as far as that leaves the density as it is: under
    ``Normal(0, 0.1)`` two states may, under ``Normal(1, 0.1)`` they may not, and draws
    of NUTS keep their numbers.

    Args:
        contrasts: the matrix C, shape (contrasts, entries of the axis); ``"pairs"`` for
            the later entry minus the earlier one of every pair, or ``"neighbours"`` for
            those of neighbours.
        prior: of the contrasts, of the parameter's shape with these in place of the
            axis: as any prior, in the units of the weights.
        axis: name of the parameter's axis, e.g. ``"state"``, ``"origin"``, ``"class"``
            or ``"covariate"``. Reference states and classes have no entry in it. Along
            ``"covariate"`` an M-step still separates over states.
        base: prior of the weights themselves, ``None`` for flat.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from torch.distributions import Normal
        >>> ridge = gh.priors.Ridge(2.0)
        >>> alike = gh.priors.Contrast([[-1, 1]], Normal(0, 0.1), base=ridge)
        >>> model = gh.GLMHMM(2, gh.Bernoulli(prior=alike))
        >>> smooth = gh.priors.Contrast("neighbours", Normal(0, 0.1), axis="covariate")
    """

    contrasts: Any
    prior: Prior
    axis: str = "state"
    base: Prior = None

    def __post_init__(self) -> None:
        if isinstance(self.contrasts, str) and self.contrasts in _NAMED:
            return
        rows = _as_rows(self.contrasts)
        if rows is None:
            raise ValueError(
                "contrasts of Contrast must be a matrix of finite numbers, a row a "
                "contrast, none of zeros alone, or one of "
                f"{', '.join(map(repr, _NAMED))}, got {self.contrasts!r:.80}; write "
                "[[-1, 1]] for the second entry minus the first"
            )
        object.__setattr__(self, "contrasts", rows)

    @property
    def event_dim(self) -> int:
        """Rows of covariates are apart if contrasts are along these."""
        own = 1 if self.axis == "covariate" else sys.maxsize
        return max(own, recipe_of(self.prior).event_dim, recipe_of(self.base).event_dim)

    @property
    def takes_sets(self) -> bool:
        """Whether both priors do."""
        return recipe_of(self.prior).takes_sets and recipe_of(self.base).takes_sets

    def hyperparameters(self, axes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """Axes of the hyperparameters of both priors."""
        across = recipe_of(self.prior).hyperparameters(self._across(axes))
        own = {f"contrast_{name}": found for name, found in across.items()}
        return recipe_of(self.base).hyperparameters(axes) | own

    def __call__(self, shape: torch.Size, place: Place = Place()) -> Distribution:
        """The product of both densities."""
        if self.axis not in (place.axes or ()):
            raise ValueError(
                f"axis of Contrast must be an axis of {place.name}, which are "
                f"{', '.join(place.axes or ()) or 'unknown'}, got {self.axis!r}"
                "; name one of these"
            )
        axes: tuple[str, ...] = place.axes or ()
        axis = axes.index(self.axis) - len(shape)
        matrix = self._matrix(shape[axis], place)
        across = list(shape)
        across[axis] = len(matrix)
        columns = None if self.axis == "covariate" else place.columns
        inner = replace(place.inside("contrast", columns), axes=self._across(axes))
        return Contrasted(
            fill(self.base, shape, place.support, place),
            fill(self.prior, torch.Size(across), constraints.real, inner),
            matrix,
            axis,
            torch.Size(shape),
            min(self.event_dim, len(shape)),
        )

    def _across(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the axes of the contrasts."""
        return tuple("contrast" if axis == self.axis else axis for axis in axes)

    def _matrix(self, size: int, place: Place) -> Tensor:
        """The contrasts of so many entries."""
        if isinstance(self.contrasts, str):
            pairs = _NAMED[self.contrasts](size) if size > 1 else torch.zeros(0, 2)
            earlier, later = torch.eye(size).double()[pairs.long()].unbind(1)
            return later - earlier
        if len(self.contrasts[0]) != size:
            raise ValueError(
                f"contrasts of Contrast must have a column for each of the {size} "
                f"entries of axis {self.axis!r} of {place.name}, got "
                f"{len(self.contrasts[0])} columns; write 0 for entries that do not "
                "count"
            )
        return torch.tensor(self.contrasts, dtype=torch.float64)


class Contrasted(TorchDistribution):
    """Density of weights, times that of contrasts of theirs, without a normaliser.

    Args:
        base: distribution of the weights.
        prior: distribution of the contrasts.
        matrix: the contrasts, shape (contrasts, entries).
        axis: which axis they are along, from the end.
        shape: of the weights.
        event_dim: number of last axes that depend on each other.
    """

    arg_constraints: dict = {}
    has_rsample = False

    def __init__(
        self,
        base: TorchDistribution,
        prior: TorchDistribution,
        matrix: Tensor,
        axis: int,
        shape: torch.Size,
        event_dim: int,
    ):
        self.base, self.prior, self.matrix, self.axis = base, prior, matrix, axis
        sets = broadcast_shape(base.batch_shape, prior.batch_shape)
        split = len(shape) - event_dim
        super().__init__(sets + shape[:split], shape[split:], validate_args=False)

    @property
    def support(self) -> Any:
        """Real numbers."""
        return constraints.independent(constraints.real, self.event_dim)

    def contrasts(self, value: Tensor) -> Tensor:
        """Contrasts of weights (*batch, *shape)."""
        moved = value.movedim(self.axis, -1) @ self.matrix.to(value).mT
        return moved.movedim(-1, self.axis)

    def log_prob(self, value: Tensor) -> Tensor:
        """Both log densities, up to a constant."""
        across = elementwise_log_prob(self.prior, self.contrasts(value), self.event_dim)
        return across + elementwise_log_prob(self.base, value, self.event_dim)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Draws of the base: start values, for of the product there are none."""
        return self.base.sample(sample_shape)


@is_proper.register
def _(prior: Contrasted) -> bool:
    rank = int(torch.linalg.matrix_rank(prior.matrix)) if len(prior.matrix) else 0
    determined = rank == prior.matrix.shape[1] and is_proper(prior.prior)
    return determined or is_proper(prior.base)


@is_proper.register
def _(prior: Contrast) -> bool:
    return bool(is_proper(prior.base))


@log_mass.register
def _(prior: Contrasted) -> float:
    return math.nan


@curvature.register
def _(prior: Contrasted, value: Tensor) -> Tensor:
    # Asked along covariates, where an M-step separates.
    across = curvature(prior.prior, prior.contrasts(value))
    found: Tensor = prior.matrix.mT @ across @ prior.matrix
    return found + curvature(prior.base, value)


@majoriser.register
def _(prior: Contrasted, value: Tensor) -> Contrasted:
    bound = copy.copy(prior)
    bound.base = majoriser(prior.base, value)
    bound.prior = majoriser(prior.prior, prior.contrasts(value))
    return bound


def _as_rows(given: ArrayLike) -> tuple[tuple[float, ...], ...] | None:
    """A matrix as tuples, which can be compared and saved, if it is one."""
    try:
        matrix = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if matrix.ndim != 2 or not matrix.size or not matrix.any(1).all():
        return None
    return tuple(map(tuple, matrix.tolist())) if np.isfinite(matrix).all() else None
