"""Roots of a covariance, by which a log density becomes round: dense, or by units."""

from typing import NamedTuple, Union

import torch
from torch import Tensor

from glmhmm_pyro.banded import Bordered, schur_complement
from glmhmm_pyro.inference.curvature.bordered_information import BorderedCurvature
from glmhmm_pyro.inference.curvature.curvature import (
    CurvatureError,
    round_root,
    round_scale,
)
from glmhmm_pyro.inference.marginal.vector_parts import VectorParts
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
    def log_volume(self) -> float:
        """Log determinant."""
        shared = torch.linalg.slogdet(self.root.spread).logabsdet
        return float(shared - self.root.inside.log_det / 2)

    def __rmatmul__(self, slope: Tensor) -> Tensor:
        """A slope (size,) seen from round coordinates."""
        units, shared = self.root.halfway(*self.parts.slopes_apart(slope))
        return torch.cat([units[self._is_read], shared])

    def moved(self, points: Tensor) -> Tensor:
        """Moves (*batch, size) of the vector, from those of round coordinates."""
        is_read, number = self._is_read, len(self.parts.places)
        units, shared = points.split([points.shape[-1] - number, number], -1)
        noise = points.new_zeros(*points.shape[:-1], *is_read.shape)
        noise[..., is_read] = units
        return self.parts.joined(*self.root.draw(noise, shared))

    def solved(self, moves: Tensor) -> Tensor:
        """Round coordinates (*batch, size) of moves of the vector."""
        found = []
        for move in moves.reshape(-1, moves.shape[-1]):
            units, shared = self.root.whiten(*self.parts.apart(move))
            found.append(torch.cat([units[self._is_read], shared]))
        return torch.stack(found).reshape(moves.shape)

    @property
    def _is_read(self) -> Tensor:
        """Which numbers of units are some latent's, (units, size)."""
        shape = self.root.inside.roots.shape[:-1]
        return self.parts.layout.is_read.expand(shape)


class _Transposed(NamedTuple):
    scale: BorderedScale

    def __rmatmul__(self, points: Tensor) -> Tensor:
        return self.scale.moved(points)


Scale = Union[Tensor, BorderedScale]


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
    solved, schur = schur_complement(*found[1:])
    spread = round_root(schur)
    if spread is None:
        return None
    return BorderedScale(found.problem.parts, Bordered(found.inside, solved, spread))


def log_volume(scale: Scale) -> float:
    """Log determinant of a root, positive or not."""
    if isinstance(scale, BorderedScale):
        return scale.log_volume
    return float(torch.linalg.slogdet(scale).logabsdet)


def unscaled(scale: Scale, moves: Tensor) -> Tensor:
    """Round coordinates (*batch, size) of moves of the vector."""
    if isinstance(scale, BorderedScale):
        return scale.solved(moves)
    found: Tensor = torch.linalg.solve(scale, moves.mT).mT
    return found
