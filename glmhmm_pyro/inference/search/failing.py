"""Starts that fail: each ends with its error, and the others go on.

If a computation of several starts together fails, it is repeated for each alone to find
out which of them fail.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from glmhmm_pyro.inference.search.runs import Restart, Run
from glmhmm_pyro.inference.status import Status

# Numerical errors, which may concern one start alone.
FAILURES = (ValueError, RuntimeError, ArithmeticError)


def end_failing(
    runs: Sequence[Run], call: Callable[[Run], Any], error: Exception, is_spread: bool
) -> None:
    """After an error of several runs together, end those that fail alone.

    Args:
        runs: the runs; each that fails ends with the status ``START_FAILED``.
        call: the same computation for one run.
        error: the error of all together.
        is_spread: whether the data are spread over ranks, which compute together.

    Raises:
        ValueError, RuntimeError, ArithmeticError: the error, if none of them fails
            alone, or if the data are spread over ranks.
    """
    if is_spread or all([attempt(run, partial(call, run)) for run in runs]):
        raise error


def attempt(run: Run, call: Callable[[], Any]) -> bool:
    """Whether a call for one run succeeds; if not, the run ends with its error."""
    try:
        call()
    except FAILURES as error:
        run.fail(error)
        return False
    return True


def raise_if_all_failed(runs: Sequence[Run]) -> None:
    """Raise the error of the first failed run if all runs failed.

    Pruned runs do not count.
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
