"""What every recipe is: a prior that waits for the shape of its parameter."""

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from glmhmm_pyro.broadcasting import broadcast_shape


@dataclass(frozen=True)
class Place:
    """Where a prior stands: what a recipe may know of its parameter besides a shape.

    Attributes:
        name: full name of the parameter's site, after which the hyperparameters of its
            prior are named.
        axes: names of the parameter's axes, if known.
        columns: names of the covariates along its last axis, if known.
        among: names of all covariates that the prior was given for, of which some may
            belong to another parameter; ``None`` for these columns.
        support: where the parameter lives.
        argument: that the prior was given for, for messages.
    """

    name: str = "parameter"
    axes: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    among: tuple[str, ...] | None = None
    support: Any = constraints.real
    argument: str = "prior"

    @property
    def title(self) -> str:
        """The prior as messages call it."""
        return f"{self.argument} of {self.name}"

    def inside(self, part: object, columns: tuple[str, ...] | None) -> "Place":
        """The place of a prior that is part of another one."""
        among = self.among if columns == self.columns else None
        return replace(self, name=f"{self.name}_{part}", columns=columns, among=among)

    @property
    def whole(self) -> tuple[str, ...] | None:
        """Names of all covariates that the prior was given for, if known."""
        return self.columns if self.among is None else self.among

    def here(self, numbers: Sequence[int]) -> list[int]:
        """Numbers of the parameter's columns, from numbers among all covariates."""
        if self.among is None or self.columns is None:
            return list(numbers)
        places = {name: place for place, name in enumerate(self.columns)}
        names = [self.among[number] for number in numbers]
        return [places[name] for name in names if name in places]


class PriorRecipe(ABC):
    """A prior given by a few numbers, callable on the shape of its parameter.

    It is a product over all axes but the last ``event_dim`` ones, given its
    hyperparameters: an M-step separates over the outer axes.

    Example:
        >>> import glmhmm_pyro as gh
        >>> gh.priors.Ridge(2.0)((3, 4)).batch_shape
        torch.Size([3, 4])
    """

    @abstractmethod
    def __call__(self, shape: torch.Size, place: Place = Place()) -> Distribution:
        """Distribution over a parameter.

        Args:
            shape: shape of the parameter. Where sampled hyperparameters carry leading
                axes of parameter sets, so does the distribution.
            place: where the parameter stands.
        """

    @property
    def event_dim(self) -> int:
        """Number of last axes over which the prior is no product."""
        return 0

    @property
    def takes_sets(self) -> bool:
        """Whether values with leading axes of parameter sets are allowed."""
        return True

    def hyperparameters(self, axes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """Axes of every hyperparameter, by the end of its site's name.

        Args:
            axes: names of the parameter's axes.
        """
        return {}


class ScaleFamily(PriorRecipe):
    """A recipe whose draws may be multiplied by a factor, such as a sampled scale.

    Example:
        >>> import glmhmm_pyro as gh
        >>> isinstance(gh.priors.Ridge(1.0), gh.priors.ScaleFamily)
        True
    """

    @abstractmethod
    def scaled(
        self, shape: torch.Size, factor: Tensor | float, place: Place = Place()
    ) -> Distribution:
        """Distribution of ``factor`` times the parameter; factors broadcast to it."""

    def __call__(self, shape: torch.Size, place: Place = Place()) -> Distribution:
        """Distribution over a parameter of this shape."""
        return self.scaled(shape, 1.0, place)


def require_positive(recipe: PriorRecipe, *fields: str) -> None:
    """Check that fields are positive, finite numbers; keep them as floats."""
    for field in fields:
        given = getattr(recipe, field)
        number = as_number(given)
        if not 0 < number < math.inf:
            raise ValueError(
                f"{field} of {type(recipe).__name__} must be a positive, finite "
                f"number, got {given!r}; give a number such as 1.0"
            )
        object.__setattr__(recipe, field, number)


def as_number(value: Any) -> float:
    """A number, or a tensor without axes, as a float; nan for what is none."""
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return math.nan
    return float(value)


def full_shape(shape: torch.Size, factor: Tensor | float) -> torch.Size:
    """``shape`` with the leading axes of parameter sets that a factor may carry."""
    return broadcast_shape(torch.as_tensor(factor).shape, torch.Size(shape))
