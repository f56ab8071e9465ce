"""A design that is an array."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.designs.matrix import STRETCH, DesignMatrix
from glmhmm_pyro.designs.thin_products import add_sums, multiply

# Rows that are weighted at a time where their moments are halved.
_HALVED = 4096


class Dense(DesignMatrix):
    """A design whose rows are all there.

    Args:
        rows: shape (steps, features).
        names: of the columns.
    """

    def __init__(self, rows: Tensor, names: tuple[str, ...] | None = None):
        self.rows, self.names = rows, names
        self.shape, self.dtype, self.device = rows.shape, rows.dtype, rows.device

    def __matmul__(self, weights: Tensor) -> Tensor:
        return self.rows @ weights

    def multiply(self, weights: Tensor, out: Tensor) -> None:
        """One thin product."""
        multiply(self.rows, weights, out)

    def collect(self, residuals: Tensor, out: Tensor) -> None:
        """One thin product."""
        add_sums(residuals, self.rows, out.zero_())

    def __rmatmul__(self, residuals: Tensor) -> Tensor:
        return residuals @ self.rows

    def gram(self, weights: Tensor) -> Tensor:
        """Second moments, one set of weights after another to spare memory."""
        if weights.dim() == 1 and self._is_halved(weights):
            found, roots = weights.new_zeros(2 * self.shape[1:]), weights.sqrt()
            for where, rows in self.stretches(_HALVED):
                part = (rows * roots[where, None]).numpy()
                found += torch.from_numpy(part.T @ part)
            return found
        if weights.dim() == 1:
            return (self.rows * weights[:, None]).T @ self.rows
        if not len(weights):
            return weights.new_zeros(*weights.shape[:-1], *2 * self.shape[1:])
        return torch.stack([self.gram(one) for one in weights])

    def _is_halved(self, weights: Tensor) -> bool:
        """Whether NumPy may compute half of a symmetric product of weighted rows."""
        is_graph = weights.requires_grad or self.rows.requires_grad
        return self.device.type == "cpu" and not is_graph and bool((weights >= 0).all())

    def mapped(
        self, change: Callable[[Tensor], Tensor], names: tuple[str, ...] | None = None
    ) -> DesignMatrix:
        """The design of changed rows."""
        return Dense(change(self.rows), names or self.names)

    def at(self, steps: Tensor) -> DesignMatrix:
        """Some of the rows."""
        return Dense(self.rows[steps], self.names)

    def silenced(self, steps: Tensor) -> DesignMatrix:
        """A copy with zeros at these steps."""
        rows = self.rows.clone()
        others = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        others[steps] = False
        used = (rows[others] != 0).any(0)
        rows[steps] = torch.where(used, 0.0, rows[steps])
        return Dense(rows, self.names)

    def stretches(self, size: int = STRETCH) -> Iterator[tuple[slice, Tensor]]:
        """Views of the rows."""
        for start in range(0, len(self), size):
            where = slice(start, start + size)
            yield where, self.rows[where]

    def dense(self) -> Tensor:
        """The array that it is."""
        return self.rows


# What may be given for a design: also an array or a tensor (steps, features).
DesignLike = DesignMatrix | Tensor | np.ndarray


def as_design(values: DesignLike, names: tuple[str, ...] | None = None) -> DesignMatrix:
    """A design as it is; an array or a tensor (steps, features) as a dense one.

    Args:
        names: of the columns; passed over where there are not as many.
    """
    if isinstance(values, DesignMatrix):
        return values
    rows = torch.as_tensor(values)
    return Dense(rows, names if names and len(names) == rows.shape[1] else None)
