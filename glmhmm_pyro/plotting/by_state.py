"""Pictures of numbers by state: occupancy, accuracy, any other column."""

from typing import TYPE_CHECKING, Any

import numpy as np

from glmhmm_pyro import analysis
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.style import (
    axes_or_new,
    hide_frame,
    legend_above,
    name_ticks,
    named_states,
    plain,
    state_colour,
    state_marker,
)
from glmhmm_pyro.plotting.tabular import Tabular, states_of, table_or_made
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@picture
def occupancy(
    found: Tabular,
    data: Sequences | None = None,
    ax: "Axes | None" = None,
    **options: Any,
) -> "Axes":
    """Shares of the steps spent in every state, with intervals of 95 %.

    Of sessions, which have an order, a state has a line and a band; of groups, dots.

    Args:
        found: what :func:`glmhmm_pyro.analysis.occupancy` returns; or a fit.
        data: the data set, for a fit.
        ax: where to draw; a new figure by default.
        options: of that function, for a fit.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> occupancy(fit, data, by=None).get_ylabel()
        'share of steps'
    """
    table = table_or_made("occupancy", found, data, analysis.occupancy, options)
    levels = [name for name in table.index.names if name != "state"]
    if levels:
        ax = _draw_units(ax, table, str(levels[0]))
    else:
        ax = _draw_states(ax, table)
    ax.set_ylabel("share of steps")
    ax.set_ylim(0, 1)
    return ax


@picture
def accuracy_by_state(
    found: Tabular,
    data: Sequences | None = None,
    ax: "Axes | None" = None,
    **options: Any,
) -> "Axes":
    """Share of the steps of every state that were right, with intervals of 95 %.

    Args:
        found: what :func:`glmhmm_pyro.analysis.accuracy_by_state` returns; or a fit.
        data: the data set, for a fit.
        ax: where to draw; a new figure by default.
        options: of that function, for a fit: ``correct=`` at least.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> accuracy_by_state(fit, data, correct=[1, 1, 0, 1, 0, 1]).get_ylabel()
        'share correct'
    """
    make = analysis.accuracy_by_state
    table = table_or_made("accuracy_by_state", found, data, make, options)
    ax = _draw_states(ax, table)
    ax.set_ylabel("share correct")
    ax.set_ylim(0, 1)
    return ax


@picture
def column_by_state(
    found: Tabular,
    data: Sequences | None = None,
    ax: "Axes | None" = None,
    **options: Any,
) -> "Axes":
    """Mean or median of a column in every state, with intervals of 95 %.

    Args:
        found: what :func:`glmhmm_pyro.analysis.column_by_state` returns; or a fit.
        data: the data set, for a fit.
        ax: where to draw; a new figure by default.
        options: of that function, for a fit: ``column=`` at least.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> times = [0.2, 0.4, 0.3, 0.5, 0.6, 0.4]
        >>> column_by_state(fit, data, column=times).get_ylabel()
        'mean value'
    """
    make = analysis.column_by_state
    table = table_or_made("column_by_state", found, data, make, options)
    ax = _draw_states(ax, table)
    statistic = table.attrs.get("statistic", "mean").replace("unmixed", "mean")
    ax.set_ylabel(f"{statistic} {plain(table.attrs.get('column', 'value'))}")
    return ax


def _draw_states(ax: "Axes | None", table: "pd.DataFrame") -> "Axes":
    """A dot with its interval a state."""
    labels = named_states(states_of(table))
    ax = axes_or_new(ax, 1.4 + 0.6 * len(labels), 2.6)
    for state, row in enumerate(table.itertuples()):
        _dot(ax, state, state, row)
    name_ticks(ax.xaxis, labels)
    ax.set_xlim(-0.6, len(labels) - 0.4)
    hide_frame(ax)
    return ax


def _dot(ax: "Axes", place: float, state: int, row: Any, label: str = "_") -> None:
    """An estimate with its interval."""
    colour, marker = state_colour(state), state_marker(state)
    ax.vlines(place, row.lower, row.upper, color=colour, linewidth=1.6)
    (dot,) = ax.plot(place, row.estimate, color=colour, marker=marker, label=label)
    dot.set(linestyle="none", markersize=5)


def _draw_units(ax: "Axes | None", table: "pd.DataFrame", level: str) -> "Axes":
    """All states of every session or group."""
    states = states_of(table)
    units = table.index.get_level_values(level).unique()
    ax = axes_or_new(ax, min(2.6 + 0.3 * len(units), 10.0), 2.6)
    step = 0.7 / len(states)
    for state, (name, label) in enumerate(zip(states, named_states(states))):
        part = table.xs(name, level="state").loc[units]
        if level == "session":
            band(ax, np.arange(len(units)), part, state, label)
            continue
        for number, row in enumerate(part.itertuples()):
            place = number + step * (state - (len(states) - 1) / 2)
            _dot(ax, place, state, row, "_" if number else label)
    name_ticks(ax.xaxis, list(units))
    ax.set_xlim(-0.6, len(units) - 0.4)
    ax.set_xlabel(level)
    hide_frame(ax)
    legend_above(ax)
    return ax


def band(
    ax: "Axes", x: np.ndarray, part: "pd.DataFrame", state: int, label: str
) -> None:
    """The line of a state with a band between the ends of its intervals."""
    colour = state_colour(state)
    ax.plot(x, part["estimate"], color=colour, linewidth=1.5, label=label)
    ax.fill_between(
        x, part["lower"], part["upper"], color=colour, alpha=0.2, linewidth=0
    )
