r"""Laplace's evidence of parameters, the units integrated out, and its exact gradient.

.. math:: E(v) = \log p(y \mid \hat w, v) + \log p(\hat w \mid v)
    + \tfrac{n}{2} \log 2\pi - \tfrac12 \log \det(-H)

at the mode of the units given the parameters. With q the step that the determinant
would have the mode take, :math:`q = (-H)^{-1} \partial_w (-\tfrac12 \log\det(-H))`,

.. math:: \frac{dE}{dv} = \partial_v \log p(y, \hat w \mid v)
    - \tfrac12 \partial_v \log\det(-H)
    + \partial_v (q^\top \partial_w \log p(y, w \mid v)),

the last term because the mode moves with the parameters (MacKay 1992 leaves it out).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.banded import Factor, JointFactor, factor, joint_factor
from glmhmm_pyro.inference.marginal.problem import MarginalProblem, Prior

# A Newton step that promises less than this ends the search for the mode, nats. The
# evidence is not stationary in the mode: a looser end would cost digits of it.
_ENOUGH = 1e-14
_MOST_STEPS, _HALVINGS = 80, 40

# Part of what the last step promised from which one is too slow for old derivatives.
_SLOW = 0.2

# A Newton step that promises less than this ends at a saddle where the density bends
# upwards along some direction, which is then followed, so many times.
_LEVEL, _ESCAPES = 1e-2, 5

# Part of a log density that rounding may take.
_ROUNDING = 1e-13


# Half the distance over which slopes by the parameters are differenced, and those of
# the evidence.
_SMALL, _STEP = 1e-4, 1e-3


class NoModeError(ValueError):
    """The units have no mode with a curvature to go by, at these parameters."""


class UnitExpansion(NamedTuple):
    """The density of the units expanded at its mode.

    Attributes:
        evidence: E, nats.
        w: the mode, shape (units, size).
        prior: what the priors say there.
        factor: of minus the second derivatives.
        bends: second derivatives of the log-likelihood, (units, size, size); by all
            pairs of units, (units, size, units, size), where states link these.
    """

    evidence: float
    w: Tensor
    prior: Prior
    factor: Factor
    bends: Tensor


def expand_at_units_mode(
    problem: MarginalProblem,
    v: Tensor,
    start: Tensor,
    bends: Tensor | None = None,
    leaves_saddles: bool = False,
) -> UnitExpansion:
    """Find the mode of the units by Newton's method, and expand there.

    Second derivatives are kept from step to step as long as they serve, where they cost
    more than slopes do; those of the end are its own.

    Args:
        problem: the problem.
        v: parameters.
        start: weights of the units to begin at.
        bends: second derivatives of the log-likelihood somewhere near.
        leaves_saddles: whether to go on to a mode from where units are alike, say; a
            search of the evidence that did would leap between modes.

    Raises:
        NoModeError: there is none.
    """
    with torch.no_grad():
        prior = problem.prior(v)
    w, fresh, before, ready = start.clone(), False, torch.inf, None
    escapes = _ESCAPES if leaves_saddles else 0
    diag, below = prior.precision()
    lower = below.diag_embed()
    is_cheap = problem.curvature.is_cheap
    bends = None if is_cheap else bends
    for _ in range(_MOST_STEPS):
        if bends is None:
            found = ready if is_cheap else None
            value, slope, bends = found or problem.curvature.hessian(w, v)
            fresh = True
        else:
            value, slope, _ = ready or problem.curvature.slopes(w, v)
        slope = slope + prior.slope(w)
        made, is_exact = positive_factor(diag, lower, bends)
        step = made.solve(slope)
        gain = float((slope * step).sum())
        height = float(value + prior.log_prob(w))
        if not gain == gain:
            raise NoModeError("the weights of the units have no finite mode")
        if not is_exact and fresh and gain < _LEVEL and escapes:
            away = _off_saddle(problem, prior, v, w, bends, height)
            escapes -= 1
            if away is not None:
                w, bends, ready, before = away, None, None, torch.inf
                continue
        if gain < _ENOUGH and fresh:
            break
        if not fresh and (gain < _ENOUGH or gain > _SLOW * before or not is_exact):
            bends, before = None, torch.inf
            continue
        moved, ready = _backtrack(problem, prior, v, w, step, height, gain)
        if moved is None and fresh:
            break
        stale = is_cheap or moved is None or not is_exact
        w, before, fresh = w if moved is None else moved, gain, False
        bends = None if stale else bends
    if not (is_exact and fresh):
        raise NoModeError("the weights of the units have no mode with a curvature")
    evidence = height - float(made.log_det) / 2
    return UnitExpansion(evidence, w, prior, made, torch.as_tensor(bends))


def _off_saddle(
    problem: MarginalProblem,
    prior: Prior,
    v: Tensor,
    w: Tensor,
    bends: Tensor,
    height: float,
) -> Tensor | None:
    """Weights further along where the density bends upwards most, if they are higher.

    Weights of states that are all alike are at a saddle, which symmetry would not let
    them leave. The first step is a standard deviation of the law long.
    """
    diag, _ = prior.precision()
    square = -bends if bends.dim() == 3 else -bends.flatten(2).flatten(0, 1)
    own = diag if bends.dim() == 3 else diag.reshape(-1)
    sizes, directions = torch.linalg.eigh(square + own.diag_embed())
    lowest = sizes[..., 0]
    if not lowest.min() < 0:
        return None
    along = torch.zeros_like(own)
    if bends.dim() == 3:
        unit = int(lowest.argmin())
        along[unit] = directions[unit, :, 0]
    else:
        along = directions[:, 0]
    length = (along.square() * own).sum().rsqrt()
    step = (length * along).reshape(w.shape)
    for _ in range(_HALVINGS):
        for moved in (w + step, w - step):
            with torch.no_grad():
                reached = problem.curvature.value(moved, v) + prior.log_prob(moved)
            if float(reached) > height:
                return moved
        step = step / 2
    return None


def positive_factor(diag: Tensor, lower: Tensor, bends: Tensor) -> tuple[Factor, bool]:
    """Factor of minus the second derivatives, made positive where they are not.

    Args:
        diag: of the prior's precision, (units, size).
        lower: its blocks below the diagonal, (units, size, size).
        bends: second derivatives of the log-likelihood, see :class:`UnitExpansion`.

    Raises:
        NoModeError: they are no numbers.
    """
    made = factorised(-bends, diag, lower)
    if made.is_positive:
        return made, True
    square = -bends if bends.dim() == 3 else -bends.flatten(2).flatten(0, 1)
    if not bool(square.isfinite().all()):
        raise NoModeError("the weights of the units have no finite mode")
    roots, directions = torch.linalg.eigh(square)
    bent = (directions * roots.abs().unsqueeze(-2)) @ directions.mT
    return factorised(bent.reshape(bends.shape), diag, lower), False


def factorised(blocks: Tensor, diag: Tensor, lower: Tensor) -> Factor:
    """Factor of blocks and the prior's precision; the blocks may be overwritten."""
    if blocks.dim() == 4:
        return joint_factor(blocks, diag, lower)
    return factor(_add_to_diagonals(blocks, diag), lower)


