"""EM with the choices of the original program of Calhoun, Pillow & Murthy (2019).

They are: an initial distribution for every trial, uniform at first and then the
posterior of the E-step; one run of minFunc's L-BFGS for every state, its objective
divided by the number of bins while the penalty is not; and a stopping rule on the
expected complete-data log-likelihood instead of the marginal one.
"""

from dataclasses import dataclass
from typing import NamedTuple

from glmhmm_pyro.chain import ExpectedCounts
from glmhmm_pyro.distributions import HiddenMarkov, weighted_sum
from glmhmm_pyro.estimator.original import distribution
from glmhmm_pyro.estimator.penalties import Penalties
from glmhmm_pyro.estimator.problem import Iteration, Problem
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.status import FallingLikelihoodError, Status
from glmhmm_pyro.inference.steps.m_step import MStep
from glmhmm_pyro.inference.steps.steps import check_possible, e_step, m_step
from glmhmm_pyro.masking import emission_log_probs
from glmhmm_pyro.optim import LBFGSOptions


class Ending(NamedTuple):
    """How a run ended.

    Attributes:
        status: what users read.
        details: sentences on it.
    """

    status: Status
    details: tuple[str, ...] = ()


# A fall of the log-joint below this, relative to its size, is rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class OriginalEM:
    """The original's EM and its options.

    Args:
        max_iter: largest number of iterations.
        tol: an iteration stalls if ``loglik`` changes by less than this, relative to
            its size; two such iterations in a row end the run, where the schedule of
            its penalties lets it.
        init_loglik: what the first ``loglik`` is compared with.
        fit_emissions: whether the emissions are fitted, or stay as they start.
    """

    max_iter: int
    tol: float
    init_loglik: float
    fit_emissions: bool = True

    def run(self, problem: Problem) -> tuple[list[Iteration], Ending]:
        """All iterations, and how they ended: converged where the last two stalled.

        A step of minFunc that finds nothing higher is no failure: the original goes on.
        """
        iterations: list[Iteration] = []
        schedule, position = problem.schedule, 1
        params, penalties = problem.params, schedule.at(1)
        m_steps = self._m_steps(problem, penalties)
        model, data = problem.model(penalties), problem.data
        counts, (likelihood,), _ = e_step(model, data, params)
        check_possible(likelihood)
        before, stalled = self.init_loglik, False
        while len(iterations) < self.max_iter:
            if schedule.at(position) != penalties:
                penalties = schedule.at(position)
                m_steps = self._m_steps(problem, penalties)
            joint = likelihood - problem.penalty(penalties, params)
            params = params | m_step(m_steps, counts, params)
            hidden, expected = distribution(model, data, _only(params)), counts
            counts, (likelihood,), _ = e_step(model, data, params)
            new_joint = likelihood - problem.penalty(penalties, params)
            _check_rise(joint, new_joint, len(iterations) + 1)
            iterations.append(
                _iteration(problem, params, hidden, expected, likelihood, penalties)
            )
            stalled_before = stalled
            stalled = abs(iterations[-1].loglik - before) < self.tol * abs(before)
            before = iterations[-1].loglik
            failures = [step.failure(0) for step in m_steps.values()]
            for failure in filter(None, failures):
                if failure.status is Status.M_STEP_FAILED:
                    return iterations, Ending(failure.status, (failure.sentence,))
            if stalled and stalled_before and schedule.may_end(position):
                return iterations, Ending(Status.CONVERGED)
            position = schedule.after(position, stalled)
        return iterations, Ending(Status.MAX_ITERS)

    def evaluate(self, problem: Problem) -> tuple[list[Iteration], Ending]:
        """One E-step at the start and nothing fitted, in the form of a run."""
        penalties, params = problem.schedule.at(1), problem.params
        model = problem.model(penalties)
        counts, (likelihood,), _ = e_step(model, problem.data, params)
        check_possible(likelihood)
        hidden = distribution(model, problem.data, _only(params))
        found = _iteration(problem, params, hidden, counts, likelihood, penalties)
        return [found], Ending(Status.GIVEN)

    def _m_steps(self, problem: Problem, penalties: Penalties) -> dict[str, MStep]:
        """M-steps of the parts that are fitted, under these penalties."""
        return {
            name: MStep(component, component.view(problem.data), LBFGSOptions())
            for name, component in problem.model(penalties).components.items()
            if self.fit_emissions or not name.startswith("emissions")
        }


def _only(params: Params) -> Params:
    """The values of the one set that there is."""
    return {name: value[0] for name, value in params.items()}


def _iteration(
    problem: Problem,
    params: Params,
    hidden: HiddenMarkov,
    counts: ExpectedCounts,
    likelihood: float,
    penalties: Penalties,
) -> Iteration:
    nats = {"analog": 0.0, "symb": 0.0}
    for name, output in hidden.outputs(problem.data.emissions).items():
        log_probs = emission_log_probs(*output)
        kind = name or ("symb" if problem.start.sizes[1] else "analog")
        nats[kind] = -float(weighted_sum(counts.emission, log_probs, 2))
    return Iteration(
        params,
        -float(weighted_sum(counts.initial, hidden.initial_logits, 2)),
        -float(weighted_sum(counts.transition, hidden.transition_logits, 3)),
        nats["symb"],
        nats["analog"],
        likelihood,
        penalties,
    )


def _check_rise(before: float, now: float, iteration: int) -> None:
    if not now - before >= -_ROUNDING * max(abs(before), 1.0):
        raise FallingLikelihoodError(
            f"the log-joint fell from {before!r} to {now!r} in EM iteration "
            f"{iteration}; an EM step cannot do that: please report it, with the data"
        )
