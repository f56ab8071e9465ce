"""Exact second derivatives of a program's log density."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.inference.program.coordinates import Coordinates
from glmhmm_pyro.inference.program.program import Program

# Steps of a difference of gradients, in widths of the curvature, the largest first, and
# how near it comes to a Hessian that is right, in parts of that one's rows.
_STEPS, _NEAR = (1e-4, 1e-6, 1e-8, 1e-10, 1e-12), 1e-3

# Part of the largest row that the others' differences are held against at the least,
# and of the largest curvature that is none.
_LEAST_ROW, _NONE = 1e-6, 1e-12

# Change of a gradient, in widths, that may be rounding where its terms are near 0 or 1.
_ROUNDING = 1e-7

# Log-odds and logarithms from which on derivatives are rounded.
_NEAR_BORDER = 25.0

# Smallest eigenvalue, of curvature scaled to a diagonal of 1, that is taken as it is.
_FLOOR = 1e-4

# Directions of a density that sees no data, up to which one by one is the faster: for
# mapping, torch first imports its compiler.
_FEW = 256

# What torch says where it has no second derivative.
_NO_SECOND = ("once_differentiable", "derivative for", "double backward")


class CurvatureError(ValueError):
    """A log density has no usable second derivatives."""


class NonFiniteCurvatureError(CurvatureError):
    """Second derivatives of a log density are infinite or not a number."""


class OnceDifferentiableError(CurvatureError):
    """Torch can differentiate a part of a log density only once."""


def hessian(program: Program, vector: Tensor, jacobian: bool = False) -> Tensor:
    """Exact second derivatives of the log density, shape (size, size), symmetric.

    What a program knows of them otherwise is taken from it
    (:meth:`Program.known_curvature`). The gradient of the rest is differentiated along
    as many directions at once as memory holds, or one by one where a model cannot be
    mapped over (:func:`torch.func.vmap`).
    Parts of a user's model that are ``once_differentiable``, or a function of its own
    that keeps values without their history, may have a constant slope to torch: the
    matrix is held against a difference of gradients along one direction.

    Args:
        program: the model with its data.
        vector: point of the unconstrained coordinates, shape (size,).
        jacobian: whether the log volume of the transform is included, which makes it
            a density of ``vector``; see :meth:`Program.log_density`.

    Raises:
        NonFiniteCurvatureError: a derivative is not finite; it names the sites.
        OnceDifferentiableError: second derivatives are not those of the gradient, or
            torch has none; it names the sites.
    """
    point = vector.detach().clone().requires_grad_()
    known = program.known_curvature(point.detach())
    with torch.enable_grad():
        of = program.log_density if known is None else known.rest
        value = of(point, jacobian)
        # A flat prior of weights leaves nothing beside what is known.
        moves = value.requires_grad
        gradient = slope_of(value, point, create_graph=True) if moves else value
    rows = point.detach().new_zeros(len(point), len(point))
    if gradient.requires_grad:
        directions = torch.eye(len(point), dtype=point.dtype, device=point.device)
        chunks = directions.split(program.num_together)
        mapped = known is None or len(point) > _FEW
        rows = torch.cat(
            [derivatives_along(gradient, point, c, mapped) for c in chunks]
        )
    rows = rows if known is None else rows + known.matrix
    matrix = (rows + rows.T) / 2
    check_finite(matrix, program.coordinates)
    _check_slope(program, point.detach(), jacobian, matrix)
    return matrix


def round_scale(
    program: Program, vector: Tensor, jacobian: bool = True
) -> Tensor | None:
    """The inverse square root of the curvature, the symmetric one in its own units.

    Eigenvectors are arbitrary where eigenvalues coincide; this root rounding moves no
    more than the curvature. Directions in which the density is nearly flat, or bends
    upwards, get a large scale, but a finite one.

    Args:
        program: the model with its data.
        vector: point of the unconstrained coordinates, shape (size,).
        jacobian: as for :func:`hessian`.

    Returns:
        Shape (size, size); ``None`` where there is no curvature to go by.
    """
    try:
        return round_root(-hessian(program, vector, jacobian))
    except CurvatureError:
        return None


def round_root(curvature: Tensor) -> Tensor | None:
    """The same of a matrix of second derivatives, of which there may be none."""
    size = curvature.diagonal().abs().sqrt()
    if not (size > 0).all():
        return None
    values, vectors = torch.linalg.eigh(curvature / size / size[:, None])
    roots = values.abs().clamp(min=_FLOOR).sqrt()
    found: Tensor = vectors / roots @ vectors.T / size[:, None]
    return found


def slope_of(
    value: Tensor, point: Tensor, along: Tensor | None = None, **options: Any
) -> Tensor:
    """Derivative of a value, 0 where it does not depend on the point."""
    options = {"allow_unused": True, "materialize_grads": True, **options}
    gradients: Any = torch.autograd.grad(value, point, along, **options)
    return gradients[0]


def derivatives_along(
    gradient: Tensor, point: Tensor, directions: Tensor, mapped: bool
) -> Tensor:
    """Derivatives of the gradient along directions, one a row."""

    def along(direction: Tensor) -> Tensor:
        # A sum, for with grad_outputs torch first imports its compiler.
        return slope_of(gradient @ direction, point, retain_graph=True)

    if mapped:
        try:
            # Not is_grads_batched: its older mapping refuses our chain.
            rows: Tensor = torch.func.vmap(
                partial(slope_of, gradient, point, retain_graph=True)
            )(directions)
            return rows
        except RuntimeError:
            # This cannot be mapped over; an error of another kind comes up again.
            pass
    with _once_differentiable_named():
        return one_by_one(along, directions)


def one_by_one(along: Callable[[Tensor], Tensor], directions: Tensor) -> Tensor:
    """Derivatives along directions one by one: slower, for what vmap refuses."""
    return torch.stack([along(direction) for direction in directions])


def check_finite(matrix: Tensor, coordinates: Coordinates) -> None:
    """Raise an error that names the sites whose derivatives are not finite.

    Args:
        matrix: rows by these coordinates, whose own columns come first.
        coordinates: of the rows.
    """
    finite = matrix.isfinite()
    if finite.all():
        return
    # A site that is at fault spoils the rows of all others, but not their diagonal.
    bad = ~finite.diagonal() if not finite.diagonal().all() else ~finite.all(1)
    sites = [name for name, piece in coordinates.slices.items() if bad[piece].any()]
    raise NonFiniteCurvatureError(
        f"the log density must have finite second derivatives, got "
        f"{matrix[~finite][0].item()} in those of {', '.join(sites)}; give these sites "
        "priors that keep them inside their support, or standardise the covariates"
    )


@contextmanager
def _once_differentiable_named() -> Iterator[None]:
    """Context that adds advice to torch's errors about second derivatives."""
    try:
        yield
    except RuntimeError as error:
        if any(words in str(error) for words in _NO_SECOND):
            said = str(error).splitlines()[0]
            raise OnceDifferentiableError(
                _once_differentiable_error(f"got {said!r}")
            ) from error
        raise


