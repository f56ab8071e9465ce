"""What a filter runs over: a raw column as it is, or a code of it."""

from dataclasses import dataclass, replace

import numpy as np

from glmhmm_pyro.arguments import suggests_names

from .table import Table


@dataclass(frozen=True)
class Source:
    """A raw column, step by step turned into a number.

    Args:
        column: name of the raw column.
    """

    column: str

    @property
    def label(self) -> str:
        """How columns made from it are called."""
        return self.column

    def fitted(self, table: Table) -> "Source":
        """The source with what it has to learn, checked against the data."""
        self.coded(table.numbers(self.column))
        return self

    def coded(self, numbers: np.ndarray) -> np.ndarray:
        """The numbers that are filtered, from those of the column (NaN: missing)."""
        bad = ~np.isfinite(numbers)
        if bad.any():
            raise ValueError(
                f"column {self.column!r} must be finite to be a covariate, got "
                f"{bad.sum()} NaN, masked or infinite values, the first in row "
                f"{np.argwhere(bad)[0, 0]}; fill them in (masked ones in a column of "
                "another name), leave those sessions out, or code labels by Signed or "
                "Indicator, where missing is 0"
            )
        return numbers


@suggests_names
@dataclass(frozen=True)
class Signed(Source):
    """A column of two classes as -1 (class 0) and +1 (class 1); 0 where missing.

    Labels are classes in the order of a categorical's categories, or of the alphabet.

    Args:
        column: name of the raw column, of 0 and 1 or of two labels.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, Lags, Signed
        >>> trials = pd.DataFrame({"choice": ["right", "left", None, "right"]})
        >>> design = Design(Lags(Signed("choice"), 1, first_lag=1))
        >>> design.fit_transform(trials, session=None)["choice_lag1"].tolist()
        [0.0, 1.0, -1.0, 0.0]
    """

    def fitted(self, table: Table) -> Source:
        """The source itself, if the column has two classes."""
        self.coded(table.numbers(self.column))
        return self

    def coded(self, numbers: np.ndarray) -> np.ndarray:
        """-1, +1, or 0 where missing."""
        missing = np.isnan(numbers)
        strange = ~missing & (numbers != 0) & (numbers != 1)
        if strange.any():
            raise ValueError(
                f"column {self.column!r} must have the two classes 0 and 1 to be "
                f"signed, got {numbers[strange][0]:g}; code several classes by "
                f"Indicator({self.column!r}, ...)"
            )
        return np.where(missing, 0.0, 2 * numbers - 1)


@suggests_names
@dataclass(frozen=True)
class Indicator(Source):
    """1 where a column has one class, 0 elsewhere and where it is missing.

    Args:
        column: name of the raw column.
        value: the class, as the column has it: a label or a number.
        code: its number, learnt by :meth:`Design.fit`.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, Indicator, Lags
        >>> song = pd.DataFrame({"mode": ["none", "sine", "pulse"]})
        >>> design = Design(Lags(Indicator("mode", "sine"), 1, first_lag=1))
        >>> design.fit_transform(song, session=None)["mode_sine_lag1"].tolist()
        [0.0, 0.0, 1.0]
    """

    value: str | int | float
    code: float | None = None

    @property
    def label(self) -> str:
        """The column's name and the class's."""
        return f"{self.column}_{self.value}"

    def fitted(self, table: Table) -> Source:
        """The source that knows the number of its class."""
        numbers = table.numbers(self.column)
        classes = table.classes.get(self.column)
        if classes is not None and str(self.value) in classes:
            return replace(self, code=float(classes.index(str(self.value))))
        if classes is None and not isinstance(self.value, str):
            if (numbers == self.value).any():
                return replace(self, code=float(self.value))
        known = np.unique(numbers[~np.isnan(numbers)]) if classes is None else classes
        raise ValueError(
            f"value of Indicator must be one that column {self.column!r} has, "
            f"{', '.join(map(str, known[:12]))}, got {self.value!r}; take one of these"
        )

    def coded(self, numbers: np.ndarray) -> np.ndarray:
        """0 or 1."""
        return (numbers == self.code).astype(float)


def as_source(column: str | Source) -> Source:
    """A source, or the column of that name as it is."""
    if isinstance(column, Source):
        return column
    if not isinstance(column, str):
        raise TypeError(
            "column must be a column's name, Signed(name) or Indicator(name, value), "
            f"got {column!r}; give one of these"
        )
    return Source(column)
