"""The second phase of a Wolfe line search: shrinking a bracket."""

import math

from glmhmm_pyro.optim.interpolation import (
    Known,
    cubic_minimizer,
    divide,
    polynomial_minimizer,
)
from glmhmm_pyro.optim.trial import Trial

# A trial nearer to an end of the bracket than this part of it makes slow progress.
MARGIN = 0.1

# A trial beyond the last one goes at most this part of the way to the other end.
FARTHEST = 0.66


class Zoom:
    """A bracket that is shrunk around a step with the strong Wolfe conditions.

    Nocedal and Wright (2006), algorithm 3.6, with minFunc's safeguards: a trial near
    an end is allowed once, then moved 0.1 of the bracket away from it.

    Args:
        bracket: two trials between which the conditions hold somewhere.
        interpolation: ``"bisection"`` or ``"quadratic"`` halve the bracket, ``"cubic"``
            and ``"mixed"`` interpolate its values and slopes.
    """

    def __init__(self, bracket: list[Trial], interpolation: str) -> None:
        self.bracket = list(bracket)
        self._interpolation = interpolation
        self._latest = 1
        self._old_low: Trial | None = None
        self._slow_before = False

    @property
    def width(self) -> float:
        """Distance between the two steps of the bracket."""
        return abs(self.bracket[0].step - self.bracket[1].step)

    def propose(self) -> float:
        """The next step to try."""
        first, second = self.bracket
        halve = self._interpolation in ("bisection", "quadratic")
        if halve or not (first.is_finite and second.is_finite):
            step = (first.step + second.step) / 2.0
        elif self._interpolation == "cubic":
            step = _cubic(first, second)
        else:
            latest, other = self.bracket[self._latest], self.bracket[1 - self._latest]
            step = mixed_step(latest, other, self._old_low or other)
        return self._away_from_ends(step)

    def place(self, trial: Trial, is_sufficient: bool, is_flat: bool) -> bool:
        """Put an evaluated trial into the bracket; True if it ends the search.

        Args:
            trial: the point at the proposed step.
            is_sufficient: whether its value is low enough.
            is_flat: whether its slope is small enough.
        """
        low = lower_of(self.bracket)
        high = 1 - low
        if not is_sufficient or trial.fun >= self.bracket[low].fun:
            self.bracket[high] = trial
            self._latest = high
            return False
        beyond = self.bracket[high].step - self.bracket[low].step
        if not is_flat and trial.slope * beyond >= 0.0:
            self.bracket[high] = self._old_low = self.bracket[low]
        self.bracket[low] = trial
        self._latest = low
        return is_flat

    def _away_from_ends(self, step: float) -> float:
        """Move a step away from the end that the one before was near as well."""
        low = min(trial.step for trial in self.bracket)
        high = max(trial.step for trial in self.bracket)
        if not divide(min(high - step, step - low), high - low) < MARGIN:
            self._slow_before = False
            return step
        if not (self._slow_before or step >= high or step <= low):
            self._slow_before = True
            return step
        self._slow_before = False
        if abs(step - high) < abs(step - low):
            return high - MARGIN * (high - low)
        return low + MARGIN * (high - low)


def lower_of(trials: list[Trial]) -> int:
    """Index of the trial of lower value; the first one of equals, never a nan."""
    first, second = trials[0].fun, trials[1].fun
    return int(second < first or (math.isnan(first) and not math.isnan(second)))


def mixed_step(latest: Trial, other: Trial, old_low: Trial) -> float:
    """Next step by the four cases of Moré and Thuente (1994), section 4.

    Args:
        latest: the trial that was last put into the bracket.
        other: the other end of the bracket.
        old_low: the lowest trial before the latest one (their ``l``).
    """
    cubic = _cubic(old_low, latest)
    if latest.fun > old_low.fun:
        value_only = Known(latest.step, latest.fun, None)
        quadratic = polynomial_minimizer([_as_point(old_low), value_only])
        if abs(cubic - old_low.step) < abs(quadratic - old_low.step):
            return cubic
        return (quadratic + cubic) / 2.0
    if latest.slope * old_low.slope < 0.0:
        slope_only = Known(latest.step, None, latest.slope)
        secant = polynomial_minimizer([_as_point(old_low), slope_only])
        if abs(cubic - latest.step) >= abs(secant - latest.step):
            return cubic
        return secant
    if abs(latest.slope) <= abs(old_low.slope):
        return _bounded_extrapolation(latest, other, old_low)
    return _cubic(other, latest)


def _bounded_extrapolation(latest: Trial, other: Trial, old_low: Trial) -> float:
    """The third case: the minimiser lies beyond the latest trial, in the bracket."""
    low, high = sorted((latest.step, other.step))
    cubic = cubic_minimizer(_as_point(old_low), _as_point(latest), low, high)
    slope_only = Known(old_low.step, None, old_low.slope)
    step = polynomial_minimizer([slope_only, _as_point(latest)], low, high)
    if low < cubic < high and abs(cubic - latest.step) < abs(step - latest.step):
        step = cubic
    farthest = latest.step + FARTHEST * (other.step - latest.step)
    return min(farthest, step) if latest.step > old_low.step else max(farthest, step)


def _cubic(first: Trial, second: Trial) -> float:
    """Minimiser of the cubic between two trials."""
    low, high = sorted((first.step, second.step))
    return cubic_minimizer(_as_point(first), _as_point(second), low, high)


def _as_point(trial: Trial) -> Known:
    """A trial as a point of interpolation."""
    return Known(trial.step, trial.fun, trial.slope)
