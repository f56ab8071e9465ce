"""The starts of a fit, and the search for the best optimum.

The search solves an easier problem first, where there is one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch

from glmhmm_pyro.arguments import keep_flags, keep_whole, seed_number
from glmhmm_pyro.inference.kinds.diverse_starts import DiverseStarts
from glmhmm_pyro.inference.kinds.easier_problem import easier
from glmhmm_pyro.inference.kinds.starts import INITS
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.progress_bar import ProgressBar
from glmhmm_pyro.inference.search.runs import Run, raise_if_all_failed
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


# Number of solutions of the easier problem that the original problem goes on from.
_TAKEN = 3


def search_optima(
    engine: Engine,
    program: Program[GLMHMM, Sequences],
    search: Search,
    bar: ProgressBar,
) -> MultistartSearch:
    """Search for the best optimum by diverse starts and kicks, at a loose tolerance.

    :meth:`MultistartSearch.finish` then runs the best to convergence.

    Args:
        engine: :class:`EM`, which advances runs.
        program: the model with its data.
        search: how many starts, and from which seed.
        bar: open until the last runs have converged.
    """
    part = easier(program, search.seed)
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
