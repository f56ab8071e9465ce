"""Matching by name: which of what is found is which of what was wanted.

A name that someone gave says which column, output or session it is, wherever it stands.
A name that was made up ('x0', '0') says no more than a place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .validation import Labels, check_names, close_matches


def names_of(design: str) -> str:
    """The argument that names the columns of a design."""
    return f"{design.removesuffix('s')}_names"


class MatchingWarning(UserWarning):
    """Something without a name was taken, by its place, for something that has one."""


@dataclass(frozen=True)
class Names:
    """Names in their order, and those among them that nobody gave.

    Attributes:
        names: all of them, no name twice.
        generated: those that were made up.
    """

    names: tuple[str, ...]
    generated: tuple[str, ...] = ()

    def are_given(self, number: int) -> bool:
        """Whether someone gave this one."""
        return self.names[number] not in self.generated


def given_or_numbered(
    argument: str,
    names: Labels | None,
    own: tuple[str, ...] | None,
    numbered: Sequence[str],
) -> Names:
    """Names as given, or those that the values carry, or made up.

    Args:
        argument: that names them, for messages.
        names: as given, or ``None``.
        own: names that the values carry, or ``None``.
        numbered: what is made up where there are no others.
    """
    if names is None and own is None:
        return Names(tuple(numbered), tuple(numbered))
    return Names(check_names(argument, own if names is None else names, numbered))


class Match(NamedTuple):
    """What is found, in the order of what was wanted.

    Attributes:
        places: for each that was wanted, its place among those found.
        notes: sentences on what was matched by place.
    """

    places: list[int]
    notes: tuple[str, ...] = ()


def matched(what: str, wanted: Names, found: Names) -> Match:
    """Places of the names wanted among those found; others are passed over.

    Names that were given are matched first. What is left is matched by place if there
    is as much of it on both sides and nowhere a name that was given meets another one.

    Args:
        what: the argument that the names are of, for messages.
        wanted: names as they are read.
        found: names as they came.

    Raises:
        ValueError: a name is lacking, or there are other columns than are read.
    """
    if wanted.names == found.names:
        return Match(list(range(len(wanted.names))))
    by_name = {n: i for i, n in enumerate(found.names) if found.are_given(i)}
    places = [
        by_name.get(name) if wanted.are_given(i) else None
        for i, name in enumerate(wanted.names)
    ]
    open_places = [i for i, place in enumerate(places) if place is None]
    left = [i for i in range(len(found.names)) if i not in places]
    pairs = list(zip(open_places, left))
    named = any(wanted.are_given(i) and found.are_given(j) for i, j in pairs)
    if open_places and (named or len(open_places) != len(left)):
        _refuse(what, wanted, found, open_places)
    for i, j in pairs:
        places[i] = j
    words = [(wanted.names[i], found.names[j]) for i, j in pairs]
    unlike = [(one, other) for one, other in words if one != other]
    if unlike and sorted(one for one, _ in words) == sorted(two for _, two in words):
        raise ValueError(
            f"{what} must not have names that were made up in other data, in another "
            f"order, got {brief(found.names)} for {brief(wanted.names)}; name them in "
            "all data"
        )
    notes = (by_place(what, unlike),) if unlike else ()
    return Match([place for place in places if place is not None], notes)


def _refuse(what: str, wanted: Names, found: Names, open_places: Sequence[int]) -> None:
    """The error for names that are lacking, or for numbers that differ."""
    lacking = [wanted.names[i] for i in open_places if wanted.are_given(i)]
    if not lacking or not any(map(found.are_given, range(len(found.names)))):
        size, number = len(wanted.names), len(found.names)
        raise ValueError(
            f"{what} must have {size} column{'s' * (size > 1)}, as in the data that "
            f"the model was bound to ({brief(wanted.names)}), got {number} "
            f"({brief(found.names)}); give those columns"
        )
    others = [name for name in found.names if name not in wanted.names]
    raise ValueError(
        f"{what} must have {brief(list(map(repr, lacking)))}, which the model knows by "
        f"name, got {brief(list(map(repr, found.names)))}"
        f"{close_matches(lacking[0], others)}; give what is read the name that it "
        "had in the data of the fit"
    )


def by_place(what: str, pairs: Sequence[tuple[str, str]]) -> str:
    """A sentence on what was matched by place; pairs of what is read, and what came."""
    read = brief([f"{found} as {wanted}" for wanted, found in pairs])
    return (
        f"{what} are matched by place, for not all have names: {read}; name them "
        "alike in all data, and they are matched by name"
    )


def brief(words: Sequence[str]) -> str:
    """A list of words, the middle of a long one left out."""
    if len(words) <= 8:
        return ", ".join(words)
    return f"{', '.join(words[:4])}, ..., {words[-1]} ({len(words)} in all)"
