"""A line on the screen while kernels compile, which takes seconds, once."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from numba.core import event
from numba.core.event import Event
from tqdm import tqdm

NOTICE = "compiling the recursions over states: takes seconds, the first time only"

_watched: ContextVar[bool | None] = ContextVar("watched", default=None)


@contextmanager
def watched(progress: bool) -> Iterator[None]:
    """Context: show a line while kernels compile, if the user wants to see progress."""
    before = _watched.set(progress)
    try:
        yield
    finally:
        _watched.reset(before)


def is_watched() -> bool:
    """Whether output goes to a terminal or a notebook, where a person sees it."""
    chosen = _watched.get()
    if chosen is not None:
        return chosen
    stream = sys.stderr
    in_notebook = type(stream).__module__.startswith("ipykernel.")
    return in_notebook or (hasattr(stream, "isatty") and stream.isatty())


class Announcer(event.Listener):
    """Shows a line while kernels of this package are compiled, not loaded from disk.

    numba compiles under a lock of its own, what a kernel calls within it.
    """

    def __init__(self) -> None:
        self.depth, self.line = 0, None

    def on_start(self, event: Event) -> None:
        """Hook of numba: a kernel, or a function that it calls, begins to compile."""
        if not _is_ours(event):
            return
        if not self.depth and is_watched():
            self.line = tqdm(desc=NOTICE, bar_format="{desc}", leave=False)
        self.depth += 1

    def on_end(self, event: Event) -> None:
        """Hook of numba: it is compiled, or compilation has failed."""
        if not _is_ours(event):
            return
        self.depth -= 1
        if not self.depth and self.line is not None:
            self.line.close()
            self.line = None


def _is_ours(event: Event) -> bool:
    kernel = event.data["dispatcher"].py_func
    return kernel.__module__.startswith(f"{__package__}.")