def _add_to_diagonals(blocks: Tensor, diag: Tensor) -> Tensor:
    """Blocks, to whose diagonals numbers are added in place."""
    blocks.diagonal(dim1=-2, dim2=-1).add_(diag)
    return blocks


def _backtrack(
    problem: MarginalProblem,
    prior: Prior,
    v: Tensor,
    w: Tensor,
    step: Tensor,
    height: float,
    gain: float,
) -> tuple[Tensor | None, tuple[Tensor, Tensor, Tensor] | None]:
    """The first of ever shorter steps that rises enough; ``None`` if none does.

    With it come the derivatives there, of which the next step is made: first ones, and
    second ones where these are cheap.
    """
    curvature, length = problem.curvature, 1.0
    derivatives = curvature.hessian if curvature.is_cheap else curvature.slopes
    for _ in range(_HALVINGS):
        moved = w + length * step
        found = derivatives(moved, v)
        reached = float(found[0] + prior.log_prob(moved))
        slack = _ROUNDING * abs(height) if gain < 1e-6 else 0.0
        if reached >= height + 1e-4 * length * gain - slack:
            return moved, found
        length /= 2
    return None, None


def variances_of_steps(at: UnitExpansion) -> tuple[Tensor, Tensor]:
    """Covariance within units, and variances (units, size) of what links them."""
    within, between = at.factor.selected_inverse()
    variances, lagged = (x.diagonal(dim1=-2, dim2=-1) for x in (within, between))
    before = variances.roll(1, 0) - 2 * lagged
    return within, variances + at.prior.follows * before


