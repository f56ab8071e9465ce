"""Fits made again and again: quietly, from where another one ended, in processes."""

import warnings
from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any

import torch
from joblib import Parallel, delayed, parallel_config
from torch.distributions import constraints
from tqdm import tqdm

from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.inference import ConvergenceWarning, Fit, Status, fit
from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.methods import Method

# Share of even probabilities in those that a fit begins from: EM never leaves a 0.
_EVEN = 0.01


def quiet_fit(model: Any, data: Any, engine: Method, **options: Any) -> Fit:
    """A fit whose status goes into a table, and into no warning."""
    with exclusively(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(model, data, engine, **options)


def whole_fit(model: Any, data: Any, engine: Method, **options: Any) -> Fit:
    """The same, one of many: where the user interrupts it, the others are not made."""
    found = quiet_fit(model, data, engine, **options)
    if found.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return found


def warm_start(params: Params, priors: dict[str, Any]) -> Params:
    """Values to begin another fit from, probabilities of 0 made possible again.

    Args:
        params: values of the sites where a fit ended.
        priors: distributions of the sites, for their supports.
    """
    return {
        name: (
            value * (1 - _EVEN) + _EVEN / value.shape[-1]
            if is_simplex(priors[name].support)
            else value
        )
        for name, value in params.items()
    }


def is_simplex(support: Any) -> bool:
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
) -> list[Any]:
    """Results of a function for every tuple of arguments, in their order.

    Args:
        function: called in processes of their own where there are several jobs at
            once; cloudpickle sends them what was written in a notebook.
        jobs: arguments of the calls.
        num_jobs: number of processes, as joblib counts them: -1 for all cores.
        label: what the progress bar says.
        progress: whether to show one.
    """
    if not isinstance(num_jobs, Integral) or num_jobs == 0:
        raise ValueError(
            f"num_jobs must be a number of processes, or -1 for all cores, got "
            f"{num_jobs!r}"
        )
    jobs = list(jobs)
    bar = tqdm(total=len(jobs), desc=label, unit="fit", disable=not progress)
    with bar:
        if num_jobs == 1:
            return [_counted(function(*job), bar) for job in jobs]
        with parallel_config(backend="loky", inner_max_num_threads=1):
            workers = Parallel(n_jobs=num_jobs, return_as="generator")
            found = workers(delayed(_in_process)(function, job) for job in jobs)
            return [_counted(result, bar) for result in found]


def _in_process(function: Callable[..., Any], job: tuple) -> Any:
    """A call that leaves the other cores to the other processes."""
    torch.set_num_threads(1)
    return function(*job)


def _counted(result: Any, bar: tqdm) -> Any:
    bar.update()
    return result
