"""The starts of a fit, and the search for the best optimum from diverse ones.

All starts make a few EM iterations together. Those that decode the same states are
heading for the same optimum, and one of each goes on; their log-joints say little yet,
as the best optimum is often the slowest. The rest run to a loose tolerance, and kicks
try to improve on them, all of it on an easier problem where there is one. The best runs
are brought to full convergence last.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import torch

from glmhmm_pyro.arguments import keep_flags, keep_whole, seed_number
from glmhmm_pyro.inference.draws.alignment import decodings, similarity
from glmhmm_pyro.inference.kinds.diverse_starts import DiverseStarts, Kicks, kind_of
from glmhmm_pyro.inference.kinds.easier_problem import easier
from glmhmm_pyro.inference.kinds.starts import INITS
from glmhmm_pyro.inference.program.batches import chunks_of
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.progress_bar import ProgressBar
from glmhmm_pyro.inference.search.runs import (
    KICK,
    Engine,
    Run,
    raise_if_all_failed,
    ranked,
    surviving,
)
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences


@dataclass(frozen=True)
class Search:
    """The starts of a fit; the same for every method.

    Args:
        num_restarts: number of independent starts.
        init: see :func:`make_starts`; a fit stands for its ``params``. With ``None``
            the search chooses, see :meth:`is_free`; a single start is then noise
            around one GLM.
        init_noise: standard deviation of the noise added to starts.
        seed: makes the fit reproducible.
        progress: whether to show a progress bar.
    """

    num_restarts: int = 10
    init: Any = None
    init_noise: float = 0.5
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        keep_whole(self, num_restarts=1)
        keep_flags(self, "progress")
        object.__setattr__(self, "seed", seed_number(self.seed))
        given = getattr(self.init, "params", self.init)
        if not (given is None or isinstance(given, str | Mapping)):
            raise ValueError(
                f"init must be one of {', '.join(INITS)}, a mapping from site names to "
                f"values, or a fit, got {self.init!r}; give one of these"
            )
        noise: Any = self.init_noise
        is_number = isinstance(noise, Real) and not isinstance(noise, bool)
        if not is_number or not 0 <= noise < math.inf:
            raise ValueError(
                "init_noise must be a finite number of at least 0, the standard "
                f"deviation of the noise of starts, got {noise!r}; 0.5 is the default"
            )
        object.__setattr__(self, "init_noise", float(noise))
        object.__setattr__(self, "init", given)

    def is_free(self, program: Program) -> bool:
        """Whether the search may choose its starts, and prune and kick them.

        Given starts, and a single one, mean exactly those runs.
        """
        return self.init is None and self.num_restarts > 1 and bool(program.components)

    def starts(self, program: Program) -> Sequence[Params]:
        """Values of all sites, for every start."""
        generator = torch.Generator().manual_seed(self.seed)
        arguments = (self.num_restarts, self.init, self.init_noise, generator)
        return program.starts(*arguments)


# Nats by which runs of one solution may differ at the loose tolerance, and by which a
# kick must exceed the best to be a gain.
NEAR = 1.0
GAIN = 0.05


@dataclass(frozen=True)
class Stage:
    """How far runs are advanced, and which of them are kept.

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

    def may_agree(self, head: Run, run: Run) -> bool:
        """Whether log-joints allow that two runs lead to the same solution."""
        below = head.log_joints[-1] - run.log_joints[-1]
        return below > -GAIN and (self.most is not None or below < NEAR)

    def is_slow(self, run: Run, best: Run) -> bool:
        """Whether a run is far below the best and rises too slowly to reach it."""
        if self.most is None or run.status is Status.CONVERGED:
            return False
        before = run.log_joints[-min(self.most // 2, len(run.log_joints))]
        below = best.log_joints[-1] - run.log_joints[-1]
        return below > max(self.slow * (run.log_joints[-1] - before), NEAR)


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

# Rounds of kicks without gain that end the search if no start agrees, fewer the more
# agree; of the starts, the share that must have found the best for it to end with none.
ROUNDS = 2
AGREED = 0.5

# Number of solutions of an easier problem that the original problem goes on from.
_TAKEN = 3


def search_optima(
    engine: Engine,
    program: Program[GLMHMM, Sequences],
    search: Search,
    bar: ProgressBar,
) -> "MultistartSearch":
    """Search for the best optimum by diverse starts and kicks, at a loose tolerance.

    :meth:`MultistartSearch.finish` then runs the best to convergence.

    Args:
        engine: :class:`EM`, which advances runs.
        program: the model with its data.
        search: how many starts, and from which seed.
        bar: open until the last runs have converged.
    """
    part, number = easier(program, search.seed), search.num_restarts
    starts = DiverseStarts.of(part, search.init_noise, search.seed)
    found = MultistartSearch(engine, part, starts, bar)
    try:
        found.begin(number)
        found.run_stages(found.runs, STARTS)
        while not found.is_over():
            found.add_kicks(found.run_stages(*found.kicks(number)))
    except KeyboardInterrupt:
        for run in found.runs:
            run.status = run.status or Status.INTERRUPTED
    found.runs = [run for run in found.runs if run.log_joints]
    raise_if_all_failed(found.runs)
    return found if part is program else found.continued_on(program)


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

    @property
    def best(self) -> Run:
        """The run with the highest log-joint."""
        return self.runs[ranked(self.runs)[0]]

    @property
    def was_interrupted(self) -> bool:
        """Whether the user interrupted the search."""
        return any(run.status is Status.INTERRUPTED for run in self.runs)

    def begin(self, number: int) -> None:
        """Make ``number`` independent starts, of the kinds in turn."""
        starts = [self._run(self.starts.make(i), kind_of(i)) for i in range(number)]
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
        best = self.best
        probs = decodings(self.program, [best.params], whole=True)[0][0]
        kicks = Kicks(self.starts, best.params, self.program.ranks.joined(probs))
        if self.is_near:
            made = list(kicks.shaken(number))
        else:
            made = list(kicks.made(number))
            if best is not self.kicked:
                made = [*kicks.shrunk(), *kicks.exchanged(number), *made]
        self.kicked = best
        runs = [self._run(params, f"{KICK}: {name}") for name, params in made]
        return runs, SHAKES if self.is_near else KICKS, surviving(self.runs)

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

    def near_best(self) -> list[Run]:
        """The runs within ``NEAR`` of the best, which may end above it."""
        if self.was_interrupted or not self.runs:
            return []
        least = self.best.log_joints[-1] - NEAR
        return [run for run in surviving(self.runs) if run.log_joints[-1] >= least]

    def finish(self) -> None:
        """Run the best runs to convergence at the engine's own tolerance."""
        near = self.near_best()
        if self.engine.tol < self.loose_engine.tol:
            for run in near:
                if run.status is Status.CONVERGED:
                    run.status = None
        self._advance(near, None, "fit", self.engine)

    def continued_on(self, program: Program) -> "MultistartSearch":
        """The search led on from the problem that it solved to a harder one.

        The best runs go on from their values of the sites that this has.

        Args:
            program: of which that solved is an easier one.
        """
        whole = MultistartSearch(self.engine, program, self.starts, self.bar)
        whole.rounds_without_gain = self.rounds_without_gain
        own = program.priors
        moved = {
            run: Run({name: run.params[name] for name in own}, kind=run.kind)
            for run in self.runs
        }
        for run, copy in moved.items():
            if run.merged_into is not None:
                copy.merged_into = moved[run.merged_into]
            if run.error is not None:
                copy.fail(run.error)
        whole.runs = list(moved.values())
        interrupted = self.was_interrupted
        taken = [] if interrupted else surviving(self.runs)[:_TAKEN]
        going = [moved[run] for run in taken]
        rest = [run for run in whole.runs if run not in going and run.error is None]
        for some in chunks_of(program, rest):
            for run, *logs in zip(some, *whole.steps.expect([r.params for r in some])):
                run.record(*logs, keep=False)
                run.status = Status.INTERRUPTED if interrupted else Status.PRUNED
        whole.run_stages(going, STARTS[-1:])
        return whole

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
        going, ranks = surviving(runs), self.program.ranks
        both = [*known, *going]
        decoded = decodings(self.program, [run.params for run in both])
        kept = list(zip(known, decoded))
        for run, states in zip(going, decoded[len(known) :]):
            alike = (
                head
                for head, other in kept
                if stage.may_agree(head, run)
                and similarity(other, states, ranks) >= stage.alike
            )
            run.merged_into = next(alike, None)
            has_room = len(kept) < len(known) + stage.keep
            if run.merged_into or not has_room or stage.is_slow(run, both[0]):
                run.status = Status.PRUNED
            else:
                kept.append((run, states))
        return [run for run, _ in kept[len(known) :]]

    def _advance(
        self, runs: Sequence[Run], most: int | None, part: str, engine: Engine
    ) -> None:
        """Iterate runs, as many at once as memory allows; the bar calls it ``part``."""
        chunks = chunks_of(self.program, runs)
        gain = self.program.units.log_joint
        self.bar.enter(part, engine, most, len(chunks), gain)
        for some in chunks:
            engine.advance(self.steps, some, most, self.bar)
