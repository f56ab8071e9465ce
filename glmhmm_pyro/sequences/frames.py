"""Sequences from the columns of a data frame, and back.

A row is a step; the rows of a session stand together, in the order of time.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import Tensor

from glmhmm_pyro.arguments import has_items, is_missing, with_article

from .operators import are_shared
from .reading import as_numbers, listed_classes, observed_entries, read_mask
from .recipes import Recipe
from .validation import close_matches

if TYPE_CHECKING:
    import pandas as pd

    from .data import Sequences

Columns = str | Sequence[str]


def given_designs(**designs: Columns | Recipe | None) -> dict[str, Any]:
    """The designs that were given, columns as lists of names."""
    listed = {
        name: design if isinstance(design, Recipe) else _name_list(design, name)
        for name, design in designs.items()
    }
    return {name: design for name, design in listed.items() if design != []}


def arrays_from_dataframe(
    df: "pd.DataFrame",
    designs: Mapping[str, list[Any]],
    *,
    session: Columns | None,
    emissions: Columns,
    group: Columns | None = None,
    mask: Columns | None = None,
    time: str | None = None,
    class_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Arguments of :class:`Sequences` from the columns named.

    Args:
        designs: columns of each design, by argument.
    """
    check_frame(df)
    _check_times(df, session, time, group)
    if not _name_list(emissions, "emissions"):
        raise ValueError(
            f"emissions must name a column of the data frame, got {emissions!r}; it "
            f"has {[str(column) for column in df.columns[:12]]}"
        )
    of_steps = {n: c for n, c in designs.items() if n != "initial_covariates"}
    refuse_own_emissions(_name_list(emissions), of_steps)
    lengths, session_names, groups = read_sessions(df, session, group)
    values, observed, class_names = _read_outputs(df, emissions, class_names)
    masks = _name_list(mask, "mask")
    if masks:
        given = np.stack([_mask_column(df, name) for name in masks], axis=1)
        given = read_mask(given, observed.shape)
        if given.ndim < observed.ndim:
            given = given[:, None]
        observed = observed & given
    arguments: dict[str, Any] = {
        "emissions": values,
        "mask": None if observed.all() else observed,
        "class_names": class_names,
        "emission_names": _name_list(emissions),
        "lengths": lengths,
        "session_names": session_names,
        "groups": groups,
    }
    # Numbers of rows are no names of sessions.
    first_rows = df.iloc[np.cumsum([0, *lengths[:-1]])].reset_index(drop=True)
    for name, columns in designs.items():
        rows = first_rows if name == "initial_covariates" else df
        arguments[name] = read_columns(rows, name, columns)
    return arguments


def check_frame(df: "pd.DataFrame") -> None:
    """Raise an error for what is no data frame, or has columns of several levels."""
    if not hasattr(df, "iloc") or not hasattr(df, "columns"):
        ways = [f"df.{way}()" for way in ("collect", "to_pandas") if hasattr(df, way)]
        fix = f"give {ways[0]}" if ways else "make one by pandas.DataFrame(...)"
        raise TypeError(
            "df must be a data frame of pandas, polars or pyarrow, got "
            f"{with_article(type(df))}; {fix}, or take Sequences.from_lists"
        )
    if getattr(df.columns, "nlevels", 1) > 1:
        raise ValueError(
            f"df must have columns of one level, got {df.columns.nlevels}; join their "
            "names: df.columns = ['_'.join(map(str, names)) for names in df.columns]"
        )


def refuse_own_emissions(
    emissions: Sequence[Any], designs: Mapping[str, Columns | None]
) -> None:
    """Raise an error for covariates that hold the emission they explain."""
    for argument, columns in designs.items():
        for name in _name_list(columns, argument):
            if name in emissions:
                raise ValueError(
                    f"{argument} must not hold an emission of the same step, got "
                    f"{name!r}, which would explain itself; give that of the step "
                    "before, for example by covariates.Lags(..., first_lag=1)"
                )


def _name_list(columns: Columns | None, argument: str = "columns") -> list[Any]:
    """Columns as a list of names; a single one may stand alone."""
    if columns is None:
        return []
    single = isinstance(columns, str) or not has_items(columns)
    names = [columns] if single or np.ndim(columns) == 0 else list(columns)
    if not all(isinstance(n, Hashable) and not is_missing(n) for n in names):
        raise TypeError(
            f"{argument} must name columns of the data frame, got {columns!r:.80}; "
            "give a name, or a list of names"
        )
    return names


def _column(df: "pd.DataFrame", argument: str, name: Hashable) -> "pd.Series":
    if name not in df.columns:
        known = [str(column) for column in df.columns]
        fix = close_matches(str(name), known) or f"; it has {known[:12]}"
        if name in df.index.names:
            fix = "; that is its index: give df.reset_index()"
        raise ValueError(
            f"{argument} must name columns of the data frame, got {name!r}{fix}"
        )
    column = df[name]
    if column.ndim != 1:
        raise ValueError(
            f"{argument} must name one column, got {name!r}, which the data frame has "
            f"{column.shape[1]} times; rename them"
        )
    return column


