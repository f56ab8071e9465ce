"""Log prior of an M-step's weights: value, gradient and curvature."""

from typing import Any

import numpy as np
import torch
from pyro import distributions as dist
from torch import Tensor

from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.em.blocks import Blocks
from glmhmm_pyro.inference.em.preconditioning import Evaluation
from glmhmm_pyro.priors import Flat
from glmhmm_pyro.priors.affine import Rescaled, normal_precision
from glmhmm_pyro.priors.filling import innermost
from glmhmm_pyro.priors.grouped import ByColumns

# Part of its scale that a weight under a Laplace prior counts for at least, so that one
# of exactly 0 may still grow.
_SMALLEST = 1e-9


class LogPrior:
    """Log prior density of every problem of an M-step, hyperparameters being fixed.

    Args:
        blocks: packer of the weights.
        sites: the component's sample sites, made smooth, at the present parameters.
        sets: number of parameter sets.
    """

    def __init__(self, blocks: Blocks, sites: dict, sets: int):
        self.blocks, self.sites, self.sets = blocks, dict(sites), sets

    def __call__(self, points: np.ndarray, which: np.ndarray) -> Evaluation:
        """Values and gradients at ``points`` of the problems named."""
        rows = np.zeros((self.sets * self.blocks.num_blocks, points.shape[1]))
        rows[which] = points
        leaf = torch.from_numpy(rows).requires_grad_()
        for name, value in self.blocks.unpack(leaf).items():
            self.sites[name] = {**self.sites[name], "value": value}
        values = self.blocks.log_prior(self.sites)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
        return values.detach().numpy()[which], gradient.numpy()[which]

    def curvature(self, points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Minus the second derivatives within rows of weights, made to be positive.

        Args:
            points: where, for all problems.
            shape: (problems, rows, numbers, numbers); the weights come first, then
                single numbers.
        """
        name, value = next(iter(self.blocks.unpack(torch.from_numpy(points)).items()))
        size = value.shape[-1]
        block = precision(innermost(self.sites[name]["fn"]), value)
        block = block.expand(value.shape + (size,)).reshape(shape[:2] + (size, size))
        found = np.zeros(shape)
        found[..., :size, :size] = block.numpy()
        for number in range(size, shape[-1]):
            found[..., number, number] = self._curvature_of(points, number)[:, None]
        return found

    def _curvature_of(self, points: np.ndarray, number: int) -> np.ndarray:
        """That of one unconstrained number, 0 where the density is log-convex."""
        leaf = torch.from_numpy(points.copy()).requires_grad_()
        for name, value in self.blocks.unpack(leaf).items():
            self.sites[name] = {**self.sites[name], "value": value}
        total = self.blocks.log_prior(self.sites).sum()
        (slope,) = torch.autograd.grad(total, leaf, create_graph=True)
        if not slope.requires_grad:
            return np.zeros(len(points))
        return -_slope_of(slope[:, number], leaf)[:, number].clamp(max=0.0).numpy()


def smooth(sites: dict, params: Params) -> dict:
    """Sample sites with smooth priors, each at most the given one and equal here.

    An M-step that raises this bound raises the log-joint. A Laplace density, with its
    kink at 0, is a mixture of normals over their variance; given the weight w, that
    variance is as if it were b |w| (Figueiredo 2003; Hunter & Li 2005). All other
    priors stay as they are.

    Args:
        sites: a component's sample sites.
        params: values as the component takes them, where the bound touches.
    """
    return {
        name: {**site, "fn": _smooth(innermost(site["fn"]), params[name])}
        for name, site in sites.items()
    }


def _smooth(prior: Any, value: Tensor) -> Any:
    if isinstance(prior, Rescaled):
        return Rescaled(_smooth(prior.base, prior.affine(value)), prior.affine)
    if isinstance(prior, ByColumns):
        parts = [
            (columns.tolist(), _smooth(part, value[..., columns]))
            for columns, part in prior.parts
        ]
        return ByColumns(parts, value.shape)
    if isinstance(prior, torch.distributions.Laplace):
        away = (value - prior.loc).abs().maximum(_SMALLEST * prior.scale)
        return dist.Normal(prior.loc, (prior.scale * away).sqrt())
    return prior


def precision(prior: Any, value: Tensor) -> Tensor:
    """Minus the second derivatives of a log density along the last axis of ``value``.

    Shape broadcasts to (*value.shape, features). Directions in which the density is
    log-convex count as flat, so that a preconditioner stays positive.
    """
    normal = normal_precision(prior)
    if normal is not None:
        return normal
    if isinstance(prior, Rescaled):
        return prior.affine.pulled(precision(prior.base, prior.affine(value)))
    if isinstance(prior, ByColumns):
        whole = value.new_zeros(value.shape + value.shape[-1:])
        for columns, part in prior.parts:
            block = precision(part, value[..., columns])
            whole[..., columns[:, None], columns] = block
        return whole
    if isinstance(prior, Flat):
        return value.new_zeros(value.shape[-1:] * 2)
    return _differentiated(prior, value)


def _differentiated(prior: Any, value: Tensor) -> Tensor:
    """By differentiating twice, element by element where the density is a product."""
    leaf = value.detach().clone().requires_grad_()
    log_prob = prior.log_prob(leaf).sum()
    (slope,) = torch.autograd.grad(log_prob, leaf, create_graph=True)
    if not slope.requires_grad:
        return value.new_zeros(value.shape[-1:] * 2)
    if not prior.event_shape:
        return -_slope_of(slope, leaf).clamp(max=0.0).diag_embed()
    rows = [_slope_of(slope[..., i], leaf) for i in range(value.shape[-1])]
    roots, directions = torch.linalg.eigh(torch.stack(rows, -2))
    return (directions * -roots.clamp(max=0.0).unsqueeze(-2)) @ directions.mT


def _slope_of(slopes: Tensor, leaf: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(
        slopes.sum(), leaf, retain_graph=True, materialize_grads=True
    )
    return found
