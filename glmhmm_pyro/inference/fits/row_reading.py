"""Steps of an experiment as a model reads them: covariates, and behaviour."""

import copy
import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.arguments import has_items, plain_number
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.construction import DESIGNS, INTERCEPT, names_of
from glmhmm_pyro.sequences.dataframes import as_pandas
from glmhmm_pyro.sequences.layout import Layout
from glmhmm_pyro.sequences.naming import Names
from glmhmm_pyro.sequences.recipes import StepByStep
from glmhmm_pyro.sequences.sessions import Session
from glmhmm_pyro.sequences.validation import close_matches

# Columns of a step by name, or in their order.
Row = Mapping[str, Any] | ArrayLike | None

# Behaviour at a step: a number, the name of a class, or one for each output.
Behaviour = ArrayLike | Mapping[str, ArrayLike | None] | None

_OWN, _MOVES, _FIRST = "covariates", "transition_covariates", "initial_covariates"


class ReadEmission(NamedTuple):
    """Behaviour of a step.

    Attributes:
        value: shape () or (outputs,), 0 where it was not seen.
        seen: the same shape.
        columns: what a design reads, by name: a number, and the name of its class.
    """

    value: np.ndarray
    seen: np.ndarray
    columns: dict[str, tuple[float, str | None]]


