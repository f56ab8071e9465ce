"""What a caller passes, turned into checked arrays: every error message of a data set.

Nothing here changes its input: arrays are copied before anything is written.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch import Tensor


def plain_array(name: str, values: Any) -> np.ndarray:
    """A numpy copy of a tensor, array, list, Series or DataFrame, whatever its type."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
        return values.numpy().copy()
    if hasattr(values, "columns"):
        columns = [plain_array(name, values.iloc[:, i]) for i in range(values.shape[1])]
        return np.stack(columns, axis=1) if columns else np.empty(values.shape)
    if hasattr(values, "to_numpy"):
        return _series_array(values)
    if isinstance(values, (list, tuple)):
        values = [
            item.tolist() if isinstance(item, Tensor) else item for item in values
        ]
    try:
        return np.array(values)
    except ValueError as error:
        raise ValueError(
            f"{name} must be a rectangular array, got rows of different lengths; "
            "give sessions of different lengths to Sequences.from_lists"
        ) from error


def _series_array(series: Any) -> np.ndarray:
    """Values of a pandas Series; the missing ones of a nullable number type are NaN."""
    nullable = not isinstance(series.dtype, np.dtype) and series.dtype.kind in "biuf"
    if not nullable:
        return np.array(series.to_numpy())
    if series.isna().any():
        return series.to_numpy(dtype=float, na_value=np.nan)
    return np.array(series.to_numpy(dtype=series.dtype.numpy_dtype))


def real_array(name: str, values: Any) -> np.ndarray:
    """A numpy copy of real numbers.

    Raises:
        TypeError: for complex numbers, strings and mixtures of types.
    """
    array = plain_array(name, values)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must hold real numbers, got dtype {array.dtype}; code each "
            "category as a 0/1 column, a complex number as two columns"
        )
    return array


def column_names(values: Any) -> tuple[str, ...] | None:
    """Names that columns carry already: of a data frame, a Series, or xarray's axis."""
    columns = getattr(values, "columns", None)
    if columns is None and hasattr(values, "dims") and hasattr(values, "coords"):
        last = values.dims[-1] if values.ndim == 2 else None
        columns = values.coords[last].values if last in values.coords else None
    elif columns is None and hasattr(values, "to_numpy"):
        name = getattr(values, "name", None)
        columns = None if name is None or name == "" else [name]
    return None if columns is None else tuple(map(str, columns))


def close_matches(wrong: str, known: Iterable[str]) -> str:
    """'; did you mean ...?' for a name that is not known, or nothing."""
    matches = difflib.get_close_matches(wrong, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def check_names(name: str, names: Any, default: Sequence[str]) -> tuple[str, ...]:
    """One name per item, no name twice; the defaults where ``names`` is None."""
    if names is None:
        names = default
    if isinstance(names, str):
        raise TypeError(f"{name} must be a list of strings, got the string {names!r}")
    checked = tuple(map(str, names))
    if len(checked) != len(default):
        raise ValueError(
            f"{name} must have {len(default)} entries, one for each, "
            f"got {len(checked)}: {', '.join(checked[:12])}"
        )
    return unique_names(name, checked)


def unique_names(name: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The names as they came, refused where one comes twice."""
    twice = [item for item, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{name} must differ from each other, got {twice[0]!r} twice")
    return names


def check_lengths(lengths: Any, num_steps: int) -> np.ndarray:
    """Steps of every session, as int64; one session where ``lengths`` is None."""
    if lengths is None:
        lengths = [num_steps]
    array = real_array("lengths", lengths)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise ValueError(
            "lengths must be a list of whole numbers, the steps of each session, "
            f"got shape {array.shape} of dtype {array.dtype}"
        )
    if not array.size or array.min() < 1:
        short = int(array.argmin()) if array.size else 0
        raise ValueError(
            "lengths must be at least 1 for every session, "
            f"got {array[short] if array.size else 'none'} for session {short}; "
            "leave empty sessions out"
        )
    if array.sum() != num_steps:
        raise ValueError(
            f"lengths must sum to the {num_steps} steps of emissions, "
            f"got a sum of {array.sum()} over {array.size} sessions"
        )
    return array.astype(np.int64)


def read_features(name: str, values: Any, num_rows: int, rows: str) -> np.ndarray:
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
            f"(features, {rows}): pass the transposed array, {name}.T"
        )
    raise ValueError(
        f"{name} must have shape ({num_rows}, features), one row for each of the "
        f"{rows}, got {array.shape}"
    )


def refuse_bad_entries(name: str, bad: np.ndarray, names: Sequence[str]) -> None:
    """Refuse NaN and infinity, naming the first guilty column of ``bad``."""
    if not bad.any():
        return
    column = int(bad.any(axis=0).argmax())
    raise ValueError(
        f"{name} must be finite, got {bad[:, column].sum()} NaN or infinite values in "
        f"column {names[column]!r}, the first in row {bad[:, column].argmax()}; fill "
        "them in or leave those sessions out (only emissions may be missing)"
    )


def selected_sessions(selection: Any, names: Sequence[str]) -> list[int]:
    """Numbers of the sessions that an index, slice, mask or name selects."""
    if isinstance(selection, slice):
        chosen = list(range(len(names)))[selection]
    else:
        if isinstance(selection, str) or np.ndim(selection) == 0:
            selection = [selection]
        chosen = _session_numbers(selection, names)
    if not chosen:
        raise ValueError("the selection must hold at least one session, got none")
    return chosen


def _session_numbers(selection: Any, names: Sequence[str]) -> list[int]:
    items = plain_array("the selection", selection)
    if items.dtype.kind == "b":
        if items.shape != (len(names),):
            raise ValueError(
                f"a boolean selection must have shape ({len(names)},), one entry for "
                f"each session, got {items.shape}"
            )
        return np.flatnonzero(items).tolist()
    if items.ndim != 1 or (items.size and items.dtype.kind not in "iuOU"):
        raise TypeError(
            "sessions are selected by number, name, slice or a boolean per session, "
            f"got an array of shape {items.shape} and dtype {items.dtype}"
        )
    return [_session_number(item, names) for item in items.tolist()]


def _session_number(item: int | str, names: Sequence[str]) -> int:
    if isinstance(item, str):
        if item not in names:
            raise KeyError(f"no session {item!r}{close_matches(item, names)}")
        return names.index(item)
    if not -len(names) <= item < len(names):
        raise IndexError(f"no session {item}: there are {len(names)}, from 0")
    return item % len(names)
