"""Columns of categories, and products of terms."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.sequences.validation import brief_rows

from .sources import Source
from .table import RawTable
from .terms import Recomputed, Term, as_term

# A number or a label, as the data have it.
Level = str | int | float


@suggests_names
@dataclass(frozen=True)
class Factor(Term):
    """A column of categories: for every level but one, 1 where the column has it.

    Levels are the classes of labels (a categorical's categories, or in the order of
    the alphabet), or the numbers that the data of fit have, from the smallest on. They
    are learnt once; later data may lack some, and may have no others.

    Args:
        column: name of the raw column, of labels or of numbers.
        reference: the level without a column, as the data have it; the first by
            default.
        full: whether every level has a column. Beside an intercept they sum to it.
        name: of the term, begins its columns' names; the column's by default.
        levels: learnt by ``Design.fit``.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, Factor
        >>> trials = pd.DataFrame({"block": ["left", "none", "right"]})
        >>> design = Design(Factor("block", reference="none"))
        >>> design.fit_transform(trials, session=None)
           block_left  block_right
        0         1.0          0.0
        1         0.0          0.0
        2         0.0          1.0
    """

    column: str
    reference: Level | None = None
    full: bool = False
    name: str | None = None
    levels: tuple[Level, ...] = ()

    @property
    def label(self) -> str:
        """The name given, or the column's."""
        return self.name or self.column

    @property
    def reads_now(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def fitted(self, table: RawTable) -> Term:
        """The term that knows the levels."""
        numbers = table.numbers(self.column)
        classes = table.classes.get(self.column)
        found = np.unique(numbers[np.isfinite(numbers)]).tolist()
        levels = tuple(found) if classes is None else classes
        reference = self.reference if classes is None else str(self.reference)
        if len(levels) < 2 or (self.reference is not None and reference not in levels):
            raise ValueError(
                f"Factor({self.column!r}) must have two levels or more, its reference "
                f"among them, got {', '.join(map(_named, levels)) or 'none'} and "
                f"reference={self.reference!r}; name one of these, or leave the term "
                "out"
            )
        fitted = replace(self, levels=levels)
        fitted.values(table)
        return fitted

    def relearnt(self, table: RawTable) -> Term:
        """The term itself: its levels stay."""
        return self

    def _shown(self) -> list[int]:
        """Numbers of the levels that have columns."""
        numbers = list(range(len(self.levels)))
        if self.full:
            return numbers
        text = isinstance(self.levels[0], str)
        reference = str(self.reference) if text else self.reference
        first = self.levels[0] if self.reference is None else reference
        return [n for n in numbers if self.levels[n] != first]

    def names(self) -> tuple[str, ...]:
        """One for every level that has a column."""
        return tuple(f"{self.label}_{_named(self.levels[n])}" for n in self._shown())

    def values(self, table: RawTable) -> np.ndarray:
        """1 where the column has the level, else 0."""
        numbers = Source(self.column).read(table)
        if not isinstance(self.levels[0], str):
            places = np.searchsorted(self.levels, numbers).clip(
                max=len(self.levels) - 1
            )
            strange = np.asarray(self.levels)[places] != numbers
            if strange.any():
                raise ValueError(
                    f"column {self.column!r} must have the levels "
                    f"{', '.join(map(_named, self.levels))}, as in the data of fit, "
                    f"got {numbers[strange][0]:g} ({brief_rows(strange)}); fit the "
                    "design to data that have it"
                )
            numbers = places
        return (numbers[:, None] == np.array(self._shown())).astype(float)


def _named(level: Level) -> str:
    return level if isinstance(level, str) else f"{level:g}"


@suggests_names
@dataclass(frozen=True, init=False)
class Interaction(Term):
    """Products of the columns of several terms, each with each.

    In a simulation the parts that are made of past emissions are made anew, and the
    others stay as they were.

    Args:
        terms: terms, or names of numeric columns.
        name: of the term; the labels of its parts, joined by ":", by default.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, Factor, Interaction
        >>> trials = pd.DataFrame({"stim": [0.5, 2.0, 1.0], "block": ["a", "b", "c"]})
        >>> design = Design(Interaction("stim", Factor("block")))
        >>> design.fit_transform(trials, session=None)
           stim:block_b  stim:block_c
        0           0.0           0.0
        1           2.0           0.0
        2           0.0           1.0
    """

    terms: tuple[Term, ...]
    name: str | None
    column: str | None

    def __init__(
        self, *terms: Term | str, name: str | None = None, column: str | None = None
    ):
        parts = tuple(as_term(term) for term in terms)
        if len(parts) < 2:
            raise ValueError(
                f"an Interaction must have two terms or more, got {len(parts)}; give "
                "several, or take the term itself"
            )
        # What is frozen is set past its own guard.
        for key, value in {"terms": parts, "name": name, "column": column}.items():
            object.__setattr__(self, key, value)

    def _of(self, parts: Sequence[Term], column: str | None = None) -> "Interaction":
        return Interaction(*parts, name=self.name, column=column or self.column)

    @property
    def label(self) -> str:
        """The name given, or those of the parts."""
        return self.name or ":".join(term.label for term in self.terms)

    @property
    def reads_now(self) -> tuple[str, ...]:
        """As the parts of the product do."""
        return tuple(column for term in self.terms for column in term.reads_now)

    def following(self, emissions: Sequence[str]) -> Term | None:
        """The product, with the emission that some of its parts follow."""
        parts = [term.following(emissions) for term in self.terms]
        columns = {part.follows for part in parts if part is not None}
        if len(columns) > 1:
            raise ValueError(
                f"term {self.label!r} must follow the past of one emission to be "
                f"recomputed, got {', '.join(sorted(map(str, columns)))}; leave it out "
                "of history"
            )
        return self._of(self.terms, columns.pop()) if columns else None

    @property
    def follows(self) -> str | None:
        """The emission, once it is known which of the columns is one."""
        return self.column

    def fitted(self, table: RawTable) -> Term:
        """The product of parts that have learnt."""
        return self._of([term.fitted(table) for term in self.terms])

    def relearnt(self, table: RawTable) -> Term:
        """The product of parts that have learnt anew; itself if none learns."""
        again = [term.relearnt(table) for term in self.terms]
        same = all(new is old for new, old in zip(again, self.terms))
        return self if same else self._of(again)

    def names(self) -> tuple[str, ...]:
        """Names of the factors, joined by ":"; the last part's change fastest."""
        of_parts = [term.names() for term in self.terms]
        return reduce(
            lambda ones, others: tuple(f"{a}:{b}" for a in ones for b in others),
            of_parts,
        )

    def values(self, table: RawTable) -> np.ndarray:
        """The products."""
        return reduce(_products, [term.values(table) for term in self.terms])

    def recomputed(self, table: RawTable | None) -> Recomputed:
        """The products, parts of past emissions made anew."""
        follows = [term.following([str(self.column)]) for term in self.terms]
        if table is None:
            raise ValueError(
                f"term {self.label!r} must know its other columns in all rows to be "
                "recomputed, got past emissions only; pass history=True, or "
                "history=design.history(df)"
            )
        parts: list[Recomputed] = []
        for term, part in zip(self.terms, follows):
            parts.append(
                _as_it_was(term.values(table))
                if part is None
                else part.recomputed(table)
            )

        return lambda past, rows: reduce(_products, [p(past, rows) for p in parts])


def _as_it_was(values: np.ndarray) -> Recomputed:
    """What gives the rows of a part that follows no emission."""
    return lambda past, rows: values[rows]


def _products(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """All products of columns, (steps, columns of both)."""
    return (ones[:, :, None] * others[:, None, :]).reshape(len(ones), -1)
