"""Chains of NUTS: one after the other, or each in a process of its own.

Draws are written to files as they come, so that what was finished survives an
interrupt, and so that one progress bar can watch all processes.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import pyro
import torch
from joblib import Parallel, cpu_count, delayed, parallel_config
from torch import Tensor
from tqdm import tqdm

from glmhmm_pyro.concurrency import exclusively, seeded
from glmhmm_pyro.inference.journal import LongLoop, stage
from glmhmm_pyro.inference.nuts.chain_files import ChainFile
from glmhmm_pyro.inference.nuts.potential import Potential
from glmhmm_pyro.inference.nuts.pyro_sampler import PyroSampler
from glmhmm_pyro.inference.nuts.sampler import STATS, Sampler, Settings
from glmhmm_pyro.inference.nuts.vector_sampler import VectorSampler

# How a chain ended that a user has stopped.
INTERRUPTED = "interrupted"

# Seconds between two looks at how far the chains have come.
_LOOK = 0.2


class Board:
    """Files on which all chains note their draws while they run.

    Args:
        folder: where the files stand; made by :meth:`clean`.
        is_kept: whether chains note their states too, to go on from.
    """

    def __init__(self, folder: str, is_kept: bool = False):
        self.folder, self.is_kept = folder, is_kept

    def clean(self, num_chains: int, num_samples: int, size: int) -> "Board":
        """Make the files, empty."""
        shape = (num_chains, num_samples)
        kinds = (
            ("vectors", shape + (size,), np.float64),
            ("stats", shape + (len(STATS),), np.float64),
            ("done", (num_chains,), np.int64),
        )
        for name, full, dtype in kinds:
            np.lib.format.open_memmap(
                self._path(name), mode="w+", shape=full, dtype=dtype
            )
        return self

    def open(self, name: str) -> np.ndarray:
        """One of the files: ``vectors``, ``stats`` or ``done`` (iterations)."""
        return np.lib.format.open_memmap(self._path(name), mode="r+")

    def chain(self, number: int) -> ChainFile:
        """Where a chain notes its state."""
        return ChainFile(Path(self.folder) / f"chain {number}.pt")

    def state(self, number: int) -> dict[str, Any]:
        """All draws noted and the states of so many chains, as plain containers."""
        # Chains go on meanwhile: draws read after their states have all of these.
        chains = [self.chain(n).read() for n in range(number)]
        draws = {name: np.array(self.open(name)) for name in ("vectors", "stats")}
        return draws | {"chains": chains}

    def restore(self, state: dict[str, Any]) -> None:
        """Bring the files to where those of an earlier call were."""
        for name in ("vectors", "stats"):
            self.open(name)[:] = state[name]
        done = self.open("done")
        for number, chain in enumerate(state["chains"]):
            if chain is not None:
                self.chain(number).write(chain)
                done[number] = chain["iteration"]

    def _path(self, name: str) -> Path:
        return Path(self.folder) / f"{name}.npy"


class Chains(NamedTuple):
    """What the chains have drawn.

    Attributes:
        vectors: draws in whitened coordinates (chains, draws, size).
        stats: numbers (chains, draws) by name.
        numbers: of the chains that are kept.
        ends: how every chain ended; empty where nothing happened.
    """

    vectors: Tensor
    stats: dict[str, np.ndarray]
    numbers: list[int]
    ends: list[str]


def run_chains(
    settings: Settings,
    potentials: Sequence[Potential],
    starts: Tensor,
    seeds: Sequence[int],
    parallel: bool,
    board: Board,
    bar: tqdm,
) -> Chains:
    """All chains, each of a potential of its own and from a point (chains, size)."""
    board.clean(len(starts), settings.num_samples, starts.shape[-1])
    kinds = [potential.is_direct for potential in potentials]
    kept = stage("NUTS", lambda: (settings, starts, seeds, kinds))
    kept.give = partial(board.state, len(starts))
    board.is_kept = kept.is_kept
    if kept.state is not None:
        board.restore(kept.state)
    jobs = [
        (settings, potential, start, seed, board, number)
        for number, (potential, start, seed) in enumerate(
            zip(potentials, starts, seeds)
        )
    ]
    with _watched(board, bar, kept):
        ends = _in_parallel(jobs) if parallel else []
        for job in jobs[len(ends) :]:
            ends.append(INTERRUPTED if INTERRUPTED in ends else run_chain(*job))
    kept.end()
    drawn = np.clip(board.open("done") - settings.num_warmup, 0, None)
    numbers, length = _largest_rectangle(drawn.tolist())
    vectors = np.array(board.open("vectors")[numbers, :length])
    stats = np.array(board.open("stats")[numbers, :length])
    by_name = {name: stats[..., i] for i, name in enumerate(STATS)}
    for name, dtype in (("diverging", bool), ("num_leapfrogs", int)):
        by_name[name] = by_name[name].astype(dtype)
    return Chains(torch.from_numpy(vectors), by_name, numbers, ends)


def num_workers(num_chains: int) -> int:
    """Number of processes that chains can run in together."""
    return min(num_chains, cpu_count())


def seconds_per_gradient(potential: Potential, start: Tensor) -> float:
    """Wall seconds of one value and gradient, in one thread."""
    times = []
    with single_threaded():
        for _ in range(6):
            before = perf_counter()
            potential.evaluated(start)
            times.append(perf_counter() - before)
    return float(np.median(times))


def _in_parallel(jobs: list[tuple]) -> list[str]:
    """How chains in processes ended; cloudpickle sends these a notebook's functions."""
    try:
        with parallel_config(backend="loky", inner_max_num_threads=1):
            workers = Parallel(n_jobs=num_workers(len(jobs)))
            return workers(delayed(run_chain)(*job) for job in jobs)
    except KeyboardInterrupt:
        return [INTERRUPTED] * len(jobs)
    except Exception as error:  # A model that no process can be sent, a process killed.
        return [f"{error_sentence(error)}; try parallel=False"] * len(jobs)


