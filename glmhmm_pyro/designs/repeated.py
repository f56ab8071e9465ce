"""A design of few distinct rows: each is multiplied once, steps are looked up."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from glmhmm_pyro.designs.dense import Dense
from glmhmm_pyro.designs.matrix import STRETCH, DesignMatrix, Pool

# Rows repeat themselves if there are so many steps for each distinct one.
_STEPS_PER_ROW = 4

# Below so many steps products cost next to nothing.
_LEAST_STEPS = 1000

# An odd number without pattern: 2^63 over the golden ratio.
_FACTOR = 0x4F1BBCDCBFA53E0B


class Repeated(DesignMatrix):
    """Distinct rows, and which of them stands at every step.

    Args:
        rows: shape (rows, features); some may stand nowhere.
        index: number of the row at every step, shape (steps,).
        names: of the columns.
    """

    def __init__(
        self, rows: Tensor, index: Tensor, names: tuple[str, ...] | None = None
    ):
        self.rows, self.index, self.names = rows, index, names
        self.shape = torch.Size([len(index), rows.shape[1]])
        self.dtype, self.device = rows.dtype, rows.device

    def __matmul__(self, weights: Tensor) -> Tensor:
        axis = -1 if weights.dim() == 1 else -2
        return (self.rows @ weights).index_select(axis, self.index)

    def __rmatmul__(self, residuals: Tensor) -> Tensor:
        return self._by_row(residuals) @ self.rows

    def gram(self, weights: Tensor) -> Tensor:
        """Second moments of the distinct rows, under pooled weights."""
        return Dense(self.rows).gram(self._by_row(weights))

    def _by_row(self, values: Tensor) -> Tensor:
        """Sums (*batch, rows) of values (*batch, steps)."""
        nothing = values.new_zeros(*values.shape[:-1], len(self.rows))
        return nothing.index_add(-1, self.index, values)

    def mapped(
        self, change: Callable[[Tensor], Tensor], names: tuple[str, ...] | None = None
    ) -> DesignMatrix:
        """The design of changed rows, which may be on another device."""
        rows = change(self.rows)
        return Repeated(rows, self.index.to(rows.device), names or self.names)

    def at(self, steps: Tensor) -> DesignMatrix:
        """Some of the steps; of few, the rows that stand there."""
        index = self.index[steps]
        if len(self.rows) * _STEPS_PER_ROW > len(index):
            return Dense(self.rows[index], self.names)
        return Repeated(self.rows, index, self.names)

    def silenced(self, steps: Tensor) -> DesignMatrix:
        """All rows, with zeros at these steps."""
        return Dense(self.dense(), self.names).silenced(steps)

    def stretches(self, size: int = STRETCH) -> Iterator[tuple[slice, Tensor]]:
        """Rows looked up."""
        for start in range(0, len(self), size):
            where = slice(start, start + size)
            yield where, self.rows[self.index[where]]

    def dense(self) -> Tensor:
        """All rows looked up."""
        return self.rows[self.index]

    def pooled(self, values: Tensor | None = None) -> Pool:
        """Steps put together, where that leaves few of them."""
        index = self.index
        if values is not None:
            kinds, kind = values.unique(return_inverse=True)
            index = index * len(kinds) + kind
        found, group = index.unique(return_inverse=True)
        if len(found) * _STEPS_PER_ROW > len(self):
            return Dense(self.dense(), self.names).pooled()
        member = _members(group, len(found))

        def sums(counts: Tensor) -> Tensor:
            # One set after another: torch adds along a first axis much faster.
            shape = (len(found), *counts.shape[2:])
            nothing = counts.new_zeros(shape)
            return torch.stack([nothing.index_add(0, group, one) for one in counts])

        rows = self.rows[self.index[member]]
        return Pool(Dense(rows, self.names), member, sums, group)


def design_of(rows: Tensor, names: tuple[str, ...] | None = None) -> DesignMatrix:
    """The form of a design that serves these rows (steps, features) best."""
    if len(rows) < _LEAST_STEPS:
        return Dense(rows, names)
    keys = _row_codes(rows)
    if keys is None:
        return Dense(rows, names)
    distinct, index = keys.unique(return_inverse=True)
    if len(distinct) * _STEPS_PER_ROW > len(rows):
        return Dense(rows, names)
    repeated = Repeated(rows[_members(index, len(distinct))], index, names)
    # Two rows of one key are conceivable.
    same = all(torch.equal(part, rows[at]) for at, part in repeated.stretches())
    return repeated if same else Dense(rows, names)


def _members(group: Tensor, number: int) -> Tensor:
    """A step of every group, of so many."""
    steps = torch.arange(len(group), device=group.device)
    return steps.new_zeros(number).index_copy(0, group, steps)


def _row_codes(rows: Tensor) -> Tensor | None:
    """A whole number for every row, the same for equal ones; ``None`` if most differ.

    They are sums of products of the bits of numbers, which wrap around.
    """
    factors = torch.arange(1, rows.shape[1] + 1, device=rows.device) * _FACTOR | 1
    keys: list[Tensor] = []
    for _, part in Dense(rows).stretches():
        # The two zeros are one.
        bits = (part.to(torch.float64) + 0.0).view(torch.int64)
        keys.append(((bits ^ (bits >> 32)) * factors).sum(1))
        if len(keys) == 1 and 2 * len(keys[0].unique()) > len(part):
            return None
    return torch.cat(keys)
