"""The journal of a fit: the progress of its long loops, so that a later call goes on.

A fit follows from model, data, options and seed. What lies between its loops is made
again when it goes on, and comes out as before; a loop opens a :class:`LongLoop`, named
by all that it begins with, and finds there what an earlier call had come to in a loop
that began with the same. So the numbers are those of a call that nothing ended, to the
last bit on the same machine, and when the journal is written changes none of them.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Seconds between two writings, and how much longer it must be than a writing takes.
EVERY, SHARE = 2.0, 20.0

# From a vector to numbers and a gradient.
Function = Callable[[Tensor], tuple[Tensor, Tensor]]


class Journal:
    """The states of loops, and the function that writes them.

    Args:
        entries: what an earlier call has left, by the names of stages.
        write: keeps entries that are new or have changed.

    Attributes:
        problem: why the last writing failed, if it did.
    """

    def __init__(
        self, entries: Mapping[str, Any], write: Callable[[dict[str, Any]], None]
    ):
        self.entries, self._write = entries, write
        self._new: dict[str, Any] = {}
        self.problem: OSError | None = None
        self._due = monotonic() + EVERY

    @property
    def is_due(self) -> bool:
        """Whether it is time to write again."""
        return monotonic() >= self._due

    def put(self, name: str, state: Mapping[str, Any]) -> None:
        """Store the state of a loop, and write if it is time."""
        self._new[name] = state
        if self.is_due:
            self.write()

    def write(self) -> None:
        """Write new states; if that fails, the fit goes on without."""
        if not self._new:
            return
        before = monotonic()
        try:
            self._write(self._new)
            self._new, self.problem = {}, None
        except OSError as error:
            self.problem = error
        self._due = monotonic() + pause(before)


def pause(before: float) -> float:
    """Seconds until the next writing, where one began at a time."""
    return max(EVERY, SHARE * (monotonic() - before))


class LongLoop:
    """A loop whose progress is kept in a journal.

    Attributes:
        state: its state in an earlier call; ``None`` if there was none.
        give: set by the loop, returns the state that it can go on from: plain
            containers that files can hold, never changed afterwards.
    """

    def __init__(self, journal: Journal | None = None, name: str = ""):
        self._journal, self._name = journal, name
        self.state = None if journal is None else journal.entries.get(name)
        self.give: Callable[[], Any] = dict
        self._is_known = self.state is not None

    @property
    def is_kept(self) -> bool:
        """Whether there is a journal."""
        return self._journal is not None

    def note(self) -> None:
        """Mark that the loop can go on from here; the state is stored if it is time."""
        self._is_known = False
        if self._journal is not None and self._journal.is_due:
            self._journal.put(self._name, self.give())

    def end(self) -> None:
        """Mark that the loop has ended; the state is always stored."""
        if self._journal is not None and not self._is_known:
            self._journal.put(self._name, self.give())


_kept: ContextVar[tuple[Journal, str] | None] = ContextVar("journal", default=None)


@contextmanager
def journalled(journal: Journal) -> Iterator[None]:
    """Context in which loops use this journal; on an early exit all is written."""
    before = _kept.set((journal, ""))
    try:
        yield
    except BaseException:
        journal.write()
        raise
    finally:
        _kept.reset(before)


@contextmanager
def journal_section(name: Callable[[], str]) -> Iterator[None]:
    """Context that separates the loops of this fit from others in the same journal.

    Args:
        name: returns a name of the fit; not called if there is no journal.
    """
    kept = _kept.get()
    before = _kept.set(None if kept is None else (kept[0], kept[1] + name()))
    try:
        yield
    finally:
        _kept.reset(before)


def stage(kind: str, begins_with: Callable[[], Any]) -> LongLoop:
    """The entry of a loop in the journal; an inactive one if there is no journal.

    Args:
        kind: of the loop.
        begins_with: gives all that tells it from other loops of this kind in the fit,
            plain containers of numbers, tensors and what has a plain ``repr``.
    """
    kept = _kept.get()
    if kept is None:
        return LongLoop()
    found = hashlib.sha256()
    _feed_plain(found, (kept[1], kind, begins_with()))
    return LongLoop(kept[0], f"{kind} {found.hexdigest()}")


def remembered(function: Function, kept: LongLoop) -> Function:
    """A function with its values stored in the journal, none computed twice.

    Args:
        function: from a vector to numbers and a gradient.
        kept: the stage of the search that asks for them.
    """
    return _Remembered(function, kept) if kept.is_kept else function


class _Remembered:
    def __init__(self, function: Function, kept: LongLoop):
        self.function, self.kept = function, kept
        self.known: dict[bytes, tuple[Tensor, Tensor]] = {}
        kept.give = self.state
        if kept.state is not None:
            points = map(bytes, kept.state["points"])
            values = zip(kept.state["numbers"], kept.state["gradients"])
            self.known = dict(zip(points, values))

    def __call__(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers and the gradient at a vector."""
        point = hashlib.sha256(_bytes(vector)).digest()
        if point not in self.known:
            self.known[point] = self.function(vector)
            self.kept.note()
        return self.known[point]

    def state(self) -> dict[str, Any]:
        """All that is known, in rows."""
        numbers, gradients = zip(*self.known.values())
        points = np.frombuffer(b"".join(self.known), np.uint8)
        return {
            "points": points.reshape(len(self.known), -1),
            "numbers": torch.stack(numbers),
            "gradients": torch.stack(gradients),
        }


def _feed_plain(found: "hashlib._Hash", value: Any) -> None:
    """Add a value to a digest."""
    if isinstance(value, Tensor | np.ndarray):
        found.update(f"{value.dtype}{tuple(value.shape)}".encode() + _bytes(value))
    elif isinstance(value, Mapping | list | tuple):
        items = value.items() if isinstance(value, Mapping) else value
        found.update(f"<{len(value)}".encode())
        for item in items:
            _feed_plain(found, item)
        found.update(b">")
    else:
        found.update(repr(value).encode() + b";")


def _bytes(value: Tensor | np.ndarray) -> bytes:
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    return array.tobytes()
