r"""Information about weights of units that a law links, and about all parameters.

Given the parameters, minus the second derivatives by the units' weights are
block-tridiagonal, or dense where states link units, too; the parameters are a border,

.. math:: -\nabla^2 \log p = \begin{pmatrix} H & B \\ B^\top & C \end{pmatrix}.

What is known of a weight follows from the blocks of the inverse: the cost is that of
one dense matrix of a unit's size for every unit, and of one for the parameters.

A fit is a maximum of the evidence, not of the density of weights and parameters
together, which slopes there by the parameters: its second derivatives are others in
other coordinates, such as of states numbered otherwise. Those of the evidence stand in
the place of the Schur complement, which are those of the density at its highest in the
weights, but for the determinant of H.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.banded import Bordered, Factor, schur_complement
from glmhmm_pyro.inference.curvature.curvature import (
    CurvatureError,
    check_finite,
    derivatives_along,
    slope_of,
)
from glmhmm_pyro.inference.curvature.information import (
    BORDER,
    Information,
    ValueSpread,
    value_slopes,
)
from glmhmm_pyro.inference.marginal.law_evidence import (
    NoModeError,
    evidence_bends,
    expand_at_units_mode,
    factorised,
    gradient,
)
from glmhmm_pyro.inference.marginal.problem import MarginalProblem
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.ranks import ALONE


class BorderedCurvature(NamedTuple):
    """Minus the second derivatives of a log density, by units and parameters.

    Attributes:
        problem: where units and parameters stand in the program's vector.
        inside: factor of H.
        border: columns of B, shape (parameters, units, size).
        corner: C, shape (parameters, parameters).
    """

    problem: MarginalProblem
    inside: Factor
    border: Tensor
    corner: Tensor

    @classmethod
    def of(
        cls, program: Program, vector: Tensor, jacobian: bool
    ) -> "BorderedCurvature | None":
        """That of a program at a point.

        Args:
            program: the model with its data.
            vector: the point, shape (size,).
            jacobian: whether the log volume of the transform is included.

        Returns:
            ``None`` where no law links weights of units. The factor is NaN where the
            density is no hill along the units.
        """
        problem = MarginalProblem.of(program) if program.ranks is ALONE else None
        if problem is None:
            return None
        w, v = problem.packed(program.coordinates.unpack(vector))
        with torch.no_grad():
            prior = problem.prior(v)
        blocks = -problem.curvature.hessian(w, v)[2]
        diag, below = prior.precision()
        inside = factorised(blocks, diag, below.diag_embed())
        rows = _rows_of_parameters(problem, vector, jacobian)
        corner = rows[:, problem.parts.places]
        check_finite(torch.cat([corner, rows], 1), problem.theta)
        shape = (len(rows), problem.number, problem.size)
        border = rows.new_zeros(shape)
        for column, row in zip(border, rows):
            column[:] = problem.parts.slopes_apart(row)[0]
        return cls(problem, inside, border, (corner + corner.T) / 2)

    @property
    def schur(self) -> Tensor:
        """The curvature left of the parameters, shape (parameters, parameters)."""
        return schur_complement(self.inside, self.border, self.corner)[1]


@dataclass(frozen=True)
class BorderedInformation:
    """What is known of units and parameters; see :class:`Information`.

    Attributes:
        curvature: minus the second derivatives.
        shared: information about the parameters, the units integrated out.
        whole: root of the covariance of all.
        slope: of the evidence by the parameters.
    """

    curvature: BorderedCurvature
    shared: Information
    whole: Bordered
    slope: Tensor

    @classmethod
    def of(
        cls, program: Program, vector: Tensor, curvature: BorderedCurvature
    ) -> "BorderedInformation":
        """From second derivatives at a point of a program, without the Jacobian."""
        problem, inside, border, corner = curvature
        solved, _ = schur_complement(inside, border, corner)
        w, v = problem.packed(program.coordinates.unpack(vector))
        matrix, slope = curvature_of_evidence(problem, v, w), torch.zeros_like(v)
        if len(v):
            slope = gradient(problem, v, expand_at_units_mode(problem, v, w))
        places = problem.parts.places
        shared = Information.of_matrix(
            program, vector, matrix, jacobian=False, places=places, slope=slope
        )
        return cls(curvature, shared, Bordered(inside, solved, shared.factor), slope)

    @property
    def missing(self) -> dict[str, Tensor]:
        """Directions of the parameters without a quadratic maximum."""
        return self.shared.missing

    def rise(self, slope: Tensor) -> float:
        """Nats that a maximum is above the point, by the slope there, shape (size,)."""
        apart = self.curvature.problem.parts.slopes_apart(slope)
        of_units, of_shared = (
            self.whole.halfway(*apart)[0],
            self.slope @ self.whole.spread,
        )
        return float(of_units.square().sum() + of_shared.square().sum()) / 2

    def spread(self, program: Program, vector: Tensor, name: str) -> ValueSpread:
        """How far the user's values of a site are known; see :class:`Information`."""
        problem = self.curvature.problem
        if name not in problem.names:
            piece, slopes = value_slopes(program, vector, name)
            return self.shared.spread_by(
                torch.searchsorted(problem.parts.places, piece), slopes
            )
        directions = self._moves(name, self._roots.movedim(-1, 0))
        each = self.curvature.inside.diagonal.rsqrt()
        total = self._moves(name, each.diag_embed().movedim(-1, 0)).square().sum(-1)
        shares = {reason: torch.zeros_like(total) for reason in self.missing}
        for reason, found in self._missing_units.items():
            along = self._moves(name, each * found).square().sum(-1)
            shares[reason] = along / total
        return ValueSpread(directions, shares)

    @cached_property
    def _roots(self) -> Tensor:
        """Roots of the covariance of every unit, (units, size, size)."""
        found: Tensor = torch.linalg.cholesky(self.whole.within())
        return found

    @cached_property
    def _missing_units(self) -> dict[str, Tensor]:
        """What missing directions are of units, (any, units, size), where they are.

        In units that give all coordinates equal information, the largest move of a
        direction being 1. At a border parameters are held, and units with them.
        """
        found = {}
        for reason, directions in self.missing.items():
            if reason == BORDER or not directions.numel():
                continue
            moves = (self.shared.steps @ directions).T
            units = -torch.tensordot(moves, self.whole.solved, 1)
            scaled = units * self.curvature.inside.diagonal.sqrt()
            largest = torch.cat([scaled.flatten(1), directions.T], 1).abs().amax(1)
            found[reason] = scaled / largest[:, None, None]
        return found

    def _moves(self, name: str, moves: Tensor) -> Tensor:
        """Moves of the user's values, last axis, from those of units (any, ...)."""
        problem = self.curvature.problem
        own = problem.latents(moves)[name]
        return problem.program.units.moves(name, own).movedim(0, -1)


