"""Which session is which, whatever its copies are called and wherever they stand."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .indexed import rows_in_order
from .naming import by_place
from .validation import Labels, listed_names, unique_names

if TYPE_CHECKING:
    from .data import Sequences


@dataclass(frozen=True)
class Session:
    """Which session this is, whatever its copies are called.

    Attributes:
        name: as it was given; or its number in the data set that numbered it.
        source: key of that data set, empty for a name that was given.
        group: that it belongs to, such as an animal, where sessions have groups.
    """

    name: str
    source: str = ""
    group: str | None = None

    def key(self, grouped: bool = True) -> tuple[str | None, str, str]:
        """What tells it from all other sessions; its group too, where they have any.

        In group 'a' the names 'day 1' and 'a/day 1' mean the same session.
        """
        if self.group is None or not grouped:
            return None, self.name, self.source
        return self.group, self.name.removeprefix(f"{self.group}/"), self.source


Known = tuple[str, Session]


def sessions_of(data: "Sequences") -> tuple[Known, ...]:
    """Present name and identity of every session of a data set."""
    return tuple(zip(data.session_names, data.session_origins))


def rows_of_sessions(
    wanted: Sequence[Known], found: Sequence[Known]
) -> tuple[list[int | None], tuple[str, ...]]:
    """For each session found, the row of the session wanted that it is, or a copy of.

    Where both sides have groups, sessions of two groups are never the same, whatever
    their names. Where one side has none, names tell, if one group alone has them.

    Args:
        wanted: present names and identities of the sessions that have rows.
        found: the same of the sessions that look for theirs.

    Returns:
        The rows, ``None`` where there is none; sentences on what was matched by place.
    """
    by_order: list[int | None] = list(range(len(found)))
    if tuple(wanted) == tuple(found):
        return by_order, ()
    sides = [[origin for _, origin in side] for side in (wanted, found)]
    grouped = all(o.group is not None for side in sides for o in side)
    ambiguous = set() if grouped else _of_several_groups([*sides[0], *sides[1]])
    rows: dict[object, int] = {}
    for row, (name, origin) in enumerate(wanted):
        if (key := origin.key(grouped)) not in ambiguous:
            rows.setdefault(key, row)
            rows[name, key] = row
    keys = [origin.key(grouped) for origin in sides[1]]
    places = [
        rows.get((name, key), rows.get(key)) for (name, _), key in zip(found, keys)
    ]
    unnamed = any(all(origin.source for origin in side) for side in sides)
    if unnamed and len(wanted) == len(found) == places.count(None):
        of_groups = [[origin.group for origin in side] for side in sides]
        if not grouped or of_groups[0] == of_groups[1]:
            pairs = [(old, new) for (old, _), (new, _) in zip(wanted, found)]
            return by_order, (by_place("sessions", pairs),)
    return places, ()


def _of_several_groups(origins: Sequence[Session]) -> set[tuple]:
    """Keys without the group that sessions of more than one group have."""
    seen: dict[tuple, set[str]] = {}
    for origin in origins:
        groups = seen.setdefault(origin.key(grouped=False), set())
        groups |= set() if origin.group is None else {origin.group}
    return {key for key, groups in seen.items() if len(groups) > 1}


def session_fields(
    names: Labels | None,
    groups: Labels | None,
    lengths: np.ndarray,
    emissions: np.ndarray,
) -> dict:
    """Names and identities of the sessions of a new data set.

    Sessions without names are known by the data set that numbers them, so that those of
    another one are not taken for them.

    Args:
        names: as given, or ``None``.
        groups: the group of every session as given, or ``None``.
        lengths: steps of every session.
        emissions: of all sessions.
    """
    source, number = "", len(lengths)
    if names is None:
        source, names = _key(lengths, emissions), [str(i) for i in range(number)]
    listed = listed_names("session_names", names, number, "session")
    known: Sequence[str | None] = [None] * number
    if groups is not None:
        # A group for every name, if that is how they are labelled.
        groups = rows_in_order(groups, listed)
        known = listed_names("groups", groups, number, "session")
    origins = tuple(Session(name, source, of) for name, of in zip(listed, known))
    names = names_with_groups(listed, origins)
    return {
        "session_names": unique_names("session_names", names),
        "session_origins": origins,
    }


def regrouped(origins: Sequence[Session], groups: Sequence[str] | None) -> tuple:
    """The same sessions in other groups, or in none.

    Raises:
        ValueError: nothing would tell two of the sessions apart.
    """
    given: Sequence[str | None] = groups or [None] * len(origins)
    moved = tuple(replace(origin, group=g) for origin, g in zip(origins, given))
    before: dict[tuple, Session] = {}
    for origin, new in zip(origins, moved):
        if before.setdefault(new.key(), origin).key() != origin.key():
            raise ValueError(
                "groups must tell apart the sessions of one name, got "
                f"{new.name!r} twice in {new.group or 'no group'}; give session_names "
                "too"
            )
    return moved


def _key(*arrays: np.ndarray) -> str:
    """Hash of the contents of arrays, the same in every process."""
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def names_with_groups(
    names: Sequence[str], origins: Sequence[Session]
) -> tuple[str, ...]:
    """Names, as 'group/name' where sessions of several groups share one."""
    bearers: dict[str, set[str | None]] = {}
    for name, origin in zip(names, origins):
        bearers.setdefault(name, set()).add(origin.group)
    return tuple(
        name if len(bearers[name]) == 1 else f"{origin.group}/{name}"
        for name, origin in zip(names, origins)
    )


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names, repeated ones told apart as 'name (2)', 'name (3)', ..."""
    taken, used, counts = set(names), set(), Counter[str]()
    distinct = []
    for name in names:
        candidate = name
        while candidate in used:
            counts[name] += 1
            copy = f"{name} ({counts[name] + 1})"
            candidate = name if copy in taken else copy
        used.add(candidate)
        distinct.append(candidate)
    return tuple(distinct)
