"""The multistart search: diverse starts advanced in stages, then kicks from the best.

All starts make a few EM iterations together. Those that decode the same states are
heading for the same optimum, and one of each goes on; their log-joints say little yet,
as the best optimum is often the slowest. The rest run to a loose tolerance, and kicks
try to improve on them. The best runs are brought to full convergence last.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from glmhmm_pyro.inference.draws.alignment import decodings, similarity
from glmhmm_pyro.inference.kinds.diverse_starts import DiverseStarts, Kicks, kind_of
from glmhmm_pyro.inference.program.batches import chunks_of
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.progress_bar import ProgressBar
from glmhmm_pyro.inference.search.runs import KICK, Run, ranked
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.optim import LBFGSOptions


@dataclass(frozen=True)
class Stage:
    """How far runs are advanced, and how many of them are kept.

    Attributes:
        most: largest number of iterations; ``None`` runs to the loose tolerance.
        alike: similarity from which two runs count as heading for one solution.
        keep: largest number of runs that are kept.
        slow: a run is pruned if its gap to the best exceeds this many times its rise
            in the second half of the stage.
    """

    most: int | None
    alike: float
    keep: int
    slow: float = math.inf


STARTS = (
    Stage(10, 0.8, 10),
    Stage(40, 0.9, 4),
    Stage(100, 0.95, 4, slow=10.0),
    Stage(None, 0.95, 4),
)
KICKS = (Stage(15, 0.8, 4, slow=5.0), Stage(40, 0.9, 2, slow=5.0), Stage(None, 0.95, 2))
# Where weights are many, optima stand side by side that decode nearly the same.
SHAKES = (Stage(40, 0.999, 4, slow=5.0), Stage(None, 0.999, 4))

# Tolerance until the end.
LOOSE = 1e-6

# Nats by which runs of one solution may differ at the loose tolerance, and by which a
# kick must exceed the best to be a gain.
NEAR = 1.0
GAIN = 0.05

# Rounds of kicks without gain that end the search if no start agrees, fewer the more
# agree; of the starts, the share that must have found the best for it to end with none.
ROUNDS = 2
AGREED = 0.5


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


class MultistartSearch:
    """The runs of a search on one data set.

    Args:
        engine: :class:`EM`, which advances runs.
        program: the model with its data.
        starts: makes the starts.
        bar: progress bar.

    Attributes:
        runs: independent starts first, then the kicks that ran to their end.
        rounds_without_gain: rounds of kicks since the best was found.
        kicked: the run that the last kicks started from.
        is_near: whether the next kicks are small, for optima near the best.
    """

    def __init__(
        self,
        engine: Engine,
        program: Program,
        starts: DiverseStarts,
        bar: ProgressBar,
    ):
        self.engine, self.program, self.starts, self.bar = engine, program, starts, bar
        self.loose_engine = replace(engine, tol=max(engine.tol, LOOSE))
        self.steps = program.em_steps(engine.m_step)
        self.runs: list[Run] = []
        self.rounds_without_gain = 0
        self.kicked: Run | None = None
        self.is_near = False

    def begin(self, number: int) -> None:
        """Make ``number`` independent starts, of the kinds in turn."""
        made = [self.starts.make(i) for i in range(number)]
        starts = [self._run(params, kind_of(i)) for i, params in enumerate(made)]
        for some in chunks_of(self.program, starts):
            self.runs += self.engine.annealed(self.steps, some)

    def kicks(self, number: int) -> tuple[list[Run], Sequence[Stage], list[Run]]:
        """The next round of kicks from the best: arguments of :meth:`run_stages`.

        The first round from a new best also shrinks every state, and exchanges states
        of two levels. Rounds alternate between large and small kicks as long as nothing
        is gained.

        Args:
            number: number of random kicks.
        """
        best, heads = self.best, self.surviving()
        probs = decodings(self.program, [best.params], whole=True)[0][0]
        probs = self.program.ranks.joined(probs)
        kicks = Kicks(self.starts, best.params, probs)
        if self.is_near:
            made = list(kicks.shaken(number))
        else:
            made = list(kicks.made(number))
            if best is not self.kicked:
                made = [*kicks.shrunk(), *kicks.exchanged(number), *made]
        self.kicked = best
        runs = [self._run(params, f"{KICK}: {name}") for name, params in made]
        return runs, SHAKES if self.is_near else KICKS, heads

    def _run(self, params: Params, kind: str) -> Run:
        """A run that starts where the data are possible."""
        return Run(self.starts.possible(params, self.program), kind=kind)

    def add_kicks(self, kicked: Sequence[Run]) -> None:
        """Add the runs of kicks, and note whether the best has improved."""
        before = self.best.log_joints[-1]
        self.runs += kicked
        risen = self.best.log_joints[-1] > before + GAIN
        self.rounds_without_gain = 0 if risen else self.rounds_without_gain + 1
        # After a round without gain, switch between large and small kicks.
        self.is_near ^= not risen

    def finish(self) -> None:
        """Run the best runs to convergence at the engine's own tolerance."""
        near = self.near_best()
        for run in near:
            if (
                run.status is Status.CONVERGED
                and self.engine.tol < self.loose_engine.tol
            ):
                run.status = None
        self._advance(near, None, "fit", self.engine)

    def near_best(self) -> list[Run]:
        """The runs within ``NEAR`` of the best, which may end above it."""
        if self.was_interrupted or not self.runs:
            return []
        least = self.best.log_joints[-1] - NEAR
        return [run for run in self.surviving() if run.log_joints[-1] >= least]

    def surviving(self) -> list[Run]:
        """The runs that neither failed nor were pruned, best first."""
        heads = [
            run for run in self.runs if run.merged_into is None and _may_be_best(run)
        ]
        return sorted(heads, key=lambda run: -run.log_joints[-1])

    @property
    def best(self) -> Run:
        """The run with the highest log-joint."""
        return self.runs[ranked(self.runs)[0]]

    @property
    def was_interrupted(self) -> bool:
        """Whether the user interrupted the search."""
        return any(run.status is Status.INTERRUPTED for run in self.runs)

    def is_over(self) -> bool:
        """Whether to stop kicking."""
        if self.was_interrupted or self.starts.states == 1:
            return True
        if self.best.status is not Status.CONVERGED:
            return True
        if self.starts.exchanges and self.kicked is None:
            return False
        return self.rounds_without_gain >= ROUNDS * (1 - self.agreement() / AGREED)

    def agreement(self) -> float:
        """Share of the independent starts that led to the best solution.

        Starts pruned far below the best do not count.
        """
        best, starts = self.best, [r for r in self.runs if not r.restart.is_kick]
        least = best.log_joints[-1] - NEAR
        near = [r for r in starts if r.end is best and r.log_joints[-1] >= least]
        return len(near) / len(starts)

    def run_stages(
        self, runs: Sequence[Run], stages: Sequence[Stage], known: Sequence[Run] = ()
    ) -> list[Run]:
        """Advance runs stage by stage, pruning duplicates and low ones after each.

        Args:
            runs: the runs.
            stages: in their order.
            known: earlier runs, of which these may be duplicates.

        Returns:
            The runs that reached the last stage.
        """
        going = list(runs)
        kind = "kicks" if known else "starts"
        for number, stage in enumerate(stages, 1):
            part = f"search by {kind} ({number} of {len(stages)})"
            self._advance(going, stage.most, part, self.loose_engine)
            if any(run.status is Status.INTERRUPTED for run in going):
                break
            going = self._pruned(going, stage, known)
        return going

    def _pruned(
        self, runs: Sequence[Run], stage: Stage, known: Sequence[Run]
    ) -> list[Run]:
        """The runs that are kept; the others get the status ``PRUNED``."""
        going = sorted(filter(_may_be_best, runs), key=lambda run: -run.log_joints[-1])
        ranks = self.program.ranks
        both = [*known, *going]
        decoded = decodings(self.program, [run.params for run in both])
        kept = list(range(len(known)))
        for i in range(len(known), len(both)):
            run = both[i]
            like = [
                j
                for j in kept
                if _may_be_same_solution(both[j], run, stage)
                and similarity(decoded[j], decoded[i], ranks) >= stage.alike
            ]
            has_room = len(kept) < stage.keep + len(known)
            if not like and has_room and not _is_slow(run, both[0], stage):
                kept.append(i)
                continue
            run.merged_into = both[like[0]] if like else None
            run.status = Status.PRUNED
        return [both[i] for i in kept[len(known) :]]

    def stop(self, runs: Sequence[Run], status: Status) -> None:
        """Evaluate runs once, and end them with a status."""
        for some in chunks_of(self.program, runs):
            sets = [run.params for run in some]
            for run, *logs in zip(some, *self.steps.expect(sets)):
                run.record(*logs, keep=False)
                run.status = status

    def _advance(
        self, runs: Sequence[Run], most: int | None, part: str, engine: Engine
    ) -> None:
        """Iterate runs, as many together as memory allows, while the bar tells of it.

        Args:
            runs: the runs.
            most: iterations after which a run pauses, if it does.
            part: what the bar calls this.
            engine: advances them.
        """
        chunks = chunks_of(self.program, runs)
        gain = self.program.units.log_joint
        self.bar.enter(part, engine, most, len(chunks), gain)
        for some in chunks:
            engine.advance(self.steps, some, most, self.bar)


def _may_be_same_solution(head: Run, run: Run, stage: Stage) -> bool:
    """Whether log-joints allow that two runs lead to the same solution."""
    below = head.log_joints[-1] - run.log_joints[-1]
    return below > -GAIN and (stage.most is not None or below < NEAR)


def _is_slow(run: Run, best: Run, stage: Stage) -> bool:
    """Whether a run is far below the best and rises too slowly to reach it."""
    if stage.most is None or run.status is Status.CONVERGED:
        return False
    before = run.log_joints[-min(stage.most // 2, len(run.log_joints))]
    below = best.log_joints[-1] - run.log_joints[-1]
    return below > max(stage.slow * (run.log_joints[-1] - before), NEAR)


def _may_be_best(run: Run) -> bool:
    """Whether a run's status allows it to be the best."""
    return run.status in (None, Status.CONVERGED, Status.MAX_ITERS)
