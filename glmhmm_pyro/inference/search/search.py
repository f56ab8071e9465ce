"""Where a fit begins: its starts, and the search among them for the best optimum.

The search takes an easier problem first where there is one: a sample of the sessions
where the data are large, and a free first state where the model has none of its own,
for its parameters do not separate and EM is slow.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from glmhmm_pyro.arguments import keep_flags, keep_whole, seed_number
from glmhmm_pyro.components.initial import Initial
from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.inference.kinds.starts import INITS, StartMaker
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.refusals import goes_across
from glmhmm_pyro.inference.search.failing import check_some
from glmhmm_pyro.inference.search.runs import Run, ranked
from glmhmm_pyro.inference.search.stages import STARTS, Engine, Hunt
from glmhmm_pyro.inference.search.unlike import Unlike
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences


@dataclass(frozen=True)
class Search:
    """The starts of a fit; the same for every method.

    Args:
        num_restarts: number of independent starts.
        init: see :func:`make_starts`; a fit stands for its ``params``. ``None`` lets
            the search choose, as :meth:`is_free` says; a single start is noise around
            one GLM then.
        init_noise: standard deviation of the noise that tells starts apart.
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


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's generator seeded inside, for one thread, and as before outside."""
    with exclusively(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


# Steps from which the search reads a sample of the sessions, of about that many steps,
# if that spares at least this factor.
MOST_STEPS = 20_000
_WORTH = 1.25

# Solutions of the easier problem that are led on in the one that was asked for.
_TAKEN = 3


def find(engine: Engine, program: Program[GLMHMM, Sequences], search: Search) -> Hunt:
    """Runs at a loose tolerance, the best of them first to be led to their ends.

    Args:
        engine: :class:`EM`, which leads runs on.
        program: the model with its data.
        search: how many starts, and from which seed.
    """
    part = separated(program)
    part = sampled(part, search.seed) or part
    with tqdm(desc="EM", unit="it", disable=not search.progress) as bar:
        hunt = Hunt(engine, part, unlike_starts(part, search), bar)
        try:
            hunt.begin(search.num_restarts)
            hunt.narrow(hunt.runs, STARTS)
            while not hunt.is_over():
                hunt.take(hunt.narrow(*hunt.kicks(search.num_restarts)))
        except KeyboardInterrupt:
            for run in hunt.runs:
                run.status = run.status or Status.INTERRUPTED
        hunt.runs = [run for run in hunt.runs if run.log_joints]
        check_some(hunt.runs)
        if part is program:
            return hunt
        return _taken_over(Hunt(engine, program, hunt.unlike, bar), hunt)


def unlike_starts(program: Program[GLMHMM, Sequences], search: Search) -> Unlike:
    """The maker of starts, from the seed of a search."""
    generator = torch.Generator().manual_seed(search.seed)
    choices = torch.Generator().manual_seed(search.seed)
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=choices)))
    maker = StartMaker(program.model, program.data, generator)
    return Unlike(maker, search.init_noise, rng)


def separated(
    program: Program[GLMHMM, Sequences],
) -> Program[GLMHMM, Sequences]:
    """The program with a free first state, if its own follows from the transitions."""
    if program.model.separates:
        return program
    model = copy.deepcopy(program.model)
    model.transitions.separate()
    if not model.initial.parts:
        model.initial = Initial()
        model.initial.bind_states(model.num_states)
    return Program.of(model, program.data)


def sampled(
    program: Program[GLMHMM, Sequences], seed: int
) -> Program[GLMHMM, Sequences] | None:
    """The same model with a sample of the sessions, where that is possible and pays."""
    data = program.data
    ranks = data.ranks
    total, here = ranks.total(data.num_steps), ranks.here(data.num_sessions)
    if total <= _WORTH * MOST_STEPS or _varies(program.model):
        return None
    if goes_across(program.model):
        # Sessions drawn one by one would not go on from one another.
        return None
    lengths = ranks.joined(data.lengths.cpu().numpy())
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(lengths), generator=generator).numpy()
    steps = lengths[order].cumsum()
    number = int((steps < MOST_STEPS).sum()) + 1
    if number > len(lengths) or int(steps[number - 1]) * _WORTH > total:
        return None
    chosen = np.sort(order[:number])
    own = chosen[(chosen >= here.start) & (chosen < here.stop)] - here.start
    if ranks.any(not len(own)):
        # A rank without a session could not take part.
        return None
    try:
        subset = data.subset(own.tolist())
        part = Program.of(copy.deepcopy(program.model), subset)
    except ValueError:
        # The sample is no data set for this model.
        return None
    shapes = [{n: p.shape() for n, p in s.priors.items()} for s in (program, part)]
    return part if shapes[0] == shapes[1] else None


def _varies(model: GLMHMM) -> bool:
    """Whether a model has parameters that belong to single sessions or groups."""
    return any(component.varies_over for component in model.components.values())


def _taken_over(whole: Hunt, part: Hunt) -> Hunt:
    """The search on an easier problem taken over to the whole one.

    The best runs are led on there, from their values of the sites that it has.
    """
    order = [part.runs[i] for i in ranked(part.runs)]
    taken = [run for run in order if run in part.heads()][:_TAKEN]
    runs = {}
    for run in part.runs:
        own = {name: run.params[name] for name in whole.program.priors}
        runs[id(run)] = Run(own, kind=run.kind)
    for run in part.runs:
        moved = runs[id(run)]
        moved.joined = None if run.joined is None else runs[id(run.joined)]
    whole.runs = list(runs.values())
    whole.rounds_without_gain = part.rounds_without_gain
    going = [runs[id(run)] for run in taken]
    interrupted = part.was_interrupted
    going = [] if interrupted else going
    for run in part.runs:
        if run.error is not None:
            runs[id(run)].fail(run.error)
    whole.stop(
        [run for run in whole.runs if run not in going and run.error is None],
        Status.INTERRUPTED if interrupted else Status.PRUNED,
    )
    whole.narrow(going, STARTS[-1:])
    return whole
