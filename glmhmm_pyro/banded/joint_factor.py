"""Factors of precisions of units that all hang together, as one dense matrix."""

from typing import NamedTuple

import torch
from torch import Tensor


class JointFactor(NamedTuple):
    """Cholesky factor L of a dense matrix, with the face of a ``CholeskyFactor``.

    Attributes:
        roots: lower triangle, shape (units * size, units * size).
        units: their number.
    """

    roots: Tensor
    units: int

    @property
    def is_positive(self) -> bool:
        """Whether the matrix is positive definite."""
        return not bool(self.roots.isnan().any())

    @property
    def log_det(self) -> Tensor:
        """Log determinant of the matrix."""
        return 2 * self.roots.diagonal().log().sum()

    @property
    def diagonal(self) -> Tensor:
        """Diagonal of the matrix, shape (units, size)."""
        return self.roots.square().sum(-1).reshape(self.units, -1)

    def detach(self) -> "JointFactor":
        """The same without a history of its numbers."""
        return JointFactor(self.roots.detach(), self.units)

    def solve(self, vectors: Tensor) -> Tensor:
        """The inverse times vectors (*batch, units, size)."""
        found = torch.cholesky_solve(_columns(vectors), self.roots)
        return found.T.reshape(vectors.shape)

    def halfway(self, vectors: Tensor) -> Tensor:
        """L^-1 times vectors, of which the sum of squares is x' H^-1 x."""
        found = torch.linalg.solve_triangular(
            self.roots, _columns(vectors), upper=False
        )
        return found.T.reshape(vectors.shape)

    def draw(self, noise: Tensor) -> Tensor:
        """Draws whose precision the matrix is, out of white noise: L^-T noise."""
        found = torch.linalg.solve_triangular(self.roots.T, _columns(noise), upper=True)
        return found.T.reshape(noise.shape)

    def whiten(self, vectors: Tensor) -> Tensor:
        """White noise that :meth:`draw` makes vectors of: L' times these."""
        return (self.roots.T @ _columns(vectors)).T.reshape(vectors.shape)

    def inverse(self) -> Tensor:
        """The covariance of all units, (units, size, units, size)."""
        shape = (self.units, -1)
        return (
            torch.cholesky_inverse(self.roots).unflatten(1, shape).unflatten(0, shape)
        )

    def selected_inverse(self) -> tuple[Tensor, Tensor]:
        """Covariances within units and with the one before, (units, size, size)."""
        numbers, whole = torch.arange(self.units), self.inverse()
        between = whole[numbers, :, numbers - 1].clone()
        between[0] = 0.0
        return whole[numbers, :, numbers], between


def _columns(vectors: Tensor) -> Tensor:
    """Vectors (*batch, units, size) as columns (units * size, any)."""
    return vectors.reshape(-1, vectors.shape[-2] * vectors.shape[-1]).T


def joint_factor(blocks: Tensor, diag: Tensor, lower: Tensor) -> JointFactor:
    """Factor of blocks, to which those of a walk's precision are added.

    Args:
        blocks: shape (units, size, units, size).
        diag: diagonals of the walk's blocks, (units, size).
        lower: its blocks below the diagonal, (units, size, size), the first not read.

    Returns:
        The factor; NaN where the sum is not positive definite.
    """
    numbers, whole = torch.arange(len(diag)), blocks.clone()
    whole[numbers, :, numbers] += diag.diag_embed()
    whole[numbers[1:], :, numbers[:-1]] += lower[1:]
    whole[numbers[:-1], :, numbers[1:]] += lower[1:].mT
    roots, failed = torch.linalg.cholesky_ex(whole.flatten(2).flatten(0, 1))
    return JointFactor(roots.fill_(torch.nan) if failed else roots, len(diag))
