"""Components whose states are not the pairs of states of their model.

A model on two levels has a state for every pair of a slow and a fast one. The slow
transitions have parameters by slow state, emissions often by fast state alone. They get
expected counts summed over the other level, and keep axes of their own.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

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
    """

    axes: Mapping[str, str]
    sizes: Mapping[str, int]
    num_states: int
    letter: str

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
