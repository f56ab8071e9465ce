"""Information about the coordinates of a program: minus a Hessian, diagonalised."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.program.program import Program

# A coordinate with less than this part of the largest information has none beyond
# rounding, and so has a direction with less than the next of what its coordinates have
# one by one.
_NO_INFORMATION = 1e-12
_SINGULAR = 1e-10

# Information about a logarithm or log-odds below which its value is at the border of
# its support: a normal that is ten units wide there approximates nothing.
_AT_BORDER = 1e-2

BORDER, FLAT, RISING = (
    "at the border of their support",
    "not determined by data and priors",
    "not at a maximum of the log-joint",
)


class Spread(NamedTuple):
    """How far values of a site are known.

    Attributes:
        directions: moves of the values, shape (*shape, any). Sums over the last axis of
            products are covariances, of numbers of one unit where units are apart.
        shares: by what is said of missing directions, their share in what a value
            depends on, shape (*shape).
    """

    directions: Tensor
    shares: dict[str, Tensor]


@dataclass(frozen=True)
class Information:
    """Minus a Hessian, diagonalised in units that give coordinates equal information.

    Attributes:
        factor: shape (size, size); factor @ factor.T is the inverse, the covariance,
            in all directions that have a quadratic maximum. It is the symmetric root,
            in the units: rounding moves it no more than the Hessian, while eigenvectors
            are arbitrary where eigenvalues coincide.
        log_det: log determinant in these.
        units: step of every coordinate in which directions are compared, shape (size,).
        missing: the other directions, shape (size, any), by what is said of them.
    """

    factor: Tensor
    log_det: float
    units: Tensor
    missing: dict[str, Tensor]

    @classmethod
    def of(cls, program: Program, vector: Tensor, jacobian: bool) -> "Information":
        """Information about a program's coordinates at a point; see :func:`hessian`.

        Values at a border are looked for only where the density is that of the values,
        without the Jacobian: a density of ``vector`` has no border.
        """
        matrix = -hessian(program, vector, jacobian)
        return cls.of_matrix(program, vector, matrix, jacobian)

    @classmethod
    def of_matrix(
        cls,
        program: Program,
        vector: Tensor,
        matrix: Tensor,
        jacobian: bool,
        rounding: float = 0.0,
        places: Tensor | None = None,
        own: Tensor | None = None,
    ) -> "Information":
        """Information about a program's coordinates, from minus the Hessian.

        Args:
            program: the model with its data.
            vector: the point, shape (size,).
            matrix: minus the Hessian there, shape (size, size).
            jacobian: see :meth:`of`.
            rounding: part of the largest information by which entries may be wrong; a
                direction with so little, among coordinates of as much, is flat.
            places: coordinates that the matrix is about, all by default.
            own: information about each where all others are held, the matrix's
                diagonal by default.
        """
        border = torch.zeros_like(vector)
        for name, piece in program.coordinates.slices.items():
            if not jacobian and not program.coordinates.is_unbounded[name]:
                border[piece] = _AT_BORDER
        places = torch.arange(len(vector)) if places is None else places
        border = border[places]
        own = matrix.diagonal().abs() if own is None else own
        part = max(_NO_INFORMATION, rounding)
        largest = float(own.max()) if len(own) else 0.0
        least = torch.full_like(own, part * largest)
        # In other units than the others', little may be enough.
        little = (own > border) & (own <= least) & (rounding == 0)
        for number in little.nonzero().flatten().tolist():
            step = torch.zeros_like(vector)
            step[places[number]] = own[number].rsqrt()
            if _is_quadratic(program, vector, step, jacobian):
                least[number] = 0.0
        return cls._of(matrix, border, least, max(_SINGULAR, rounding**0.5), own)

    @classmethod
    def _of(
        cls,
        matrix: Tensor,
        border: Tensor,
        least: Tensor | None = None,
        singular: float = _SINGULAR,
        own: Tensor | None = None,
    ) -> "Information":
        """From minus a Hessian, and what coordinates have that are not at a border.

        Those with no more than ``least`` have none, directions with no more than
        ``singular`` of what their coordinates have are flat.
        """
        own = matrix.diagonal().abs() if own is None else own
        least = _NO_INFORMATION * own.max() if least is None else least
        absent = own <= torch.maximum(border, least)
        at_border = absent & (border > 0)
        units = torch.where(absent, torch.ones_like(own), own).rsqrt()
        kept = (~absent).nonzero().flatten()
        scaled = units[:, None] * matrix * units
        values, vectors = torch.linalg.eigh(scaled[kept][:, kept])
        basis = matrix.new_zeros(len(matrix), len(kept))
        basis[kept] = vectors
        axes, known = torch.eye(len(matrix), dtype=matrix.dtype), values > singular
        flat = [axes[:, absent & ~at_border], basis[:, values.abs() <= singular]]
        root = basis[:, known] * values[known].rsqrt() @ basis[:, known].T
        return cls(
            factor=units[:, None] * root,
            log_det=float(values[known].log().sum() - 2 * units[kept].log().sum()),
            units=units,
            missing={
                BORDER: axes[:, at_border],
                FLAT: torch.cat(flat, 1),
                RISING: basis[:, values < -singular],
            },
        )

    @property
    def is_complete(self) -> bool:
        """Whether every direction has a quadratic maximum."""
        return not any(directions.numel() for directions in self.missing.values())

    def rise(self, slope: Tensor) -> float:
        """Nats that a maximum is above the point, by the slope there, shape (size,)."""
        return float((slope @ self.factor).square().sum() / 2)

    def spread(self, program: Program, vector: Tensor, name: str) -> Spread:
        """How far the user's values of a site are known.

        Args:
            program: that of :meth:`of`.
            vector: the point.
            name: of the site.
        """
        return self.spread_by(*value_slopes(program, vector, name))

    def spread_by(self, piece: Tensor, slopes: Tensor) -> Spread:
        """How far values are known.

        Args:
            piece: numbers of the coordinates that they depend on.
            slopes: their derivatives by these, shape (*shape, numbers).
        """
        in_units, shares = slopes * self.units[piece], {}
        total = in_units.square().sum(-1)
        for reason, directions in self.missing.items():
            along = (in_units @ directions[piece]).square().sum(-1)
            # What nothing moves is at a border, such as a probability of 1.
            share = torch.where(total > 0, along / total, float(reason == BORDER))
            shares[reason] = share
        return Spread(slopes @ self.factor[piece], shares)


def _is_quadratic(
    program: Program, vector: Tensor, step: Tensor, jacobian: bool
) -> bool:
    """Whether a step of one standard deviation to either side costs half a nat."""
    with torch.no_grad():
        before, here, after = (
            float(program.log_density(vector + sign * step, jacobian))
            for sign in (-1.0, 0.0, 1.0)
        )
    return 0.25 < here - (before + after) / 2 < 1.0


def value_slopes(program: Program, vector: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The coordinates of a site's user values, and derivatives by these, last axis."""
    coordinates = program.coordinates
    numbers = torch.arange(coordinates.size)
    sources = program.units.sources(name)
    piece = torch.cat([numbers[coordinates.slices[s]] for s in sources])

    def value(free: Tensor) -> Tensor:
        return program.users_values(vector.index_put((piece,), free))[name]

    return piece, torch.autograd.functional.jacobian(value, vector[piece])
