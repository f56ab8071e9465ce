"""Sessions in time: the posterior of the states, and what the animal did."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.analysis.states.paths import column_of, right_or_wrong
from glmhmm_pyro.distributions import Output
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.inference.program.refusals import carries_states_over
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.style import (
    FAINT,
    INK,
    axes_or_new,
    check_level,
    hide_frame,
    legend_above,
    legend_beside,
    plain,
    state_colour,
    state_labels,
)
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.validation import one_session

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Height of a row of behaviour above the posterior, which is 1 high, of one of a column
# below it, and the distance between them.
ROW, COLUMN, GAP = 0.11, 0.25, 0.06

# What a step was, the share of a row's height that its tick takes, and its colour.
_JUDGED = (("correct", 0.5, FAINT), ("error", 1.0, INK), ("_", 0.25, FAINT))

# What stands between two sessions, as a share of the height of one; inches of a panel
# below which there is no room beside it, and of the name of a session.
_BETWEEN, _NARROW, _TITLE = 0.25, 4.0, 0.22


class _Behaviour(NamedTuple):
    """What is drawn above and below the posterior of some data.

    Attributes:
        data: laid out as the fit reads it.
        outputs: what came, by name.
        right: 1 where a step was right, 0 where wrong, NaN else; ``None`` if not said.
        columns: a number a step, by name.
        ranges: least and largest number of every column.
    """

    data: Sequences
    outputs: dict[str, Output]
    right: np.ndarray | None
    columns: dict[str, np.ndarray]
    ranges: dict[str, tuple[float, float]]


@picture
def timeline(
    fit: Fit,
    data: Sequences,
    session: int | str | Sequence[int | str] = 0,
    ax: "Axes | None" = None,
    *,
    level: str | None = None,
    correct: str | ArrayLike | None = None,
    columns: str | Sequence[str] | Mapping[str, ArrayLike] = (),
) -> "Axes":
    """Smoothed probabilities of the states through a session, behaviour above them.

    The probabilities p(z_t | all y of the session), averaged over the draws of a fit
    that has any (:meth:`Fit.decode`), are stacked, so that a step's
    colours fill the height. Labels are ticks in one row per class; other emissions are
    dots in one row per output, from its least to its largest value in the session.
    Where steps are right or wrong, ticks of errors are dark and high, of correct steps
    light and half as high. Steps that were not observed are gaps. Of several sessions
    each has a panel of its own, one below the other.

    Args:
        fit: the fit.
        data: the data set.
        session: number or name of a session of ``data``, or a list of these.
        ax: where to draw; a new figure by default. It is divided among sessions.
        level: ``"slow"`` or ``"fast"``, whose states are shown of a model on two
            levels; pairs by default.
        correct: True or 1 where a step was right, False or 0 where not, NaN where there
            is no right or wrong, shape (steps,); or the name of such a column. Steps
            of which nothing was observed are neither.
        columns: names of columns of ``data``, raw ones of a ``Design`` too, or values
            of shape (steps,) by name: dots below the states, from least to largest.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.datasets.load_rat().subset(["24", "25"])
        >>> model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> right = data.to_dataframe()["prev_reward"].shift(-1) > 0
        >>> ax = timeline(fit, data, ["24", "25"], correct=right)
        >>> [panel.get_title("left") for panel in ax.child_axes]
        ['session 24', 'session 25']
    """
    check_level(fit, level)
    sessions = _chosen(session, data)
    found = _behaviour(fit, data, sessions, correct, columns)
    rows = ROW * (len(found.outputs) + 2) + (COLUMN + GAP) * len(found.columns)
    ax = axes_or_new(ax, 9.0, 2.4 * (1.0 + rows) * len(sessions) ** 0.8)
    panels = _panels(ax, len(sessions))
    for panel, number in zip(panels, sessions):
        smoothed = probs_in_session(
            fit, found.data, number, f"{level or 'smoothed'}_probs"
        )
        _draw_session(panel, found, number, smoothed, state_labels(fit, level))
        name = found.data.session_names[number]
        panel.set_xlabel(f"step of session {plain(name)}")
    if ax.bbox.width / ax.figure.dpi < _NARROW:
        legend_above(panels[0], rise=0.0 if len(panels) == 1 else _TITLE)
    else:
        legend_beside(panels[0])
    if len(panels) > 1:
        _tell_apart(panels, float(data.lengths[sessions].max()))
    return ax


def probs_in_session(fit: Fit, data: Sequences, session: int, name: str) -> np.ndarray:
    """Probabilities in one session; given all of its group where it goes on from one.

    Args:
        fit: the fit.
        data: laid out as those fitted.
        session: its number.
        name: of the variable of ``fit.decode``.
    """
    if not carries_states_over(fit.model):
        return fit.decode(data.subset([session]))[name].values
    groups = np.array(data.groups or [""] * data.num_sessions)
    members = np.flatnonzero(groups == groups[session])
    whole = data.subset(members.tolist())
    rows = whole.session_rows(int(np.flatnonzero(members == session)[0]))
    return fit.decode(whole)[name].values[rows]


def _tell_apart(panels: "list[Axes]", longest: float) -> None:
    """One axis of steps for all panels, the session's name above each."""
    for panel in panels:
        name = panel.get_xlabel().removeprefix("step of ")
        panel.set_title(name, loc="left", fontsize="small")
        panel.set_xlim(-0.5, longest - 0.5)
        panel.set_xlabel("")
    for panel in panels[:-1]:
        panel.tick_params(labelbottom=False)
    panels[-1].set_xlabel("step of the session")


