"""Filters shown on lags in time units, from the weights of their covariates."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from glmhmm_pyro.arguments import real_number
from glmhmm_pyro.displays import with_level

from .terms import Term

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

# Standard deviations around the mean that hold 95 % of a normal distribution.
NORMAL_95 = 1.959963984540054
SAMPLES = ("chain", "draw")


def filter_frame(
    terms: Sequence[Term],
    weights: "xr.DataArray",
    bin_width: float,
    covariance: "xr.DataArray | None",
) -> "pd.DataFrame":
    """A row for every term, row of weights and lag; see :meth:`Design.filters`."""
    import pandas as pd

    _check_bin_width(weights, bin_width, covariance)
    frames = []
    for term in terms:
        basis = term.basis()
        if basis is None:
            continue
        columns = _positions(weights, term)
        rest = [dim for dim in weights.dims if dim != "covariate"]
        values = weights.transpose(*rest, "covariate").values[..., columns]
        found = {"estimate": values @ basis.values.T}
        axes = [dim for dim in rest if dim not in SAMPLES]
        if len(axes) < len(rest):
            order = [rest.index(dim) for dim in (*SAMPLES, *axes) if dim in rest]
            draws = np.moveaxis(found["estimate"], order, range(len(order)))
            found = _summary_of_draws(
                draws.reshape(-1, *draws.shape[len(rest) - len(axes) :])
            )
        elif covariance is not None:
            within = np.asarray(covariance)[..., columns, :][..., columns]
            found |= _of_covariance(found["estimate"], within, basis.values)
        coords = [weights[dim].values for dim in axes]
        index = pd.MultiIndex.from_product(
            [*coords, basis.lags * bin_width], names=[*axes, "lag"]
        )
        frame = pd.DataFrame({k: v.ravel() for k, v in found.items()}, index)
        frame = frame.reset_index()
        frame.insert(0, "term", term.label)
        frames.append(frame)
    if not frames:
        raise ValueError(
            "a Design must have a filter, such as Lags or RaisedCosine, to be shown on "
            f"lags, got {', '.join(term.label for term in terms)}; add one of them"
        )
    table = pd.concat(frames, ignore_index=True)
    return with_level(table) if "lower" in table else table


def _check_bin_width(
    weights: "xr.DataArray", bin_width: float, covariance: "xr.DataArray | None"
) -> None:
    if "covariate" not in getattr(weights, "dims", ()):
        raise TypeError(
            "weights must be an xarray.DataArray with an axis 'covariate', such as "
            f"fit.parameters['emissions.weights'], got {type(weights).__name__}"
            "; give that"
        )
    real_number("bin_width", bin_width, 0.0, fix="give the width of a step")
    if covariance is None:
        return
    if weights.dims[-1:] != ("covariate",) or set(SAMPLES) & set(weights.dims):
        raise ValueError(
            "covariance must come with weights whose last axis is 'covariate', and "
            f"which are no draws, got axes {weights.dims}"
            "; give both, from fit.parameters and fit.covariance"
        )
    wanted = (*weights.shape, weights.shape[-1])
    if np.shape(covariance) != wanted:
        raise ValueError(
            f"covariance must have shape {wanted}, got {np.shape(covariance)}"
            "; take fit.covariance of the same parameter"
        )


def _positions(weights: "xr.DataArray", term: Term) -> list[int]:
    """Where a term's columns stand among the covariates."""
    known = list(map(str, weights["covariate"].values))
    missing = [name for name in term.names() if name not in known]
    if missing:
        raise ValueError(
            f"weights must name the covariates of the design, got no {missing[0]!r} "
            f"among {', '.join(known[:12])}; take those of a fit to the design's data"
        )
    return [known.index(name) for name in term.names()]


def _summary_of_draws(draws: np.ndarray) -> dict[str, np.ndarray]:
    """Mean, standard deviation and quantiles of draws (draws, ..., lags)."""
    lower, upper = np.quantile(draws, (0.025, 0.975), axis=0)
    return {
        "estimate": draws.mean(0),
        "standard_error": draws.std(0, ddof=1),
        "lower": lower,
        "upper": upper,
    }


def _of_covariance(
    values: np.ndarray, covariance: np.ndarray, basis: np.ndarray
) -> dict[str, np.ndarray]:
    """Standard errors of a linear map: sqrt(diag(B C B'))."""
    variance = np.einsum("lj,...jk,lk->...l", basis, covariance, basis)
    errors = np.sqrt(variance.clip(min=0))
    return {
        "standard_error": errors,
        "lower": values - NORMAL_95 * errors,
        "upper": values + NORMAL_95 * errors,
    }
