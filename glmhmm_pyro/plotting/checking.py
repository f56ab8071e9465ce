"""What checks look at: forecasts against what came, residuals, simulations."""

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import betaincinv, ndtri

from glmhmm_pyro.analysis import checks
from glmhmm_pyro.analysis.checks.statistics import autocorrelation
from glmhmm_pyro.arguments import one_of, whole_number
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.style import (
    FAINT,
    INK,
    axes_or_new,
    check_kind,
    hide_frame,
    plain,
    state_colour,
)
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Standard deviations from the mean of a normal law to an end of its middle 95 %.
WIDTH_OF_95 = float(ndtri(0.975))


@picture
def calibration_of_steps(
    fit: Fit, data: Sequences, ax: "Axes | None" = None, *, num_bins: int = 10
) -> "Axes":
    """One-step forecasts against what came, in bins, with intervals of 95 %.

    Args:
        fit: the fit.
        data: the data set.
        ax: where to draw; a new figure by default.
        num_bins: see :func:`glmhmm_pyro.analysis.calibration_of_steps`.

    Raises:
        ValueError: the data are too few to fill a bin.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(range(4))
        >>> fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, progress=False)
        >>> ax = calibration_of_steps(fit, data, num_bins=2)
    """
    table = checks.calibration_of_steps(fit, data, num_bins=num_bins)
    if table.empty:
        raise ValueError(
            "data must have steps enough for one bin, 20, and of a class 5 that are "
            f"expected and 5 that are not, got {data.num_steps} steps; give more data"
        )
    ax = axes_or_new(ax, 3.5, 3.2)
    ax.axline((0, 0), slope=1, color=FAINT, linewidth=0.8, zorder=0)
    names = list(dict.fromkeys(table.index.get_level_values("emission")))
    for number, name in enumerate(names):
        rows, colour = table.loc[name], INK if len(names) == 1 else state_colour(number)
        ends = [rows.estimate - rows.lower, rows.upper - rows.estimate]
        style: Any = {"color": colour, "markersize": 4, "linewidth": 1}
        ax.errorbar(
            rows.predicted, rows.estimate, ends, fmt="o", label=plain(name), **style
        )
    what = "share" if " = " in names[0] else "mean"
    subject = plain(names[0]) if len(names) == 1 else "emissions"
    ax.set(xlabel=f"forecast of {subject}", ylabel=f"{what} that came")
    if len(names) > 1:
        ax.legend(frameon=False)
    hide_frame(ax)
    return ax


@picture
def residuals(
    fit: Fit,
    data: Sequences,
    ax: "Axes | None" = None,
    *,
    kind: str = "quantiles",
    max_lag: int = 40,
    seed: int = 0,
) -> "Axes":
    """Residuals of one-step forecasts: are they normal, are they correlated?

    Of ``"quantiles"``, sorted quantile residuals stand against those of a normal law,
    where they lie on the diagonal if the law of the emissions is right; thin lines hold
    95 % of each. Of ``"autocorrelation"``, Pearson residuals are correlated within
    sessions; the grey band holds 95 % of those of noise, at every lag.

    Args:
        fit: the fit.
        data: the data set.
        ax: where to draw; a new figure by default.
        kind: which of the two.
        max_lag: largest lag of the autocorrelation, in steps.
        seed: of the randomisation of counts and classes.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> ax = residuals(fit, data)
        >>> ax = residuals(fit, data, kind="autocorrelation", max_lag=2)
    """
    one_of("kind", kind, ("quantiles", "autocorrelation"))
    most = whole_number("max_lag", max_lag, 1)
    table = checks.residuals(fit, data, seed=seed)
    ax = axes_or_new(ax, 3.5, 3.2 if kind == "quantiles" else 2.8)
    names = list(dict.fromkeys(table.index.get_level_values("emission")))
    for number, name in enumerate(names):
        colour = INK if len(names) == 1 else state_colour(number)
        style: Any = {"color": colour, "label": plain(name)}
        if kind == "quantiles":
            _against_normal(ax, table.loc[name]["quantile"], number == 0, style)
        else:
            _by_lag(ax, table.loc[name]["pearson"], data, most, number == 0, style)
    if len(names) > 1:
        ax.legend(frameon=False)
    hide_frame(ax)
    return ax


