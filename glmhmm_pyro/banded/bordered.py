r"""Block-tridiagonal matrices with a dense border: units, and what all of them share.

.. math::
    \begin{pmatrix} H & B \\ B^\top & C \end{pmatrix}, \quad
    S = C - B^\top H^{-1} B

H is block-tridiagonal, and S, the Schur complement, the precision of what is shared
with the units integrated out.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.banded.algebra import CholeskyFactor


class Bordered(NamedTuple):
    """Factor of a block-tridiagonal matrix with a border.

    Attributes:
        inside: factor of H.
        solved: H^-1 B, shape (shared, units, size).
        root: Cholesky factor of the Schur complement, shape (shared, shared).
    """

    inside: CholeskyFactor
    solved: Tensor
    root: Tensor

    @classmethod
    def of(cls, inside: CholeskyFactor, border: Tensor, corner: Tensor) -> "Bordered":
        """Factorise a matrix.

        Args:
            inside: factor of H.
            border: columns of B, shape (shared, units, size).
            corner: C, shape (shared, shared).

        Raises:
            ValueError: the matrix is not positive definite.
        """
        solved = inside.solve(border)
        schur = corner - border.flatten(1) @ solved.flatten(1).T
        root, failed = torch.linalg.cholesky_ex(schur)
        if failed or not inside.is_positive.all():
            raise ValueError(
                "a bordered matrix must be positive definite to be factorised, got one "
                "that is not; expand at a maximum"
            )
        return cls(inside, solved, root)

    @property
    def log_det(self) -> Tensor:
        """Log determinant of the whole."""
        return self.inside.log_det + 2 * self.root.diagonal().log().sum()

    def solve(self, units: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse times a vector: that of units (units, size), and the rest."""
        left = shared - self.solved.flatten(1) @ units.flatten()
        below = torch.cholesky_solve(left[:, None], self.root)[:, 0]
        within = self.inside.solve(units) - torch.tensordot(below, self.solved, 1)
        return within, below

    def draw(self, units: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
        """Draws out of white noise (draws, units, size) and (draws, shared)."""
        below = torch.linalg.solve_triangular(self.root.T, shared.T, upper=True).T
        within = self.inside.draw(units) - torch.tensordot(below, self.solved, 1)
        return within, below

    def covariances(self) -> tuple[Tensor, Tensor, Tensor]:
        """Covariance within units (units, size, size), at lag one, and of the rest."""
        within, between = self.inside.selected_inverse()
        covariance = torch.cholesky_inverse(self.root)
        by_unit = self.solved.movedim(0, -1)
        within = within + by_unit @ covariance @ by_unit.mT
        between[1:] += by_unit[1:] @ covariance @ by_unit[:-1].mT
        return within, between, covariance
