"""Components whose states are not the pairs of states of their model.

A model on two levels has a state for every pair of a slow and a fast one. The slow
transitions have parameters by slow state, emissions often by fast state alone. They get
expected counts summed over the other level, and keep axes of their own.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    from glmhmm_pyro.components.base import Component


class OwnStates:
    """From the states of a model to those of one of its components.

    Attributes:
        axes: what the axes of its parameters are called, where users see them.
        sizes: of these axes.
        num_states: number of states of the model.
        letter: of its states, in equations.
        counts_of: the expected counts of an E-step from which its own are made, where
            they are not those that components of its kind read.
    """

    axes: Mapping[str, str]
    sizes: Mapping[str, int]
    num_states: int
    letter: str
    counts_of: str | None = None

    def counts(self, counts: Tensor, data: Sequences) -> Tensor:
        """Expected counts of the component's states, from those of the model's."""
        raise NotImplementedError

    def steps(self, data: Sequences) -> Tensor | None:
        """Steps whose transitions it speaks of, (steps,); ``None`` for all."""
        return None

    def state(self, state: int) -> int:
        """The component's state that goes with one of the model's."""
        raise NotImplementedError

    def permuted(
        self, component: "Component", name: str, value: Tensor, order: Tensor
    ) -> Tensor:
        """A parameter where state k of the model is what was ``order[k]``."""
        raise NotImplementedError


class HasOwnStates:
    """Mixin of components: the states that they speak of.

    Attributes:
        own_states: these, where they are not the model's.
    """

    own_states: OwnStates | None = None
    counts_of: ClassVar[str]
    permuted: Callable[[str, Tensor, Tensor], Tensor]

    @property
    def counted_from(self) -> str:
        """The expected counts of an E-step from which its own are made."""
        known = self.own_states
        return (known.counts_of if known else None) or self.counts_of

    def own_counts(self, counts: Tensor, data: Sequences) -> Tensor:
        """Expected counts of its own states, from those of the model's."""
        known = self.own_states
        return counts if known is None else known.counts(counts, data)

    def renumbered(self, name: str, value: Tensor, order: Tensor) -> Tensor:
        """A parameter where state k of the model is what was ``order[k]``."""
        known = self.own_states
        if known is None:
            return self.permuted(name, value, order)
        return known.permuted(self, name, value, order)  # type: ignore[arg-type]

    def shown_axes(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        """What axes of its parameters are called where users see them."""
        called = {} if self.own_states is None else self.own_states.axes
        return tuple(called.get(axis, axis) for axis in axes)
