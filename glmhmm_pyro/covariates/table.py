"""The raw columns that a design reads: a data frame's, or those of lists of arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np

from glmhmm_pyro.arguments import has_items
from glmhmm_pyro.sequences.frames import Columns, read_sessions
from glmhmm_pyro.sequences.joining import (
    join_emissions,
    join_features,
    list_of_sessions,
)
from glmhmm_pyro.sequences.validation import (
    check_names,
    close_matches,
    unique_names,
)

if TYPE_CHECKING:
    import pandas as pd

Classes = tuple[str, ...] | None

# One array for every session.
Lists = Sequence[Any]

# Raw data: a data frame, or lists.
Raw: TypeAlias = "pd.DataFrame | Lists"


@dataclass(frozen=True)
class RawTable:
    """Raw columns of all sessions, end to end; a view of what the caller passed.

    Attributes:
        columns: values (steps,) by name.
        lengths: steps of every session.
        classes: names of classes 0, 1, ... of the label columns that are known.
        index: index of the rows, if they have one.
        hidden: rows (steps,) of a column that are missing whatever stands there, by
            name.
    """

    columns: Mapping[str, Any]
    lengths: np.ndarray
    classes: dict[str, Classes] = field(default_factory=dict)
    index: Any = None
    hidden: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def num_steps(self) -> int:
        """Steps of all sessions together."""
        return int(self.lengths.sum())

    @property
    def starts(self) -> np.ndarray:
        """First row of every session."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def steps(self) -> np.ndarray:
        """Number of every row within its session, from 0."""
        return np.arange(self.num_steps) - np.repeat(self.starts, self.lengths)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the raw columns."""
        return tuple(str(name) for name in self.columns)

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def frame(self) -> "pd.DataFrame":
        """The raw columns as a data frame of the caller's own."""
        import pandas as pd

        frame = pd.DataFrame(self.columns).reset_index(drop=True)
        return frame.copy()

    def copied(self) -> "RawTable":
        """The same, whatever the caller does to the data from now on."""
        return replace(self, columns=self.frame(), index=None)

    def with_columns(self, columns: Mapping[str, Any]) -> "RawTable":
        """The table with columns replaced: numbers or labels, one or one per step."""
        frame = self.frame()
        for name, values in columns.items():
            single = isinstance(values, str) or not has_items(values)
            if not single and len(values) != self.num_steps:
                raise ValueError(
                    f"columns must have one value for each of the {self.num_steps} "
                    f"steps, or one for all, got {len(values)} of {name!r}; give as "
                    "many"
                )
            frame[name] = values if single else getattr(values, "array", values)
        return replace(self, columns=frame, index=None)

    @staticmethod
    def joined(tables: "Sequence[RawTable]") -> "RawTable":
        """The sessions of several tables end to end, with the columns that all have."""
        import pandas as pd

        def hides(table: RawTable, name: str) -> np.ndarray:
            return table.hidden.get(name, np.zeros(table.num_steps, dtype=bool))

        frames = [table.frame() for table in tables]
        names = {name for table in tables for name in table.hidden}
        return RawTable(
            pd.concat(frames, join="inner", ignore_index=True),
            np.concatenate([table.lengths for table in tables]),
            hidden={n: np.concatenate([hides(t, n) for t in tables]) for n in names},
        )

    def subset(self, sessions: Sequence[int]) -> "RawTable":
        """The rows of these sessions, in this order."""
        ends = np.cumsum(self.lengths)
        rows = np.concatenate(
            [np.arange(ends[s] - self.lengths[s], ends[s]) for s in sessions]
        )
        frame: Any = self.columns
        if hasattr(frame, "iloc"):
            columns = frame.iloc[rows]
        else:
            columns = {name: values[rows] for name, values in frame.items()}
        return replace(
            self,
            columns=columns,
            lengths=self.lengths[list(sessions)],
            classes=dict(self.classes),
            index=None,
            hidden={name: hides[rows] for name, hides in self.hidden.items()},
        )

    def hiding(self, hidden: Mapping[str, np.ndarray]) -> "RawTable":
        """The table with these rows of columns set to missing."""
        return replace(self, hidden=hidden)

    def numbers(self, name: str) -> np.ndarray:
        """A column as floats, labels as the numbers of their classes; NaN is missing.

        Raises:
            ValueError: there is no such column, or a label is no known class.
            TypeError: the column holds neither numbers nor labels.
        """
        numbers = self._read(name)
        if name in self.hidden:
            numbers = np.where(self.hidden[name], np.nan, numbers)
        return numbers

    def _read(self, name: str) -> np.ndarray:
        """A column as floats, whatever is hidden."""
        import pandas as pd

        values = pd.Series(self._found(name))
        kind = pd.api.types.infer_dtype(values, skipna=True)
        if kind == "empty":
            return np.full(len(values), np.nan)
        if pd.api.types.is_numeric_dtype(values.dtype) or kind in _NUMBERS:
            return self._plain(name, values)
        if kind not in ("string", "categorical"):
            raise TypeError(
                f"column {name!r} must hold numbers or labels, got values of kind "
                f"{kind!r}; convert it by astype(float) or astype(str)"
            )
        return self._codes(name, values)

    def _plain(self, name: str, values: "pd.Series") -> np.ndarray:
        """Values that are numbers already."""
        known = self.classes.setdefault(name, None)
        if known is not None:
            raise TypeError(
                f"column {name!r} must hold the labels {', '.join(known)}, as in the "
                "data of fit, got numbers; give the labels again"
            )
        return values.to_numpy(dtype=float, na_value=np.nan)

    def _found(self, name: str) -> Any:
        if name not in self.columns:
            known = [str(column) for column in self.columns]
            raise ValueError(
                f"a term must read columns that the data have, got {name!r}"
                f"{close_matches(str(name), known) or f'; they have {known[:12]}'}"
            )
        return self.columns[name]

    def _codes(self, name: str, labels: "pd.Series") -> np.ndarray:
        """Numbers of classes: as learnt, else a categorical's or the alphabet's."""
        known = self.classes.get(name)
        if name in self.classes and known is None:
            raise TypeError(
                f"column {name!r} must hold numbers, as in the data of fit, got labels"
                "; give numbers again"
            )
        if hasattr(labels, "cat"):
            names = tuple(map(str, labels.cat.categories))
            known = known or names
            labels = labels.cat.rename_categories(names).astype(object)
        known = known or tuple(sorted(map(str, labels.dropna().unique())))
        codes = labels.map({label: code for code, label in enumerate(known)})
        strange = labels[codes.isna() & labels.notna()]
        if len(strange):
            raise ValueError(
                f"column {name!r} must hold labels among {', '.join(known)}, got "
                f"{strange.iloc[0]!r}; fit the design to data that have it, or make "
                "the column a categorical with all its categories"
            )
        self.classes[name] = known
        return codes.to_numpy(dtype=float)


