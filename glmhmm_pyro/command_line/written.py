"""Components and priors written as values of a TOML file.

A class is a name, ``"Bernoulli"``, or a table of one entry, its name, with what it is
called with: a table of arguments, ``{Sticky = {stay = 20, move = 2}}``, or the first of
them, ``{Ridge = 2.0}``. Arguments may be classes themselves.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.distributions import Dirichlet, Normal

from glmhmm_pyro import components, priors
from glmhmm_pyro.arguments import suggestion
from glmhmm_pyro.components import Emission, InitialState, Transitions

# What a TOML file can hold.
Written = str | bool | int | float | list[Any] | Mapping[str, Any]

# What may be written beside the classes of components and priors.
_DISTRIBUTIONS = {"Normal": Normal, "Dirichlet": Dirichlet}


def component(place: str, value: Written, kind: type) -> Any:
    """A component of this kind.

    Args:
        place: where it is written, for errors.
        value: a name, or a table of one.
        kind: ``Emission``, ``Transitions`` or ``InitialState``.
    """
    made = built(place, value)
    if not isinstance(made, kind):
        known = [name for name in components.__all__ if _is_kind(name, kind)]
        name = next(iter(value), "") if isinstance(value, Mapping) else value
        raise ValueError(
            f"{place} must be one of {', '.join(known)}, got {value!r:.80}"
            f"{suggestion(str(name), known) or '; write one of these'}"
        )
    return made


def _is_kind(name: str, kind: type) -> bool:
    """Whether a name is that of a class of the kind which can be used as it is."""
    found = getattr(components, name)
    abstract = (Emission, Transitions, InitialState, components.GLMEmission)
    return (
        isinstance(found, type)
        and issubclass(found, kind)
        and found not in abstract
        and not name.startswith("Only")
    )


def built(place: str, value: Written) -> Any:
    """A value of the file, with the objects that it spells in place of their names."""
    if isinstance(value, str):
        found = _known(value)
        return value if found is None else _called(place, found, {})
    if isinstance(value, list):
        entries = [built(place, entry) for entry in value]
        numbers = all(isinstance(entry, int | float) for entry in entries)
        return torch.tensor(entries, dtype=torch.float64) if numbers else entries
    if not isinstance(value, Mapping):
        return value
    if len(value) == 1:
        ((name, given),) = value.items()
        found = _known(name)
        if found is not None:
            return _called(f"{place}.{name}", found, given)
    return {name: built(f"{place}.{name}", given) for name, given in value.items()}


def _known(name: str) -> Any:
    """The class of a name, if it is one that may be written."""
    for room in (components, priors):
        if name in room.__all__ and isinstance(getattr(room, name), type):
            return getattr(room, name)
    return _DISTRIBUTIONS.get(name)


def _called(place: str, function: Callable[..., Any], given: Written) -> Any:
    """What the class makes of what is given to it."""
    given = built(place, given)
    try:
        if isinstance(given, Mapping):
            return function(**given)
        return function(given)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from error
