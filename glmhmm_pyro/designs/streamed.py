"""Designs whose rows are made as they are read, and never all at once.

A form says what its rows are at some steps; products follow a stretch of steps after
another. Changes of rows (units, columns, types) are made as they are read, too.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from glmhmm_pyro.designs.dense import Dense
from glmhmm_pyro.designs.matrix import STRETCH, DesignMatrix
from glmhmm_pyro.designs.thin_products import add_sums, multiply

# Numbers of one stretch that should stay in the cache while they are multiplied.
_CACHED_NUMBERS = 1 << 18

# Designs of fewer numbers are kept: they cost less than what makes them.
_KEPT_NUMBERS = 1 << 22


class Streamed(DesignMatrix):
    """A design whose rows are made as they are read.

    A form writes :meth:`read`, and may write faster :meth:`product` and :meth:`sums`.
    """

    is_streamed = True

    @abstractmethod
    def read(self, steps: slice | Tensor) -> Tensor:
        """Rows (some, features) at a stretch of steps, or at steps by their numbers."""

    def __matmul__(self, weights: Tensor) -> Tensor:
        if weights.dim() == 1:
            return (self @ weights[:, None]).squeeze(-1)
        found: Tensor = _Product.apply(weights, self)
        return found

    def __rmatmul__(self, residuals: Tensor) -> Tensor:
        found: Tensor = _Sums.apply(residuals, self)
        return found

    def product(self, weights: Tensor) -> Tensor:
        """Predictors (steps, columns) of weights (features, columns), no graph kept."""
        found = weights.new_empty(len(self), weights.shape[1])
        for where, rows in self.stretches(self._cached()):
            multiply(rows, weights, found[where])
        return found

    def sums(self, residuals: Tensor) -> Tensor:
        """Sums of rows (sets, features) under residuals (sets, steps), no graph."""
        found = residuals.new_zeros(len(residuals), self.shape[1])
        for where, rows in self.stretches(self._cached()):
            add_sums(residuals[:, where], rows, found)
        return found

    def gram(self, weights: Tensor) -> Tensor:
        """Second moments, all of a stretch before the next one is read."""
        sets = weights.reshape(-1, len(self))
        found = [weights.new_zeros(2 * self.shape[1:]) for _ in sets]
        for where, rows in self.stretches(4 * self._cached()):
            for number, one in enumerate(sets[:, where]):
                found[number] = found[number].addmm((rows * one[:, None]).T, rows)
        moments = torch.stack(found) if found else weights.new_zeros(0)
        return moments.reshape(*weights.shape[:-1], *2 * self.shape[1:])

    def mapped(
        self, change: Callable[[Tensor], Tensor], names: tuple[str, ...] | None = None
    ) -> DesignMatrix:
        """The design of rows that are changed as they are read."""
        return Changed(self, change, names or self.names)

    def moved(self, centre: Tensor | float, scale: Tensor | float) -> DesignMatrix:
        """Columns less their centres, over their scales, both (features,)."""
        return Moved(self, centre, scale)

    def silenced(self, steps: Tensor) -> DesignMatrix:
        """Zeros at these steps, made as they are read."""
        return Silenced(self, steps)

    def to(self, kind: torch.dtype | torch.device | str | Tensor) -> DesignMatrix:
        """The same in another floating type, on another device, as ``Tensor.to``."""
        probe = torch.empty(0, dtype=self.dtype, device=self.device)
        return self if probe.to(kind) is probe else super().to(kind)

    def contiguous(self) -> DesignMatrix:
        """Itself: rows are made with their numbers side by side."""
        return self

    def at(self, steps: Tensor) -> DesignMatrix:
        """Some of the rows: few are kept, many are read where they stand."""
        numbers = torch.arange(len(self), device=steps.device)[steps]
        if len(numbers) * self.shape[1] <= _KEPT_NUMBERS:
            return Dense(self.read(numbers), self.names)
        return Chosen(self, numbers)

    def stretches(self, size: int = STRETCH) -> Iterator[tuple[slice, Tensor]]:
        """Rows made one stretch after another."""
        for start in range(0, len(self), size):
            where = slice(start, min(start + size, len(self)))
            yield where, self.read(where)

    def dense(self) -> Tensor:
        """All rows, made at once: the array that this form is there to spare."""
        found = torch.empty(self.shape, dtype=self.dtype, device=self.device)
        for where, rows in self.stretches():
            found[where] = rows
        return found

    def _cached(self) -> int:
        """Number of steps whose rows stay in the cache."""
        return min(STRETCH, max(256, _CACHED_NUMBERS // max(self.shape[1], 1)))


class Changed(Streamed):
    """Another design's rows, changed as they are read.

    Args:
        base: the other design.
        change: from rows (rows, features) to as many, each by itself.
        names: of the columns.
    """

    def __init__(
        self,
        base: DesignMatrix,
        change: Callable[[Tensor], Tensor],
        names: tuple[str, ...] | None,
    ):
        self.base, self.change = base, change
        self.session_lengths = base.session_lengths
        row = change(base.read(slice(0, 1)))
        self.shape = torch.Size([len(base), row.shape[1]])
        self.names = names if names and len(names) == row.shape[1] else None
        self.dtype, self.device = row.dtype, row.device

    def read(self, steps: slice | Tensor) -> Tensor:
        """The other's rows, changed."""
        return self.change(self.base.read(steps))


