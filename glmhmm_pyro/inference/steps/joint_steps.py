"""The two steps of EM as one joint problem per start.

For models whose parameters do not separate, and for models of the user's own.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.chain import ExpectedCounts
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.runaways import runaways, scales
from glmhmm_pyro.inference.steps.blocks import Ends, Failure
from glmhmm_pyro.inference.steps.collapse import at_bounds
from glmhmm_pyro.inference.steps.steps import scaled
from glmhmm_pyro.optim import LBFGSOptions, minimize, value_and_grad

# What the M-step is ended by: the objective is divided by the number of steps.
_OPTIONS = LBFGSOptions(max_iters=200, gradient_tol=1e-7, progress_tol=1e-13)

Counts = dict[str, ExpectedCounts]


class JointSteps:
    """E-steps and M-steps of any program; only its sites need be known.

    The M-step maximises the expected log-probability of every ``HiddenMarkov`` site
    plus the log density of all other sites, over all parameters together.

    Args:
        program: the model with its data.
        options: of the M-step's L-BFGS, on the unconstrained coordinates.
    """

    is_discrete = False
    dtype = torch.float64

    def __init__(self, program: Program, options: LBFGSOptions | None):
        self.program, self.options = program, options or _OPTIONS
        self.transforms: dict[str, Any] = program.coordinates.transforms
        self.counts: list[Counts] = []
        self.units: Tensor | None = None
        self.ends = Ends()

    @property
    def about(self) -> tuple[Any, ...]:
        """Key of these steps in a checkpoint; a search on a sample has another."""
        num_steps = getattr(self.program.data, "num_steps", None)
        return num_steps, self.options, tuple(self.transforms)

    def expect(
        self, sets: Sequence[Params], beta: float = 1.0
    ) -> tuple[list[float], list[float]]:
        """E-steps: log-likelihoods and log-joints of the sets, nats.

        Args:
            beta: inverse temperature of the posterior of the states alone.
        """
        self.counts, likelihoods, joints = [], [], []
        with torch.no_grad():
            for params in sets:
                sites = self.program.observed(params)
                self.counts.append(
                    {
                        n: s.hidden.expected_counts(s.value, beta=beta)
                        for n, s in sites.items()
                    }
                )
                likelihood, prior = self.program.log_parts(params)
                likelihoods.append(float(likelihood))
                joints.append(float(likelihood + prior))
        return likelihoods, joints

    def maximise(
        self, sets: Sequence[Params], rows: list[int], multiplier: float = 1.0
    ) -> list[Params]:
        """M-steps for these rows of the sets of the last ``expect``.

        Args:
            multiplier: of the log prior.
        """
        self.ends = Ends()
        found = []
        for row in rows:
            counts = self.counts[row].items()
            scaled_counts = {n: scaled(c, multiplier) for n, c in counts}
            found.append(self._maximum(sets[row], scaled_counts))
        return found

    def failure(self, number: int) -> Failure | None:
        """How M-step ``number`` of the last ``maximise`` failed, if it did."""
        return self.ends.of_set(number)

    def runaways(self, first: Params, now: Params) -> tuple[str, ...]:
        """Sentences about scales of priors that diverge with their weights."""
        return runaways(scales(self.program.priors), first, now)

    def at_bounds(self, params: Params) -> tuple[str, ...]:
        """Sentences about scales that have reached their lower bound."""
        return at_bounds(self.program.components, params)

    def infinite(self, params: Params) -> tuple[str, ...]:
        """Sentences about priors whose density is infinite at these values."""
        with torch.no_grad():
            by_site = self.program.densities(params).by_site
        return tuple(
            f"the prior density of {name} is infinite at the end of its support"
            for name in self.program.priors
            if by_site[name] == math.inf
        )

    def _maximum(self, params: Params, counts: Counts) -> Params:
        coordinates = self.program.coordinates
        ranks = self.program.ranks
        steps = ranks.total(sum(len(count.emission) for count in counts.values()))

        def objective(vector: Tensor) -> Tensor:
            values = coordinates.unpack(vector)
            return -self._expected_log_joint(values, counts) / steps

        start = coordinates.pack(params)
        units = self._units_at(objective, start)
        own = value_and_grad(lambda moved: objective(start + units * moved))
        origin = torch.zeros_like(start)
        found = minimize(lambda at: ranks.totals(*own(at)), origin, self.options)
        end = Ends.of("all parameters together", [found], num_blocks=1, plain=True)
        self.ends = Ends(self.ends.failures + end.failures)
        with torch.no_grad():
            return coordinates.unpack(start + units * found.x)

    def _units_at(self, objective: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
        """Scales of the coordinates for the M-step's search.

        Ones for a ``GLMHMM`` and where the user gave options. For a model of the
        user's own, whose units are unknown, inverse roots of the curvature at the first
        M-step.
        """
        if self.units is None:
            plain = self.options is not _OPTIONS or self.program.components
            self.units = torch.ones_like(at) if plain else _units_of(objective, at)
        return self.units

    def _expected_log_joint(self, params: Params, counts: Counts) -> Tensor:
        trace = self.program.trace(params)
        total = trace.log_prob_sum(lambda name, site: name not in counts)
        total = total / self.program.ranks.size
        for name, expected in counts.items():
            site = trace.nodes[name]
            log_prob = site["fn"].expected_log_prob(site["value"], expected)
            total = total + site["scale"] * log_prob
        return total


def _units_of(objective: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Inverse roots of the second derivatives; 1 where these are 0 or unknown."""
    point = at.detach().clone().requires_grad_()
    try:
        (slope,) = torch.autograd.grad(objective(point), point, create_graph=True)
        own = torch.stack(
            [
                torch.autograd.grad(
                    one, point, retain_graph=True, materialize_grads=True
                )[0][i]
                for i, one in enumerate(slope)
            ]
        ).abs()
    except RuntimeError:
        # A part that torch can differentiate once alone.
        return torch.ones_like(at)
    return torch.where(own.isfinite() & (own > 0), own, 1.0).rsqrt()
