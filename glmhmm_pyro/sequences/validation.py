"""What a caller passes, checked: names, lengths, covariates and choices of sessions."""

import difflib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from numbers import Number
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.arguments import has_items, is_missing, plain_item

from .arrays import plain_array, real_array

# Names of columns, classes, sessions: strings, or what is written as one.
Labels: TypeAlias = Iterable[Hashable]

# Sessions by number, name or slice, a list of numbers or names, a boolean for each.
Selected: TypeAlias = slice | int | str | Iterable[Any]


class _Rows(Protocol):
    """What has a row per step, such as an array of states."""

    def __len__(self) -> int:
        """Number of rows."""

    def __getitem__(self, rows: slice, /) -> Any:
        """Some of the rows."""


Rows = TypeVar("Rows", bound=_Rows)


def column_names(values: ArrayLike | None) -> tuple[str, ...] | None:
    """Names that columns carry already: of a data frame, a Series, or xarray's axis."""
    if hasattr(values, "collect_schema") and not hasattr(values, "to_numpy"):
        # A lazy frame, which is refused where its values are asked for.
        return None
    columns = getattr(values, "columns", None)
    dims, coords = getattr(values, "dims", None), getattr(values, "coords", None)
    if columns is None and dims is not None and coords is not None:
        last = dims[-1] if len(dims) == 2 else None
        columns = coords[last].values if last in coords else None
    elif columns is None and hasattr(values, "to_numpy"):
        name = getattr(values, "name", None)
        columns = None if name is None or name == "" else [name]
    return None if columns is None else tuple(map(str, columns))