def curvature_of_evidence(
    problem: MarginalProblem, v: Tensor, w: Tensor, jacobian: bool = False
) -> Tensor:
    """Minus the second derivatives of the evidence by the parameters.

    Raises:
        CurvatureError: next to these the weights have no mode.
    """
    if not len(v):
        return v.new_zeros(0, 0)
    try:
        return evidence_bends(problem, v, w, jacobian)
    except NoModeError as error:
        raise CurvatureError(
            "the evidence must bend where weights that vary were integrated out, got "
            f"that {error} next to the fit; let fewer of them vary, give a learnt "
            "scale a prior, or fit by method='nuts'"
        ) from error


AnyInformation = Information | BorderedInformation


def information_at(program: Program, vector: Tensor) -> AnyInformation:
    """Information about a program's coordinates, by units where a law links them.

    Args:
        program: the model with its data.
        vector: the point, shape (size,).
    """
    found = BorderedCurvature.of(program, vector, jacobian=False)
    if found is None or not found.inside.is_positive:
        return Information.of(program, vector, jacobian=False)
    return BorderedInformation.of(program, vector, found)


def _rows_of_parameters(
    problem: MarginalProblem, vector: Tensor, jacobian: bool
) -> Tensor:
    """Minus the second derivatives by parameters and all coordinates, a row of each."""
    program, point = problem.program, vector.detach().clone().requires_grad_()
    directions = vector.new_zeros(len(problem.parts.places), len(vector))
    directions[torch.arange(len(directions)), problem.parts.places] = 1.0
    if not len(directions):
        return directions
    with torch.enable_grad():
        value = program.log_density(point, jacobian)
        slope = slope_of(value, point, create_graph=True)
    chunks = directions.split(program.num_together)
    rows = [derivatives_along(slope, point, chunk, mapped=True) for chunk in chunks]
    return -torch.cat(rows)
