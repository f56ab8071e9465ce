r"""Trajectories of the No-U-Turn sampler, on plain vectors.

A trajectory is doubled, forwards or backwards in time at random, until it turns back;
the next draw is a point of it, chosen by weight exp(-energy) (Hoffman & Gelman 2014,
JMLR 15, 1593; Betancourt 2017, arXiv:1701.02434, appendix A). Momenta are standard
normal: where a mass matrix is wanted, coordinates are stretched by its square root.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from glmhmm_pyro.chain.compiled import Array

# Nats of energy gained from which a trajectory has left the true one.
_DIVERGED = 1000.0

_LOG_TWO = math.log(2.0)

# From a position to its potential energy, and the slope of that.
Energy = Callable[[Array], tuple[float, Array]]

# A number between 0 and 1 at each call.
Chance = Callable[[], float]


class Point(NamedTuple):
    """A point of a trajectory; all vectors have shape (size,).

    Attributes:
        potential: energy of the position.
        slope: of that.
        energy: potential and kinetic.
    """

    position: Array
    momentum: Array
    potential: float
    slope: Array
    energy: float

    @classmethod
    def at(
        cls, position: Array, momentum: Array, potential: float, slope: Array
    ) -> "Point":
        """A point of which all but the kinetic energy is known."""
        energy = potential + float(momentum @ momentum) / 2
        return cls(position, momentum, potential, slope, energy)


class Tree(NamedTuple):
    """Points of a trajectory one after another.

    Attributes:
        start_energy: of the point where the trajectory began.
        first, last: points at the ends, in time.
        proposal: one of the points, chosen by weight.
        momenta: their sum.
        log_weight: log of the sum of exp(start's energy - energy).
        accepted: sum of the points' probabilities of acceptance, after the start.
        num_steps: number of these points.
        has_turned: whether it, or a part of it, turns back.
        has_diverged: whether it ends where energy is not kept.
    """

    start_energy: float
    first: Point
    last: Point
    proposal: Point
    momenta: Array
    log_weight: float
    accepted: float
    num_steps: int
    has_turned: bool
    has_diverged: bool

    @property
    def has_ended(self) -> bool:
        """Whether nothing may be added, nor taken of it."""
        return self.has_turned or self.has_diverged

    def end(self, step: float) -> Point:
        """The end that a step leads away from."""
        return self.last if step > 0 else self.first

    @classmethod
    def at(cls, start: Point) -> "Tree":
        """The beginning of a trajectory."""
        parts = start.energy, start, start, start, start.momentum
        return cls(*parts, 0.0, 0.0, 0, False, False)

    def beside(self, point: Point) -> "Tree":
        """A further point of the same trajectory, by itself."""
        gained = point.energy - self.start_energy
        gained = math.inf if math.isnan(gained) else gained
        parts = self.start_energy, point, point, point, point.momentum
        accepted = math.exp(min(-gained, 0.0))
        return Tree(*parts, -gained, accepted, 1, False, gained > _DIVERGED)


def half_step(point: Point, step: float) -> tuple[Array, Array]:
    """Momentum in the middle of a leapfrog, and the position that it leads to."""
    momentum = point.momentum - step / 2 * point.slope
    return momentum, point.position + step * momentum


def leapfrog_end(
    half: Array, position: Array, step: float, potential: float, slope: Array
) -> Point:
    """The end of a leapfrog, by the energy where it leads to and its slope."""
    return Point.at(position, half - step / 2 * slope, potential, slope)


def build_tree(
    start: Tree, depth: int, step: float, energy: Energy, chance: Chance
) -> Tree:
    """The ``2 ** depth`` points beyond an end; fewer where they turn or diverge.

    Args:
        start: what they are added to, whose first point was the trajectory's.
        depth: number of doublings.
        step: length of a step, negative for backwards in time.
        energy: potential energy with its slope.
        chance: source of all randomness.
    """
    end, parts = start.end(step), []
    for number in range(1, 2**depth + 1):
        half, position = half_step(end, step)
        end = leapfrog_end(half, position, step, *energy(position))
        parts.append(start.beside(end))
        # Parts of equal length are joined, as digits of a binary number are carried.
        while number % 2 == 0 and not parts[-1].has_ended:
            far, near, number = parts.pop(), parts.pop(), number // 2
            total = _log_sum(near.log_weight, far.log_weight)
            parts.append(join_trees(near, far, step, far.log_weight - total, chance))
        if parts[-1].has_ended:
            break
    return parts[-1]._replace(
        accepted=sum(part.accepted for part in parts),
        num_steps=sum(part.num_steps for part in parts),
    )


def join_trees(
    near: Tree, far: Tree, step: float, log_odds: float, chance: Chance
) -> Tree:
    """Two trees that adjoin; the proposal is the far one's with a probability.

    Args:
        step: length of a step, negative where the far one is the earlier.
        log_odds: log of that probability; 0 and above are certain.
    """
    counts = near.accepted + far.accepted, near.num_steps + far.num_steps
    if far.has_ended:
        return Tree(*near[:6], *counts, far.has_turned, far.has_diverged)
    first, last = (near.first, far.last) if step > 0 else (far.first, near.last)
    momenta = near.momenta + far.momenta
    is_far = chance() < math.exp(min(log_odds, 0.0))
    return Tree(
        near.start_energy,
        first,
        last,
        far.proposal if is_far else near.proposal,
        momenta,
        _log_sum(near.log_weight, far.log_weight),
        *counts,
        turns_back(momenta, first.momentum, last.momentum),
        False,
    )


def turns_back(momenta: Array, first: Array, last: Array) -> bool:
    """Whether one end no longer moves away from the other.

    Args:
        momenta: their sum over all points.
        first, last: momenta at the ends.
    """
    way = momenta - (first + last) / 2
    return bool(first @ way <= 0 or last @ way <= 0)


def _log_sum(one: float, other: float) -> float:
    """log(exp(one) + exp(other))."""
    if one == other:
        return one + _LOG_TWO
    greater, less = (one, other) if one > other else (other, one)
    return greater + math.log1p(math.exp(less - greater))
