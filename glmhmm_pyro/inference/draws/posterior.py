"""Draws of the parameters from their posterior, or from an approximation to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from glmhmm_pyro.inference.program.coordinates import Params


@dataclass(frozen=True)
class Posterior:
    """Draws of all parameters, with what the method knows of each draw.

    Attributes:
        draws: values (chains, draws, *shape) by site, reference rows left out. States
            are numbered alike in all draws as far as the prior allows.
        stats: numbers (chains, draws) by name, such as ``log_joint``, ``diverging``.
        num_relabelled: number of draws whose states had to be renumbered.
        elbo: evidence lower bound at every step of variational inference, nats.
        by_label: where the prior tells states apart, or nothing says how parameters
            follow: what would number the states of every draw by what they do, state k
            being what is ``by_label[..., k]`` now (chains, draws, states); ``None``
            where that changes nothing.
    """

    draws: Params
    stats: Mapping[str, np.ndarray] = field(default_factory=dict)
    num_relabelled: int = 0
    elbo: np.ndarray | None = None
    by_label: Tensor | None = None

    @property
    def num_chains(self) -> int:
        """Number of chains; 1 where the draws are independent."""
        return next(iter(self.draws.values())).shape[0]

    @property
    def num_draws(self) -> int:
        """Number of draws of each chain."""
        return next(iter(self.draws.values())).shape[1]

    def mean(self) -> Params:
        """Mean of the draws of all chains, by site."""
        return {name: value.mean((0, 1)) for name, value in self.draws.items()}

    def flattened(self) -> dict[str, Tensor]:
        """Draws (chains * draws, *shape) by site, chain after chain."""
        return {name: value.flatten(0, 1) for name, value in self.draws.items()}

    def describe(self) -> str:
        """How many draws there are, and how many were relabelled."""
        renumbered = f"{self.num_relabelled} relabelled"
        return f"{self.num_chains} x {self.num_draws} draws, {renumbered}"
