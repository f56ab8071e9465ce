"""The M-step of hyperparameters, such as scales of priors, given the weights.

The likelihood does not depend on them, so their step only needs the priors. Each of the
two steps raises the expected log-joint (ECM: Meng & Rubin 1993), and given the
hyperparameters the weights of different states remain separate problems.
"""

import math

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.runaways import scales
from glmhmm_pyro.inference.steps.blocks import Ends, PackedRows, as_taken, prior_sites
from glmhmm_pyro.optim import LBFGSOptions, minimize_batched
from glmhmm_pyro.optim.preconditioning import Evaluation

_OPTIONS = LBFGSOptions(max_iters=20, gradient_tol=1e-7, progress_tol=1e-12)

# Unconstrained numbers move no further than this in one M-step: a scale by a factor of
# a thousand. Where weights are all 0 their scale would run off within a single one.
_REACH = math.log(1000.0)


class HyperStep:
    """Maximises the log prior over the hyperparameters of one component.

    Args:
        component: bound to the data.
        sites: the sample sites of its hyperparameters.
        weights: packer of its other parameters.
    """

    def __init__(self, component: Component, sites: dict, weights: PackedRows):
        self.component, self.weights = component, weights
        self.blocks = PackedRows(component, sites, separates=False)
        self.scales = scales({name: site["fn"] for name, site in sites.items()})
        self.ends = Ends()

    def __call__(self, params: Params) -> Params:
        """Hyperparameters (sets, *shape) that maximise, given all of ``params``."""
        start = self.blocks.pack(params)
        sets = len(start)

        def bounded(moves: Tensor) -> Params:
            return self.blocks.unpack(start + _REACH * (moves / _REACH).tanh())

        def objective(points: np.ndarray, which: np.ndarray) -> Evaluation:
            rows = np.zeros(start.shape)
            rows[which] = points
            leaf = torch.from_numpy(rows).requires_grad_()
            values = params | bounded(leaf)
            sites = prior_sites(self.component, as_taken(self.component, values))
            log_prior = self.weights.log_prior(sites).reshape(sets, -1).sum(-1)
            log_prior = log_prior + self.blocks.log_prior(sites)
            (gradient,) = torch.autograd.grad(log_prior.sum(), leaf)
            return -log_prior.detach().numpy()[which], -gradient.numpy()[which]

        results = minimize_batched(objective, np.zeros(start.shape), _OPTIONS)
        names = ", ".join(self.blocks.transforms)
        self.ends = Ends.of(names, results, num_blocks=1, plain=False)
        return bounded(torch.from_numpy(np.stack([r.x for r in results])))
