"""What starts of a fit come to: runs, the solutions that they lead to, findings.

Two ends with the same log-joint may explain the data by other states, as mirrored ones
do, and two runs may be far apart in log-joint on their way to one solution. What tells
solutions apart is the probability of every state at every step, after the states have
been matched, since their numbers mean nothing. :class:`Findings` are what an inference
method returns, of which ``gh.fit`` makes a fit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from glmhmm_pyro.arguments import suggests_all_names
from glmhmm_pyro.inference.draws.estimate import Estimate
from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.program.batches import sites_at_draws
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.ranks import ALONE, Ranks

# What the kind of a start begins with that is no independent one.
KICK = "kick"


@dataclass(eq=False)
class Run:
    """One start of a fit on its way.

    Attributes:
        params: values of the sites at the last evaluation.
        log_likelihoods: marginal log-likelihood at every iteration, nats.
        log_joints: the same plus the log prior density.
        weights: ``params`` at every iteration, if asked for.
        status: how it ended.
        reasons: sentences about parameters that ran away.
        kind: how its start was made.
        joined: the run that it was pruned in favour of, if it was.
        first: values of the sites at the start.
        ahead: values that the next evaluation is for.
        way: what an engine remembers of the path, to choose where to go next.
        failure: how the last M-step failed, if it did.
        error: what ended it before its time, if anything did.
        pause: number of evaluations at which it waits to be led on.
    """

    params: Params
    log_likelihoods: list[float] = field(default_factory=list)
    log_joints: list[float] = field(default_factory=list)
    weights: list[Params] = field(default_factory=list)
    status: Status | None = None
    reasons: tuple[str, ...] = ()
    kind: str = "start"
    joined: "Run | None" = None
    way: Any = None
    failure: Any = None
    error: Exception | None = None
    pause: float = math.inf
    first: Params = field(init=False)
    ahead: Params = field(init=False)

    def __post_init__(self) -> None:
        self.first = self.ahead = self.params

    def record(self, log_likelihood: float, log_joint: float, keep: bool) -> None:
        """Note an evaluation; the run has arrived where it was heading."""
        self.params = self.ahead
        self.log_likelihoods.append(log_likelihood)
        self.log_joints.append(log_joint)
        if keep:
            self.weights.append(self.params)

    def fail(self, error: Exception) -> None:
        """End by an error, below all others if nothing had been evaluated."""
        self.status, self.error = Status.START_FAILED, error
        self.reasons = (str(error) or type(error).__name__,)
        if not self.log_joints:
            self.record(-math.inf, -math.inf, keep=False)

    @property
    def goes_on(self) -> bool:
        """Whether it has neither ended nor come to its pause."""
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
        """The run that was led on in the place of this one, or itself."""
        return self if self.joined is None else self.joined.end

    @property
    def restart(self) -> "Restart":
        """What a fit keeps of the run."""
        return Restart(
            np.array(self.log_likelihoods),
            np.array(self.log_joints),
            self.status or Status.INTERRUPTED,
            self.kind,
            "; ".join(self.reasons) if self.status is Status.START_FAILED else "",
        )


@dataclass(frozen=True)
class Restart:
    """How one start of a fit went.

    Attributes:
        log_likelihoods: marginal log-likelihood at every iteration, nats.
        log_joints: the same plus the log prior density.
        status: how it ended.
        kind: how the start was made; that of a kick begins with ``"kick"``.
        reason: the error that ended it before its time, if one did.
    """

    log_likelihoods: np.ndarray
    log_joints: np.ndarray
    status: Status
    kind: str = "start"
    reason: str = ""

    @property
    def is_kick(self) -> bool:
        """Whether it set out from where another start had ended."""
        return self.kind.startswith(KICK)


@dataclass(frozen=True)
class Solution:
    """Where starts ended that decode the same states, whatever numbers these have.

    Attributes:
        params: values of the sites at the highest of these ends.
        log_likelihood: marginal log-likelihood there, nats.
        log_joint: the same plus the log prior density.
        status: how that run ended.
        starts: numbers, in ``Fit.restarts``, of the independent starts that led here;
            those that were pruned count with the one that they fell together with.
        kicks: numbers of the kicks that did.
    """

    params: Params
    log_likelihood: float
    log_joint: float
    status: Status
    starts: tuple[int, ...] = ()
    kicks: tuple[int, ...] = ()


# Ends whose log-joints are this close, in nats, are said to agree.
AGREEMENT = 0.1

# Correlation over time of every state's probability with its match, from which two
# parameter sets decode the same states.
SAME = 0.95

# Statuses of runs that found no maximum, however high their density rose.
NO_MAXIMUM = (Status.COLLAPSED, Status.UNBOUNDED)

# Statuses of runs that came to no end of their own.
_GIVEN_UP = (Status.PRUNED, Status.START_FAILED)

# Steps at which states are compared, and the spread below which a state's probability
# counts as constant.
_MOST_STEPS = 20_000
_CONSTANT = 0.005

# Probabilities of the states (steps, states) at every HiddenMarkov site.
Decoding = tuple[np.ndarray, ...]


def decodings(
    program: Program, sets: Sequence[Params], whole: bool = False
) -> list[Decoding]:
    """What parameter sets decode.

    Args:
        program: the model with its data.
        sets: values of all sites, for every set.
        whole: whether all steps are wanted; else there may be a choice of them, the
            same for all sets.
    """
    if not sets:
        return []
    draws = {name: torch.stack([s[name] for s in sets]) for name in sets[0]}
    found: list[Decoding] = []
    for sites in sites_at_draws(program.model, program.data, draws):
        kept = []
        for hidden, value in sites.values():
            with torch.no_grad():
                probs = hidden.smoothed_probs(value).cpu().double().numpy()
            compared = _compared(probs.shape[-2], program.ranks)
            probs = probs.reshape(-1, *probs.shape[-2:])
            kept.append(probs if whole else probs[:, compared])
        found += list(zip(*kept))
    return found


def _compared(num_steps: int, ranks: Ranks) -> np.ndarray:
    """Numbers of the steps, of those here, at which states are compared."""
    total, before = ranks.total(num_steps), ranks.before(num_steps)
    if total <= _MOST_STEPS:
        return np.arange(num_steps)
    rng = np.random.default_rng(total)
    chosen = np.sort(rng.choice(total, _MOST_STEPS, replace=False)) - before
    return chosen[(chosen >= 0) & (chosen < num_steps)]


def similarity(first: Decoding, second: Decoding, ranks: Ranks = ALONE) -> float:
    """Least correlation of a state's probability with that of its match.

    A state that is rarely visited counts as much as any other. Whatever the numbers of
    the states, it is 1 for the same decoding.

    Args:
        first, second: probabilities of the states at the steps of this rank.
        ranks: over which the steps are spread.
    """
    return min(_matched(*pair, ranks) for pair in zip(first, second))


def _matched(first: np.ndarray, second: np.ndarray, ranks: Ranks) -> float:
    number = ranks.total(len(first))
    means = ranks.totals(first.sum(0), second.sum(0))
    moves = [probs - m / number for probs, m in zip((first, second), means)]
    sums = ((m**2).sum(0) for m in moves)
    *squares, products = ranks.totals(*sums, moves[0].T @ moves[1])
    spreads = [np.sqrt(one / number) for one in squares]
    floors = [np.maximum(one, _CONSTANT) for one in spreads]
    correlations = products / number / np.outer(*floors)
    # Where both are constant nothing tells them apart.
    still = [spread < _CONSTANT for spread in spreads]
    correlations[np.ix_(*still)] = 1.0
    return float(correlations[linear_sum_assignment(-correlations)].min())


def ranked(runs: Sequence[Run]) -> list[int]:
    """Numbers of the runs, best first: ends before what was pruned or has no end."""
    last = (*NO_MAXIMUM, *_GIVEN_UP)

    def place(number: int) -> tuple[bool, bool, float]:
        run = runs[number]
        has_failed = run.status is Status.START_FAILED
        return has_failed, run.status in last, -run.log_joints[-1]

    return sorted(range(len(runs)), key=place)


def solutions_of(program: Program, runs: Sequence[Run]) -> tuple[Solution, ...]:
    """The distinct solutions of runs that have ended, best first."""
    heads = [runs[i] for i in ranked(runs)]
    heads = [r for r in heads if r.joined is None and r.status not in _GIVEN_UP]
    alone = len(heads) == 1
    decoded = [()] if alone else decodings(program, [run.params for run in heads])
    groups: list[list[int]] = []
    for i, run in enumerate(heads):
        for group in groups:
            first = group[0]
            apart = abs(heads[first].log_joints[-1] - run.log_joints[-1])
            if apart > AGREEMENT:
                continue
            if similarity(decoded[first], decoded[i], program.ranks) >= SAME:
                group.append(i)
                break
        else:
            groups.append([i])
    return tuple(_solution(runs, [heads[i] for i in group]) for group in groups)


def _solution(runs: Sequence[Run], ends: list[Run]) -> Solution:
    """The solution of which these are the ends."""
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
    """Parameters that a method found, how it came there, draws if it has any.

    Attributes:
        method: name of the inference method.
        params: values of the sites by name, reference rows left out. Where there is a
            posterior they are the mean of the draws; or the draw of the highest
            log-joint, as a note says, where the data are less probable at the mean than
            on average over the draws, as products of sites or several modes make it.
        log_likelihood: marginal log-likelihood of the emissions at ``params``, nats.
        log_joint: log-likelihood plus log prior density.
        status: how the method ended.
        restarts: all starts, in their order; ``best`` is the number of the one kept.
        weights: parameters at every iteration of the best start, if they were kept.
        unbounded: sentences about weights without a finite maximum.
        posterior: draws of the parameters, from methods that have any.
        notes: further sentences on how the method ended.
        solutions: the distinct solutions that the starts led to, best first; told apart
            by the states that they decode.
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
        """These findings at the point that stands for the draws, with its notes."""
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
    """Where the best run ended, with the histories of all.

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
    return _checked(found, program)


def _checked(found: Findings, program: Program) -> Findings:
    """The findings; status UNBOUNDED if weights have no finite maximum."""
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
