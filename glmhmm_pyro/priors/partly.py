"""Where a parameter lives of which some numbers are known, and how it is reached.

The unconstrained numbers are those of what is free. Of probabilities the free ones of a
row share what the known ones leave; a single free one is known by the others.
"""

import math

import torch
from torch import Tensor
from torch.distributions import (
    StickBreakingTransform,
    Transform,
    biject_to,
    constraints,
    transform_to,
)

# Rounding within which a value is the one that it is known to be.
NEARLY = 1e-9


class Partly(constraints.Constraint):
    """Values of which some are known.

    Args:
        value: of the whole shape, NaN where it is free.
        base: where all of it lies.
    """

    def __init__(self, value: Tensor, base: constraints.Constraint):
        self.value, self.base = value, base
        self.free = value.isnan()
        self.event_dim = value.dim()
        if self.is_shares:
            # A last one is what the others leave.
            alone = self.free & (self.free.sum(-1, keepdim=True) == 1)
            left = 1 - value.nan_to_num().sum(-1, keepdim=True)
            self.value = torch.where(alone, left, value)
            self.free = self.free & ~alone

    is_discrete = False

    @property
    def is_shares(self) -> bool:
        """Whether rows are probabilities."""
        return isinstance(self.base, type(constraints.simplex))

    @property
    def left(self) -> Tensor:
        """What the known numbers of every row leave to the free ones."""
        return 1 - self.value.nan_to_num().sum(-1)

    def check(self, value: Tensor) -> Tensor:
        """Whether values lie in the support and are those known."""
        inside = self.base.check(value)
        axes = tuple(range(value.dim() - self.event_dim, inside.dim()))
        inside = inside.all(axes) if axes else inside
        return inside & self.is_kept(value)

    def is_kept(self, value: Tensor) -> Tensor:
        """Whether the known numbers are what they are known to be, (*batch,)."""
        known = self.value.nan_to_num().to(value)
        near = (value - known).abs() <= NEARLY * (1 + known.abs())
        flat = (near | self.free).reshape(
            value.shape[: -self.event_dim or None] + (-1,)
        )
        return flat.all(-1)

    def refuse_impossible(self, title: str) -> None:
        """Raise a ValueError for known numbers outside the parameter's support."""
        known = self.value[~self.free]
        if self.is_shares:
            left, number = self.left, self.free.sum(-1)
            bad = (left < -NEARLY) | ((left > NEARLY) & (number == 0))
            bad |= (left <= NEARLY) & (number > 0) | (known < -NEARLY).any()
            what = "probabilities of which each row can sum to 1"
        else:
            bad = ~self.base.check(known)
            what = f"values in {type(self.base).__name__.strip('_').lower()}"
        if bad.any():
            raise ValueError(
                f"{title} must be fixed at {what}, got {self.value.tolist()}; NaN is "
                "free"
            )


class Completed(Transform):
    """From the unconstrained numbers of what is free to the whole parameter."""

    bijective = True

    def __init__(self, support: Partly):
        super().__init__()
        self.support = support
        self.domain = constraints.independent(constraints.real, 1)
        self.codomain = support
        if not support.is_shares:
            self.base = biject_to(support.base)

    @property
    def rows(self) -> list[tuple[Tensor, float]]:
        """Places of the free probabilities of every row, and what they share."""
        numbers = torch.arange(self.support.value.numel())
        width = self.support.value.shape[-1]
        free = self.support.free.reshape(-1, width)
        places = numbers.reshape(-1, width).to(free.device)
        left = self.support.left.reshape(-1).tolist()
        return [(p[f], s) for p, f, s in zip(places, free, left) if f.any()]

    @property
    def size(self) -> int:
        """How many unconstrained numbers there are."""
        if self.support.is_shares:
            return sum(len(places) - 1 for places, _ in self.rows)
        return int(self.support.free.sum())

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        """Shape of the parameter."""
        return torch.Size(shape[:-1]) + self.support.value.shape

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        """Shape of the unconstrained numbers."""
        batch = len(shape) - self.support.value.dim()
        return torch.Size(shape[:batch]) + torch.Size([self.size])

    def _call(self, x: Tensor) -> Tensor:
        known = self.support.value.nan_to_num().to(x)
        whole = known.expand(x.shape[:-1] + known.shape).reshape(*x.shape[:-1], -1)
        if not self.support.is_shares:
            places = self.support.free.reshape(-1).nonzero()[:, 0]
            return self._whole(whole, places, self.base(x), x)
        start = 0
        for places, share in self.rows:
            end = start + len(places) - 1
            parts = share * StickBreakingTransform()(x[..., start:end])
            whole = whole.index_copy(-1, places, parts)
            start = end
        return whole.reshape(x.shape[:-1] + known.shape)

    def _whole(self, whole: Tensor, places: Tensor, parts: Tensor, x: Tensor) -> Tensor:
        filled = whole.index_copy(-1, places, parts)
        return filled.reshape(x.shape[:-1] + self.support.value.shape)

    def _inverse(self, y: Tensor) -> Tensor:
        if not bool(self.support.is_kept(y).all()):
            raise ValueError(
                "values must be those that gh.priors.Fixed holds, got others; states "
                "that it tells apart can't be renumbered in what reads the prior again"
            )
        batch = y.shape[: y.dim() - self.support.value.dim()]
        flat = y.reshape(batch + (-1,))
        if not self.support.is_shares:
            return self.base.inv(flat[..., self.support.free.reshape(-1)])
        parts = [
            StickBreakingTransform().inv(flat[..., places] / share)
            for places, share in self.rows
        ]
        return torch.cat([flat[..., :0], *parts], -1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Log Jacobian of the free numbers, all but the last of a row of shares."""
        total = x.new_zeros(x.shape[:-1])
        if not self.support.is_shares:
            return total + self.base.log_abs_det_jacobian(x, self.base(x)).sum(-1)
        start = 0
        for places, share in self.rows:
            end = start + len(places) - 1
            piece, stick = x[..., start:end], StickBreakingTransform()
            total = total + stick.log_abs_det_jacobian(piece, stick(piece))
            total = total + (end - start) * math.log(share)
            start = end
        return total

    def of_free(self, numbers: Tensor) -> Tensor:
        """Numbers of the parameter's shape, at what is free alone."""
        flat = numbers.expand(self.support.value.shape).reshape(-1)
        if not self.support.is_shares:
            return flat[self.support.free.reshape(-1)]
        return torch.cat([flat[:0], *(flat[places[:-1]] for places, _ in self.rows)])


def of_free(transform: Transform, numbers: Tensor) -> Tensor:
    """Of numbers that broadcast to a parameter those of its unconstrained numbers.

    Args:
        transform: of ``biject_to``, from unconstrained numbers to the parameter.
        numbers: of every value, where nothing is fixed they are those.
    """
    return transform.of_free(numbers) if isinstance(transform, Completed) else numbers


for _registry in (biject_to, transform_to):
    _registry.register(Partly, Completed)