def run_chain(
    settings: Settings,
    potential: Potential,
    start: Tensor,
    seed: int,
    board: Board,
    number: int,
) -> str:
    """One chain, noted on the board; says how it ended if not as it should."""
    kind = VectorSampler if potential.is_direct else PyroSampler
    with _errors_noted() as ended, seeded(seed), single_threaded():
        vectors, stats, done = (
            board.open(n)[number:] for n in ("vectors", "stats", "done")
        )
        sampler: Sampler = kind(settings, potential, start)
        file = board.chain(number)
        known = file.read() if board.is_kept else None
        if known is not None:
            sampler.restore(known)
        for iteration in range(sampler.iteration, settings.num_iterations):
            vector, noted = sampler.draw()
            if iteration >= settings.num_warmup:
                vectors[0, iteration - settings.num_warmup] = vector.numpy()
                stats[0, iteration - settings.num_warmup] = noted
            done[0] = iteration + 1
            if board.is_kept:
                file.note(sampler)
        if board.is_kept:
            file.write(sampler.state())
    return "".join(ended)


@contextmanager
def _errors_noted() -> Iterator[list[str]]:
    """What is raised inside goes no further, but into a list, in words."""
    ended: list[str] = []
    try:
        yield ended
    except KeyboardInterrupt:
        ended.append(INTERRUPTED)
    except Exception as error:  # Whatever the user's model raises.
        ended.append(error_sentence(error))


@contextmanager
def single_threaded() -> Iterator[None]:
    """One thread, so that sums round alike everywhere; no checks of arguments.

    Where a trajectory leaves the support Pyro wants NaN, which counts as a divergence.
    """
    with exclusively(), pyro.validation_enabled(False):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@contextmanager
def _watched(board: Board, bar: tqdm, kept: LongLoop) -> Iterator[None]:
    """The bar moved on, and states kept, from a thread, by what the chains note."""
    done, over = board.open("done"), threading.Event()
    bar.n = bar.initial = int(done.sum())

    def look() -> None:
        while not over.wait(_LOOK):
            bar.update(int(done.sum()) - bar.n)
            kept.note()

    watcher = threading.Thread(target=look, daemon=True)
    if kept.is_kept or not bar.disable:
        watcher.start()
    try:
        yield
    finally:
        over.set()
        if watcher.is_alive():
            watcher.join()
        bar.update(int(done.sum()) - bar.n)


def _largest_rectangle(lengths: list[int]) -> tuple[list[int], int]:
    """The chains, and the number of draws of each, that keep the most draws."""
    length = max(lengths, key=lambda n: n * sum(other >= n for other in lengths))
    return [i for i, other in enumerate(lengths) if length and other >= length], length


def error_sentence(error: BaseException) -> str:
    """An error in words."""
    return ": ".join(filter(None, [type(error).__name__, str(error)]))
