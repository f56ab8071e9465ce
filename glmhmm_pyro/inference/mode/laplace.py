"""Laplace: a normal distribution with the curvature of the posterior at its mode.

The mode is that of the unconstrained coordinates, whose density includes the volume of
the transform, the Jacobian; so is the mode of NUTS's potential. (MAP leaves it out: it
looks for the mode of the density as the user wrote it.)
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from tqdm import tqdm

from glmhmm_pyro.arguments import keep_whole, suggests_names
from glmhmm_pyro.inference.curvature.curvature import (
    CurvatureError,
    NonFiniteCurvatureError,
    OnceDifferentiableError,
)
from glmhmm_pyro.inference.curvature.information import Information
from glmhmm_pyro.inference.curvature.newton import ARRIVED, newton_mode
from glmhmm_pyro.inference.curvature.uncertainty import Uncertainty
from glmhmm_pyro.inference.draws.estimate import point_estimate
from glmhmm_pyro.inference.draws.importance import poor_draws_warning
from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.marginal.problem import MarginalProblem
from glmhmm_pyro.inference.mode.laplace_units import draws_of_units
from glmhmm_pyro.inference.mode.map import MAP
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.labels import Labels
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.runs import Findings
from glmhmm_pyro.inference.search.search import Search
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.inference.steps.collapse import at_bounds

# How a search may end that has come to the mode all the same, which slopes tell.
_MAY_BE_THERE = {Status.STALLED, Status.MAX_ITERS}

# How a search ends that leaves no point to expand around.
_NO_MODE = {Status.INTERRUPTED, Status.UNBOUNDED, Status.NON_FINITE}

# How a fit ends whose density has no curvature to go by.
_WITHOUT: dict[type[CurvatureError], Status] = {
    NonFiniteCurvatureError: Status.NON_FINITE,
    OnceDifferentiableError: Status.NO_CURVATURE,
}


@suggests_names
@dataclass(frozen=True)
class Laplace:
    r"""Laplace's approximation: draws from a normal distribution around the mode.

    .. math:: p(\theta \mid y) \approx N(\hat\theta, \, (-H)^{-1})

    in the unconstrained coordinates, where H holds the exact second derivatives of the
    log posterior density at its mode; the draws are mapped to values. Jacobians are
    included, so that the mode is not that of :class:`MAP`, from which its search
    begins: a flat prior on probabilities is uniform on them, and has a finite mode in
    log-odds. The draws describe one numbering of the states.

    Where weights vary by a law, parameters are drawn around the mode of the evidence,
    weights given these: those of the law, such as scales, are drawn in logarithms, and
    held, with a note, where the evidence has no maximum.

    Where the curvature is singular the MAP fit is returned, with a status that says so
    and notes that name the parameters. The Pareto shape k of the importance weights
    tells how near the approximation is; the status says so where it is above 0.7. Of
    95 % intervals by ``benchmarks/intervals.py`` (two states, 1500 choices) those of
    weights held the truth in 96.2 +- 0.8 % of cases, of stay probabilities in
    93.0 +- 1.4 %, of first probabilities in 98.5 +- 0.9 %.

    Args:
        num_samples: number of draws; k is judged from 96 on.
        num_iters: largest number of iterations of L-BFGS, of MAP and then of the mode.
        tol: stop when no entry of the gradient per step is larger than this.

    Source: Tierney & Kadane 1986; Vehtari et al. 2024.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(5))
        >>> model = gh.GLMHMM(1, gh.Bernoulli())
        >>> fit = gh.fit(model, data, gh.Laplace(200), num_restarts=1, progress=False)
        >>> fit.posterior.draws["emissions.weights"].shape  # chains, draws, ...
        torch.Size([1, 200, 1, 6])
    """

    num_samples: int = 1000
    num_iters: int = 1000
    tol: float = 1e-8

    name: ClassVar[str] = "laplace"
    is_spreadable: ClassVar[bool] = True
    in_own_units: ClassVar[bool] = True

    def __post_init__(self) -> None:
        keep_whole(self, num_samples=1)
        self._map()

    def _map(self) -> MAP:
        """The MAP search that comes first; it checks the options they share."""
        return MAP(num_iters=self.num_iters, tol=self.tol)

    def fit(self, program: Program, search: Search) -> Findings:
        """Draws around the best mode; the MAP fit if the curvature is singular.

        Of latents that have a normal law, and of its parameters, they are draws around
        the mode of the evidence; see ``laplace_units``.
        """
        found = replace(self._map().fit(program, search), method=self.name)
        problem = MarginalProblem.of(program)
        has_ended = problem is not None and found.status is Status.COLLAPSED
        if found.status in _NO_MODE or has_ended:
            return found
        if problem is not None:
            return self._of_units(problem, search, found)
        try:
            return self._around_mode(program, search, found)
        except KeyboardInterrupt:
            return replace(found, status=Status.INTERRUPTED)

    def _of_units(
        self, problem: MarginalProblem, search: Search, found: Findings
    ) -> Findings:
        """Draws of latents and of the parameters of their laws."""
        drawn = draws_of_units(problem, found.params, self.num_samples, search.seed)
        if drawn.held:
            note = (
                f"draws hold {', '.join(drawn.held)} where the evidence has no "
                "maximum, so that intervals of these are too narrow; have draws of all "
                "by method='nuts'"
            )
            found = replace(found, notes=(*found.notes, note))
        return _with_draws(
            problem.program, found, drawn.vectors, drawn.log_normal, search.progress
        )

    def _around_mode(
        self, program: Program, search: Search, found: Findings
    ) -> Findings:
        mode, status = self._map().density_mode(program, found.params)
        if found.status is Status.COLLAPSED and status is not Status.CONVERGED:
            return found
        values = program.coordinates.unpack(mode)
        collapsed = at_bounds(program.components, values)
        if collapsed:
            status = Status.COLLAPSED
        found = replace(found, status=status, unbounded=collapsed or found.unbounded)
        if status in _NO_MODE or collapsed:
            return found
        try:
            information = Information.of(program, mode, jacobian=True)
            if information.is_complete:
                mode, left = newton_mode(program, mode, information.factor)
                if status in _MAY_BE_THERE and left <= ARRIVED:
                    found = replace(found, status=Status.CONVERGED)
                information = Information.of(program, mode, jacobian=True)
        except CurvatureError as error:
            return replace(found, status=_WITHOUT[type(error)], notes=(str(error),))
        if not information.is_complete:
            uncertainty = Uncertainty.of(program, mode, information)
            notes = uncertainty.sentences(program.model, Labels.of_program(program))
            return replace(found, status=Status.SINGULAR, notes=tuple(notes))
        generator = torch.Generator().manual_seed(search.seed)
        shape = (self.num_samples, len(mode))
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        constant = information.log_det - len(mode) * math.log(2 * math.pi)
        log_normal = (constant - noise.square().sum(1)) / 2
        draws = mode + noise @ information.factor.T
        return _with_draws(program, found, draws, log_normal, search.progress)


def _with_draws(
    program: Program, found: Findings, draws: Tensor, log_normal: Tensor, progress: bool
) -> Findings:
    """The fit with draws (draws, size) whose log density under the normal is given."""
    params = program.coordinates.unpack(draws)
    overflown = [n for n, value in params.items() if not value.isfinite().all()]
    if overflown:
        notes = (f"the normal approximation of {', '.join(overflown)} overflows",)
        return replace(found, status=Status.SINGULAR, notes=notes)
    log_joints = _log_joints(program, params, progress)
    log_weights = log_joints + program.coordinates.log_jacobian(draws) - log_normal
    by_draw = {"log_joint": log_joints, "log_weight": log_weights}
    posterior = Posterior(
        draws={name: value[None] for name, value in params.items()},
        stats={name: value[None].numpy() for name, value in by_draw.items()},
    )
    found = found.at(point_estimate(program, posterior), posterior=posterior)
    poor = poor_draws_warning(log_weights)
    if not poor:
        return found
    status = Status.POOR_DRAWS if found.status.is_success else found.status
    return replace(found, status=status, notes=(*poor, *found.notes))


def _log_joints(program: Program, params: Params, progress: bool) -> Tensor:
    """Log-joint of every draw, evaluated in batches as memory allows."""
    draws = len(next(iter(params.values())))
    width = program.num_together if program.is_batched else 1
    found: list[Tensor] = []
    with (
        torch.no_grad(),
        tqdm(total=draws, desc="Laplace", unit="draw", disable=not progress) as bar,
    ):
        for first in range(0, draws, width):
            rows = slice(first, first + width) if program.is_batched else first
            some = {name: value[rows] for name, value in params.items()}
            found.append(program.log_joint(some).reshape(-1))
            bar.update(len(found[-1]))
    return torch.cat(found)
