"""Components, priors and terms of covariates written as values of a TOML file.

A class is a name, ``"Bernoulli"``, or a table of one entry, its name, with what it is
called with: a table of arguments, ``{Sticky = {stay = 20, move = 2}}``, or the first of
them, ``{Ridge = 2.0}``. Arguments may be classes themselves.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import Any

import torch
from torch.distributions import Dirichlet, Normal

from glmhmm_pyro import components, covariates, priors
from glmhmm_pyro.arguments import suggestion
from glmhmm_pyro.components import Emission, InitialState, Transitions
from glmhmm_pyro.covariates import Design, Term
from glmhmm_pyro.covariates.sources import Source

# What a TOML file can hold.
Written = str | bool | int | float | list[Any] | Mapping[str, Any]

# Classes by the names that they are written by.
Known = Mapping[str, Callable[..., Any]]


def _classes(room: ModuleType) -> Known:
    """The public classes of a room."""
    named = {name: getattr(room, name) for name in room.__all__}
    return {name: found for name, found in named.items() if isinstance(found, type)}


# Distributions of torch, and what they are given.
_LAWS = {
    Normal: "a mean and a scale above 0, such as {loc = 0.0, scale = 2.0}",
    Dirichlet: "a list of numbers above 0, such as [2, 2] for two states",
}

_PARTS: Known = {
    **_classes(components),
    **_classes(priors),
    "Varying": components.Varying,
    "Normal": Normal,
    "Dirichlet": Dirichlet,
}
_TERMS: Known = {
    name: term
    for name, term in _classes(covariates).items()
    if name not in ("FilterTerm", "Term")
}

# Inside SemiMarkov the names of laws of dwell times are not those of families.
_LAWS_OF_DWELLS: Known = {**_PARTS, **_classes(components.dwell)}

# Arguments that are lists of whole numbers, or of pairs of them.
_WHOLE = ("forbidden", "labels")

# All of them.
KNOWN: Known = {**_TERMS, **_PARTS}


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


def design(place: str, value: Written, columns: Collection[str]) -> Any:
    """Covariates: a design where terms are written among them, else as they stand.

    Args:
        place: where they are written, for errors.
        value: names of columns and terms.
        columns: of the table; what is called as one of them is that column.
    """
    known = {name: term for name, term in _TERMS.items() if name not in columns}
    entries = value if isinstance(value, list) else [value]
    terms = [built(place, entry, known) for entry in entries]
    for entry, term in zip(entries, terms):
        if isinstance(entry, Mapping) and not isinstance(term, Design | Term | Source):
            name = next(iter(entry), "")
            raise ValueError(
                f"{place} must be columns and terms, {', '.join(known)}, got "
                f"{entry!r:.80}{suggestion(name, known) or '; write one of these'}"
            )
    if len(terms) == 1 and isinstance(terms[0], Design):
        return terms[0]
    return Design(*terms) if any(isinstance(t, Term | Source) for t in terms) else value


def built(place: str, value: Written, known: Known = _PARTS) -> Any:
    """A value of the file, with the objects that it spells in place of their names."""
    if isinstance(value, str):
        return _called(place, known[value], {}, known) if value in known else value
    if isinstance(value, list):
        entries = [built(place, entry, known) for entry in value]
        numbers = all(isinstance(entry, int | float) for entry in entries)
        return torch.tensor(entries, dtype=torch.float64) if numbers else entries
    if not isinstance(value, Mapping):
        return value
    if len(value) == 1:
        ((name, given),) = value.items()
        if name in known:
            return _called(f"{place}.{name}", known[name], given, known)
    return {
        n: given if n in _WHOLE else built(f"{place}.{n}", given, known)
        for n, given in value.items()
    }


def _called(
    place: str, function: Callable[..., Any], given: Written, known: Known
) -> Any:
    """What the class makes of what is given to it."""
    known = _LAWS_OF_DWELLS if function is components.SemiMarkov else known
    given = built(place, given, known)
    try:
        if isinstance(given, Mapping):
            return function(**given)
        if isinstance(given, list) and _takes_many(function):
            return function(*given)
        return function(given)
    except (AttributeError, TypeError, ValueError) as error:
        if function in _LAWS:
            raise ValueError(
                f"{place} must be {_LAWS[function]}, got {_plain(given)!r:.60}; write "
                "numbers that it can have"
            ) from error
        raise ValueError(f"{place}: {error}") from error


def _plain(given: Any) -> Any:
    """A value as it was written."""
    return given.tolist() if isinstance(given, torch.Tensor) else given


def _takes_many(function: Callable[..., Any]) -> bool:
    """Whether the first argument of a class is any number of them."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first is not None and first.kind is first.VAR_POSITIONAL
