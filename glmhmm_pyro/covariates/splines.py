"""Smooth functions of a column, such as of the step within the session."""

from dataclasses import dataclass, replace

import numpy as np

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.sequences.validation import check_count

from .sources import Source, as_source
from .table import RawTable
from .terms import Term


@suggests_names
@dataclass(frozen=True)
class Spline(Term):
    """A smooth function of a column, through B-splines of its value.

    Inner knots are quantiles of the training data, the outer ones their least and
    largest value, beyond which the function is constant. It is ``bs`` of R and patsy.

    Args:
        column: a numeric column's name, or a source such as ``StepInSession()``.
        num_bases: number of covariates, at least the degree.
        degree: of the polynomials; 3 is cubic.
        full: whether all splines are there, which sum to 1 in every row; the first is
            left out by default, as beside an intercept it must be.
        name: of the term, begins its columns' names; the column's by default.
        knots: learnt by ``Design.fit``.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, Spline, StepInSession
        >>> trials = pd.DataFrame({"day": [1, 1, 1, 2, 2, 2]})
        >>> design = Design(Spline(StepInSession(), num_bases=2, degree=1))
        >>> design.fit_transform(trials, session="day").head(3)
           step_spline1  step_spline2
        0           0.0           0.0
        1           1.0           0.0
        2           0.0           1.0
    """

    column: str | Source
    num_bases: int
    degree: int = 3
    full: bool = False
    name: str | None = None
    knots: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        as_source(self.column)
        check_count("degree", self.degree, 0)
        check_count("num_bases", self.num_bases)
        if self.num_bases < self.degree + self.full:
            raise ValueError(
                f"num_bases must be at least {self.degree + self.full} for splines of "
                f"degree {self.degree}, got {self.num_bases}; take more bases, or a "
                "lower degree"
            )

    @property
    def source(self) -> Source:
        """What it is a function of."""
        return as_source(self.column)

    @property
    def label(self) -> str:
        """The name given, or that of the column."""
        return self.name or self.source.label

    @property
    def reads_now(self) -> tuple[str, ...]:
        """The column."""
        return (self.source.column,)

    def fitted(self, table: RawTable) -> Term:
        """The function with knots at quantiles of these rows."""
        source = self.source.fitted(table)
        return self._learnt(source, table)

    def relearnt(self, table: RawTable) -> Term:
        """The function with knots at quantiles of these rows."""
        return self._learnt(self.source.relearnt(table), table)

    def _learnt(self, source: Source, table: RawTable) -> Term:
        values = source.read(table)
        inner = self.num_bases - self.degree + 1 - self.full
        levels = np.linspace(0.0, 1.0, inner + 1)
        within = np.quantile(values, levels)
        if not (np.diff(within) > 0).all():
            raise ValueError(
                f"column {source.label!r} must have quantiles that differ to be the "
                f"knots of {self.num_bases} splines, got {within.tolist()!r:.80}; take "
                "fewer bases, or a Factor of its values"
            )
        ends = np.full(self.degree, 1.0)
        knots = [*(within[0] * ends), *within, *(within[-1] * ends)]
        return replace(self, column=source, knots=tuple(map(float, knots)))

    def names(self) -> tuple[str, ...]:
        """One a spline, the first of all being 0."""
        first = 0 if self.full else 1
        numbers = range(first, first + self.num_bases)
        return tuple(f"{self.label}_spline{j}" for j in numbers)

    def values(self, table: RawTable) -> np.ndarray:
        """The splines at the values."""
        from scipy.interpolate import BSpline

        knots = np.array(self.knots)
        values = self.source.read(table).clip(knots[0], knots[-1])
        matrix = BSpline.design_matrix(values, knots, self.degree).toarray()
        return matrix if self.full else matrix[:, 1:]
