"""One session in time: the posterior of the states, and what the animal did."""

from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.distributions import Output
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.plotting.style import (
    INK,
    axes_or_new,
    check_kind,
    check_level,
    hide_frame,
    legend_beside,
    plain,
    state_colour,
    state_labels,
)
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Height of a row of behaviour above the posterior, which is 1 high, and its distance.
ROW, GAP = 0.11, 0.06


@suggests_names
def timeline(
    fit: Fit,
    data: Sequences,
    session: int | str = 0,
    ax: "Axes | None" = None,
    *,
    level: str | None = None,
) -> "Axes":
    """Smoothed probabilities of the states through a session, behaviour above them.

    The probabilities p(z_t | all y of the session), averaged over the draws of a fit
    that has any (:meth:`Fit.decode`), are stacked, so that a step's
    colours fill the height. Labels are ticks in one row per class; other emissions are
    dots in one row per output, from its least to its largest value in the session.
    Steps that were not observed are gaps.

    Args:
        fit: the fit.
        data: the data set.
        session: number or name of a session of ``data``.
        ax: where to draw; a new figure by default.
        level: ``"slow"`` or ``"fast"``, whose states are shown of a model on two
            levels; pairs by default.
    """
    check_kind("fit", fit, Fit, "write timeline(fit, data)")
    check_level(fit, level)
    check_kind("data", data, Sequences, "write timeline(fit, data)")
    if isinstance(session, bool) or not isinstance(session, str | Integral):
        raise ValueError(
            "session must be the number or the name of one session, got "
            f"{session!r:.60}; draw several one by one, each on an ax of its own"
        )
    data = fit.as_fitted(data)
    hidden = fit.distribution(data)
    rows = data.session_rows(session)
    shown = data.subset(session)
    name = shown.session_names[0]
    observed = _observed(data)[rows]
    ax = axes_or_new(ax, 9.0, 3.2)
    smoothed = fit.decode(shown)[f"{level or 'smoothed'}_probs"].values
    _draw_posterior(ax, smoothed, np.any(observed, axis=1), state_labels(fit, level))
    behaviour: list[str] = []
    for title, output in hidden.outputs(data.emissions).items():
        behaviour += _draw_output(ax, len(behaviour), title, output, rows, data)
    _finish(ax, behaviour, len(observed), name)
    return ax


def _observed(data: Sequences) -> np.ndarray:
    """Whether each output of each step was observed, shape (steps, outputs)."""
    if data.mask is None:
        return np.ones((data.num_steps, data.num_outputs), dtype=bool)
    return data.mask.cpu().numpy().reshape(data.num_steps, -1)


def _draw_posterior(
    ax: "Axes", probs: np.ndarray, observed: np.ndarray, labels: list[str]
) -> None:
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
            label=labels[state],
        )
        bottom = np.where(observed, top, 0.0)


def _row_bottom(row: int) -> float:
    return 1.0 + GAP + row * (ROW + GAP / 2)


def _draw_output(
    ax: "Axes", first: int, title: str, output: Output, rows: slice, data: Sequences
) -> list[str]:
    """One output from a row on: labels as ticks, numbers as dots; names of its rows.

    Args:
        ax: where to draw.
        first: number of its first row.
        title: name of the output, none where it is the only one.
        output: of the whole data set.
        rows: of the session.
        data: the data set.
    """
    values = output.value[rows].cpu().numpy()
    values = values.reshape(len(values), -1)
    observed = np.ones_like(values, dtype=bool)
    if output.mask is not None:
        observed &= output.mask[rows].cpu().numpy().reshape(len(values), -1)
    if not output.emission_dist.has_enumerate_support:
        _draw_values(ax, first, values, observed)
        if not title:
            return list(data.emission_names)
        several = values.shape[1] > 1
        return [f"{title} {i}" if several else title for i in range(values.shape[1])]
    support = output.emission_dist.enumerate_support(expand=False)
    classes = support.flatten().tolist()
    _draw_labels(ax, first, values[:, 0], observed[:, 0], classes)
    if data.class_names is not None and len(data.class_names) == len(classes):
        return list(data.class_names)
    return [f"{title or data.emission_names[0]} = {int(label)}" for label in classes]


def _draw_labels(
    ax: "Axes", first: int, labels: np.ndarray, observed: np.ndarray, classes: list
) -> None:
    """A tick for every observed step, in the row of its class."""
    for row, label in enumerate(classes, first):
        steps = np.flatnonzero((labels == label) & observed)
        bottom = _row_bottom(row)
        ax.vlines(steps, bottom, bottom + ROW, color=INK, linewidth=0.8)


def _draw_values(
    ax: "Axes", first: int, values: np.ndarray, observed: np.ndarray
) -> None:
    """Dots for every observed value, each column in a row of its own."""
    for row, (column, seen) in enumerate(zip(values.T, observed.T), first):
        steps = np.flatnonzero(seen)
        shown = column[steps].astype(float)
        low, high = (shown.min(), shown.max()) if len(shown) else (0.0, 1.0)
        heights = (shown - low) / ((high - low) or 1.0)
        ax.plot(steps, _row_bottom(row) + ROW * heights, ".", color=INK, markersize=2)


def _finish(ax: "Axes", rows: list[str], num_steps: int, session: str) -> None:
    middles = [_row_bottom(row) + ROW / 2 for row in range(len(rows))]
    ax.set_yticks(
        [0.0, 0.5, 1.0, *middles], labels=["0", "0.5", "1", *map(plain, rows)]
    )
    for label in ax.get_yticklabels()[3:]:
        label.set_fontsize("small")
    ax.set_ylim(0.0, _row_bottom(len(rows)))
    ax.set_xlim(-0.5, num_steps - 0.5)
    ax.spines["left"].set_bounds(0.0, 1.0)
    ax.set_xlabel(f"step of session {plain(session)}")
    ax.set_ylabel("probability of state", loc="bottom")
    hide_frame(ax)
    legend_beside(ax)
