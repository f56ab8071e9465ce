"""Fits made again and again: quietly, from where another one ended, in processes."""

import contextlib
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from numbers import Integral
from typing import Any

import torch
from joblib import Parallel, delayed, parallel_config
from joblib.parallel import get_active_backend
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from tqdm import tqdm

from glmhmm_pyro.arguments import flag
from glmhmm_pyro.callers import warn_caller
from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.inference import ConvergenceWarning, Fit, Status, fit
from glmhmm_pyro.inference.fits.checkpoint import Checkpoint, PartFile
from glmhmm_pyro.inference.methods import Method
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Data
from glmhmm_pyro.priors.partly import Partly

# Share of even probabilities in those that a fit begins from: EM never leaves a 0.
_EVEN = 0.01


def quiet_fit(
    model: Callable[[Data], Any], data: Data, engine: Method, **options: Any
) -> Fit[Data]:
    """A fit whose status goes into a table, and into no warning."""
    with exclusively(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(model, data, engine, **options)


def whole_fit(
    model: Callable[[Data], Any], data: Data, engine: Method, **options: Any
) -> Fit[Data]:
    """One of many fits: where the user interrupts it, the others are not made."""
    found = quiet_fit(model, data, engine, **options)
    if found.status in (Status.INTERRUPTED, Status.CUT_SHORT):
        raise KeyboardInterrupt
    return found


def warm_start(params: Params, priors: dict[str, TorchDistribution]) -> Params:
    """Values to begin another fit from, probabilities of 0 made possible again.

    Args:
        params: values of the sites where a fit ended.
        priors: distributions of the sites, for their supports.
    """
    return {name: _possible(v, priors[name].support) for name, v in params.items()}


def _possible(value: Tensor, support: constraints.Constraint) -> Tensor:
    """Probabilities none of which is 0, but for those held; others as they are."""
    if isinstance(support, Partly) and support.is_shares:
        free, left = support.free, support.left.unsqueeze(-1)
        even = left / free.sum(-1, keepdim=True).clamp(min=1)
        return torch.where(free, value * (1 - _EVEN) + _EVEN * even.to(value), value)
    if is_simplex(support):
        return value * (1 - _EVEN) + _EVEN / value.shape[-1]
    return value


def is_simplex(support: constraints.Constraint) -> bool:
    """Whether a support is that of probabilities, or arrays of them."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return isinstance(support, type(constraints.simplex))


def run_jobs(
    function: Callable[..., Any],
    jobs: Iterable[tuple],
    num_jobs: int,
    label: str,
    progress: bool,
    checkpoint: Checkpoint | None = None,
) -> dict[int, Any]:
    """Results of a function for every tuple of arguments, by their numbers from 0.

    An interrupt ends it: there are results of what was done before. Where that is
    nothing, the interrupt goes on.

    Args:
        function: called in processes of their own where there are several jobs at
            once; cloudpickle sends them what was written in a notebook.
        jobs: arguments of the calls.
        num_jobs: number of processes, as joblib counts them: -1 for all cores; or of
            workers of the backend of a ``joblib.parallel_config`` around the call.
        label: what the progress bar says.
        progress: whether to show one.
        checkpoint: keeps every result, and has those of an earlier call.
    """
    progress = flag("progress", progress)
    if not isinstance(num_jobs, Integral) or not 0 < abs(num_jobs) < 10**4:
        raise ValueError(
            f"num_jobs must be a number of processes, or -1 for all cores, got "
            f"{num_jobs!r}; give 1 for this process alone"
        )
    jobs = list(jobs)
    kept = {} if checkpoint is None else checkpoint.results
    results = {number: kept[number] for number in range(len(jobs)) if number in kept}
    left = [number for number in range(len(jobs)) if number not in results]
    if checkpoint is not None:
        checkpoint.clean(results)
    bar = tqdm(
        total=len(jobs),
        initial=len(results),
        desc=label,
        unit="fit",
        disable=not progress,
    )
    parts = {n: None if checkpoint is None else checkpoint.part(n) for n in left}
    calls = [(function, jobs[n], parts[n]) for n in left]
    made = _called(_noted, calls, num_jobs)
    with bar, _closing_quietly(made):
        try:
            for number, result in zip(left, made):
                results[number] = result
                if checkpoint is not None:
                    checkpoint.add(number, result)
                    checkpoint.clean([number])
                bar.update()
        except KeyboardInterrupt:
            if not results:
                raise
    return dict(sorted(results.items()))


@contextlib.contextmanager
def _closing_quietly(made: Generator[Any, None, None]) -> Iterator[None]:
    """Calls that are under way in the end are given up, without joblib's advice."""
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*have been cancelled", UserWarning)
            made.close()


def _called(
    function: Callable[..., Any], jobs: list[tuple], num_jobs: int
) -> Generator[Any, None, None]:
    """Results one by one, in this process or in others."""
    if num_jobs == 1 or len(jobs) < 2:
        for job in jobs:
            yield function(*job)
        return
    with _backend():
        workers = Parallel(n_jobs=num_jobs, return_as="generator")
        here = os.getpid()
        yield from workers(delayed(_in_process)(function, job, here) for job in jobs)


def _backend() -> AbstractContextManager[Any]:
    """Processes of this machine, or what the user's ``joblib.parallel_config`` says."""
    backend, _ = get_active_backend()
    if type(backend).__name__ != "LokyBackend":
        return contextlib.nullcontext()
    return parallel_config(backend="loky", inner_max_num_threads=1)


def warn_of_interrupt(what: str, num_done: int, num_wanted: int) -> bool:
    """Whether all was done; a warning if not.

    Args:
        what: the parts, in the plural.
        num_done: how many of them there are.
        num_wanted: how many there should be.
    """
    if num_done < num_wanted:
        warn_caller(
            f"interrupted after {num_done} of {num_wanted} {what}, of which all "
            "figures are made; call again with checkpoint=... to keep what is done",
            ConvergenceWarning,
        )
    return num_done == num_wanted


def _noted(function: Callable[..., Any], job: tuple, part: PartFile | None) -> Any:
    """A call, of which a file keeps how far its fits are."""
    return function(*job) if part is None else part.made(lambda: function(*job))


def _in_process(function: Callable[..., Any], job: tuple, caller: int) -> Any:
    """A call that leaves the other cores to the other processes.

    Args:
        caller: the process that asks; a thread of its own leaves it as it is.
    """
    if os.getpid() != caller:
        torch.set_num_threads(1)
    return function(*job)