def _once_differentiable_error(got: str) -> str:
    return (
        f"torch must be able to differentiate the log density twice, {got}; write the "
        "part of the model that it can differentiate only once with operations of "
        "torch, or take a method that needs slopes alone: em, map, svi or nuts"
    )


def _check_slope(
    program: Program, point: Tensor, jacobian: bool, matrix: Tensor
) -> None:
    """Raise an error if the Hessian is not the slope of the gradient in a direction.

    Only a difference that a smaller step repeats counts: at a kink, such as that of a
    Lasso at 0, there is none.
    """
    widths = _coordinate_units(program, point, matrix)
    # Neither equal nor regular, so that what is missing cannot cancel.
    number = torch.arange(1.0, len(point) + 1, dtype=point.dtype)
    direction = widths * ((1 + 0.5 * (3 * number).cos()) * (5 * number).cos().sign())
    rows = (matrix.abs() * widths[:, None] * widths).sum(1)
    allowed = _NEAR * torch.maximum(rows, _LEAST_ROW * rows.max())
    found = None
    for step in _STEPS:
        try:
            after = program.evaluated(point + step * direction, jacobian).slope
            before = program.evaluated(point - step * direction, jacobian).slope
        except ValueError:
            # A distribution may refuse its parameters there.
            continue
        change = widths * (after - before)
        larger, found = found, change / (2 * step)
        wrong = (found - widths * (matrix @ direction)).abs() > allowed
        if not wrong.any() or not _ROUNDING < change.abs().max() < torch.inf:
            return
        near = _NEAR * found.abs().max()
        if larger is not None and (found - larger).abs().max() <= near:
            slices = program.coordinates.slices.items()
            sites = [name for name, piece in slices if wrong[piece].any()]
            got = "got second derivatives that are not the slopes of its gradient in"
            raise OnceDifferentiableError(
                _once_differentiable_error(f"{got} {', '.join(sites)}")
            )


def _coordinate_units(program: Program, point: Tensor, matrix: Tensor) -> Tensor:
    """Step of every coordinate that alone lowers the density by half a nat."""
    own = matrix.diagonal().abs()
    # What has no curvature beyond rounding has no width either.
    widths = torch.where(own > _NONE * own.max(), own, torch.ones_like(own)).rsqrt()
    for name, piece in program.coordinates.slices.items():
        if not program.coordinates.is_unbounded[name]:
            # Log-odds and logarithms are of a size of their own; near a border their
            # derivatives are rounded, and nothing is asked of them.
            inside = point[piece].abs() < _NEAR_BORDER
            widths[piece] = widths[piece].clamp(max=1.0) * inside
    return widths
