"""The starts of a fit, and the search for the best optimum.

The search solves an easier problem first where there is one: a sample of the sessions
if the data are large, and a free initial distribution if the model's follows from its
transitions, whose M-step is then joint and EM slow.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch

from glmhmm_pyro.arguments import keep_flags, keep_whole, seed_number
from glmhmm_pyro.components.initial import Initial
from glmhmm_pyro.inference.kinds.diverse_starts import DiverseStarts
from glmhmm_pyro.inference.kinds.starts import INITS
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.refusals import carries_states_over
from glmhmm_pyro.inference.search.runs import Run, raise_if_all_failed
from glmhmm_pyro.inference.search.search_bar import SearchBar
from glmhmm_pyro.inference.search.stages import STARTS, Engine, MultistartSearch
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


# Number of steps of the sample of sessions that the search begins with, and the factor
# by which the data must be larger.
MOST_STEPS = 20_000
_WORTH = 1.25

# Number of solutions of the easier problem that the original problem goes on from.
_TAKEN = 3


def search_optima(
    engine: Engine,
    program: Program[GLMHMM, Sequences],
    search: Search,
    bar: SearchBar,
) -> MultistartSearch:
    """Search for the best optimum by diverse starts and kicks, at a loose tolerance.

    :meth:`MultistartSearch.finish` then runs the best to convergence.

    Args:
        engine: :class:`EM`, which advances runs.
        program: the model with its data.
        search: how many starts, and from which seed.
        bar: open until the last runs have converged.
    """
    part = with_free_first_state(program)
    part = on_sampled_sessions(part, search.seed) or part
    starts = DiverseStarts.of(part, search.init_noise, search.seed)
    multistart = MultistartSearch(engine, part, starts, bar)
    try:
        multistart.begin(search.num_restarts)
        multistart.run_stages(multistart.runs, STARTS)
        while not multistart.is_over():
            multistart.add_kicks(
                multistart.run_stages(*multistart.kicks(search.num_restarts))
            )
    except KeyboardInterrupt:
        for run in multistart.runs:
            run.status = run.status or Status.INTERRUPTED
    multistart.runs = [run for run in multistart.runs if run.log_joints]
    raise_if_all_failed(multistart.runs)
    if part is program:
        return multistart
    return _continued(
        MultistartSearch(engine, program, multistart.starts, bar), multistart
    )


def with_free_first_state(
    program: Program[GLMHMM, Sequences],
) -> Program[GLMHMM, Sequences]:
    """The program with a free initial distribution if its own follows transitions."""
    if program.model.separates:
        return program
    model = copy.deepcopy(program.model)
    model.transitions.separate()
    if not model.initial.parts:
        model.initial = Initial()
        model.initial.bind_states(model.num_states)
    return Program.of(model, program.data)


def on_sampled_sessions(
    program: Program[GLMHMM, Sequences], seed: int
) -> Program[GLMHMM, Sequences] | None:
    """The program on a random sample of sessions; ``None`` if that is not worthwhile.

    Nor if sessions go on from one another, or have parameters of their own.
    """
    data = program.data
    ranks = data.ranks
    total, here = ranks.total(data.num_steps), ranks.here(data.num_sessions)
    if total <= _WORTH * MOST_STEPS or _has_varying_parameters(program.model):
        return None
    if carries_states_over(program.model):
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


def _has_varying_parameters(model: GLMHMM) -> bool:
    """Whether a model has parameters of single sessions or groups."""
    return any(component.varies_over for component in model.components.values())


def _continued(whole: MultistartSearch, part: MultistartSearch) -> MultistartSearch:
    """Continue the search of an easier problem on the original one.

    The best runs go on from their values of the sites that it has.
    """
    own = whole.program.priors
    moved = {
        id(run): Run({name: run.params[name] for name in own}, kind=run.kind)
        for run in part.runs
    }
    for run in part.runs:
        if run.merged_into is not None:
            moved[id(run)].merged_into = moved[id(run.merged_into)]
        if run.error is not None:
            moved[id(run)].fail(run.error)
    whole.runs = list(moved.values())
    whole.rounds_without_gain = part.rounds_without_gain
    interrupted = part.was_interrupted
    taken = [] if interrupted else part.surviving()[:_TAKEN]
    going = [moved[id(run)] for run in taken]
    rest = [run for run in whole.runs if run not in going and run.error is None]
    whole.stop(rest, Status.INTERRUPTED if interrupted else Status.PRUNED)
    whole.run_stages(going, STARTS[-1:])
    return whole
