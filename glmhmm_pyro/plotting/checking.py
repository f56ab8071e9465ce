"""What checks look at: forecasts against what came, residuals, simulations."""

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import betaincinv, ndtri

from glmhmm_pyro.analysis import checks
from glmhmm_pyro.arguments import one_of
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
    from matplotlib.axes import Axes


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
    fit: Fit, data: Sequences, ax: "Axes | None" = None, *, seed: int = 0
) -> "Axes":
    """Quantile residuals of one-step forecasts against those of the normal law.

    Every line is an emission, or a class against the rest; at the right parameters and
    with the right family they lie on the diagonal, where chance lets 95 % of points be
    between the thin lines.

    Args:
        fit: the fit.
        data: the data set.
        ax: where to draw; a new figure by default.
        seed: of the randomisation of counts and classes.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> ax = residuals(fit, data)
    """
    table = checks.residuals(fit, data, seed=seed)
    ax = axes_or_new(ax, 3.5, 3.2)
    names = list(dict.fromkeys(table.index.get_level_values("emission")))
    for number, name in enumerate(names):
        values = np.sort(table.loc[name]["quantile"].dropna().to_numpy())
        size = len(values)
        places = np.arange(1, size + 1)
        expected = ndtri((places - 0.5) / size)
        colour = INK if len(names) == 1 else state_colour(number)
        ax.plot(expected, values, ".", color=colour, markersize=3, label=plain(name))
        if not number and size:
            for end in (0.025, 0.975):
                edge = ndtri(betaincinv(places, size + 1 - places, end))
                ax.plot(expected, edge, color=FAINT, linewidth=0.6)
    ax.axline((0, 0), slope=1, color=FAINT, linewidth=0.8, zorder=0)
    ax.set(xlabel="normal quantile", ylabel="quantile residual")
    if len(names) > 1:
        ax.legend(frameon=False)
    hide_frame(ax)
    return ax


_LABELS = {
    "autocorrelation": ("steps apart", "autocorrelation"),
    "runs": ("steps", "share of runs that last longer"),
    "psychometric": ("covariate", "mean emission"),
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
    across, up = _LABELS[statistic]
    ax.set(xlabel=across, ylabel=up)
    ax.legend(frameon=False)
    hide_frame(ax)
    return ax
