"""Covariates made step by step, as an experiment goes on, from raw columns.

Of every term of the package there is a form that remembers what it needs of the steps
before. A term of the user's own is made anew of all rows of the session so far, which
takes the longer the more there are; it is refused where later rows change earlier ones.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .categories import Factor, Interaction
from .filters import BSpline, ExponentialHistory, Lags, RaisedCosine
from .history import PreviousChoice, WinStayLoseSwitch
from .sources import Imputed, Indicator, Missing, Signed, Source, StepInSession
from .splines import Spline
from .steppers import (
    Choice,
    Fading,
    FilteredStepper,
    Ones,
    Pointwise,
    ProductStepper,
    Scaled,
    Sources,
    SplineStepper,
    Staying,
    Step,
    Stepper,
)
from .table import RawTable
from .terms import Columns, Intercept, OneSource, Standardised, Term

if TYPE_CHECKING:
    from .design import Design


class _Retold(Stepper):
    """A term of the user's own, from all rows of the session so far."""

    def __init__(self, term: Term, table: RawTable):
        self.term, self.names, self.classes = term, table.names, table.classes
        self.start()

    def start(self) -> None:
        self.rows: tuple[Mapping[str, Any], ...] = ()

    def now(self, step: Step) -> list[float]:
        rows = (*self.rows, step.columns)
        columns = {
            name: np.array([row.get(name) for row in rows], object)
            for name in self.names
        }
        table = RawTable(columns, np.array([len(rows)]), dict(self.classes))
        return self.term.values(table)[-1].tolist()

    def seen(self, step: Step) -> None:
        self.rows = (*self.rows, dict(step.columns))


_SOURCES = (Source, Signed, Indicator, StepInSession, Imputed, Missing)
_BY_TYPE: dict[type, Callable[[Any], Stepper]] = {
    Intercept: lambda term: Ones(),
    Columns: lambda term: Sources(*map(Source, term.columns)),
    OneSource: lambda term: Sources(term.source),
    Factor: Pointwise,
    Spline: SplineStepper,
    Lags: FilteredStepper,
    RaisedCosine: FilteredStepper,
    BSpline: FilteredStepper,
    ExponentialHistory: Fading,
    PreviousChoice: Choice,
    WinStayLoseSwitch: Staying,
}


def stepper_of(term: Term, table: RawTable) -> Stepper:
    """What makes a term step by step.

    Args:
        term: a fitted one.
        table: rows that a term of the user's own is tried on.

    Raises:
        ValueError: rows of the term depend on later ones.
    """
    if type(term) is Standardised:
        return Scaled(term, stepper_of(term.inner, table))
    if type(term) is Interaction:
        return ProductStepper([stepper_of(part, table) for part in term.terms])
    source = getattr(term, "source", None)
    if type(term) in _BY_TYPE and (source is None or type(source) in _SOURCES):
        return _BY_TYPE[type(term)](term)
    _check_past(term, table)
    return _Retold(term, table)


def _check_past(term: Term, table: RawTable) -> None:
    """Raise a ValueError for a term whose rows depend on later steps."""
    whole = term.values(table)
    for part in (0.25, 0.5, 0.75):
        lengths = np.maximum(1, (table.lengths * part).astype(int))
        kept = table.steps < np.repeat(lengths, table.lengths)
        rows = np.flatnonzero(kept)
        shorter = replace(
            table,
            columns=table.frame().iloc[rows],
            lengths=lengths,
            classes=dict(table.classes),
            index=None,
            hidden={name: hides[rows] for name, hides in table.hidden.items()},
        )
        if not np.allclose(term.values(shorter), whole[rows], equal_nan=True):
            raise ValueError(
                f"term {term.label!r} must be made of a step and those before it to be "
                "made online, got one whose rows depend on the rest of the session; "
                "leave it out of the design, and fit again"
            )


class OnlineDesign:
    """The columns of a design, step by step.

    Args:
        design: the fitted design.
        table: raw columns that it was fitted to.
    """

    def __init__(self, design: "Design", table: RawTable):
        table = design.reading(table)
        self.names: tuple[str, ...] = design.names
        self.follows = tuple(t.follows for t in design.terms if t.follows)
        self.classes = table.classes
        self.steppers = [stepper_of(term, table) for term in design.terms]
        self.start()

    def start(self) -> None:
        """Begin a session."""
        self.number = 0
        for stepper in self.steppers:
            stepper.start()

    def now(self, columns: Mapping[str, Any]) -> list[float]:
        """The columns of the next step.

        Args:
            columns: raw columns, by name.
        """
        step = Step(columns, self.classes, self.number)
        return [value for stepper in self.steppers for value in stepper.now(step)]

    def seen(
        self,
        columns: Mapping[str, Any],
        behaviour: Mapping[str, tuple[float, str | None]],
    ) -> None:
        """Take in the step.

        Args:
            columns: raw columns, by name.
            behaviour: a number and the name of its class, if it has one, by the
                emission's name; NaN where it was not observed.
        """
        coded = {
            name: number if label is None or self.classes.get(name) is None else label
            for name, (number, label) in behaviour.items()
        }
        step = Step({**columns, **coded}, self.classes, self.number)
        for stepper in self.steppers:
            stepper.seen(step)
        self.number += 1

    def copied(self) -> "OnlineDesign":
        """Another one with the same past."""
        other = copy.copy(self)
        other.steppers = [stepper.copied() for stepper in self.steppers]
        return other
