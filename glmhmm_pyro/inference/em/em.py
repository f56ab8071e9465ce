"""Expectation-maximisation: exact E-steps, L-BFGS or closed-form M-steps.

EM alternates the posterior of the states at the present parameters with the parameters
that maximise the expected complete-data log-joint (Dempster, Laird & Rubin 1977; for
input-driven transitions Escola et al. 2011 and Calhoun, Pillow & Murthy
2019). Several parameter sets (restarts) advance together.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch

from glmhmm_pyro.arguments import keep_flags, keep_real, keep_whole, suggests_names
from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.em.acceleration import Extrapolation
from glmhmm_pyro.inference.em.annealing import positive, reminded, schedule
from glmhmm_pyro.inference.em.failures import Failure
from glmhmm_pyro.inference.em.joint_steps import JointSteps
from glmhmm_pyro.inference.em.steps import ComponentSteps, check_possible
from glmhmm_pyro.inference.findings import Findings
from glmhmm_pyro.inference.mode.polish import polish
from glmhmm_pyro.inference.optima.find import find, finish
from glmhmm_pyro.inference.program import Program
from glmhmm_pyro.inference.restarts import best_of, run_all
from glmhmm_pyro.inference.runs import Run
from glmhmm_pyro.inference.search import Search
from glmhmm_pyro.inference.status import FallingLikelihoodError, Status
from glmhmm_pyro.optim import LBFGSOptions

Steps: TypeAlias = ComponentSteps | JointSteps

# A fall of the log-joint below this, relative to its size, is rounding.
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-6}

# Rise of the log-joint that ends a run at a floor of a scale, which found no maximum.
_NEAR_A_FLOOR = 1e-6

# Labels and counts cannot be more probable than 1: above this, in nats, nothing is to
# be gained by weights that grow for ever.
NOTHING_LEFT = 1e-3


@suggests_names
@dataclass(frozen=True)
class EM:
    """Expectation-maximisation and its options.

    From where the best start has converged, Newton steps lead on to the mode itself,
    where there is a smooth one: the last evaluation in its history. Not so where
    options of the M-step are given.

    Args:
        num_iters: largest number of EM iterations.
        tol: stop when all further iterations together are expected to raise the
            log-joint by less than this, relative to its size, judged by how the last
            EM steps shrink.
        accelerate: whether to jump ahead along the path of EM (SQUAREM) where that
            raises the log-joint.
        m_step: options of the M-step's L-BFGS, for a plain run of it on the weights;
            by default it works in coordinates of its own and ends when nearly all is
            gained that an M-step can gain.
        keep_weights: whether the history keeps the parameters of every iteration.
        inverse_temperatures: of the E-steps of annealed iterations before all others,
            positive and at most 1, e.g. ``np.geomspace(0.1, 1, 30)``: a way out of poor
            optima (deterministic annealing, Ueda & Nakano 1998).
        prior_multipliers: what the log prior is multiplied by in the M-steps of
            annealed iterations, positive, e.g. ``[math.exp(-n / 2) * 100 + 1 for n in
            range(20)]``. Both lists are gone through together; where one has ended its
            number is 1. Annealed iterations stand in no history.
    """

    num_iters: int = 1000
    tol: float = 1e-9
    accelerate: bool = True
    m_step: LBFGSOptions | None = None
    keep_weights: bool = False
    inverse_temperatures: Sequence[float] = ()
    prior_multipliers: Sequence[float] = ()

    def __post_init__(self) -> None:
        keep_whole(self, num_iters=1)
        keep_real(self, tol=(0.0, math.inf, True))
        keep_flags(self, "accelerate", "keep_weights")
        # Tuples of floats, so that two EMs compare and no array of the user's is kept.
        betas = positive("inverse_temperatures", self.inverse_temperatures, 1.0)
        object.__setattr__(self, "inverse_temperatures", betas)
        multipliers = positive("prior_multipliers", self.prior_multipliers)
        object.__setattr__(self, "prior_multipliers", multipliers)

    name: ClassVar[str] = "em"

    @property
    def in_own_units(self) -> bool:
        """Whether a program may come in units of its own: not for a plain M-step."""
        return self.m_step is None

    def fit(self, program: Program, search: Search) -> Findings:
        """EM from all starts of a search; the best one's fit."""
        if not search.is_free(program):
            runs = run_all(self, program, search.starts(program), search.progress)
            if self.m_step is None:
                polish(program, runs)
            return best_of(program, runs, self.name)
        hunt = find(self, program, search)
        finish(self, hunt)
        if self.m_step is None:
            polish(program, hunt.runs)
        return best_of(program, hunt.runs, self.name, hunt.rounds_without_gain)

    def run(
        self,
        model: Any,
        data: Any,
        starts: Sequence[Params],
        callback: Callable[[int, Sequence[Run]], None] | None = None,
    ) -> list[Run]:
        """EM from every start, in lockstep.

        Args:
            model: a ``GLMHMM`` bound to the data, or a model of the user's own.
            data: what the model is called with.
            starts: values of all sites, for every start.
            callback: called after every E-step with its number and all runs.
        """
        return self.run_program(Program.of(model, data), starts, callback)

    def run_program(
        self,
        program: Program,
        starts: Sequence[Params],
        callback: Callable[[int, Sequence[Run]], None] | None = None,
    ) -> list[Run]:
        """The same of a model that has its data already."""
        steps = program.em_steps(self.m_step)
        runs = self.begun(steps, [Run(params) for params in starts])
        self.lead(steps, runs, callback=callback)
        return runs

    def begun(self, steps: Steps, runs: Sequence[Run]) -> list[Run]:
        """The runs after the annealed iterations, from whose end all of them begin.

        One that was interrupted is interrupted before it began.
        """
        try:
            sets = annealed(self, steps, [run.params for run in runs])
        except KeyboardInterrupt:
            for run in runs:
                run.status = Status.INTERRUPTED
            return list(runs)
        return [Run(params, kind=run.kind) for params, run in zip(sets, runs)]

    def lead(
        self,
        steps: Steps,
        runs: Sequence[Run],
        most: int | None = None,
        callback: Callable[[int, Sequence[Run]], None] | None = None,
    ) -> None:
        """Lead runs that have not ended on, in lockstep, until they end or pause.

        Args:
            steps: E-steps and M-steps, from :meth:`Program.em_steps`.
            runs: changed in place; what is led on later goes on as if never paused.
            most: number of iterations after which a run pauses.
            callback: see :meth:`run`.
        """
        march = _March(self, steps, runs, most)
        try:
            for number in itertools.count():
                if not march.advance():
                    break
                if callback is not None:
                    callback(number, march.runs)
        except KeyboardInterrupt:
            for run in march.runs:
                run.status = run.status or Status.INTERRUPTED
        march.judge()


