"""Expectation-maximisation: exact E-steps, L-BFGS or closed-form M-steps.

EM alternates the posterior of the states at the present parameters with the parameters
that maximise the expected complete-data log-joint (Dempster, Laird & Rubin 1977; for
input-driven transitions Escola et al. 2011, eqs. 3.1-3.9, and Calhoun, Pillow & Murthy
2019). Several parameter sets (restarts) advance together.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from pyro import poutine
from torch import Tensor

from glmhmm_pyro.chain import ExpectedCounts
from glmhmm_pyro.inference.blocks import Params
from glmhmm_pyro.inference.m_step import MStep
from glmhmm_pyro.inference.status import FallingLikelihoodError, Status
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.optim import LBFGSOptions
from glmhmm_pyro.sequences import Sequences

logger = logging.getLogger(__name__)

# A fall of the log-joint below this, relative to its size, is rounding.
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-6}


@dataclass
class Run:
    """One start of EM on its way.

    Attributes:
        params: values of the sites at the last E-step.
        log_likelihoods: marginal log-likelihood at every E-step, nats.
        log_joints: the same plus the log prior density.
        weights: ``params`` at every E-step, if asked for.
        status: how it ended.
    """

    params: Params
    log_likelihoods: list[float] = field(default_factory=list)
    log_joints: list[float] = field(default_factory=list)
    weights: list[Params] = field(default_factory=list)
    status: Status | None = None

    def record(self, log_likelihood: float, log_joint: float, keep: bool) -> None:
        """Append one E-step."""
        self.log_likelihoods.append(log_likelihood)
        self.log_joints.append(log_joint)
        if keep:
            self.weights.append(self.params)


@dataclass(frozen=True)
class EM:
    """Expectation-maximisation and its options.

    Args:
        num_iters: largest number of EM iterations.
        tol: stop when the log-joint changes by less than this, relative to its size.
        m_step: options of the M-step's L-BFGS, for a plain run of it on the weights;
            by default it works in coordinates of its own and ends when nearly all is
            gained that an M-step can gain.
        keep_weights: whether the history keeps the parameters of every iteration.
    """

    num_iters: int = 1000
    tol: float = 1e-8
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
            callback: called after every E-step with the iteration and all runs.
        """
        runs = [Run(params) for params in starts]
        m_steps = {
            name: MStep(component, data, self.m_step)
            for name, component in model.components.items()
        }
        try:
            for iteration in range(self.num_iters + 1):
                active = [run for run in runs if run.status is None]
                if not active:
                    break
                self._iterate(model, data, active, m_steps, iteration)
                if callback is not None:
                    callback(iteration, runs)
        except KeyboardInterrupt:
            for run in runs:
                run.status = run.status or Status.INTERRUPTED
        return runs

    def _iterate(
        self,
        model: GLMHMM,
        data: Sequences,
        active: list[Run],
        m_steps: dict[str, MStep],
        iteration: int,
    ) -> None:
        """One E-step, the stopping rule, and one M-step for the runs that go on."""
        params = stack([run.params for run in active])
        counts, log_likelihoods, log_joints = e_step(model, data, params)
        for run, likelihood, joint in zip(active, log_likelihoods, log_joints):
            run.record(likelihood, joint, self.keep_weights)
            run.status = self._status(run, iteration, ROUNDING[data.dtype])
        going = [i for i, run in enumerate(active) if run.status is None]
        if not going:
            return
        updated = m_step(m_steps, _select(counts, going), _subset(params, going))
        for position, i in enumerate(going):
            active[i].params = {n: v[position] for n, v in updated.items()}

    def _status(self, run: Run, iteration: int, rounding: float) -> Status | None:
        """Whether a run ends here; an error if its log-joint fell."""
        if iteration:
            before, now = run.log_joints[-2:]
            size = max(abs(before), 1.0)
            if not now - before >= -rounding * size:
                raise FallingLikelihoodError(
                    f"the log-joint fell from {before!r} to {now!r} in EM iteration "
                    f"{iteration}; an EM step cannot do that: please report it, with "
                    "the model and the data"
                )
            if now - before <= self.tol * size:
                return Status.CONVERGED
        return Status.MAX_ITERS if iteration == self.num_iters else None


def e_step(
    model: GLMHMM, data: Sequences, params: Params
) -> tuple[ExpectedCounts, list[float], list[float]]:
    """Expected counts, log-likelihoods and log-joints of parameter sets.

    Args:
        params: values with a leading axis of sets.
    """
    body = poutine.condition(model.hidden_markov, data=_as_taken(model, params))
    with torch.no_grad():
        trace = poutine.trace(body).get_trace(data)
        counts = trace.nodes["_RETURN"]["value"].expected_counts(data.emissions)
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
