"""Terms that are filters in time: lags, bases on lags, decaying history.

A filter never reaches over the start of a session: what lies before it counts as 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from glmhmm_pyro.arguments import keep_real, suggests_names
from glmhmm_pyro.sequences.arrays import as_array
from glmhmm_pyro.sequences.validation import check_count

from .sources import Source, as_source
from .table import RawTable
from .terms import Basis, Past, Recomputed, Term

# Half-lives after which a decaying filter is shown no further: a thousandth is left.
SHOWN_HALF_LIVES = 10


class FilterTerm(Term):
    r"""A column on several lags, through a basis B of filters.

    .. math:: x_{tj} = \sum_l B_{lj} \, s_{t-l}, \quad s = 0 \text{ before the session}

    Example:
        >>> from glmhmm_pyro.covariates import FilterTerm, Lags
        >>> term = Lags("reward", 2, first_lag=1)
        >>> isinstance(term, FilterTerm), term.basis().lags.tolist()
        (True, [1, 2])
    """

    column: str | Source
    name: str | None

    @property
    def source(self) -> Source:
        """What is filtered."""
        return as_source(self.column)

    @property
    def label(self) -> str:
        """The name given, or that of the column."""
        return self.name or self.source.label

    @property
    def lags(self) -> np.ndarray:
        """The lags, in steps."""
        raise NotImplementedError(f"{type(self).__name__} must define lags")

    @property
    def reads_now(self) -> tuple[str, ...]:
        """The column, if lag 0 is one of the lags."""
        return (self.source.column,) if self.lags[0] == 0 else ()

    @property
    def follows(self) -> str | None:
        """The column."""
        return self.source.column

    def basis(self) -> Basis:
        """Filters by lag and column."""
        return Basis(self.lags, self._filters())

    def _filters(self) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define its filters")

    def fitted(self, table: RawTable) -> Term:
        """The term whose source knows its classes; its lags must fit a session."""
        self._check_length(int(table.lengths.max()))
        return replace(cast(Any, self), column=self.source.fitted(table))

    def relearnt(self, table: RawTable) -> Term:
        """The term with its source's numbers of these rows; itself if it has none."""
        source, filtered = self.source.relearnt(table), cast(Any, self)
        return self if source is self.source else replace(filtered, column=source)

    def _check_length(self, longest: int) -> None:
        if self.lags[-1] >= longest:
            raise ValueError(
                f"lags of {self.label!r} must be shorter than the longest session, "
                f"which has {longest} steps, got lags up to {self.lags[-1]}, which "
                "would always be 0; take fewer lags, or check the session column"
            )

    def values(self, table: RawTable) -> np.ndarray:
        """The source, convolved with every filter within its session."""
        basis, reach = self.basis(), int(self.lags[-1])
        signal = self.source.read(table)
        # Sessions stand apart by the longest lag, so that none hears the one before.
        sessions = np.repeat(np.arange(len(table.lengths)), table.lengths)
        places = np.arange(len(signal)) + sessions * reach
        padded = np.zeros(len(signal) + len(table.lengths) * reach)
        padded[places] = signal
        values = np.empty((len(signal), basis.values.shape[1]))
        for column, of_lags in enumerate(basis.values.T):
            kernel = np.zeros(reach + 1)
            kernel[basis.lags] = of_lags
            values[:, column] = np.convolve(padded, kernel)[places]
        return values

    def recomputed(self, table: RawTable | None) -> Recomputed:
        """The filters' products with the last steps of the past."""
        basis, source, reach = self.basis(), self.source, int(self.lags[-1])
        by_lag = np.zeros((reach, basis.values.shape[1]))
        by_lag[basis.lags - 1] = basis.values

        def function(past: Past, rows: np.ndarray) -> np.ndarray:
            recent = source.coded(past.last(reach))[:, ::-1]
            return recent @ by_lag[: recent.shape[1]]

        return function


class FiniteFilterTerm(FilterTerm):
    """Filters on ``num_lags`` lags from ``first_lag`` on."""

    num_lags: int
    first_lag: int

    @property
    def lags(self) -> np.ndarray:
        """The lags, in steps."""
        return np.arange(self.first_lag, self.first_lag + self.num_lags)


