"""The search itself: unlike starts led on in stages, then kicks from the best.

All starts make a few EM iterations together. Those that decode the same states are
going to the same optimum, and one of each goes on; how high they stand says little yet,
as the best optimum is often the slowest. What is left is led to a loose tolerance, and
kicks try to improve on it. The best are led to their ends last.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import torch
from tqdm import tqdm

from glmhmm_pyro.inference.program.batches import num_together
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.runs import KICK, Run, decodings, ranked, similarity
from glmhmm_pyro.inference.search.unlike import Kicks, Unlike, kind_of
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.optim import LBFGSOptions


@dataclass(frozen=True)
class Stage:
    """How far runs are led, and how many of them go on.

    Attributes:
        most: number of iterations; ``None`` is to the loose tolerance.
        alike: similarity from which two runs are going to the same solution.
        keep: number of runs that go on.
        slow: a run is given up that would need more than this many times its rise in
            the second half of the stage to come up to the best.
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

# Nats by which runs at the loose tolerance may stand apart in one solution, and by
# which a kick must stand higher to be a gain.
NEAR = 1.0
GAIN = 0.05

# Rounds of kicks without gain that end the search if no start agrees, fewer the more
# agree; of the starts, the share that must have found the best for it to end with none.
ROUNDS = 2
AGREED = 0.5

# How often a start under which the data are impossible is moved nearer to one GLM.
_HALVINGS = 8