class _March:
    """All runs of one call, advanced together."""

    def __init__(self, em: EM, steps: Steps, runs: Sequence[Run], most: int | None):
        self.em, self.steps, self.runs = em, steps, runs
        self.rounding = ROUNDING[steps.dtype]
        self.failures: list[Failure | None] = [None] * len(runs)
        self.pauses = [
            math.inf if most is None else len(run.log_joints) + most for run in runs
        ]
        for run in runs:
            if run.way is None:
                run.way = Extrapolation(steps.transforms, em.accelerate)

    def advance(self) -> bool:
        """One E-step and one M-step of all runs that go on; False if none does."""
        active = [
            i
            for i, run in enumerate(self.runs)
            if run.status is None and len(run.log_joints) < self.pauses[i]
        ]
        if not active:
            return False
        sets = [self.runs[i].ahead for i in active]
        log_likelihoods, log_joints = self.steps.expect(sets)
        going = [
            row
            for row, i in enumerate(active)
            if self._arrive(i, log_likelihoods[row], log_joints[row])
        ]
        if going:
            updated = self.steps.maximise(sets, going)
            for number, row in enumerate(going):
                self.failures[active[row]] = self.steps.failure(number)
                self._leave(active[row], updated[number])
        return True

    def judge(self) -> None:
        """Say of runs whose last M-step failed, or that ended at a floor of a scale."""
        for run, failure in zip(self.runs, self.failures):
            if run.status not in (Status.CONVERGED, Status.MAX_ITERS):
                continue
            run.reasons = self.steps.at_bounds(run.params)
            if run.reasons:
                run.status = Status.COLLAPSED
            elif failure is not None:
                run.status, run.reasons = failure.status, (failure.sentence,)

    def _arrive(self, i: int, log_likelihood: float, log_joint: float) -> bool:
        """Record the E-step of a run, or turn back; whether the run wants an M-step."""
        run = self.runs[i]
        if not run.log_joints:
            check_possible(log_joint)
        lowest = run.log_joints[-1] if run.log_joints else -math.inf
        if not lowest <= log_joint < math.inf:
            fallback = run.way.retreat()
            if fallback is not None:
                run.ahead = fallback
                return False
        if log_joint == math.inf:
            run.status, run.reasons = Status.COLLAPSED, self.steps.infinite(run.ahead)
            return False
        if log_joint < lowest and self.steps.at_bounds(run.ahead):
            # An M-step that a floor cuts short need not be one up.
            run.status = Status.CONVERGED
            return False
        run.record(log_likelihood, log_joint, self.em.keep_weights)
        run.reasons = self.steps.runaways(run.first, run.params)
        if run.reasons:
            # As large as the log-joint is there, its rounding may make it fall.
            run.status = Status.COLLAPSED
            return False
        if run.rise < -self.rounding or math.isnan(run.rise):
            raise FallingLikelihoodError(
                f"the log-joint fell from {lowest!r} to {log_joint!r} in an EM "
                "iteration, which EM cannot do: please report it, with the model and "
                "the data"
            )
        if self.steps.is_discrete and log_joint == log_likelihood > -NOTHING_LEFT:
            run.status = Status.CONVERGED
        elif len(run.log_joints) > self.em.num_iters:
            run.status = Status.MAX_ITERS
        return run.status is None

    def _leave(self, i: int, updated: Params) -> None:
        """Decide after its M-step where a run goes next, or that it stays."""
        run, way = self.runs[i], self.runs[i].way
        tol = self.em.tol
        if run.rise <= _NEAR_A_FLOOR and self.steps.at_bounds(run.params):
            tol = max(tol, _NEAR_A_FLOOR)
        if run.rise <= tol:
            shrinks = way.rate(run.params, updated) ** 2
            if run.rise <= 0 or (shrinks < 1 and run.rise <= tol * (1 - shrinks)):
                run.status = Status.CONVERGED
        run.ahead = way.after(run.params, updated)


def annealed(em: EM, steps: Steps, starts: Sequence[Params]) -> list[Params]:
    """Where the annealed iterations lead from these starts."""
    rows, sets = list(range(len(starts))), list(starts)
    for beta, multiplier in schedule(em.inverse_temperatures, em.prior_multipliers):
        for log_joint in steps.expect(sets, beta)[1]:
            check_possible(log_joint)
        sets = steps.maximise(sets, rows, multiplier)
        if beta < 1:
            pairs = zip(sets, starts)
            sets = [reminded(*pair, steps.transforms) for pair in pairs]
    return sets
