"""The last digits of a mode: where a search ends depends on its tolerance, this not."""

import torch
from torch import Tensor

from glmhmm_pyro.inference.program import Program
from glmhmm_pyro.optim import value_and_grad

# Standard deviations that a step must still go to be taken, and those from which on
# the curvature here says little of that at the mode.
_LEAST, _FAR = 1e-13, 0.5

_MOST_STEPS = 12


def settled(program: Program, vector: Tensor, factor: Tensor) -> Tensor:
    """The mode of the density of the vector near where a search for it has ended.

    Newton steps with one curvature, while they become shorter. A search ends where the
    gradient falls below a tolerance, which rounding decides: draws around that point
    agree between processors to as many digits as the tolerance has, and no more.

    Args:
        program: the model with its data.
        vector: point of the unconstrained coordinates, shape (size,).
        factor: shape (size, size); factor @ factor.T is the covariance there.

    Returns:
        The vector as it came where there is no mode near it.
    """
    gradient = value_and_grad(lambda v: program.log_density(v, jacobian=True))
    found, length = vector, _FAR
    for _ in range(_MOST_STEPS):
        white = factor.T @ gradient(found)[1]
        if not _LEAST < white.norm() < length:
            break
        found, length = found + factor @ white, float(white.norm()) / 2
    ended = factor.T @ gradient(found)[1]
    return found if torch.isfinite(ended).all() else vector
