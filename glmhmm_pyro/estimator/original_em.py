"""EM with the choices of the original program of Calhoun, Pillow & Murthy (2019).

They are: an initial distribution for every trial, uniform at first and then the
posterior of the E-step; one run of minFunc's L-BFGS for every state, its objective
divided by the number of bins while the penalty is not; penalties that may change from
one iteration to the next; and a stopping rule on the expected complete-data
log-likelihood instead of the marginal one. The loop is that of every EM.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from pyro import poutine

from glmhmm_pyro.distributions import HiddenMarkov, weighted_sum
from glmhmm_pyro.estimator.original import INITIAL, Original, Weights
from glmhmm_pyro.estimator.parameters import Options
from glmhmm_pyro.estimator.penalties import Schedule
from glmhmm_pyro.inference.em import loop
from glmhmm_pyro.inference.em.em import EM
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.search.runs import Run, raise_if_all_failed
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.inference.steps.blocks import Failure
from glmhmm_pyro.inference.steps.steps import ComponentSteps, check_possible
from glmhmm_pyro.masking import emission_log_probs
from glmhmm_pyro.optim import LBFGSOptions
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.sequences import Sequences


@dataclass(frozen=True)
class Problem:
    """A fit that is to be made of a model, from starting weights of all rows of X."""

    original: Original
    data: Sequences
    start: Weights
    schedule: Schedule
    # Prior of the weights of analog outputs.
    analog: Prior = None

    @property
    def params(self) -> Params:
        """Values of the sites at the start."""
        return self.original.params(self.start, len(self.data))


class OriginalSteps(ComponentSteps):
    """The two steps of EM, and the original's figures of an iteration.

    A search of minFunc that finds nothing higher is no failure, and a scale that runs
    to 0 is no end: the original goes on. ``nats`` are minus the expected
    log-probability of every part at the values that the last M-step arrived at.
    """

    def __init__(self, problem: Problem, position: int, fit_emissions: bool):
        self.problem, self.penalties = problem, problem.schedule.at(position)
        original, bins, own = problem.original, problem.data.num_steps, self.penalties
        model = original.model(
            own.prior(own.emit_lambda, original.columns("emit_w"), bins),
            own.prior(own.trans_lambda, original.columns("trans_w"), bins),
            problem.analog,
        )
        model.bind(problem.data)
        super().__init__(model, problem.data, LBFGSOptions())
        self.nats: dict[str, float] = {}
        if not fit_emissions:
            fitted = self.m_steps.items()
            self.m_steps = {n: s for n, s in fitted if not n.startswith("emissions")}

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
        failed = (f for f in found if f and f.status is Status.M_STEP_FAILED)
        return next(failed, None)

    def runaways(self, first: Params, now: Params) -> tuple[str, ...]:
        """None."""
        return ()

    def at(self, params: Params) -> HiddenMarkov:
        """Distribution of the emissions at these values."""
        return self.model.hidden_markov_at(params, self.data)

    def expected(self, params: Params) -> dict[str, float]:
        """Minus the expected log-probability of every part, by the last E-step."""
        counts: Any = self.counts
        with torch.no_grad():
            hidden = self.at(params)
            nats = {
                "initial": weighted_sum(counts.initial, hidden.initial_logits, 2),
                "trans": weighted_sum(counts.transition, hidden.transition_logits, 3),
                "symb": torch.zeros(()),
            }
            for name, output in hidden.outputs(self.data.emissions).items():
                log_probs = emission_log_probs(*output[:3])
                kind = name or ("symb" if self.problem.original.free else "analog")
                nats[kind] = weighted_sum(counts.emission, log_probs, 2)
        return {name: -float(value) for name, value in nats.items()}

    def entry(self, run: Run) -> dict[str, Any]:
        """What users get of the iteration that an E-step has ended, arrays copied."""
        params, problem = run.params, self.problem
        first, alone = params.get(INITIAL), np.ones((len(self.data), 1))
        # Penalties are 0 where the weights are; a prior's density has a normaliser.
        weights = {n: torch.zeros_like(v) for n, v in params.items() if "weights" in n}
        at_zero = poutine.condition(self.model.draw, params | weights)
        level = float(poutine.trace(at_zero).get_trace().log_prob_sum())
        strengths = ("emit_lambda", "trans_lambda", "smooth_lambda")
        return {
            **problem.original.weights(params, problem.start),
            "prior": alone if first is None else first.numpy().copy(),
            "loglik": sum(self.nats.values()),
            **{f"{name}_likelihood": nats for name, nats in self.nats.items()},
            "marginal_log_likelihood": run.log_likelihoods[-1],
            "penalised_log_likelihood": run.log_joints[-1] - level,
            **{name: getattr(self.penalties, name) for name in strengths},
        }


class Ended(NamedTuple):
    """A fit: what users get of every iteration, how it ended, and its last steps."""

    history: list[dict[str, Any]]
    run: Run
    steps: OriginalSteps


def fit(problem: Problem, options: Options) -> Ended:
    """All iterations. A run of EM has one prior: where it changes, another goes on."""
    rule = TwoStalls(problem.schedule, options["tol"], options["init_loglik"])
    run, most = Run(problem.params), min(options["max_iter"], 2**31 - 1)
    while len(rule.history) < most and run.status in (None, Status.MAX_ITERS):
        number = 1 if problem.schedule.is_annealed else most
        em = EM(num_iters=number, accelerate=False, m_step=LBFGSOptions())
        steps = OriginalSteps(problem, rule.position, options["fit_emissions"])
        run = Run(run.params)
        em.advance(steps, [run], rule=rule)
        raise_if_all_failed([run])
    if run.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return Ended(rule.history, run, steps)


def evaluate(problem: Problem, options: Options) -> Ended:
    """One E-step at the start and nothing fitted, as the end of a fit."""
    steps = OriginalSteps(problem, 1, options["fit_emissions"])
    run = Run(problem.params, *steps.expect([problem.params]), status=Status.GIVEN)
    check_possible(run.log_joints[-1])
    steps.nats = steps.expected(run.params)
    return Ended([steps.entry(run)], run, steps)


class TwoStalls:
    """The original's rule: ``loglik`` hardly changes in two iterations in a row.

    It keeps the history. An iteration stalls if ``loglik`` changes by less than ``tol``
    of what it was ``before``. Nor does a run go on from an M-step that has failed.
    """

    def __init__(self, schedule: Schedule, tol: float, before: float):
        self.schedule, self.tol, self.before = schedule, tol, before
        self.history: list[dict[str, Any]] = []
        self.position, self.stalled = 1, False

    def has_arrived(self, steps: Any, run: Run) -> bool:
        """Whether an iteration ends the run; where it set out is none."""
        if len(run.log_joints) == 1:
            return False
        self.history.append(steps.entry(run))
        now, before, stalled = self.history[-1]["loglik"], self.before, self.stalled
        self.before, self.stalled = now, abs(now - before) < self.tol * abs(before)
        may_end = stalled and self.stalled and self.schedule.may_end(self.position)
        self.position = self.schedule.after(self.position, self.stalled)
        return may_end or run.failure is not None

    def has_converged(self, steps: loop.Steps, run: Run, updated: Params) -> bool:
        """Never: an iteration is judged by the E-step at its end."""
        return False
