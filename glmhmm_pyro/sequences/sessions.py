"""Which session is which, whatever its copies are called and wherever they stand."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .naming import Match, brief, by_place
from .validation import check_names


@dataclass(frozen=True)
class Session:
    """Which session this is, whatever its copies are called.

    Attributes:
        name: as it was given; or its number in the data set that numbered it.
        source: key of that data set, empty for a name that was given.
    """

    name: str
    source: str = ""


Known = tuple[str, Session]


def sessions_of(data: Any) -> tuple[Known, ...]:
    """Present name and identity of every session of a data set."""
    return tuple(zip(data.session_names, data.session_origins))


def rows_of_sessions(wanted: Sequence[Known], found: Sequence[Known]) -> Match:
    """For each session found, the row of the session wanted that it is, or a copy of.

    Args:
        wanted: present names and identities of the sessions that have rows.
        found: the same of the sessions that look for theirs.

    Raises:
        ValueError: a session has no row.
    """
    if tuple(wanted) == tuple(found):
        return Match(list(range(len(found))))
    rows: dict[object, int] = {}
    for row, (name, origin) in enumerate(wanted):
        rows.setdefault(origin, row)
        rows[name, origin] = row
    places = [rows.get(pair, rows.get(pair[1])) for pair in found]
    unknown = [name for (name, _), row in zip(found, places) if row is None]
    if not unknown:
        return Match([row for row in places if row is not None])
    unnamed = [all(o.source for _, o in side) for side in (wanted, found)]
    if any(unnamed) and len(wanted) == len(found) == len(unknown):
        pairs = [(old, new) for (old, _), (new, _) in zip(wanted, found)]
        return Match(list(range(len(found))), (by_place("sessions", pairs),))
    raise ValueError(
        "data must hold sessions whose initial probabilities were fitted "
        f"({brief([name for name, _ in wanted])}), got {brief(unknown)}; use "
        "Initial(per_session=False) to speak of new sessions, and session_names to "
        "say which session is which"
    )


def session_fields(names: Any, lengths: np.ndarray, emissions: np.ndarray) -> dict:
    """Names and identities of the sessions of a new data set.

    Sessions without names are known by the data set that numbers them, so that those of
    another one are not taken for them.

    Args:
        names: as given, or ``None``.
        lengths: steps of every session.
        emissions: of all sessions.
    """
    numbered = [str(session) for session in range(len(lengths))]
    checked = check_names("session_names", names, numbered)
    source = "" if names is not None else _key(lengths, emissions)
    origins = tuple(Session(name, source) for name in checked)
    return {"session_names": checked, "session_origins": origins}


def _key(*arrays: np.ndarray) -> str:
    """The same for the same contents, in every process."""
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """The same names, a repeated one told apart as 'name (2)', 'name (3)', ..."""
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