def _chosen(session: int | str | Sequence[int | str], data: Sequences) -> list[int]:
    """Numbers of the sessions to draw."""
    listed = list(session) if isinstance(session, list | tuple | range) else [session]
    for item in listed:
        if isinstance(item, bool) or not isinstance(item, str | Integral):
            raise ValueError(
                "session must be the number or the name of a session, or a list of "
                f"these, got {session!r:.60}; write session=0"
            )
    if not listed:
        raise ValueError(
            "session must name a session to draw, got an empty list; write session=0"
        )
    return [one_session(item, data.session_names) for item in listed]


def _behaviour(
    fit: Fit,
    data: Sequences,
    sessions: list[int],
    correct: str | ArrayLike | None,
    columns: str | Sequence[str] | Mapping[str, ArrayLike],
) -> _Behaviour:
    """All that is drawn beside the posterior."""
    laid_out = fit.as_fitted(data)
    outputs = fit.distribution(laid_out).outputs(laid_out.emissions)
    right = None if correct is None else right_or_wrong(data, correct)
    columns = [columns] if isinstance(columns, str) else columns
    named = columns if isinstance(columns, Mapping) else {n: n for n in columns}
    values = {str(n): column_of(data, v, "columns") for n, v in named.items()}
    steps = np.concatenate([np.r_[data.session_rows(number)] for number in sessions])
    ranges = {}
    for name, column in values.items():
        shown = column[steps][np.isfinite(column[steps])]
        ranges[name] = (shown.min(), shown.max()) if len(shown) else (0.0, 1.0)
    return _Behaviour(laid_out, outputs, right, values, ranges)


def _panels(ax: "Axes", number: int) -> "list[Axes]":
    """As many axes, one below the other."""
    if number == 1:
        return [ax]
    ax.set_axis_off()
    height = 1.0 / (number + _BETWEEN * (number - 1))
    tops = [1.0 - height * (1 + _BETWEEN) * place for place in range(number)]
    return [ax.inset_axes((0.0, top - height, 1.0, height)) for top in tops]


def _draw_session(
    ax: "Axes", found: _Behaviour, number: int, probs: np.ndarray, labels: list[str]
) -> None:
    """One session: states, what came above them, columns below."""
    rows = found.data.session_rows(number)
    observed = _observed(found.data)[rows]
    _draw_posterior(ax, probs, np.any(observed, axis=1), labels)
    right = None if found.right is None else found.right[rows]
    behaviour: list[str] = []
    for title, output in found.outputs.items():
        first = len(behaviour)
        behaviour += _draw_output(ax, first, title, output, rows, found.data, right)
    if right is not None:
        for (label, height, colour), size in zip(_JUDGED[:2], (4, 8)):
            (mark,) = ax.plot([], [], "|", color=colour, label=label)
            mark.set_markersize(size)
    for place, (name, column) in enumerate(found.columns.items()):
        bottom = _column_bottom(place)
        _draw_dots(ax, bottom, COLUMN, column[rows], found.ranges[name])
    _finish(ax, behaviour, found.ranges, len(observed))


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
    return 1.0 + 1.5 * GAP + row * (ROW + GAP / 2)


def _column_bottom(place: int) -> float:
    return -GAP - (place + 1) * (COLUMN + GAP)


