"""Estimates of several inference methods side by side."""

from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro.analysis import Comparison
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.style import (
    FAINT,
    MOST_NAMES,
    axes_or_new,
    check_kind,
    hide_frame,
    name_ticks,
    plain,
    state_colour,
    state_marker,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Inches of a row of estimates, of what stands between two panels, and of the whole.
ROW, BETWEEN, HIGHEST = 0.3, 0.75, 14.0

# Letters of an error that the legend has room for.
MOST_LETTERS = 60


@picture
def comparison(comparison: Comparison, ax: "Axes | None" = None) -> "Axes":
    """Every parameter with its 95 % interval by every method, one below the other.

    A panel a site, for sites have units of their own; within a row the methods stand in
    the order of the legend, which says how long each took and what the held-out data
    are worth to it. A method without an interval is a marker alone.

    Args:
        comparison: of :func:`compare_methods`.
        ax: where to draw; a new figure by default. It is divided among the panels.

    Raises:
        ValueError: no method gave a fit.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> found = gh.analysis.compare_methods(model, data, ["em"], progress=False)
        >>> ax = comparison(found)
    """
    fix = "take what compare_methods returns"
    check_kind("comparison", comparison, Comparison, fix)
    estimates = comparison.estimates
    if estimates.empty:
        raise ValueError(
            "comparison must have a fit to draw, got none; its table says why"
        )
    level = estimates.index.get_level_values("parameter")
    sites = [estimates[level == name] for name in level.unique()]
    rows = np.array([len(site) + 1.0 for site in sites])
    methods = list(comparison.fits)
    row = ROW + 0.06 * max(0, len(methods) - 3)
    height = row * rows.sum() + BETWEEN * len(sites) + 0.25 * len(comparison.table)
    ax = axes_or_new(ax, 8.0, min(height, HIGHEST))
    ax.set_axis_off()
    # Shares of the axes' height.
    gap = BETWEEN / (row * rows.sum() + BETWEEN * (len(sites) - 1))
    heights = rows / rows.sum() * (1 - gap * (len(sites) - 1))
    top = 1.0
    for site, share in zip(sites, heights):
        panel = ax.inset_axes((0.0, top - share, 1.0, share))
        _draw_site(panel, site, methods)
        top -= share + gap
    handles = [
        _entry(comparison.table, label, methods) for label in comparison.table.index
    ]
    ax.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        borderaxespad=1.5,
        frameon=False,
    )
    return ax


def _draw_site(panel: "Axes", site: "pd.DataFrame", methods: list[str]) -> None:
    """All numbers of one site, first at the top."""
    if (site.xs("estimate", axis=1, level="quantity") < 0).any(axis=None):
        panel.axvline(0.0, color=FAINT, linewidth=0.8, zorder=0)
    places = np.arange(len(site), dtype=float)
    step = min(0.18, 0.8 / len(methods))
    for number, label in enumerate(methods):
        found = site[label]
        estimate = found["estimate"].to_numpy()
        at = places + step * (number - (len(methods) - 1) / 2)
        panel.hlines(
            at,
            found["lower"],
            found["upper"],
            color=state_colour(number),
            linewidth=1.6,
        )
        panel.plot(
            estimate,
            at,
            linestyle="none",
            color=state_colour(number),
            marker=state_marker(number),
            markersize=4.5,
        )
    for place in places[1:] - 0.5 if len(site) <= MOST_NAMES else ():
        panel.axhline(place, color=FAINT, linewidth=0.3, zorder=0)
    name_ticks(panel.yaxis, _row_names(site))
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(len(site) - 0.4, -0.6)
    panel.set_title(plain(site.index[0][0]), loc="left", fontsize="medium")
    hide_frame(panel)


def _row_names(site: "pd.DataFrame") -> list[str]:
    """What tells the numbers of a site apart."""
    names = []
    for row in site.index:
        axes = dict(zip(site.index.names, row))
        axes.pop("parameter")
        axes = {name: value for name, value in axes.items() if value != ""}
        parts = []
        if "origin" in axes and "destination" in axes:
            arrow = "\N{RIGHTWARDS ARROW}"
            parts.append(f"{axes.pop('origin')} {arrow} {axes.pop('destination')}")
        for name, value in axes.items():
            numbered = name in ("state", "destination") and str(value).isdigit()
            parts.append(f"{name} {value}" if numbered else str(value))
        names.append(", ".join(parts))
    return names


def _entry(table: "pd.DataFrame", label: str, methods: list[str]) -> Any:
    """Line of the legend: how a method is drawn, its time and held-out bits."""
    from matplotlib.lines import Line2D

    row = table.loc[label]
    if label not in methods:
        message = row["message"].splitlines()[0]
        cut = f"{message[:MOST_LETTERS]}..." if len(message) > MOST_LETTERS else message
        return Line2D([], [], linestyle="none", label=plain(f"{label}: failed, {cut}"))
    number = methods.index(label)
    text = f"{label}: {row['seconds']:.3g} s, {row['log_likelihood']:.2f} nats"
    if np.isfinite(row["held_out_bits_per_step"]):
        text += f", {row['held_out_bits_per_step']:.4f} bits per step held out"
    if row["status"] != "CONVERGED":
        text += f" ({row['status'].lower()})"
    return Line2D(
        [],
        [],
        color=state_colour(number),
        marker=state_marker(number),
        markersize=4.5,
        linewidth=1.6,
        label=plain(text),
    )
