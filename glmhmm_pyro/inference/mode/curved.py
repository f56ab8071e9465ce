"""Mode searches for models of the user's own, whose units are not known.

A gradient's size is no criterion of convergence there, as it depends on the units of
the covariates. The gain that a Newton step predicts, in nats, does not, nor does a
search in coordinates scaled by the curvature.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from glmhmm_pyro.inference.curvature.curvature import CurvatureError, hessian
from glmhmm_pyro.inference.curvature.information import RISING, Information
from glmhmm_pyro.inference.mode.descent import Descent
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.status import Status

Minimise = Callable[[Descent, Tensor], tuple[Tensor, Status]]

# Most searches one after the other, and nats that a Newton step promises at a mode.
_ROUNDS, _ENOUGH = 5, 1e-6


def search_by_curvature(
    program: Program, minimise: Minimise, jacobian: bool
) -> Minimise:
    """The search in units by curvature; unchanged if the program has its own units.

    Args:
        program: the model with its data; a ``GLMHMM`` has units of its own.
        minimise: a search.
        jacobian: whether the density is that of the vector.
    """
    if program.components:
        return minimise
    return partial(_in_units, program, minimise, jacobian)


def _in_units(
    program: Program,
    minimise: Minimise,
    jacobian: bool,
    descent: Descent,
    start: Tensor,
) -> tuple[Tensor, Status]:
    """End point and status of repeated searches, each in units at the last end."""
    end, status = start, Status.STALLED
    for number in range(_ROUNDS):
        try:
            matrix = -hessian(program, end, jacobian)
        except CurvatureError:
            return minimise(descent, start) if number == 0 else (end, status)
        slope = descent.steps * descent(end)[1]
        if number and _predicted_gain(program, end, matrix, slope, jacobian) <= _ENOUGH:
            return end, Status.CONVERGED
        units = _curvature_units(program, matrix)
        moved, status = minimise(descent.seen_from(end, units), torch.zeros_like(end))
        end = end + units * moved
        if status not in (Status.CONVERGED, Status.STALLED):
            break
    return end, status


def _curvature_units(program: Program, matrix: Tensor) -> Tensor:
    """Steps that change the density by half a nat; at most 1 for log-odds and logs."""
    own = matrix.diagonal().abs()
    units = torch.where(own > 0, own, 1.0).rsqrt()
    for name, piece in program.coordinates.slices.items():
        if not program.coordinates.is_real[name]:
            units[piece] = units[piece].clamp(max=1.0)
    return units


def _predicted_gain(
    program: Program, end: Tensor, matrix: Tensor, slope: Tensor, jacobian: bool
) -> float:
    """Predicted gain of a Newton step, nats, with curvature made positive."""
    information = Information.of_matrix(program, end, matrix, jacobian)
    steps = information.factor.T @ slope
    upwards = slope @ information.steps @ information.missing[RISING]
    return float(steps.square().sum() + upwards.square().sum()) / 2