class Moved(Changed):
    """Another design's columns less their centres, over their scales."""

    base: Streamed

    def __init__(self, base: Streamed, centre: Tensor | float, scale: Tensor | float):
        ones = torch.ones(base.shape[1], dtype=torch.float64, device=base.device)
        self.centre, self.scale = ones * centre, ones * scale
        super().__init__(base, self._changed, base.names)

    def _changed(self, rows: Tensor) -> Tensor:
        moved = (rows.to(torch.float64) - self.centre) / self.scale
        return moved.to(rows.dtype)

    def product(self, weights: Tensor) -> Tensor:
        """The other's at weights over the scales, less that of the centres."""
        own = weights / self.scale.to(weights)[:, None]
        return self.base.product(own).sub_(self.centre.to(own) @ own)

    def sums(self, residuals: Tensor) -> Tensor:
        """The other's, less the centres so many times, over the scales."""
        gone = residuals.sum(1, keepdim=True) * self.centre.to(residuals)
        return self.base.sums(residuals).sub_(gone) / self.scale.to(residuals)


class Silenced(Streamed):
    """Another design with zeros at some steps.

    A column that is 0 at all other steps is left: it would be none.

    Args:
        base: the other design.
        steps: numbers of these steps.
    """

    def __init__(self, base: Streamed, steps: Tensor):
        self.base, self.shape, self.names = base, base.shape, base.names
        self.dtype, self.device = base.dtype, base.device
        self.session_lengths = base.session_lengths
        self.sounds = torch.ones(len(base), dtype=torch.bool, device=base.device)
        self.sounds[steps] = False
        self.steps = steps
        self.used = torch.zeros(base.shape[1], dtype=torch.bool, device=base.device)
        if self.sounds.any():
            low, high = base.at(self.sounds).extent()
            self.used = (low != 0) | (high != 0)
        self.lost = torch.where(self.used, base.read(steps), 0.0)

    def read(self, steps: slice | Tensor) -> Tensor:
        """The other's rows, silenced."""
        rows = self.base.read(steps)
        return torch.where(self.sounds[steps, None] | ~self.used, rows, 0.0)

    def product(self, weights: Tensor) -> Tensor:
        """The other's, less what the steps added."""
        found = self.base.product(weights)
        found[self.steps] -= self.lost @ weights
        return found

    def sums(self, residuals: Tensor) -> Tensor:
        """The other's, less what the steps added."""
        return self.base.sums(residuals) - residuals[:, self.steps] @ self.lost


class Chosen(Streamed):
    """Some steps of another design.

    Args:
        base: the other design.
        index: numbers of the steps.
    """

    def __init__(self, base: Streamed, index: Tensor):
        self.base, self.index, self.names = base, index, base.names
        self.shape = torch.Size([len(index), base.shape[1]])
        self.dtype, self.device = base.dtype, base.device

    def read(self, steps: slice | Tensor) -> Tensor:
        """The other's rows at these steps."""
        return self.base.read(self.index[steps])


class _KeptRows(Protocol):
    """What the passes of a product read."""

    design: Streamed


class _Linear(torch.autograd.Function):
    """A linear function of numbers (*batch, ...), and of a design."""

    @staticmethod
    def setup_context(
        ctx: _KeptRows, inputs: tuple[Tensor, Streamed], output: Tensor
    ) -> None:
        ctx.design = inputs[1]

    @classmethod
    def jvp(cls, ctx: _KeptRows, tangent: Tensor, *_: None) -> Tensor:
        found: Tensor = cls.apply(tangent, ctx.design)
        return found

    @classmethod
    def vmap(
        cls,
        info: NamedTuple,
        in_dims: tuple[int, None],
        numbers: Tensor,
        design: Streamed,
    ) -> Any:
        return cls.apply(numbers.movedim(in_dims[0], 0), design), 0


class _Product(_Linear):
    """(weights (*batch, features, columns), design) -> (*batch, steps, columns)."""

    @staticmethod
    def forward(weights: Tensor, design: Streamed) -> Tensor:
        *batch, features, columns = weights.shape
        flat = weights.movedim(-2, 0).reshape(features, -1)
        found = design.product(flat.contiguous())
        return found.reshape(len(design), *batch, columns).movedim(0, -2).contiguous()

    @staticmethod
    def backward(ctx: _KeptRows, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _Sums.apply(grad.transpose(-1, -2), ctx.design).transpose(-1, -2), None


class _Sums(_Linear):
    """(residuals (*batch, steps), design) -> (*batch, features)."""

    @staticmethod
    def forward(residuals: Tensor, design: Streamed) -> Tensor:
        found = design.sums(residuals.reshape(-1, len(design)))
        return found.reshape(*residuals.shape[:-1], design.shape[1])

    @staticmethod
    def backward(ctx: _KeptRows, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _Product.apply(grad.unsqueeze(-1), ctx.design).squeeze(-1), None
