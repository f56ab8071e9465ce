"""Coordinates in which a posterior is round: its mode at 0, its curvature 1 everywhere.

Hamiltonian samplers take steps as long as the narrowest direction allows. Seen from the
mode through the inverse square root of the curvature, all directions are alike.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro import optim
from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.program import Program

# Smallest eigenvalue, of curvature scaled to a diagonal of 1, that is taken as it is.
_FLOOR = 1e-4

# Nats that a Newton step may still promise where the search for the mode has ended.
_ARRIVED = 0.1

_MAX_ITERS = 500


class Whitening(NamedTuple):
    """An affine map from round coordinates to the unconstrained vector of a program.

    Attributes:
        centre: shape (size,).
        scale: shape (size, size).
    """

    centre: Tensor
    scale: Tensor

    def __call__(self, point: Tensor) -> Tensor:
        """Vector (*batch, size) of a point (*batch, size)."""
        return self.centre + point @ self.scale.T

    @classmethod
    def none(cls, size: int) -> "Whitening":
        """The vector itself."""
        centre = torch.zeros(size, dtype=torch.float64)
        return cls(centre, torch.eye(size, dtype=torch.float64))


def whitened(program: Program, params: Params) -> Whitening | None:
    """The map that makes the log density round at the mode near ``params``.

    The density is that of the unconstrained vector, the volume of the transform
    included. Directions in which it is nearly flat, or bends upwards, get a large
    scale, but a finite one.

    Returns:
        ``None`` where there is no mode, or no curvature to go by: a search that runs
        away, as for a hierarchy's centred scale, or numbers that are not finite.
    """
    mode = _mode(program, params)
    curvature, gradient = _curvature(program, mode)
    size = curvature.diagonal().abs().sqrt()
    if not (size > 0).all() or not torch.isfinite(curvature).all():
        return None
    values, vectors = torch.linalg.eigh(curvature / size / size[:, None])
    roots = values.abs().clamp(min=_FLOOR).sqrt()
    scale = vectors / roots / size[:, None]
    step = scale.T @ gradient
    if not step.square().sum() < 2 * _ARRIVED:
        return None
    return Whitening(mode, scale)


def _mode(program: Program, params: Params) -> Tensor:
    """Where the search for the mode of the vector's density, from ``params``, ends."""
    start = program.coordinates.pack(params)
    with torch.no_grad():
        size = program.log_density(start, jacobian=True).abs().clamp(min=1.0)
    options = optim.LBFGSOptions(
        max_iters=_MAX_ITERS,
        max_evals=4 * _MAX_ITERS,
        gradient_tol=1e-8,
        progress_tol=1e-15,
    )
    loss = optim.value_and_grad(lambda v: -program.log_density(v, jacobian=True) / size)
    return optim.minimize(loss, start, options).x


def _curvature(program: Program, vector: Tensor) -> tuple[Tensor, Tensor]:
    """Minus the second derivatives of the log density, (size, size), and its gradient.

    By automatic differentiation, twice.
    """
    point = vector.detach().requires_grad_()
    with torch.enable_grad():
        density = program.log_density(point, jacobian=True)
        (gradient,) = torch.autograd.grad(density, point, create_graph=True)
        rows = [
            torch.autograd.grad(
                entry,
                point,
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )[0]
            for entry in gradient
        ]
    curvature = -torch.stack(rows)
    return (curvature + curvature.T) / 2, gradient.detach()
