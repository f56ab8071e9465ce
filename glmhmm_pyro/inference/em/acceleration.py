"""SQUAREM: extrapolation from two EM steps.

EM is slow where the posterior of the states hardly changes. Extrapolation from three
points of its path speeds it up (Varadhan & Roland 2008, "Simple and globally convergent
methods for accelerating the convergence of any EM algorithm", scheme S3). An
extrapolated point that lowers the log-joint is discarded, and EM goes on from its own
last step.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Transform, constraints

from glmhmm_pyro.inference.program.coordinates import Params

# Longest jump at first, in EM steps squared; it grows with every success.
_FIRST_REACH = 4.0


class Extrapolation:
    """The next values of one run of EM.

    Args:
        transforms: from unconstrained numbers to values, by site.
        jumps: whether to extrapolate at all.
    """

    def __init__(self, transforms: Mapping[str, Any], jumps: bool = True):
        self.transforms, self.jumps = transforms, jumps
        self.path: list[Params] = []
        self.fallback: Params | None = None
        self.reach = _FIRST_REACH

    def after(self, params: Params, updated: Params) -> Params:
        """The next values, after an EM step from ``params`` to ``updated``."""
        if self.fallback is not None:
            self.reach *= 2
            self.fallback = None
        self.path.append(params)
        if len(self.path) < 2 or not self.jumps:
            return updated
        first, second = self.path
        jump = self._jump(first, second, updated)
        self.path = []
        self.fallback = updated if jump is not None else None
        return updated if jump is None else jump

    def retreat(self) -> Params | None:
        """The values before a failed extrapolation; ``None`` if there was none."""
        fallback, self.fallback = self.fallback, None
        if fallback is not None:
            self.reach = max(_FIRST_REACH / 2, self.reach / 4)
        return fallback

    def rate(self, params: Params, updated: Params) -> float:
        """Length of the EM step from ``params`` over that of the one before it.

        Infinite where the run has not made two EM steps in a row.
        """
        if not self.path:
            return float("inf")
        points = [self._measured(point) for point in (self.path[-1], params, updated)]
        before, after = (
            _length({n: b[n] - a[n] for n in params})
            for a, b in zip(points[:-1], points[1:])
        )
        return after / before if before > 0 else 0.0

    def _jump(self, first: Params, second: Params, third: Params) -> Params | None:
        path = (first, second, third)
        steps, bends = _path_differences([self._measured(point) for point in path])
        bend = _length(bends)
        length = min(_length(steps) / bend, self.reach) if bend > 0 else 1.0
        if not length > 1:
            return None
        points = [self._free(point) for point in path]
        steps, bends = _path_differences(points)
        jump = {}
        for name, transform in self.transforms.items():
            ahead = points[0][name] + 2 * length * steps[name] + length**2 * bends[name]
            value = transform(ahead)
            # A scale must not underflow to 0, from where nothing leads back.
            inside = torch.isfinite(transform.inv(value))
            inside |= ~torch.isfinite(points[2][name])
            jumped = torch.isfinite(value).all() and inside.all()
            jump[name] = value if jumped else third[name]
        return jump

    def _free(self, params: Params) -> Params:
        return {n: t.inv(params[n]) for n, t in self.transforms.items()}

    def _measured(self, params: Params) -> Params:
        """Coordinates of steps: roots of probabilities, else unconstrained numbers.

        A probability that goes to 0 moves by equal steps in its log-odds, though it
        matters less and less; its root (Fisher's metric) converges.
        """
        free = self._free(params)
        probs = [name for name, t in self.transforms.items() if _gives_probs(t)]
        return free | {name: 2 * params[name].sqrt() for name in probs}


def _gives_probs(transform: Transform) -> bool:
    """Whether the values of a transform are probabilities that sum to 1."""
    support = transform.codomain
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.simplex


def _path_differences(points: Sequence[Params]) -> tuple[Params, Params]:
    """First and second differences of three points of a path."""
    first, second, third = points
    steps = {n: second[n] - first[n] for n in first}
    return steps, {n: third[n] - second[n] - steps[n] for n in first}


def _length(moves: Mapping[str, Tensor]) -> float:
    """Euclidean length, without coordinates at the border of their support."""
    return (
        sum(float(m[torch.isfinite(m)].square().sum()) for m in moves.values()) ** 0.5
    )
