"""Matrices of transition probabilities with their intervals, and how they are drawn."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.analysis.driven.bands import band
from glmhmm_pyro.analysis.driven.quantities import PROBABILITY
from glmhmm_pyro.components import Transitions
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.inference.fits.latent_draws import with_latents_for
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.labels import named_draws
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.plotting.style import (
    LETTERS_PER_INCH,
    axes_or_new,
    name_ticks,
    write_numbers,
)
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.weights import by_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches that a scale of colours takes beside cells. It stands where these have no use
# for them, as every cell has its number.
SCALE = 0.75

# Most draws of the parameters that a mean matrix is computed at.
NUM_DRAWS = 200

# Points of the smallest letters that can be read on paper.
SMALLEST = 6.0

# Points from which letters are read with ease: smaller ones have a digit less.
EASY = 6.5


class Matrix(NamedTuple):
    """Probabilities of moves, with the ends of their intervals, NaN where unknown."""

    probs: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @classmethod
    def without_intervals(cls, probs: np.ndarray) -> "Matrix":
        """Probabilities of which no more is known."""
        return cls(probs, *np.full((2, *probs.shape), np.nan))


def given_matrix(fit: Fit, parameter: str, **chosen: int) -> Matrix:
    """A matrix that is a parameter, with the intervals of the draws of a fit.

    Args:
        fit: the fit.
        parameter: name of the parameter.
        chosen: which entries of further axes, by name.
    """
    array = fit.parameters[parameter].isel(chosen)
    if fit.posterior is None:
        return Matrix.without_intervals(array.values)
    draws = named_draws(fit.model, fit.draws, fit.labels)[parameter].isel(chosen)
    ends = np.quantile(draws.values, (0.025, 0.975), axis=(0, 1))
    return Matrix(array.values, *ends)


def mean_matrix(fit: Fit, data: Sequences) -> tuple[Matrix, int]:
    """Mean matrix over the steps of data, and the number of these steps."""
    inside = _inside(data)
    number = int(inside.sum())
    is_known = bool(Program.kind_of(fit.model).components_of(fit.model))
    if is_known and fit.model.transitions.emits is None:
        part = fit.model.transitions
        return _with_intervals(fit, data, part, inside), number
    probs = fit.distribution(data).transition_probs()
    mean = _mean(probs, data, inside)
    return Matrix.without_intervals(mean.cpu().numpy()), number


def mean_of_level(
    fit: Fit, data: Sequences, level: str, other: int | None
) -> tuple[Matrix, int]:
    """Mean matrix of one level of two, and the number of steps that it is the mean of.

    Args:
        fit: the fit.
        data: the data set.
        level: ``"slow"`` or ``"fast"``.
        other: number of the other level's state by which they go, if they do.
    """
    data = fit.as_fitted(data)
    part = fit.model.transitions.parts[level]
    inside = part.own_states.steps(data)
    _check_any(inside, data)
    found = _with_intervals(fit, data, part, inside, other)
    return found, int(inside.sum())


def _with_intervals(
    fit: Fit,
    data: Sequences,
    part: Transitions,
    inside: Tensor,
    other: int | None = None,
) -> Matrix:
    """Mean of what a component says at some steps."""
    data = fit.as_fitted(data)
    fit = with_latents_for(fit, data)

    def mean(params: Params) -> Tensor:
        with fit.model.at(params):
            logs: Tensor = part.log_probs(data)
        probs = (logs if other is None else logs[other]).exp()
        return _mean(probs, data, inside)

    found = band(fit, data, mean, PROBABILITY, NUM_DRAWS)
    return Matrix(found.estimate, found.lower, found.upper)


def _mean(probs: Tensor, data: Sequences, inside: Tensor) -> Tensor:
    """Mean over some steps, sessions counting by their weights; over what is known."""
    if len(probs) == 1:
        return probs[0]
    probs, weights = probs[inside], by_step(data)[inside].to(probs)[:, None, None]
    known = ~probs.isnan() * weights
    return (probs.nan_to_num() * known).sum(0) / known.sum(0)


def _inside(data: Sequences) -> Tensor:
    """Steps that are no session's first one."""
    inside = torch.ones(data.num_steps, dtype=torch.bool, device=data.device)
    inside[data.starts] = False
    _check_any(inside, data)
    return inside


def _check_any(inside: Tensor, data: Sequences) -> None:
    """Raise a ValueError if no step has transitions to be averaged over."""
    if not inside.any():
        raise ValueError(
            "data must have a session of more than one step to average transitions "
            f"over, got {data.num_sessions} sessions of one step; give longer sessions"
        )


def draw_matrix(
    matrix: Matrix, names: Sequence[str], ax: "Axes | None", caption: str
) -> "Axes":
    """A matrix with its numbers, and below each its interval where there is room.

    Args:
        matrix: the probabilities.
        names: of the states.
        ax: where to draw; a new figure if none.
        caption: of what steps it is, written below.
    """
    size = 2.6 + 0.45 * len(names)
    ax = axes_or_new(ax, size + 0.8, size)
    image = ax.imshow(matrix.probs, cmap="Blues", vmin=0.0, vmax=1.0)
    name_ticks(ax.xaxis, names)
    name_ticks(ax.yaxis, names)
    ax.set_xlabel(f"state at t, {caption}")
    ax.set_ylabel("state at t - 1")
    across, up = _room(ax)
    cell = 72 * min(across, up) / len(names)
    digits = 3 if len(names) < 6 else 2
    # What is written: a number, and two numbers with a dash.
    fine = _size(cell, 2 * digits + 5, 8.0) >= EASY
    below_digits = digits if fine else 2
    sizes = _size(cell, digits + 2, 10.0), _size(cell, 2 * below_digits + 5, 8.0)
    below = _intervals(matrix, below_digits) if sizes[1] >= SMALLEST else None
    write_numbers(ax, matrix.probs, image, digits, below=below, sizes=sizes)
    if across - up > SCALE:
        ax.figure.colorbar(image, ax=ax, label="transition probability")
    return ax


def _room(ax: "Axes") -> tuple[float, float]:
    """Inches across and up that names and labels will leave for cells.

    Axes that are not laid out yet have a little over three quarters of their figure.
    """
    whole = np.array([ax.bbox.width, ax.bbox.height]) / ax.figure.dpi / 0.77
    letters = max(len(label.get_text()) for label in ax.get_yticklabels())
    long = 0.1 + letters / LETTERS_PER_INCH
    slant = ax.get_xticklabels()[0].get_rotation()
    below = max(long * np.sin(np.deg2rad(slant)), 0.2)
    # Names, a label, and the ends that stand off.
    across, up = whole - (long + 0.3, below + 0.35)
    return max(float(across), 0.2), max(float(up), 0.2)


def _size(points: float, letters: int, most: float) -> float:
    """Size at which so many letters have room, one being .6 of its size wide."""
    return min(0.95 * points / (0.6 * letters), most)


def _intervals(matrix: Matrix, digits: int) -> list[list[str]] | None:
    """What is written below every number, "" where nothing is known."""
    ends = np.stack(matrix[1:], -1)
    if np.isnan(ends).all():
        return None
    return [
        ["" if np.isnan(pair).any() else _range(pair, digits) for pair in row]
        for row in ends
    ]


def _range(pair: np.ndarray, digits: int) -> str:
    low, high = (f"{end:.{digits}f}" for end in pair)
    return f"{low}\N{EN DASH}{high}"
