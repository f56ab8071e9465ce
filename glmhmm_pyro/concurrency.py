"""What threads and processes share: Pyro's and torch's state, one thread at a time.

Pyro keeps its handlers and parameters, torch its generator and its number of threads,
once for all threads of a process. Whatever touches them here does so under one lock,
so that fits made in threads are those made one after the other.

A forked child has no copy of the threads that torch computed with in its parent, and
waits for them for ever. There torch computes in one thread, which starts none.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from pyro.poutine import runtime


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


def _in_forked_child() -> None:
    """Nothing that another thread of the parent was at goes on here."""
    torch.set_num_threads(1)
    if not _state.is_mine:
        runtime._PYRO_STACK.clear()
        _state.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
