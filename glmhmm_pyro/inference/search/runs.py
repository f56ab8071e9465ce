"""One start of a fit: where it is on its way, and how it went."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.status import Status

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
        )


@dataclass(frozen=True)
class Restart:
    """How one start of a fit went.

    Attributes:
        log_likelihoods: marginal log-likelihood at every iteration, nats.
        log_joints: the same plus the log prior density.
        status: how it ended.
        kind: how the start was made; that of a kick begins with ``"kick"``.
    """

    log_likelihoods: np.ndarray
    log_joints: np.ndarray
    status: Status
    kind: str = "start"

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
