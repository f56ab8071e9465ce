"""What EM does with a run after an E-step, after an M-step, and at its end.

E- and M-steps are those of a program, which extrapolation
(:mod:`~glmhmm_pyro.inference.em.acceleration`) makes longer. A run that closes in on a
density without end, or whose M-step fails, ends with a status that says so.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch

from glmhmm_pyro.inference.em import resuming
from glmhmm_pyro.inference.em.annealing import schedule, with_share_of_start
from glmhmm_pyro.inference.journal import LongLoop, stage
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.search.failing import FAILURES, end_failing
from glmhmm_pyro.inference.search.runs import Run
from glmhmm_pyro.inference.status import FallingLikelihoodError, Status
from glmhmm_pyro.inference.steps.blocks import Failure
from glmhmm_pyro.inference.steps.steps import check_possible
from glmhmm_pyro.ranks import ALONE

if TYPE_CHECKING:
    from glmhmm_pyro.inference.em.em import EM

Callback = Callable[[int, Sequence[Run]], None]

# A fall of the log-joint below this, relative to its size, is rounding.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-6}

# Rise of the log-joint that ends a run at a floor of a scale, which found no maximum.
_NEAR_A_FLOOR = 1e-6

# Labels and counts cannot be more probable than 1: above this, in nats, nothing is to
# be gained by weights that grow for ever.
_NOTHING_LEFT = 1e-3


class Steps(Protocol):
    """E-steps and M-steps of several parameter sets, from :meth:`Program.em_steps`."""

    dtype: torch.dtype
    transforms: dict[str, Any]

    @property
    def about(self) -> tuple[Any, ...]:
        """What tells these steps from others of one fit."""

    @property
    def is_discrete(self) -> bool:
        """Whether all emissions have probabilities, not densities."""

    def expect(
        self, sets: Sequence[Params], beta: float = 1.0
    ) -> tuple[list[float], list[float]]:
        """E-steps: log-likelihoods and log-joints of the sets, nats."""

    def maximise(
        self, sets: Sequence[Params], rows: list[int], multiplier: float = 1.0
    ) -> list[Params]:
        """M-steps of these rows of the sets that the last E-steps were for."""

    def failure(self, number: int) -> Failure | None:
        """How an M-step failed in the last ``maximise``, of a row's number in it."""

    def runaways(self, first: Params, now: Params) -> tuple[str, ...]:
        """Sentences about scales that have run away."""

    def at_bounds(self, params: Params) -> tuple[str, ...]:
        """Sentences about scales that only a floor keeps from running to 0."""

    def infinite(self, params: Params) -> tuple[str, ...]:
        """Sentences about priors whose density is infinite at these values."""


class Rule(Protocol):
    """When a run of EM has converged."""

    def has_arrived(self, steps: Steps, run: Run) -> bool:
        """Whether it has where an E-step has just been recorded."""

    def has_converged(self, steps: Steps, run: Run, updated: Params) -> bool:
        """Whether it has by what the M-step from there gave."""


def resumed(options: "EM", steps: Steps, runs: Sequence[Run], rule: Rule) -> LongLoop:
    """The stage of these runs, brought to where an earlier call had led them."""
    give, firsts = partial(resuming.state_of, steps, runs), [run.first for run in runs]
    kept = stage("EM", lambda: (options, rule, steps.about, firsts, give()))
    kept.give = give
    if kept.state is not None:
        resuming.restore(steps, runs, kept.state)
    return kept


class SmallRises(NamedTuple):
    """EM's own rule: all further iterations together would hardly raise the log-joint.

    EM steps that shrink by a factor r raise it by r^2 of the last rise, by r^4, and so
    on: by r^2 / (1 - r^2) of it in all.

    Attributes:
        tol: largest rise, relative to the size of the log-joint, that is left out.
    """

    tol: float

    def has_arrived(self, steps: Steps, run: Run) -> bool:
        """Whether labels are all but certain, and nothing is left to gain."""
        likelihood, joint = run.log_likelihoods[-1], run.log_joints[-1]
        return steps.is_discrete and joint == likelihood > -_NOTHING_LEFT

    def has_converged(self, steps: Steps, run: Run, updated: Params) -> bool:
        """Whether EM steps are small, and shrink fast enough."""
        tol = self._tolerance(steps, run)
        if run.rise > tol:
            return False
        shrinks = run.extrapolation.rate(run.params, updated) ** 2
        return run.rise <= 0 or (shrinks < 1 and run.rise <= tol * (1 - shrinks))

    def _tolerance(self, steps: Steps, run: Run) -> float:
        """Looser at a floor of a scale, where no maximum is to be found."""
        is_near = run.rise <= _NEAR_A_FLOOR and steps.at_bounds(run.params)
        return max(self.tol, _NEAR_A_FLOOR) if is_near else self.tol


def try_record(options: "EM", steps: Steps, rule: Rule, run: Run, *logs: float) -> bool:
    """As :func:`record_or_retreat`; a run that raises a numerical error ends."""
    try:
        return record_or_retreat(options, steps, rule, run, *logs)
    except FAILURES as error:
        run.fail(error)
        return False


