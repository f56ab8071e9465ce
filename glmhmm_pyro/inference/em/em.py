"""Expectation-maximisation: exact E-steps, L-BFGS or closed-form M-steps.

EM alternates the posterior of the states at the present parameters with the parameters
that maximise the expected complete-data log-joint (Dempster, Laird & Rubin 1977; for
input-driven transitions Escola et al. 2011 and Calhoun, Pillow & Murthy
2019). Several parameter sets (restarts) advance together.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from glmhmm_pyro.arguments import keep_flags, keep_real, keep_whole, suggests_names
from glmhmm_pyro.inference.curvature.polish import polish
from glmhmm_pyro.inference.em import loop
from glmhmm_pyro.inference.em.acceleration import Extrapolation
from glmhmm_pyro.inference.em.annealing import positive
from glmhmm_pyro.inference.marginal.fitting import fit_marginal
from glmhmm_pyro.inference.marginal.problem import MarginalProblem
from glmhmm_pyro.inference.program.batches import chunks_of
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Data, Program
from glmhmm_pyro.inference.progress_bar import ProgressBar
from glmhmm_pyro.inference.search.runs import (
    FAILURES,
    Findings,
    Run,
    attempt,
    best_of,
    raise_if_all_failed,
)
from glmhmm_pyro.inference.search.search import Search, search_optima
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.optim import LBFGSOptions

# How many times what it was to leave, which is an estimate, a search may have left.
_LEFT = 100.0


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

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, gh.EM(num_iters=50), progress=False)
        >>> fit.status.name
        'CONVERGED'
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
    is_spreadable: ClassVar[bool] = True

    @property
    def in_own_units(self) -> bool:
        """Whether to fit in standardised units; not if M-step options are given."""
        return self.m_step is None

    def fit(self, program: Program, search: Search) -> Findings:
        """EM from all starts of a search; findings of the best.

        Latents with a normal law are integrated out; see ``inference/marginal``.
        """
        problem = MarginalProblem.of(program)
        if problem is not None:
            return fit_marginal(problem, search, self.fit, self.name)
        if not search.is_free(program):
            runs = self.run_all(program, search.starts(program), search.progress)
            if self.m_step is None:
                polish(program, runs, _LEFT * self.tol)
            return best_of(program, runs, self.name)
        with ProgressBar("EM", search.progress) as bar:
            multistart = search_optima(self, program, search, bar)
            multistart.finish()
        if self.m_step is None:
            polish(program, multistart.runs, _LEFT * self.tol)
        return best_of(
            program, multistart.runs, self.name, multistart.rounds_without_gain
        )

    def run(
        self,
        model: Callable[[Data], Any],
        data: Data,
        starts: Sequence[Params],
        callback: loop.Callback | None = None,
    ) -> list[Run]:
        """EM from every start, in lockstep.

        Args:
            model: a ``GLMHMM`` bound to the data, or a model of the user's own.
            data: what the model is called with.
            starts: values of all sites, for every start.
            callback: called after every E-step with its number and all runs.

        Raises:
            FallingLikelihoodError: all runs failed, the first because its log-joint
                fell. A run that fails among others ends with a status that says so.
        """
        steps = Program.of(model, data).em_steps(self.m_step)
        runs = self.annealed(steps, [Run(params) for params in starts])
        self.advance(steps, runs, callback=callback)
        raise_if_all_failed(runs)
        return runs

    def run_all(
        self, program: Program, starts: Sequence[Params], progress: bool
    ) -> list[Run]:
        """Runs of all starts, as many together as memory allows; fewer if interrupted.

        Args:
            program: the model with its data.
            starts: values of all sites, for every start.
            progress: whether to show a progress bar.
        """
        runs: list[Run] = []
        chunks = chunks_of(program, starts)
        with ProgressBar("EM", progress) as bar:
            bar.enter("fit", self, None, len(chunks), program.units.log_joint)
            for chunk in chunks:
                steps = program.em_steps(self.m_step)
                some = self.annealed(steps, [Run(params) for params in chunk])
                self.advance(steps, some, callback=bar)
                runs += some
                if runs[-1].status is Status.INTERRUPTED:
                    break
        return [run for run in runs if run.log_joints]

    def annealed(self, steps: loop.Steps, runs: Sequence[Run]) -> list[Run]:
        """The runs after the annealed iterations; as they are if there are none.

        If the user interrupts, all runs get the status ``INTERRUPTED``; runs that fail
        alone end.
        """
        if not runs:
            return []
        try:
            sets = loop.annealed_starts(self, steps, [run.params for run in runs])
        except FAILURES as error:
            loop.end_failing(
                steps,
                runs,
                lambda run: loop.annealed_starts(self, steps, [run.params]),
                error,
            )
            rest = iter(self.annealed(steps, [r for r in runs if r.status is None]))
            return [run if run.status is not None else next(rest) for run in runs]
        except KeyboardInterrupt:
            for run in runs:
                run.status = Status.INTERRUPTED
            return list(runs)
        return [Run(params, kind=run.kind) for params, run in zip(sets, runs)]

    def advance(
        self,
        steps: loop.Steps,
        runs: Sequence[Run],
        most: int | None = None,
        callback: loop.Callback | None = None,
        rule: loop.Rule | None = None,
    ) -> None:
        """Iterate the runs that have not ended, in lockstep, until they end or pause.

        Args:
            steps: E-steps and M-steps, from :meth:`Program.em_steps`.
            runs: changed in place; a paused run can be advanced further later.
            most: number of iterations after which a run pauses.
            callback: see :meth:`run`.
            rule: convergence rule in place of that of ``tol``.
        """
        rule = loop.SmallRises(self.tol) if rule is None else rule
        self._make_ready(steps, runs, most)
        kept = loop.resumed(self, steps, runs, rule)
        try:
            rounds = iter(lambda: [run for run in runs if run.goes_on], [])
            for iteration, going in enumerate(rounds):
                sets = [run.next_params for run in going]
                try:
                    logs = steps.expect(sets)
                except FAILURES as error:
                    loop.end_failing(
                        steps, going, lambda run: steps.expect([run.next_params]), error
                    )
                    continue
                found = enumerate(zip(going, *logs))
                rows = [i for i, e in found if loop.try_record(self, steps, rule, *e)]
                for update in loop.maximised(steps, going, sets, rows):
                    attempt(update.run, partial(loop.choose_next, steps, rule, update))
                kept.note()
                if callback is not None:
                    callback(iteration, runs)
            kept.end()
        except KeyboardInterrupt:
            for run in runs:
                run.status = run.status or Status.INTERRUPTED
        for run in runs:
            loop.set_final_status(steps, run)

    def _make_ready(
        self, steps: loop.Steps, runs: Sequence[Run], most: int | None
    ) -> None:
        """Set the extrapolation of runs, and where they pause."""
        for run in runs:
            run.extrapolation = run.extrapolation or Extrapolation(
                steps.transforms, self.accelerate
            )
            run.pause = math.inf if most is None else len(run.log_joints) + most
