"""Terms from step to step of a session: each remembers what it needs of the past."""

import copy
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import reduce
from typing import Any, TypeVar, cast

import numpy as np

from glmhmm_pyro.sequences.validation import close_matches

from .filters import ExponentialHistory, FilterTerm
from .history import PreviousChoice, WinStayLoseSwitch
from .sources import Source, StepInSession
from .splines import Spline
from .table import Classes
from .terms import Standardised, Term

# Numbers of a column whose codes are remembered.
_MOST_CODES = 1000

Value = TypeVar("Value")


class Step:
    """The raw columns of one step; terms of single steps read it as a table.

    Args:
        columns: values by name.
        classes: names of the classes of label columns.
        number: of the step in its session.
    """

    num_steps = 1
    lengths = np.ones(1, dtype=int)

    def __init__(
        self, columns: Mapping[str, Any], classes: Mapping[str, Classes], number: int
    ):
        self.columns, self.classes, self.number = columns, classes, number

    @property
    def steps(self) -> np.ndarray:
        """Its number."""
        return np.array([self.number])

    def numbers(self, name: str) -> np.ndarray:
        """A column, shape (1,)."""
        return np.array([self.one(name)])

    def one(self, name: str) -> float:
        """A column as a number, a label as that of its class; NaN where missing."""
        if name not in self.columns:
            raise ValueError(
                f"row must have column {name!r}, which a term of the design reads, got "
                f"{', '.join(map(str, self.columns)) or 'none'}"
                f"{close_matches(name, self.columns)}; add it, None where it is missing"
            )
        value = self.columns[name]
        if value is None:
            return math.nan
        known = self.classes.get(name)
        if isinstance(value, str) and known and value in known:
            return float(known.index(value))
        if not isinstance(value, str) and (known is None or value != value):
            return float(value)
        wanted = "numbers" if known is None else f"labels among {', '.join(known)}"
        raise ValueError(
            f"column {name!r} of row must hold {wanted}, as in the data of fit, got "
            f"{value!r}; give one of these, or None where it is missing"
        )


class Stepper:
    """A term from step to step of a session.

    What it remembers is replaced, never changed in its place, so that a shallow copy
    goes its own way.
    """

    def start(self) -> None:
        """Begin a session."""

    def now(self, step: Step) -> list[float]:
        """The columns of a step, before its behaviour is known."""
        raise NotImplementedError

    def seen(self, step: Step) -> None:
        """Take in a step, once all of it is known."""

    def copied(self) -> "Stepper":
        """Another one with the same past."""
        return copy.copy(self)


class Ones(Stepper):
    """An intercept."""

    def now(self, step: Step) -> list[float]:
        return [1.0]


class Sources(Stepper):
    """Sources at their own step."""

    def __init__(self, *sources: Source):
        self.readers = [_source_reader(source) for source in sources]

    def now(self, step: Step) -> list[float]:
        return [read(step) for read in self.readers]


class Pointwise(Stepper):
    """A term each row of which is made of that row alone."""

    def __init__(self, term: Term):
        self.term = term

    def now(self, step: Step) -> list[float]:
        return self.term.values(cast(Any, step))[0].tolist()


class SplineStepper(Stepper):
    """A smooth function of a source."""

    def __init__(self, term: Spline):
        from scipy.interpolate import BSpline as ScipyBSpline

        knots = np.array(term.knots)
        number = len(knots) - term.degree - 1
        self.splines = ScipyBSpline(knots, np.eye(number), term.degree)
        self.read, self.first = _source_reader(term.source), 0 if term.full else 1
        self.ends = float(knots[0]), float(knots[-1])

    def now(self, step: Step) -> list[float]:
        low, high = self.ends
        value = min(max(self.read(step), low), high)
        return self.splines(value)[self.first :].tolist()


class Scaled(Stepper):
    """A term in units learnt from training data."""

    def __init__(self, term: Standardised, inner: Stepper):
        self.inner = inner
        self.units = tuple(zip(term.means, term.scales))

    def start(self) -> None:
        self.inner.start()

    def now(self, step: Step) -> list[float]:
        values = self.inner.now(step)
        return [(value - m) / s for value, (m, s) in zip(values, self.units)]

    def seen(self, step: Step) -> None:
        self.inner.seen(step)

    def copied(self) -> Stepper:
        other = copy.copy(self)
        other.inner = self.inner.copied()
        return other


