"""Normal laws of units one after another: a walk, or draws around a mean."""

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, Normal, constraints

from glmhmm_pyro.priors.answers import Question


class GaussianMarkov(TorchDistribution):
    r"""Units that begin anew or go on from the unit before, in independent numbers.

    .. math:: w_u \sim N(m, s_u^2) \text{ where a walk begins}, \quad
        w_u \sim N(w_{u-1}, s_u^2) \text{ elsewhere}

    Args:
        centre: m, that broadcasts to a unit's numbers, shape (*unit).
        scale: s, that broadcasts to (units, *unit).
        follows: whether a unit goes on from the one before, shape (units,).
        unit: shape of the numbers of one unit.
    """

    arg_constraints: dict = {}
    has_rsample = True

    def __init__(
        self, centre: Tensor, scale: Tensor, follows: Tensor, unit: torch.Size
    ):
        self.centre, self.follows, self.unit = centre.expand(unit), follows, unit
        self.scale = scale.expand(len(follows), *unit)
        super().__init__(torch.Size(), self.scale.shape, validate_args=False)

    @property
    def walks(self) -> bool:
        """Whether any unit goes on from another."""
        return bool(self.follows.any())

    @property
    def support(self) -> Any:
        """All real numbers."""
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        """The mean where a walk begins, for all units."""
        return self.centre.expand(self.event_shape)

    def expand(
        self, batch_shape: Sequence[int], _instance: TorchDistribution | None = None
    ) -> "GaussianMarkov":
        """Itself, which has no batch."""
        if torch.Size(batch_shape):
            raise NotImplementedError("a GaussianMarkov has no batch axes")
        return self

    def steps(self, value: Tensor) -> Tensor:
        """What each unit is away from where it comes from, (*batch, units, *unit)."""
        return value - self.origins(value)

    def origins(self, value: Tensor) -> Tensor:
        """Where each unit comes from: the one before, or the centre."""
        before = value.roll(1, -len(self.event_shape))
        return torch.where(self._beside(self.follows), before, self.centre)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of all units, shape (*batch,)."""
        normal = Normal(torch.zeros_like(self.scale), self.scale, validate_args=False)
        found: Tensor = normal.log_prob(self.steps(value))
        return found.flatten(-len(self.event_shape)).sum(-1)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws (*sample_shape, units, *unit)."""
        shape = (*torch.Size(sample_shape), *self.event_shape)
        noise = torch.randn(shape, dtype=self.scale.dtype, device=self.scale.device)
        units = -len(self.event_shape)
        steps = noise * self.scale
        begins = self._beside(~self.follows)
        steps = torch.where(begins, steps + self.centre, steps)
        sums = steps.cumsum(units)
        # What was summed up before a walk began is taken off again.
        first = torch.where(self.follows, 0, torch.arange(len(self.follows)))
        first = first.cummax(0).values
        earlier = (sums - steps).index_select(units, first)
        return sums - earlier

    def _beside(self, by_unit: Tensor) -> Tensor:
        return by_unit.reshape(-1, *(1 for _ in self.unit))


@Question
def markov(prior: Distribution) -> GaussianMarkov | None:
    """The prior itself, if it is normal and links each unit to the one before."""
    return None


@markov.register
def _(prior: GaussianMarkov) -> GaussianMarkov:
    return prior
