"""Log-probabilities of models on two levels, with slopes made by hand."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from glmhmm_pyro.chain.half_steps import HalfSteps
from glmhmm_pyro.components.tables import (
    LogTable,
    MovesByScores,
    Softmaxes,
    Values,
    put_together,
    taken,
)


class Level(NamedTuple):
    """Tables of one part of a component of two levels.

    Attributes:
        name: of the part.
        tables: one for each state of the other level, or one for all of them.
        axes: of the other level's states in values of the part, by attribute, if there
            is one for each.
    """

    name: str
    tables: Sequence[LogTable]
    axes: Mapping[str, int]

    @property
    def states(self) -> int:
        """Number of the part's states."""
        return self.tables[0].shape[-1]

    @property
    def rows(self) -> int:
        """Number of steps or sessions, 1 if the same for all."""
        return max(table.shape[0] for table in self.tables)

    def at(self, values: Values, number: int) -> Values:
        """Values that a table takes, from those of the component."""
        start = f"{self.name}."
        own = {
            name.removeprefix(start): value
            for name, value in values.items()
            if name.startswith(start)
        }
        return taken(own, number, self.axes) if self.axes else own

    def put(self, values: Values, number: int, out: np.ndarray, as_logs: bool) -> None:
        """A table in ``out``, (steps, ..., states), or its probabilities."""
        table = self.tables[number]
        if isinstance(table, MovesByScores):
            table.into(self.at(values, number), out, as_logs)
        else:
            logs = table(self.at(values, number))
            out[:] = logs if as_logs else np.exp(logs)

    def slopes(self, counts: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
        """Slopes by name of the component's, from counts of each table.

        They may be of every step where a table has one row, as their sums are meant.
        """
        each = [_slopes(*both) for both in zip(self.tables, counts)]
        own = put_together(each, self.axes) if self.axes else each[0]
        return {f"{self.name}.{name}": slope for name, slope in own.items()}


class HalfStepsTable:
    """Both half-steps of the transitions, as ``chain.half_steps`` puts them together.

    Args:
        slow: tables of the slow transitions.
        fast: those of the fast ones.
        entry: those of fast states that begin anew in another slow state, if they do.
        ticks: steps at which slow states may be left, (steps,); ``None`` for all.
        steps: number of steps, where these differ though no table's do; else 1.
    """

    def __init__(
        self,
        slow: Level,
        fast: Level,
        entry: Level | None = None,
        ticks: Tensor | None = None,
        steps: int = 1,
    ):
        self.slow, self.fast, self.entry = slow, fast, entry
        self.still = None if ticks is None else ~ticks.numpy()
        renews = entry is not None or bool(slow.axes)
        self.kind = HalfSteps(slow.states, fast.states, renews)
        self.levels = [level for level in (slow, fast, entry) if level is not None]
        steps = max(steps, *(level.rows for level in self.levels))
        self.shape: tuple[int, ...] = (steps, slow.states, self.kind.width)
        self._stays = np.eye(slow.states)

    def without_slopes(self) -> None:
        """Have all parts compute in the same memory, after which no slopes are left."""
        every = [table for level in self.levels for table in level.tables]
        tables = [table for table in every if isinstance(table, MovesByScores)]
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
        kind, place = self.kind, self.kind.place
        slow = out[:, :, :place]
        if kind.renews:
            self._renewing_into(values, slow, as_logs)
        else:
            self._slow_into(values, 0, slow.transpose(0, 2, 1), as_logs)
        by_slow = out[:, :, place:].reshape(len(out), kind.slow, kind.slots, kind.fast)
        for j in range(kind.slow):
            number = min(j, len(self.fast.tables) - 1)
            self.fast.put(values, number, by_slow[:, j, : kind.fast], as_logs)
            if self.entry is not None:
                self.entry.put(values, j, by_slow[:, j, kind.fast], as_logs)
            elif kind.renews:
                share = 1 / kind.fast
                by_slow[:, j, kind.fast] = np.log(share) if as_logs else share

    def _slow_into(
        self, values: Values, number: int, out: np.ndarray, as_logs: bool
    ) -> None:
        """Slow moves by one table in ``out``, (steps, origins, destinations)."""
        self.slow.put(values, number, out, as_logs)
        if self.still is not None:
            out[self.still] = np.log(self._stays) if as_logs else self._stays

    def _renewing_into(self, values: Values, out: np.ndarray, as_logs: bool) -> None:
        """Slow moves by the fast state left, those that keep it before all others."""
        kind, never = self.kind, -np.inf if as_logs else 0.0
        kept, anew = self._by_fast(out)
        moves = np.empty((len(out), kind.slow, kind.slow))
        others = self._stays == 0
        for z in range(kind.fast):
            if z < len(self.slow.tables):
                self._slow_into(values, z, moves, as_logs)
            kept[..., z], anew[..., z] = moves, moves
        if self.entry is None:
            anew[:] = never
        else:
            kept[:, others], anew[:, ~others] = never, never

    def _by_fast(self, slow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slow moves that keep the fast state, and others, (steps, i, j, fast)."""
        sizes = self.kind.slow, self.kind.slow, self.kind.fast
        parts = np.split(slow, 2, 2)
        kept, anew = (x.reshape(-1, *sizes).transpose(0, 2, 1, 3) for x in parts)
        return kept, anew

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the parameters of all parts."""
        kind, slow = self.kind, counts[:, :, : self.kind.place]
        if kind.renews:
            kept, anew = self._by_fast(slow)
            by_fast = np.moveaxis(kept + anew, -1, 0)
            moves = by_fast if self.slow.axes else by_fast.sum(0)[None]
        else:
            moves = slow.transpose(0, 2, 1)[None]
        if self.still is not None:
            moves = np.where(self.still[:, None, None], 0.0, moves)
        sizes = len(counts), kind.slow, kind.slots, kind.fast
        by_slow = np.moveaxis(counts[:, :, kind.place :].reshape(sizes), 1, 0)
        fast = by_slow if self.fast.axes else by_slow.sum(0)[None]
        found = self.slow.slopes(moves) | self.fast.slopes(fast[:, :, : kind.fast])
        if self.entry is not None:
            found |= self.entry.slopes(by_slow[:, :, kind.fast])
        return found

    def softmaxes(self) -> Softmaxes | None:
        """None that the covariances of scores know, whose states move in one step."""
        return None


class FirstTable:
    """First states of pairs: of slow states, and of fast ones given them.

    Args:
        slow: table of the first slow state.
        fast: those of the first fast ones, by slow state.
        goes_on: which sessions go on from the one before, (sessions,), whose fast
            states alone are drawn; ``None`` for none of them.
    """

    def __init__(self, slow: Level, fast: Level, goes_on: Tensor | None):
        self.slow, self.fast = slow, fast
        self.later = None if goes_on is None else goes_on.numpy()
        sessions = max(slow.rows, fast.rows)
        if self.later is not None:
            sessions = len(self.later)
        self.shape: tuple[int, ...] = (sessions, slow.states * fast.states)

    def __call__(self, values: Values) -> np.ndarray:
        """log p(s_0 = j) + log p(z_0 = b | s_0 = j), by session."""
        logs = np.empty((self.shape[0], self.slow.states, self.fast.states))
        begun = np.empty((self.shape[0], self.slow.states))
        self.slow.put(values, 0, begun, True)
        if self.later is not None:
            begun[self.later] = 0.0
        for j in range(self.slow.states):
            self.fast.put(values, j, logs[:, j], True)
        logs += begun[..., None]
        return logs.reshape(self.shape)

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the parameters of both levels."""
        firsts = counts.reshape(len(counts), self.slow.states, -1)
        begun = firsts.sum(-1)
        if self.later is not None:
            begun[self.later] = 0.0
        by_slow = np.moveaxis(firsts, 1, 0)
        return self.slow.slopes([begun]) | self.fast.slopes(by_slow)

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


def _slopes(table: LogTable, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Slopes by counts of every step, or by their sums where a table has one row."""
    if len(counts) > table.shape[0]:
        counts = counts.sum(0, keepdims=True)
    return table.slopes(np.ascontiguousarray(counts))
