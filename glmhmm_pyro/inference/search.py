"""Where a fit begins: how many starts, made how, from which seed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.program import Program
from glmhmm_pyro.inference.starts import check_given, make_starts
from glmhmm_pyro.model import GLMHMM


@dataclass(frozen=True)
class Search:
    """The starts of a fit; the same for every method.

    Args:
        num_restarts: number of starts.
        init: see :func:`make_starts`; ``None`` is ``"glm"`` for a ``GLMHMM`` and
            ``"random"`` for a model of the user's own.
        init_noise: standard deviation of the noise that tells starts apart.
        seed: makes the fit reproducible.
        progress: whether to show a progress bar.
    """

    num_restarts: int = 10
    init: str | Mapping[str, Any] | None = None
    init_noise: float = 0.5
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        if self.num_restarts < 1:
            raise ValueError(
                f"num_restarts must be at least 1, got {self.num_restarts}"
            )

    def is_free(self, program: Program) -> bool:
        """Whether the search may choose its starts, and prune and kick them.

        Given starts, and a single one, mean exactly those runs.
        """
        model, chosen = program.model, self.init is None and self.num_restarts > 1
        return chosen and isinstance(model, GLMHMM) and model.separates

    def starts(self, program: Program) -> Sequence[Params]:
        """Values of all sites, for every start."""
        generator = torch.Generator().manual_seed(self.seed)
        if isinstance(program.model, GLMHMM):
            init = "glm" if self.init is None else self.init
            arguments = (program.model, program.data, self.num_restarts)
            init = program.own_start(init)
            return make_starts(*arguments, init, self.init_noise, generator)
        if self.init not in (None, "random") and not isinstance(self.init, Mapping):
            raise ValueError(
                "init must be 'random' or a mapping from site names to values for a "
                f"model of your own, got {self.init!r}"
            )
        given = self.init if isinstance(self.init, Mapping) else {}
        return self._around(program, _given(program, given), generator)

    def _around(
        self, program: Program, params: Params, generator: torch.Generator
    ) -> list[Params]:
        """``params`` with noise on the unconstrained numbers that were not given.

        All numbers get noise from the second start on, if any were given.
        """
        coordinates, starts = program.coordinates, []
        centre = torch.zeros(coordinates.size, dtype=torch.float64)
        free = torch.ones_like(centre, dtype=torch.bool)
        for name, value in params.items():
            piece = coordinates.transforms[name].inv(value).reshape(-1)
            centre[coordinates.slices[name]] = piece
            free[coordinates.slices[name]] = False
        for number in range(self.num_restarts):
            noise = torch.randn(centre.shape, generator=generator, dtype=centre.dtype)
            moves = free | (number > 0)
            starts.append(centre + self.init_noise * noise * moves)
        return [coordinates.unpack(start) for start in starts]


def _given(program: Program, values: Mapping[str, Any]) -> Params:
    """The user's values, checked."""
    params: dict[str, Tensor] = {}
    for name, value in values.items():
        if name not in program.priors:
            raise ValueError(
                f"init must name sites of the model, {', '.join(program.priors)}, got "
                f"{name!r}"
            )
        prior = program.priors[name]
        params[name] = torch.as_tensor(np.asarray(value), dtype=torch.float64)
        check_given(name, params[name], prior.shape(), prior.support)
    return params


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's generator seeded inside, for one thread, and as before outside."""
    with exclusively(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
