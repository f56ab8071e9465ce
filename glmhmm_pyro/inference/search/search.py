"""Where a fit begins: how many starts, made how, from which seed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch

from glmhmm_pyro.arguments import keep_flags, keep_whole, seed_number
from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.inference.kinds.starts import INITS
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program


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
