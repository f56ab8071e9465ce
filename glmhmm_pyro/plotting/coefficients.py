"""The weights of the emission GLMs, one line a state."""

from typing import TYPE_CHECKING

import numpy as np

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.inference import Fit
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

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


@suggests_names
def weights(
    fit: Fit, ax: "Axes | None" = None, *, parameter: str = "emissions.weights"
) -> "Axes":
    """Weights by state: a line a state, covariates along x.

    Where a state has several rows of weights, one a class, they stand side by side; the
    reference class, whose weights are 0, is left out.

    Args:
        fit: the fit.
        ax: where to draw; a new figure by default.
        parameter: which of ``fit.parameters``, with axes (state, ..., covariate).

    Raises:
        ValueError: there is no such parameter, or it has other axes.
    """
    check_kind("fit", fit, Fit, "write weights(fit)")
    array = _weights_of(fit, parameter)
    names, blocks = array.coords["covariate"].values, _blocks(array)
    columns = len(names) * len(blocks)
    ax = axes_or_new(ax, min(4.5 + 0.45 * columns, 12.0), 4.0)
    ax.axhline(0.0, color=FAINT, linewidth=0.8, zorder=0)
    labels = state_labels(fit)
    for number, (title, values) in enumerate(blocks):
        # One empty place between two blocks.
        places = np.arange(len(names)) + number * (len(names) + 1)
        entries = labels if number == 0 else ["_"] * len(values)
        _draw(ax, places, values, entries, markers=columns <= 2 * MOST_NAMES)
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


def _weights_of(fit: Fit, parameter: str) -> "xr.DataArray":
    found = fit.parameters
    fitting = [
        name
        for name, array in found.items()
        if array.dims[:1] == ("state",) and array.dims[-1] == "covariate"
    ]
    if parameter not in fitting:
        raise ValueError(
            "parameter must name weights by state and covariate, of which this fit has "
            f"{', '.join(fitting) or 'none'}, got {parameter!r}; name one of these"
        )
    return found[parameter]


def _blocks(array: "xr.DataArray") -> list[tuple[str, np.ndarray]]:
    """Name and values (states, covariates) of every row of a state that is free."""
    middle = array.dims[1:-1]
    if not middle:
        return [("", array.values)]
    stacked = array.stack(row=middle).transpose("state", "row", "covariate")
    rows = stacked.coords["row"].values
    free = np.abs(stacked.values).max(axis=(0, 2)) > 0
    return [
        (" ".join(map(str, row)), stacked.values[:, number])
        for number, row in enumerate(rows)
        if free[number]
    ]


def _draw(
    ax: "Axes",
    places: np.ndarray,
    values: np.ndarray,
    labels: list[str],
    markers: bool,
) -> None:
    """One line a state."""
    for state, (line, label) in enumerate(zip(values, labels)):
        ax.plot(
            places,
            line,
            color=state_colour(state),
            marker=state_marker(state) if markers else None,
            markersize=5,
            linewidth=1.5,
            label=label,
        )


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
