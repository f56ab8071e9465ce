"""The M-step of a component: L-BFGS on its expected log-probability plus log prior.

All problems that are independent (states, restarts) are solved in lockstep: a round of
the optimiser evaluates those still running in one go.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.components.base import BlockObjective, Component
from glmhmm_pyro.inference.blocks import Blocks, run
from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.preconditioning import (
    Evaluation,
    Objective,
    Preconditioned,
)
from glmhmm_pyro.optim import LBFGSOptions, minimize_batched

# Of the first gradient, the part that may remain when an M-step ends.
_REMAINING_GRADIENT = 0.03

# The M-step where there is no curvature to precondition with.
_PLAIN = LBFGSOptions(max_iters=200, gradient_tol=1e-7, progress_tol=1e-13)


class MStep:
    """Maximises the expected log-joint of one component, given expected counts.

    The objective of the optimiser is minus the expected log-joint divided by the number
    of steps.

    Args:
        component: bound to the data.
        data: the data set.
        options: of the optimiser, for a plain run of it on the weights themselves;
            ``None`` for coordinates of its own choice (see ``preconditioning``), ended
            when nearly all is gained that this M-step can gain.
    """

    def __init__(
        self, component: Component, data: Any, options: LBFGSOptions | None = None
    ):
        self.component, self.data, self.options = component, data, options
        self.scale = 1.0 / data.num_steps
        # Reading the sites draws them; the user's generator must not notice.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            _, sites = run(component, data, {})
        self.blocks = Blocks(component, sites)
        self.prefix = component._pyro_name + "." if component._pyro_name else ""
        single = len(sites) == 1 and self.blocks.separates and data.device.type == "cpu"
        self.fast = component.block_objective(data) if single else None

    def __call__(self, counts: Tensor, params: Params) -> Params:
        """Parameters (sets, *shape) that maximise, starting from ``params``."""
        if not self.blocks.transforms:
            return {}
        exact = self.component.closed_form(counts)
        if exact is not None:
            return {self.prefix + name: value for name, value in exact.items()}
        start = self.blocks.pack(params).numpy()
        if self.fast is None:
            rows = _minimum(self._differentiated(counts, params), start, self.options)
        else:
            rows = self._solve_fast(self.fast, counts, start)
        return self.blocks.unpack(torch.from_numpy(rows).to(counts.device))

    def _solve_fast(
        self, fast: BlockObjective, counts: Tensor, start: np.ndarray
    ) -> np.ndarray:
        """Minimum of an objective that knows its own derivatives."""
        prepared = fast.prepare(counts)
        prior = None if self.blocks.is_flat else self._prior(len(counts))

        def objective(points: np.ndarray, which: np.ndarray) -> Evaluation:
            values, gradient = fast(points, which, prepared)
            if prior is not None:
                prior_values, prior_gradient = prior(points, which)
                values, gradient = values + prior_values, gradient + prior_gradient
            return -self.scale * values, -self.scale * gradient

        if self.options is not None:
            return _minimum(objective, start, self.options)
        curvature = fast.curvature(start, prepared)
        if prior is not None:
            curvature += _prior_curvature(prior, start, curvature.shape)
        problem = Preconditioned(objective, start, self.scale * curvature)
        tolerance = _REMAINING_GRADIENT / max(1.0, np.sqrt(start.shape[1]))
        options = LBFGSOptions(max_iters=20, gradient_tol=tolerance)
        found = _minimum(problem, np.zeros_like(start), options)
        return problem.original(found, np.arange(len(start)))

    def sets(self, params: Params) -> Params:
        """The parameters as the component takes them: with an axis of sets, or not."""
        if self.component.batched:
            return params
        return {name: value.squeeze(0) for name, value in params.items()}

    def _prior(self, sets: int) -> Objective:
        """Log prior and gradient of the problems asked for."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            _, sites = run(self.component, self.data, {})

        def prior(points: np.ndarray, which: np.ndarray) -> Evaluation:
            rows = np.zeros((sets * self.blocks.num_blocks, points.shape[1]))
            rows[which] = points
            leaf = torch.from_numpy(rows).requires_grad_()
            for name, value in self.blocks.unpack(leaf).items():
                sites[name]["value"] = value
            values = self.blocks.log_prior(sites)
            (gradient,) = torch.autograd.grad(values.sum(), leaf)
            return values.detach().numpy()[which], gradient.numpy()[which]

        return prior

    def _differentiated(self, counts: Tensor, params: Params) -> Objective:
        """The same by automatic differentiation of the component's definition."""
        rows = self.blocks.pack(params).numpy()

        def objective(points: np.ndarray, which: np.ndarray) -> Evaluation:
            rows[which] = points
            leaf = torch.from_numpy(rows.copy()).to(counts.device).requires_grad_()
            values = self.blocks.unpack(leaf)
            log_probs, sites = run(self.component, self.data, self.sets(values))
            objectives = self.blocks.sum_counts(counts, log_probs.expand(counts.shape))
            objectives = objectives + self.blocks.log_prior(sites)
            (gradient,) = torch.autograd.grad(objectives.sum(), leaf)
            found = objectives.detach().cpu().numpy()[which]
            return -self.scale * found, -self.scale * gradient.cpu().numpy()[which]

        return objective


def _minimum(
    objective: Objective, start: np.ndarray, options: LBFGSOptions | None
) -> np.ndarray:
    """End points of all problems, solved in lockstep."""
    results = minimize_batched(objective, start, options or _PLAIN)
    return np.stack([result.x for result in results])


def _prior_curvature(
    prior: Objective, start: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Minus the second derivatives of a log prior, as if they were diagonal."""
    every, step = np.arange(len(start)), 1e-3
    change = prior(start + step, every)[1] - prior(start - step, every)[1]
    diagonal = np.maximum(-change / (2 * step), 0.0).reshape(shape[:-1])
    return diagonal[..., None] * np.eye(shape[-1])