class Engine(Protocol):
    """What leads runs on, a record of options: :class:`EM`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def tol(self) -> float:
        """Tolerance at which a run has converged."""

    @property
    def m_step(self) -> LBFGSOptions | None:
        """Options of the M-step, if the user gave any."""

    def begun(self, steps: Any, runs: Sequence[Run]) -> list[Run]:
        """Runs at the point where they begin."""

    def lead(
        self,
        steps: Any,
        runs: Sequence[Run],
        most: int | None = None,
        callback: Callable[[int, Sequence[Run]], None] | None = None,
    ) -> None:
        """Lead runs that have not ended on, at most so many iterations."""


class Hunt:
    """The runs of a search on one data set.

    Args:
        engine: :class:`EM`, which leads runs on.
        program: the model with its data.
        unlike: makes the starts.
        bar: shows how far the search is.

    Attributes:
        runs: independent starts first, then the kicks that came to an end.
        rounds_without_gain: rounds of kicks since the best was found.
        kicked: the run that was kicked last.
        is_near: whether the next kicks go to optima next to the best.
    """

    def __init__(self, engine: Engine, program: Program, unlike: Unlike, bar: tqdm):
        self.engine, self.program, self.unlike, self.bar = engine, program, unlike, bar
        self.loosely = replace(engine, tol=max(engine.tol, LOOSE))
        self.steps = program.em_steps(engine.m_step)
        self.runs: list[Run] = []
        self.rounds_without_gain = 0
        self.kicked: Run | None = None
        self.is_near = False

    def begin(self, number: int) -> None:
        """Make this many independent starts, of unlike kinds in turn."""
        made = self.possible([self.unlike.make(i) for i in range(number)])
        starts = [Run(params, kind=kind_of(i)) for i, params in enumerate(made)]
        for some in self._chunks(starts):
            self.runs += self.engine.begun(self.steps, some)

    def kicks(self, number: int) -> tuple[list[Run], Sequence[Stage], list[Run]]:
        """A round of kicks from the best, what :meth:`narrow` makes of them given.

        From a best that is new every state is shrunk too, which gives the same each
        time. Kicks go to optima next to the best where far ones have gained nothing.

        Args:
            number: of random kicks.
        """
        best, heads = self.best, self.heads()
        probs = decodings(self.program, [best.params], whole=True)[0][0]
        probs = self.program.ranks.joined(probs)
        kicks = Kicks(self.unlike, best.params, probs)
        if self.is_near:
            made = list(kicks.shaken(number))
        else:
            shrunk = () if best is self.kicked else kicks.shrunk()
            made = [*shrunk, *kicks.made(number)]
        self.kicked = best
        sets = self.possible([params for _, params in made])
        runs = [Run(p, kind=f"{KICK}: {name}") for (name, _), p in zip(made, sets)]
        return runs, SHAKES if self.is_near else KICKS, heads

    def take(self, kicked: Sequence[Run]) -> None:
        """Take kicks in that came to an end, and see whether they have gained."""
        before = self.best.log_joints[-1]
        self.runs += kicked
        risen = self.best.log_joints[-1] > before + GAIN
        self.rounds_without_gain = 0 if risen else self.rounds_without_gain + 1
        # What gains goes on; else it is tried nearby, or far off again.
        self.is_near ^= not risen

    def finish(self) -> None:
        """Lead the best runs to their ends, the tolerance being the engine's own."""
        near = self.near_best()
        for run in near:
            if run.status is Status.CONVERGED and self.engine.tol < self.loosely.tol:
                run.status = None
        for some in self._chunks(near):
            self.engine.lead(self.steps, some, callback=self._show)

    def near_best(self) -> list[Run]:
        """The runs that may turn out to be the best when they are led to their ends."""
        if self.was_interrupted or not self.runs:
            return []
        least = self.best.log_joints[-1] - NEAR
        return [run for run in self.heads() if run.log_joints[-1] >= least]

    def heads(self) -> list[Run]:
        """The runs that came to an end of their own, best first."""
        heads = [run for run in self.runs if run.joined is None and _goes(run)]
        return sorted(heads, key=lambda run: -run.log_joints[-1])

    @property
    def best(self) -> Run:
        """The run that stands highest."""
        return self.runs[ranked(self.runs)[0]]

    @property
    def was_interrupted(self) -> bool:
        """Whether the user wants to stop."""
        return any(run.status is Status.INTERRUPTED for run in self.runs)

    def is_over(self) -> bool:
        """Whether there is nothing left to be gained by kicks."""
        if self.was_interrupted or self.unlike.states == 1:
            return True
        if self.best.status is not Status.CONVERGED:
            return True
        return self.rounds_without_gain >= ROUNDS * (1 - self.agreed() / AGREED)

    def agreed(self) -> float:
        """Share of the independent starts that came near the best, in its solution.

        One that was pruned on its way, far below, says little.
        """
        best, starts = self.best, [r for r in self.runs if not r.restart.is_kick]
        least = best.log_joints[-1] - NEAR
        near = [r for r in starts if r.end is best and r.log_joints[-1] >= least]
        return len(near) / len(starts)

    def narrow(
        self, runs: Sequence[Run], stages: Sequence[Stage], known: Sequence[Run] = ()
    ) -> list[Run]:
        """Lead runs on stage by stage; what is alike or low is pruned after each.

        Args:
            runs: on their way.
            stages: gone through in turn.
            known: runs at an end, which others may turn out to lead to.

        Returns:
            Those that were led on to the last stage.
        """
        going = list(runs)
        for stage in stages:
            for some in self._chunks(going):
                self.loosely.lead(self.steps, some, stage.most, self._show)
            if any(run.status is Status.INTERRUPTED for run in going):
                break
            going = self._pruned(going, stage, known)
        return going

    def _pruned(
        self, runs: Sequence[Run], stage: Stage, known: Sequence[Run]
    ) -> list[Run]:
        """The runs that go on; the others get a status that says why they do not."""
        going = sorted(filter(_goes, runs), key=lambda run: -run.log_joints[-1])
        ranks = self.program.ranks
        both = [*known, *going]
        decoded = decodings(self.program, [run.params for run in both])
        kept = list(range(len(known)))
        for i in range(len(known), len(both)):
            run = both[i]
            like = [
                j
                for j in kept
                if _may_be_one(both[j], run, stage)
                and similarity(decoded[j], decoded[i], ranks) >= stage.alike
            ]
            has_room = len(kept) < stage.keep + len(known)
            if not like and has_room and not _is_slow(run, both[0], stage):
                kept.append(i)
                continue
            run.joined = both[like[0]] if like else None
            run.status = Status.PRUNED
        return [both[i] for i in kept[len(known) :]]

    def possible(self, sets: Sequence[Params]) -> list[Params]:
        """Values, moved towards one GLM where the data are impossible under them."""
        found = list(sets)
        for _ in range(_HALVINGS):
            bad = [i for i, params in enumerate(found) if not self._is_possible(params)]
            if not bad:
                break
            for i in bad:
                found[i] = self.unlike.maker.between(found[i], self.unlike.glm)
        return found

    def _is_possible(self, params: Params) -> bool:
        """Whether the data have a finite log-joint at these values."""
        with torch.no_grad():
            return bool(torch.isfinite(self.program.log_joint(params)))

    def stop(self, runs: Sequence[Run], status: Status) -> None:
        """Evaluate runs where they are, and lead them no further."""
        for some in self._chunks(runs):
            sets = [run.params for run in some]
            for run, *logs in zip(some, *self.steps.expect(sets)):
                run.record(*logs, keep=False)
                run.status = status

    def _chunks(self, items: Sequence[Any]) -> list[Any]:
        """Lists of as many items as are evaluated together."""
        width = num_together(self.program.model, self.program.data, len(items) or 1)
        return [items[i : i + width] for i in range(0, len(items), width)]

    def _show(self, iteration: int, runs: Sequence[Run]) -> None:
        """Called after every E-step."""
        best = max(run.log_joints[-1] for run in runs) + self.program.units.log_joint
        self.bar.update()
        self.bar.set_postfix(starts=len(runs), log_joint=f"{best:.3f}", refresh=False)


def _may_be_one(head: Run, run: Run, stage: Stage) -> bool:
    """Whether log-joints allow that a run is in one solution with another."""
    below = head.log_joints[-1] - run.log_joints[-1]
    return below > -GAIN and (stage.most is not None or below < NEAR)


def _is_slow(run: Run, best: Run, stage: Stage) -> bool:
    """Whether a run can be given up: it is far below and hardly rises any more."""
    if stage.most is None or run.status is Status.CONVERGED:
        return False
    before = run.log_joints[-min(stage.most // 2, len(run.log_joints))]
    below = best.log_joints[-1] - run.log_joints[-1]
    return below > max(stage.slow * (run.log_joints[-1] - before), NEAR)


def _goes(run: Run) -> bool:
    """Whether a run has not failed, so that it may be one of the best."""
    return run.status in (None, Status.CONVERGED, Status.MAX_ITERS)
