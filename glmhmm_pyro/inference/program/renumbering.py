"""How the parameters of a model change when its hidden states are renumbered."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.components.base import STATE_AXES, Component
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program

StateAxes = Mapping[str, Sequence[int]]


class Renumbering:
    """Maps parameters of a model to those with renumbered states.

    Args:
        model: a ``GLMHMM``, whose components know it, or a model of the user's own.
        params: values of its sites, for their shapes.
        state_axes: axes along which states stand, by site, for sites that are no
            parameters of a component. Sites not named stay as they are.

    Attributes:
        states: number of states, where the model says it.
        unknown: sites that may depend on the numbering in an undeclared way; with any
            of them nothing can be renumbered.
        advice: how to declare them, in words.

    Raises:
        ValueError: ``state_axes`` names what is no site or no axis.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        params: Params,
        state_axes: StateAxes | None,
    ):
        self.components: dict[str, tuple[Component, str]] = {}
        known: dict[str, list[int]] = {}
        for prefix, component in Program.kind_of(model).components_of(model).items():
            for attribute in component.sites:
                self.components[f"{prefix}.{attribute}"] = (component, attribute)
            known |= _axes_of_hyperparameters(prefix, component, params)
        self.states: int | None = getattr(model, "num_states", None)
        given = _checked_axes(params, state_axes or {}, self.components)
        self.axes = known | given
        self.unknown = [n for n, value in params.items() if self._is_unknown(n, value)]

    @property
    def advice(self) -> str:
        """How to declare the axes of states of the unknown sites."""
        names = [name for name in self.unknown if name in self.components]
        if names:
            component, attribute = self.components[names[0]]
            return (
                f"override permuted(name, value, order) in {type(component).__name__}, "
                f"for {attribute!r} has not all states on an axis"
            )
        return f"give state_axes, the axes of states in {', '.join(self.unknown)}"

    def _is_unknown(self, name: str, value: Tensor) -> bool:
        """Whether it is undeclared how a site depends on the numbering."""
        if name not in self.components:
            return name not in self.axes and self._may_hold_states(value)
        component, attribute = self.components[name]
        try:
            component.renumbered(attribute, value, self._unchanged(component, value))
        except ValueError:
            return True
        return False

    @staticmethod
    def _unchanged(component: Component, value: Tensor) -> Tensor:
        """The order of all states of the model that changes nothing."""
        own = component.own_states
        states = component.num_states or 0 if own is None else own.num_states
        return torch.arange(states, device=value.device)

    def _may_hold_states(self, value: Tensor) -> bool:
        """Whether an undeclared site could have an axis of states."""
        if self.components:
            return self.states in value.shape
        return not self.axes

    def __call__(self, params: Params, order: Tensor) -> Params:
        """Values (*batch, *shape) with state k being what was ``order[k]``."""
        permuted = dict(params)
        for name, value in params.items():
            if name in self.components:
                component, attribute = self.components[name]
                permuted[name] = component.renumbered(attribute, value, order)
            for axis in self.axes.get(name, ()):
                if value.shape[axis] != len(order):
                    raise ValueError(
                        f"state_axes[{name!r}] must be axes of the {len(order)} "
                        f"states, got axis {axis} of size {value.shape[axis]}"
                        "; name the axis of the states"
                    )
                permuted[name] = permuted[name].index_select(axis, order)
        return permuted


def _axes_of_hyperparameters(
    prefix: str, component: Component, params: Params
) -> dict[str, list[int]]:
    """Axes of all states, from the end, of the sites that recipes of priors sample.

    An axis without the reference state stays as it is: what belongs to its entries is
    not the state but the contrast, and symmetry finds out what that costs.
    """
    found = {}
    for end, axes in component.hyperparameters.items():
        value = params.get(f"{prefix}.{end}")
        if value is not None and value.dim() == len(axes):
            found[f"{prefix}.{end}"] = [
                position - len(axes)
                for position, axis in enumerate(axes)
                if axis in STATE_AXES and value.shape[position] == component.num_states
            ]
    return found


def _checked_axes(
    params: Params, state_axes: StateAxes, components: Mapping[str, Any]
) -> dict[str, list[int]]:
    """The user's axes, counted from the end."""
    checked = {}
    for name, axes in state_axes.items():
        if name not in params or name in components:
            free = [n for n in params if n not in components]
            raise ValueError(
                f"state_axes must name sites of the model that are no parameters of a "
                f"component, {', '.join(free) or 'which has none'}, got {name!r}"
                "; name some of these"
            )
        dim = params[name].dim()
        if not all(-dim <= axis < dim for axis in axes):
            raise ValueError(
                f"state_axes[{name!r}] must be axes of a value of shape "
                f"{tuple(params[name].shape)}, got {tuple(axes)}"
                "; count the axes from 0, or back from -1"
            )
        checked[name] = [axis - dim if axis >= 0 else axis for axis in axes]
    return checked
