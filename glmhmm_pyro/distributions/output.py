"""One output of the emissions: its distribution by state, and what to expect of it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution


class Output(NamedTuple):
    """One output of the emissions.

    Attributes:
        emission_dist: its distribution, batch shape (*batch, steps, states).
        value: shape (steps, *emission event).
        mask: as :class:`HiddenMarkov` takes it.
        family: name of the family that it belongs to, where there are several.
        column: its number among the outputs of that family, where it has several.
    """

    emission_dist: Distribution
    value: Tensor
    mask: Tensor | None
    family: str = ""
    column: int | None = None

    @property
    def is_discrete(self) -> bool:
        """Whether its values have probabilities, not densities."""
        support: Any = self.emission_dist.support
        return bool(support.is_discrete)

    @property
    def component(self) -> str:
        """Name of the component that it is an output of."""
        return f"emissions.{self.family}" if self.family else "emissions"


def outputs_of(
    emission_dist: Distribution, value: Tensor, mask: Tensor | None
) -> dict[str, Output]:
    """What emissions consist of, by name; a single output has no name.

    A distribution of several says so by a method ``outputs(value, mask)``.
    """
    split = getattr(emission_dist, "outputs", None)
    if split is None:
        return {"": Output(emission_dist, value, mask)}
    found: dict[str, Output] = split(value, mask)
    return found


def inner_name(family: str, output: str) -> str:
    """Name of an output of one of several families."""
    return f"{family}.{output}" if family and output else family or output


def expected_emission(emission_dist: Distribution, state_probs: Tensor) -> Tensor:
    """Mean emission, or probabilities of labels, given probabilities of the states."""
    if emission_dist.has_enumerate_support:
        values = emission_dist.enumerate_support()
        by_state = emission_dist.log_prob(values).exp().movedim(0, -1)
    else:
        by_state = emission_dist.mean
    extra = by_state.dim() - len(emission_dist.batch_shape)
    weights = state_probs.reshape(state_probs.shape + (1,) * extra)
    return (weights * by_state).sum(state_probs.dim() - 1)


def typed_by_support(values: Tensor, emission_dist: Distribution) -> Tensor:
    """Drawn emissions, as int64 where their family gives classes or counts.

    The family alone decides, not the type that some data have: a real number that is
    made a whole one is another number.

    Args:
        values: drawn from the distribution, or from several of its kind.
        emission_dist: the distribution.
    """
    support: Any = emission_dist.support
    if not support.is_discrete:
        return values
    classes = (values >= 0) & (values == values.floor())
    return values.to(torch.int64) if bool(classes.all()) else values
