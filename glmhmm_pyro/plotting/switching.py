"""The transitions: a matrix of probabilities, or the weights that drive them."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.plotting.style import (
    MOST_NAMES,
    axes_or_new,
    check_kind,
    name_ticks,
    plain,
    write_numbers,
)
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

# With more columns than this no numbers are written into the cells.
MOST_NUMBERS = 12


@suggests_names
def transitions(
    fit: Fit, ax: "Axes | None" = None, *, data: Sequences | None = None
) -> "Axes":
    """The transition matrix, or the weights of input-driven transitions.

    Stationary transitions are drawn as their matrix. Those driven by covariates have a
    matrix for every step: without ``data`` their weights are drawn, a row for every
    pair of states (log-odds of that move against staying, per unit of the covariate),
    or for every destination where they are shared by all origins; with ``data`` the
    mean of the matrices over its steps, session starts left out.

    Args:
        fit: the fit.
        ax: where to draw; a new figure by default.
        data: the steps to average over.

    Raises:
        ValueError: ``data`` has no step inside a session, or is needed and missing.
    """
    check_kind("fit", fit, Fit, "write transitions(fit)")
    if data is not None:
        check_kind("data", data, Sequences, "give the data set by data=")
        probs, steps = _mean_matrix(fit, data)
        return _draw_matrix(fit, probs, ax, f"mean over {steps:,} steps")
    found = fit.parameters if fit.model.transitions.emits is None else {}
    if fit.model.num_states == 1:
        return _draw_matrix(fit, np.ones((1, 1)), ax, "a single state")
    if "transitions.probs" in found:
        probs = found["transitions.probs"].values
        return _draw_matrix(fit, probs, ax, "the same at every step")
    if "transitions.weights" in found:
        return _draw_weights(found["transitions.weights"], ax)
    raise ValueError(
        "data must be given to draw the transitions of "
        f"{type(fit.model.transitions).__name__}, got none; give data=..."
    )


def _mean_matrix(fit: Fit, data: Sequences) -> tuple[np.ndarray, int]:
    """Mean transition matrix, and the number of steps that it is the mean of."""
    inside = torch.ones(data.num_steps, dtype=torch.bool, device=data.device)
    inside[data.starts] = False
    if not inside.any():
        raise ValueError(
            "data must have a session of more than one step to average transitions "
            f"over, got {data.num_sessions} sessions of one step; give longer sessions"
        )
    probs = fit.distribution(data).transition_probs()
    probs = probs[inside] if len(probs) > 1 else probs
    return probs.nanmean(0).cpu().numpy(), int(inside.sum())


def _draw_matrix(
    fit: Fit, probs: np.ndarray, ax: "Axes | None", caption: str
) -> "Axes":
    size = 2.6 + 0.45 * len(probs)
    ax = axes_or_new(ax, size + 0.8, size)
    image = ax.imshow(probs, cmap="Blues", vmin=0.0, vmax=1.0)
    write_numbers(ax, probs, image, digits=3 if len(probs) < 6 else 2)
    name_ticks(ax.xaxis, fit.state_names)
    name_ticks(ax.yaxis, fit.state_names)
    ax.set_xlabel("state at t")
    ax.set_ylabel("state at t - 1")
    ax.set_title(caption, fontsize="medium")
    ax.figure.colorbar(image, ax=ax, label="transition probability")
    return ax


def _draw_weights(array: "xr.DataArray", ax: "Axes | None") -> "Axes":
    """A table of weights: moves down, covariates along."""
    values, moves, reference = _moves(array)
    names = array.coords["covariate"].values.tolist()
    width = min(3.8 + 0.8 * len(names), 11.0)
    ax = axes_or_new(ax, width, max(3.2, 1.4 + 0.24 * len(moves)))
    wide = len(names) > MOST_NUMBERS
    # Where no numbers are written, a few large intercepts must not pale the rest.
    largest = np.quantile(np.abs(values), 0.98 if wide else 1.0) or 1.0
    image = ax.imshow(values, cmap="PuOr", vmin=-largest, vmax=largest, aspect="auto")
    if not wide:
        write_numbers(ax, values, image, sign="+")
    name_ticks(ax.xaxis, names)
    ax.set_yticks(range(len(moves)), labels=moves)
    if len(moves) > MOST_NAMES:
        ax.tick_params(axis="y", labelsize="small")
    ax.set_xlabel("transition covariate")
    ax.set_ylabel("move")
    label = f"weight per unit\n(log-odds against {reference})"
    extend = "both" if wide else "neither"
    ax.figure.colorbar(image, ax=ax, label=label, extend=extend)
    return ax


def _moves(array: "xr.DataArray") -> tuple[np.ndarray, list[str], str]:
    """Rows of weights, the zeros of staying left out; what they drive; against what."""
    if "origin" not in array.dims:
        first, *others = map(plain, array["destination"].values)
        rows = [f"to {state}" for state in others]
        return array.values[1:], rows, f"going to {first}"
    names = [plain(name) for name in array["destination"].values]
    states = range(len(array))
    pairs = [(i, j) for i in states for j in states if i != j]
    values = np.stack([array.values[pair] for pair in pairs])
    moves = [f"{names[i]} \N{RIGHTWARDS ARROW} {names[j]}" for i, j in pairs]
    return values, moves, "staying"
