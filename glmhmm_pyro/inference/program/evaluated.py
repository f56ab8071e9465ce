"""A density at a point, with its slope."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.inference.program.coordinates import Coordinates, Params


class Evaluated(NamedTuple):
    """A density at a point of the unconstrained coordinates, in nats, and its slope.

    Attributes:
        params: values of all sites.
        log_likelihood: of all that is observed.
        log_prior: log density of the priors.
        log_volume: of the transform, 0 where it is left out.
        slope: of the sum of the three by the vector, shape (size,).
    """

    params: Params
    log_likelihood: float
    log_prior: float
    log_volume: float
    slope: Tensor

    @property
    def log_density(self) -> float:
        """Sum of the three."""
        return self.log_likelihood + self.log_prior + self.log_volume


class Curvature(NamedTuple):
    """A part of a density's second derivatives at a point, and all the others.

    Attributes:
        matrix: the part, shape (size, size).
        rest: a function of the vector, and of whether the log volume is added, whose
            second derivatives are the others.
    """

    matrix: Tensor
    rest: Callable[[Tensor, bool], Tensor]


def differentiated(
    coordinates: Coordinates,
    log_parts: Callable[[Params], tuple[Tensor, Tensor]],
    vector: Tensor,
    jacobian: bool,
) -> Evaluated:
    """A density with its slope by automatic differentiation.

    Args:
        coordinates: from the vector to values.
        log_parts: log-likelihood and log prior density at values.
        vector: shape (size,).
        jacobian: whether the log volume of the transform is added.
    """
    leaf, gain = vector.detach().clone().requires_grad_(), torch.zeros(())
    with torch.enable_grad():
        if jacobian:
            params, gain = coordinates.unpack_with_jacobian(leaf)
        else:
            params = coordinates.unpack(leaf)
        likelihood, prior = log_parts(params)
        total, slope = likelihood + prior + gain, torch.zeros_like(leaf)
        if total.requires_grad:
            (slope,) = torch.autograd.grad(total, leaf, materialize_grads=True)
    values = {name: value.detach() for name, value in params.items()}
    return Evaluated(values, likelihood.item(), prior.item(), gain.item(), slope)
