"""The way to the largest evidence: fixed points of the scales, then quasi-Newton steps.

The evidence has several maxima in the scales, and a quasi-Newton search alone leaps to
where weights do not vary at all. MacKay's fixed point never leaves a basin.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.inference.marginal.law_evidence import (
    NoModeError,
    UnitExpansion,
    expand_at_units_mode,
    gradient,
    parameter_bends,
    variances_of_steps,
)
from glmhmm_pyro.inference.marginal.problem import MarginalProblem

# Furthest that an unconstrained number moves before the search begins anew from there,
# and ends of scales, in units of one over the size of a covariate.
_BOX = 2.0
LOWEST, HIGHEST = 2.0**-16, 2.0**6

# Nats by which the last few steps of a search must rise, where evaluations are cheap
# and where they are not, and slopes that count as none.
_ENOUGH, _ENOUGH_IF_DEAR, _FLAT = 1e-6, 1e-2, 1e-4
_LAST = 5

# Steps that a search remembers, and lengths of a step that it tries.
_REMEMBERED, _TRIES = 50, 8


@dataclass
class EvidencePoint:
    """Parameters, and the units expanded there.

    Attributes:
        v: the parameters.
        at: the expansion.
        height: evidence plus the log prior density of the parameters.
    """

    v: Tensor
    at: UnitExpansion
    height: float


@dataclass
class Ascent:
    """A climb of the evidence; remembers what it has come through.

    Args:
        problem: the problem.
        jacobian: whether the density of the parameters is that of v.
        held: which parameters stay where they are, shape (size,); none by default.

    Attributes:
        path: every point that was higher than all before.
        most: evaluations that are left.
        has_ended: whether a climb has come to its end.
        saw_no_mode: whether units had no mode somewhere that it led to.
    """

    problem: MarginalProblem
    jacobian: bool = False
    held: Tensor | None = None
    most: int = 1000
    path: list[EvidencePoint] = field(default_factory=list)
    has_ended: bool = False
    saw_no_mode: bool = False

    def __post_init__(self) -> None:
        self.scales = Scales(self.problem)

    @property
    def best(self) -> EvidencePoint:
        """The highest point so far."""
        return self.path[-1]

    def visit(self, v: Tensor, w: Tensor) -> EvidencePoint:
        """Expand at parameters, from weights near by."""
        self.most -= 1
        bends = self.best.at.bends if self.path else None
        is_first = not self.path
        at = expand_at_units_mode(self.problem, v, w, bends, is_first)
        prior = at.prior.log_density
        if self.jacobian:
            prior = self.problem.prior(v, jacobian=True).log_density
        point = EvidencePoint(v, at, at.evidence + float(prior))
        if not self.path or point.height > self.best.height:
            self.path.append(point)
        return point

    def settle(self, times: int) -> None:
        """Move the scales to where their steps are, by MacKay's fixed point.

        They stay where they are if the units have no mode there.
        """
        for _ in range(times if self.scales.any else 0):
            point = self.best
            v = self.scales.fixed_point(point)
            try:
                moved = self.visit(v, point.at.w)
            except NoModeError:
                self.saw_no_mode = True
                break
            if moved is not self.best or moved.height - point.height < 1e-3:
                break

    def climb(self) -> bool:
        """Quasi-Newton steps from the best point on; whether they came to an end."""
        self.has_ended = not self.best.v.numel()
        while self.most > 0 and not self.has_ended:
            before = self.best.height
            self._round()
            if self.best.height - before < self._enough:
                break
        return self.has_ended

    @property
    def _enough(self) -> float:
        return _ENOUGH if self.problem.curvature.is_cheap else _ENOUGH_IF_DEAR

    def _round(self) -> None:
        """Steps in a box around the best point.

        Steps go on until several of them together gain next to nothing: the first few
        may, in which the search learns how the evidence bends.
        """
        from scipy.optimize import minimize

        middle, axes = self.best.v.numpy(), self._axes(self.best)
        box, ends = self._box(middle, axes)
        heights, tried = [self.best.height], dict[bytes, float]()

        def objective(moved: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = self._objective(middle + axes @ moved)
            tried[moved.tobytes()] = -value
            return value, axes.T @ slope

        def judge(moved: np.ndarray) -> None:
            heights.append(tried.get(moved.tobytes(), self.best.height))
            if gained_little(heights, self._enough):
                raise StopIteration

        options = {
            "maxfun": self.most,
            "maxcor": min(len(middle), _REMEMBERED),
            "ftol": 0.0,
            "gtol": _FLAT,
            "maxls": _TRIES,
        }
        found = minimize(
            objective,
            np.zeros_like(middle),
            jac=True,
            method="L-BFGS-B",
            bounds=box,
            callback=judge,
            options=options,
        )
        reached = found.x[:, None]
        at_edge = (np.isclose(reached, box) & ~np.isclose(box, ends)).any()
        # Where a line search fails, or ends at a cliff, the slope tells what there was
        # to gain.
        is_level = found.success and not self.saw_no_mode
        is_level = is_level or gained_little(heights, self._enough)
        is_steep = found.jac @ found.jac / 2 >= self._enough
        is_level = is_level or not is_steep
        has_gained = self.best.height - heights[0] >= self._enough
        # What was highest may have been tried and not taken: there is more from there.
        is_highest = self.best.height - heights[-1] < self._enough
        leads_on = has_gained and (at_edge or is_steep)
        self.has_ended = bool(is_level and is_highest and not leads_on)

    def _box(self, middle: np.ndarray, axes: np.ndarray) -> tuple[np.ndarray, Any]:
        """How far a search may go along its axes, and where scales end for good."""
        furthest = np.abs(axes).max(0)[:, None]
        ends = (self.scales.ends - middle[:, None]) / furthest
        if self.held is not None:
            ends[self.held.numpy()] = 0.0
        return np.clip([-_BOX, _BOX] / furthest, *ends.T[..., None]), ends

    def _axes(self, point: EvidencePoint) -> np.ndarray:
        """Directions and distances over which the evidence bends, roughly, in columns.

        A search that begins without them leaps to the ends of its box, and from there
        modes are far. Where evaluations are cheap it may. Scales, which have ends, are
        axes of their own.
        """
        if self.problem.curvature.is_cheap:
            return np.eye(len(point.v))
        is_scale = self.scales.counts > 0
        bent = 2 * self.scales.determined(point)
        found = bent.clamp(min=1.0).rsqrt().diag_embed()
        if not is_scale.all():
            others = (~is_scale).nonzero()[:, 0]
            bends = parameter_bends(self.problem, point.v, point.at)
            found[others[:, None], others] = _root(bends[others[:, None], others])
        return found.numpy()

    def _objective(self, numbers: np.ndarray) -> tuple[float, np.ndarray]:
        v = torch.from_numpy(numbers.copy())
        try:
            point = self.visit(v, self.best.at.w)
            slope = gradient(self.problem, v, point.at, self.jacobian)
        except (NoModeError, torch.linalg.LinAlgError):
            # A slope back to where there was a mode.
            self.saw_no_mode = True
            away = v - self.best.v
            return 1e3 - self.best.height + float(away @ away), 2 * away.numpy()
        if self.held is not None:
            slope = slope.masked_fill(self.held, 0.0)
        return -point.height, -slope.numpy()


def density_mode(
    problem: MarginalProblem, v: Tensor, w: Tensor, held: Tensor | None = None
) -> EvidencePoint:
    """Where a climb of the density of v ends, which includes the Jacobian.

    Args:
        problem: the problem.
        v: parameters to begin at.
        w: weights of the units near by.
        held: which parameters stay where they are, shape (size,).

    Raises:
        NoModeError: the units have none at these.
    """
    ascent = Ascent(problem, jacobian=True, held=held)
    ascent.visit(v, w)
    ascent.climb()
    return ascent.best


def gained_little(heights: list[float], enough: float) -> bool:
    """Whether the last few steps of a search together rose by less than this."""
    return len(heights) > _LAST and heights[-1] - heights[-1 - _LAST] < enough


def _root(bends: Tensor) -> Tensor:
    """Axes over which a height bends by one, in columns; none is longer than one."""
    sizes, directions = torch.linalg.eigh(bends)
    found: Tensor = directions * sizes.clamp(min=1.0).rsqrt()
    return found


class Scales:
    """Which parameters are logarithms of scales of the law, and where these may be.

    Args:
        problem: the problem.

    Attributes:
        counts: of steps that have each parameter for the logarithm of their scale.
        units: logarithm of the unit of each, one over the size of its covariates.
    """

    def __init__(self, problem: MarginalProblem):
        self.problem = problem
        v = torch.zeros(problem.theta.size, dtype=torch.float64)
        logs = problem.weight_units().log().expand(problem.number, -1)
        self.counts = self._slope(v, torch.ones_like(logs))
        sums = self._slope(v, logs)
        self.units = torch.where(self.counts > 0, sums / self.counts, 0.0)

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool((self.counts > 0).any())

    @property
    def ends(self) -> np.ndarray:
        """Lowest and highest value of every parameter, shape (size, 2)."""
        known = self.counts > 0
        ends = [
            torch.where(known, self.units + np.log(end), sign * torch.inf)
            for end, sign in ((LOWEST, -1), (HIGHEST, 1))
        ]
        return torch.stack(ends, 1).numpy()

    def at(self, v: Tensor, sizes: dict[str, float]) -> Tensor:
        """Parameters with scales of so many units, by the ends of their names."""
        found = v.clone()
        for name, place in self.problem.theta.slices.items():
            for end, size in sizes.items():
                if name.endswith(f"_{end}"):
                    mine = self.units[place] + np.log(size)
                    found[place] = torch.where(self.counts[place] > 0, mine, v[place])
        return found

    def fixed_point(self, point: EvidencePoint) -> Tensor:
        """Scales at the root mean square of the steps as they are expected to be."""
        squares = expected_squares(point.at)
        change = self._slope(point.v, squares / point.at.prior.scale**2 - 1.0)
        share = torch.where(self.counts > 0, change / self.counts, 0.0)
        moved = point.v + torch.log1p(share.clamp(min=-1 + 1e-12)) / 2
        low, high = torch.from_numpy(self.ends).unbind(1)
        return moved.maximum(low).minimum(high)

    def determined(self, point: EvidencePoint) -> Tensor:
        """Number of steps of each scale that the data determine, not the law."""
        left = variances_of_steps(point.at)[1] / point.at.prior.scale**2
        return self.counts - self._slope(point.v, left)

    def _slope(self, v: Tensor, weights: Tensor) -> Tensor:
        """Derivative of a weighted sum of the logarithms of all scales."""
        leaf = v.clone().requires_grad_()
        with torch.enable_grad():
            total = (self.problem.prior(leaf).scale.log() * weights).sum()
            if not total.requires_grad:
                return torch.zeros_like(v)
            (found,) = torch.autograd.grad(
                total, leaf, allow_unused=True, materialize_grads=True
            )
        return found


def expected_squares(at: UnitExpansion) -> Tensor:
    """Expected squares of all steps of the units, shape (units, size)."""
    return at.prior.steps(at.w, at.prior.centre).square() + variances_of_steps(at)[1]
