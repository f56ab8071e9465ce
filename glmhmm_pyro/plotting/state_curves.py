"""Curves by state: of choices, around switches, through sessions, of dwell times."""

from typing import TYPE_CHECKING, Any

from glmhmm_pyro import analysis
from glmhmm_pyro.plotting.by_state import band
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.style import (
    FAINT,
    INK,
    axes_or_new,
    hide_frame,
    legend_above,
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

# Inches of a panel of curves: one column of a paper is 3.5 wide.
WIDTH, HEIGHT = 3.5, 2.6

# Share of runs down to which dwell times are drawn.
LEAST = 0.005


@picture
def psychometric(
    found: Tabular,
    data: Sequences | None = None,
    ax: "Axes | None" = None,
    **options: Any,
) -> "Axes":
    """Probability of a choice against a covariate: a line a state, the data as dots.

    Bands and bars hold 95 %; the band of a fit without draws needs the data fitted.

    Args:
        found: what :func:`glmhmm_pyro.analysis.psychometric` returns; or a fit.
        data: the data set, for a fit.
        ax: where to draw; a new figure by default.
        options: of that function, for a fit: ``covariate=`` at least.

    Example:
        >>> import glmhmm_pyro as gh
        >>> x = [[-1.0], [0.0], [1.0], [-1.0], [0.0], [1.0]]
        >>> data = gh.Sequences([0, 0, 1, 0, 1, 1], x, covariate_names=["sound"])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> psychometric(fit, data, covariate="sound").get_ylabel()
        'probability of y = 1'
    """
    table = table_or_made("psychometric", found, data, analysis.psychometric, options)
    states = states_of(table)
    ax = axes_or_new(ax, WIDTH, HEIGHT)
    ax.axhline(0.5, color=FAINT, linewidth=0.8, zorder=0)
    for state, (name, label) in enumerate(zip(states, named_states(states))):
        curve, dots = (
            table.xs(source, level="source").xs(name, level="state")
            for source in ("model", "data")
        )
        band(ax, curve.index, curve, state, label)
        colour, marker = state_colour(state), state_marker(state)
        edges = dots.index, dots["lower"], dots["upper"]
        ax.vlines(*edges, color=colour, linewidth=0.8)
        (drawn,) = ax.plot(dots.index, dots["estimate"], color=colour, marker=marker)
        drawn.set(linestyle="none", markersize=4)
    ax.set(xlabel=plain(table.index.names[-1]), ylim=(-0.02, 1.02))
    ax.set_ylabel(f"probability of {_named_class(table)}")
    hide_frame(ax)
    legend_above(ax)
    return ax


def _named_class(table: "pd.DataFrame") -> str:
    """The class whose probability a table tells; a number after what it is one of."""
    name = plain(table.attrs.get("class", "the choice"))
    emission = table.attrs.get("emission", "class")
    return f"{plain(emission)} = {name}" if name.isdigit() else name


@picture
def switch_triggered(
    found: Tabular,
    data: Sequences | None = None,
    ax: "Axes | None" = None,
    **options: Any,
) -> "Axes":
    """Means of a column around switches, a line a state with a band of 95 %.

    Args:
        found: what :func:`glmhmm_pyro.analysis.switch_triggered` returns; or a fit.
        data: the data set, for a fit.
        ax: where to draw; a new figure by default.
        options: of that function, for a fit: ``column=`` at least.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> times = [0.2, 0.4, 0.3, 0.5, 0.6, 0.4]
        >>> ax = switch_triggered(fit, data, column=times, steps_before=1)
    """
    make = analysis.switch_triggered
    table = table_or_made("switch_triggered", found, data, make, options)
    states = states_of(table)
    ax = axes_or_new(ax, WIDTH, HEIGHT)
    ax.axvline(-0.5, color=FAINT, linewidth=0.8, zorder=0)
    for state, (name, label) in enumerate(zip(states, named_states(states))):
        part = table.loc[name]
        band(ax, part.index, part, state, label)
    ax.set(
        xlabel=f"steps from the switch {table.attrs.get('direction', 'into')} a state"
    )
    ax.set_ylabel(f"mean {plain(table.attrs.get('column', 'value'))}")
    hide_frame(ax)
    legend_above(ax)
    return ax


@picture
def states_in_session(
    found: Tabular,
    data: Sequences | None = None,
    ax: "Axes | None" = None,
    **options: Any,
) -> "Axes":
    """Shares of the states against the time in the session, with bands of 95 %.

    Args:
        found: what :func:`glmhmm_pyro.analysis.states_in_session` returns; or a fit.
        data: the data set, for a fit.
        ax: where to draw; a new figure by default.
        options: of that function, for a fit.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> ax = states_in_session(fit, data, num_bins=1)
    """
    make = analysis.states_in_session
    table = table_or_made("states_in_session", found, data, make, options)
    states = states_of(table)
    ax = axes_or_new(ax, WIDTH, HEIGHT)
    for state, (name, label) in enumerate(zip(states, named_states(states))):
        part = table.xs(name, level="state")
        band(ax, part.index, part, state, label)
    is_share = table.index.names[0] == "time"
    ax.set_xlabel("share of the session" if is_share else "step of the session")
    ax.set(ylabel="share of steps", ylim=(0, 1), xlim=(0, None))
    hide_frame(ax)
    legend_above(ax)
    return ax


@picture
def dwell_times(
    found: Tabular,
    data: Sequences | None = None,
    ax: "Axes | None" = None,
    **options: Any,
) -> "Axes":
    """Share of the runs of every state that last longer, and what the model says of it.

    Lines with bands of 95 % are Kaplan-Meier curves of drawn paths; dashed lines are
    the geometric law, or simulated runs.

    Args:
        found: what :func:`glmhmm_pyro.analysis.dwell_times` returns; or a fit.
        data: the data set, for a fit.
        ax: where to draw; a new figure by default.
        options: of that function, for a fit.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> dwell_times(fit, data, num_samples=20, max_steps=3).get_xlabel()
        'steps'
    """
    dwell = table_or_made("dwell_times", found, data, analysis.dwell_times, options)
    states = states_of(dwell.table)
    ax = axes_or_new(ax, WIDTH, 3.0)
    for state, (name, label) in enumerate(zip(states, named_states(states))):
        part, row = dwell.survival.loc[name], dwell.table.loc[name]
        label = f"{label}, mean {row.estimate:.3g}"
        band(ax, part.index, part, state, label)
        colour = state_colour(state)
        ax.plot(part.index, part["model"], color=colour, linestyle="--", linewidth=1)
    longer = dwell.survival["estimate"] > LEAST
    last = dwell.survival.index.get_level_values("step")[longer].max()
    ax.plot([], [], color=INK, linestyle="--", linewidth=1, label=dwell.law)
    ax.set(xlabel="steps", ylabel="runs that last longer")
    ax.set(xlim=(0, max(int(last), 1)), ylim=(0, 1))
    hide_frame(ax)
    legend_above(ax)
    return ax
