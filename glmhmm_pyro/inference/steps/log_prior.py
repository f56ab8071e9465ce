"""Log prior of an M-step's weights: value, gradient and curvature."""

import numpy as np
import torch

from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.steps.blocks import Blocks
from glmhmm_pyro.optim.preconditioning import Evaluation
from glmhmm_pyro.priors.answers import curvature, majoriser, slope_of


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
        block = curvature(self.sites[name]["fn"], value)
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
        return -slope_of(slope[:, number], leaf)[:, number].clamp(max=0.0).numpy()


def smooth(sites: dict, params: Params) -> dict:
    """Sample sites with smooth priors, each at most the given one and equal here.

    An M-step that raises this bound raises the log-joint.

    Args:
        sites: a component's sample sites.
        params: values as the component takes them, where the bound touches.
    """
    return {
        name: {**site, "fn": majoriser(site["fn"], params[name])}
        for name, site in sites.items()
    }