class ProductStepper(Stepper):
    """Products of the columns of several terms."""

    def __init__(self, parts: Sequence[Stepper]):
        self.parts = parts

    def start(self) -> None:
        for part in self.parts:
            part.start()

    def now(self, step: Step) -> list[float]:
        return reduce(
            lambda ones, others: [a * b for a in ones for b in others],
            [part.now(step) for part in self.parts],
        )

    def seen(self, step: Step) -> None:
        for part in self.parts:
            part.seen(step)

    def copied(self) -> Stepper:
        return ProductStepper([part.copied() for part in self.parts])


class FilteredStepper(Stepper):
    """A source through filters on lags, its last numbers remembered."""

    def __init__(self, term: FilterTerm):
        basis, self.read = term.basis(), _source_reader(term.source)
        self.by_lag = np.zeros((int(basis.lags[-1]) + 1, basis.values.shape[1]))
        self.by_lag[basis.lags] = basis.values
        self.reads_now = bool(basis.lags[0] == 0)
        self.before = self.by_lag[1:].T
        self.start()

    def start(self) -> None:
        self.recent = np.zeros(len(self.by_lag) - 1)

    def now(self, step: Step) -> list[float]:
        values = self.before @ self.recent
        if self.reads_now:
            values = values + self.by_lag[0] * self.read(step)
        return values.tolist()

    def seen(self, step: Step) -> None:
        if len(self.recent):
            moved = np.empty_like(self.recent)
            moved[0], moved[1:] = self.read(step), self.recent[:-1]
            self.recent = moved


class Fading(Stepper):
    """Running means that forget exponentially."""

    def __init__(self, term: ExponentialHistory):
        self.read, self.decays = _source_reader(term.source), term.decays.tolist()
        self.start()

    def start(self) -> None:
        self.means = [0.0] * len(self.decays)

    def now(self, step: Step) -> list[float]:
        return list(self.means)

    def seen(self, step: Step) -> None:
        new = self.read(step)
        self.means = [a * m + (1 - a) * new for a, m in zip(self.decays, self.means)]


class Choice(Stepper):
    """The last valid choice."""

    def __init__(self, term: PreviousChoice):
        self.column = term.column
        self.coded = _remembered(lambda numbers: term.coded(numbers)[0].tolist())
        self.start()

    def start(self) -> None:
        self.last = math.nan

    def now(self, step: Step) -> list[float]:
        return self.coded(self.last)

    def seen(self, step: Step) -> None:
        choice = step.one(self.column)
        self.last = self.last if math.isnan(choice) else choice


class Staying(Stepper):
    """The last valid choice, times what it earned."""

    def __init__(self, term: WinStayLoseSwitch):
        self.term, self.outcome = term, str(term.reward or term.answer)
        self.known: dict[tuple[float, float], float] = {}
        self.start()

    def start(self) -> None:
        self.last = 0.0

    def now(self, step: Step) -> list[float]:
        return [self.last]

    def seen(self, step: Step) -> None:
        choice = step.one(self.term.choice)
        if math.isnan(choice):
            return
        both = choice, step.one(self.outcome)
        if both not in self.known:
            earned = self.term.earned(np.array([choice]), cast(Any, step))
            _keep(self.known, both, float(earned[0]))
        self.last = self.known[both]


def _remembered(coded: Callable[[np.ndarray], Any]) -> Callable[[float], Any]:
    """What is coded from an array of one number, remembered by the number."""
    known: dict[float | None, Any] = {}

    def code(number: float) -> Any:
        key = None if number != number else number
        if key not in known:
            _keep(known, key, coded(np.array([number])))
        return known[key]

    return code


def _keep(known: dict[Any, Value], key: Hashable, value: Value) -> None:
    """Remember a value, among not too many."""
    if len(known) >= _MOST_CODES:
        known.clear()
    known[key] = value


def _source_reader(source: Source) -> Callable[[Step], float]:
    """What reads a source at its own step."""
    column = source.column
    if type(source) is StepInSession:
        return lambda step: float(step.number)
    if type(source) is Source:

        def read(step: Step) -> float:
            number = step.one(column)
            if math.isfinite(number):
                return number
            return float(source.coded(np.array([number]))[0])

        return read
    code = _remembered(lambda numbers: float(source.coded(numbers)[0]))
    return lambda step: code(step.one(column))
