"""The transitions: a matrix of probabilities, or the weights that drive them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from glmhmm_pyro.inference import Fit
from glmhmm_pyro.plotting.matrices import (
    Matrix,
    draw_matrix,
    given_matrix,
    mean_matrix,
    mean_of_level,
)
from glmhmm_pyro.plotting.pictures import picture
from glmhmm_pyro.plotting.style import (
    MOST_NAMES,
    axes_or_new,
    check_level,
    name_ticks,
    plain,
    state_labels,
    write_numbers,
)
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

# With more columns than this no numbers are written into the cells.
MOST_NUMBERS = 12


# How often a column must be as large as the next for colours to end before it, and the
# least share of the largest weight at which they end.
_FAR_ABOVE, _LEAST = 2.0, 0.1


@picture
def transitions(
    fit: Fit,
    data: Sequences | None = None,
    ax: "Axes | None" = None,
    *,
    level: str | None = None,
    slow: int | str = 0,
    fast: int | str = 0,
) -> "Axes":
    """The transition matrix with intervals, or the weights of driven transitions.

    Stationary transitions are drawn as their matrix. Those driven by covariates have a
    matrix for every step: without ``data`` their weights are drawn, a row for every
    pair of states (log-odds of that move against staying, per unit of the covariate),
    or for every destination where they are shared by all origins; with ``data`` the
    mean of the matrices over its steps, session starts left out. Weights that vary over
    sessions or groups need ``data``.

    Below a probability stands its interval of 95 %: of the draws of a fit that has any,
    else by the delta method on the scale of log-odds, which needs ``data``. It is left
    out where cells are too small for it, of probabilities at 0 or 1, and of laws of
    dwell times, whose chain has other states.

    Args:
        fit: the fit.
        data: the steps to average over; for intervals of a fit without draws, what the
            model was fitted to.
        ax: where to draw; a new figure by default.
        level: of a model on two levels ``"slow"``, for the moves of slow states (at the
            steps of their clock), or ``"fast"``, for those of fast ones; by default
            those of pairs, which need ``data``.
        slow: number or name of the slow state in which fast ones move, for the latter.
        fast: of the fast state that slow ones leave, where that makes a difference.

    Raises:
        ValueError: ``data`` has no step inside a session, or is needed and missing.

    Example:
        >>> import glmhmm_pyro as gh
        >>> data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
        >>> model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
        >>> fit = gh.fit(model, data, num_restarts=1, progress=False)
        >>> transitions(fit).get_xlabel()
        'state at t, the same at every step'
    """
    check_level(fit, level)
    if level is not None:
        return _draw_level(fit, data, level, {"slow": slow, "fast": fast}, ax)
    names = fit.state_names
    if data is not None:
        matrix, steps = mean_matrix(fit, data)
        return draw_matrix(matrix, names, ax, f"mean over {steps:,} steps")
    found = fit.parameters if fit.model.transitions.emits is None else {}
    if fit.model.num_states == 1:
        only = Matrix.without_intervals(np.ones((1, 1)))
        return draw_matrix(only, names, ax, "a single state")
    if "transitions.probs" in found:
        matrix = given_matrix(fit, "transitions.probs")
        return draw_matrix(matrix, names, ax, "the same at every step")
    if "transitions.weights" in found and _are_shared(found["transitions.weights"]):
        never = getattr(fit.model.transitions, "forbidden", ())
        return _draw_weights(found["transitions.weights"], ax, never)
    raise ValueError(
        "data must be given to draw the transitions of "
        f"{type(fit.model.transitions).__name__}, got none; give data=..."
    )


def _other_state(fit: Fit, level: str, given: Mapping[str, int | str]) -> dict:
    """By level, the number of the other level's state that moves go by, if they do."""
    other = "fast" if level == "slow" else "slow"
    if not getattr(fit.model.transitions, f"{level}_depends_on_{other}"):
        return {}
    names, chosen = fit.labels.of_level(other), given[other]
    known: dict[int | str, int] = dict(zip(range(len(names)), range(len(names))))
    known |= dict(zip(names, range(len(names))))
    if chosen not in known:
        raise ValueError(
            f"{other} must be a {other} state, {', '.join(names)}, or its number, got "
            f"{chosen!r:.60}; give one of these"
        )
    return {other: known[chosen]}


