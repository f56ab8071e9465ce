"""Moves of weights that change predictors equally, whatever their columns are like.

Where weights vary and a constant column's does not, no mean can be taken out of the
others: that would be another model. A search may yet go by moves of one size in what
they change. Columns whose weights vary are made orthogonal unit by unit, and columns
whose weights all units share orthogonal to these.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Part of the largest singular value below which one is rounding.
_ROUNDING = 1e-13


class WhitenedWeights(NamedTuple):
    """Moves of weights that vary over units, and of those that do not.

    Both have axes of their own, such as states, before that of their columns.

    Attributes:
        names: of the sites of both; of the first alone where all weights vary.
        varying: from numbers to a unit's weights, (sets, units, *own, varying,
            varying).
        taken: what a unit's weights lose by those that are shared, (sets, units, *own,
            varying, shared).
        shared: from numbers to these, (sets, *own, shared, shared).
    """

    names: Sequence[str]
    varying: Tensor
    taken: Tensor
    shared: Tensor

    @classmethod
    def of(
        cls, names: Sequence[str], varying: Sequence[Tensor], shared: Sequence[Tensor]
    ) -> "WhitenedWeights":
        """Those that change predictors by 1 in the root of the sum of squares.

        Args:
            names: of the sites.
            varying: columns of every unit, (sets, *own, rows, varying).
            shared: at the same rows, (sets, *own, rows, shared).
        """
        sizes = [_size(columns) for columns in (varying, shared)]
        found = [
            _apart(own / sizes[0], others / sizes[1])
            for own, others in zip(varying, shared)
        ]
        roots, taken, rests = zip(*found)
        _, kept, right = _singular(torch.cat(rests, -2))
        scales = [size.unsqueeze(-1) for size in sizes]
        return cls(
            names,
            torch.stack(roots, 1) / scales[0],
            torch.stack(taken, 1) / scales[0] * sizes[1],
            _moves(kept, right) / scales[1],
        )

    def __call__(
        self, numbers: Mapping[str, Tensor], which: Tensor
    ) -> dict[str, Tensor]:
        """Moves by site, from numbers; those of other sites are the numbers.

        Args:
            numbers: of sites, (some, *shape).
            which: of the sets these are, (some,).
        """
        moves = dict(numbers)
        for name, roots in zip(self.names, (self.varying, self.shared)):
            moves[name] = _products(roots[which], numbers[name])
        for name in self.names[1:]:
            taken = _products(self.taken[which], moves[name].unsqueeze(1))
            moves[self.names[0]] = moves[self.names[0]] - taken
        return moves


def _products(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors.unsqueeze(-1)).squeeze(-1)


def _size(columns: Sequence[Tensor]) -> Tensor:
    """Largest of every column, 1 for columns of 0."""
    size = torch.stack([c.abs().flatten(0, -2).amax(0) for c in columns]).amax(0)
    return torch.where(size > 0, size, 1.0)


def _apart(own: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Moves by a unit's columns, what others take from these, and what they keep."""
    left, sizes, right = _singular(own)
    inverse = torch.where(sizes > 0, 1 / sizes, 0.0).unsqueeze(-1)
    taken, rest = torch.zeros_like(right[..., :1] * others[..., :1, :]), others
    # The second time on what is left, which takes back the rounding of the first.
    for _ in range(2):
        more = right.mT @ (inverse * (left.mT @ rest))
        taken, rest = taken + more, rest - own @ more
    return _moves(sizes, right), taken, rest


def _moves(sizes: Tensor, right: Tensor) -> Tensor:
    """Moves along singular directions; of 1 where no row says anything of them."""
    scale = torch.where(sizes > 0, 1 / sizes, 1.0)
    return right.mT * scale.unsqueeze(-2)


def _singular(columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Singular vectors and values, as many as columns, 0 where they are rounding."""
    rows, number = columns.shape[-2:]
    whole = torch.nn.functional.pad(columns, (0, 0, 0, max(number - rows, 0)))
    left, sizes, right = torch.linalg.svd(whole, full_matrices=False)
    kept = sizes > _ROUNDING * sizes[..., :1]
    return left[..., :rows, :], torch.where(kept, sizes, 0.0), right
