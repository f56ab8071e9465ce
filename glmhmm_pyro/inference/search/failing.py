"""Starts that fail: each ends by itself, its error noted, and the others go on.

What fails in a computation of several starts together is found by doing it for each of
them alone.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from glmhmm_pyro.inference.search.runs import Restart, Run
from glmhmm_pyro.inference.status import Status

# Errors that may be those of one start alone: of numbers, not of how code is written.
FAILURES = (ValueError, RuntimeError, ArithmeticError)


def end_failing(
    runs: Sequence[Run], call: Callable[[Run], Any], error: Exception, is_spread: bool
) -> None:
    """End the runs that fail alone, where something failed for several together.

    Args:
        runs: those that took part; each that fails ends with a status that says so.
        call: the same for one run.
        error: what happened to them together.
        is_spread: whether other processes take part, which cannot follow from here.

    Raises:
        ValueError, RuntimeError, ArithmeticError: the error, if none of them fails
            alone, or if other processes take part.
    """
    if is_spread or all([attempt(run, partial(call, run)) for run in runs]):
        raise error


def attempt(run: Run, call: Callable[[], Any]) -> bool:
    """Whether a call of one run does not fail; else the run ends with its error."""
    try:
        call()
    except FAILURES as error:
        run.fail(error)
        return False
    return True


def check_some(runs: Sequence[Run]) -> None:
    """Raise the error of the first run that failed, if no run came to another end.

    One that was pruned has none: it was given up for others.
    """
    ends = [run.error for run in runs if run.status is not Status.PRUNED]
    errors = [error for error in ends if error is not None]
    if errors and len(errors) == len(ends):
        raise errors[0]


def failed_starts(restarts: Sequence[Restart]) -> tuple[str, ...]:
    """A sentence about starts that failed, if there are any."""
    reasons = [restart.reason for restart in restarts if restart.reason]
    if not reasons:
        return ()
    failed = f"{len(reasons)} of {len(restarts)} starts failed, the others went on"
    return (f"{failed}: {reasons[0]}",)
