"""Runs from the starts of a fit, what they need of a method, and what they find.

A start that fails ends with its error, and the others go on. Two runs may end at the
same log-joint with different states, and two runs with very different log-joints may
lead to one solution; solutions are told apart by the states that they decode.
:class:`Findings` are what an inference method returns; ``gh.fit`` makes a fit of them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from torch import Tensor

from glmhmm_pyro.arguments import suggests_all_names
from glmhmm_pyro.inference.draws.alignment import decodings, similarity
from glmhmm_pyro.inference.draws.estimate import Estimate
from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.optim import LBFGSOptions

# What the kind of a start begins with that is no independent one.
KICK = "kick"

# Numerical errors, which may concern one start alone.
FAILURES = (ValueError, RuntimeError, ArithmeticError)


@dataclass(eq=False)
class Run:
    """The run from one start of a fit.

    Attributes:
        params: values of the sites at the last evaluation.
        log_likelihoods: marginal log-likelihood at every iteration, nats.
        log_joints: the same plus the log prior density.
        weights: ``params`` at every iteration, if asked for.
        status: how it ended.
        reasons: sentences about parameters that diverge, or the error.
        kind: how its start was made.
        merged_into: the run that it was pruned in favour of, if it was.
        first: values of the sites at the start.
        next_params: values that the next evaluation is for.
        extrapolation: how the method chooses the next values from the path so far.
        failure: how the last M-step failed, if it did.
        error: the error that ended it, if one did.
        pause: number of evaluations at which it pauses.
    """

    params: Params
    log_likelihoods: list[float] = field(default_factory=list)
    log_joints: list[float] = field(default_factory=list)
    weights: list[Params] = field(default_factory=list)
    status: Status | None = None
    reasons: tuple[str, ...] = ()
    kind: str = "start"
    merged_into: "Run | None" = None
    extrapolation: Any = None
    failure: Any = None
    error: Exception | None = None
    pause: float = math.inf
    first: Params = field(init=False)
    next_params: Params = field(init=False)

    def __post_init__(self) -> None:
        self.first = self.next_params = self.params

    def record(self, log_likelihood: float, log_joint: float, keep: bool) -> None:
        """Append an evaluation at ``next_params``, which become ``params``."""
        self.params = self.next_params
        self.log_likelihoods.append(log_likelihood)
        self.log_joints.append(log_joint)
        if keep:
            self.weights.append(self.params)

    def fail(self, error: Exception) -> None:
        """End with an error; the log-joint is -inf if nothing was evaluated."""
        self.status, self.error = Status.START_FAILED, error
        self.reasons = (str(error) or type(error).__name__,)
        if not self.log_joints:
            self.record(-math.inf, -math.inf, keep=False)

    @property
    def goes_on(self) -> bool:
        """Whether it has neither ended nor paused."""
        return self.status is None and len(self.log_joints) < self.pause

    @property
    def rise(self) -> float:
        """Change of the log-joint in the last iteration, relative to its size."""
        if len(self.log_joints) < 2:
            return math.inf
        before, now = self.log_joints[-2:]
        return (now - before) / max(abs(before), 1.0)

    @property
    def end(self) -> "Run":
        """The run that this one was merged into, directly or not, or itself."""
        return self if self.merged_into is None else self.merged_into.end

    @property
    def restart(self) -> "Restart":
        """The record of the run that a fit keeps."""
        return Restart(
            np.array(self.log_likelihoods),
            np.array(self.log_joints),
            self.status or Status.INTERRUPTED,
            self.kind,
            "; ".join(self.reasons) if self.status is Status.START_FAILED else "",
        )


@dataclass(frozen=True)
class Restart:
    """The record of the run from one start of a fit.

    Attributes:
        log_likelihoods: marginal log-likelihood at every iteration, nats.
        log_joints: the same plus the log prior density.
        status: how it ended.
        kind: how the start was made; that of a kick begins with ``"kick"``.
        reason: the error that ended it, if one did.
    """

    log_likelihoods: np.ndarray
    log_joints: np.ndarray
    status: Status
    kind: str = "start"
    reason: str = ""

    @property
    def is_kick(self) -> bool:
        """Whether it started from the end of another run."""
        return self.kind.startswith(KICK)


class Engine(Protocol):
    """A method that advances runs, a record of options: :class:`EM`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def tol(self) -> float:
        """Tolerance at which a run has converged."""

    @property
    def num_iters(self) -> int:
        """Largest number of iterations of a run."""

    @property
    def m_step(self) -> LBFGSOptions | None:
        """Options of the M-step, if the user gave any."""

    def annealed(self, steps: Any, runs: Sequence[Run]) -> list[Run]:
        """The runs after the annealed iterations."""

    def advance(
        self,
        steps: Any,
        runs: Sequence[Run],
        most: int | None = None,
        callback: Callable[[int, Sequence[Run]], None] | None = None,
    ) -> None:
        """Iterate the runs that have not ended, at most ``most`` times."""


