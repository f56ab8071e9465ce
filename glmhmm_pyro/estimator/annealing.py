"""Penalties that change from one EM iteration to the next.

A run is at a position, 1 at its first iteration; a schedule says which penalties are in
force there, where the run goes next, and whether it may end.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from glmhmm_pyro.estimator.penalties import Penalties


@dataclass(frozen=True)
class Schedule:
    """The same penalties at every iteration.

    Attributes:
        own: the penalties that the user asked for.
    """

    own: Penalties

    def at(self, position: int) -> Penalties:
        """The penalties in force at a position."""
        return self.own

    def after(self, position: int, stalled: bool) -> int:
        """The next position; ``stalled`` says that this iteration changed little."""
        return position + 1

    def may_end(self, position: int) -> bool:
        """Whether the run may end here if it has stalled."""
        return True


@dataclass(frozen=True)
class OriginalAnnealing(Schedule):
    """The original's ridge: the user's at first, then 1 three times, then falling.

    From position 5 on it is exp(-(position - 4) / 1.5) + 0.005; a run that stalls
    before position 4 goes there at once, and it may end anywhere.

    Attributes:
        combine: the ridge in force, from the user's and the schedule's.
    """

    combine: Callable[[float, float], float]

    def at(self, position: int) -> Penalties:
        """The penalties in force at a position."""
        if position == 1:
            return self.own
        falling = math.exp(-(position - 4) / 1.5) + 0.005
        strength = 1.0 if position < 5 else falling
        return self.own.with_ridge(lambda own: self.combine(own, strength))

    def after(self, position: int, stalled: bool) -> int:
        """The next position, or the first one at which the ridge falls."""
        return 5 if stalled and position < 4 else position + 1


@dataclass(frozen=True)
class OwnAnnealing(Schedule):
    """A ridge given for stretches of iterations; the run ends in the last one only.

    Attributes:
        combine: the ridge in force, from the user's and the schedule's.
        strengths: one for every stretch.
        starts: position at which each begins, rising from 1.
    """

    combine: Callable[[float, float], float]
    strengths: tuple[float, ...]
    starts: tuple[int, ...]

    def at(self, position: int) -> Penalties:
        """The penalties in force at a position."""
        strength = self.strengths[self._stretch(position)]
        return self.own.with_ridge(lambda own: self.combine(own, strength))

    def after(self, position: int, stalled: bool) -> int:
        """The next position, or the beginning of the next stretch."""
        following = self._stretch(position) + 1
        if stalled and following < len(self.starts):
            return self.starts[following]
        return position + 1

    def may_end(self, position: int) -> bool:
        """Whether this is the last stretch."""
        return self._stretch(position) == len(self.starts) - 1

    def _stretch(self, position: int) -> int:
        return sum(start <= position for start in self.starts) - 1


def replaced(own: float, strength: float) -> float:
    """The schedule's ridge in the place of the user's, as the original does."""
    return strength


# What an option of annealing makes of the user's ridge and that of the schedule.
COMBINATIONS: dict[str, Callable[[float, float], float]] = {
    "auto_anneal": replaced,
    "anneal_lambda": max,
}
