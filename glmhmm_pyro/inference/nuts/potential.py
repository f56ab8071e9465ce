"""The potential energy that samplers move in: minus a log density, whitened."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx, once_differentiable

from glmhmm_pyro.chain.compiled import Array
from glmhmm_pyro.inference.nuts.whitening import AnyWhitening
from glmhmm_pyro.inference.program.program import Program


class Potential:
    """Minus the log density of the whitened coordinates, up to a constant.

    Args:
        program: the model with its data.
        whitening: from the sampler's coordinates to the program's vector.

    Attributes:
        num_calls: number of evaluations so far.
    """

    def __init__(self, program: Program, whitening: AnyWhitening):
        self.program, self.whitening = program, whitening
        self.num_calls = 0

    @property
    def is_direct(self) -> bool:
        """Whether value and slope come without a graph."""
        return self.program.is_direct

    def evaluated(self, point: Tensor) -> tuple[float, Tensor]:
        """Potential energy and its slope at a point, shape (size,)."""
        self.num_calls += 1
        found = self.program.evaluated(self.whitening(point), jacobian=True)
        gain, slope = self.whitening.pulled(point, found.slope)
        return -found.log_density - gain, -slope

    def stretched(
        self, scale: Tensor, vector: Tensor
    ) -> tuple["StretchedPotential", Array]:
        """The same energy in narrower coordinates, and where a vector of ours is there.

        Args:
            scale: that of :class:`StretchedPotential`.
            vector: shape (size,).
        """
        if scale.dim() == 1:
            there = vector / scale
        else:
            column = vector[:, None]
            there = torch.linalg.solve_triangular(scale, column, upper=False)[:, 0]
        return StretchedPotential(self, scale), there.numpy()

    def __call__(self, sites: dict[str, Tensor]) -> Tensor:
        """Potential energy at the only site, ``z``, which Pyro differentiates."""
        energy: Tensor = _KnownSlope.apply(sites["z"], self)
        return energy


class StretchedPotential:
    """A potential in coordinates of which its own are so many times as long.

    Args:
        potential: the energy.
        scale: shape (size,), or a lower triangular matrix.
    """

    def __init__(self, potential: Potential, scale: Tensor):
        self.potential, self.scale = potential, scale
        whitening: Any = potential.whitening
        self._centre, self._scale = (part.numpy() for part in whitening.after(scale))

    def at(self, position: Array) -> tuple[float, Array]:
        """Energy and slope at a position, shape (size,)."""
        self.potential.num_calls += 1
        vector = torch.from_numpy(self._centre + self._scale @ position)
        found = self.potential.program.evaluated(vector, jacobian=True)
        slope: Array = found.slope.numpy() @ self._scale
        return -found.log_density, np.negative(slope, out=slope)

    def vector(self, position: Array) -> Tensor:
        """A position in the potential's own coordinates."""
        there = torch.from_numpy(position)
        return self.scale @ there if self.scale.dim() > 1 else self.scale * there


class _KnownSlope(torch.autograd.Function):
    """A potential whose slope came with its value."""

    @staticmethod
    def forward(ctx: FunctionCtx, point: Tensor, potential: Potential) -> Tensor:
        """The potential at a point."""
        energy, slope = potential.evaluated(point)
        ctx.save_for_backward(slope)
        return point.new_tensor(energy)

    @staticmethod
    @once_differentiable
    def backward(ctx: BackwardCFunction, *grads: Tensor) -> tuple[Tensor, None]:
        """The slope, known already."""
        return grads[0] * ctx.saved_tensors[0], None
