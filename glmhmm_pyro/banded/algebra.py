"""Factors of block-tridiagonal positive definite matrices, in tensors.

Blocks on the diagonal are (*batch, units, size, size); ``lower[u]`` stands at (u, u-1),
``lower[0]`` is not read. Vectors are (*batch, units, size). The cost of all is that of
``units`` dense matrices of one unit.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from glmhmm_pyro.banded import kernels


class CholeskyFactor(NamedTuple):
    r"""Cholesky factor of a block-tridiagonal matrix H.

    Attributes:
        roots: lower triangles on its diagonal, shape (*batch, units, size, size).
        links: blocks below these, the first unused, same shape.
    """

    roots: Tensor
    links: Tensor

    @property
    def is_positive(self) -> Tensor:
        """Which matrices are positive definite, shape (*batch,)."""
        return ~self.roots[..., 0, 0, 0].isnan()

    @property
    def log_det(self) -> Tensor:
        """Log determinants of H, shape (*batch,); NaN where it is not positive."""
        return 2 * self.roots.diagonal(dim1=-2, dim2=-1).log().sum((-2, -1))

    @property
    def diagonal(self) -> Tensor:
        """Diagonals of H, shape (*batch, units, size)."""
        return self.roots.square().sum(-1) + self.links.square().sum(-1)

    def detach(self) -> "CholeskyFactor":
        """The same without a history of its numbers."""
        return CholeskyFactor(self.roots.detach(), self.links.detach())

    def solve(self, vectors: Tensor) -> Tensor:
        """H^-1 times vectors (*batch, units, size)."""
        return self._moved(vectors, kernels.forwards, kernels.backwards)

    def halfway(self, vectors: Tensor) -> Tensor:
        """L^-1 times vectors, of which the sum of squares is x' H^-1 x."""
        return self._moved(vectors, kernels.forwards)

    def draw(self, noise: Tensor) -> Tensor:
        """Draws of N(0, H^-1) out of white noise (*batch, units, size): L^-T noise.

        Differentiable once by the factor and the noise.
        """
        found: Tensor = _Draw.apply(self.roots, self.links, noise)
        return found

    def whiten(self, vectors: Tensor) -> Tensor:
        """White noise that :meth:`draw` makes vectors of: L' times these."""
        columns = vectors.to(torch.float64).unsqueeze(-1)
        found = (self.roots.mT @ columns).squeeze(-1)
        after = (self.links.mT[..., 1:, :, :] @ columns[..., 1:, :, :]).squeeze(-1)
        found[..., :-1, :] += after
        return found

    def selected_inverse(self) -> tuple[Tensor, Tensor]:
        """Blocks (u, u) and (u, u-1) of H^-1: covariances within units, and at lag one.

        Both have shape (*batch, units, size, size); the first of the second are 0.
        """
        roots, links = (x.flatten(0, -4) for x in _with_batch(*self))
        within, between = torch.zeros_like(roots), torch.zeros_like(roots)
        kernels.invert(*(x.numpy() for x in (roots, links, within, between)))
        return within.reshape(self.roots.shape), between.reshape(self.roots.shape)

    def _moved(self, vectors: Tensor, *steps: Callable[..., None]) -> Tensor:
        """Vectors that go through kernels, all sets of a matrix together."""
        units, size = self.roots.shape[-3], self.roots.shape[-1]
        batch = self.roots.shape[:-3]
        number = batch.numel()
        extra = vectors.dim() - 2 - len(batch)
        # Vectors of axes before those of the matrices are columns.
        shape = vectors.shape[: max(extra, 0)]
        full = vectors.expand(*shape, *batch, units, size)
        columns = full.reshape(-1, number, units, size).movedim(0, 2)
        found = columns.detach().to(torch.float64).contiguous().clone()
        roots, links = (x.detach().flatten(0, -4) for x in _with_batch(*self))
        for step in steps:
            step(roots.numpy(), links.numpy(), found.numpy())
        return found.movedim(2, 0).reshape(full.shape)


