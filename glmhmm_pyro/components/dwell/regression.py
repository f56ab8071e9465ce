"""The M-step of a dwell law whose hazards follow from one predictor: Newton steps."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

# A step ends where the next one would raise the objective by less, of its own size.
_ENOUGH = 1e-15
_MOST_STEPS = 60
_HALVINGS = 20
# Predictors move no farther in one step.
_FARTHEST = 2.0


class _Point(NamedTuple):
    """Expected log-likelihood (sets, states), its slopes and information by weights."""

    value: Tensor
    slope: Tensor
    information: Tensor


def fitted_dwell_weights(
    odds: Callable[[Tensor], tuple[Tensor, Tensor]],
    design: Tensor,
    weights: Tensor,
    events: Tensor,
    rests: Tensor,
) -> Tensor:
    r"""Weights that maximise the expected log-likelihood of dwells that end and go on.

    .. math:: \sum_{t, k} e_{tk} \log(1 - \sigma(m_k(\eta_t)))
        + r_{tk} \log \sigma(m_k(\eta_t)), \quad \eta_t = w^\top u_t

    Every state is a problem of its own, solved by Fisher scoring, a step halved until
    the objective rises.

    Args:
        odds: log-odds m of going on in every phase (..., phases) of predictors (...),
            and their derivatives.
        design: shape (steps, features).
        weights: where to set out, (sets, states, features).
        events, rests: expected numbers e and r, (sets, steps, states, phases).

    Returns:
        Shape (sets, states, features).
    """

    def evaluated(weights: Tensor) -> _Point:
        more, by_predictor = odds(design @ weights.mT)
        goes_on, ends = more.sigmoid(), (-more).sigmoid()
        logs = _zero_safe_product(events, logsigmoid(-more)) + _zero_safe_product(
            rests, logsigmoid(more)
        )
        score = ((rests * ends - events * goes_on) * by_predictor).sum(-1)
        spread = ((events + rests) * goes_on * ends * by_predictor**2).sum(-1)
        products = spread.mT.unsqueeze(-1) * design
        return _Point(logs.sum((-3, -1)), score.mT @ design, products.mT @ design)

    here = evaluated(weights)
    for _ in range(_MOST_STEPS):
        step = _limited_newton_step(here, design)
        promised = (step * here.slope).sum(-1)
        if (promised <= _ENOUGH * (1 + here.value.abs())).all():
            break
        weights, here = _backtracked(evaluated, weights, here, step)
    return weights


def _limited_newton_step(here: _Point, design: Tensor) -> Tensor:
    """Slopes by the inverse of the information, no farther than predictors may move."""
    scale = here.information.diagonal(dim1=-2, dim2=-1).amax(-1)[..., None, None]
    small = torch.eye(design.shape[1], dtype=scale.dtype, device=scale.device)
    ridge = small * (1e-12 * scale + torch.finfo(scale.dtype).tiny)
    step = torch.linalg.solve(here.information + ridge, here.slope.unsqueeze(-1))
    far = (design @ step).abs().amax((-2, -1)).clamp(min=_FARTHEST)
    return step.squeeze(-1) * (_FARTHEST / far).unsqueeze(-1)


def _backtracked(
    evaluated: Callable[[Tensor], _Point], weights: Tensor, here: _Point, step: Tensor
) -> tuple[Tensor, _Point]:
    """Weights a step further, halved by state until none falls."""
    for _ in range(_HALVINGS):
        there = evaluated(weights + step)
        falls = there.value < here.value
        if not falls.any():
            break
        step = torch.where(falls.unsqueeze(-1), step / 2, step)
    else:
        step = torch.where(falls.unsqueeze(-1), 0.0, step)
        there = evaluated(weights + step)
    return weights + step, there


def _zero_safe_product(counts: Tensor, logs: Tensor) -> Tensor:
    """0 counts times log 0 is 0."""
    return torch.where(counts > 0, counts * logs, 0.0)
