"""Roots of a covariance, by which a log density becomes round: dense, or by units."""

from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.banded import Bordered, schur_complement
from glmhmm_pyro.inference.curvature.bordered_information import (
    BorderedCurvature,
    curvature_of_evidence,
)
from glmhmm_pyro.inference.curvature.curvature import (
    CurvatureError,
    round_root,
    round_scale,
)
from glmhmm_pyro.inference.marginal.ascent import Scales
from glmhmm_pyro.inference.marginal.vector_parts import VectorParts
from glmhmm_pyro.inference.program.coordinates import Coordinates
from glmhmm_pyro.inference.program.program import Program


class BorderedScale(NamedTuple):
    """A root of the covariance of units and parameters, as an operator.

    Rows are multiplied by it as by a matrix: ``slope @ scale`` for a slope (size,), and
    ``points @ scale.T`` for points (*batch, size), in which white noise of the units
    comes first. The cost is in proportion to the number of units.

    Attributes:
        parts: where units and parameters stand in a vector.
        root: of the covariance.
    """

    parts: VectorParts
    root: Bordered

    @property
    def T(self) -> "_Transposed":
        """The operator transposed."""
        return _Transposed(self)

    @property
    def detached(self) -> "BorderedScale":
        """The same without a history of its numbers."""
        inside, *rest = self.root
        solved, spread = (part.detach() for part in rest)
        return self._replace(root=Bordered(inside.detach(), solved, spread))

    @property
    def log_volume(self) -> Tensor:
        """Log determinant, a number."""
        shared = torch.linalg.slogdet(self.root.spread).logabsdet
        return shared - self.root.inside.log_det / 2

    @property
    def is_read(self) -> Tensor:
        """Which numbers of units are some latent's, (units, size)."""
        return self.parts.layout.is_read.expand(self.root.solved.shape[1:])

    def __rmatmul__(self, slope: Tensor) -> Tensor:
        """A slope (size,) seen from round coordinates."""
        units, shared = self.root.halfway(*self.parts.slopes_apart(slope))
        return torch.cat([units[self.is_read], shared])

    def moved(self, points: Tensor) -> Tensor:
        """Moves (*batch, size) of the vector, from those of round coordinates."""
        return self.parts.joined(*self.root.draw(*self.apart(points)))

    def apart(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Round coordinates (*batch, size) of units, and of parameters."""
        is_read, number = self.is_read, len(self.parts.places)
        units, shared = points.split([points.shape[-1] - number, number], -1)
        noise = points.new_zeros(*points.shape[:-1], *is_read.shape)
        noise[..., is_read] = units
        return noise, shared

    def solved(self, moves: Tensor) -> Tensor:
        """Round coordinates (*batch, size) of moves of the vector."""
        found = []
        for move in moves.reshape(-1, moves.shape[-1]):
            units, shared = self.root.whiten(*self.parts.apart(move))
            found.append(torch.cat([units[self.is_read], shared]))
        return torch.stack(found).reshape(moves.shape)


class _Transposed(NamedTuple):
    scale: BorderedScale

    def __rmatmul__(self, points: Tensor) -> Tensor:
        return self.scale.moved(points)


Scale = Tensor | BorderedScale


def scale_at(program: Program, vector: Tensor) -> Scale | None:
    """A root of the inverse curvature of the vector's density; see :func:`round_scale`.

    Args:
        program: the model with its data.
        vector: point of the unconstrained coordinates, shape (size,).

    Returns:
        By units where a law links them; ``None`` where there is no curvature to go by.
    """
    try:
        found = BorderedCurvature.of(program, vector, jacobian=True)
    except CurvatureError:
        return None
    if found is None or not found.inside.is_positive:
        return round_scale(program, vector)
    spread = round_root(found.schur)
    return None if spread is None else _with_spread(found, spread)


def scale_by_units(program: Program, vector: Tensor) -> BorderedScale | None:
    """A root of the covariance of units and parameters at a fit.

    Where scales of the law are learnt that of the parameters is by the evidence.

    Args:
        program: the model with its data.
        vector: of the values fitted.

    Returns:
        ``None`` where no law links units, or these have no maximum there.
    """
    found = BorderedCurvature.of(program, vector, jacobian=True)
    if found is None or not found.inside.is_positive:
        return None
    problem, curvature = found.problem, found.schur
    if Scales(problem).any:
        w, v = problem.packed(program.coordinates.unpack(vector))
        curvature = curvature_of_evidence(problem, v, w, jacobian=True)
    spread = round_root(_at_least_one(curvature, problem.theta))
    return None if spread is None else _with_spread(found, spread)


def _at_least_one(curvature: Tensor, coordinates: Coordinates) -> Tensor:
    """Curvature under which no logarithm or log-odds is further from its mode.

    That of a scale which has run to 0 has next to none of its own, nor has one that
    nothing is known of.
    """
    own = curvature.diagonal()
    low = own <= 0
    for name, piece in coordinates.slices.items():
        if not coordinates.is_unbounded[name]:
            low[piece] |= own[piece] < 1
    return curvature + torch.where(low, 1 - own, 0.0).diag_embed()


def _with_spread(found: BorderedCurvature, spread: Tensor) -> BorderedScale:
    solved, _ = schur_complement(*found[1:])
    return BorderedScale(found.problem.parts, Bordered(found.inside, solved, spread))


def log_volume(scale: Scale) -> float:
    """Log determinant of a root, positive or not."""
    if isinstance(scale, BorderedScale):
        return float(scale.log_volume)
    return float(torch.linalg.slogdet(scale).logabsdet)


def unscaled(scale: Scale, moves: Tensor) -> Tensor:
    """Round coordinates (*batch, size) of moves of the vector."""
    if isinstance(scale, BorderedScale):
        return scale.solved(moves)
    found: Tensor = torch.linalg.solve(scale, moves.mT).mT
    return found
