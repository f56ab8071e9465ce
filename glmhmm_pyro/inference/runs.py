"""One start of a fit: where it is on its way, and how it went."""

import math
from dataclasses import dataclass, field

import numpy as np

from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.status import Status


@dataclass
class Run:
    """One start of a fit on its way.

    Attributes:
        params: values of the sites at the last evaluation.
        log_likelihoods: marginal log-likelihood at every iteration, nats.
        log_joints: the same plus the log prior density.
        weights: ``params`` at every iteration, if asked for.
        status: how it ended.
        reasons: sentences about parameters that ran away.
        first: values of the sites at the start.
        ahead: values that the next evaluation is for.
    """

    params: Params
    log_likelihoods: list[float] = field(default_factory=list)
    log_joints: list[float] = field(default_factory=list)
    weights: list[Params] = field(default_factory=list)
    status: Status | None = None
    reasons: tuple[str, ...] = ()
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
    def rise(self) -> float:
        """Change of the log-joint in the last iteration, relative to its size."""
        if len(self.log_joints) < 2:
            return math.inf
        before, now = self.log_joints[-2:]
        return (now - before) / max(abs(before), 1.0)


@dataclass(frozen=True)
class Restart:
    """How one start of a fit went.

    Attributes:
        log_likelihoods: marginal log-likelihood at every iteration, nats.
        log_joints: the same plus the log prior density.
        status: how it ended.
    """

    log_likelihoods: np.ndarray
    log_joints: np.ndarray
    status: Status