def read_columns(
    df: "pd.DataFrame", argument: str, columns: list[Any]
) -> "pd.DataFrame":
    """The columns named, all of them numeric."""
    for name in columns:
        dtype = _column(df, argument, name).dtype
        if dtype.kind not in "biuf":
            raise TypeError(
                f"{argument} must be numeric columns, got {name!r} of type {dtype}; "
                "code categories as 0/1 columns, for example by pandas.get_dummies, or "
                f"convert numbers by df[{name!r}].astype(float)"
            )
    return df[columns]


class Sessions(NamedTuple):
    """The sessions of a data frame, in the order of appearance.

    Attributes:
        lengths: steps of every session.
        names: ``None`` for a single session of no column.
        groups: the group of every session, or ``None`` where no column tells it.
    """

    lengths: list[int]
    names: list[str] | None
    groups: list[str] | None = None


def read_sessions(
    df: "pd.DataFrame", session: Columns | None, group: Columns | None = None
) -> Sessions:
    """Length, name and group of every session.

    Sessions of two groups may have one name, if others stand between them.
    """
    if not len(df):
        raise ValueError("df must have at least one row, got none; check its filter")
    keys, starts = [], np.zeros(1, dtype=int)
    if session is not None:
        keys = _key_columns(df, "session", session)
        starts = _changes(keys)
    found = [tuple(key.iloc[row] for key in keys) for row in starts]
    names = ["/".join(map(str, values)) for values in found]
    groups = None
    if group is not None:
        groups = _groups(df, group, starts, names if keys else [], session)
    lengths = np.diff([*starts, len(df)]).tolist()
    if session is None:
        return Sessions(lengths, None, groups)
    _refuse_interleaved(found, names, groups, starts, _name_list(session))
    return Sessions(lengths, names, groups)


def _key_columns(
    df: "pd.DataFrame", argument: str, columns: Columns
) -> list["pd.Series"]:
    """Columns that tell rows apart, known in every row."""
    keys = [_column(df, argument, name) for name in _name_list(columns, argument)]
    if not keys:
        fix = "None is a single session" if argument == "session" else "None is none"
        raise ValueError(
            f"{argument} must name a column, or several, got an empty list; "
            f"{argument}={fix}"
        )
    for key in keys:
        if key.isna().any():
            raise ValueError(
                f"{argument} must be known for every row, got {key.isna().sum()} "
                f"missing in column {key.name!r}, the first in row "
                f"{key.isna().argmax()}; fill them in, or drop those rows"
            )
    return keys


def _changes(keys: Sequence["pd.Series"]) -> np.ndarray:
    """The rows at which one of these columns has another value than before."""
    changed = np.zeros(len(keys[0]), dtype=bool)
    changed[0] = True
    for key in keys:
        changed[1:] |= (key.to_numpy()[1:] != key.to_numpy()[:-1]).astype(bool)
    return np.flatnonzero(changed)


def _groups(
    df: "pd.DataFrame",
    group: Columns,
    starts: np.ndarray,
    names: Sequence[str],
    session: Columns | None,
) -> list[str]:
    """The group of every session, refused where it changes within one."""
    keys = _key_columns(df, "group", group)

    def group_at(row: int) -> str:
        return "/".join(str(key.iloc[row]) for key in keys)

    within = np.setdiff1d(_changes(keys), starts)
    if len(within):
        row = int(within[0])
        number = int(np.searchsorted(starts, row)) - 1
        of = f"session {names[number]!r}" if names else "the single session"
        columns = [*_name_list(group), *_name_list(session)]
        raise ValueError(
            "group must be the same in all rows of a session, got "
            f"{group_at(row - 1)!r} and {group_at(row)!r} in {of}; where these are "
            f"sessions of two groups, give session={columns}"
        )
    return [group_at(row) for row in starts]


def _refuse_interleaved(
    found: Sequence[tuple],
    names: Sequence[str],
    groups: Sequence[str] | None,
    starts: np.ndarray,
    columns: list[str],
) -> None:
    """Raise an error for a session in two places, or two of one name in a group."""
    seen: dict[tuple[str | None, str], tuple] = {}
    of_groups: Sequence[str | None] = groups or [None] * len(names)
    for values, name, group, row in zip(found, names, of_groups, starts):
        before = seen.setdefault((group, name), values)
        if before is values:
            continue
        if before == values:
            raise ValueError(
                f"the rows of a session must stand together, got session {name!r} "
                f"again in row {row}; sort the data frame by session and time, for "
                f"example df.sort_values({[*columns, 'trial']}), and where animals "
                "have sessions of one name give group= or both columns as session"
            )
        raise ValueError(
            f"session must give every session a name of its own, got {name!r} for "
            f"{before} and for {values}; rename one of them"
        )


