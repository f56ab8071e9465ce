"""Ascent of the evidence lower bound: estimates, steps, and when to stop.

.. math:: \\mathrm{ELBO} = E_q[\\log p(y, \\theta) - \\log q(\\theta)] \\le \\log p(y)

The estimates are noisy. They are averaged over windows of steps, and a window counts as
a rise only if its mean is above the best one by more than the noise of both.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import Trace_ELBO
from pyro.poutine import Trace
from torch import Tensor
from tqdm import tqdm

from glmhmm_pyro.inference.journal import stage
from glmhmm_pyro.inference.program.program import Data
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.inference.svi.minibatches import MiniBatches

# Standard errors by which a mean has to be above another to count as higher.
_SIGNIFICANT = 2.0


@dataclass
class Plateau:
    """Tells from the means of windows of a noisy curve when it rises no more.

    Args:
        tol: a smaller rise than this counts as none.
        patience: number of windows without a rise, one after the other, that make a
            plateau.

    Attributes:
        best: highest mean that was clearly above those before it.
        error: standard error of ``best``.
        waited: windows without a rise since then.
        passed: plateaus that have slowed the climb down.

    Example:
        >>> plateau = Plateau(tol=0.1, patience=2)
        >>> [plateau.reached([v - 0.1, v + 0.1]) for v in (1.0, 2.0, 2.0, 2.05)]
        [False, False, False, True]
    """

    tol: float
    patience: int
    best: float = -math.inf
    error: float = 0.0
    waited: int = 0
    passed: int = 0

    def reached(self, window: Sequence[float]) -> bool:
        """Whether the curve has been flat for so long, this window included."""
        mean = float(np.mean(window))
        error = float(np.std(window, ddof=1)) / math.sqrt(len(window))
        noise = _SIGNIFICANT * math.hypot(error, self.error)
        if mean > self.best + max(self.tol, noise):
            self.best, self.error, self.waited = mean, error, 0
        else:
            self.waited += 1
        return self.waited >= self.patience


class TracedELBO(Trace_ELBO):
    """Pyro's estimator, which keeps the traces it is made of.

    Attributes:
        traces: those of model and guide, of every particle of the last estimate.
    """

    def estimate(
        self,
        model: Callable[[Data], Any],
        guide: Callable[[Data], Any],
        data: Data,
    ) -> Tensor:
        """Minus the bound, with its gradient."""
        self.traces: list[tuple[Trace, Trace]] = []
        return self.differentiable_loss(model, guide, data)

    def _get_trace(self, *arguments: Any) -> tuple[Trace, Trace]:
        self.traces.append(super()._get_trace(*arguments))
        return self.traces[-1]

    def parameters(self) -> dict[str, Tensor]:
        """The guide's parameters, unconstrained, by name."""
        return {
            name: site["value"].unconstrained()
            for _, guide in self.traces
            for name, site in guide.nodes.items()
            if site["type"] == "param"
        }

    def not_finite(self) -> str | None:
        """What is not finite in the traces, in words."""
        for trace in (trace for pair in self.traces for trace in pair):
            for name, site in trace.nodes.items():
                if site["type"] != "sample":
                    continue
                if not site["is_observed"] and not site["value"].isfinite().all():
                    return f"the guide's draw of site {name!r}"
                if not torch.as_tensor(site["log_prob_sum"]).isfinite():
                    return f"the log density at site {name!r}"
        return None


