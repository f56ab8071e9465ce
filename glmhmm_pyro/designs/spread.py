"""A design whose rows are spread over the ranks of a process group."""

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from glmhmm_pyro.designs.matrix import STRETCH, DesignMatrix, Pool
from glmhmm_pyro.ranks import ALONE, Ranks


class Spread(DesignMatrix):
    """The rows that this rank holds, which know what columns are like on all ranks.

    Args:
        own: the rows here, in a form of their own.
        ranks: where the others are.
    """

    def __init__(self, own: DesignMatrix, ranks: Ranks):
        self.own, self.ranks = own, ranks
        self.shape, self.names = own.shape, own.names
        self.dtype, self.device = own.dtype, own.device
        self.is_streamed = own.is_streamed

    def __matmul__(self, weights: Tensor) -> Tensor:
        return self.own @ weights

    def multiply(self, weights: Tensor, out: Tensor) -> None:
        """Predictors of the rows here."""
        self.own.multiply(weights, out)

    def __rmatmul__(self, residuals: Tensor) -> Tensor:
        return residuals @ self.own

    def gram(self, weights: Tensor) -> Tensor:
        """Second moments of the rows here."""
        return self.own.gram(weights)

    def mapped(
        self, change: Callable[[Tensor], Tensor], names: tuple[str, ...] | None = None
    ) -> DesignMatrix:
        """The design of changed rows."""
        return Spread(self.own.mapped(change, names), self.ranks)

    def at(self, steps: Tensor) -> DesignMatrix:
        """Some of the rows here."""
        return Spread(self.own.at(steps), self.ranks)

    def silenced(self, steps: Tensor) -> DesignMatrix:
        """Zeros at these steps of this rank."""
        return Spread(self.own.silenced(steps), self.ranks)

    def moved(self, centre: Tensor | float, scale: Tensor | float) -> DesignMatrix:
        """Columns less their centres, over their scales."""
        return Spread(self.own.moved(centre, scale), self.ranks)

    def stretches(self, size: int = STRETCH) -> Iterator[tuple[slice, Tensor]]:
        """The rows here, so many steps at a time."""
        return self.own.stretches(size)

    def read(self, steps: slice | Tensor) -> Tensor:
        """Some of the rows here."""
        return self.own.read(steps)

    def dense(self) -> Tensor:
        """The numbers of the rows here."""
        return self.own.dense()

    def contiguous(self) -> DesignMatrix:
        """The design with a row's numbers side by side."""
        return Spread(self.own.contiguous(), self.ranks)

    def pooled(self, values: Tensor | None = None) -> Pool:
        """Steps of this rank that are alike, put together."""
        pool = self.own.pooled(values)
        return pool._replace(design=Spread(pool.design, self.ranks))

    def extent(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest value of every column, of all ranks."""
        if len(self):
            low, high = self.own.extent()
        else:
            none = torch.zeros(self.shape[1:], dtype=self.dtype, device=self.device)
            low, high = none + torch.inf, none - torch.inf
        return self.ranks.least(low), self.ranks.most(high)

    def means(self, power: int = 1) -> Tensor:
        """Mean of this power of every column's values, of all ranks."""
        sums = torch.zeros(self.shape[1], dtype=self.dtype, device=self.device)
        for _, rows in self.stretches():
            sums += rows.pow(power).sum(0)
        return self.ranks.total(sums) / self.total_rows

    @cached_property
    def total_rows(self) -> int:
        """Number of rows of all ranks."""
        return int(self.ranks.total(len(self)))


def spread_over(design: DesignMatrix, ranks: Ranks) -> DesignMatrix:
    """A design of the rows here, for what is asked of all ranks; once.

    Args:
        design: rows of this rank.
        ranks: over which all rows are spread; of one alone the design is given back.
    """
    if ranks is ALONE or design.ranks is ranks:
        return design
    return Spread(design, ranks)
