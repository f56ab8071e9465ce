"""A table of emissions whose states share laws: pairs that emit as one of the two."""

from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution

from glmhmm_pyro.distributions.output import Output
from glmhmm_pyro.masking import log_prob_of, observed_log_prob


class Shared(TorchDistribution):
    """Distributions by state, some of them the same.

    Args:
        law: batch shape (*batch, laws).
        states: the law of every state, shape (states,).

    Example:
        >>> from torch.distributions import Bernoulli
        >>> pairs = Shared(Bernoulli(torch.tensor([0.2, 0.9])), torch.tensor([0, 1, 0]))
        >>> pairs.mean
        tensor([0.2000, 0.9000, 0.2000])
    """

    arg_constraints: dict = {}

    def __init__(self, law: Distribution, states: Tensor):
        self.law, self.states = law, states
        batch_shape = law.batch_shape[:-1] + states.shape
        super().__init__(batch_shape, law.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """That of the laws."""
        return self.law.support

    @property
    def has_enumerate_support(self) -> bool:
        """Whether values can be listed."""
        return self.law.has_enumerate_support

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values."""
        values = self.law.enumerate_support(expand=False)
        if not expand:
            return values.reshape(values.shape[:1] + (1,) * len(self.batch_shape))
        return values.reshape((-1,) + (1,) * len(self.batch_shape)).expand(
            (-1,) + self.batch_shape
        )

    @property
    def mean(self) -> Tensor:
        """Means by state."""
        return self._spread(self.law.mean)

    @property
    def variance(self) -> Tensor:
        """Variances by state."""
        return self._spread(self.law.variance)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """A value for every state, each drawn for itself."""
        number = int(self.states.bincount().max())
        drawn = self.law.sample(torch.Size((*sample_shape, number)))
        turn = (self.states[:, None] == self.states).tril(-1).sum(-1)
        drawn = drawn.movedim(len(sample_shape), self._axis - 1)
        flat = drawn.flatten(self._axis - 1, self._axis)
        laws = self.law.batch_shape[-1]
        return flat.index_select(self._axis, turn.to(self.states) * laws + self.states)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log densities of values that are given once for all states, or by state."""
        return self._by_state(value, lambda own: log_prob_of(self.law, own))

    def cdf(self, value: Tensor) -> Tensor:
        """The same of cumulative probabilities."""
        return self._by_state(value, self.law.cdf)

    def log_prob_observed(self, value: Tensor, mask: Tensor) -> Tensor:
        """Log density of what a mask leaves of values given once for all states."""
        return self._spread(observed_log_prob(self.law, value, mask), axis=-1)

    def outputs(self, value: Tensor, mask: Tensor | None) -> dict[str, Output]:
        """What the emissions consist of, by name."""
        split = getattr(self.law, "outputs", None)
        if split is None:
            return {"": Output(self, value, mask)}
        return {
            name: output._replace(
                emission_dist=Shared(output.emission_dist, self.states)
            )
            for name, output in split(value, mask).items()
        }

    @property
    def _axis(self) -> int:
        """The axis of states, from the end, of a value."""
        return -1 - len(self.event_shape)

    def _spread(self, by_law: Tensor, axis: int | None = None) -> Tensor:
        return by_law.index_select(self._axis if axis is None else axis, self.states)

    def _by_state(self, value: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """A function of the laws and a value, at every state."""
        own = value.shape[self._axis] if value.dim() >= -self._axis else 1
        if own == 1:
            return function(value).index_select(-1, self.states)
        # Every law is asked for the value of every state, and the right one is taken.
        asked = function(value.movedim(self._axis, 0).unsqueeze(self._axis))
        found = asked.movedim(0, -2)
        index = self.states.expand(found.shape[:-1]).unsqueeze(-1)
        return found.gather(-1, index).squeeze(-1)
