"""Floors of scales, which keep densities finite.

A scale that runs to 0 makes the density of a few emissions infinite. It is kept at a
part of the output's spread over all data, whatever the unit, and the same bound of its
values serves every method: what lies beyond it is moved to it when unconstrained
numbers become values. Above the floor nothing is changed.
"""

import math
from typing import Any, NamedTuple

import torch
from pyro.distributions import Independent
from torch import Tensor
from torch.distributions import (
    IndependentTransform,
    Transform,
    biject_to,
    constraints,
    transform_to,
)

# A scale is at least this part of the standard deviation of its output over all data.
FLOOR = 1e-4

# Rounding of values that stand at a bound.
_NEARLY = 1e-10


class Bounds(NamedTuple):
    """Smallest and largest value of a parameter, which broadcast to it.

    Attributes:
        low: smallest value.
        high: largest value.
        end: what a parameter does that reaches a bound, in words.
        meaning: what the bound is, in words.
    """

    low: Tensor
    high: Tensor
    end: str
    meaning: str

    @classmethod
    def of_scale(cls, spread: Tensor) -> "Bounds":
        """Bounds of a scale, from standard deviations of its output; none where 0."""
        meaning = f"its floor, {FLOOR:g} of the output's standard deviation"
        high = torch.full_like(spread, math.inf)
        return cls(FLOOR * spread, high, "runs to 0", meaning)

    @classmethod
    def of_concentration(cls, spread: Tensor) -> "Bounds":
        """Bounds of a concentration, whose inverse root is relative to ``spread``."""
        meaning = (
            f"its largest value, where the output varies by {FLOOR:g} of the standard "
            "deviation of its logarithms"
        )
        high = (FLOOR * spread) ** -2
        return cls(torch.zeros_like(spread), high, "grows without end", meaning)

    @classmethod
    def of_correlation(cls) -> "Bounds":
        """Bounds of a correlation: the conditional scale stays above the floor."""
        largest = torch.tensor(1 - FLOOR**2, dtype=torch.float64).sqrt()
        meaning = f"its largest value, which leaves {FLOOR:g} of a scale"
        return cls(-largest, largest, "runs to 1 or -1", meaning)

    def clamp(self, values: Tensor) -> Tensor:
        """Values moved to the bounds where they are beyond them."""
        return values.clamp(self.low.to(values), self.high.to(values))

    def reached(self, values: Tensor) -> Tensor:
        """Where values stand at a bound, shape of ``values``; none is at 0."""
        low, high = self.low + _NEARLY * self.low.abs(), self.high * (1 - _NEARLY)
        return ((values <= low) & (self.low != 0)) | (values >= high)


class _Positive(type(constraints.positive)):  # type: ignore[misc]
    """Positive numbers that a fit keeps within bounds."""

    def __init__(self, bounds: Bounds):
        super().__init__(0.0)
        self.bounds = bounds


class _Interval(constraints.interval):
    """Numbers of an interval that a fit keeps within narrower bounds."""

    def __init__(self, support: constraints.interval, bounds: Bounds):
        super().__init__(support.lower_bound, support.upper_bound)
        self.bounds = bounds


class Clamped(Transform):
    """A transform to a support, its values moved to the bounds.

    Beyond them the volume is that of the transform itself, so that a density keeps a
    finite integral there, and the derivative of the values is 0.
    """

    bijective = True

    def __init__(self, inner: Transform, bounds: Bounds):
        super().__init__()
        self.inner, self.bounds = inner, bounds
        self.domain, self.codomain = inner.domain, inner.codomain

    def _call(self, x: Tensor) -> Tensor:
        return self.bounds.clamp(self.inner(x))

    def _inverse(self, y: Tensor) -> Tensor:
        return self.inner.inv(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Log Jacobian of the transform, as if there were no bounds."""
        return self.inner.log_abs_det_jacobian(x, self.inner(x))


def bounds_of(transform: Transform) -> Bounds | None:
    """Bounds that a transform of ``biject_to`` heeds, if any."""
    while isinstance(transform, IndependentTransform):
        transform = transform.base_transform
    return transform.bounds if isinstance(transform, Clamped) else None


def _positive(support: _Positive) -> Transform:
    return Clamped(biject_to(constraints.positive), support.bounds)


def _interval(support: _Interval) -> Transform:
    whole = constraints.interval(support.lower_bound, support.upper_bound)
    return Clamped(biject_to(whole), support.bounds)


for _registry in (biject_to, transform_to):
    _registry.register(_Positive, _positive)
    _registry.register(_Interval, _interval)


class Within(Independent):
    """A prior whose values a fit keeps within bounds; its density is unchanged.

    Args:
        prior: as ``fill`` makes it, all of its axes event axes.
        bounds: broadcast to the parameter.
    """

    def __init__(self, prior: Independent, bounds: Bounds):
        super().__init__(prior.base_dist, prior.reinterpreted_batch_ndims)
        self.bounds = bounds

    @property
    def support(self) -> Any:
        """That of the prior, with a transform to it that heeds the bounds."""
        inner: Any = self.base_dist.support
        bounds, axes = self.bounds, self.reinterpreted_batch_ndims
        if isinstance(inner, constraints.interval):
            # A prior may leave no room for the bounds.
            if (bounds.low < inner.upper_bound).all():
                return constraints.independent(_Interval(inner, bounds), axes)
        elif getattr(inner, "lower_bound", None) == 0 and not inner.event_dim:
            return constraints.independent(_Positive(bounds), axes)
        return super().support