_NUMBERS = ("boolean", "integer", "floating", "mixed-integer-float")


def is_frame(data: Raw) -> "TypeGuard[pd.DataFrame]":
    """Whether raw data are a data frame of pandas."""
    return hasattr(data, "iloc")


def check_data(data: Raw) -> None:
    """Raise a TypeError for what is neither a data frame nor a list of arrays."""
    if is_frame(data) and hasattr(data, "columns"):
        return
    if not isinstance(data, (list, tuple)):
        ways = [f"data.{way}()" for way in ("collect", "to_pandas", "to_frame")]
        known = [way for way in ways if hasattr(data, way[5:-2])]
        fix = known[0] if known else "a single session as [array]"
        raise TypeError(
            "data must be a data frame of pandas, polars or pyarrow, or a list with "
            f"one array per session, got {type(data).__name__}; give {fix}"
        )
    list_of_sessions("data", data)


def read_table(
    data: Raw,
    session: Columns | None,
    columns: Sequence[str] | None,
    emissions: Columns | Lists | None,
    classes: Mapping[str, Classes],
) -> RawTable:
    """The raw columns of a data frame, or of lists with one array per session.

    Args:
        data: a data frame with a row per step, or arrays (steps, columns).
        session: columns that tell sessions apart, of a data frame.
        columns: names of the columns of the arrays; 'x0', 'x1', ... by default.
        emissions: arrays (steps,) or (steps, outputs), beside lists; they are columns
            'y', or 'y0', 'y1', ... as well.
        classes: names of the classes of label columns, as learnt.
    """
    if is_frame(data):
        counts = np.array(read_sessions(data, session).lengths)
        unique_names("columns", tuple(map(str, data.columns)))
        return RawTable(data, counts, dict(classes), data.index)
    check_data(data)
    lengths = [len(array) for array in data]
    values, found = join_features("data", data, lengths, columns)
    default = found or [f"x{i}" for i in range(values.shape[1])]
    names = unique_names("columns", check_names("columns", columns, default))
    table = dict(zip(names, values.T))
    if emissions is not None:
        table |= _outputs(emissions, lengths, names)
    return RawTable(table, np.array(lengths), dict(classes))


def _outputs(
    emissions: Columns | Lists, lengths: Sequence[int], taken: Sequence[str]
) -> dict[str, Any]:
    """The emissions' columns, by the names that ``Sequences`` gives them."""
    joined, found, *_ = join_emissions(emissions)
    if list(found) != list(lengths):
        raise ValueError(
            f"emissions must have as many steps as data in every session, "
            f"{list(lengths)[:8]}, got {list(found)[:8]}"
            "; give both of the same sessions"
        )
    wide = joined[:, None] if joined.ndim == 1 else joined
    names = output_names(wide.shape[1])
    unique_names("columns, with those of the emissions,", (*taken, *names))
    return dict(zip(names, wide.T))


def output_names(number: int) -> list[str]:
    """Names that ``Sequences`` gives to outputs without any."""
    return ["y"] if number == 1 else [f"y{i}" for i in range(number)]
