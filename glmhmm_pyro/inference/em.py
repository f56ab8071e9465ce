"""Expectation-maximisation: exact E-steps, L-BFGS or closed-form M-steps.

EM alternates the posterior of the states at the present parameters with the parameters
that maximise the expected complete-data log-joint (Dempster, Laird & Rubin 1977; for
input-driven transitions Escola et al. 2011 and Calhoun, Pillow & Murthy
2019). Several parameter sets (restarts) advance together.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from glmhmm_pyro.chain import ExpectedCounts
from glmhmm_pyro.inference.acceleration import Extrapolation
from glmhmm_pyro.inference.blocks import Params
from glmhmm_pyro.inference.m_step import MStep
from glmhmm_pyro.inference.status import FallingLikelihoodError, Status
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.optim import LBFGSOptions
from glmhmm_pyro.sequences import Sequences

# A fall of the log-joint below this, relative to its size, is rounding.
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-6}

# Labels cannot be more probable than 1: above this, in nats, nothing is to be gained by
# weights that grow for ever.
NOTHING_LEFT = 1e-3


@dataclass
class Run:
    """One start of EM on its way.

    Attributes:
        params: values of the sites at the last E-step.
        log_likelihoods: marginal log-likelihood at every E-step, nats.
        log_joints: the same plus the log prior density.
        weights: ``params`` at every E-step, if asked for.
        status: how it ended.
        ahead: values that the next E-step is for.
    """

    params: Params
    log_likelihoods: list[float] = field(default_factory=list)
    log_joints: list[float] = field(default_factory=list)
    weights: list[Params] = field(default_factory=list)
    status: Status | None = None
    ahead: Params = field(init=False)

    def __post_init__(self) -> None:
        self.ahead = self.params

    def record(self, log_likelihood: float, log_joint: float, keep: bool) -> None:
        """Note an E-step; the run has arrived where it was heading."""
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
class EM:
    """Expectation-maximisation and its options.

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
    """

    num_iters: int = 1000
    tol: float = 1e-9
    accelerate: bool = True
    m_step: LBFGSOptions | None = None
    keep_weights: bool = False

    def __post_init__(self) -> None:
        if self.num_iters < 1:
            raise ValueError(f"num_iters must be at least 1, got {self.num_iters}")
        if not self.tol >= 0:
            raise ValueError(f"tol must be at least 0, got {self.tol}")

    def run(
        self,
        model: GLMHMM,
        data: Sequences,
        starts: Sequence[Params],
        callback: Callable[[int, Sequence[Run]], None] | None = None,
    ) -> list[Run]:
        """EM from every start, in lockstep.

        Args:
            model: bound to the data.
            starts: values of all sites, for every start.
            callback: called after every E-step with its number and all runs.
        """
        march = _March(self, model, data, starts)
        try:
            for number in itertools.count():
                if not march.advance():
                    break
                if callback is not None:
                    callback(number, march.runs)
        except KeyboardInterrupt:
            for run in march.runs:
                run.status = run.status or Status.INTERRUPTED
        return march.runs


class _March:
    """All runs of one call, advanced together."""

    def __init__(
        self, em: EM, model: GLMHMM, data: Sequences, starts: Sequence[Params]
    ):
        self.em, self.model, self.data = em, model, data
        self.runs = [Run(params) for params in starts]
        self.rounding = ROUNDING[data.dtype]
        self.labels = not data.emissions.is_floating_point()
        self.counts: ExpectedCounts | None = None
        self.m_steps = {
            name: MStep(component, data, em.m_step)
            for name, component in model.components.items()
        }
        transforms: dict[str, Any] = {}
        for step in self.m_steps.values():
            transforms |= step.blocks.transforms
        self.ways = [Extrapolation(transforms, em.accelerate) for _ in starts]

    def advance(self) -> bool:
        """One E-step and one M-step of all runs that go on; False if none does."""
        active = [i for i, run in enumerate(self.runs) if run.status is None]
        if not active:
            return False
        params = stack([self.runs[i].ahead for i in active])
        counts, log_likelihoods, log_joints = e_step(
            self.model, self.data, params, self._used_counts(len(active))
        )
        self.counts = counts
        going = [
            position
            for position, i in enumerate(active)
            if self._arrive(i, log_likelihoods[position], log_joints[position])
        ]
        if going:
            counts, params = _select(counts, going), _subset(params, going)
            updated = m_step(self.m_steps, counts, params)
            for row, position in enumerate(going):
                self._leave(active[position], {n: v[row] for n, v in updated.items()})
        return True

    def _used_counts(self, sets: int) -> ExpectedCounts | None:
        """The last E-step's counts, which nothing needs any more, if they fit."""
        if self.counts is None or self.data.dtype != torch.float64:
            return None
        return self.counts if len(self.counts.emission) == sets else None

    def _arrive(self, i: int, log_likelihood: float, log_joint: float) -> bool:
        """Record the E-step of a run, or turn back; whether the run wants an M-step."""
        run = self.runs[i]
        lowest = run.log_joints[-1] if run.log_joints else -math.inf
        if not log_joint >= lowest:
            fallback = self.ways[i].retreat()
            if fallback is not None:
                run.ahead = fallback
                return False
        run.record(log_likelihood, log_joint, self.em.keep_weights)
        if run.rise < -self.rounding or math.isnan(run.rise):
            raise FallingLikelihoodError(
                f"the log-joint fell from {lowest!r} to {log_joint!r} in an EM "
                "iteration, which EM cannot do: please report it, with the model and "
                "the data"
            )
        if self.labels and log_joint == log_likelihood > -NOTHING_LEFT:
            run.status = Status.CONVERGED
        elif len(run.log_joints) > self.em.num_iters:
            run.status = Status.MAX_ITERS
        return run.status is None

    def _leave(self, i: int, updated: Params) -> None:
        """Decide after its M-step where a run goes next, or that it stays."""
        run, way = self.runs[i], self.ways[i]
        if run.rise <= self.em.tol:
            shrinks = way.rate(run.params, updated) ** 2
            if run.rise <= 0 or (
                shrinks < 1 and run.rise <= self.em.tol * (1 - shrinks)
            ):
                run.status = Status.CONVERGED
                return
        run.ahead = way.after(run.params, updated)


