"""Exact second derivatives of a program's log density."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.inference.program import Program


class NonFiniteCurvatureError(ValueError):
    """Second derivatives of a log density are infinite or not a number."""


def hessian(program: Program, vector: Tensor, jacobian: bool = False) -> Tensor:
    """Exact second derivatives of the log density, shape (size, size), symmetric.

    The gradient is differentiated along as many directions at once as memory holds, or
    one by one where a model cannot be mapped over (:func:`torch.func.vmap`). Parts of a
    user's model that are ``once_differentiable`` have a constant slope to torch.

    Args:
        program: the model with its data.
        vector: point of the unconstrained coordinates, shape (size,).
        jacobian: whether the log volume of the transform is included, which makes it
            a density of ``vector``; see :meth:`Program.log_density`.

    Raises:
        NonFiniteCurvatureError: a derivative is not finite; it names the sites.
    """
    point = vector.detach().clone().requires_grad_()
    with torch.enable_grad():
        value = program.log_density(point, jacobian)
        gradient = _grad(value, point, create_graph=True)
    rows = point.detach().new_zeros(len(point), len(point))
    if gradient.requires_grad:
        directions = torch.eye(len(point), dtype=point.dtype, device=point.device)
        chunks = directions.split(program.num_together)
        rows = torch.cat([_along(gradient, point, chunk) for chunk in chunks])
    matrix = (rows + rows.T) / 2
    _check_finite(matrix, program)
    return matrix


def _grad(value: Tensor, point: Tensor, along: Any = None, **options: Any) -> Tensor:
    """Derivative of a value, 0 where it does not depend on the point."""
    options = {"allow_unused": True, "materialize_grads": True, **options}
    gradients: Any = torch.autograd.grad(value, point, along, **options)
    return gradients[0]


def _along(gradient: Tensor, point: Tensor, directions: Tensor) -> Tensor:
    """Derivatives of the gradient along directions, one a row."""
    along = partial(_grad, gradient, point, retain_graph=True)
    try:
        # Not is_grads_batched: its older mapping refuses our chain.
        rows: Tensor = torch.func.vmap(along)(directions)
    except RuntimeError:
        # This cannot be mapped over; an error of another kind comes up again.
        rows = one_by_one(along, directions)
    return rows


def one_by_one(along: Callable[[Tensor], Tensor], directions: Tensor) -> Tensor:
    """The same without mapping: slower, but it asks nothing of a model."""
    return torch.stack([along(direction) for direction in directions])


def _check_finite(matrix: Tensor, program: Program) -> None:
    finite = matrix.isfinite()
    if finite.all():
        return
    # A site that is at fault spoils the rows of all others, but not their diagonal.
    bad = ~finite.diagonal() if not finite.diagonal().all() else ~finite.all(1)
    slices = program.coordinates.slices.items()
    sites = [name for name, piece in slices if bad[piece].any()]
    raise NonFiniteCurvatureError(
        f"the log density must have finite second derivatives, got "
        f"{matrix[~finite][0].item()} in those of {', '.join(sites)}; give these sites "
        "priors that keep them inside their support, or standardise the covariates"
    )
