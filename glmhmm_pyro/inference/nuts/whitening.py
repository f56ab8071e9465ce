"""Coordinates in which a posterior is round: its mode at 0, its curvature 1 everywhere.

Hamiltonian samplers take steps as long as the narrowest direction allows. Seen from the
mode through the inverse square root of the curvature, all directions are alike.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.inference.curvature.newton import newton_mode
from glmhmm_pyro.inference.curvature.round_scales import (
    Scale,
    log_volume,
    scale_at,
    unscaled,
)
from glmhmm_pyro.inference.marginal.ascent import Scales
from glmhmm_pyro.inference.marginal.problem import MarginalProblem
from glmhmm_pyro.inference.mode.map import MAP
from glmhmm_pyro.inference.nuts.scaled_whitening import ScaledWhitening
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program

# Nats that a Newton step may still promise where the search for the mode has ended.
_ARRIVED = 0.1

_SEARCH = MAP(num_iters=500, tol=1e-8)


class Whitening(NamedTuple):
    """An affine map from round coordinates to the unconstrained vector of a program.

    Attributes:
        centre: shape (size,).
        scale: shape (size, size), or an operator where a law links weights of units.
    """

    centre: Tensor
    scale: Scale

    def __call__(self, point: Tensor) -> Tensor:
        """Vector (*batch, size) of a point (*batch, size)."""
        return self.centre + point @ self.scale.T

    def pulled(self, point: Tensor, slope: Tensor) -> tuple[float, Tensor]:
        """How the log volume grows from the centre to a point, and its whole slope.

        Args:
            point: shape (size,).
            slope: of the log density by the vector there.
        """
        return 0.0, slope @ self.scale

    def growth(self, points: Tensor) -> Tensor:
        """How far log volumes at points (*batch, size) are above that at the centre."""
        return points.new_zeros(points.shape[:-1])

    def after(self, scale: Tensor) -> "Whitening":
        """This map after another linear one.

        Args:
            scale: of the other, shape (size, size), or (size,) for a diagonal.
        """
        # A matrix: densities with slopes of their own have no law of units.
        own: Any = self.scale
        return Whitening(self.centre, own @ scale if scale.dim() > 1 else own * scale)

    def inverse(self, vectors: Tensor) -> Tensor:
        """Round coordinates (*batch, size) of vectors (*batch, size)."""
        return unscaled(self.scale, vectors - self.centre)

    @property
    def log_volume(self) -> float:
        """Log determinant of the map."""
        return log_volume(self.scale)

    @classmethod
    def none(cls, size: int) -> "Whitening":
        """The vector itself."""
        centre = torch.zeros(size, dtype=torch.float64)
        return cls(centre, torch.eye(size, dtype=torch.float64))


AnyWhitening = Whitening | ScaledWhitening


def whitened(program: Program, params: Params) -> AnyWhitening | None:
    """The map that makes the log density round at the mode near ``params``.

    The density is that of the unconstrained vector, the volume of the transform
    included. Directions in which it is nearly flat, or bends upwards, get a large
    scale, but a finite one. Where scales of a law are learnt, weights follow these.

    Returns:
        ``None`` where there is no mode, or no curvature to go by: a search that runs
        away, as for a hierarchy's centred scale, or numbers that are not finite.
    """
    problem = MarginalProblem.of(program)
    if problem is not None and Scales(problem).any:
        return ScaledWhitening.of(problem, params)
    mode, _ = _SEARCH.density_mode(program, params)
    scale = scale_at(program, mode)
    if scale is not None:
        mode, _ = newton_mode(program, mode, scale)
        scale = scale_at(program, mode)
    if scale is None:
        return None
    step = program.evaluated(mode, jacobian=True).slope @ scale
    if not step.square().sum() < 2 * _ARRIVED:
        return None
    return Whitening(mode, scale)
