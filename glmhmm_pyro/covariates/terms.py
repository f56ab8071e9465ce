"""Terms: what a design is composed of. Each gives one or more named columns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from glmhmm_pyro.arguments import has_items, suggests_names, with_article

from .sources import Source
from .table import RawTable


class Past(NamedTuple):
    """What a simulation has made of one column so far.

    Attributes:
        values: as the data have them, shape (simulations, steps so far).
        codes: number that terms read for every class of the data, if it is another.
    """

    values: np.ndarray
    codes: np.ndarray | None = None

    @property
    def num_steps(self) -> int:
        """Number of steps so far."""
        return self.values.shape[1]

    def last(self, num_steps: int) -> np.ndarray:
        """The numbers of at most so many last steps, (simulations, steps)."""
        recent = self.values[:, -num_steps:]
        return recent if self.codes is None else self.codes[recent.astype(int)]


# Covariates (simulations, columns) of a step from the past of the column followed and
# the rows of the step (simulations,).
Recomputed = Callable[[Past, np.ndarray], np.ndarray]


class Basis(NamedTuple):
    """What each column of a filter term says about every lag.

    Attributes:
        lags: in steps, shape (lags,).
        values: shape (lags, columns).
    """

    lags: np.ndarray
    values: np.ndarray


class Term:
    """One or more columns of a design, made from raw columns of the data.

    A term of your own defines :meth:`names`, :meth:`values` and ``label``.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, Term
        >>> class Square(Term):
        ...     label = "contrast squared"
        ...
        ...     def names(self):
        ...         return (self.label,)
        ...
        ...     def values(self, table):
        ...         return table.numbers("contrast")[:, None] ** 2
        >>> trials = pd.DataFrame({"contrast": [0.5, -2.0]})
        >>> Design(Square()).fit_transform(trials, session=None).values.tolist()
        [[0.25], [4.0]]
    """

    @property
    def label(self) -> str:
        """Name of the term, which is that of its group of columns."""
        raise NotImplementedError(f"{type(self).__name__} must define label")

    @property
    def reads_now(self) -> tuple[str, ...]:
        """Raw columns of which row t is read at row t; the others are read earlier."""
        return ()

    @property
    def follows(self) -> str | None:
        """The raw column whose past the term is a function of, if it is of one."""
        return None

    def following(self, emissions: Sequence[str]) -> "Term | None":
        """The term, if it is a function of the past of one of these emissions."""
        return self if self.follows in emissions else None

    def fitted(self, table: RawTable) -> "Term":
        """The term with what it learns from these data."""
        return self

    def relearnt(self, table: RawTable) -> "Term":
        """The term, fitted before, with the numbers that it learns from other rows.

        Classes and whatever else shapes the columns stay. A term that learns such
        numbers in :meth:`fitted` needs nothing more; one that does not may give itself.
        """
        return self.fitted(table)

    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        raise NotImplementedError(f"{type(self).__name__} must define names()")

    def values(self, table: RawTable) -> np.ndarray:
        """The columns, shape (steps, columns)."""
        raise NotImplementedError(f"{type(self).__name__} must define values(table)")

    def basis(self) -> Basis | None:
        """What the columns are on lags, if the term is a filter."""
        return None

    def recomputed(self, table: RawTable | None) -> Recomputed:
        """A fresh function that gives the columns step after step of a simulation."""
        raise ValueError(
            f"term {self.label!r} must be a function of past emissions to be "
            f"recomputed, got {with_article(type(self))}; leave it out of history"
        )


@suggests_names
@dataclass(frozen=True)
class Intercept(Term):
    """A column of ones.

    Args:
        name: of the column.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, Intercept
        >>> design = Design(Intercept(name="bias"))
        >>> design.fit_transform(pd.DataFrame({"choice": [0, 1]}), session=None)
           bias
        0   1.0
        1   1.0
    """

    name: str = "intercept"

    @property
    def label(self) -> str:
        """Its name."""
        return self.name

    def names(self) -> tuple[str, ...]:
        """One column."""
        return (self.name,)

    def values(self, table: RawTable) -> np.ndarray:
        """Ones."""
        return np.ones((table.num_steps, 1))


@suggests_names
@dataclass(frozen=True)
class Columns(Term):
    """Raw columns as they are; a design takes a bare name for a single one.

    Args:
        columns: name of a numeric column, or several, which are one group.
        name: of the group; their names, joined by "+", by default.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Columns, Design
        >>> trials = pd.DataFrame({"s1": [0.5, 1.0], "s2": [0.0, 2.0]})
        >>> design = Design(Columns(["s1", "s2"], name="stimuli"))
        >>> design.fit(trials, session=None).groups
        {'stimuli': ('s1', 's2')}
    """

    columns: str | Sequence[str]
    name: str | None = None

    def __post_init__(self) -> None:
        given = self.columns
        single = isinstance(given, str) or not has_items(given)
        several = (given,) if single else tuple(given)
        if not several or not all(isinstance(column, str) for column in several):
            raise ValueError(
                f"columns must be names of columns, got {given!r}"
                "; give a list of strings"
            )
        object.__setattr__(self, "columns", several)

    @property
    def label(self) -> str:
        """The name given, or that of the columns."""
        return self.name or "+".join(self.columns)

    @property
    def reads_now(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self.columns)

    def fitted(self, table: RawTable) -> Term:
        """The term itself, if its columns are finite numbers."""
        self.values(table)
        return self

    def names(self) -> tuple[str, ...]:
        """Names of the raw columns."""
        return tuple(self.columns)

    def values(self, table: RawTable) -> np.ndarray:
        """The raw numbers."""
        read = [Source(c).read(table) for c in self.columns]
        labels = [c for c in self.columns if table.classes.get(c) is not None]
        if labels:
            raise TypeError(
                f"columns must be numeric, got {labels[0]!r} with labels; code it by "
                f"Factor({labels[0]!r}), Signed({labels[0]!r}) or Indicator(...)"
            )
        return np.stack(read, axis=1)


@suggests_names
@dataclass(frozen=True)
class Standardised(Term):
    r"""Another term, every column with mean 0 and standard deviation 1 in training.

    .. math:: (x_{tj} - m_j) / s_j

    ``Design.fit`` learns m and s (divisor n, as scikit-learn's StandardScaler) from the
    rows that it is given and from no others. :meth:`Design.filters` is per unit of the
    raw column again.

    Args:
        term: the term, the name of a column, or a source such as ``Imputed``.
        means: m, learnt by ``Design.fit``.
        scales: s, learnt by ``Design.fit``.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, Standardised
        >>> train, test = pd.DataFrame({"s": [1.0, 3.0]}), pd.DataFrame({"s": [5.0]})
        >>> design = Design(Standardised("s")).fit(train, session=None)
        >>> design.transform(test)["s"].tolist()
        [3.0]
    """

    term: Term | Source | str
    means: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "term", as_term(self.term))

    @property
    def inner(self) -> Term:
        """The term that is standardised."""
        return as_term(self.term)

    @property
    def label(self) -> str:
        """Name of the term inside."""
        return self.inner.label

    @property
    def reads_now(self) -> tuple[str, ...]:
        """Columns that the term inside reads at the same step."""
        return self.inner.reads_now

    @property
    def follows(self) -> str | None:
        """The emission that the term inside follows, if any."""
        return self.inner.follows

    def following(self, emissions: Sequence[str]) -> Term | None:
        """The term, where the one inside follows an emission."""
        inner = self.inner.following(emissions)
        return None if inner is None else replace(self, term=inner)

    def fitted(self, table: RawTable) -> Term:
        """The term with means and standard deviations of these rows."""
        return self._learnt(self.inner.fitted(table), table)

    def relearnt(self, table: RawTable) -> Term:
        """The term with means and standard deviations of these rows."""
        return self._learnt(self.inner.relearnt(table), table)

    def _learnt(self, inner: Term, table: RawTable) -> Term:
        values = inner.values(table)
        means, scales = values.mean(axis=0), values.std(axis=0)
        # Means of equal numbers are off by rounding.
        flat = scales <= 1e-12 * np.abs(values).max(axis=0)
        if flat.any():
            raise ValueError(
                "a standardised column must vary in the data of fit, got the same "
                f"number in all rows of {inner.names()[int(flat.argmax())]!r}; leave "
                "it out, or take the term as it is"
            )
        return replace(
            self, term=inner, means=tuple(means.tolist()), scales=tuple(scales.tolist())
        )

    def names(self) -> tuple[str, ...]:
        """Names of the columns of the term inside."""
        return self.inner.names()

    def values(self, table: RawTable) -> np.ndarray:
        """The columns in their new units."""
        return self._scaled(self.inner.values(table))

    def basis(self) -> Basis | None:
        """Basis of the term inside, per unit of its raw column."""
        basis = self.inner.basis()
        if basis is None:
            return None
        return Basis(basis.lags, basis.values / np.array(self.scales))

    def recomputed(self, table: RawTable | None) -> Recomputed:
        """The columns of the term inside, in their new units."""
        function = self.inner.recomputed(table)
        return lambda past, rows: self._scaled(function(past, rows))

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return (values - np.array(self.means)) / np.array(self.scales)


def all_columns(terms: Sequence[Term], table: RawTable) -> np.ndarray:
    """All columns of all terms, shape (steps, columns)."""
    widths = [len(term.names()) for term in terms]
    matrix, first = np.empty((table.num_steps, sum(widths))), 0
    for term, width in zip(terms, widths):
        matrix[:, first : first + width] = term.values(table)
        first += width
    return matrix


@dataclass(frozen=True)
class OneSource(Term):
    """A source at its own step, one column."""

    source: Source

    @property
    def label(self) -> str:
        """As the source does."""
        return self.source.label

    @property
    def reads_now(self) -> tuple[str, ...]:
        """The source's column."""
        return (self.source.column,)

    def fitted(self, table: RawTable) -> Term:
        """The term whose source has learnt."""
        return OneSource(self.source.fitted(table))

    def relearnt(self, table: RawTable) -> Term:
        """The term whose source has learnt anew; itself if it learns nothing."""
        source = self.source.relearnt(table)
        return self if source is self.source else OneSource(source)

    def names(self) -> tuple[str, ...]:
        """One column."""
        return (self.label,)

    def values(self, table: RawTable) -> np.ndarray:
        """The source's numbers."""
        return self.source.read(table)[:, None]


def as_term(term: Term | Source | str) -> Term:
    """A term, or a raw column of this name as it is, or a source at its own step."""
    if isinstance(term, str):
        return Columns(term)
    if isinstance(term, Source):
        return OneSource(term)
    if not isinstance(term, Term):
        raise TypeError(
            "terms must be terms of a design or names of columns, got "
            f"{type(term).__name__}; terms are Lags(...), PreviousChoice(...) and "
            "others of gh.covariates"
        )
    return term
