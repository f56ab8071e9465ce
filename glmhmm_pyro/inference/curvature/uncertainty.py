"""How well data and priors determine the parameters: information, standard errors."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from glmhmm_pyro.callers import warn_caller
from glmhmm_pyro.inference.curvature.bordered_information import (
    AnyInformation,
    information_at,
)
from glmhmm_pyro.inference.curvature.information import Information
from glmhmm_pyro.inference.curvature.sandwich import (
    check_independent_units,
    few_units_note,
    robust_factor,
)
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.labels import Labels, named_draws, named_parameters
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.status import StandardErrorWarning
from glmhmm_pyro.priors.answers import held

if TYPE_CHECKING:
    import xarray as xr

# Share of the missing directions in what a value depends on that makes it unknown.
_UNKNOWN = 1e-2

# Nats that a maximum of the log-joint may be above the fit.
OFF = 0.1

# Names that a sentence can hold.
_MOST_NAMES = 6


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
        cls, program: Program, vector: Tensor, information: AnyInformation
    ) -> "Uncertainty":
        """From the information about the coordinates at a point."""
        errors: Params = {}
        shares: dict[str, Params] = {reason: {} for reason in information.missing}
        for name in program.coordinates.slices:
            spread = information.spread(program, vector, name)
            known, total = held(program.priors[name]), torch.zeros(())
            for reason, share in spread.shares.items():
                share = share if known is None else share.masked_fill(known, 0.0)
                shares[reason][name], total = share, total + share
            unknown = total > _UNKNOWN
            errors[name] = spread.directions.norm(dim=-1).masked_fill(
                unknown, torch.nan
            )
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
    spread = information.spread(program, program.packed(params), name)
    directions = spread.directions.movedim(-1, 0)[None]
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
) -> tuple[AnyInformation, StandardErrors]:
    """The information at the fit, and errors of these sites with notes on them."""
    vector = program.packed(params)
    if robust is not None:
        check_independent_units(program, robust)
    information = information_at(program, vector)
    rise = information.rise(program.evaluated(vector, jacobian=False).slope)
    number = None
    if robust is not None and isinstance(information, Information):
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