def gradient(
    problem: MarginalProblem, v: Tensor, at: UnitExpansion, jacobian: bool = False
) -> Tensor:
    """The gradient of the evidence and of the log prior density, by the parameters.

    Args:
        problem: the problem.
        v: parameters.
        at: the expansion there.
        jacobian: whether the density of the parameters is that of ``v``.
    """
    within, spread = variances_of_steps(at)
    if isinstance(at.factor, JointFactor):
        within = at.factor.inverse()
    by_unit, by_parameter = problem.curvature.third(at.w, v, within)
    along = at.factor.solve(by_unit)
    total = by_parameter + problem.curvature.slopes(at.w, v)[2]
    if v.numel():
        total = total + problem.curvature.mixed(at.w, v, along)
    leaf = v.detach().requires_grad_()
    with torch.enable_grad():
        prior = problem.prior(leaf, jacobian)
        steps, moves = prior.steps(at.w, prior.centre), prior.steps(along)
        inside = prior.scale**-2 * (spread / 2 + moves * steps)
        value = prior.log_density + prior.log_prob(at.w) - inside.sum()
        if value.requires_grad:
            (found,) = torch.autograd.grad(
                value, leaf, allow_unused=True, materialize_grads=True
            )
            total = total + found
    return total.detach()


def evidence_bends(
    problem: MarginalProblem, v: Tensor, w: Tensor, jacobian: bool = False
) -> Tensor:
    """Minus the second derivatives of the evidence and of the log prior density.

    Of differences of slopes, (size, size).

    Args:
        problem: the problem.
        v: parameters.
        w: weights of the units near their mode.
        jacobian: whether the density of the parameters is that of ``v``.
    """

    def slope(point: Tensor) -> Tensor:
        at = expand_at_units_mode(problem, point, w)
        return gradient(problem, point, at, jacobian)

    steps = _STEP * torch.eye(len(v), dtype=v.dtype)
    rows = [(slope(v - s) - slope(v + s)) / (2 * _STEP) for s in steps]
    found = torch.stack(rows)
    return (found + found.T) / 2


def parameter_bends(problem: MarginalProblem, v: Tensor, at: UnitExpansion) -> Tensor:
    r"""Minus the second derivatives of the highest log-joint, by the parameters.

    That is :math:`\max_w \log p(y, w, v)`, whose units follow the parameters: the
    evidence but for its determinant. Of differences of slopes, (size, size).

    Args:
        problem: the problem.
        v: parameters.
        at: the expansion there.
    """
    steps = _SMALL * torch.eye(len(v), dtype=v.dtype)
    by_unit, by_parameter = [], []
    for step in steps:
        ahead, behind = (_joint_slopes(problem, at.w, v + s * step) for s in (1, -1))
        by_unit.append((behind[0] - ahead[0]) / (2 * _SMALL))
        by_parameter.append((behind[1] - ahead[1]) / (2 * _SMALL))
    mixed, own = torch.stack(by_unit), torch.stack(by_parameter)
    found = own - mixed.flatten(1) @ at.factor.solve(mixed).flatten(1).mT
    return (found + found.mT) / 2


def _joint_slopes(
    problem: MarginalProblem, w: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Slopes of the log-joint by units and parameters."""
    _, by_unit, by_parameter = problem.curvature.slopes(w, v)
    leaf = v.detach().requires_grad_()
    with torch.enable_grad():
        prior = problem.prior(leaf)
        value = prior.log_density + prior.log_prob(w)
    if value.requires_grad:
        (own,) = torch.autograd.grad(
            value, leaf, allow_unused=True, materialize_grads=True
        )
        by_parameter = by_parameter + own
    return by_unit + prior.slope(w).detach(), by_parameter
