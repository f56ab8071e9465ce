"""The weights of the emission GLMs by state, with intervals."""

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from glmhmm_pyro.inference import Fit
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.style import (
    FAINT,
    INK,
    MOST_NAMES,
    axes_or_new,
    check_kind,
    hide_frame,
    legend_beside,
    name_ticks,
    plain,
    state_colour,
    state_labels,
    state_marker,
)
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


# Axes of weights that go with the states of one of two levels.
LEVELS = ("slow", "fast")

# Standard errors from a weight to an end of its interval of 95 %.
_WIDTH = NormalDist().inv_cdf(0.975)


@picture
def weights(
    fit: Fit,
    data: Sequences | None = None,
    ax: "Axes | None" = None,
    *,
    parameter: str = "emissions.weights",
) -> "Axes":
    """Weights by state: a colour a state, covariates along x, intervals of 95 %.

    Where a state has several rows of weights, one a class, they stand side by side; the
    reference class, whose weights are 0, is left out. Covariates so many that they must
    be lags are joined by lines.

    Args:
        fit: the fit.
        data: what the model was fitted to, for the intervals of a fit without draws,
            see :meth:`Fit.covariance`.
        ax: where to draw; a new figure by default.
        parameter: which of ``fit.parameters``, with axes (state, ..., covariate); of a
            model on two levels the first may be of slow or of fast states.

    Raises:
        ValueError: there is no such parameter, or it has other axes.

    Example:
        >>> import glmhmm_pyro as gh
        >>> x = [[-1.0], [0.0], [1.0], [-1.0], [0.0], [1.0]]
        >>> data = gh.Sequences([0, 0, 1, 0, 1, 1], x, covariate_names=["sound"])
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> weights(fit, data).get_xlabel()
        'covariate'
    """
    array = _weights_of(fit, parameter)
    ends = _ends(fit, parameter, array, data)
    names, blocks = array.coords["covariate"].values, _blocks(array, *ends)
    columns = len(names) * len(blocks)
    ax = axes_or_new(ax, min(4.5 + 0.45 * columns, 12.0), 4.0)
    ax.axhline(0.0, color=FAINT, linewidth=0.8, zorder=0)
    level = str(array.dims[0])
    labels = state_labels(fit, level if level in LEVELS else None)
    for number, (title, values) in enumerate(blocks):
        # One empty place between two blocks.
        places = np.arange(len(names)) + number * (len(names) + 1)
        entries = labels if number == 0 else ["_"] * len(labels)
        draw = _draw_points if columns <= 2 * MOST_NAMES else _draw_lines
        draw(ax, places, values, entries)
        if number:
            ax.axvline(places[0] - 1, color=FAINT, linewidth=0.8)
        _head(ax, float(places.mean()), plain(title))
    # The same names in every block, where there is not room for all.
    shown = range(0, len(names), -(-columns // MOST_NAMES))
    starts = [number * (len(names) + 1) for number in range(len(blocks))]
    ticks = [start + i for start in starts for i in shown]
    name_ticks(ax.xaxis, [names[i] for i in shown] * len(blocks), ticks)
    ax.set_xlabel("covariate")
    ax.set_ylabel(meaning(fit, array))
    hide_frame(ax)
    legend_beside(ax)
    return ax


def weights_by_state(fit: Fit) -> list[str]:
    """Names of the parameters that are weights by state and covariate."""
    return [
        name
        for name, array in fit.parameters.items()
        if array.dims[:1]
        and array.dims[0] in ("state", *LEVELS)
        and array.dims[-1] == "covariate"
        and "fast_origin" not in array.dims
    ]


def _weights_of(fit: Fit, parameter: str) -> "xr.DataArray":
    fitting = weights_by_state(fit)
    if parameter not in fitting:
        raise ValueError(
            "parameter must name weights by state and covariate, of which this fit has "
            f"{', '.join(fitting) or 'none'}, got {parameter!r}; name one of these"
        )
    return fit.parameters[parameter]


def _ends(
    fit: Fit, parameter: str, array: "xr.DataArray", data: Sequences | None
) -> list["xr.DataArray"]:
    """Lower and upper ends of intervals, NaN where there are none."""
    if data is None and fit.posterior is None:
        return [array.copy(data=np.full(array.shape, np.nan)) for _ in range(2)]
    if fit.posterior is not None:
        table = fit.summary()
        rows = table[table["parameter"] == parameter]
        columns = (rows[end].to_numpy(dtype=float) for end in ("lower", "upper"))
        return [array.copy(data=ends.reshape(array.shape)) for ends in columns]
    check_kind("data", data, Sequences, "give the data set by data=")
    # Of these weights alone: others may have no errors that could be told of.
    found = fit.covariance(data, parameter).values
    errors = np.sqrt(np.einsum("...ii->...i", found))
    return [array + sign * _WIDTH * errors for sign in (-1, 1)]


def _blocks(
    array: "xr.DataArray", *ends: "xr.DataArray"
) -> list[tuple[str, np.ndarray]]:
    """Every row of a state that is free: its name, its values with their ends.

    These have the shape (value and ends, states, covariates).
    """
    middle = array.dims[1:-1]
    arrays = (array, *ends)
    if not middle:
        return [("", np.stack([each.values for each in arrays]))]
    stacked = [
        each.stack(row=middle).transpose(array.dims[0], "row", "covariate")
        for each in arrays
    ]
    rows = stacked[0].coords["row"].values
    free = np.abs(stacked[0].values).max(axis=(0, 2)) > 0
    return [
        (" ".join(map(str, row)), np.stack([e.values[:, number] for e in stacked]))
        for number, row in enumerate(rows)
        if free[number]
    ]


def _draw_points(
    ax: "Axes", places: np.ndarray, values: np.ndarray, labels: list[str]
) -> None:
    """A marker for every state and covariate, side by side where there are bars."""
    _, low, high = values
    aside = 0.0 if np.isnan(low).all() else 0.5 / len(labels)
    for state, label in enumerate(labels):
        colour = state_colour(state)
        at = places + aside * (state - (len(labels) - 1) / 2)
        (points,) = ax.plot(at, values[0, state], color=colour, label=label)
        points.set(marker=state_marker(state), markersize=5, linestyle="none")
        ax.vlines(at, low[state], high[state], color=colour, linewidth=1.2)


def _draw_lines(
    ax: "Axes", places: np.ndarray, values: np.ndarray, labels: list[str]
) -> None:
    """A line a state, with a band where there are intervals."""
    for state, label in enumerate(labels):
        line, low, high = values[:, state]
        colour = state_colour(state)
        ax.plot(places, line, color=colour, linewidth=1.5, label=label)
        ax.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0)


def _head(ax: "Axes", place: float, title: str) -> None:
    """A heading above the axes, centred on a place along x."""
    ax.annotate(
        title,
        (place, 1.0),
        (0, 4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        color=INK,
    )


def meaning(fit: Fit, array: "xr.DataArray") -> str:
    """What a weight adds to, as far as the names tell."""
    classes = fit.labels.classes
    what = "linear predictor"
    if classes is not None and len(classes) == 2:
        what = f"log-odds of {plain(classes[1])}"
    elif "class" in array.dims:
        what = f"log-odds against {plain(array.coords['class'].values[0])}"
    return f"weight per unit\n({what})"
