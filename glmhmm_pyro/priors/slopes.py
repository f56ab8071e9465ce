"""Log densities of priors with their slopes, in numpy.

What a prior's parameters give is computed once; a sampler asks thousands of times. Of
few numbers a sum or a product takes a hundredth of what NumPy's calls take, so that
priors of one kind are put side by side and asked as one.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Dirichlet, Distribution, MultivariateNormal, Normal

from glmhmm_pyro.priors.affine import HeldAffine, Rescaled
from glmhmm_pyro.priors.answers import Question
from glmhmm_pyro.priors.flat import Flat

# From a value of the parameter to its log density, and the slope in its shape.
Scored = Callable[[np.ndarray], tuple[float, np.ndarray]]


@Question
def scored(prior: Distribution, shape: torch.Size) -> Scored:
    """The log density of a value of this shape, summed, with its slope."""

    def score(value: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.tensor(value, requires_grad=True)
        with torch.enable_grad():
            total = prior.log_prob(leaf).sum()
            if not total.requires_grad:
                return total.item(), np.zeros_like(value)
            (slope,) = torch.autograd.grad(total, leaf, materialize_grads=True)
        return total.item(), slope.numpy()

    return score


@Question
def spread(prior: Distribution, shape: torch.Size) -> Distribution | None:
    """The same density of one row after another, each with parameters of its own.

    ``None`` where a prior is not known to be one of independent rows.

    Args:
        shape: of the parameter, whose rows are its numbers or its last axis.
    """
    return None


@spread.register
def _normal_numbers(prior: Normal, shape: torch.Size) -> Distribution:
    loc, scale = (x.expand(shape).reshape(-1) for x in (prior.loc, prior.scale))
    return Normal(loc, scale)


@spread.register
def _dirichlet_rows(prior: Dirichlet, shape: torch.Size) -> Distribution:
    return Dirichlet(prior.concentration.expand(shape).reshape(-1, shape[-1]))


def side_by_side(spreads: Sequence[Distribution | None]) -> Distribution | None:
    """The prior of the rows of all, one after another's, if they are of one kind.

    Args:
        spreads: what :func:`spread` makes of each.
    """
    kind: Any = type(spreads[0])
    if spreads[0] is None or any(type(prior) is not kind for prior in spreads):
        return None
    together = {}
    for name in kind.arg_constraints:
        values = [getattr(prior, name) for prior in spreads]
        if len({value.shape[1:] for value in values}) > 1:
            return None
        together[name] = torch.cat(values)
    found: Distribution = kind(**together)
    return found


@scored.register
def _of_flat(prior: Flat, shape: torch.Size) -> Scored:
    return lambda value: (0.0, np.zeros_like(value))


@scored.register
def _of_normal(prior: Normal, shape: torch.Size) -> Scored:
    centre, scale = (_array(x).copy() for x in (prior.loc, prior.scale))
    constant = np.broadcast_to(np.log(scale) + math.log(2 * math.pi) / 2, shape).sum()

    def score(value: np.ndarray) -> tuple[float, np.ndarray]:
        away = (value - centre) / scale
        return -float(np.vdot(away, away)) / 2 - constant, -away / scale

    return score


@scored.register
def _of_normals(prior: MultivariateNormal, shape: torch.Size) -> Scored:
    centre, precision = _array(prior.loc), _array(prior.precision_matrix)
    at_centre = _array(prior.log_prob(prior.loc))
    constant = float(np.broadcast_to(at_centre, shape[:-1]).sum())

    def score(value: np.ndarray) -> tuple[float, np.ndarray]:
        away = value - centre
        slope = -(precision @ away[..., None])[..., 0]
        return constant + float((away * slope).sum()) / 2, slope

    return score


@scored.register
def _of_dirichlet(prior: Dirichlet, shape: torch.Size) -> Scored:
    excess = _array(prior.concentration) - 1
    uniform = torch.ones_like(prior.concentration) / prior.concentration.shape[-1]
    logs = excess * math.log(excess.shape[-1])
    constants = _array(prior.log_prob(uniform)) + logs.sum(-1)
    constant = float(np.broadcast_to(constants, shape[:-1]).sum())
    excess = np.broadcast_to(excess, shape).copy()
    counts = excess != 0

    def score(value: np.ndarray) -> tuple[float, np.ndarray]:
        logs, slope = np.zeros(shape), np.zeros(shape)
        np.log(value, out=logs, where=counts)
        np.divide(excess, value, out=slope, where=counts)
        return constant + float(np.vdot(excess, logs)), slope

    return score


@scored.register
def _of_rescaled(prior: Rescaled, shape: torch.Size) -> Scored:
    affine, base = prior.affine, scored(prior.base, shape)
    volume = affine.log_volume(shape, len(shape))
    offset, factor = _array(torch.as_tensor(affine.offset)), _array(affine.factor)
    shares = None if affine.shares is None else _array(affine.shares)
    held = _array(affine.users) if isinstance(affine, HeldAffine) else None
    free = None if held is None else np.isnan(held)

    def score(value: np.ndarray) -> tuple[float, np.ndarray]:
        if shares is not None:
            value = value.copy()
            value[..., affine.column] -= value @ shares
        users = value * factor + offset
        density, slope = base(users if free is None else np.where(free, users, held))
        slope = slope * factor
        if shares is not None:
            slope -= slope[..., affine.column, None] * shares
        return density + float(volume), slope

    return score


def _array(values: Tensor) -> np.ndarray:
    found: np.ndarray = values.detach().to(torch.float64).numpy()
    return found
