"""Images of a mode: where it comes to lie when the hidden states change numbers."""

import itertools
import math

import torch
from torch import Tensor

from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.renumbering import Renumbering, StateAxes
from glmhmm_pyro.inference.program.symmetry import Symmetry, symmetry_of

# Standard deviations of the posterior between two images below which they are one, and
# below which their volumes overlap: two to either side.
_SAME, _APART = 1e-2, 4.0

# Renumberings that are looked at one by one; of more, those of two states.
_MOST = 720


class OverlappingImagesError(ValueError):
    """Renumbered, a mode comes to lie within its own volume."""


def log_num_images(
    program: Program, mode: Params, factor: Tensor, state_axes: StateAxes | None
) -> float:
    """Log number of distinct images of a mode under renumberings that keep the prior.

    Args:
        program: the model with its data.
        mode: values of the sites.
        factor: shape (size, size), of the covariance around the mode.
        state_axes: see :class:`NUTS`; for sites of a model of the user's own.

    Raises:
        ValueError: it is not known how the parameters follow.
        OverlappingImagesError: an image is less than 4 standard deviations away.
    """
    sites = program.observed(mode).values()
    states = max(site.hidden.num_states for site in sites)
    renumbering = Renumbering(program.model, mode, state_axes)
    if renumbering.unknown and states > 1:
        raise ValueError(
            "all_images must be False for parameters whose states cannot be "
            "renumbered, got True; "
            f"{renumbering.advice}"
        )
    symmetry = symmetry_of(program, mode, renumbering, states)
    centre, same = program.coordinates.pack(mode), 1
    orders = _orders(symmetry)
    for order in orders:
        image = program.coordinates.pack(renumbering(mode, order))
        away = torch.linalg.solve(factor, image - centre).norm().item()
        if away < _SAME:
            same += 1
        elif away < _APART:
            raise OverlappingImagesError(_overlapping(order, away))
    return math.log(symmetry.size / same)


def _orders(symmetry: Symmetry) -> list[Tensor]:
    """The renumberings to look at, without the one that changes nothing."""
    if symmetry.size <= _MOST:
        return list(itertools.islice(symmetry.orders(), 1, None))
    found = [torch.tensor(move) for move in symmetry.moves[1:]]
    for group in symmetry.classes:
        for one, other in itertools.combinations(group, 2):
            order = torch.arange(symmetry.num_states)
            order[one], order[other] = other, one
            found.append(order)
    return found


def _overlapping(order: Tensor, away: float) -> str:
    moved = [state for state, old in enumerate(order.tolist()) if state != old]
    return (
        f"images of the mode overlap: renumbering states {', '.join(map(str, moved))} "
        f"moves it by {away:.1f} standard deviations of the posterior, so that the sum "
        "over images counts the volume between them twice; use fewer states, or leave "
        "out all_images and take the evidence for that of one mode"
    )