@dataclass
class ElboAscent:
    """A guide on its way up the bound, by Adam.

    Args:
        guide: called with a batch's data.
        batches: what the estimates read.
        estimator: Pyro's estimator of the bound.
        learning_rate: of Adam, in the units of the guide's unconstrained parameters.
        gain: from the bound in a fit's own units to that in the user's, for show.

    Attributes:
        history: the bound at every step, nats.
        leaves: the guide's parameters seen so far, unconstrained, by name.
        problem: what was not finite, if anything, in words.
    """

    guide: Callable[[Any], Any]
    batches: MiniBatches
    estimator: TracedELBO
    learning_rate: float
    gain: float = 0.0
    history: list[float] = field(default_factory=list)
    problem: str | None = None

    def __post_init__(self) -> None:
        self.optimiser: torch.optim.Optimizer | None = None
        self.leaves: dict[str, Tensor] = {}
        self.kept: dict[Tensor, Tensor] = {}

    def step(self) -> bool:
        """One step up; whether all was finite. If not, the step before is undone."""
        batch = self.batches.draw()
        loss = self.estimator.estimate(batch.model, self.guide, batch.data)
        leaves = self.estimator.parameters()
        self.leaves |= leaves
        # One tensor may have two names.
        optimiser = self._prepared(list(dict.fromkeys(leaves.values())))
        loss.backward()
        culprit = self._not_finite(loss, leaves)
        if culprit is not None:
            self.problem = f"not finite at step {len(self.history) + 1}: {culprit}"
            self.restore()
            return False
        self.history.append(batch.offset - loss.item())
        self.kept = {leaf: leaf.detach().clone() for leaf in leaves.values()}
        optimiser.step()
        return True

    def restore(self) -> None:
        """Go back to the last parameters whose bound was finite."""
        with torch.no_grad():
            for leaf, value in self.kept.items():
                leaf.copy_(value)

    def slow_down(self, factor: float) -> None:
        """Multiply the learning rate."""
        self.learning_rate *= factor
        for group in self.optimiser.param_groups if self.optimiser else ():
            group["lr"] = self.learning_rate

    def state(self) -> dict[str, Any]:
        """All that further steps follow from, torch's generator included."""
        adam: Any = self.optimiser.state if self.optimiser else {}
        return {
            "leaves": {
                name: _copied_values(leaf) for name, leaf in self.leaves.items()
            },
            "kept": {n: self.kept[p] for n, p in self.leaves.items() if p in self.kept},
            "adam": {
                name: {key: _copied_values(value) for key, value in adam[leaf].items()}
                for name, leaf in self.leaves.items()
            },
            "learning_rate": self.learning_rate,
            "history": np.array(self.history),
            "problem": self.problem,
            "random": torch.get_rng_state(),
        }

    def go_on_from(self, state: dict[str, Any]) -> bool:
        """Be where an earlier ascent of the same guide was; see :meth:`state`.

        Not so, and all is as before, where the guide does not show its parameters in
        every estimate.
        """
        with torch.random.fork_rng(devices=[]):
            batch = self.batches.draw()
            self.estimator.estimate(batch.model, self.guide, batch.data)
        leaves = self.estimator.parameters()
        if leaves.keys() != state["leaves"].keys():
            return False
        self.leaves = leaves
        self.learning_rate, self.problem = state["learning_rate"], state["problem"]
        self.history = state["history"].tolist()
        optimiser = self._prepared(list(dict.fromkeys(self.leaves.values())))
        for name, leaf in self.leaves.items():
            optimiser.state[leaf] = {
                key: _copied_values(value) for key, value in state["adam"][name].items()
            }
            if name in state["kept"]:
                self.kept[leaf] = state["kept"][name]
            with torch.no_grad():
                leaf.copy_(state["leaves"][name])
        torch.set_rng_state(state["random"])
        return True

    def _prepared(self, leaves: list[Tensor]) -> torch.optim.Optimizer:
        """Adam over all parameters seen so far, without gradients."""
        if self.optimiser is None:
            self.optimiser = torch.optim.Adam(leaves, lr=self.learning_rate)
        known = {id(p) for g in self.optimiser.param_groups for p in g["params"]}
        new = [leaf for leaf in leaves if id(leaf) not in known]
        if new:
            self.optimiser.add_param_group({"params": new, "lr": self.learning_rate})
        self.optimiser.zero_grad()
        return self.optimiser

    def _not_finite(self, loss: Tensor, leaves: dict[str, Tensor]) -> str | None:
        if not loss.isfinite():
            return self.estimator.not_finite() or "the bound"
        for name, leaf in leaves.items():
            if leaf.grad is not None and not leaf.grad.isfinite().all():
                return f"the gradient of the guide's parameter {name!r}"
        return None


@dataclass(frozen=True)
class StepSchedule:
    """How long to climb, and how to slow down.

    Args:
        num_steps: largest number of steps.
        window: number of steps whose bounds are averaged.
        patience: number of windows without a rise that make a plateau.
        tol: smallest rise that counts, nats.
        decay: factor on the learning rate at a plateau.
        num_decays: number of plateaus that slow down; the next one ends the climb.
    """

    num_steps: int
    window: int
    patience: int
    tol: float
    decay: float
    num_decays: int

    def climb(self, ascent: ElboAscent, bar: tqdm) -> Status:
        """Climb until the bound rises no more; how that ended."""
        try:
            return self._climb(ascent, bar)
        except KeyboardInterrupt:
            ascent.restore()
            return Status.INTERRUPTED

    def _climb(self, ascent: ElboAscent, bar: tqdm) -> Status:
        plateau, status = Plateau(self.tol, self.patience), None
        kept = stage("SVI", lambda: (self, ascent.learning_rate, _store()))
        if kept.state is not None and ascent.go_on_from(kept.state["ascent"]):
            plateau, status = Plateau(**kept.state["plateau"]), kept.state["status"]
            bar.n = bar.initial = len(ascent.history)
        kept.give = lambda: {
            "ascent": ascent.state(),
            "plateau": asdict(plateau),
            "status": status,
        }
        while status is None:
            status = self._step(ascent, plateau, bar)
            kept.note()
        kept.end()
        return status

    def _step(self, ascent: ElboAscent, plateau: Plateau, bar: tqdm) -> Status | None:
        """One step up; how the climb has ended, if it has."""
        if not ascent.step():
            return Status.NON_FINITE
        bar.update()
        if not len(ascent.history) % self.window:
            window = ascent.history[-self.window :]
            mean = np.mean(window) + ascent.gain
            bar.set_postfix(elbo=f"{mean:.3f}", refresh=False)
            if plateau.reached(window):
                if plateau.passed == self.num_decays:
                    return Status.CONVERGED
                ascent.slow_down(self.decay)
                plateau.passed, plateau.waited = plateau.passed + 1, 0
        return None if len(ascent.history) < self.num_steps else Status.MAX_ITERS


def _store() -> dict[str, Tensor]:
    """What Pyro's store holds: the parameters that the guide begins at."""
    return {
        name: _copied_values(value) for name, value in pyro.get_param_store().items()
    }


def _copied_values(value: Tensor) -> Tensor:
    return value.detach().clone()
