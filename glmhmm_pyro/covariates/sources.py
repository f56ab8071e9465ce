"""What a filter runs over: a raw column as it is, or a code of it."""

import math
from dataclasses import dataclass, replace

import numpy as np

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.sequences.validation import brief_rows

from .table import RawTable


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

    def fitted(self, table: RawTable) -> "Source":
        """The source with what it has to learn, checked against the data."""
        self.read(table)
        return self

    def relearnt(self, table: RawTable) -> "Source":
        """The source with the numbers that it learns from other rows, if it does."""
        return self

    def read(self, table: RawTable) -> np.ndarray:
        """The numbers that are filtered, of every step."""
        return self.coded(table.numbers(self.column))

    def coded(self, numbers: np.ndarray) -> np.ndarray:
        """The numbers that are filtered, from those of the column (NaN: missing)."""
        bad = ~np.isfinite(numbers)
        if bad.any():
            raise ValueError(
                f"column {self.column!r} must be finite to be a covariate, got "
                f"{bad.sum()} NaN, masked or infinite values ({brief_rows(bad)}); fill "
                f"them in by Imputed({self.column!r}), leave those sessions out, or "
                "code labels by Signed or Indicator, where missing is 0"
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

    def fitted(self, table: RawTable) -> Source:
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


@suggests_names
@dataclass(frozen=True)
class StepInSession(Source):
    """The number of a step within its session, from 0; it needs no raw column.

    Args:
        column: what it is called.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, StepInSession
        >>> trials = pd.DataFrame({"day": [1, 1, 2]})
        >>> design = Design(StepInSession())
        >>> design.fit_transform(trials, session="day")["step"].tolist()
        [0.0, 1.0, 0.0]
    """

    column: str = "step"

    def read(self, table: RawTable) -> np.ndarray:
        """Numbers of the rows within their sessions."""
        return table.steps.astype(float)


@suggests_names
@dataclass(frozen=True)
class Imputed(Source):
    """A numeric column, filled in where it is missing by what the training data say.

    Args:
        column: name of the raw column.
        by: ``"mean"`` or ``"median"`` of the values that the training data have, or a
            number. Beside it, ``Missing(column)`` has a weight of its own for what was
            missing.
        value: what is filled in, learnt by :meth:`Design.fit`.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, Imputed, Missing
        >>> trials = pd.DataFrame({"pupil": [1.0, None, 3.0]})
        >>> design = Design(Imputed("pupil"), Missing("pupil"))
        >>> design.fit_transform(trials, session=None)
           pupil  pupil_missing
        0    1.0            0.0
        1    2.0            1.0
        2    3.0            0.0
    """

    by: str | float = "mean"
    value: float | None = None

    def __post_init__(self) -> None:
        known = self.by in ("mean", "median")
        number = isinstance(self.by, (int, float)) and math.isfinite(self.by)
        if not known and not number:
            raise ValueError(
                f"by must be 'mean', 'median' or a finite number, got {self.by!r}; "
                "give one of these"
            )

    def fitted(self, table: RawTable) -> Source:
        """The source that knows what to fill in."""
        numbers = table.numbers(self.column)
        if table.classes.get(self.column) is not None:
            raise TypeError(
                f"column {self.column!r} must be numeric to be imputed, got labels; "
                "make what is missing a label of its own, and take a Factor"
            )
        found = numbers[np.isfinite(numbers)]
        value = self.by
        if isinstance(value, str):
            if not len(found):
                raise ValueError(
                    f"column {self.column!r} must have a value in the data of fit to "
                    f"be imputed by its {value}, got none; give a number as by"
                )
            value = np.mean(found) if value == "mean" else np.median(found)
        return replace(self, value=float(value))

    def relearnt(self, table: RawTable) -> Source:
        """The source that fills in what these rows say."""
        return self if not isinstance(self.by, str) else self.fitted(table)

    def coded(self, numbers: np.ndarray) -> np.ndarray:
        """The numbers, the missing ones filled in."""
        filled = float("nan") if self.value is None else self.value
        return super().coded(np.where(np.isnan(numbers), filled, numbers))


@suggests_names
@dataclass(frozen=True)
class Missing(Source):
    """1 where a column is missing, else 0; see :class:`Imputed`.

    Args:
        column: name of the raw column.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, Imputed, Missing
        >>> trials = pd.DataFrame({"pupil": [1.0, float("nan"), 3.0]})
        >>> design = Design(Imputed("pupil"), Missing("pupil"))
        >>> design.fit_transform(trials, session=None).values.tolist()
        [[1.0, 0.0], [2.0, 1.0], [3.0, 0.0]]
    """

    @property
    def label(self) -> str:
        """The column's name and '_missing'."""
        return f"{self.column}_missing"

    def coded(self, numbers: np.ndarray) -> np.ndarray:
        """0 or 1."""
        return np.isnan(numbers).astype(float)


def as_source(column: str | Source) -> Source:
    """A source, or the column of that name as it is."""
    if isinstance(column, Source):
        return column
    if not isinstance(column, str):
        raise TypeError(
            "column must be a column's name, Signed(name), Indicator(name, value) or "
            f"another source, got {column!r}; give one of these"
        )
    return Source(column)
