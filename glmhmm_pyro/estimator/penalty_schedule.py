"""Penalties that change from one EM iteration to the next."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from glmhmm_pyro.estimator.parameters import is_given
from glmhmm_pyro.estimator.penalties import Penalties


@dataclass(frozen=True)
class Schedule:
    """The penalties of a run, by its position: 1 at its first iteration.

    Attributes:
        own: the penalties that the user asked for.
        ridge: the ridge in force, from the user's and the position; by default the
            user's.
        stretches: positions at which parts of the schedule begin, rising from 1. From
            an iteration that changes little a run goes to the next part at once.
        to_its_end: whether a run may end in the last part only.
    """

    own: Penalties
    ridge: Callable[[float, int], float] | None = None
    stretches: tuple[int, ...] = (1,)
    to_its_end: bool = False

    def at(self, position: int) -> Penalties:
        """The penalties in force at a position."""
        ridge = self.ridge
        if ridge is None:
            return self.own
        return self.own.with_ridge(lambda own: ridge(own, position))

    def after(self, position: int, stalled: bool) -> int:
        """The next position; ``stalled`` says that this iteration changed little."""
        later = [start for start in self.stretches if start > position]
        return later[0] if stalled and later else position + 1

    def may_end(self, position: int) -> bool:
        """Whether the run may end here if it has stalled."""
        return not self.to_its_end or position >= self.stretches[-1]


# What an option of annealing makes of the user's ridge and that of the schedule.
_COMBINATIONS: dict[str, Callable[[float, float], float]] = {
    "auto_anneal": lambda own, strength: strength,
    "anneal_lambda": max,
}


def schedule_of(options: Mapping[str, Any], own: Penalties) -> Schedule:
    """The schedule that the estimator's parameters ask for.

    The original's is the user's ridge at first, then 1 three times, then falling; a run
    that stalls before goes to where it falls at once.
    """
    asked = [name for name in _COMBINATIONS if options[name]]
    if not asked:
        return Schedule(own)
    combine = _COMBINATIONS[asked[0]]

    def original(ridge: float, position: int) -> float:
        falling = math.exp(-(position - 4) / 1.5) + 0.005
        strength = 1.0 if position < 5 else falling
        return ridge if position == 1 else combine(ridge, strength)

    names = ("auto_anneal_vec", "auto_anneal_schedule")
    if not any(is_given(options, name) for name in names):
        return Schedule(own, original, (1, 5))
    given = [[] if options[n] is None else options[n] for n in names]
    strengths, starts = (np.atleast_1d(values).tolist() for values in given)
    rising = all(one < other for one, other in zip(starts, starts[1:]))
    legal = len(strengths) == len(starts) and starts[:1] == [1] and rising
    if not legal or not all(0 <= strength < np.inf for strength in strengths):
        raise ValueError(
            "auto_anneal_vec and auto_anneal_schedule must be given together, a "
            "strength from 0 and the iteration it begins with for every stretch, the "
            f"first 1 and then rising, got {strengths} and {starts}"
            "; give two lists of one length"
        )

    def users(ridge: float, position: int) -> float:
        return combine(ridge, strengths[sum(one <= position for one in starts) - 1])

    return Schedule(own, users, tuple(starts), to_its_end=True)