def end_failing_steps(steps: Steps, runs: Sequence[Run], error: Exception) -> None:
    """End the runs whose own E-step fails, where one of several together did."""
    end_failing(
        runs, lambda run: steps.expect([run.next_params]), error, is_spread(steps)
    )


class Update(NamedTuple):
    """What an M-step gives a run, and how it failed, if it did."""

    run: Run
    params: Params
    failure: Failure | None


def maximised(
    steps: Steps, runs: Sequence[Run], sets: Sequence[Params], rows: list[int]
) -> list[Update]:
    """M-steps of the runs in these rows; those whose M-step raises an error end."""
    if not rows:
        return []
    try:
        found = steps.maximise(sets, rows)
    except FAILURES as error:
        numbers = {id(runs[row]): row for row in rows}
        end_failing(
            [runs[row] for row in rows],
            lambda run: steps.maximise(sets, [numbers[id(run)]]),
            error,
            is_spread(steps),
        )
        rest = [row for row in rows if runs[row].status is None]
        return maximised(steps, runs, sets, rest)
    updates = enumerate(zip(rows, found))
    return [Update(runs[row], new, steps.failure(i)) for i, (row, new) in updates]


def is_spread(steps: Steps) -> bool:
    """Whether other processes take part, which cannot follow where a run fails here."""
    data = getattr(steps, "data", None)
    return getattr(data, "ranks", ALONE) is not ALONE


def record_or_retreat(
    options: "EM",
    steps: Steps,
    rule: Rule,
    run: Run,
    log_likelihood: float,
    log_joint: float,
) -> bool:
    """Record the E-step of a run, or turn back; whether the run wants an M-step."""
    if not run.log_joints:
        check_possible(log_joint)
    lowest = run.log_joints[-1] if run.log_joints else -math.inf
    if not lowest <= log_joint < math.inf:
        fallback = run.extrapolation.retreat()
        if fallback is not None:
            run.next_params = fallback
            return False
    if log_joint == math.inf:
        run.status, run.reasons = Status.COLLAPSED, steps.infinite(run.next_params)
    elif log_joint < lowest and steps.at_bounds(run.next_params):
        # An M-step that a floor cuts short need not be one up.
        run.status = Status.CONVERGED
    else:
        run.record(log_likelihood, log_joint, options.keep_weights)
        run.reasons = steps.runaways(run.first, run.params)
        if run.reasons:
            # As large as the log-joint is there, its rounding may make it fall.
            run.status = Status.COLLAPSED
            return False
        _check_rise(run, _ROUNDING[steps.dtype])
        if rule.has_arrived(steps, run):
            run.status = Status.CONVERGED
        elif len(run.log_joints) > options.num_iters:
            run.status = Status.MAX_ITERS
    return run.status is None


def choose_next(steps: Steps, rule: Rule, update: Update) -> None:
    """Choose where a run goes next, by the M-step from where it is."""
    run, updated, failure = update
    run.failure = failure
    if rule.has_converged(steps, run, updated):
        run.status = Status.CONVERGED
    run.next_params = run.extrapolation.after(run.params, updated)


def _check_rise(run: Run, rounding: float) -> None:
    """Raise a FallingLikelihoodError if an EM step lowered the log-joint."""
    if run.rise < -rounding or math.isnan(run.rise):
        before, now = run.log_joints[-2:]
        raise FallingLikelihoodError(
            f"the log-joint fell from {before!r} to {now!r} in an EM iteration, which "
            "EM cannot do: if a component of your own has a closed_form or an M-step, "
            "look for the mistake there; else please report it, with model and data"
        )


def set_final_status(steps: Steps, run: Run) -> None:
    """Say of a run that has ended at a floor of a scale, or with a failed M-step."""
    if run.status not in (Status.CONVERGED, Status.MAX_ITERS):
        return
    run.reasons = steps.at_bounds(run.params)
    if run.reasons:
        run.status = Status.COLLAPSED
    elif run.failure is not None:
        run.status, run.reasons = run.failure.status, (run.failure.sentence,)


def annealed_starts(
    options: "EM", steps: Steps, starts: Sequence[Params]
) -> list[Params]:
    """Where the annealed iterations lead from these starts."""
    sets = list(starts)
    pairs = schedule(options.inverse_temperatures, options.prior_multipliers)
    if not pairs:
        return sets
    kept, done = stage("annealed EM", lambda: (pairs, starts, steps.about)), 0
    if kept.state is not None:
        done, sets = kept.state["done"], list(kept.state["sets"])
        resuming.restore(steps, (), kept.state)
    for done, (beta, multiplier) in enumerate(pairs[done:], done + 1):
        joints = steps.expect(sets, beta)[1]
        # What is impossible ends where it begins, when it is led on.
        rows = [i for i, log_joint in enumerate(joints) if math.isfinite(log_joint)]
        updates = steps.maximise(sets, rows, multiplier) if rows else []
        moved = dict(zip(rows, updates))
        sets = [moved.get(i, values) for i, values in enumerate(sets)]
        if beta < 1:
            ends = zip(sets, starts)
            sets = [with_share_of_start(*each, steps.transforms) for each in ends]
        now = {"done": done, "sets": tuple(sets)}
        kept.give = partial(resuming.state_of, steps, (), **now)
        kept.note()
    kept.end()
    return sets