def attempt(run: Run, call: Callable[[], Any]) -> bool:
    """Whether a call for one run succeeds; if not, the run ends with its error."""
    try:
        call()
    except FAILURES as error:
        run.fail(error)
        return False
    return True


def raise_if_all_failed(runs: Sequence[Run]) -> None:
    """Raise the error of the first failed run if all runs failed.

    Pruned runs do not count.
    """
    ends = [run.error for run in runs if run.status is not Status.PRUNED]
    errors = [error for error in ends if error is not None]
    if errors and len(errors) == len(ends):
        raise errors[0]


@dataclass(frozen=True)
class Solution:
    """Runs that decode the same states, up to their numbering.

    Attributes:
        params: values of the sites at the end of the best of these runs.
        log_likelihood: marginal log-likelihood there, nats.
        log_joint: the same plus the log prior density.
        status: how that run ended.
        starts: numbers, in ``Fit.restarts``, of the independent starts that led here;
            a pruned one counts with the run that it was merged into.
        kicks: numbers of the kicks that led here.
    """

    params: Params
    log_likelihood: float
    log_joint: float
    status: Status
    starts: tuple[int, ...] = ()
    kicks: tuple[int, ...] = ()


# Largest difference of the log-joints, in nats, of ends that agree.
AGREEMENT = 0.1

# Least correlation over time of every state's probability with its match for two
# parameter sets to decode the same states.
SAME = 0.95

# Statuses of runs that were ended early, and with them of those that found no maximum,
# however high their density rose.
_GIVEN_UP = (Status.PRUNED, Status.START_FAILED)
_LAST = (*_GIVEN_UP, Status.COLLAPSED, Status.UNBOUNDED)


def ranked(runs: Sequence[Run]) -> list[int]:
    """Numbers of the runs, best first; pruned, unbounded and failed ones come last."""

    def place(number: int) -> tuple[bool, bool, float]:
        run = runs[number]
        has_failed = run.status is Status.START_FAILED
        return has_failed, run.status in _LAST, -run.log_joints[-1]

    return sorted(range(len(runs)), key=place)


def surviving(runs: Sequence[Run]) -> list[Run]:
    """The runs that neither failed nor were pruned, best first."""
    statuses = (None, Status.CONVERGED, Status.MAX_ITERS)
    heads = [run for run in runs if run.status in statuses]
    return sorted(heads, key=lambda run: -run.log_joints[-1])


def solutions_of(program: Program, runs: Sequence[Run]) -> tuple[Solution, ...]:
    """The distinct solutions of runs that have ended, best first."""
    heads = [runs[i] for i in ranked(runs)]
    heads = [r for r in heads if r.merged_into is None and r.status not in _GIVEN_UP]
    alone = len(heads) == 1
    decoded = [()] if alone else decodings(program, [run.params for run in heads])
    groups: list[list[int]] = []
    for i, run in enumerate(heads):
        for group in groups:
            first = group[0]
            gap = abs(heads[first].log_joints[-1] - run.log_joints[-1])
            if gap > AGREEMENT:
                continue
            if similarity(decoded[first], decoded[i], program.ranks) >= SAME:
                group.append(i)
                break
        else:
            groups.append([i])
    return tuple(_solution(runs, [heads[i] for i in group]) for group in groups)


