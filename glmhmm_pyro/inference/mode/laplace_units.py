r"""Draws of weights that vary, and of the parameters of their law, by Laplace.

The joint mode of weights and their scale runs to 0, where no normal is near. So
parameters v are drawn around the mode of the evidence, weights w given these,

.. math:: v \sim N(\hat v, \, (-\nabla^2 (E + \log p))^{-1}), \quad
    w \mid v \sim N(\hat w(v), \, (-H(v))^{-1})

with E the evidence, and the density of the parameters that of v, which holds logarithms
of scales (Rue, Martino & Chopin 2009, J. R. Stat. Soc. B 71:319, in the simplest form).
In H the likelihood's part is that at the mode, the law's that at v.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.inference.curvature.bordered_information import curvature_of_evidence
from glmhmm_pyro.inference.curvature.curvature import CurvatureError
from glmhmm_pyro.inference.curvature.information import Information
from glmhmm_pyro.inference.curvature.newton import newton_steps
from glmhmm_pyro.inference.marginal.ascent import EvidencePoint, Scales, density_mode
from glmhmm_pyro.inference.marginal.fitting import unbounded_scales
from glmhmm_pyro.inference.marginal.law_evidence import (
    NoModeError,
    UnitExpansion,
    expand_at_units_mode,
    gradient,
    positive_factor,
)
from glmhmm_pyro.inference.marginal.problem import MarginalProblem
from glmhmm_pyro.inference.program.coordinates import Params

# Nats that a Newton step of the units may still promise where one is drawn around its
# end, and most of these steps.
_NEAR, _MOST_STEPS = 1e-3, 20

# Share of directions without a maximum in what a parameter is from which it is held.
_HELD = 1e-2

# Standard deviations that the mode may be away from where parameters are drawn around.
_AWAY = 0.05


class UnitDraws(NamedTuple):
    """Draws of all sites, whose units a law links.

    Attributes:
        vectors: of the program, shape (draws, size).
        log_normal: log densities under what they are drawn from, shape (draws,).
        held: names of sites that have parameters without a maximum.
    """

    vectors: Tensor
    log_normal: Tensor
    held: tuple[str, ...]


def draws_of_units(
    problem: MarginalProblem, params: Params, number: int, seed: int
) -> UnitDraws:
    """Draws around the mode of the evidence near a fit.

    Parameters stay where they are along directions in which the evidence has no
    maximum, and all of them where it has none near the fit.

    Args:
        problem: the problem.
        params: values of all sites, those of the largest evidence.
        number: of draws.
        seed: source of all randomness.
    """
    w, v = problem.packed(params)
    try:
        kind = _ParameterNormal.near if len(v) else _ParameterNormal.held
        found = kind(problem, v, w)
    except (NoModeError, CurvatureError):
        found = _ParameterNormal.held(problem, v, w)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(number, *w.shape, generator=generator, dtype=torch.float64)
    own = torch.randn(number, len(v), generator=generator, dtype=torch.float64)
    parameters, log_normal = found.draws(own)
    vectors = []
    for place, (vector, white) in enumerate(zip(parameters, noise)):
        units, log_density = _draw_units(problem, vector, found.at, white)
        vectors.append(problem.parts.joined(units, vector))
        log_normal[place] += log_density
    return UnitDraws(torch.stack(vectors), log_normal, found.without_maximum(problem))


class _ParameterNormal(NamedTuple):
    """A normal approximation of parameters, the units integrated out.

    Attributes:
        v: its mean.
        at: the units expanded there.
        factor: root of the covariance, 0 along missing directions.
        log_det: of the information in all others.
        missing: orthonormal directions in which there is no maximum, (size, any).
    """

    v: Tensor
    at: UnitExpansion
    factor: Tensor
    log_det: float
    missing: Tensor

    @classmethod
    def near(cls, problem: MarginalProblem, v: Tensor, w: Tensor) -> "_ParameterNormal":
        """That at the mode of the evidence near a point.

        Scales that would grow without end stay where they are.

        Raises:
            NoModeError: there is none.
            CurvatureError: next to it the units have no mode.
        """
        held = torch.zeros(len(v), dtype=torch.bool)
        found = density_mode(problem, v, w, held)
        while (ends := unbounded_scales(problem, found, Scales(problem)) & ~held).any():
            held = held | ends
            found = density_mode(problem, v, w, held)
        information = _information(problem, found, held)
        factor = information.factor

        def slope_at(point: Tensor) -> Tensor:
            at = expand_at_units_mode(problem, point, found.at.w)
            return gradient(problem, point, at, jacobian=True)

        mode, left = newton_steps(slope_at, found.v, factor)
        if left > _AWAY:
            raise NoModeError("the evidence has no mode near the fit")
        at = expand_at_units_mode(problem, mode, found.at.w)
        missing = torch.cat(list(information.missing.values()), 1)
        return cls(mode, at, factor, information.log_det, missing)

    @classmethod
    def held(cls, problem: MarginalProblem, v: Tensor, w: Tensor) -> "_ParameterNormal":
        """Parameters that do not vary."""
        at = expand_at_units_mode(problem, v, w)
        every = torch.eye(len(v), dtype=v.dtype)
        return cls(v, at, 0 * every, 0.0, every)

    def draws(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters (draws, size) of white noise, and their log densities (draws,)."""
        known = noise - noise @ self.missing @ self.missing.T
        number = len(self.v) - self.missing.shape[1]
        constant = self.log_det - number * math.log(2 * math.pi)
        log_density = (constant - known.square().sum(1)) / 2
        return self.v + known @ self.factor.T, log_density

    def without_maximum(self, problem: MarginalProblem) -> tuple[str, ...]:
        """Names of sites that are held, in all of their numbers or in some."""
        held = self.missing.square().sum(1) > _HELD
        pieces = problem.theta.slices.items()
        return tuple(name for name, piece in pieces if held[piece].any())


def _information(
    problem: MarginalProblem, point: EvidencePoint, held: Tensor
) -> Information:
    """What is known of parameters, the units integrated out; nothing of those held."""
    matrix = curvature_of_evidence(problem, point.v, point.at.w, jacobian=True)
    matrix = matrix.masked_fill(held | held[:, None], 0.0)
    vector = problem.parts.joined(point.at.w, point.v)
    places = problem.parts.places
    return Information.of_matrix(problem.program, vector, matrix, True, places=places)


def _draw_units(
    problem: MarginalProblem, v: Tensor, near: UnitExpansion, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """A draw of the units given parameters, and its log density.

    Args:
        problem: the problem.
        v: the parameters.
        near: the units expanded at parameters near by.
        noise: white, shape (units, size).
    """
    with torch.no_grad():
        prior = problem.prior(v)
    diag, below = prior.precision()
    made, _ = positive_factor(diag, below.diag_embed(), near.bends)
    middle = w = near.w
    before = torch.inf
    for _ in range(_MOST_STEPS):
        slope = problem.curvature.slopes(w, v)[1] + prior.slope(w)
        step = made.solve(slope)
        gain = float((slope * step).sum())
        if not gain < before:
            break
        middle, before, w = w, gain, w + step
        if gain < _NEAR:
            break
    read = problem.layout.is_read.expand(noise.shape)
    squares = (noise.square() * read).sum() + read.sum() * math.log(2 * math.pi)
    return middle + made.draw(noise), (made.log_det - squares) / 2