def factor(diag: Tensor, lower: Tensor) -> CholeskyFactor:
    """Factorise block-tridiagonal matrices, of which the lower halves are read.

    Where one is not positive definite its factor is NaN, as ``is_positive`` says.

    Args:
        diag: blocks on the diagonal, shape (*batch, units, size, size).
        lower: blocks at (u, u-1), same shape; the first is not read.

    Raises:
        ValueError: shapes that are not those of such matrices.

    Example:
        >>> found = factor(torch.full((3, 1, 1), 2.0), torch.full((3, 1, 1), -1.0))
        >>> found.log_det.exp()
        tensor(4.0000, dtype=torch.float64)
    """
    if diag.dim() < 3 or diag.shape[-1] != diag.shape[-2] or diag.shape != lower.shape:
        raise ValueError(
            "diag and lower must have one shape (*batch, units, size, size), got "
            f"{tuple(diag.shape)} and {tuple(lower.shape)}; give a block at (u, u-1) "
            "for every unit, the first of which is not read"
        )
    blocks = [x.detach().to("cpu", torch.float64) for x in (diag, lower)]
    flat = [x.flatten(0, -4).contiguous() for x in _with_batch(*blocks)]
    roots, links = torch.zeros_like(flat[0]), torch.zeros_like(flat[0])
    kernels.factorise(*(x.numpy() for x in (*flat, roots, links)))
    return CholeskyFactor(roots.reshape(diag.shape), links.reshape(diag.shape))


def log_det(diag: Tensor, lower: Tensor) -> Tensor:
    """Log determinants of block-tridiagonal matrices (*batch,), differentiable once.

    The gradient by the blocks is the selected inverse.
    """
    found: Tensor = _LogDet.apply(diag, lower)
    return found


def solve(diag: Tensor, lower: Tensor, vectors: Tensor) -> Tensor:
    """H^-1 times vectors (*batch, units, size), differentiable once by all of them."""
    found: Tensor = _Solve.apply(diag, lower, vectors)
    return found


class _Saved(Protocol):
    """What a backward pass reads."""

    saved_tensors: tuple[Tensor, ...]


class _LogDet(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, diag: Tensor, lower: Tensor) -> Tensor:
        made = factor(diag, lower)
        ctx.save_for_backward(*made)
        return made.log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: _Saved, slope: Tensor) -> tuple[Tensor, Tensor]:
        within, between = CholeskyFactor(*ctx.saved_tensors).selected_inverse()
        slope = slope[..., None, None, None]
        # A block below the diagonal stands above it as well.
        return slope * within, 2 * slope * between


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, diag: Tensor, lower: Tensor, vectors: Tensor
    ) -> Tensor:
        made = factor(diag, lower)
        found = made.solve(vectors)
        ctx.save_for_backward(*made, found)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: _Saved, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        *made, found = ctx.saved_tensors
        back = CholeskyFactor(*made).solve(slope)
        diag = -(_outer(back, found) + _outer(found, back)) / 2
        lower = torch.zeros_like(diag)
        pairs = (back[..., 1:, :], found[..., :-1, :])
        swapped = (found[..., 1:, :], back[..., :-1, :])
        lower[..., 1:, :, :] = -_outer(*pairs) - _outer(*swapped)
        return diag, lower, back


class _Draw(torch.autograd.Function):
    """Draws x = L^-T z. With h = L^-1 g the slopes are h by z, and -x h' by L."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, roots: Tensor, links: Tensor, noise: Tensor
    ) -> Tensor:
        found = CholeskyFactor(roots, links)._moved(noise, kernels.backwards)
        ctx.save_for_backward(roots, links, found)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: _Saved, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        roots, links, found = ctx.saved_tensors
        back = CholeskyFactor(roots, links).halfway(slope)
        by_root = -_outer(found, back).tril()
        by_link = torch.zeros_like(by_root)
        by_link[..., 1:, :, :] = -_outer(found[..., 1:, :], back[..., :-1, :])
        return by_root.sum_to_size(roots.shape), by_link.sum_to_size(links.shape), back


def _outer(left: Tensor, right: Tensor) -> Tensor:
    return left.unsqueeze(-1) * right.unsqueeze(-2)


def _with_batch(*blocks: Tensor) -> list[Tensor]:
    """Blocks with at least one batch axis."""
    return [x if x.dim() > 3 else x.unsqueeze(0) for x in blocks]