def _draw_output(
    ax: "Axes",
    first: int,
    title: str,
    output: Output,
    rows: slice,
    data: Sequences,
    right: np.ndarray | None,
) -> list[str]:
    """One output from a row on: labels as ticks, numbers as dots; names of its rows.

    Args:
        ax: where to draw.
        first: number of its first row.
        title: name of the output, none where it is the only one.
        output: of the whole data set.
        rows: of the session.
        data: the data set.
        right: whether steps of the session were right, if that is said.
    """
    values = output.value[rows].cpu().numpy()
    values = values.reshape(len(values), -1)
    observed = np.ones_like(values, dtype=bool)
    if output.mask is not None:
        observed &= output.mask[rows].cpu().numpy().reshape(len(values), -1)
    if not output.emission_dist.has_enumerate_support:
        _draw_values(ax, first, values, observed, right)
        if not title:
            return list(data.emission_names)
        several = values.shape[1] > 1
        return [f"{title} {i}" if several else title for i in range(values.shape[1])]
    support = output.emission_dist.enumerate_support(expand=False)
    classes = support.flatten().tolist()
    labels = np.where(observed[:, 0], values[:, 0], np.nan)
    _draw_labels(ax, first, labels, classes, right)
    if data.class_names is not None and len(data.class_names) == len(classes):
        return list(data.class_names)
    return [f"{title or data.emission_names[0]} = {int(label)}" for label in classes]


def _judged(
    right: np.ndarray | None, steps: np.ndarray
) -> list[tuple[np.ndarray, float, str]]:
    """Steps by how they are drawn: which, the height of their ticks, their colour."""
    if right is None:
        return [(steps, 1.0, INK)]
    kinds = np.select([right[steps] == 1, right[steps] == 0], [0, 1], 2)
    return [(steps[kinds == k], *how[1:]) for k, how in enumerate(_JUDGED)]


def _draw_labels(
    ax: "Axes", first: int, labels: np.ndarray, classes: list, right: np.ndarray | None
) -> None:
    """A tick for every observed step, in the row of its class."""
    for row, label in enumerate(classes, first):
        bottom = _row_bottom(row)
        for steps, height, colour in _judged(right, np.flatnonzero(labels == label)):
            ends = bottom, bottom + height * ROW
            ax.vlines(steps, *ends, color=colour, linewidth=0.8)


def _draw_values(
    ax: "Axes",
    first: int,
    values: np.ndarray,
    observed: np.ndarray,
    right: np.ndarray | None,
) -> None:
    """Dots for every observed value, each column in a row of its own."""
    for row, (column, seen) in enumerate(zip(values.T, observed.T), first):
        shown = np.where(seen, column.astype(float), np.nan)
        known = shown[np.isfinite(shown)]
        ends = (known.min(), known.max()) if len(known) else (0.0, 1.0)
        _draw_dots(ax, _row_bottom(row), ROW, shown, ends, right)


def _draw_dots(
    ax: "Axes",
    bottom: float,
    height: float,
    values: np.ndarray,
    ends: tuple[float, float],
    right: np.ndarray | None = None,
) -> None:
    """Dots in a row, from the least to the largest value; errors are crosses."""
    low, high = ends
    known = np.flatnonzero(np.isfinite(values))
    for steps, size, colour in _judged(right, known):
        heights = bottom + height * (values[steps] - low) / ((high - low) or 1.0)
        is_error = right is not None and size == 1.0
        (dots,) = ax.plot(steps, heights, "x" if is_error else ".", color=colour)
        dots.set_markersize(3 if is_error else 2)


def _finish(
    ax: "Axes",
    rows: list[str],
    columns: dict[str, tuple[float, float]],
    num_steps: int,
) -> None:
    """Names of rows and columns, ends of the axes, the legend."""
    middles = [_row_bottom(row) + ROW / 2 for row in range(len(rows))]
    middles += [_column_bottom(place) + COLUMN / 2 for place in range(len(columns))]
    names = [*map(plain, rows)]
    for name, (low, high) in columns.items():
        names.append(f"{plain(name)}\n{low:.2g} to {high:.2g}")
    low = _column_bottom(len(columns) - 1) - GAP if columns else 0.0
    high = _row_bottom(len(rows))
    ax.set_ylim(low, high)
    ax.set_xlim(-0.5, num_steps - 0.5)
    ax.set_yticks([0.0, 0.5, 1.0, *middles], labels=["0", "0.5", "1", *names])
    points = 72 * ax.bbox.height / ax.figure.dpi / (high - low)
    for place, label in enumerate(ax.get_yticklabels()):
        is_column = place >= 3 + len(rows)
        line = (COLUMN + GAP) / 2.6 if is_column else 0.9 * (ROW + GAP / 2)
        label.set_fontsize(float(np.clip(line * points, 4.5, 8.5)))
    ax.spines["left"].set_bounds(0.0, 1.0)
    ax.set_ylabel("p(state)", y=(0.5 - low) / (high - low), ha="center")
    hide_frame(ax)
