"""Log-probabilities of models on two levels, with slopes made by hand."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from glmhmm_pyro.components.tables import (
    LogTable,
    MovesByScores,
    Softmaxes,
    Values,
    put_together,
    taken,
)


class HalfStepsTable:
    """Both half-steps of the transitions, as ``chain.half_steps`` puts them together.

    Args:
        slow: table of the slow transitions.
        fast: those of the fast ones, by slow state.
        axes: of slow states in values of the fast level, by attribute.
        ticks: steps at which slow states may be left, (steps,); ``None`` for all.
        steps: number of steps, where these differ though neither table's do; else 1.
    """

    def __init__(
        self,
        slow: LogTable,
        fast: list[LogTable],
        axes: Mapping[str, int],
        ticks: Tensor | None = None,
        steps: int = 1,
    ):
        self.slow, self.fast, self.axes = slow, fast, axes
        self.still = None if ticks is None else ~ticks.numpy()
        states = slow.shape[-1]
        steps = max(steps, *(table.shape[0] for table in (slow, *fast)))
        self.shape: tuple[int, ...] = (steps, states, states + fast[0].shape[-1] ** 2)
        self._stays = np.eye(states)

    def without_slopes(self) -> None:
        """Have all parts compute in the same memory, after which no slopes are left."""
        tables = [t for t in (self.slow, *self.fast) if isinstance(t, MovesByScores)]
        room = np.empty(max((t.scores.size for t in tables), default=0))
        for table in tables:
            table.scores = room[: table.scores.size].reshape(table.scores.shape)

    def __call__(self, values: Values) -> np.ndarray:
        """log p(s_t = j | s_t-1 = i), and log p(z_t = b | z_t-1 = a, s_t = j)."""
        logs = np.empty(self.shape)
        self.into(values, logs, True)
        return logs

    def into(self, values: Values, out: np.ndarray, as_logs: bool) -> None:
        """These in ``out``, of their shape, or if not ``as_logs`` the probabilities."""
        states, fast = len(self._stays), self.fast[0].shape[-1]
        moves = out[:, :, :states].transpose(0, 2, 1)
        _put(self.slow, _of("slow", values), moves, as_logs)
        if self.still is not None:
            moves[self.still] = np.log(self._stays) if as_logs else self._stays
        own = _of("fast", values)
        for j, table in enumerate(self.fast):
            at_state = taken(own, j, self.axes)
            moves = out[:, j, states:].reshape(-1, fast, fast)
            _put(table, at_state, moves, as_logs)

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the parameters of both levels."""
        states, fast = len(self._stays), self.fast[0].shape[-1]
        moves = counts[:, :, :states].transpose(0, 2, 1)
        if self.still is not None:
            moves = np.where(self.still[:, None, None], 0.0, moves)
        slopes = {f"slow.{n}": v for n, v in _slopes(self.slow, moves).items()}
        by_state = [
            _slopes(table, counts[:, j, states:].reshape(-1, fast, fast))
            for j, table in enumerate(self.fast)
        ]
        own = put_together(by_state, self.axes)
        return slopes | {f"fast.{name}": slope for name, slope in own.items()}

    def softmaxes(self) -> Softmaxes | None:
        """None that the covariances of scores know, whose states move in one step."""
        return None


class FirstTable:
    """First states of pairs: of slow states, and of fast ones given them.

    Args:
        slow: table of the first slow state.
        fast: those of the first fast ones, by slow state.
        axes: of slow states in values of the fast level, by attribute.
        goes_on: which sessions go on from the one before, (sessions,), whose fast
            states alone are drawn; ``None`` for none of them.
    """

    def __init__(
        self,
        slow: LogTable,
        fast: list[LogTable],
        axes: Mapping[str, int],
        goes_on: Tensor | None,
    ):
        self.slow, self.fast, self.axes = slow, fast, axes
        self.later = None if goes_on is None else goes_on.numpy()
        sessions = max(table.shape[0] for table in (slow, *fast))
        if self.later is not None:
            sessions = len(self.later)
        self.shape: tuple[int, ...] = (sessions, len(fast) * fast[0].shape[-1])

    def __call__(self, values: Values) -> np.ndarray:
        """log p(s_0 = j) + log p(z_0 = b | s_0 = j), by session."""
        logs = np.empty((self.shape[0], len(self.fast), self.fast[0].shape[-1]))
        logs[:] = self.slow(_of("slow", values))[..., None]
        if self.later is not None:
            logs[self.later] = 0.0
        own = _of("fast", values)
        for j, table in enumerate(self.fast):
            logs[:, j] += table(taken(own, j, self.axes))
        return logs.reshape(self.shape)

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the parameters of both levels."""
        firsts = counts.reshape(len(counts), len(self.fast), -1)
        begun = firsts.sum(-1)
        if self.later is not None:
            begun[self.later] = 0.0
        slopes = {f"slow.{n}": v for n, v in _slopes(self.slow, begun).items()}
        by_state = [
            _slopes(table, firsts[:, j].copy()) for j, table in enumerate(self.fast)
        ]
        own = put_together(by_state, self.axes)
        return slopes | {f"fast.{name}": slope for name, slope in own.items()}

    def softmaxes(self) -> Softmaxes | None:
        """None that the covariances of scores know."""
        return None


class SharedTable:
    """Emissions of pairs of states that emit as one of the two.

    Args:
        table: of the laws.
        laws: the law of every pair, shape (pairs,).
    """

    def __init__(self, table: LogTable, laws: Tensor):
        self.table, self.laws = table, laws.numpy()
        self.shape: tuple[int, ...] = (table.shape[0], len(self.laws))
        self._members = np.eye(table.shape[-1])[self.laws]

    def __call__(self, values: Values) -> np.ndarray:
        """log p(y_t | z_t = k)."""
        return self.table(values)[:, self.laws]

    def into(self, values: Values, out: np.ndarray) -> None:
        """The same in ``out``."""
        np.take(self.table(values), self.laws, 1, out=out, mode="clip")

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the parameters of the laws."""
        return self.table.slopes(counts @ self._members)

    def softmaxes(self) -> Softmaxes | None:
        """None that the covariances of scores know, where every state has its own."""
        return None


def _of(level: str, values: Values) -> Values:
    """Values of one level by the names of its own sites."""
    return {
        name.removeprefix(f"{level}."): value
        for name, value in values.items()
        if name.startswith(f"{level}.")
    }


def _put(table: LogTable, values: Values, out: np.ndarray, as_logs: bool) -> None:
    """A table of moves in ``out``, (steps, origins, destinations)."""
    if isinstance(table, MovesByScores):
        table.into(values, out, as_logs)
    else:
        logs = table(values)
        out[:] = logs if as_logs else np.exp(logs)


def _slopes(table: LogTable, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Slopes by counts of every step, or by their sums where a table has one row."""
    if len(counts) > table.shape[0]:
        counts = counts.sum(0, keepdims=True)
    return table.slopes(np.ascontiguousarray(counts))
