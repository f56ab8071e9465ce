"""What EM does with a run after an E-step, after an M-step, and at its end.

E- and M-steps are those of a program; extrapolation
(:mod:`~glmhmm_pyro.inference.em.acceleration`) lengthens them. A run whose density
grows without bound, or whose M-step fails, ends with a status that says so.
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
from glmhmm_pyro.inference.search.runs import FAILURES, Run, attempt
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
        """Key of these steps in a checkpoint."""

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
        """M-steps for these rows of the sets of the last ``expect``."""

    def failure(self, number: int) -> Failure | None:
        """How M-step ``number`` of the last ``maximise`` failed, if it did."""

    def runaways(self, first: Params, now: Params) -> tuple[str, ...]:
        """Sentences about scales that diverge to 0 or infinity."""

    def at_bounds(self, params: Params) -> tuple[str, ...]:
        """Sentences about scales that have reached their lower bound."""

    def infinite(self, params: Params) -> tuple[str, ...]:
        """Sentences about priors whose density is infinite at these values."""


class Rule(Protocol):
    """Convergence rule of a run of EM."""

    def has_arrived(self, steps: Steps, run: Run) -> bool:
        """Whether the run has converged, judged after an E-step."""

    def has_converged(self, steps: Steps, run: Run, updated: Params) -> bool:
        """Whether the run has converged, judged by the values after the M-step."""


def resumed(options: "EM", steps: Steps, runs: Sequence[Run], rule: Rule) -> LongLoop:
    """The checkpointed loop of these runs, restored from an earlier call if any."""
    give, firsts = partial(resuming.state_of, steps, runs), [run.first for run in runs]
    kept = stage("EM", lambda: (options, rule, steps.about, firsts, give()))
    kept.give = give
    if kept.state is not None:
        resuming.restore(steps, runs, kept.state)
    return kept


class SmallRises(NamedTuple):
    """EM's rule: converged if all further iterations hardly raise the log-joint.

    If EM steps shrink by a factor r, they raise it by r^2 of the last rise, then by
    r^4, and so on: by r^2 / (1 - r^2) of the last rise in all.

    Attributes:
        tol: largest expected further rise, relative to the size of the log-joint.
    """

    tol: float

    def has_arrived(self, steps: Steps, run: Run) -> bool:
        """Whether the labels are predicted almost with certainty."""
        likelihood, joint = run.log_likelihoods[-1], run.log_joints[-1]
        return steps.is_discrete and joint == likelihood > -_NOTHING_LEFT

    def has_converged(self, steps: Steps, run: Run, updated: Params) -> bool:
        """Whether the expected further rise is below the tolerance."""
        tol = self._tolerance(steps, run)
        if run.rise > tol:
            return False
        shrinks = run.extrapolation.rate(run.params, updated) ** 2
        return run.rise <= 0 or (shrinks < 1 and run.rise <= tol * (1 - shrinks))

    def _tolerance(self, steps: Steps, run: Run) -> float:
        """``tol``; a looser one at the lower bound of a scale, no maximum."""
        is_near = run.rise <= _NEAR_A_FLOOR and steps.at_bounds(run.params)
        return max(self.tol, _NEAR_A_FLOOR) if is_near else self.tol


def try_record(options: "EM", steps: Steps, rule: Rule, run: Run, *logs: float) -> bool:
    """As :func:`record_or_retreat`; a run that raises a numerical error ends."""
    try:
        return record_or_retreat(options, steps, rule, run, *logs)
    except FAILURES as error:
        run.fail(error)
        return False


def end_failing(
    steps: Steps, runs: Sequence[Run], call: Callable[[Run], Any], error: Exception
) -> None:
    """After an error of several runs together, end those that fail alone.

    The computation is repeated for each run by itself to find them. Not so if the data
    are spread over ranks, which compute together.

    Args:
        steps: of these runs.
        runs: each that fails ends with the status ``START_FAILED``.
        call: the same computation for one run.
        error: the error of all together.

    Raises:
        ValueError, RuntimeError, ArithmeticError: the error, if none of them fails
            alone, or if the data are spread over ranks.
    """
    ranks = getattr(getattr(steps, "data", None), "ranks", ALONE)
    if ranks is not ALONE or all([attempt(run, partial(call, run)) for run in runs]):
        raise error


class Update(NamedTuple):
    """The result of an M-step for a run: values, and how it failed if it did."""

    run: Run
    params: Params
    failure: Failure | None


def maximised(
    steps: Steps, runs: Sequence[Run], sets: Sequence[Params], rows: list[int]
) -> list[Update]:
    """M-steps of the runs in these rows; runs whose M-step raises an error end."""
    if not rows:
        return []
    try:
        found = steps.maximise(sets, rows)
    except FAILURES as error:
        numbers = {id(runs[row]): row for row in rows}
        end_failing(
            steps,
            [runs[row] for row in rows],
            lambda run: steps.maximise(sets, [numbers[id(run)]]),
            error,
        )
        rest = [row for row in rows if runs[row].status is None]
        return maximised(steps, runs, sets, rest)
    updates = enumerate(zip(rows, found))
    return [Update(runs[row], new, steps.failure(i)) for i, (row, new) in updates]


def record_or_retreat(
    options: "EM",
    steps: Steps,
    rule: Rule,
    run: Run,
    log_likelihood: float,
    log_joint: float,
) -> bool:
    """Record an E-step, or retreat from an extrapolation that lowered the log-joint.

    Returns:
        Whether an M-step is to follow.
    """
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
        # An M-step that a bound limits may lower the log-joint.
        run.status = Status.CONVERGED
    else:
        run.record(log_likelihood, log_joint, options.keep_weights)
        run.reasons = steps.runaways(run.first, run.params)
        if run.reasons:
            # The log-joint is so large there that rounding may lower it.
            run.status = Status.COLLAPSED
            return False
        _check_rise(run, _ROUNDING[steps.dtype])
        if rule.has_arrived(steps, run):
            run.status = Status.CONVERGED
        elif len(run.log_joints) > options.num_iters:
            run.status = Status.MAX_ITERS
    return run.status is None


def choose_next(steps: Steps, rule: Rule, update: Update) -> None:
    """Set the next values of a run from its M-step, and whether it has converged."""
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
    """Set the status of a run that ended at a bound or with a failed M-step."""
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
    """The values after the annealed iterations from these starts."""
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
        # A set without a finite log-joint stays as it is; its run then fails.
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
