"""How well data and priors determine the parameters: information, standard errors."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from glmhmm_pyro.callers import warn_caller
from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.curvature.sandwich import few_units_note, robust_factor
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.labels import Labels, named_draws, named_parameters
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.status import StandardErrorWarning
from glmhmm_pyro.priors.answers import held

if TYPE_CHECKING:
    import xarray as xr

# A coordinate with less than this part of the largest information has none beyond
# rounding, and so has a direction with less than the next of what its coordinates have
# one by one.
_NO_INFORMATION = 1e-12
_SINGULAR = 1e-10

# Information about a logarithm or log-odds below which its value is at the border of
# its support: a normal that is ten units wide there approximates nothing.
_AT_BORDER = 1e-2

# Share of the missing directions in what a value depends on that makes it unknown.
_UNKNOWN = 1e-2

# Nats that a maximum of the log-joint may be above the fit.
OFF = 0.1

# Names that a sentence can hold.
_MOST_NAMES = 6

_BORDER, FLAT, RISING = (
    "at the border of their support",
    "not determined by data and priors",
    "not at a maximum of the log-joint",
)


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
    ) -> "Information":
        """Information about a program's coordinates, from minus the Hessian.

        Args:
            program: the model with its data.
            vector: the point, shape (size,).
            matrix: minus the Hessian there, shape (size, size).
            jacobian: see :meth:`of`.
            rounding: part of the largest information by which entries may be wrong; a
                direction with so little, among coordinates of as much, is flat.
        """
        border = torch.zeros_like(vector)
        for name, piece in program.coordinates.slices.items():
            if not jacobian and not program.coordinates.is_unbounded[name]:
                border[piece] = _AT_BORDER
        own = matrix.diagonal().abs()
        part = max(_NO_INFORMATION, rounding)
        least = torch.full_like(own, float(part * own.max()))
        # In other units than the others', little may be enough.
        little = (own > border) & (own <= least) & (rounding == 0)
        for number in little.nonzero().flatten().tolist():
            step = torch.zeros_like(vector)
            step[number] = own[number].rsqrt()
            if _is_quadratic(program, vector, step, jacobian):
                least[number] = 0.0
        return cls._of(matrix, border, least, max(_SINGULAR, rounding**0.5))

    @classmethod
    def _of(
        cls,
        matrix: Tensor,
        border: Tensor,
        least: Tensor | None = None,
        singular: float = _SINGULAR,
    ) -> "Information":
        """From minus a Hessian, and what coordinates have that are not at a border.

        Those with no more than ``least`` have none, directions with no more than
        ``singular`` of what their coordinates have are flat.
        """
        own = matrix.diagonal().abs()
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
                _BORDER: axes[:, at_border],
                FLAT: torch.cat(flat, 1),
                RISING: basis[:, values < -singular],
            },
        )

    @property
    def is_complete(self) -> bool:
        """Whether every direction has a quadratic maximum."""
        return not any(directions.numel() for directions in self.missing.values())


@dataclass(frozen=True)
class Uncertainty:
    """Standard deviations of all values by the delta method, and what is missing.

    Attributes:
        errors: by site, in the shapes of the values; NaN where unknown.
        shares: by what is said of missing directions, then by site: their share in
            what a value depends on.
    """

    errors: Params
    shares: dict[str, Params]

    @classmethod
    def of(
        cls, program: Program, vector: Tensor, information: Information
    ) -> "Uncertainty":
        """From the information about the coordinates at a point."""
        errors: Params = {}
        shares: dict[str, Params] = {reason: {} for reason in information.missing}
        for name, (piece, slopes) in _value_slopes(program, vector).items():
            in_units = slopes * information.units[piece]
            known = held(program.priors[name])
            total = in_units.square().sum(-1)
            for reason, directions in information.missing.items():
                along = (in_units @ directions[piece]).square().sum(-1)
                # What nothing moves is at a border, such as a probability of 1.
                share = torch.where(total > 0, along / total, float(reason == _BORDER))
                share = share if known is None else share.masked_fill(known, 0.0)
                shares[reason][name] = share
            unknown = sum(by_site[name] for by_site in shares.values()) > _UNKNOWN
            error = (slopes @ information.factor[piece]).norm(dim=-1)
            errors[name] = error.masked_fill(unknown, torch.nan)
        return cls(errors, shares)

    def sentences(
        self,
        model: Callable[..., Any],
        labels: Labels,
        sites: list[str] | None = None,
    ) -> list[str]:
        """A sentence for every reason that values of sites are unknown for.

        Args:
            model: for the names of the axes of its sites.
            labels: names along these axes.
            sites: names of the sites; all by default.
        """
        found = []
        for reason, by_site in self.shares.items():
            chosen = {site: by_site[site] for site in sites or by_site}
            names = _largest_shares(named_parameters(model, chosen, labels))
            if names:
                found.append(
                    f"{names} {'is' if ' and ' not in names else 'are'} {reason}"
                )
        return found


class StandardErrors(NamedTuple):
    """Standard errors as a fit's parameters are shown, and what is wrong with them.

    Attributes:
        errors: by site, with the names and axes of the parameters.
        notes: sentences about what is missing or means little.
        supports: where the values of the sites live.
        num_units: number of groups, or sessions, that robust ones are of.
    """

    errors: "dict[str, xr.DataArray]"
    notes: tuple[str, ...]
    supports: dict[str, constraints.Constraint]
    num_units: int | None = None


def standard_errors(
    program: Program, params: Params, labels: Labels, robust: str | None = None
) -> StandardErrors:
    """Standard errors of all values by the curvature of the log-joint.

    Args:
        program: the model with the data it was fitted to.
        params: where the log-joint has its maximum.
        labels: names of the data.
        robust: see :mod:`~glmhmm_pyro.inference.curvature.sandwich`.
    """
    return _errors_at_fit(program, params, labels, robust=robust)[1]


def covariance(
    program: Program,
    params: Params,
    labels: Labels,
    name: str,
    robust: str | None = None,
) -> "tuple[xr.DataArray, tuple[str, ...]]":
    """Covariance of the weights of every row, and what is wrong with it.

    Args:
        program: the model with the data it was fitted to.
        params: where the log-joint has its maximum.
        labels: names of the data.
        name: of a parameter whose last axis is ``covariate``.
        robust: as for :func:`standard_errors`.
    """
    import xarray as xr

    shown = named_parameters(program.model, params, labels)
    fitting = [
        site
        for site, array in shown.items()
        if array.dims[-1:] == ("covariate",)
        and program.coordinates.is_unbounded.get(site)
    ]
    check_weights(name, fitting)
    information, found = _errors_at_fit(program, params, labels, [name], robust)
    piece, slopes = _value_slopes(program, program.packed(params), [name])[name]
    directions = (slopes @ information.factor[piece]).movedim(-1, 0)[None]
    moves = named_draws(program.model, {name: directions}, labels)[name].values[0]
    matrix = np.einsum("k...i,k...j->...ij", moves, moves)
    unknown = np.isnan(found.errors[name].values)
    matrix[unknown[..., :, None] | unknown[..., None, :]] = np.nan
    names = shown[name].coords["covariate"].values
    coords = {**shown[name].coords, "other_covariate": names}
    dims = (*shown[name].dims, "other_covariate")
    return xr.DataArray(matrix, coords, dims), found.notes


def check_weights(name: str, known: list[str]) -> None:
    """Raise a ValueError if no weights by covariate have this name."""
    if name not in known:
        raise ValueError(
            "parameter must name weights by covariate, of which this fit has "
            f"{', '.join(known) or 'none'}, got {name!r}; name one of these"
        )


def _errors_at_fit(
    program: Program,
    params: Params,
    labels: Labels,
    sites: list[str] | None = None,
    robust: str | None = None,
) -> tuple[Information, StandardErrors]:
    """The information at the fit, and errors of these sites with notes on them."""
    vector = program.packed(params)
    information = Information.of(program, vector, jacobian=False)
    slope = program.evaluated(vector, jacobian=False).slope
    rise = float((slope @ information.factor).square().sum() / 2)
    number = None
    if robust is not None:
        factor = robust_factor(program, vector, information.factor, robust)
        information, number = replace(information, factor=factor), factor.shape[-1]
    uncertainty = Uncertainty.of(program, vector, information)
    notes = uncertainty.sentences(program.model, labels, sites)
    if robust is not None and number is not None:
        notes += few_units_note(number, robust)
    if rise > OFF:
        notes.append(
            f"a maximum of the log-joint of these data is about {rise:.2g} nats above "
            "the fit"
        )
    errors = named_parameters(program.model, uncertainty.errors, labels)
    supports = {name: prior.support for name, prior in program.priors.items()}
    return information, StandardErrors(errors, tuple(notes), supports, number)


def warn_of(notes: tuple[str, ...]) -> None:
    """Warn the caller of the public method, once, if there are any notes."""
    if notes:
        warn_caller(
            f"standard errors are missing (NaN) or mean little: {'; '.join(notes)}",
            StandardErrorWarning,
        )


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


def _value_slopes(
    program: Program, vector: Tensor, names: list[str] | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Derivatives of users' values, the last axis by coordinates of these numbers."""
    slopes, coordinates = {}, program.coordinates
    numbers = torch.arange(coordinates.size)
    for name in coordinates.slices if names is None else names:
        sources = program.units.sources(name)
        piece = torch.cat([numbers[coordinates.slices[s]] for s in sources])

        def value(free: Tensor, name: str = name, piece: Tensor = piece) -> Tensor:
            return program.users_values(vector.index_put((piece,), free))[name]

        found = torch.autograd.functional.jacobian(value, vector[piece])
        slopes[name] = (piece, found)
    return slopes


def _largest_shares(shares: "dict[str, xr.DataArray]") -> str:
    """The values with the largest shares, by the names that users read."""
    found = []
    for name, array in shares.items():
        for index in np.argwhere(array.values > _UNKNOWN):
            where = zip(array.dims, index)
            axes = [_axis(array, str(dim), i) for dim, i in where]
            label = f"{name}[{', '.join(axes)}]" if axes else name
            found.append((-array.values[tuple(index)].round(6), label))
    # Sorting is stable: equal shares stay in the order of the parameters.
    labels = [label for _, label in sorted(found, key=lambda pair: pair[0])]
    more = len(labels) - _MOST_NAMES
    shown = labels[:_MOST_NAMES] + ([f"{more} more"] if more > 0 else [])
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def _axis(array: "xr.DataArray", dim: str, index: int) -> str:
    """An index with the name of its axis, where the axis has one."""
    number = str(array[dim].values[index])
    return number if dim.startswith("axis_") else f"{dim}={number}"