class Reader:
    """Reads steps as the data fitted were laid out.

    Args:
        layout: of the data fitted.
        read: arguments of the designs that the model reads.
        data: made by designs whose raw columns will be given, or ``None``.
    """

    def __init__(
        self, layout: Layout, read: Collection[str], data: Sequences | None
    ) -> None:
        self.names: dict[str, tuple[str, ...]] = {
            argument: layout.names[names_of(argument)].names
            for argument in DESIGNS
            if names_of(argument) in layout.names
        }
        # An older file doesn't name the one output that it has.
        self.outputs = layout.names.get("emission_names", Names(("y",))).names
        self.classes, self.read = layout.classes, read
        self.sessions: dict[str, Session] = dict(layout.sessions)
        self.designs = _designs_of(data)
        self.is_shared = (
            _MOVES not in self.designs and self.names[_OWN] == self.names[_MOVES]
        )
        self.sources = {a: self._sources(a) for a in self.names}
        self.start()

    def _sources(self, argument: str) -> list[int | str]:
        """Where every column comes from: a place among those made, or a raw column."""
        design = self.designs.get(argument)
        made = () if design is None else design.names
        names = self.names[argument]
        return [made.index(name) if name in made else name for name in names]

    def copied(self) -> "Reader":
        """Another one with the same past."""
        other = copy.copy(self)
        other.designs = {a: design.copied() for a, design in self.designs.items()}
        return other

    def start(
        self,
        session: str | None = None,
        group: str | None = None,
        initial: ArrayLike | None = None,
    ) -> None:
        """Begin a session."""
        for design in self.designs.values():
            design.start()
        self.is_first = True
        self.member = {"session_names": session, "groups": group}
        if initial is not None and _FIRST not in self.names:
            raise ValueError(
                f"{_FIRST} must be left out, as the data of the fit have none, got "
                f"{initial!r:.80}; leave it out"
            )
        self.initial = None if initial is None else self._ordered(_FIRST, initial)

    @property
    def waits(self) -> bool:
        """Whether the first state follows from what the first step is like."""
        return _FIRST in self.read and _FIRST in self.designs

    def session(self, is_blank: bool = False) -> Sequences:
        """A step of the session, all columns 0 but those that its start reads."""
        member = {k: [v] for k, v in self.member.items() if v is not None}
        initial = self.initial
        if initial is None and _FIRST in self.names:
            if _FIRST in self.read and not is_blank:
                raise ValueError(
                    f"{_FIRST} must be given at the start of a session, which the "
                    f"model's first state reads, {', '.join(self.names[_FIRST])}, got "
                    f"none; call start({_FIRST}=[...])"
                )
            initial = np.zeros(len(self.names[_FIRST]))
        rows = {a: np.zeros((1, len(self.names[a]))) for a in (_OWN, _MOVES)}
        if initial is not None:
            rows[_FIRST] = initial[None]
        named = {names_of(a): self.names[a] for a in rows}
        data = Sequences(np.zeros(1), **rows, **named, **member)  # type: ignore
        known = self.sessions.get(str(self.member["session_names"]))
        if known is None:
            return data
        groups = data.groups if known.group is None else (known.group,)
        return data._derive(session_origins=(known,), groups=groups)

    def covariates(
        self,
        row: Row,
        moves: Row,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Covariates of the emission and of the transition of the next step."""
        if self.designs and not isinstance(row, Mapping):
            raise ValueError(
                "row must hold raw columns by name, of which the design makes "
                f"covariates, got {type(row).__name__}; give a mapping such as "
                "{'stim': 0.5}, or leave data out to give covariates"
            )
        if self.waits and self.is_first:
            self.initial = self._row(_FIRST, row)
        own = self._row(_OWN, row)
        if moves is not None:
            return own, self._row(_MOVES, moves)
        return own, own if self.is_shared else self._row(_MOVES, row)

    def _row(self, argument: str, row: Row) -> np.ndarray:
        names = self.names[argument]
        if argument not in self.read:
            return np.zeros(len(names))
        if row is None or isinstance(row, Mapping):
            return self._by_name(argument, row or {})
        return self._ordered(argument, row)

    def _ordered(self, argument: str, values: ArrayLike) -> np.ndarray:
        """Columns in the order of the fit."""
        names, found = self.names.get(argument, ()), _finite_numbers(argument, values)
        if found.shape != (len(names),):
            raise ValueError(
                f"{argument} of a step must be the {len(names)} of the fit, "
                f"{', '.join(names[:12])}, got shape {found.shape}; give these, in "
                "their order or by name"
            )
        return found

    def _by_name(self, argument: str, row: Mapping[str, Any]) -> np.ndarray:
        """Columns made by the design, others from the row."""
        design = self.designs.get(argument)
        made = [] if design is None else design.now(row)
        return _finite_numbers(
            argument,
            [
                made[source] if isinstance(source, int) else _column_value(row, source)
                for source in self.sources[argument]
            ],
        )

    def emission(self, given: Behaviour) -> ReadEmission:
        """Behaviour as the model and the designs have it."""
        several = len(self.outputs) > 1
        if isinstance(given, Mapping):
            lacking = [name for name in self.outputs if name not in given]
            if lacking:
                raise ValueError(
                    f"emission must have every output, {', '.join(self.outputs)}, got "
                    f"no {lacking[0]!r}; give None where it was not observed"
                )
            ones: list[Any] = [given[name] for name in self.outputs]
        elif given is None:
            ones = [None] * len(self.outputs)
        elif several and has_items(given) and not isinstance(given, str):
            ones = list(given)
        else:
            ones = [given]
        if len(ones) != len(self.outputs):
            raise ValueError(
                f"emission must have a number for every output, "
                f"{', '.join(self.outputs)}, got {len(ones)}; give None for one that "
                "was not observed"
            )
        numbers = [self._number(one) for one in ones]
        columns = {n: (v, self._class_of(v)) for n, v in zip(self.outputs, numbers)}
        value = np.array(numbers) if several else np.float64(numbers[0])
        seen = np.asarray(value == value)
        return ReadEmission(np.where(seen, value, 0.0), seen, columns)

    def _number(self, given: float | str | None) -> float:
        if given is None:
            return math.nan
        if isinstance(given, str):
            classes = self.classes or ()
            if given not in classes:
                known = ", ".join(classes) or "numbers"
                raise ValueError(
                    f"emission must be one of {known}, as in the data of the fit, got "
                    f"{given!r}{close_matches(given, classes)}; give one of these"
                )
            return float(classes.index(given))
        found = plain_number("emission", given)
        if not isinstance(found, int | float):
            raise ValueError(
                "emission must be a number for each output, or the name of a class, "
                f"got {given!r:.80}; give None where it was not observed"
            )
        return float(found)

    def _class_of(self, number: float) -> str | None:
        is_known = self.classes is not None and 0 <= number < len(self.classes)
        return self.classes[int(number)] if is_known and self.classes else None

    def seen(self, row: Row, emission: ReadEmission) -> None:
        """Take in a step for those that follow; designs read rows by name alone."""
        self.is_first = False
        if isinstance(row, Mapping):
            for design in self.designs.values():
                design.seen(row, emission.columns)

    def suppose(self, row: Mapping[str, Any]) -> None:
        """Take in a step that is only supposed, by the behaviour in its row."""
        if not self.designs:
            return
        for design in self.designs.values():
            for column in design.follows:
                if column in self.outputs and column not in row:
                    raise ValueError(
                        f"row must say by {column!r} which behaviour is supposed at "
                        "steps between, which columns of past behaviour are made of, "
                        "got none; give it, None for no behaviour, or simulate"
                    )
        self.seen(row, self.emission({n: row.get(n) for n in self.outputs}))


def named_rows(given: Any) -> Any:
    """Rows of a data frame, or of named columns, by name; others as they are."""
    if given is None or isinstance(given, Mapping | list | tuple | np.ndarray):
        return given
    if hasattr(given, "columns"):
        return as_pandas(given).to_dict("records")
    if hasattr(given, "to_dict") and all(isinstance(n, str) for n in given.index):
        return given.to_dict()
    return given


def one_row(given: Any) -> Row:
    """The same of a single step.

    Raises:
        ValueError: it is a data frame of more steps, or of none.
    """
    rows = named_rows(given)
    if rows is given or isinstance(rows, Mapping):
        return rows
    if len(rows) != 1:
        raise ValueError(
            f"row must be one step, got a data frame of {len(rows)} rows; give one of "
            "them at a time, such as df.iloc[[0]]"
        )
    return rows[0]


def _designs_of(data: Sequences | None) -> dict[str, StepByStep]:
    if data is None:
        return {}
    if data.design_source is None:
        raise ValueError(
            "data must be made by a Design to be followed by raw columns, got "
            "covariates as they are; leave data out, and give covariates"
        )
    return dict(data.design_source.online(data))


def _column_value(row: Mapping[str, Any], name: str) -> Any:
    """A column of a row; that of ones needn't be given."""
    if name not in row and name != INTERCEPT:
        raise ValueError(
            f"row must have column {name!r}, which the fit reads, got "
            f"{', '.join(map(str, row)) or 'none'}{close_matches(name, row)}; add it, "
            "or give data whose design makes it of raw columns, fit.online(data)"
        )
    return row.get(name, 1.0)


def _finite_numbers(argument: str, given: ArrayLike) -> np.ndarray:
    """Finite numbers."""
    try:
        found = np.asarray(given, dtype=float)
    except (TypeError, ValueError, RuntimeError):
        found = np.array(np.nan)
    if not np.isfinite(found).all():
        raise ValueError(
            f"{argument} of a row must be finite numbers, got {given!r:.80}; give "
            "numbers, and None for behaviour alone"
        )
    return found
