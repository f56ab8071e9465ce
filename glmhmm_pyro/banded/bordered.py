r"""Matrices by units with a dense border: what all of the units share.

.. math::
    \begin{pmatrix} H & B \\ B^\top & C \end{pmatrix}, \quad
    S = C - B^\top H^{-1} B

H is block-tridiagonal, or dense where states link units, too, and S, the Schur
complement, the precision of what is shared with the units integrated out. With R R' the
inverse of S and H = L L',

.. math::
    \begin{pmatrix} L^{-\top} & -H^{-1} B R \\ 0 & R \end{pmatrix}

is a root of the inverse of the whole: it makes draws of white noise, and no matrix of
all units is formed beside H.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.banded.algebra import CholeskyFactor
from glmhmm_pyro.banded.joint_factor import JointFactor

# Of units in a row, or of units that all hang together.
Factor = CholeskyFactor | JointFactor


class Bordered(NamedTuple):
    """Root of the inverse of a matrix by units with a border.

    Attributes:
        inside: factor of H.
        solved: H^-1 B, shape (shared, units, size).
        spread: R, shape (shared, any); where it has fewer columns than rows, what is
            shared moves in these directions alone.
    """

    inside: Factor
    solved: Tensor
    spread: Tensor

    def draw(self, units: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
        """The root times white noise (*batch, units, size) and (*batch, any)."""
        below = shared @ self.spread.T
        return self.inside.draw(units) - self._taken_along(below), below

    def halfway(self, units: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
        """The root transposed times vectors; its sum of squares is x' (...)^-1 x."""
        return self.inside.halfway(units), self._left(units, shared) @ self.spread

    def whiten(self, units: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
        """White noise that :meth:`draw` makes vectors of, where the root is square."""
        noise = torch.linalg.solve(self.spread, shared.unsqueeze(-1)).squeeze(-1)
        return self.inside.whiten(units + self._taken_along(shared)), noise

    def within(self) -> Tensor:
        """Covariance of the numbers of every unit, (units, size, size)."""
        moves = torch.tensordot(self.solved.movedim(0, -1), self.spread, 1)
        return self.inside.selected_inverse()[0] + moves @ moves.mT

    def _left(self, units: Tensor, shared: Tensor) -> Tensor:
        """What vectors leave of those of what is shared, the units solved for."""
        return shared - torch.tensordot(units, self.solved.movedim(0, -1), 2)

    def _taken_along(self, shared: Tensor) -> Tensor:
        """How far units go where what is shared moves, with the opposite sign."""
        return torch.tensordot(shared, self.solved, 1)


def schur_complement(
    inside: Factor, border: Tensor, corner: Tensor
) -> tuple[Tensor, Tensor]:
    """H^-1 B, as columns (shared, units, size), and S, shape (shared, shared).

    Args:
        inside: factor of H.
        border: columns of B, shape (shared, units, size).
        corner: C, shape (shared, shared).
    """
    solved = inside.solve(border)
    return solved, corner - border.flatten(1) @ solved.flatten(1).T
