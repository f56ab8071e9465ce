"""Factors of precisions of units that all hang together, as one dense matrix."""

from typing import NamedTuple

import torch
from torch import Tensor


class JointFactor(NamedTuple):
    """Cholesky factor of a dense matrix, with the face of a ``banded.CholeskyFactor``.

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

    def solve(self, vectors: Tensor) -> Tensor:
        """The inverse times vectors (*batch, units, size)."""
        columns = vectors.flatten(-2).unsqueeze(-1)
        return torch.cholesky_solve(columns, self.roots).reshape(vectors.shape)

    def draw(self, noise: Tensor) -> Tensor:
        """Draws whose precision the matrix is, out of white noise like vectors."""
        columns = noise.flatten(-2).unsqueeze(-1)
        found = torch.linalg.solve_triangular(self.roots.mT, columns, upper=True)
        return found.reshape(noise.shape)

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
