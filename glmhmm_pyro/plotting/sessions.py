"""One session in time: the posterior of the states, and what the animal did."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from glmhmm_pyro.inference import Fit
from glmhmm_pyro.plotting.style import (
    INK,
    axes_or_new,
    hide_frame,
    legend_beside,
    state_colour,
)
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Height of a row of behaviour above the posterior, which is 1 high, and its distance.
ROW, GAP = 0.11, 0.06


def timeline(
    fit: Fit, data: Sequences, session: int | str = 0, ax: "Axes | None" = None
) -> "Axes":
    """Smoothed probabilities of the states through a session, behaviour above them.

    The probabilities p(z_t | all y of the session) are stacked, so that a step's
    colours fill the height. Labels are ticks in one row per class; other emissions are
    dots in one row per output, from its least to its largest value in the session.
    Steps that were not observed are gaps.

    Args:
        fit: the fit.
        data: the data set.
        session: number or name of a session of ``data``.
        ax: where to draw; a new figure by default.
    """
    hidden = fit.distribution(data)
    with torch.no_grad():
        smoothed = hidden.smoothed_probs(data.emissions)
    name = data.subset(session).session_names[0]
    rows = data.session_rows(data.session_names.index(name))
    observed = _observed(data)[rows]
    ax = axes_or_new(ax, 9.0, 3.2)
    _draw_posterior(ax, smoothed[rows].cpu().numpy(), np.any(observed, axis=1))
    emissions = data.emissions[rows].cpu().numpy().reshape(len(observed), -1)
    if hidden.emission_dist.has_enumerate_support:
        classes = hidden.emission_dist.enumerate_support(expand=False).flatten()
        behaviour = _draw_labels(ax, emissions, observed, classes.tolist(), data)
    else:
        behaviour = _draw_values(ax, emissions, observed, data)
    _finish(ax, behaviour, len(observed), name)
    return ax


def _observed(data: Sequences) -> np.ndarray:
    """Whether each output of each step was observed, shape (steps, outputs)."""
    if data.mask is None:
        return np.ones((data.num_steps, data.num_outputs), dtype=bool)
    return data.mask.cpu().numpy().reshape(data.num_steps, -1)


def _draw_posterior(ax: "Axes", probs: np.ndarray, observed: np.ndarray) -> None:
    """Stacked areas, each step as wide as a step, nothing where not observed."""
    edges = np.arange(len(probs) + 1) - 0.5
    tops = np.cumsum(np.where(observed[:, None], probs, np.nan), axis=1)
    bottom = np.zeros(len(probs))
    for state in range(probs.shape[1]):
        top = tops[:, state]
        ax.stairs(
            top,
            edges,
            baseline=np.where(observed, bottom, np.nan),
            fill=True,
            color=state_colour(state),
            linewidth=0,
            label=f"state {state}",
        )
        bottom = np.where(observed, top, 0.0)


def _row_bottom(row: int) -> float:
    return 1.0 + GAP + row * (ROW + GAP / 2)


def _draw_labels(
    ax: "Axes", emissions: np.ndarray, observed: np.ndarray, classes: list, data: Any
) -> list[str]:
    """A tick for every observed step, in the row of its class; the rows' names."""
    for row, label in enumerate(classes):
        steps = np.flatnonzero((emissions[:, 0] == label) & observed[:, 0])
        bottom = _row_bottom(row)
        ax.vlines(steps, bottom, bottom + ROW, color=INK, linewidth=0.8)
    if data.class_names is not None and len(data.class_names) == len(classes):
        return list(data.class_names)
    return [f"{data.emission_names[0]} = {int(label)}" for label in classes]


def _draw_values(
    ax: "Axes", emissions: np.ndarray, observed: np.ndarray, data: Any
) -> list[str]:
    """Dots for every observed value, each output in a row of its own; their names."""
    for row, (values, seen) in enumerate(zip(emissions.T, observed.T)):
        steps = np.flatnonzero(seen)
        shown = values[steps].astype(float)
        low, high = (shown.min(), shown.max()) if len(shown) else (0.0, 1.0)
        heights = (shown - low) / ((high - low) or 1.0)
        ax.plot(steps, _row_bottom(row) + ROW * heights, ".", color=INK, markersize=2)
    return list(data.emission_names)


def _finish(ax: "Axes", rows: list[str], num_steps: int, session: str) -> None:
    middles = [_row_bottom(row) + ROW / 2 for row in range(len(rows))]
    ax.set_yticks([0.0, 0.5, 1.0, *middles], labels=["0", "0.5", "1", *rows])
    for label in ax.get_yticklabels()[3:]:
        label.set_fontsize("small")
    ax.set_ylim(0.0, _row_bottom(len(rows)))
    ax.set_xlim(-0.5, num_steps - 0.5)
    ax.spines["left"].set_bounds(0.0, 1.0)
    ax.set_xlabel(f"step of session {session}")
    ax.set_ylabel("probability of state", loc="bottom")
    hide_frame(ax)
    legend_beside(ax)
