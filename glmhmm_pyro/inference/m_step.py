"""The M-step of a component: L-BFGS on its expected log-probability plus log prior.

All problems that are independent (states, restarts) are solved in lockstep: a round of
the optimiser evaluates those still running in one go.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.components.base import BlockObjective, Component
from glmhmm_pyro.inference.blocks import Blocks, Params, run
from glmhmm_pyro.optim import LBFGSOptions, minimize_batched

Evaluation = tuple[np.ndarray, np.ndarray]
Objective = Callable[[np.ndarray, np.ndarray], Evaluation]


class MStep:
    """Maximises the expected log-joint of one component, given expected counts.

    Args:
        component: bound to the data.
        data: the data set.
        options: those of the optimiser. Its objective is minus the expected log-joint
            divided by the number of steps.
        precondition: whether the optimiser works in coordinates in which the covariates
            are white; the optimum is the same, it is found in fewer evaluations.
    """

    def __init__(
        self,
        component: Component,
        data: Any,
        options: LBFGSOptions,
        precondition: bool = True,
    ):
        self.component, self.data, self.options = component, data, options
        self.scale = 1.0 / data.num_steps
        with torch.no_grad():
            _, sites = run(component, data, {})
        self.blocks = Blocks(component, sites)
        self.prefix = component._pyro_name + "." if component._pyro_name else ""
        self.fast = component.block_objective(data) if len(sites) == 1 else None
        if not self.blocks.separates or data.device.type != "cpu":
            self.fast = None
        whiten = precondition and self.fast is not None
        self.whitening = Whitening(component.design(data).numpy()) if whiten else None

    def __call__(self, counts: Tensor, params: Params) -> Params:
        """Parameters (sets, *shape) that maximise, starting from ``params``."""
        if not self.blocks.transforms:
            return {}
        exact = self.component.closed_form(counts)
        if exact is not None:
            return {self.prefix + name: value for name, value in exact.items()}
        start = self.blocks.pack(params).numpy()
        objective = self._objective(counts, params)
        if self.whitening is not None:
            start, objective = self.whitening.apply(start, objective)
        results = minimize_batched(objective, start, self.options)
        rows = np.stack([result.x for result in results])
        if self.whitening is not None:
            rows = self.whitening.weights(rows)
        return self.blocks.unpack(torch.from_numpy(rows).to(counts.device))

    def sets(self, params: Params) -> Params:
        """The parameters as the component takes them: with an axis of sets, or not."""
        if self.component.batched:
            return params
        return {name: value.squeeze(0) for name, value in params.items()}

    def _objective(self, counts: Tensor, params: Params) -> Objective:
        if self.fast is None:
            return self._differentiated(counts, params)
        return self._fast(self.fast, counts)

    def _fast(self, fast: BlockObjective, counts: Tensor) -> Objective:
        """The component's own value and gradient, and the prior's."""
        prepared = fast.prepare(counts)
        prior = None if self.blocks.is_flat else self._prior(len(counts))

        def objective(points: np.ndarray, which: np.ndarray) -> Evaluation:
            values, gradient = fast(points, which, prepared)
            if prior is not None:
                prior_values, prior_gradient = prior(points, which)
                values, gradient = values + prior_values, gradient + prior_gradient
            return -self.scale * values, -self.scale * gradient

        return objective

    def _prior(self, sets: int) -> Objective:
        """Log prior and gradient of the problems asked for."""
        with torch.no_grad():
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


class Whitening:
    """Linear coordinates in which the covariates have unit second moments.

    Directions that the covariates (nearly) lack are scaled by the smallest moment that
    counts as present, so that the map stays invertible.

    Args:
        design: covariates, shape (steps, features).
    """

    def __init__(self, design: np.ndarray):
        moments, directions = np.linalg.eigh(design.T @ design / len(design))
        sizes = np.sqrt(np.clip(moments, 1e-10 * max(moments[-1], 1e-300), None))
        self.to_weights = directions / sizes
        self.to_white = directions * sizes

    def weights(self, white: np.ndarray) -> np.ndarray:
        """Weights from rows in white coordinates."""
        return self._map(white, self.to_weights.T)

    def apply(self, start: np.ndarray, objective: Objective) -> tuple:
        """Start and objective in white coordinates."""

        def white_objective(points: np.ndarray, which: np.ndarray) -> Evaluation:
            values, gradient = objective(self.weights(points), which)
            return values, self._map(gradient, self.to_weights)

        return self._map(start, self.to_white), white_objective

    @staticmethod
    def _map(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        return (rows.reshape(-1, len(matrix)) @ matrix).reshape(rows.shape)
