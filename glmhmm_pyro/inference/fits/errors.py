"""What a fit says of how well its parameters are known."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri, stdtrit

from glmhmm_pyro.arguments import one_of
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.displays import with_level
from glmhmm_pyro.inference.curvature import uncertainty
from glmhmm_pyro.inference.curvature.intervals import named_intervals
from glmhmm_pyro.inference.curvature.sandwich import ROBUST
from glmhmm_pyro.inference.curvature.uncertainty import (
    StandardErrors,
    check_weights,
    warn_of,
)
from glmhmm_pyro.inference.draws.diagnostics import diagnose
from glmhmm_pyro.inference.program.by_site import BySite
from glmhmm_pyro.inference.program.labels import named_draws
from glmhmm_pyro.inference.program.program import Data, Program
from glmhmm_pyro.inference.program.refusals import check_spread
from glmhmm_pyro.ranks import ALONE, Ranks, ranks_of
from glmhmm_pyro.sequences.spreading import spread_over_ranks

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from torch.distributed import ProcessGroup

    from glmhmm_pyro.inference.fits.fit import Fit


@usual_modes()
def standard_errors(
    fit: "Fit[Data]",
    data: Data | None = None,
    *,
    robust: str | None = None,
    process_group: "ProcessGroup | str | None" = None,
) -> "dict[str, xr.DataArray]":
    r"""Standard errors, with the names and axes of :attr:`parameters`.

    .. math:: \mathrm{se}(f) = \sqrt{\nabla f^\top (-H)^{-1} \nabla f}

    H holds the exact second derivatives of the log-joint, states summed out, by the
    unconstrained coordinates: observed information, mapped to the values by the
    delta method. Reference rows have 0. What has no standard error is NaN and
    named in a warning: values at the border of their support, where the log-joint
    is not quadratic, and those that data and priors do not determine.

    Of weights that a law links from unit to unit (:func:`gh.Varying`) H is never
    formed: it is block-tridiagonal, with the parameters for a border, and the errors
    take time and memory in proportion to the number of units. Such a fit maximises the
    evidence, whose second derivatives by the parameters take the place of the
    log-joint's, and errors of weights include what is not known of the parameters.

    These take all sessions for independent and alike. Where animals differ they are too
    small: ``robust="group"`` is the sandwich, with G groups that are independent of
    each other,

    .. math:: (-H)^{-1} B (-H)^{-1}, \quad
        B = \frac{G}{G - 1} \sum_g (s_g - \bar s)(s_g - \bar s)^\top,

    s_g being the gradient of the log-likelihood of a group (Huber 1967; Liang & Zeger
    1986). It needs some ten groups, and of fewer says so.

    Where there is a posterior they are the standard deviations of its draws, as
    ``standard_error`` in :meth:`summary`.

    Args:
        data: what the model was fitted to; a fit with draws needs none.
        robust: ``"group"``, ``"session"`` for groups of one session each, or ``None``.
        process_group: as in :func:`gh.fit`, where the sessions fitted are spread over
            its ranks; ``robust`` is ``None`` then.

    Raises:
        ValueError: a fit without draws is not given its data; second derivatives are
            not finite; or ``robust`` is asked of a fit with draws, or for groups that
            the data do not have, or every group has parameters of its own.

    Warns:
        StandardErrorWarning: there is no standard error of some parameters, or the
            fit is not at a maximum of the log-joint of these data.
    """
    if fit.posterior is not None:
        drawn = _shown_draws(fit, robust)
        return BySite((n, d.std(("chain", "draw"), ddof=1)) for n, d in drawn)
    found = _standard_errors(fit, _required_data(fit, data), robust, process_group)
    warn_of(found.notes + fit.unbounded)
    return found.errors


@usual_modes()
def covariance(
    fit: "Fit[Data]",
    data: Data | None = None,
    parameter: str = "emissions.weights",
    *,
    robust: str | None = None,
    process_group: "ProcessGroup | str | None" = None,
) -> "xr.DataArray":
    """Covariance of the weights within every row, as in :meth:`standard_errors`.

    Its axes are those of ``parameters[parameter]``, and ``other_covariate``. Where
    there is a posterior it is that of the draws.

    Args:
        data: what the model was fitted to; a fit with draws needs none.
        parameter: name of weights by covariate.
        robust, process_group: see :meth:`standard_errors`.
    """
    if fit.posterior is not None:
        return _covariance_of(dict(_shown_draws(fit, robust)), parameter)
    data = _required_data(fit, data)
    with ranks_of(process_group).together() as ranks:
        program, robust = _program_of_fit(fit, data, ranks), _checked_robust(
            robust, ranks
        )
        arguments = (program, fit.params, fit.labels, parameter, robust)
        found, notes = uncertainty.covariance(*arguments)
    warn_of(notes + fit.unbounded)
    return found


@usual_modes()
def summary(
    fit: "Fit[Data]",
    data: Data | None = None,
    *,
    robust: str | None = None,
    process_group: "ProcessGroup | str | None" = None,
) -> "pd.DataFrame":
    """Every parameter on a row of its own: site, the names of its axes, ``estimate``.

    Where there is a posterior, the estimate is its mean, and further columns are
    ``standard_error``, the standard deviation of the draws, and their 2.5 % and 97.5 %
    quantiles, ``lower`` and ``upper``; ``attrs["notes"]`` are the fit's, which say of
    several modes or of chains that have not mixed. Another fit has standard errors in
    ``fit.summary(data)`` alone. ``attrs["level"]`` is that of the intervals, 0.95.

    Args:
        data: what the model was fitted to, for a fit without a posterior; adds the
            columns ``standard_error``, ``lower`` and ``upper``. Intervals are 1.96
            standard errors wide to either side on a scale without borders: log-odds
            for probabilities, logarithms for positive numbers, Fisher's z for
            correlations. At a border of the support they are NaN. Of those in
            ``benchmarks/intervals.py`` (two states, 1500 choices) weights' held the
            truth in 95.2 +- 0.9 % of cases, stay probabilities' in 97.5 +- 0.9 %,
            first probabilities' in 99.0 +- 0.7 %.
        robust: beside ``data``, for a fit without a posterior; see
            :meth:`standard_errors`. The intervals are then those of Student's t with as
            many degrees of freedom as there are groups, less one. Of those in
            ``benchmarks/animals.py`` (20 animals whose biases differ) weights' held the
            truth in 94.0 +- 2.4 % of cases, where the others did in 77.8 +- 4.2 %.
        process_group: see :meth:`standard_errors`.

    Raises:
        ValueError: as :meth:`standard_errors` does, or ``robust`` is asked of a fit
            with draws, or without ``data``.

    Warns:
        StandardErrorWarning: as :meth:`standard_errors` does, which names them.
    """
    found = None
    if data is None or fit.posterior is not None:
        _refuse_robust(fit, robust)
    if data is not None and fit.posterior is None:
        found = _standard_errors(fit, data, robust, process_group)
        warn_of(found.notes + fit.unbounded)
    import pandas as pd

    frames = []
    for name, array in fit.parameters.items():
        shown = array.rename("estimate").expand_dims("single")
        frame = shown.to_dataframe().reset_index().drop(columns="single")
        # Numbers of states stay whole where other rows have no state.
        frame = frame.astype({str(dim): object for dim in array.dims})
        frame.insert(0, "parameter", name)
        frames.append(frame)
    table = pd.concat(frames, ignore_index=True)
    table.insert(len(table.columns) - 1, "estimate", table.pop("estimate"))
    table = table.astype({c: object for c in table.columns[1:-1]})
    table = table.fillna(dict.fromkeys(table.columns[1:-1], ""))
    if fit.posterior is not None:
        named = named_draws(fit.model, fit.draws, fit.labels).values()
        flat = [a.values.reshape(a.shape[0] * a.shape[1], -1) for a in named]
        draws = np.concatenate(flat, 1)
        table["estimate"] = draws.mean(0)
        table["standard_error"] = draws.std(0, ddof=1)
        table["lower"], table["upper"] = np.quantile(draws, (0.025, 0.975), 0)
        table = with_level(table)
        table.attrs["notes"] = fit.notes
    elif found is not None:
        errors = [array.values.ravel() for array in found.errors.values()]
        wide = {name: e * _widening(found) for name, e in found.errors.items()}
        ends = named_intervals(fit.parameters, wide, found.supports).values()
        lower, upper = ([pair[i].ravel() for pair in ends] for i in range(2))
        table["standard_error"] = np.concatenate(errors)
        table["lower"], table["upper"] = map(np.concatenate, (lower, upper))
        table = with_level(table)
    return table


def diagnostics(fit: "Fit") -> "pd.DataFrame":
    """Mean, sd, R-hat and effective sample sizes of every number of the draws."""
    if fit.posterior is None:
        raise ValueError(
            f"fit must have draws to be diagnosed, got one by {fit.method}; fit "
            'by method="nuts"'
        )
    return diagnose(fit.posterior.draws)


def _standard_errors(
    fit: "Fit[Data]",
    data: Data,
    robust: str | None,
    process_group: "ProcessGroup | str | None",
) -> StandardErrors:
    with ranks_of(process_group).together() as ranks:
        program, robust = _program_of_fit(fit, data, ranks), _checked_robust(
            robust, ranks
        )
        return uncertainty.standard_errors(program, fit.params, fit.labels, robust)


def _refuse_robust(fit: "Fit", robust: str | None) -> None:
    """Raise a ValueError if it is asked of draws, or without data."""
    if _checked_robust(robust, ALONE) is not None:
        what = "without data" if fit.posterior is None else "for a fit with draws"
        raise ValueError(
            f"robust must be None {what}, for it is about standard errors at a "
            f"maximum, got {robust!r}; leave it out, or give a fit by EM or MAP and "
            "its data"
        )


def _shown_draws(
    fit: "Fit", robust: str | None
) -> "Iterable[tuple[str, xr.DataArray]]":
    """Draws of every parameter, by name, as it is shown."""
    _refuse_robust(fit, robust)
    return named_draws(fit.model, fit.draws, fit.labels).items()


def _covariance_of(draws: "dict[str, xr.DataArray]", parameter: str) -> "xr.DataArray":
    """Covariance over draws within every row of a parameter."""
    import xarray as xr

    known = [name for name, array in draws.items() if array.dims[-1:] == ("covariate",)]
    check_weights(parameter, known)
    array = draws[parameter]
    moves = array - array.mean(("chain", "draw"))
    other = moves.rename(covariate="other_covariate")
    number = array.sizes["chain"] * array.sizes["draw"]
    found = xr.dot(moves, other, dim=("chain", "draw")) / (number - 1)
    return found.transpose(*array.dims[2:], "other_covariate")


def _required_data(fit: "Fit", data: Data | None) -> Data:
    """The data of a fit without draws, if they were given."""
    if data is None:
        raise ValueError(
            "data must be what the model was fitted to, for a fit without draws has no "
            f"standard errors of its own, got None for one by {fit.method}; give the "
            "data, or fit by method='laplace'"
        )
    return data


def _checked_robust(robust: str | None, ranks: Ranks) -> str | None:
    """What is independent of the others, if it may be asked for."""
    if robust is not None and ranks is not ALONE:
        raise ValueError(
            f"robust must be None over a process_group, got {robust!r}; join the data "
            "in one process for it"
        )
    return None if robust is None else one_of("robust", robust, ROBUST)


def _widening(found: StandardErrors) -> float:
    """How much wider an interval of Student's t is than a normal one, of few groups."""
    if found.num_units is None:
        return 1.0
    return float(stdtrit(found.num_units - 1, 0.975) / ndtri(0.975))


def _program_of_fit(fit: "Fit[Data]", data: Data, ranks: Ranks) -> Program:
    """The model with the data that it was fitted to."""
    laid_out: Any = fit.as_fitted(data)
    if ranks is not ALONE:
        check_spread(fit.model, laid_out, ranks)
        laid_out = spread_over_ranks(laid_out, ranks)
    return Program.of(fit.model, laid_out).in_own_units()
