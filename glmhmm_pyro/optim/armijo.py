"""Backtracking line search to a sufficient decrease (minFunc's ``ArmijoBacktrack``)."""

import math
from collections.abc import Generator

import numpy as np

from glmhmm_pyro.optim.interpolation import Known, polynomial_minimizer
from glmhmm_pyro.optim.options import LBFGSOptions
from glmhmm_pyro.optim.trial import (
    Found,
    Line,
    Reply,
    Trial,
    evaluate,
    is_finite,
    largest_entry,
    start_of,
)


def armijo_search(
    line: Line, step: float, reference: float, options: LBFGSOptions
) -> Generator[np.ndarray, Reply, Found]:
    """Shorten the step until the value is sufficiently below the reference.

    .. math:: f(x + t d) \\le f_{ref} + c_1 t\\, g^\\top d

    (Nocedal and Wright 2006, eq. 3.4). Every trial is 0.001 to 0.6 of the one before;
    the search gives up, with step 0, when the step moves no coordinate by more than
    ``progress_tol``. Only the value has to be finite for a trial to be accepted.

    Args:
        line: start and direction.
        step: first trial.
        reference: value to improve on; that at the start for a monotone method.
        options: interpolation and constants.
    """
    largest = largest_entry(line.direction)
    trial = yield from evaluate(line, step)
    num_evals, any_finite, fell = 1, trial.is_finite, trial.fun == -math.inf
    before: Trial | None = None
    while not _is_sufficient(trial, line, reference, options):
        shorter = _backtrack(line, trial, before, options)
        shorter = min(max(shorter, trial.step * 1e-3), trial.step * 0.6)
        before = trial if options.three_points else None
        trial = yield from evaluate(line, shorter)
        num_evals += 1
        any_finite = any_finite or trial.is_finite
        fell = fell or trial.fun == -math.inf
        if abs(trial.step) * largest <= options.progress_tol:
            trial = start_of(line)
            break
    return Found(trial, num_evals, any_finite, fell)


def _is_sufficient(
    trial: Trial, line: Line, reference: float, options: LBFGSOptions
) -> bool:
    """Whether a trial is legal and satisfies the condition of sufficient decrease."""
    bound = reference + options.armijo_constant * trial.step * line.slope
    return math.isfinite(trial.fun) and trial.fun <= bound


def _backtrack(
    line: Line, trial: Trial, before: Trial | None, options: LBFGSOptions
) -> float:
    """The next step, from the start and what is finite of the last trials."""
    if options.interpolation == "bisection" or not math.isfinite(trial.fun):
        return 0.5 * trial.step
    use_slopes = options.interpolation != "quadratic" and is_finite(trial.grad)
    points = [
        Known(0.0, line.fun, line.slope),
        Known(trial.step, trial.fun, trial.slope if use_slopes else None),
    ]
    if before is not None and math.isfinite(before.fun):
        slope = before.slope if use_slopes and is_finite(before.grad) else None
        points.append(Known(before.step, before.fun, slope))
    return polynomial_minimizer(points, 0.0, trial.step)
