"""Rows and columns of objects of pandas and xarray, by the labels that they carry."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.callers import warn_caller

from .naming import MatchingWarning, brief
from .validation import Labels, column_names

if TYPE_CHECKING:
    import pandas as pd

# What came for an argument, and is given back with its columns or rows in order.
Columns = TypeVar("Columns", bound=ArrayLike | None)
Given = TypeVar("Given", bound=ArrayLike | Iterable[Hashable] | None)


def refuse_other_order(arguments: Mapping[str, Any]) -> None:
    """Raise an error for objects whose row labels are in different orders.

    Rows are joined by their place. Labels of which an object lacks some are no sign of
    another order: one of the two was numbered anew.
    """
    _refuse_other_axes({n: v for n, v in arguments.items() if _is_of_xarray(v)})
    labels = {name: _row_labels(values) for name, values in arguments.items()}
    labelled: dict[str, Any] = {n: v for n, v in labels.items() if v is not None}
    for name, index in labelled.items():
        first, known = next(iter(labelled.items()))
        if len(index) != len(known) or index.equals(known):
            continue
        if index.is_unique and known.is_unique and not len(index.difference(known)):
            row = int(np.argmax(np.asarray(index != known)))
            raise ValueError(
                f"{name} must have its rows in the order of {first}, got the same "
                f"index in another order (row {row} is {index[row]!r}, in {first} "
                f"{known[row]!r}); pass {name}.loc[{_called(first, arguments[first])}]"
            )


def _refuse_other_axes(arrays: Mapping[str, Any]) -> None:
    """Raise an error for arrays of xarray of which one has its steps along columns."""
    for first, known in arrays.items():
        for name, values in arrays.items():
            steps = known.dims[0]
            if steps in values.dims[1:] and values.dims[0] not in known.dims:
                raise ValueError(
                    f"{name} must have the steps along its first axis, got axes "
                    f"{', '.join(map(str, values.dims))}, where {first} has "
                    f"{steps!r} first; give {name}.transpose({steps!r}, ...)"
                )


def _called(name: str, values: Any) -> str:
    """How the labels of an object's rows are written."""
    if _is_of_xarray(values):
        return f"{name}.indexes[{values.dims[0]!r}]"
    return f"{name}.index"


def _is_of_xarray(values: Any) -> bool:
    """Whether it is an array with names of its axes."""
    is_labelled = hasattr(values, "dims") and hasattr(values, "indexes")
    return is_labelled and len(values.dims) > 0


def _row_labels(values: Any) -> "pd.Index | None":
    """Labels of the rows, where somebody gave them."""
    if _is_of_xarray(values):
        found: pd.Index | None = values.indexes.get(values.dims[0])
        return found
    if not _is_of_pandas(values) or _is_numbered(values.index):
        return None
    return values.index


def _is_of_pandas(
    values: ArrayLike | Iterable[Hashable] | None,
) -> "TypeGuard[pd.DataFrame]":
    """Whether it is a data frame or a Series."""
    return hasattr(values, "iloc")


def _is_numbered(index: "pd.Index") -> bool:
    """Whether an index is pandas' own, which nobody gave."""
    return type(index).__name__ == "RangeIndex"


def rows_in_order(values: Given, names: Sequence[str]) -> Given:
    """A pandas object with a row for each of these names, in their order.

    Anything else is given back as it is: what is no pandas object, or has an index of
    other labels, or none of its own.
    """
    if not _is_of_pandas(values) or _is_numbered(values.index):
        return values
    labels = [str(label) for label in values.index]
    if sorted(labels) != sorted(names) or len(set(labels)) < len(labels):
        return values
    return values.iloc[[labels.index(name) for name in names]]


def columns_in_order(argument: str, values: Columns, names: Labels | None) -> Columns:
    """A data frame with its columns in the order of these names.

    Names of other columns than the frame's rename them.

    Args:
        argument: that the frame was given as, for messages.
        values: a frame; anything else, which has no names, is given back as it is.
        names: of the columns wanted, or ``None``.

    Raises:
        ValueError: some columns are called anew, and one stands elsewhere.
    """
    found = column_names(values)
    if values is None or found is None or names is None or np.ndim(values) != 2:
        return values
    wanted = list(map(str, names))
    if sorted(found) == sorted(wanted):
        return columns_at(values, [found.index(name) for name in wanted])
    moved = [n for i, n in enumerate(found) if n in wanted[:i] + wanted[i + 1 :]]
    if moved and len(found) == len(wanted):
        raise ValueError(
            f"{argument} must have the columns {brief(wanted)}, each once, or be "
            f"renamed in every column, got {brief(found)}, of which {moved[0]!r} "
            "stands elsewhere; give the same columns in every session"
        )
    return values


def columns_at(values: "pd.DataFrame | np.ndarray", places: Sequence[int]) -> Any:
    """Columns of a frame or an array by their numbers; itself if nothing changes."""
    if list(places) == list(range(values.shape[1])):
        return values
    if _is_of_pandas(values):
        return values.iloc[:, list(places)]
    return values[:, list(places)]


def in_one_column_order(name: str, sessions: Sequence[Any]) -> list[Any]:
    """Frames of several sessions with their columns in the order of the first.

    Raises:
        ValueError: a session has other columns.

    Warns:
        MatchingWarning: some sessions have names and others none.
    """
    known = [column_names(s) if np.ndim(s) == 2 else None for s in sessions]
    named = [number for number, names in enumerate(known) if names is not None]
    if not named:
        return list(sessions)
    first = named[0]
    wanted: Any = known[first]
    for number in named:
        found: Any = known[number]
        if sorted(found) != sorted(wanted):
            raise ValueError(
                f"{name}[{number}] must have the columns of {name}[{first}], "
                f"{brief(wanted)}, got {brief(found)}; give all sessions the same "
                "columns"
            )
    if len(named) < len(sessions):
        number = known.index(None)
        warn_caller(
            f"the columns of {name}[{number}] have no names and are taken by their "
            f"place for those of {name}[{first}], {brief(wanted)}",
            MatchingWarning,
        )
    return [
        s if names is None else columns_at(s, [names.index(n) for n in wanted])
        for s, names in zip(sessions, known)
    ]
