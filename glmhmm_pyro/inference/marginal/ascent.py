"""The way to the largest evidence: fixed points of the scales, then quasi-Newton steps.

The evidence has several maxima in the scales, and a quasi-Newton search alone leaps to
where weights do not vary at all. MacKay's fixed point never leaves a basin.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.inference.marginal.law_evidence import (
    NoModeError,
    UnitExpansion,
    expand_at_units_mode,
    gradient,
    variances_of_steps,
)
from glmhmm_pyro.inference.marginal.problem import MarginalProblem

# Furthest that an unconstrained number moves before the search begins anew from there,
# and ends of scales, in units of one over the size of a covariate.
_BOX = 2.0
LOWEST, HIGHEST = 2.0**-16, 2.0**6

# Nats by which a search must still rise, where evaluations are cheap and where they are
# not, and slopes that count as none.
_ENOUGH, _ENOUGH_IF_DEAR, _FLAT = 1e-6, 1e-2, 1e-4


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

    Attributes:
        path: every point that was higher than all before.
        most: evaluations that are left.
    """

    problem: MarginalProblem
    jacobian: bool = False
    most: int = 1000
    path: list[EvidencePoint] = field(default_factory=list)

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
        at = expand_at_units_mode(self.problem, v, w, bends)
        prior = at.prior.log_density
        if self.jacobian:
            prior = self.problem.prior(v, jacobian=True).log_density
        point = EvidencePoint(v, at, at.evidence + float(prior))
        if not self.path or point.height > self.best.height:
            self.path.append(point)
        return point

    def settle(self, times: int) -> None:
        """Move the scales to where their steps are, by MacKay's fixed point."""
        for _ in range(times if self.scales.any else 0):
            point = self.best
            v = self.scales.fixed_point(point)
            moved = self.visit(v, point.at.w)
            if moved is not self.best or moved.height - point.height < 1e-3:
                break

    def climb(self) -> bool:
        """Quasi-Newton steps from the best point on; whether they came to an end."""
        from scipy.optimize import minimize

        if not self.best.v.numel():
            return True
        ends, is_cheap = self.scales.ends, self.problem.curvature.is_cheap
        enough = _ENOUGH if is_cheap else _ENOUGH_IF_DEAR
        while self.most > 0:
            centre = self.best
            middle, widths = centre.v.numpy(), self._widths(centre)
            box = np.clip(
                np.stack([middle - _BOX, middle + _BOX], 1), *ends.T[..., None]
            )
            options = {
                "maxfun": self.most,
                "ftol": enough / max(abs(centre.height), 1.0),
                "gtol": _FLAT,
            }

            def objective(moved: np.ndarray) -> tuple[float, np.ndarray]:
                value, slope = self._objective(middle + widths * moved)
                return value, widths * slope

            found = minimize(
                objective,
                np.zeros_like(middle),
                jac=True,
                method="L-BFGS-B",
                bounds=(box - middle[:, None]) / widths[:, None],
                options=options,
            )
            reached = (middle + widths * found.x)[:, None]
            at_edge = np.isclose(reached, box) & ~np.isclose(box, ends)
            if not at_edge.any() or self.best.height - centre.height < enough:
                return bool(found.success)
        return False

    def _widths(self, point: EvidencePoint) -> np.ndarray:
        """Distances over which the evidence bends, roughly: units of a search.

        A search that begins without them leaps to the ends of its box, and from there
        modes are far. Where evaluations are cheap it may.
        """
        if self.problem.curvature.is_cheap:
            return np.ones(len(point.v))
        bends = self.problem.curvature.bends(point.at.w, point.v)
        bends = bends + 2 * self.scales.determined(point).clamp(min=0.0)
        return bends.clamp(min=1.0).rsqrt().numpy()

    def _objective(self, numbers: np.ndarray) -> tuple[float, np.ndarray]:
        v = torch.from_numpy(numbers.copy())
        try:
            point = self.visit(v, self.best.at.w)
            slope = gradient(self.problem, v, point.at, self.jacobian)
        except (NoModeError, torch.linalg.LinAlgError):
            # A slope back to where there was a mode.
            away = v - self.best.v
            return 1e3 - self.best.height + float(away @ away), 2 * away.numpy()
        return -point.height, -slope.numpy()


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