def e_step(
    model: GLMHMM,
    data: Sequences,
    params: Params,
    out: ExpectedCounts | None = None,
) -> tuple[ExpectedCounts, list[float], list[float]]:
    """Expected counts, log-likelihoods and log-joints of parameter sets.

    Args:
        params: values with a leading axis of sets.
        out: counts of an earlier E-step on as many sets, whose memory is used again.
    """
    body = poutine.condition(model.hidden_markov, data=_as_taken(model, params))
    with torch.no_grad():
        trace = poutine.trace(body).get_trace(data)
        counts = trace.nodes["_RETURN"]["value"].expected_counts(data.emissions, out)
        log_prior: Tensor | float = 0.0
        for site in trace.nodes.values():
            if site["type"] == "sample":
                log_prior = log_prior + site["fn"].log_prob(site["value"])
    sets = len(next(iter(params.values()))) if params else 1
    likelihoods = counts.log_marginal.sum(-1).expand(sets)
    joints = (likelihoods + log_prior).expand(sets)
    if not torch.isfinite(joints).all():
        raise ValueError(
            "the emissions must be possible under the start of EM, their log-joint is "
            f"{joints.min().item()}; give finite covariates of moderate size "
            "(standardise them) or other starting weights"
        )
    return _with_sets(counts, sets), likelihoods.tolist(), joints.tolist()


def m_step(m_steps: dict[str, MStep], counts: ExpectedCounts, params: Params) -> Params:
    """Parameters that maximise the expected log-joint, component by component."""
    updated: Params = {}
    for name, step in m_steps.items():
        own = {n: v for n, v in params.items() if n.startswith(name + ".")}
        updated.update(step(getattr(counts, COUNTS_OF[name]), own))
    return updated


COUNTS_OF = {
    "initial": "initial",
    "transitions": "transition",
    "emissions": "emission",
}


def stack(sets: Sequence[Params]) -> Params:
    """Values with a leading axis of sets."""
    return {name: torch.stack([s[name] for s in sets]) for name in sets[0]}


def _subset(params: Params, sets: list[int]) -> Params:
    return {name: value[sets] for name, value in params.items()}


def _select(counts: ExpectedCounts, sets: list[int]) -> ExpectedCounts:
    return ExpectedCounts(*(value[sets] for value in counts))


def _with_sets(counts: ExpectedCounts, sets: int) -> ExpectedCounts:
    """Counts whose leading axis is that of the sets, even where all sets share them."""
    axes = {"log_marginal": 1, "initial": 2, "transition": 3, "emission": 2}
    return ExpectedCounts(
        **{
            name: getattr(counts, name).expand(
                (sets,) + getattr(counts, name).shape[-count:]
            )
            for name, count in axes.items()
        }
    )


def _as_taken(model: GLMHMM, params: Params) -> Params:
    """The sets as the components take them; an unbatched one takes a single set."""
    taken = {}
    for name, value in params.items():
        component = model.components[name.split(".")[0]]
        taken[name] = value if component.batched else value.squeeze(0)
    return taken