def _against_normal(
    ax: "Axes", found: "pd.Series", is_first: bool, style: dict[str, Any]
) -> None:
    """Sorted values against quantiles of a normal law, with lines around the first."""
    values = np.sort(found.dropna().to_numpy())
    size = len(values)
    places = np.arange(1, size + 1)
    expected = ndtri((places - 0.5) / size)
    ax.plot(expected, values, ".", markersize=3, **style)
    if not is_first:
        return
    for end in (0.025, 0.975) if size else ():
        edge = ndtri(betaincinv(places, size + 1 - places, end))
        ax.plot(expected, edge, color=FAINT, linewidth=0.6)
    ax.axline((0, 0), slope=1, color=FAINT, linewidth=0.8, zorder=0)
    ax.set(xlabel="normal quantile", ylabel="quantile residual")


def _by_lag(
    ax: "Axes",
    found: "pd.Series",
    data: Sequences,
    most: int,
    is_first: bool,
    style: dict[str, Any],
) -> None:
    """Autocorrelations within sessions by lag, with a band around the first's."""
    lags = np.arange(1, max(min(most, int(data.lengths.max()) - 1), 1) + 1)
    values = np.full((1, data.num_steps), np.nan)
    values[0, found.index] = found
    by_lag = autocorrelation(values, data.starts.cpu().numpy(), lags)[0]
    ax.plot(lags, by_lag, marker=".", **style)
    if not is_first:
        return
    longer = np.maximum(data.lengths.cpu().numpy()[:, None] - lags, 0)
    # A mean of so many products, whose squares are 1 on average.
    edge = WIDTH_OF_95 / np.sqrt(np.maximum(longer.sum(0), 1))
    ax.fill_between(lags, -edge, edge, color=FAINT, alpha=0.5, linewidth=0)
    ax.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    ax.set(xlabel="steps apart", ylabel="autocorrelation of residuals")


_LABELS = {
    "autocorrelation": ("steps apart", "autocorrelation"),
    "runs": ("steps", "share of runs that last longer"),
    "dwell": ("steps", "share of visits that last longer"),
}


@picture
def predictive_check(
    check: "checks.PredictiveCheck",
    statistic: str = "autocorrelation",
    ax: "Axes | None" = None,
) -> "Axes":
    """A statistic of the data against simulations from the fit.

    The line is the data's, the band 95 % of the simulations.

    Args:
        check: of :func:`glmhmm_pyro.analysis.predictive_check`.
        statistic: ``"autocorrelation"``, ``"runs"``, ``"psychometric"`` or ``"dwell"``.
        ax: where to draw; a new figure by default.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0] * 10, lengths=[20, 20])
        >>> fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, progress=False)
        >>> check = gh.analysis.predictive_check(fit, data, num_samples=20)
        >>> ax = predictive_check(check, "runs")
    """
    fix = "make it by gh.analysis.predictive_check(fit, data)"
    check_kind("check", check, checks.PredictiveCheck, fix)
    one_of("statistic", statistic, list(check.p_values.index))
    rows = check.table.loc[statistic]
    ax = axes_or_new(ax, 3.5, 2.8)
    band: Any = {"color": state_colour(0), "alpha": 0.3, "linewidth": 0}
    ax.fill_between(rows.index, rows.lower, rows.upper, label="simulated", **band)
    ax.plot(rows.index, rows.observed, color=INK, marker=".", label="data")
    if statistic == "autocorrelation":
        ax.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    told = (plain(check.table.attrs[n]) for n in ("covariate", "mean_of"))
    across, up = told if statistic == "psychometric" else _LABELS[statistic]
    ax.set(xlabel=across, ylabel=up)
    ax.legend(frameon=False)
    hide_frame(ax)
    return ax
