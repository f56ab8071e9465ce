"""SQUAREM: extrapolation from two EM steps.

EM is slow where the posterior of the states hardly changes. Extrapolation from three
points of its path speeds it up (Varadhan & Roland 2008, "Simple and globally convergent
methods for accelerating the convergence of any EM algorithm", scheme S3). An
extrapolated point that lowers the log-joint is discarded, and EM goes on from its own
last step.
"""

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
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
        path = _stacked(self.path[-1], params, updated)
        first, second, third = self._measured(path, self._free(path))
        before, after = _length(second - first), _length(third - second)
        return after / before if before > 0 else 0.0

    def _jump(self, first: Params, second: Params, third: Params) -> Params | None:
        path = _stacked(first, second, third)
        free = self._free(path)
        steps, bends = _differences(self._measured(path, free))
        bend = _length(bends)
        length = _length(steps) / bend if bend > 0 else 1.0
        length = min(length, self.reach)
        if not length > 1:
            return None
        steps, bends = _differences(_joined(free.values()))
        moves = (2 * length * steps + length**2 * bends).split(
            [points[0].numel() for points in free.values()]
        )
        jump = {}
        for (name, transform), move in zip(self.transforms.items(), moves):
            start, _, end = free[name]
            value = transform(start + move.reshape(start.shape).to(start))
            # A scale must not underflow to 0, from where nothing leads back.
            inside = torch.isfinite(transform.inv(value)) | ~torch.isfinite(end)
            jumped = torch.isfinite(value).all() and inside.all()
            jump[name] = value if jumped else third[name]
        return jump

    def _free(self, path: Params) -> Params:
        """Unconstrained numbers of points one after another, (points, *shape)."""
        return {name: t.inv(path[name]) for name, t in self.transforms.items()}

    def _measured(self, path: Params, free: Params) -> Tensor:
        """Coordinates of steps: roots of probabilities, else unconstrained numbers.

        A probability that goes to 0 moves by equal steps in its log-odds, though it
        matters less and less; its root (Fisher's metric) converges.

        Returns:
            Shape (points, numbers).
        """
        return _joined(
            2 * path[name].sqrt() if name in self._probs else free[name]
            for name in self.transforms
        )

    @cached_property
    def _probs(self) -> set[str]:
        """Sites of probabilities."""
        return {name for name, t in self.transforms.items() if _gives_probs(t)}


def _gives_probs(transform: Transform) -> bool:
    """Whether the values of a transform are probabilities that sum to 1."""
    support = transform.codomain
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.simplex


def _stacked(*points: Params) -> Params:
    """Points of a path one after another, (points, *shape) by site."""
    return {name: torch.stack([p[name] for p in points]) for name in points[0]}


def _joined(sites: Iterable[Tensor]) -> Tensor:
    """All numbers of points one after another, (points, numbers)."""
    flat = [points.reshape(len(points), -1) for points in sites]
    return torch.cat(flat, 1) if flat else torch.zeros(3, 0)


def _differences(points: Tensor) -> tuple[Tensor, Tensor]:
    """First and second differences of three points of a path."""
    first, second, third = points.unbind()
    steps = second - first
    return steps, third - second - steps


def _length(move: Tensor) -> float:
    """Euclidean length, without coordinates at the border of their support."""
    return math.sqrt(float(move.nan_to_num(0.0, 0.0, 0.0).square().sum()))