@suggests_names
@dataclass(frozen=True)
class Lags(FiniteFilterTerm):
    """A column at each of several lags, one covariate a lag.

    Args:
        column: a numeric column's name; ``Signed(name)``; ``Indicator(name, value)``.
        num_lags: number of lags.
        first_lag: the first of them, in steps; 1 leaves the present out, as a column
            made from the emissions must.
        name: of the term, begins its columns' names; the column's by default.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, Lags
        >>> table = pd.DataFrame({"fly": [1, 1, 2, 2], "sound": [1.0, 2.0, 3.0, 4.0]})
        >>> Design(Lags("sound", 2)).fit_transform(table, session="fly")
           sound_lag0  sound_lag1
        0         1.0         0.0
        1         2.0         1.0
        2         3.0         0.0
        3         4.0         3.0
    """

    column: str | Source
    num_lags: int
    first_lag: int = 0
    name: str | None = None

    def __post_init__(self) -> None:
        check_count("num_lags", self.num_lags)
        check_count("first_lag", self.first_lag, 0)
        as_source(self.column)

    def names(self) -> tuple[str, ...]:
        """One a lag."""
        return tuple(f"{self.label}_lag{lag}" for lag in self.lags)

    def _filters(self) -> np.ndarray:
        return np.eye(self.num_lags)

    def values(self, table: RawTable) -> np.ndarray:
        """The source, shifted within its session."""
        signal = self.source.read(table)
        values, steps = np.zeros((len(signal), self.num_lags)), table.steps
        for column, lag in enumerate(self.lags):
            inside = steps[lag:] >= lag
            values[lag:, column] = signal[: len(signal) - lag] * inside
        return values


@suggests_names
@dataclass(frozen=True)
class RaisedCosine(FiniteFilterTerm):
    r"""A column through bumps on lags, equally far apart on a logarithmic axis.

    .. math:: b_j(l) = \tfrac12 \cos(a \log(l + c) - \phi_j) + \tfrac12
        \quad \text{where } |a \log(l + c) - \phi_j| \le \pi, \text{ else } 0

    These are the basis vectors of Pillow et al. 2008 (Nature 454:995, Methods), their
    peaks :math:`\phi_j` half a half-width apart (:math:`\pi / 2`). The first peak is at
    the first lag, where l is 0; the last bump ends at the lag after the last.

    Args:
        column: a numeric column's name; ``Signed(name)``; ``Indicator(name, value)``.
        num_bases: number of bumps, at most the number of lags.
        num_lags: number of lags.
        first_lag: the first of them, in steps; 1 leaves the present out, as a column
            made from the emissions must.
        offset: c, in steps, above 0: the larger, the more alike the bumps' widths.
        name: of the term, begins its columns' names; the column's by default.

    Example:
        >>> from glmhmm_pyro.covariates import RaisedCosine
        >>> bumps = RaisedCosine("sound", num_bases=4, num_lags=30)
        >>> bumps.basis().values.argmax(axis=0)
        array([0, 1, 3, 7])
    """

    column: str | Source
    num_bases: int
    num_lags: int
    first_lag: int = 0
    offset: float = 1.0
    name: str | None = None

    def __post_init__(self) -> None:
        _check_bases(self)
        keep_real(self, offset=(0.0, 1e9, False))
        _check_independent(self, "raise offset, or take more lags or fewer bases")

    def names(self) -> tuple[str, ...]:
        """One a bump."""
        return tuple(f"{self.label}_cosine{j}" for j in range(self.num_bases))

    def _filters(self) -> np.ndarray:
        warped = np.log(np.arange(self.num_lags) + self.offset)
        first, end = np.log(self.offset), np.log(self.num_lags + self.offset)
        spacing = (end - first) / (self.num_bases + 1)
        peaks = first + spacing * np.arange(self.num_bases)
        angle = np.pi / 2 * (warped[:, None] - peaks) / spacing
        return (np.cos(angle.clip(-np.pi, np.pi)) + 1) / 2


@suggests_names
@dataclass(frozen=True)
class BSpline(FiniteFilterTerm):
    """A column through B-splines on lags, with knots at equal distances.

    The splines of every lag sum to 1 (de Boor 2001; knots are repeated at both ends).

    Args:
        column: a numeric column's name; ``Signed(name)``; ``Indicator(name, value)``.
        num_bases: number of splines, more than the degree, at most the number of lags.
        num_lags: number of lags.
        degree: of the polynomials; 3 is cubic.
        first_lag: the first of them, in steps; 1 leaves the present out, as a column
            made from the emissions must.
        name: of the term, begins its columns' names; the column's by default.

    Example:
        >>> from glmhmm_pyro.covariates import BSpline
        >>> splines = BSpline("sound", num_bases=5, num_lags=20)
        >>> float(splines.basis().values.sum(axis=1).round(12).min())
        1.0
    """

    column: str | Source
    num_bases: int
    num_lags: int
    degree: int = 3
    first_lag: int = 0
    name: str | None = None

    def __post_init__(self) -> None:
        _check_bases(self)
        check_count("degree", self.degree, 0)
        if self.num_bases <= self.degree:
            raise ValueError(
                f"num_bases must be above degree, which is {self.degree}, got "
                f"{self.num_bases}; take more bases, or a lower degree"
            )
        _check_independent(self, "take more lags or fewer bases")

    def names(self) -> tuple[str, ...]:
        """One a spline."""
        return tuple(f"{self.label}_spline{j}" for j in range(self.num_bases))

    def _filters(self) -> np.ndarray:
        from scipy.interpolate import BSpline as ScipyBSpline

        last = float(max(self.num_lags - 1, 1))
        inner = np.linspace(0.0, last, self.num_bases - self.degree + 1)
        ends = np.full(self.degree, 1.0)
        knots = np.concatenate([0.0 * ends, inner, last * ends])
        lags = np.arange(self.num_lags, dtype=float)
        return ScipyBSpline.design_matrix(lags, knots, self.degree).toarray()


