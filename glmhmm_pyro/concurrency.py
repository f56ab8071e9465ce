"""What threads and processes share: Pyro's and torch's state, one thread at a time.

Pyro keeps its handlers and parameters, torch its generator and its number of threads,
once for all threads of a process. Whatever touches them here does so under one lock,
so that fits made in threads are those made one after the other.

A forked child has no copy of the threads that torch computed with in its parent, and
waits for them for ever. There torch computes in one thread, which starts none.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from functools import partial
from itertools import chain, islice, starmap
from typing import Any, TypeVar

import torch
from pyro.poutine import runtime

Result = TypeVar("Result")


class _Lock:
    """A lock that its own thread may take again, and that survives a fork."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """A free lock in place of one that another thread may have held."""
        self.lock = threading.RLock()
        self.held = threading.local()

    @property
    def is_mine(self) -> bool:
        """Whether the running thread holds it."""
        return getattr(self.held, "depth", 0) > 0


_state = _Lock()


@contextmanager
def exclusively() -> Iterator[None]:
    """Inside, no other thread of this package touches Pyro's or torch's state."""
    held = _state.held
    with _state.lock:
        held.depth = getattr(held, "depth", 0) + 1
        try:
            yield
        finally:
            held.depth -= 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Context in which torch's generator is seeded; restored afterwards."""
    with exclusively(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def usual_modes() -> Iterator[None]:
    """Inside, torch follows gradients and makes tensors on the CPU, as at first.

    Whatever stands around a call, such as ``torch.no_grad``, ``torch.inference_mode``
    or another default device, is for the caller's own tensors.
    """
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            modes.enter_context(torch.device("cpu"))
        yield


def in_threads(
    function: Callable[..., Result],
    calls: Iterable[tuple[Any, ...]],
    threads: int | None = None,
) -> Iterator[Result]:
    """What a function gives for each of these arguments, in their order.

    Args:
        function: leaves the interpreter to the other threads while it computes.
        calls: its arguments, of every call; read only a few calls ahead.
        threads: how many work at once; by default as many as torch computes with.
    """
    threads, rest = threads or torch.get_num_threads(), iter(calls)
    begun = list(islice(rest, 2))
    if threads == 1 or len(begun) < 2:
        yield from starmap(function, chain(begun, rest))
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for given in chain(begun, rest):
            # A thread is told all that its caller knows of its surroundings.
            run = partial(copy_context().run, function, *given)
            waiting.append(pool.submit(run))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        for done in waiting:
            yield done.result()


def _in_forked_child() -> None:
    """Nothing that another thread of the parent was at goes on here."""
    torch.set_num_threads(1)
    if not _state.is_mine:
        runtime._PYRO_STACK.clear()
        _state.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
