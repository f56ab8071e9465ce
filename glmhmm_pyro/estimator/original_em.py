"""EM with the choices of the original program of Calhoun, Pillow & Murthy (2019).

They are: an initial distribution for every trial, uniform at first and then the
posterior of the E-step; one run of minFunc's L-BFGS for every state, its objective
divided by the number of bins while the penalty is not; penalties that may change from
one iteration to the next; and a stopping rule on the expected complete-data
log-likelihood instead of the marginal one. The loop is that of every EM.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.distributions import Distribution

from glmhmm_pyro.distributions import HiddenMarkov, weighted_sum
from glmhmm_pyro.estimator.original import INITIAL, original_model
from glmhmm_pyro.estimator.penalties import Penalties, Schedule
from glmhmm_pyro.estimator.rows import RowLayout, Weights
from glmhmm_pyro.estimator.trials import Trials
from glmhmm_pyro.inference.em import loop
from glmhmm_pyro.inference.em.em import EM
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.search.failing import raise_if_all_failed
from glmhmm_pyro.inference.search.runs import Run
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.inference.steps.blocks import Failure
from glmhmm_pyro.inference.steps.steps import ComponentSteps, check_possible
from glmhmm_pyro.masking import emission_log_probs
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.optim import LBFGSOptions
from glmhmm_pyro.sequences import Sequences

# Iterations of one run at most; it is no limit, for another goes on.
_MANY = 10_000


@dataclass(frozen=True)
class Iteration:
    """What one EM iteration arrived at.

    Attributes:
        params: values of the sites.
        nats: minus the expected log-probability of every part: "initial", "trans",
            "symb", and "analog" where there are analog outputs.
        log_likelihood: marginal log-likelihood at ``params``, nats.
        log_joint: the same plus the log density of all priors.
        penalties: those in force.
    """

    params: Params
    nats: Mapping[str, float]
    log_likelihood: float
    log_joint: float
    penalties: Penalties

    @property
    def loglik(self) -> float:
        """The figure that the original reports: minus the sum of the expectations."""
        return sum(self.nats.values())


@dataclass(frozen=True)
class OriginalProblem:
    """A fit that is to be made.

    Attributes:
        trials: what is fitted.
        layout: which rows of X each part reads.
        start: starting weights of all rows.
        schedule: the penalties of every iteration.
        analog: prior of the analog outputs' weights; ``None`` for flat.
    """

    trials: Trials
    layout: RowLayout
    start: Weights
    schedule: Schedule
    analog: Distribution | None = None

    @cached_property
    def data(self) -> Sequences:
        """The trials, as each part reads them."""
        return self.trials.sequences(self.layout.emissions, self.layout.transitions)

    @property
    def params(self) -> Params:
        """Values of the sites at the start."""
        return self.layout.params(self.start, self.data.num_sessions)

    def model(self, penalties: Penalties) -> GLMHMM:
        """The model with these penalties as its priors, bound to the data."""
        bins, layout = self.data.num_steps, self.layout
        model = original_model(
            self.start.sizes,
            penalties.prior(penalties.emit_lambda, layout.emissions, bins),
            penalties.prior(penalties.trans_lambda, layout.transitions, bins),
            self.analog,
        )
        model.bind(self.data)
        return model

    def distribution(self, iteration: Iteration) -> HiddenMarkov:
        """Distribution of the labels of these trials after an iteration."""
        model = self.model(iteration.penalties)
        return model.hidden_markov_at(iteration.params, self.data)

    def weights(self, iteration: Iteration) -> Weights:
        """Weights of all rows of X after an iteration, as copies."""
        return self.layout.weights(iteration.params, self.start)

    def entry(self, iteration: Iteration) -> dict[str, Any]:
        """What users get of an iteration; every array a copy."""
        first = iteration.params.get(INITIAL)
        alone = np.ones((self.data.num_sessions, 1))
        strengths = ("emit_lambda", "trans_lambda", "smooth_lambda")
        # Penalties are 0 where the weights are; a normal density has its normaliser.
        level = 0.0
        if self.analog is not None:
            level = float(self.analog.log_prob(self.analog.mean).sum())
        return {
            **self.weights(iteration).shown,
            "prior": alone if first is None else first.numpy().copy(),
            "loglik": iteration.loglik,
            **{f"{name}_likelihood": nats for name, nats in iteration.nats.items()},
            "marginal_log_likelihood": iteration.log_likelihood,
            "penalised_log_likelihood": iteration.log_joint - level,
            **{name: getattr(iteration.penalties, name) for name in strengths},
        }


@dataclass(frozen=True)
class OriginalEM:
    """The original's EM and its options.

    Args:
        max_iter: largest number of iterations.
        tol: see :class:`TwoStalls`.
        init_loglik: what the first ``loglik`` is compared with.
        fit_emissions: whether the emissions are fitted, or stay as they start.
    """

    max_iter: int
    tol: float
    init_loglik: float
    fit_emissions: bool = True

    def run(self, problem: OriginalProblem) -> tuple[list[Iteration], Run]:
        """All iterations, and the run that they end with.

        A run of EM has one prior: where the penalties change, another goes on.
        """
        schedule, run = problem.schedule, Run(problem.params)
        rule = TwoStalls(schedule, self.tol, self.init_loglik)
        left = int(self.max_iter)
        while left and run.status in (None, Status.MAX_ITERS):
            most = 1 if schedule.ridge else min(left, _MANY)
            em = EM(num_iters=most, accelerate=False, m_step=LBFGSOptions())
            run = Run(run.params)
            rule.steps = self._steps(problem, schedule.at(rule.position))
            em.advance(rule.steps, [run], rule=rule)
            raise_if_all_failed([run])
            left = int(self.max_iter) - len(rule.iterations)
        if run.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        return rule.iterations, run

    def evaluate(self, problem: OriginalProblem) -> tuple[list[Iteration], Run]:
        """One E-step at the start and nothing fitted, in the form of a run."""
        steps, params = self._steps(problem, problem.schedule.at(1)), problem.params
        run = Run(params, *steps.expect([params]), status=Status.GIVEN)
        check_possible(run.log_joints[-1])
        steps.nats = steps.expected(params)
        return [steps.iteration(run)], run

    def _steps(self, problem: OriginalProblem, penalties: Penalties) -> "OriginalSteps":
        return OriginalSteps(problem, penalties, self.fit_emissions)


class TwoStalls:
    """The original's rule: ``loglik`` hardly changes in two iterations in a row.

    Nor does a run go on from an M-step that has failed. It notes all iterations.

    Args:
        schedule: of the penalties, which says how a run goes on, and where it may end.
        tol: an iteration stalls if ``loglik`` changes by less than this, relative to
            its size.
        before: what the first ``loglik`` is compared with.

    Attributes:
        steps: those of the penalties in force.
    """

    steps: "OriginalSteps"

    def __init__(self, schedule: Schedule, tol: float, before: float):
        self.schedule, self.tol, self.before = schedule, tol, before
        self.iterations: list[Iteration] = []
        self.position, self.stalled = 1, False

    def has_arrived(self, steps: loop.Steps, run: Run) -> bool:
        """Whether an iteration ends the run; where it set out is none."""
        if len(run.log_joints) == 1:
            return False
        self.iterations.append(self.steps.iteration(run))
        now, before, stalled = self.iterations[-1].loglik, self.before, self.stalled
        self.before, self.stalled = now, abs(now - before) < self.tol * abs(before)
        may_end = stalled and self.stalled and self.schedule.may_end(self.position)
        self.position = self.schedule.after(self.position, self.stalled)
        return may_end or run.failure is not None

    def has_converged(self, steps: loop.Steps, run: Run, updated: Params) -> bool:
        """Never: an iteration is judged by the E-step at its end."""
        return False


class OriginalSteps(ComponentSteps):
    """The two steps of EM, and the original's figures of an iteration.

    A search of minFunc that finds nothing higher is no failure, and a scale that runs
    to 0 is no end: the original goes on.

    Args:
        problem: what is fitted.
        penalties: those in force.
        fit_emissions: see :class:`OriginalEM`.
    """

    def __init__(
        self, problem: OriginalProblem, penalties: Penalties, fit_emissions: bool
    ):
        super().__init__(problem.model(penalties), problem.data, LBFGSOptions())
        self.penalties, self.sizes = penalties, problem.start.sizes
        self.nats: dict[str, float] = {}
        if not fit_emissions:
            self.m_steps.pop("emissions")

    def maximise(
        self, sets: Sequence[Params], rows: list[int], multiplier: float = 1.0
    ) -> list[Params]:
        """M-steps; what is not fitted stays."""
        (updated,) = super().maximise(sets, rows, multiplier)
        updated = sets[0] | updated
        self.nats = self.expected(updated)
        return [updated]

    def failure(self, number: int) -> Failure | None:
        """How the last M-step failed, unless it found nothing higher."""
        found = [step.failure(number) for step in self.m_steps.values()]
        failed = [f for f in found if f and f.status is Status.M_STEP_FAILED]
        return failed[0] if failed else None

    def runaways(self, first: Params, now: Params) -> tuple[str, ...]:
        """None."""
        return ()

    def iteration(self, run: Run) -> Iteration:
        """The iteration that an E-step has ended."""
        figures = run.log_likelihoods[-1], run.log_joints[-1]
        return Iteration(run.params, self.nats, *figures, self.penalties)

    def expected(self, params: Params) -> dict[str, float]:
        """Minus the expected log-probability of every part, by the last E-step."""
        counts = self.counts
        if counts is None:
            raise RuntimeError("an expectation must follow an E-step")
        with torch.no_grad():
            hidden = self.model.hidden_markov_at(params, self.data)
            nats = {
                "initial": weighted_sum(counts.initial, hidden.initial_logits, 2),
                "trans": weighted_sum(counts.transition, hidden.transition_logits, 3),
                "symb": torch.zeros(()),
            }
            for name, output in hidden.outputs(self.data.emissions).items():
                log_probs = emission_log_probs(*output[:3])
                kind = name or ("symb" if self.sizes[1] else "analog")
                nats[kind] = weighted_sum(counts.emission, log_probs, 2)
        return {name: -float(value) for name, value in nats.items()}
