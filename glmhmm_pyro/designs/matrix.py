"""What a design is to those who use it: products, and no array.

A component multiplies weights by a design, and residuals by its transpose; in which
form the numbers are kept is the design's own matter. A form writes what is abstract.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from glmhmm_pyro.ranks import ALONE, Ranks

# Rows that are read at a time where all of them must be.
STRETCH = 1 << 14


class DesignMatrix(ABC):
    """A matrix of covariates (steps, features).

    Products with it can be differentiated by what it is multiplied with, as often as
    one likes. Numbers are to be of the design's own type; see :meth:`to`.

    Attributes:
        shape: (steps, features).
        names: those of the columns, if they have any.
        dtype: floating type.
        device: where the products are made.
        is_streamed: whether rows are made as they are read, so that the array of all
            is never asked for.
        ranks: the processes over which rows are spread. What columns are like is then
            said of the rows of all; products and moments are of those here.
        session_lengths: steps of the sessions that rows are made for, where a row reads
            other steps of its session; ``None`` where it does not.
    """

    is_streamed = False
    ranks: Ranks = ALONE
    session_lengths: tuple[int, ...] | None = None
    shape: torch.Size
    names: tuple[str, ...] | None
    dtype: torch.dtype
    device: torch.device

    @abstractmethod
    def __matmul__(self, weights: Tensor) -> Tensor:
        """Predictors (*batch, steps, columns) of weights (*batch, features, columns).

        Weights (features,) give predictors (steps,).
        """

    @abstractmethod
    def __rmatmul__(self, residuals: Tensor) -> Tensor:
        """Sums of rows (*batch, features), weighted by residuals (*batch, steps)."""

    @abstractmethod
    def gram(self, weights: Tensor) -> Tensor:
        r"""Second moments :math:`\sum_t n_t x_t x_t^\top` under each set of weights.

        Args:
            weights: shape (*batch, steps), of either sign.

        Returns:
            Shape (*batch, features, features).
        """

    @abstractmethod
    def mapped(
        self, change: Callable[[Tensor], Tensor], names: tuple[str, ...] | None = None
    ) -> "DesignMatrix":
        """The design of changed rows.

        Args:
            change: from rows (rows, features) to as many, each by itself.
            names: of the new columns; by default those there were.
        """

    @abstractmethod
    def at(self, steps: Tensor) -> "DesignMatrix":
        """Some of the rows: by their numbers, or where a boolean (steps,) is true."""

    @abstractmethod
    def silenced(self, steps: Tensor) -> "DesignMatrix":
        """The design with zeros at the steps of these numbers.

        A column that is 0 at all other steps is left: it would be none.
        """

    @abstractmethod
    def stretches(self, size: int = STRETCH) -> Iterator[tuple[slice, Tensor]]:
        """All rows, so many steps at a time, with where they stand."""

    @abstractmethod
    def dense(self) -> Tensor:
        """The numbers themselves, shape (steps, features)."""

    def multiply(self, weights: Tensor, out: Tensor) -> None:
        """Predictors (steps, columns) of weights (features, columns), put into out."""
        out.copy_(self @ weights)

    def collect(self, residuals: Tensor, out: Tensor) -> None:
        """Sums of rows (some, features) by residuals (some, steps), put into out."""
        # As an operator it is found only after torch has failed to, which takes longer
        # than a short product.
        out.copy_(self.__rmatmul__(residuals))

    def read(self, steps: slice | Tensor) -> Tensor:
        """Rows (some, features) at a stretch of steps, or at steps by their numbers."""
        return self.at(steps).dense()  # type: ignore[arg-type]

    def contiguous(self) -> "DesignMatrix":
        """The design with a row's numbers side by side."""
        return self.mapped(Tensor.contiguous)

    def pooled(self, values: Tensor | None = None) -> "Pool":
        """Steps put together whose rows, and values (steps,), are the same.

        By default every step is by itself.
        """
        return Pool(self, slice(None), lambda counts: counts, None)

    def __len__(self) -> int:
        return self.shape[0]

    def to(self, kind: torch.dtype | torch.device | str | Tensor) -> "DesignMatrix":
        """The same in another floating type, on another device, as ``Tensor.to``."""
        return self.mapped(lambda rows: rows.to(kind))

    def columns(self, places: Sequence[int] | slice) -> "DesignMatrix":
        """Some of the columns, by their numbers."""
        numbers = range(self.shape[1])
        chosen = numbers[places] if isinstance(places, slice) else places
        names = self.names and tuple(self.names[place] for place in chosen)
        return self.mapped(lambda rows: rows[:, places], names)

    def moved(self, centre: Tensor | float, scale: Tensor | float) -> "DesignMatrix":
        """Columns less their centres, over their scales, both (features,)."""

        def change(rows: Tensor) -> Tensor:
            return ((rows.to(torch.float64) - centre) / scale).to(rows.dtype)

        return self.mapped(change)

    def with_constant(self) -> "DesignMatrix":
        """The design with a last column of ones."""
        names = self.names and (*self.names, "constant")
        return self.mapped(lambda rows: pad(rows, (0, 1), value=1.0), names)

    def extent(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest value of every column."""
        low, high = zip(*(rows.aminmax(dim=0) for _, rows in self.stretches()))
        return torch.stack(low).amin(0), torch.stack(high).amax(0)

    def means(self, power: int = 1) -> Tensor:
        """Mean of this power of every column's values, shape (features,)."""
        sums = [rows.pow(power).sum(0) for _, rows in self.stretches()]
        return torch.stack(sums).sum(0) / len(self)

    @property
    def total_rows(self) -> int:
        """Number of rows of all ranks."""
        return len(self)


class Pool(NamedTuple):
    """Groups of steps that are alike to an expected log-probability.

    Attributes:
        design: a row for every group.
        member: a step of each group, by which its values are found.
        sums: from counts (sets, steps, ...) to those of groups, (sets, groups, ...).
        group: which of them every step is of, (steps,); ``None`` if each is its own.
    """

    design: DesignMatrix
    member: Tensor | slice
    sums: Callable[[Tensor], Tensor]
    group: Tensor | None
