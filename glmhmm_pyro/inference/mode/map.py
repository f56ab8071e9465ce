"""MAP: the mode of the marginal log-joint, by minFunc's L-BFGS.

The search moves through unconstrained coordinates, but what it maximises is the density
as the user wrote it, without the volume of the transform: so that MAP and EM reach the
same optimum. (Laplace and NUTS, which speak of volumes, include it.)
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor
from tqdm import tqdm

from glmhmm_pyro import optim
from glmhmm_pyro.arguments import keep_real, keep_whole, suggests_names
from glmhmm_pyro.inference.curvature.polish import polish
from glmhmm_pyro.inference.em.em import EM
from glmhmm_pyro.inference.journal import LongLoop, stage
from glmhmm_pyro.inference.marginal.fitting import fit_marginal
from glmhmm_pyro.inference.marginal.problem import MarginalProblem
from glmhmm_pyro.inference.mode.curved import search_by_curvature
from glmhmm_pyro.inference.mode.descent import ROUNDING, Descent
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.progress_bar import ProgressBar
from glmhmm_pyro.inference.search.runs import Findings, Run, attempt, best_of
from glmhmm_pyro.inference.search.search import Search, search_optima
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.optim import LBFGSOptions

# Largest entry of the gradient of the log-joint per step at which a search that can
# find no lower value has arrived all the same: what is left is rounding.
_ARRIVED = 1e-5

# Iterations of EM before the search, for a GLMHMM.
_EM_ITERS = 50


@suggests_names
@dataclass(frozen=True)
class MAP:
    """Maximum a posteriori: quasi-Newton steps on the marginal log-joint.

    From where the best start has converged, Newton steps lead on to the mode itself,
    where there is a smooth one: the last evaluation in its history.

    Args:
        num_iters: largest number of iterations of L-BFGS.
        tol: stop when no entry of the gradient of the log-joint per step, in
            unconstrained coordinates, is larger than this.
        em_iters: number of EM iterations that lead every start near an optimum first.
            With ``None`` they are those of the search for the best optimum; where
            starts are given or only one is made, 50 for a ``GLMHMM``, whose M-steps are
            cheap, and 0 for one with a ``StationaryInitial`` or a user's own model.
            Where EM converges within them, little is left to do; where it creeps,
            quasi-Newton steps go on much faster.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, gh.MAP(), num_restarts=1, progress=False)
        >>> fit.method, fit.status.name
        ('map', 'CONVERGED')
    """

    num_iters: int = 1000
    tol: float = 1e-6
    em_iters: int | None = None

    name: ClassVar[str] = "map"
    is_spreadable: ClassVar[bool] = True
    in_own_units: ClassVar[bool] = True

    def __post_init__(self) -> None:
        keep_whole(self, num_iters=1)
        keep_real(self, tol=(0.0, math.inf, True))
        if self.em_iters is not None:
            keep_whole(self, em_iters=0)

    def fit(self, program: Program, search: Search) -> Findings:
        """Findings at the best mode that the starts lead to.

        Latents that have a normal law are integrated out; see ``marginal``.
        """
        problem = MarginalProblem.of(program)
        if problem is not None:
            return fit_marginal(problem, search, EM().fit, self.name)
        if self.em_iters is None and search.is_free(program):
            with ProgressBar("EM", search.progress) as bar:
                multistart = search_optima(EM(), program, search, bar)
            for run in _told(multistart.near_best(), search.progress):
                attempt(run, partial(self.climb, program, run))
            polish(program, multistart.runs, self.tol)
            return best_of(
                program, multistart.runs, self.name, multistart.rounds_without_gain
            )
        runs = self._begun(program, search)
        for run in _told(runs, search.progress):
            if run.status is Status.INTERRUPTED:
                break
            if run.status not in (Status.COLLAPSED, Status.START_FAILED):
                attempt(run, partial(self.climb, program, run))
        if runs and not any(run.log_joints for run in runs):
            program.check_finite(runs[0].next_params)
        for run in runs:
            if run.status is Status.NON_FINITE and not run.log_joints:
                run.fail(ValueError(f"at the start {Status.NON_FINITE.sentence}"))
        evaluated = [run for run in runs if run.log_joints]
        polish(program, evaluated, self.tol)
        return best_of(program, evaluated, self.name)

    def em_iters_of(self, program: Program) -> int:
        """Number of EM iterations before the search."""
        if self.em_iters is not None:
            return self.em_iters
        return _EM_ITERS if program.separates else 0

    def _begun(self, program: Program, search: Search) -> list[Run]:
        """The runs of all starts after ``em_iters`` iterations of EM."""
        starts, em_iters = search.starts(program), self.em_iters_of(program)
        if not em_iters:
            return [Run(params) for params in starts]
        return EM(num_iters=em_iters).run_all(program, starts, search.progress)

    def climb(self, program: Program, run: Run) -> None:
        """L-BFGS from a run's values to the mode near them; the path is recorded."""
        start = program.coordinates.pack(run.params)
        kept = self._stage(program, start, jacobian=False)
        descent = Descent(program, run.params, False, kept)
        search = search_by_curvature(program, self.minimise, jacobian=False)
        try:
            end, run.status = search(descent, start)
            descent.end(end)
            kept.end()
        except KeyboardInterrupt:
            run.status = Status.INTERRUPTED
        for params, likelihood, joint in descent.path:
            slack = ROUNDING * abs(joint)
            if not run.log_joints or joint > run.log_joints[-1] - slack:
                run.next_params = params
                run.record(likelihood, joint, keep=False)
        if run.status is Status.NON_FINITE:
            run.reasons = _not_finite(program, run.params)
        elif run.status is not Status.INTERRUPTED:
            run.reasons = program.collapsed(run.params)
            run.status = Status.COLLAPSED if run.reasons else run.status

    def density_mode(self, program: Program, params: Params) -> tuple[Tensor, Status]:
        """Mode of the unconstrained vector's density near these values, and status.

        The density includes the Jacobian, so that the mode is inside the support even
        where the best value is at its border; samplers start there.
        """
        start = program.coordinates.pack(params)
        kept = self._stage(program, start, jacobian=True)
        descent = Descent(program, params, True, kept)
        found = search_by_curvature(program, self.minimise, jacobian=True)(
            descent, start
        )
        kept.end()
        return found

    def _stage(self, program: Program, start: Tensor, jacobian: bool) -> LongLoop:
        """The checkpointed loop of a search."""
        about = (self, getattr(program.data, "num_steps", None), start, jacobian)
        return stage("descent", lambda: about)

    def minimise(self, descent: Descent, start: Tensor) -> tuple[Tensor, Status]:
        """End point and status of a search with these options.

        Args:
            descent: what it goes down.
            start: shape (size,).
        """
        if not start.numel():
            return start, Status.CONVERGED  # All is held.
        options = LBFGSOptions(
            max_iters=self.num_iters,
            max_evals=4 * self.num_iters,
            gradient_tol=self.tol,
            progress_tol=1e-14,
        )
        found = optim.minimize(descent, start, options)
        if found.status in _STATUS:
            return found.x, _STATUS[found.status]
        # No progress counts as arrival where the ground is flat, and only there.
        if found.optimality <= max(self.tol, _ARRIVED):
            return found.x, Status.CONVERGED
        return found.x, Status.NON_FINITE if descent.was_lost else Status.STALLED


def _told(runs: list[Run], progress: bool) -> "tqdm[Run]":
    """The runs, of which a bar tells how many are at their mode."""
    return tqdm(runs, desc="MAP, fit", unit="start", disable=not progress)


_STATUS = {
    optim.Termination.MAX_ITERS: Status.MAX_ITERS,
    optim.Termination.MAX_EVALS: Status.MAX_ITERS,
    optim.Termination.UNBOUNDED: Status.UNBOUNDED,
    optim.Termination.NON_FINITE: Status.NON_FINITE,
    optim.Termination.NON_FINITE_START: Status.NON_FINITE,
    optim.Termination.NON_FINITE_DIRECTION: Status.NON_FINITE,
}


def _not_finite(program: Program, params: Params) -> tuple[str, ...]:
    """Sentences about sites whose gradient is not finite at these values."""
    coordinates = program.coordinates
    gradient = program.evaluated(coordinates.pack(params), jacobian=False).slope
    return tuple(
        f"the gradient by {name} is not finite"
        for name, own in coordinates.slices.items()
        if not gradient[own].isfinite().all()
    )
