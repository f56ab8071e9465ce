"""Filters on lags in time units, one line a state."""

from typing import TYPE_CHECKING

from glmhmm_pyro.covariates import Design
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.inference.program.labels import named_draws
from glmhmm_pyro.inference.program.program import Data
from glmhmm_pyro.plotting.coefficients import meaning
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.style import (
    FAINT,
    axes_or_new,
    check_kind,
    hide_frame,
    legend_beside,
    plain,
    state_colour,
    state_labels,
    state_marker,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

# With more lags than this a line has no markers.
MOST_MARKERS = 20

# What leads the name of a state, by the first axis of the weights.
LINES = {"origin": "from", "destination": "to"}


@picture
def filters(
    fit: Fit[Data],
    design: Design,
    data: Data | None = None,
    ax: "Axes | None" = None,
    *,
    term: str | None = None,
    row: str | int | None = None,
    bin_width: float = 1.0,
    unit: str = "steps",
    parameter: str = "emissions.weights",
) -> "Axes":
    """A filter on lags in time units: a line a state, with bands of 95 %.

    A fit with draws has bands between their quantiles; another fit needs ``data``, and
    has bands of 1.96 standard errors.

    Args:
        fit: the fit.
        design: what made the covariates; see :meth:`Design.filters`.
        data: what the model was fitted to, for the bands of a fit without draws.
        ax: where to draw; a new figure by default.
        term: name of the filter term, where the design has several.
        row: which of a state's rows of weights, a class (or for transition weights a
            destination), where several are free.
        bin_width: length of a step in ``unit``.
        unit: of time, for the axis.
        parameter: which of ``fit.parameters``, with a last axis ``covariate``.

    Raises:
        ValueError: ``term`` or ``row`` must be told and is not, or there is none such.

    Example:
        >>> import glmhmm_pyro as gh
        >>> import pandas as pd
        >>> table = pd.DataFrame({"sound": [0.1, 0.9, 0.3, 0.8] * 5})
        >>> table["choice"] = [0, 1] * 10
        >>> bumps = gh.covariates.RaisedCosine("sound", 2, 6)
        >>> design = gh.covariates.Design(bumps)
        >>> data = design.sequences(table, session=None, emissions="choice")
        >>> model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> filters(fit, design, data).get_xlabel()
        'lag (steps)'
    """
    check_kind("design", design, Design, "write filters(fit, design)")
    weights, covariance = _weights(fit, data, parameter)
    frame = design.filters(weights, bin_width, covariance)
    frame = _chosen(frame, "term", term)
    states, rows = _axes_of(fit.parameters[parameter])
    for axis in rows:
        frame = _chosen(_without_references(frame, axis), axis, row)
    ax = axes_or_new(ax, 5.6, 3.6)
    ax.axhline(0.0, color=FAINT, linewidth=0.8, zorder=0)
    for state, name in enumerate(fit.parameters[parameter][states].values):
        part = frame[frame[states] == name]
        # Staying is the reference of a move, and has no filter.
        if states != "state" and part["estimate"].any():
            _draw(ax, state, part, label=f"{LINES[states]} {plain(name)}")
        elif states == "state":
            _draw(ax, state, part, label=state_labels(fit)[state])
    ax.set_title(" ".join(plain(frame[axis].iloc[0]) for axis in rows))
    ax.set_xlabel(f"lag ({plain(unit)})")
    ax.set_ylabel(_effect(fit, parameter, plain(frame["term"].iloc[0])))
    hide_frame(ax)
    legend_beside(ax)
    return ax


def _weights(
    fit: Fit[Data], data: Data | None, parameter: str
) -> "tuple[xr.DataArray, xr.DataArray | None]":
    """Draws of the weights, or the weights and their covariance, if it is wanted."""
    known = fit.parameters
    if parameter not in known or known[parameter].dims[-1:] != ("covariate",):
        fitting = [name for name, a in known.items() if a.dims[-1:] == ("covariate",)]
        raise ValueError(
            "parameter must name weights by covariate, of which this fit has "
            f"{', '.join(fitting) or 'none'}, got {parameter!r}; name one of these"
        )
    if fit.posterior is not None:
        return named_draws(fit.model, fit.draws, fit.labels)[parameter], None
    covariance = None if data is None else fit.covariance(data, parameter)
    return known[parameter], covariance


def _axes_of(weights: "xr.DataArray") -> tuple[str, list[str]]:
    """The axis that has a line each, and the others."""
    first, *others = [str(dim) for dim in weights.dims[:-1]]
    return first, others


def _without_references(frame: "pd.DataFrame", axis: str) -> "pd.DataFrame":
    """The rows of weights that are free somewhere; those of references are 0."""
    largest = frame["estimate"].abs().groupby(frame[axis]).transform("max")
    return frame[largest > 0] if (largest > 0).any() else frame


def _chosen(
    frame: "pd.DataFrame", column: str, value: str | int | None
) -> "pd.DataFrame":
    """The rows of one value of a column, which must be told where there are several."""
    known = list(frame[column].unique())
    if value is None and len(known) == 1:
        value = known[0]
    if value not in known:
        argument = "term" if column == "term" else "row"
        raise ValueError(
            f"{argument} must be one of {', '.join(map(repr, known))} (the filters' "
            f"{column}), got {value!r}; name one of these"
        )
    return frame[frame[column] == value]


def _draw(ax: "Axes", state: int, part: "pd.DataFrame", label: str) -> None:
    """One state's filter with its band."""
    colour = state_colour(state)
    marked = len(part) <= MOST_MARKERS
    marker = state_marker(state) if marked else None
    ax.plot(
        part["lag"],
        part["estimate"],
        color=colour,
        marker=marker,
        markersize=5,
        linewidth=1.5,
        label=label,
    )
    if "lower" in part:
        edges = part["lag"], part["lower"], part["upper"]
        ax.fill_between(*edges, color=colour, alpha=0.2, linewidth=0)
    if "lower" in part and len(part) == 1:
        ax.vlines(*edges, color=colour)


def _effect(fit: Fit, parameter: str, term: str) -> str:
    """What a filter adds to, per unit of what."""
    array = fit.parameters[parameter]
    what = f"weight per unit of {term}\n(log-odds of the move)"
    if array.dims[0] == "state":
        what = meaning(fit, array).replace("per unit", f"per unit of {term}")
    return what
