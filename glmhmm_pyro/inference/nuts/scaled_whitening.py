r"""Coordinates for weights whose scales are learnt: round at the mode of the evidence.

The joint mode of weights and their scale runs to 0, and how far weights may go depends
on the scale: no linear map makes that round. From white noise z the map is

.. math:: v = \hat v + R z_v, \quad
    w_i = \hat w_i - (A (v - \hat v))_i
        + e^{m_i^\top (v - \hat v)} (L^{-\top} z_w)_i

of parameters v, among them logarithms of scales, and weights w, with the factor of
both at the mode of the evidence, and m the derivatives of the log standard deviations
of weights given the parameters. A weight that data determine has m near 0, one that the
law determines has it near 1: between the centred and the non-centred parameterisation
every weight is where its data have it (Papaspiliopoulos, Roberts & Sköld 2007,
Statistical Science 22:59).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.inference.curvature.curvature import CurvatureError
from glmhmm_pyro.inference.curvature.round_scales import BorderedScale, scale_by_units
from glmhmm_pyro.inference.marginal.ascent import EvidencePoint, Scales, density_mode
from glmhmm_pyro.inference.marginal.fitting import unbounded_scales
from glmhmm_pyro.inference.marginal.law_evidence import NoModeError, factorised
from glmhmm_pyro.inference.marginal.problem import MarginalProblem
from glmhmm_pyro.inference.program.coordinates import Params

# Half the distance over which log standard deviations are differenced.
_STEP = 1e-2


class ScaledWhitening(NamedTuple):
    """A map from round coordinates to the unconstrained vector of a program.

    Attributes:
        centre: shape (size,).
        scale: root of the covariance at the centre.
        rates: m, shape (units, numbers, parameters), 0 of what no latent reads.
    """

    centre: Tensor
    scale: BorderedScale
    rates: Tensor

    @classmethod
    def of(cls, problem: MarginalProblem, params: Params) -> "ScaledWhitening | None":
        """That at the mode of the evidence near a fit; ``None`` if there is none."""
        w, v = problem.packed(params)
        try:
            mode = density_mode(problem, v, w)
            if unbounded_scales(problem, mode, Scales(problem)).any():
                return None
            centre = problem.parts.joined(mode.at.w, mode.v)
            scale = scale_by_units(problem.program, centre)
        except (NoModeError, CurvatureError):
            return None
        if scale is None:
            return None
        rates = _rates(problem, mode) * scale.is_read.unsqueeze(-1)
        return cls(centre, scale, rates)

    def __call__(self, point: Tensor) -> Tensor:
        """Vector (*batch, size) of a point (*batch, size)."""
        away, moves = self._moves(point)
        units = moves - torch.tensordot(away, self.scale.root.solved, 1)
        return self.centre + self.scale.parts.joined(units, away)

    def _moves(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """How far parameters are from the centre, and units from where these lead."""
        noise, white = self.scale.apart(point)
        away = white @ self.scale.root.spread.T
        return away, self._stretch(away) * self.scale.root.inside.draw(noise)

    def _stretch(self, away: Tensor) -> Tensor:
        """Standard deviations of units in parts of those at the centre."""
        return torch.tensordot(away, self.rates.movedim(-1, 0), 1).exp()

    def pulled(self, point: Tensor, slope: Tensor) -> tuple[float, Tensor]:
        """How the log volume grows from the centre to a point, and its whole slope.

        Args:
            point: shape (size,).
            slope: of the log density by the vector there.
        """
        scale, (away, moves) = self.scale, self._moves(point)
        by_unit, by_parameter = scale.parts.slopes_apart(slope)
        units = scale.root.inside.halfway(by_unit * self._stretch(away))
        taken = torch.tensordot(by_unit, scale.root.solved.movedim(0, -1), 2)
        stretched = torch.tensordot(by_unit * moves, self.rates, 2)
        growth = self.rates.sum((0, 1))
        shared = (by_parameter - taken + stretched + growth) @ scale.root.spread
        return float(growth @ away), torch.cat([units[scale.is_read], shared])

    def growth(self, points: Tensor) -> Tensor:
        """How far log volumes at points (*batch, size) are above that at the centre."""
        _, white = self.scale.apart(points)
        return (white @ self.scale.root.spread.T) @ self.rates.sum((0, 1))

    def inverse(self, vectors: Tensor) -> Tensor:
        """Round coordinates (*batch, size) of vectors (*batch, size)."""
        root, found = self.scale.root, []
        for move in (vectors - self.centre).reshape(-1, vectors.shape[-1]):
            units, away = self.scale.parts.apart(move)
            units = units + torch.tensordot(away, root.solved, 1)
            noise = root.inside.whiten(units / self._stretch(away))
            white = torch.linalg.solve(root.spread, away)
            found.append(torch.cat([noise[self.scale.is_read], white]))
        return torch.stack(found).reshape(vectors.shape)

    @property
    def log_volume(self) -> float:
        """Log determinant of the map at the centre."""
        return float(self.scale.log_volume)


def _rates(problem: MarginalProblem, mode: EvidencePoint) -> Tensor:
    """Derivatives of log standard deviations of units by the parameters.

    The likelihood's second derivatives are those at the mode. Shape (units, numbers,
    parameters).
    """
    found = torch.zeros(*mode.at.w.shape, len(mode.v), dtype=torch.float64)
    for place in (Scales(problem).counts > 0).nonzero().flatten().tolist():
        step = torch.zeros_like(mode.v)
        step[place] = _STEP
        ahead, behind = (_log_widths(problem, mode, s * step) for s in (1, -1))
        found[..., place] = (ahead - behind) / (2 * _STEP)
    return found


def _log_widths(problem: MarginalProblem, mode: EvidencePoint, step: Tensor) -> Tensor:
    with torch.no_grad():
        diag, below = problem.prior(mode.v + step).precision()
    made = factorised(-mode.at.bends, diag, below.diag_embed())
    return made.selected_inverse()[0].diagonal(dim1=1, dim2=2).log() / 2