def close_matches(wrong: str, known: Iterable[str]) -> str:
    """'; did you mean ...?' for a name that is not known, or nothing."""
    known = list(dict.fromkeys(known))
    # A session that shares its name with another's is called by its group as well.
    matches = [name for name in known if name.endswith(f"/{wrong}")][:3]
    matches = matches or difflib.get_close_matches(wrong, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def check_names(
    name: str, names: Labels | None, default: Sequence[str]
) -> tuple[str, ...]:
    """One name per item, no name twice; the defaults where ``names`` is None."""
    item = name.removesuffix("_names").replace("_", " ")
    names = default if names is None else names
    return unique_names(name, listed_names(name, names, len(default), item))


def listed_names(name: str, names: Labels, number: int, item: str) -> tuple[str, ...]:
    """Names as strings, checked: one for every item, none missing.

    Args:
        name: of the argument.
        names: what came.
        number: of the items.
        item: what one of them is called, for messages.
    """
    if isinstance(names, (str, bytes, Mapping, Set)) or not has_items(names):
        got = f"the string {names!r}" if isinstance(names, str) else f"{names!r:.80}"
        raise TypeError(
            f"{name} must be a list of strings, got {got}; give a list, in order"
        )
    listed = [plain_item(item) for item in names]
    if any(not isinstance(i, Hashable) or hasattr(i, "__array__") for i in listed):
        raise TypeError(
            f"{name} must be a list of strings, got {names!r:.80}; give one name each"
        )
    unknown = [item for item in listed if is_missing(item)]
    if unknown:
        raise ValueError(
            f"{name} must all be known, got {unknown[0]} among them; name all"
        )
    checked = tuple(map(str, listed))
    if len(checked) != number:
        raise ValueError(
            f"{name} must have {number} entries, one for each of the {item}s, got "
            f"{len(checked)}: {', '.join(checked[:12]):.200}; give as many names"
        )
    return checked


def unique_names(name: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names as they came, refused where one comes twice."""
    twice = [item for item, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"{name} must differ from each other, got {twice[0]!r} twice; rename one"
        )
    return names


def check_rows(values: Rows, num_steps: int) -> None:
    """Raise a ValueError if there is not a row for every step."""
    has_rows = hasattr(values, "__getitem__") and has_items(values)
    has_rows = has_rows and not hasattr(values, "todense")
    rows = len(values) if has_rows else 0
    if rows != num_steps:
        raise ValueError(
            f"values must have {num_steps} rows, one per step, got {rows} "
            f"({type(values).__name__}); give what was made of these data"
        )


def check_lengths(lengths: ArrayLike | None, num_steps: int) -> np.ndarray:
    """Steps of every session, as int64; one session where ``lengths`` is None."""
    if lengths is None:
        lengths = [num_steps]
    if isinstance(lengths, Number):
        raise ValueError(
            "lengths must be a list of whole numbers, the steps of each session, got "
            f"{lengths!r}; give [{lengths!r}] for a single session"
        )
    array = plain_array("lengths", lengths)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise ValueError(
            "lengths must be a list of whole numbers, the steps of each session, got "
            f"shape {array.shape} of dtype {array.dtype}; give a flat list, or an "
            "array's .astype(int)"
        )
    counts: list[int] = array.tolist()
    if not counts or min(counts) < 1:
        short = counts.index(min(counts)) if counts else 0
        raise ValueError(
            "lengths must be at least 1 for every session, "
            f"got {counts[short] if counts else 'none'} for session {short}; "
            "leave empty sessions out"
        )
    if sum(counts) != num_steps:
        raise ValueError(
            f"lengths must sum to the {num_steps} steps of emissions, got a sum of "
            f"{sum(counts)} over {len(counts)} sessions; give the steps of each session"
        )
    return array.astype(np.int64)


def read_features(name: str, values: ArrayLike, num_rows: int, rows: str) -> np.ndarray:
    """Real numbers of shape (num_rows, features); a vector is one feature.

    Args:
        rows: what a row is, for the message: 'steps' or 'sessions'.
    """
    array = real_array(name, values)
    if array.ndim == 1 and len(array) == num_rows:
        array = array[:, None]
    if array.ndim == 2 and len(array) == num_rows and array.shape[1]:
        return array
    if array.ndim == 2 and len(array) != num_rows and array.shape[1] == num_rows:
        raise ValueError(
            f"{name} must have shape ({rows}, features), got {array.shape}, which is "
            f"(features, {rows}); pass the transposed array, {name}.T"
        )
    fix = f"give one row for each of the {rows}"
    if array.ndim == 2 and not array.shape[1]:
        fix = f"leave {name} out where there are none"
    raise ValueError(
        f"{name} must have shape ({num_rows}, features), one row for each of the "
        f"{rows}, got {array.shape}; {fix}"
    )


def refuse_bad_entries(name: str, bad: np.ndarray, names: Sequence[str]) -> None:
    """Raise a ValueError for NaN and infinity, naming columns and rows of ``bad``."""
    if not bad.any():
        return
    columns = np.flatnonzero(bad.any(axis=0)).tolist()
    found = [f"{names[c]!r} ({brief_rows(bad[:, c])})" for c in columns[:4]]
    more = f" and {len(columns) - 4} columns more" if len(columns) > 4 else ""
    raise ValueError(
        f"{name} must be finite, got {bad.sum()} NaN or infinite values in "
        f"column{'s' * (len(columns) > 1)} {', '.join(found)}{more}; fill them in, for "
        "example by covariates.Imputed in a Design, or leave those sessions out (only "
        "emissions may be missing)"
    )


def brief_rows(bad: np.ndarray) -> str:
    """Rows at which something is True, the first of them by number."""
    rows = np.flatnonzero(bad).tolist()
    listed = ", ".join(map(str, rows[:6]))
    more = f" and {len(rows) - 6} more" if len(rows) > 6 else ""
    return f"row{'s' * (len(rows) > 1)} {listed}{more}"


def selected_sessions(selection: Selected | None, names: Sequence[str]) -> list[int]:
    """Numbers of the sessions that an index, slice, mask or name selects."""
    if isinstance(selection, slice):
        chosen = list(range(len(names)))[selection]
    elif isinstance(selection, (str, int, np.integer)) and selection is not True:
        chosen = _session_numbers([selection], names)
    elif getattr(selection, "ndim", None) == 0 and hasattr(selection, "item"):
        chosen = _session_numbers([selection], names)
    else:
        chosen = _session_numbers(selection, names)
    if not chosen:
        raise ValueError(
            "sessions must be selected, one at least, got none; name some of "
            f"{', '.join(names[:8])}"
        )
    return chosen


def sessions_of_groups(
    selection: Selected, groups: Sequence[str] | None, sessions: Selected | None = None
) -> list[int]:
    """Numbers of the sessions of one group, or of several in the order named.

    Args:
        selection: name of a group, or a list of names.
        groups: the group of every session, or ``None``.
        sessions: what was selected beside, which must be nothing.
    """
    if groups is None:
        raise ValueError(
            "groups must be selected from data that have groups, got "
            f"{selection!r:.60} for data without; give groups to Sequences, or group= "
            "to Sequences.from_dataframe"
        )
    if sessions is not None:
        raise ValueError(
            f"groups must be selected alone, got sessions {sessions!r:.60} beside; "
            "take data.subset(groups=...).subset(sessions)"
        )
    names: list[Any] = [selection]
    if has_items(selection) and not isinstance(selection, str):
        names = list(selection)
    wanted = listed_names("groups", names, len(names), "group")
    unknown = [name for name in wanted if name not in groups]
    if unknown or not wanted:
        known = ", ".join(dict.fromkeys(groups))
        got = repr(unknown[0]) if unknown else "none"
        raise KeyError(
            f"groups must be among those of the data, {known:.200}, got {got}"
            f"{close_matches(unknown[0], groups) if unknown else ''}; name some of them"
        )
    return [i for name in wanted for i, group in enumerate(groups) if group == name]


def one_session(selection: Selected, names: Sequence[str]) -> int:
    """The number of the one session that is selected."""
    chosen = selected_sessions(selection, names)
    if len(chosen) != 1:
        raise ValueError(
            f"session must be one session, by its name or its number, got {len(chosen)}"
            f" of them ({selection!r:.60}); take one, or data.subset(...) of several"
        )
    return chosen[0]


def _session_numbers(selection: Selected | None, names: Sequence[str]) -> list[int]:
    if isinstance(selection, (Mapping, Set)) or not has_items(selection):
        raise TypeError(
            "sessions must be selected by number, name, slice, a list of these or a "
            f"boolean per session, got {selection!r:.80}; give a list, such as [0, 2]"
        )
    listed = list(selection)
    items = [plain_item(item) for item in listed]
    if items and all(isinstance(item, bool) for item in items):
        if len(items) != len(names):
            raise ValueError(
                "sessions selected by booleans must have one for each of the "
                f"{len(names)} sessions, got {len(items)}; give as many"
            )
        return [number for number, chosen in enumerate(items) if chosen]
    for item in items:
        if isinstance(item, bool) or not isinstance(item, (str, int)):
            raise TypeError(
                "sessions must be selected by number, name, slice, a list of these or "
                f"a boolean per session, got {item!r:.80} in a list; give whole "
                "numbers or names"
            )
    return [_session_number(item, names) for item in items]


def _session_number(item: int | str, names: Sequence[str]) -> int:
    if isinstance(item, str):
        if item not in names:
            known = close_matches(item, names) or f"; there are {', '.join(names[:8])}"
            raise KeyError(f"session must be one of the data, got {item!r}{known}")
        return names.index(item)
    if not -len(names) <= item < len(names):
        raise IndexError(
            f"session must be a number from 0 to {len(names) - 1}, got {item}; a name "
            "is given as a string"
        )
    return int(item) % len(names)


def check_count(name: str, value: int, least: int = 1) -> None:
    """Raise an error if a count is no whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(
            f"{name} must be a whole number, got {value!r}; give {least} or more"
        )
    if value < least:
        raise ValueError(
            f"{name} must be at least {least}, got {value}; give {least} or more"
        )
    if value >= 2**31:
        raise ValueError(
            f"{name} must be below 2**31, got {value!r:.80}; give a smaller number"
        )
