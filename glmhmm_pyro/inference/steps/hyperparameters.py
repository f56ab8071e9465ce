"""The part of an M-step that is for hyperparameters: scales that priors sample.

Emissions and transitions say nothing of them, so they are maximised after the weights
and given these, at the cost of a prior. Each half raises the expected log-joint (ECM:
Meng & Rubin 1993), and given the hyperparameters the weights of all states stay as many
separate problems.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.steps.blocks import Blocks, as_taken, prior_sites, run
from glmhmm_pyro.inference.steps.failures import Ends
from glmhmm_pyro.optim import LBFGSOptions, minimize_batched
from glmhmm_pyro.optim.preconditioning import Evaluation
from glmhmm_pyro.priors.filling import elementwise_support
from glmhmm_pyro.sequences import Sequences

_OPTIONS = LBFGSOptions(max_iters=20, gradient_tol=1e-7, progress_tol=1e-12)

# Unconstrained numbers move no further than this in one M-step: a scale by a factor of
# a thousand. Where weights are all 0 their scale would run off within a single one.
_REACH = math.log(1000.0)

# A scale this many times its value at the start, or one over it, has run away.
_VANISHED = 1e-6


class HyperStep:
    """Maximises the log prior over the hyperparameters of one component.

    Args:
        component: bound to the data.
        sites: the sample sites of its hyperparameters.
        weights: packer of its other parameters.
    """

    def __init__(self, component: Component, sites: dict, weights: Blocks):
        self.component, self.weights = component, weights
        self.blocks = Blocks(component, sites, separates=False)
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


def scales(priors: Mapping[str, Any]) -> list[str]:
    """Names of the sites whose values are positive numbers, without an upper end."""
    return [n for n, prior in priors.items() if _from_zero(elementwise_support(prior))]


def runaways(names: Iterable[str], first: Params, now: Params) -> tuple[str, ...]:
    """One sentence for every scale on its way to 0 or to infinity.

    Args:
        names: of the scales.
        first: values at the start of a run of EM.
        now: its present ones.
    """
    sentences = []
    for name in names:
        ratio = (now[name] / first[name]).reshape(-1)
        if (ratio < _VANISHED).any():
            sentences.append(f"{_entry(name, ratio, ratio.argmin())} runs to 0")
        elif (ratio > 1 / _VANISHED).any():
            entry = _entry(name, ratio, ratio.argmax())
            sentences.append(f"{entry} grows without end")
    return tuple(sentences)


def hyperparameters(
    component: Component, data: Sequences, sites: dict, prefix: str
) -> list[str]:
    """Names of the sites that a component reads in its priors only.

    Those that recipes declare, and what a prior function samples.

    Args:
        sites: all of its sample sites.
        prefix: what their names begin with.
    """
    own = {prefix + name for name in component.sites}
    declared = {prefix + name for name in component.hyperparameters}
    found = [name for name in sites if name in declared]
    unknown = [name for name in sites if name not in own | declared]
    if not unknown:
        return found
    values = {name: site["value"].detach() for name, site in sites.items()}
    leaves = {name: values[name].clone().requires_grad_() for name in unknown}
    log_probs, _ = run(component, data, values | leaves)
    if not log_probs.requires_grad:
        return found + unknown
    gradients = torch.autograd.grad(
        log_probs.sum(), list(leaves.values()), allow_unused=True
    )
    return found + [n for n, slope in zip(unknown, gradients) if slope is None]


def _from_zero(support: constraints.Constraint) -> bool:
    """Whether the support begins at 0, as that of a scale does."""
    return bool((torch.as_tensor(getattr(support, "lower_bound", -1.0)) == 0).all())


def _entry(name: str, values: Tensor, number: Tensor) -> str:
    return name if len(values) == 1 else f"{name}[{int(number)}]"