def _check_times(
    df: "pd.DataFrame",
    session: Columns | None,
    time: Hashable | None,
    group: Columns | None = None,
) -> None:
    """Raise an error for rows that go back in time within a session."""
    if time is None:
        return
    lengths, names, _ = read_sessions(df, session, group)
    column = _column(df, "time", time)
    values = column.to_numpy()
    back = np.zeros(len(df), dtype=bool)
    back[1:] = values[1:] < values[:-1]
    starts = np.cumsum(lengths) - lengths
    back[starts] = False
    if column.isna().any() or back.any():
        row = int((column.isna().to_numpy() | back).argmax())
        number = int(np.searchsorted(starts, row, side="right")) - 1
        of = "" if names is None else f" of session {names[number]!r}"
        raise ValueError(
            f"time must not go back within a session, got {values[row]} in row {row}"
            f"{of}; sort the data frame, for example "
            f"df.sort_values({[*_name_list(session), time]})"
        )


def _read_outputs(
    df: "pd.DataFrame", emissions: Columns, class_names: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...] | None]:
    """Numbers, where they were observed, and the class names of a single output."""
    names = _name_list(emissions)
    columns = [_column(df, "emissions", name) for name in names]
    given = None if class_names is None else listed_classes(class_names)
    read = [
        as_numbers(column, given if len(names) == 1 else None) for column in columns
    ]
    if len(names) == 1:
        values, missing, found = read[0]
        return values, ~missing, found
    for name, (_, _, found) in zip(names, read):
        if found is not None:
            raise TypeError(
                "emissions must be numeric columns where there are several, got labels "
                f"in {name!r}; code them as numbers 0, 1, ..."
            )
    values = np.stack([values for values, _, _ in read], axis=1)
    return values, ~np.stack([missing for _, missing, _ in read], axis=1), given


def _mask_column(df: "pd.DataFrame", name: str) -> np.ndarray:
    column = _column(df, "mask", name)
    if column.dtype.kind != "b" or column.isna().any():
        raise TypeError(
            f"mask must be a boolean column, True = observed, got {name!r} of type "
            f"{column.dtype}; convert it with df[{name!r}].astype(bool)"
        )
    return column.to_numpy(dtype=bool)


def emission_columns(
    values: np.ndarray, mask: np.ndarray | None, class_names: Sequence[str] | None
) -> list["pd.Series"]:
    """One Series per output, missing where it was not observed."""
    import pandas as pd

    observed = observed_entries(mask, values.shape).reshape(len(values), -1)
    columns = []
    for column, seen in zip(values.reshape(len(values), -1).T, observed.T):
        if class_names is not None:
            codes = np.where(seen, column, -1).astype(int)
            series = pd.Series(pd.Categorical.from_codes(codes, list(class_names)))
        elif column.dtype.kind == "f":
            series = pd.Series(np.where(seen, column, np.nan))
        else:
            series = pd.Series(column)
            series = series if seen.all() else series.astype("Int64").where(seen)
        columns.append(series)
    return columns


def dataframe_from(data: "Sequences") -> "pd.DataFrame":
    """The table of a data set; see :meth:`Sequences.to_dataframe`."""
    import pandas as pd

    lengths = data.lengths.cpu().numpy()
    starts = np.repeat(data.starts.cpu().numpy(), lengths)
    table: dict[str, Any] = {
        "session": np.repeat(np.array(data.session_names), lengths),
        "step": np.arange(data.num_steps) - starts,
    }
    if data.groups is not None:
        groups = np.repeat(np.array(data.groups), lengths)
        table = {"group": groups, **table}
    mask = None if data.mask is None else data.mask.cpu().numpy()
    emissions = emission_columns(data.emissions.cpu().numpy(), mask, data.class_names)
    table |= dict(zip(data.emission_names, emissions))
    for argument, design, names in _named_designs(data):
        for name, column in zip(names, design.cpu().numpy().T):
            if name in table and not np.array_equal(table[name], column):
                name = f"{argument}.{name}"
            table[name] = column
    return pd.DataFrame(table)


def _named_designs(data: "Sequences") -> Iterator[tuple[str, Tensor, Sequence[str]]]:
    """Argument, rows (one per step) and column names of each design of a data set."""
    yield "covariates", data.covariates, data.covariate_names
    if not are_shared(data):
        names = data.transition_covariate_names
        yield "transition_covariates", data.transition_covariates, names
    if data.initial_covariates is not None:
        rows = data.initial_covariates.repeat_interleave(data.lengths, dim=0)
        yield "initial_covariates", rows, data.initial_covariate_names or ()