def _solution(runs: Sequence[Run], ends: list[Run]) -> Solution:
    """The solution in which these runs ended, best first."""
    led = [i for i, run in enumerate(runs) if any(run.end is end for end in ends)]
    head, restarts = ends[0], {i: runs[i].restart for i in led}
    return Solution(
        params=head.params,
        log_likelihood=head.log_likelihoods[-1],
        log_joint=head.log_joints[-1],
        status=head.restart.status,
        starts=tuple(i for i in led if not restarts[i].is_kick),
        kicks=tuple(i for i in led if restarts[i].is_kick),
    )


Found = TypeVar("Found", bound="Findings")


@suggests_all_names
@dataclass(frozen=True, kw_only=True)
class Findings:
    """The results of an inference method: parameters, history, and draws if any.

    Attributes:
        method: name of the inference method.
        params: values of the sites by name, reference rows left out. Where there is a
            posterior they are the mean of the draws; or, as a note says, the draw of
            the highest log-joint, if the data are less probable at the mean than on
            average over the draws, as with products of sites or several modes.
        log_likelihood: marginal log-likelihood of the emissions at ``params``, nats.
            Where weights vary by a law, EM and MAP integrate these out as well, which
            makes it the evidence; of a fit with draws it is that at their mean.
        log_joint: log-likelihood plus log prior density.
        status: how the method ended.
        restarts: all starts, in their order.
        best: number of the start whose results these are.
        weights: parameters at every iteration of the best start, if they were kept.
        unbounded: sentences about weights without a finite maximum.
        posterior: draws of the parameters, if the method has any.
        notes: further sentences on how the method ended.
        solutions: the distinct solutions that the starts led to, best first; they
            differ in the states that they decode.
        rounds_without_gain: rounds of kicks since the best solution was found.
    """

    method: str = "em"
    params: dict[str, Tensor]
    log_likelihood: float
    log_joint: float
    status: Status
    restarts: tuple[Restart, ...]
    best: int
    weights: tuple[dict[str, Tensor], ...] = ()
    unbounded: tuple[str, ...] = ()
    posterior: Posterior | None = None
    notes: tuple[str, ...] = ()
    solutions: tuple[Solution, ...] = ()
    rounds_without_gain: int = 0

    def at(self: Found, point: Estimate, **changes: Any) -> Found:
        """These findings at a point estimate made of draws, with its notes added."""
        notes = (*changes.pop("notes", self.notes), *point.notes)
        return replace(
            self,
            params=point.params,
            log_likelihood=point.log_likelihood,
            log_joint=point.log_joint,
            notes=notes,
            **changes,
        )


def best_of(
    program: Program, runs: list[Run], method: str, rounds_without_gain: int = 0
) -> Findings:
    """Findings of the best run, with the histories of all.

    Args:
        program: the model with its data.
        runs: all starts, in their order.
        method: name of the inference method.
        rounds_without_gain: rounds of kicks since the best was found.
    """
    if not runs:
        raise KeyboardInterrupt("interrupted before the first evaluation")
    best = ranked(runs)[0]
    kept = runs[best]
    errors = [run.error for run in runs if run.error is not None]
    if errors and kept.status in _GIVEN_UP:
        raise errors[0]
    found = Findings(
        params=kept.params,
        log_likelihood=kept.log_likelihoods[-1],
        log_joint=kept.log_joints[-1],
        status=kept.status or Status.INTERRUPTED,
        restarts=tuple(run.restart for run in runs),
        best=best,
        method=method,
        weights=tuple(kept.weights),
        unbounded=kept.reasons,
        solutions=solutions_of(program, runs),
        rounds_without_gain=rounds_without_gain,
    )
    return _with_unbounded_weights(found, program)


def _with_unbounded_weights(found: Findings, program: Program) -> Findings:
    """Set the status ``UNBOUNDED`` if weights have no finite maximum."""
    final = (Status.INTERRUPTED, Status.COLLAPSED, Status.M_STEP_FAILED)
    if found.status in final:
        return found
    sentences = program.unbounded(found.params)
    if not sentences:
        return found
    best = tuple(replace(s, status=Status.UNBOUNDED) for s in found.solutions[:1])
    return replace(
        found,
        status=Status.UNBOUNDED,
        unbounded=sentences,
        solutions=best + found.solutions[1:],
    )
