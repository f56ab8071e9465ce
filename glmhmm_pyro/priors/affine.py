"""Values as affine maps of others, and the priors that these others then have.

A fit works with covariates of mean 0 and spread 1, whatever the units of the user's.
Its weights are affine functions of the user's, and have the prior that makes the user's
what was declared.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import pad

from glmhmm_pyro.priors.answers import (
    Question,
    core,
    curvature,
    held,
    innermost,
    is_flat,
    is_proper,
    log_mass,
    majoriser,
    normal_precision,
)
from glmhmm_pyro.priors.filling import Prior, fill, recipe_of
from glmhmm_pyro.priors.partly import NEARLY, Partly
from glmhmm_pyro.priors.recipe import Place, PriorRecipe


@dataclass(frozen=True)
class Affine:
    r"""A map from a fit's own values to the user's.

    .. math:: w = f \odot (\theta - (r^\top \theta) \, e_c) + o

    The last axis is that of the covariates: where those of the fit are centred, the
    weight of their constant column c takes up what that adds to a predictor.

    Args:
        factor: f, broadcasts to the values.
        offset: o, broadcasts to the values.
        shares: r, 0 at c, shape (features,); ``None`` where nothing is centred.
        column: c.

    Example:
        >>> halved = Affine(torch.tensor(0.5))
        >>> halved(torch.ones(2)), halved.inverse(torch.ones(2))
        (tensor([0.5000, 0.5000]), tensor([2., 2.]))
    """

    factor: Tensor
    offset: Tensor | float = 0.0
    shares: Tensor | None = None
    column: int = 0

    @property
    def event_dim(self) -> int:
        """Number of last axes whose numbers depend on each other."""
        return 0 if self.shares is None else 1

    @property
    def keeps_signs(self) -> bool:
        """Whether it is a product with positive numbers."""
        moves = torch.as_tensor(self.offset).any() or self.shares is not None
        return not moves and bool((self.factor > 0).all())

    def __call__(self, own: Tensor) -> Tensor:
        """The user's values (*batch, *shape)."""
        return self.linear(own) + self.offset

    def linear(self, own: Tensor) -> Tensor:
        """The map of differences of values: without the offset."""
        return self._mixed(own, -1.0) * self.factor

    def inverse(self, value: Tensor) -> Tensor:
        """The fit's own values from the user's."""
        return self._mixed((value - self.offset) / self.factor, 1.0)

    def pulled(self, precision: Tensor) -> Tensor:
        """Second derivatives by a fit's own values from those by the user's.

        Args:
            precision: shape (*rows, features, features).
        """
        slopes = self.slopes(precision.shape[-1])
        return slopes @ precision @ slopes.mT

    def chosen(self, columns: list[int], mixed: "Affine") -> "Affine":
        """The map of some columns, which mix among themselves as in another map."""
        offset = self.offset
        if isinstance(offset, Tensor):
            offset = offset[..., columns]
        return Affine(self.factor[..., columns], offset, mixed.shares, mixed.column)

    def slopes(self, features: int) -> Tensor:
        """Derivatives of the user's values by own ones, (*rows, own, user's)."""
        own = self._mixed(torch.eye(features, dtype=self.factor.dtype), -1.0)
        return own * (self.factor.unsqueeze(-2) if self.factor.dim() else self.factor)

    def log_volume(self, shape: torch.Size, event_dim: int) -> Tensor:
        """Log volume that the map gains over the last ``event_dim`` axes of a shape.

        Mixing gains none.
        """
        split = len(shape) - event_dim
        gains = self.factor.abs().log().expand(shape)
        return gains.reshape(shape[:split] + (-1,)).sum(-1)

    def _mixed(self, values: Tensor, sign: float) -> Tensor:
        if self.shares is None:
            return values
        moved = sign * (values @ self.shares)
        before, after = self.column, values.shape[-1] - self.column - 1
        return values + pad(moved.unsqueeze(-1), (before, after))


@dataclass(frozen=True)
class HeldAffine(Affine):
    """A map between values of which some are held, at numbers that both sides know.

    Args:
        users: the user's values, NaN where they are free.
        own: the fit's own, NaN where they are free.
    """

    users: Tensor = field(default_factory=lambda: torch.tensor(torch.nan))
    own: Tensor = field(default_factory=lambda: torch.tensor(torch.nan))

    @classmethod
    def of(cls, affine: Affine, users: Tensor) -> "HeldAffine":
        """A map that :func:`keeps_held` allows, of values held at these numbers."""
        own = affine.inverse(users.nan_to_num()).masked_fill(users.isnan(), torch.nan)
        parts = affine.factor, affine.offset, affine.shares, affine.column
        return cls(*parts, users, own)

    def __call__(self, own: Tensor) -> Tensor:
        """The user's values (*batch, *shape)."""
        return _replaced(super().__call__(own), own, self.own, self.users)

    def inverse(self, value: Tensor) -> Tensor:
        """The fit's own values from the user's."""
        return _replaced(super().inverse(value), value, self.users, self.own)

    def log_volume(self, shape: torch.Size, event_dim: int) -> Tensor:
        """As for every map, of the free numbers alone."""
        split = len(shape) - event_dim
        gains = self.factor.abs().log().expand(shape)
        gains = torch.where(self.users.isnan().to(gains.device), gains, 0.0)
        return gains.reshape(shape[:split] + (-1,)).sum(-1)


