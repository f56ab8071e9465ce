"""Information about the coordinates of a program: minus a Hessian, diagonalised.

Coordinates of probabilities break a stick, piece after piece, so that what one has
depends on the order of states. What is at a border, and what data leave open, is told
by log-odds of each against the largest of its row instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import IndependentTransform, StickBreakingTransform
from torch.nn.functional import logsigmoid, pad

from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.program.coordinates import Coordinates
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.priors.partly import Completed

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


class ValueSpread(NamedTuple):
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
        steps: moves of the coordinates, one in a column, of equal information, by which
            directions are told, shape (size, size).
        missing: the other directions, shape (size, any), by what is said of them, in
            such steps.
    """

    factor: Tensor
    log_det: float
    steps: Tensor
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
        slope: Tensor | None = None,
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
            slope: of the density by these; by default that of the program.
        """
        border = torch.zeros_like(vector)
        for name, piece in program.coordinates.slices.items():
            if not jacobian and not program.coordinates.is_unbounded[name]:
                border[piece] = _AT_BORDER
        places = torch.arange(len(vector)) if places is None else places

        def slope_at() -> Tensor:
            if slope is None:
                return program.evaluated(vector, jacobian).slope
            return torch.zeros_like(vector).index_put((places,), slope)

        moves = torch.eye(len(places), dtype=vector.dtype)
        if not jacobian:
            moves, bends = _by_log_odds(program.coordinates, vector, places, slope_at)
            matrix = moves.T @ matrix @ moves + bends
        border, own = border[places], matrix.diagonal().abs()
        part = max(_NO_INFORMATION, rounding)
        largest = float(own.max()) if len(own) else 0.0
        least = torch.full_like(own, part * largest)
        # In other units than the others', little may be enough.
        little = (own > border) & (own <= least) & (rounding == 0)
        for number in little.nonzero().flatten().tolist():
            step = torch.zeros_like(vector)
            step[places] = own[number].rsqrt() * moves[:, number]
            if _is_quadratic(program, vector, step, jacobian):
                least[number] = 0.0
        singular = max(_SINGULAR, rounding**0.5)
        return cls._of(matrix, moves, own, border, least, singular)

    @classmethod
    def _of(
        cls,
        matrix: Tensor,
        moves: Tensor,
        own: Tensor,
        border: Tensor,
        least: Tensor,
        singular: float,
    ) -> "Information":
        """From minus a Hessian, and what moves have that are not at a border.

        Args:
            matrix: minus the second derivatives by moves.
            moves: of the coordinates, one in a column.
            own: information about each.
            border: up to which it is at a border.
            least: up to which it has none.
            singular: part of what their moves have up to which directions are flat.
        """
        absent = own <= torch.maximum(border, least)
        at_border = absent & (border > 0)
        units = torch.where(absent, torch.ones_like(own), own).rsqrt()
        kept = (~absent).nonzero().flatten()
        steps, scaled = moves * units, units[:, None] * matrix * units
        values, vectors = torch.linalg.eigh(scaled[kept][:, kept])
        basis = matrix.new_zeros(len(matrix), len(kept))
        basis[kept] = vectors
        axes, known = torch.eye(len(matrix), dtype=matrix.dtype), values > singular
        flat = [axes[:, absent & ~at_border], basis[:, values.abs() <= singular]]
        root = basis[:, known] * values[known].rsqrt() @ basis[:, known].T
        return cls(
            factor=steps @ root,
            log_det=float(values[known].log().sum() - 2 * units[kept].log().sum()),
            steps=steps,
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

    def spread(self, program: Program, vector: Tensor, name: str) -> ValueSpread:
        """How far the user's values of a site are known.

        Args:
            program: that of :meth:`of`.
            vector: the point.
            name: of the site.
        """
        return self.spread_by(*value_slopes(program, vector, name))

    def spread_by(self, piece: Tensor, slopes: Tensor) -> ValueSpread:
        """How far values are known.

        Args:
            piece: numbers of the coordinates that they depend on.
            slopes: their derivatives by these, shape (*shape, numbers).
        """
        in_steps, shares = slopes @ self.steps[piece], {}
        total = in_steps.square().sum(-1)
        for reason, directions in self.missing.items():
            along = (in_steps @ directions).square().sum(-1)
            # What nothing moves is at a border, such as a probability of 1.
            share = torch.where(total > 0, along / total, float(reason == BORDER))
            shares[reason] = share
        return ValueSpread(slopes @ self.factor[piece], shares)


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


def _by_log_odds(
    coordinates: Coordinates,
    vector: Tensor,
    places: Tensor,
    slope_at: Callable[[], Tensor],
) -> tuple[Tensor, Tensor]:
    """Moves of coordinates by log-odds against the largest probability of each row.

    Args:
        coordinates: of the program.
        vector: the point, shape (size,).
        places: numbers of the coordinates, those of a site together or none of them.
        slope_at: finds the slope of the log density there, shape (size,).

    Returns:
        Derivatives of these coordinates by the log-odds, of all else by themselves,
        (places, places), and minus second derivatives, times the slope, which are not
        0 short of a maximum.
    """
    moves = torch.eye(len(places), dtype=vector.dtype)
    bends, slope, here = torch.zeros_like(moves), None, {*places.tolist()}
    for name, piece in coordinates.slices.items():
        start = piece.start
        for size in _sizes_of_rows(coordinates, name) if start in here else ():
            slope = slope_at() if slope is None else slope
            first = int(torch.searchsorted(places, start))
            own, row = slice(start, start + size), slice(first, first + size)
            moves[row, row], shares = _row_moves(vector[own])
            taken = (slope[own] @ shares).diag()
            bends[row, row] = taken - shares.T @ (slope[own, None] * shares)
            start += size
    return moves, bends


def _sizes_of_rows(coordinates: Coordinates, name: str) -> list[int]:
    """How many coordinates each row of a site's probabilities has; none of others."""
    transform, shape = coordinates.transforms[name], coordinates.shapes[name]
    while isinstance(transform, IndependentTransform):
        transform = transform.base_transform
    if isinstance(transform, StickBreakingTransform):
        return [shape[-1]] * shape[:-1].numel()
    if isinstance(transform, Completed) and transform.support.is_shares:
        return [len(places) - 1 for places, _ in transform.rows]
    return []


def _row_moves(sticks: Tensor) -> tuple[Tensor, Tensor]:
    r"""Derivatives of one row, and shares of each in what follows a piece.

    .. math:: u_k = \log p_k - \log \sum_{i > k} p_i
    """
    number = len(sticks)
    odds = sticks - torch.arange(number, 0, -1).to(sticks).log()
    kept, left = pad(logsigmoid(odds), (0, 1)), pad(logsigmoid(-odds).cumsum(0), (1, 0))
    logs = kept + left
    follows = torch.ones(number, number + 1, dtype=torch.bool).triu(1)
    shares = torch.where(follows, logs, -torch.inf).softmax(-1)
    moves = pad(torch.eye(number, dtype=sticks.dtype), (0, 1)) - shares
    largest = logs.argmax() if number else 0
    others = torch.arange(number + 1) != largest
    return moves[:, others], shares[:, others]
