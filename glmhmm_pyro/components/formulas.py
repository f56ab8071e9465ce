"""Formulas of M-steps, where they were written for the distribution of a component.

A class derived from one of the package's may have another distribution. What its base
says of the maximum then holds no more, and the optimiser finds it.
"""

from collections.abc import Mapping

from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.objectives import BlockObjective
from glmhmm_pyro.sequences import Sequences

# Methods that say what a distribution is.
_OF_LAW = ("distribution", "forward", "table", "logits", "log_probs", "design")


def exact_update(
    component: Component, counts: Tensor, data: Sequences, params: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What the component has a closed form for, by attribute.

    Arguments are those of :meth:`Component.closed_form`.
    """
    if not _is_for_law(component, "closed_form"):
        return {}
    return component.closed_form(counts, data, params) or {}


def fast_objective(component: Component, data: Sequences) -> BlockObjective | None:
    """The component's M-step by derivatives of its own, if it has one."""
    if not _is_for_law(component, "block_objective", "objective_of"):
        return None
    return component.block_objective(data)


def _is_for_law(component: Component, *methods: str) -> bool:
    """Whether the class that has a formula has the distribution of the component."""
    kind = type(component)
    home = _first_with(kind, *methods)
    if home is None:
        return False
    law = _first_with(home, *_OF_LAW)
    return law is None or law is _first_with(kind, *_OF_LAW)


def _first_with(kind: type, *methods: str) -> type | None:
    """The nearest class that defines one of these, of those that are not for all."""
    own = (base for base in kind.__mro__ if base not in Component.__mro__)
    return next((base for base in own if {*methods} & {*vars(base)}), None)