def _draw_level(
    fit: Fit,
    data: Sequences | None,
    level: str,
    given: Mapping[str, int | str],
    ax: "Axes | None",
) -> "Axes":
    """Moves of the states of one level."""
    names, found = fit.labels.of_level(level), fit.parameters
    chosen, caption = _other_state(fit, level, given), f"{level} states"
    for other, state in chosen.items():
        where = "in" if other == "slow" else "leaving"
        caption += f" {where} {state_labels(fit, other)[state]}"
    if data is not None:
        matrix, steps = mean_of_level(
            fit, data, level, next(iter(chosen.values()), None)
        )
        said = f"{caption}, mean over {steps:,} steps"
        return draw_matrix(matrix, names, ax, said)
    for kind in ("probs", "weights"):
        name = f"transitions.{level}.{kind}"
        if name not in found or f"transitions.{level}.baseline" in found:
            continue
        if kind == "probs":
            return draw_matrix(given_matrix(fit, name, **chosen), names, ax, caption)
        array = found[name].isel(chosen)
        if not _are_shared(array):
            continue
        ends = ("origin", "destination")
        array = array.rename({f"{level}_{end}": end for end in ends})
        ax = _draw_weights(array.assign_coords({end: list(names) for end in ends}), ax)
        ax.set_title(caption, fontsize="medium")
        return ax
    raise ValueError(
        f"data must be given to draw the {level} transitions of "
        f"{type(fit.model.transitions.parts[level]).__name__}, got none; give data=..."
    )


def _are_shared(weights: "xr.DataArray") -> bool:
    """Whether weights are the same in all sessions, so that one table has them."""
    return not {"session", "group"} & {*weights.dims}


def _draw_weights(
    array: "xr.DataArray", ax: "Axes | None", never: Sequence[tuple[int, int]] = ()
) -> "Axes":
    """A table of weights: moves down but those that cannot be, covariates along."""
    values, moves, reference = _moves(array, never)
    names = array.coords["covariate"].values.tolist()
    width = min(3.8 + 0.8 * len(names), 11.0)
    ax = axes_or_new(ax, width, max(3.2, 1.4 + 0.24 * len(moves)))
    wide = len(names) > MOST_NUMBERS
    largest = _largest_shown(values, wide)
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
    extend = "both" if np.abs(values).max() > largest else "neither"
    ax.figure.colorbar(image, ax=ax, label=label, extend=extend)
    return ax


def _largest_shown(values: np.ndarray, wide: bool) -> float:
    """Where colours end: intercepts far larger than effects must not pale these.

    Args:
        values: weights, shape (moves, covariates).
        wide: whether there are so many that no numbers are written.
    """
    if wide:
        return float(np.quantile(np.abs(values), 0.98)) or 1.0
    *others, largest = np.sort(np.abs(values).max(0)).tolist()
    if others and largest > _FAR_ABOVE * others[-1]:
        return max(others[-1], largest * _LEAST) or 1.0
    return largest or 1.0


def _moves(
    array: "xr.DataArray", never: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, list[str], str]:
    """Rows of weights, the zeros of staying left out; what they drive; against what."""
    if "origin" not in array.dims:
        first, *others = map(plain, array["destination"].values)
        rows = [f"to {state}" for state in others]
        return array.values[1:], rows, f"going to {first}"
    names = [plain(name) for name in array["destination"].values]
    states = range(len(array))
    pairs = [(i, j) for i in states for j in states if i != j and (i, j) not in never]
    values = np.stack([array.values[pair] for pair in pairs])
    moves = [f"{names[i]} \N{RIGHTWARDS ARROW} {names[j]}" for i, j in pairs]
    return values, moves, "staying"