@suggests_names
@dataclass(frozen=True)
class ExponentialHistory(FilterTerm):
    r"""Running means of a column's past that forget exponentially.

    .. math:: e_t = a \, e_{t-1} + (1 - a) \, s_{t-1}, \quad a = 2^{-1/h},
        \quad e = 0 \text{ at the start of a session}

    With s the choices this is the choice kernel of learning rate 1 - a (Wilson &
    Collins 2019, eLife 8:e49547).

    Args:
        column: a numeric column's name; ``Signed(name)``; ``Indicator(name, value)``.
        half_lives: h, in steps, one or several: after h steps half is forgotten.
        name: of the term, begins its columns' names; the column's by default.

    Example:
        >>> import pandas as pd
        >>> from glmhmm_pyro.covariates import Design, ExponentialHistory, Signed
        >>> trials = pd.DataFrame({"choice": [1, 1, 0, 1]})
        >>> design = Design(ExponentialHistory(Signed("choice"), half_lives=1))
        >>> design.fit_transform(trials, session=None)["choice_half_life1"].tolist()
        [0.0, 0.5, 0.75, -0.125]
    """

    column: str | Source
    half_lives: float | Sequence[float]
    name: str | None = None

    def __post_init__(self) -> None:
        given: Any = self.half_lives
        array = np.atleast_1d(as_array("half_lives", given))
        legal = array.ndim == 1 and array.size > 0 and array.dtype.kind in "iuf"
        if not legal or not (np.isfinite(array) & (array > 0)).all():
            raise ValueError(
                f"half_lives must be above 0 steps, got {given!r}; give a number, or a "
                "list of numbers"
            )
        several = tuple(array.astype(float).tolist())
        if len(set(several)) < len(several):
            raise ValueError(
                f"half_lives must differ from each other, got {given!r}; leave one out"
            )
        object.__setattr__(self, "half_lives", several)
        as_source(self.column)

    @property
    def decays(self) -> np.ndarray:
        """What is left after a step, for every half-life."""
        return 2.0 ** (-1.0 / np.array(self.half_lives))

    @property
    def lags(self) -> np.ndarray:
        """Lags at which the filters are shown; they go on for ever."""
        longest = SHOWN_HALF_LIVES * float(np.max(self.half_lives))
        return np.arange(1, int(np.ceil(longest)) + 1)

    def names(self) -> tuple[str, ...]:
        """One a half-life."""
        lives = np.atleast_1d(np.array(self.half_lives))
        return tuple(f"{self.label}_half_life{life:g}" for life in lives)

    def _filters(self) -> np.ndarray:
        return (1 - self.decays) * self.decays ** (self.lags[:, None] - 1)

    def _check_length(self, longest: int) -> None:
        """A session of any length will do."""

    def values(self, table: RawTable) -> np.ndarray:
        """The running means, one session after the other."""
        from scipy.signal import lfilter

        signal = self.source.read(table)
        values = np.empty((len(signal), len(self.decays)))
        for start, length in zip(table.starts, table.lengths):
            rows = slice(start, start + length)
            for column, a in enumerate(self.decays):
                values[rows, column] = lfilter([0.0, 1 - a], [1.0, -a], signal[rows])
        return values

    def recomputed(self, table: RawTable | None) -> Recomputed:
        """The running means, moved on by one step at every call."""
        mean = np.zeros((0, len(self.decays)))

        def function(past: Past, rows: np.ndarray) -> np.ndarray:
            nonlocal mean
            if not past.num_steps:
                mean = np.zeros((len(rows), len(self.decays)))
                return mean
            last = self.source.coded(past.last(1))
            mean = self.decays * mean[: len(rows)] + (1 - self.decays) * last
            return mean

        return function


def _check_bases(term: RaisedCosine | BSpline) -> None:
    check_count("num_bases", term.num_bases)
    check_count("num_lags", term.num_lags)
    check_count("first_lag", term.first_lag, 0)
    as_source(term.column)


def _check_independent(term: RaisedCosine | BSpline, mend: str) -> None:
    """Raise a ValueError if the lags cannot tell the basis functions apart."""
    rank = np.linalg.matrix_rank(term.basis().values)
    if rank < term.num_bases:
        raise ValueError(
            f"num_bases must be at most what {term.num_lags} lags tell apart, {rank}, "
            f"got {term.num_bases}; {mend}"
        )