def keeps_held(affine: Affine, users: Tensor) -> bool:
    """Whether what is held of the user's values is held of the fit's own, too.

    Where the constant column's weight is held, those of centred columns must be.

    Args:
        affine: from the fit's own values to the user's.
        users: the user's values, NaN where they are free.
    """
    if affine.shares is None:
        return True
    free = users.isnan()
    mixed = (free & (affine.shares != 0)).any(-1)
    return not bool((mixed & ~free[..., affine.column]).any())


def held_map(affine: Affine, prior: Distribution) -> Affine:
    """The map of a parameter, where some of it is held with what is."""
    if not isinstance(prior.support, Partly):
        return affine
    return HeldAffine.of(affine, prior.support.value)


@Question
def flat_columns(prior: Distribution) -> Tensor | bool:
    """Which columns a prior says nothing on, whatever the others are.

    Shape (features,), or one answer for all.
    """
    return bool(is_flat(prior))


def _replaced(found: Tensor, value: Tensor, held: Tensor, by: Tensor) -> Tensor:
    """Numbers found for values, without rounding where these are those held."""
    held, by = held.to(value), by.to(value)
    near = (value - held).abs() <= NEARLY * (1 + held.abs())
    return torch.where(near, by, found)


class Rescaled(TorchDistribution):
    """Distribution of a fit's own values where the user's have a given one.

    Args:
        base: distribution of the user's values.
        affine: from the fit's own values to these.
    """

    arg_constraints: dict = {}
    has_rsample = False

    def __init__(self, base: TorchDistribution, affine: Affine):
        self.base, self.affine = base, affine
        shape = base.batch_shape + base.event_shape
        split = len(shape) - max(len(base.event_shape), affine.event_dim)
        super().__init__(shape[:split], shape[split:], validate_args=False)

    @property
    def support(self) -> Any:
        """Rows of real numbers where numbers are mixed, else what the base's is."""
        if isinstance(self.affine, HeldAffine):
            return Partly(self.affine.own, self.base.support.base)
        if not self.affine.event_dim:
            return self.base.support
        return constraints.independent(constraints.real, self.event_dim)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "Rescaled":
        """This prior over a batch of values."""
        shape = torch.Size(batch_shape) + self.event_shape
        split = len(shape) - len(self.base.event_shape)
        return Rescaled(self.base.expand(shape[:split]), self.affine)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the user's values, and the log volume of the map to them."""
        found = self.base.log_prob(self.affine(value))
        if self.event_dim > len(self.base.event_shape):
            found = found.sum(-1)
        shape = self.batch_shape + self.event_shape
        return found + self.affine.log_volume(shape, self.event_dim)

    @property
    def mean(self) -> Tensor:
        """The mean, where the base has one."""
        return self.affine.inverse(self.base.mean)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Draws of the base, mapped back."""
        return self.affine.inverse(self.base.sample(sample_shape))


@normal_precision.register
def _(prior: Rescaled, slopes: Tensor | None = None) -> Tensor | None:
    own = prior.affine.slopes(prior.shape()[-1])
    found: Tensor | None = normal_precision(
        prior.base, own if slopes is None else slopes @ own
    )
    return found


@curvature.register
def _(prior: Rescaled, value: Tensor) -> Tensor:
    normal: Tensor | None = normal_precision(prior)
    if normal is not None:
        return normal
    return prior.affine.pulled(curvature(prior.base, prior.affine(value)))


@majoriser.register
def _(prior: Rescaled, value: Tensor) -> Rescaled:
    bound = majoriser(prior.base, prior.affine(value))
    is_own = core(bound) is core(prior.base)
    return prior if is_own else Rescaled(bound, prior.affine)


@is_proper.register
def _(prior: Rescaled) -> bool:
    return is_proper(prior.base)


@is_flat.register
def _(prior: Rescaled) -> bool:
    return bool(is_flat(prior.base))


@held.register
def _(prior: Rescaled) -> Tensor | None:
    found: Tensor | None = held(prior.base)
    return found


@log_mass.register
def _(prior: Rescaled) -> float:
    return float(log_mass(prior.base))


def rescaled(prior: Prior, affine: Affine) -> Prior:
    """The prior of a fit's own values that gives the user's their own.

    Args:
        prior: as the user declared it.
        affine: from the fit's own values to the user's.
    """
    return prior if is_flat(prior) else RescaledRecipe(recipe_of(prior), affine)


@dataclass(frozen=True)
class RescaledRecipe(PriorRecipe):
    """A user's prior for values that are an affine map away.

    Args:
        prior: that of the user's values.
        affine: from the fit's own values to the user's.
    """

    prior: PriorRecipe
    affine: Affine

    @property
    def event_dim(self) -> int:
        """Event axes of the prior, or of the map if it has more."""
        return max(self.prior.event_dim, self.affine.event_dim)

    @property
    def takes_sets(self) -> bool:
        """Whether the prior does."""
        return self.prior.takes_sets

    def hyperparameters(self, axes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """Axes of the prior's hyperparameters."""
        return self.prior.hyperparameters(axes)

    def __call__(self, shape: torch.Size, place: Place = Place()) -> Distribution:
        """The distribution of a parameter of this shape."""
        filled = fill(self.prior, shape, place.support, place)
        return Rescaled(innermost(filled), self.affine)
