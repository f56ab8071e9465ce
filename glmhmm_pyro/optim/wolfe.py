"""Line search for the strong Wolfe conditions (minFunc's ``WolfeLineSearch``)."""

import math
from collections.abc import Generator

import numpy as np

from glmhmm_pyro.optim.armijo import armijo_search
from glmhmm_pyro.optim.interpolation import (
    Known,
    cubic_minimizer,
    polynomial_minimizer,
)
from glmhmm_pyro.optim.options import LBFGSOptions
from glmhmm_pyro.optim.trial import (
    Found,
    Line,
    Reply,
    Trial,
    evaluate,
    largest_entry,
    start_of,
)
from glmhmm_pyro.optim.zoom import Zoom, lower_of

MAX_TRIALS = 25

# A search that ends this many times beyond its first trial, with the value still
# falling, has met a function that is unbounded in double precision.
FAR = 1e10


def wolfe_search(
    line: Line, step: float, options: LBFGSOptions
) -> Generator[np.ndarray, Reply, Found]:
    r"""Find a step of sufficient decrease at which the slope has flattened.

    .. math::
        f(x + t d) \le f(x) + c_1 t\, g^\top d, \qquad
        |g(x + t d)^\top d| \le c_2 |g^\top d|

    (Nocedal and Wright 2006, algorithms 3.5 and 3.6). Steps grow until they bracket
    such a point, then the bracket shrinks; after 25 trials, or when the bracket moves
    no coordinate by ``progress_tol``, its lower end is returned. A trial that is not
    finite hands the search over to :func:`armijo_search`, from half way back.

    Args:
        line: start and direction.
        step: first trial.
        options: interpolation and constants.
    """
    start = before = start_of(line)
    trial = yield from evaluate(line, step)
    for num_longer in range(MAX_TRIALS):
        if not trial.is_finite:
            found = yield from _retreat(line, before, trial, options)
            return found._replace(
                num_evals=found.num_evals + num_longer + 1,
                any_finite=found.any_finite or num_longer > 0,
            )
        rises = num_longer > 1 and trial.fun >= before.fun
        if rises or trial.fun > _bound(line, trial, options):
            break
        if _has_small_slope(line, trial, options):
            return Found(trial, num_longer + 1, True, False)
        if trial.slope >= 0.0:
            break
        longer = extrapolate(before, trial, options.interpolation)
        before = trial
        trial = yield from evaluate(line, longer)
    else:
        end = [start, trial][lower_of([start, trial])]
        fell = end.fun == -math.inf or end.step > FAR * step
        return Found(end, MAX_TRIALS + 1, True, fell)
    return (yield from _shrink(line, [before, trial], num_longer, options))


def extrapolate(before: Trial, trial: Trial, interpolation: str) -> float:
    """A step beyond the last trial, at most ten times as long.

    Args:
        before: the trial before the last one.
        trial: the last trial.
        interpolation: as in :class:`LBFGSOptions`. ``"mixed"`` takes the cubic's
            minimiser if it is nearer than the secant step of the slopes.
    """
    low = trial.step + 0.01 * (trial.step - before.step)
    high = trial.step * 10.0
    if interpolation in ("bisection", "quadratic"):
        return high
    known = Known(before.step, before.fun, before.slope)
    cubic = cubic_minimizer(known, Known(trial.step, trial.fun, trial.slope), low, high)
    if interpolation == "cubic":
        return cubic
    slope_only = Known(trial.step, None, trial.slope)
    secant = polynomial_minimizer([known, slope_only], low, high)
    if cubic > low and abs(cubic - trial.step) < abs(secant - trial.step):
        return cubic
    return secant


def _retreat(
    line: Line, before: Trial, trial: Trial, options: LBFGSOptions
) -> Generator[np.ndarray, Reply, Found]:
    """Backtrack from half way between a trial that is not finite and the one before."""
    half = (trial.step + before.step) / 2.0
    found = yield from armijo_search(line, half, line.fun, options)
    fell = found.fell_without_end or trial.fun == -math.inf
    return found._replace(fell_without_end=fell)


def _shrink(
    line: Line, bracket: list[Trial], num_trials: int, options: LBFGSOptions
) -> Generator[np.ndarray, Reply, Found]:
    """Shrink a bracket, reached after some trials, and return its lower end."""
    zoom = Zoom(bracket, options.interpolation)
    largest = largest_entry(line.direction)
    num_evals = num_trials + 1
    for _ in range(num_trials, MAX_TRIALS):
        trial = yield from evaluate(line, zoom.propose())
        num_evals += 1
        is_sufficient = trial.fun < _bound(line, trial, options)
        done = zoom.place(trial, is_sufficient, _has_small_slope(line, trial, options))
        if done or zoom.width * largest < options.progress_tol:
            break
    end = zoom.bracket[lower_of(zoom.bracket)]
    return Found(end, num_evals, True, end.fun == -math.inf)


def _bound(line: Line, trial: Trial, options: LBFGSOptions) -> float:
    """Largest value that is a sufficient decrease at a trial's step."""
    return line.fun + options.armijo_constant * trial.step * line.slope


def _has_small_slope(line: Line, trial: Trial, options: LBFGSOptions) -> bool:
    """Whether the slope at a trial is small beside the one at the start."""
    return abs(trial.slope) <= -options.wolfe_constant * line.slope
