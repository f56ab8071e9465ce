"""Where a fit begins: how many starts, made how, from which seed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.arguments import keep_flags, keep_whole, seed_number
from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.program import Program
from glmhmm_pyro.inference.starts import INITS, given_value, make_starts
from glmhmm_pyro.model import GLMHMM

# What the noise of starts of a user's own model is multiplied by, in turn.
_WIDER = (1.0, 2.0, 4.0)

# How often a start that makes the data impossible is moved halfway to the middle.
_HALVINGS = 8


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
        object.__setattr__(self, "init", given)

    def is_free(self, program: Program) -> bool:
        """Whether the search may choose its starts, and prune and kick them.

        Given starts, and a single one, mean exactly those runs.
        """
        model, chosen = program.model, self.init is None and self.num_restarts > 1
        return chosen and isinstance(model, GLMHMM)

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
                f"model of your own, got {self.init!r}; give one of the two"
            )
        given = self.init if isinstance(self.init, Mapping) else {}
        around = self._around(program, _given(program, given), generator)
        return [_possible(program, start, self.init is None) for start in around]

    def _around(
        self, program: Program, params: Params, generator: torch.Generator
    ) -> list[Tensor]:
        """``params`` with noise on the unconstrained numbers that were not given.

        All numbers get noise from the second start on, if any were given. Starts that
        the search may choose are unlike: some have wider noise.
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
            wider = _WIDER[number % len(_WIDER)] if self.init is None else 1.0
            starts.append(centre + wider * self.init_noise * noise * moves)
        return starts


def _possible(program: Program, start: Tensor, is_free: bool) -> Params:
    """Values of a start, nearer to the middle where the data are impossible under it.

    Args:
        program: the model with its data.
        start: unconstrained numbers.
        is_free: whether the start may be moved; else it is for the engine to judge.
    """
    for _ in range(_HALVINGS if is_free else 0):
        params = program.coordinates.unpack(start)
        try:
            with torch.no_grad():
                if torch.isfinite(program.log_joint(params)):
                    return params
        except ValueError:
            # Far out a distribution may refuse its own parameters.
            pass
        start = start / 2
    return program.coordinates.unpack(start)


def _given(program: Program, values: Mapping[str, Any]) -> Params:
    """The user's values, checked."""
    params: dict[str, Tensor] = {}
    for name, value in values.items():
        if name not in program.priors:
            raise ValueError(
                f"init must name sites of the model, {', '.join(program.priors)}, got "
                f"{name!r}; name some of these"
            )
        prior = program.priors[name]
        params[name] = given_value(name, value, prior.shape(), prior.support)
    return params


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's generator seeded inside, for one thread, and as before outside."""
    with exclusively(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
