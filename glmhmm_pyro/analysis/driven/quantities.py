"""Quantities of a part of a model: of transitions, of first states, of emissions."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.analysis.driven.counterfactual import ModelPart
from glmhmm_pyro.components.stationary_initial import stationary_probs
from glmhmm_pyro.inference import Fit
from glmhmm_pyro.inference.curvature.intervals import SupportBounds

PROBABILITY, REAL = SupportBounds(0.0, 1.0), SupportBounds(-math.inf, math.inf)


class NamedQuantities(NamedTuple):
    """Numbers along one axis, each with the states that it is about.

    Attributes:
        kinds: what they are, such as ``"leaving"``.
        origins: name of the state that it starts from, or is about.
        destinations: name of the state that it leads to, or of a class, or "".
        borders: of their values.
    """

    kinds: list[str]
    origins: list[str]
    destinations: list[str]
    borders: SupportBounds

    def axes(self) -> dict[str, list[str]]:
        """The columns of an index."""
        return {
            "kind": self.kinds,
            "origin": self.origins,
            "destination": self.destinations,
        }


def part_names(fit: Fit, part: ModelPart) -> NamedQuantities:
    """Every entry of what a part gives at a row, in its order."""
    names = fit.state_names
    if part.part == "initial":
        return _named_quantities([("first", name, "") for name in names], PROBABILITY)
    if part.part == "transitions":
        return _named_quantities(
            [("moving", i, j) for i in names for j in names], PROBABILITY
        )
    number, has_classes = part(fit.params).shape[-1], part.has_classes(fit.params)
    known = fit.labels.classes if has_classes else part.component.names_along("output")
    is_named = known is not None and len(known) == number
    labels = list(known or ()) if is_named else [str(i) for i in range(number)]
    kind = "probability" if has_classes else "mean"
    rows = [(kind, name, label) for name in names for label in labels]
    return _named_quantities(
        rows, PROBABILITY if has_classes else part.borders(fit.params)
    )


def effect_names(fit: Fit, part: ModelPart) -> NamedQuantities:
    """Names of the average effects on a part, those of :func:`part_names` first."""
    found = part_names(fit, part)
    if part.part != "transitions":
        return found
    summed = [
        (kind, n, "") for kind in ("leaving", "entering") for n in fit.state_names
    ]
    rows = [*zip(found.kinds, found.origins, found.destinations), *summed]
    return _named_quantities(rows, REAL)


def with_summed_effects(effects: Tensor, shares: Tensor) -> Tensor:
    r"""Effects on moves, and on leaving a state and entering it.

    That on entering j is a mean over the other states, as often as these are taken,

    .. math:: \frac{\sum_{i \ne j} s_i E_{ij}}{\sum_{i \ne j} s_i}

    Args:
        effects: on moves, shape (origins, destinations).
        shares: how often each origin is taken, shape (origins,).

    Returns:
        Shape (numbers,), in the order of :func:`effect_names`.
    """
    others = shares[:, None] * (1 - torch.eye(len(effects)).to(effects))
    entering = (others * effects).sum(0) / others.sum(0)
    return torch.cat([effects.flatten(), -effects.diagonal(), entering])


def transition_names(names: tuple[str, ...]) -> NamedQuantities:
    """Names of what :func:`transition_quantities` returns, in its order."""
    rows = [("moving", i, j) for i in names for j in names]
    for kind in ("staying", "leaving", "entering", "dwell", "occupancy"):
        rows += [(kind, name, "") for name in names]
    is_dwell = np.array([kind == "dwell" for kind, _, _ in rows])
    lower, upper = np.where(is_dwell, 1.0, 0.0), np.where(is_dwell, math.inf, 1.0)
    return _named_quantities(rows, SupportBounds(lower, upper))


def _named_quantities(
    rows: list[tuple[str, str, str]], borders: SupportBounds
) -> NamedQuantities:
    kinds, origins, destinations = (list(column) for column in zip(*rows))
    return NamedQuantities(kinds, origins, destinations, borders)


def transition_quantities(matrices: Tensor, shares: Tensor) -> Tensor:
    r"""Probabilities that summarise transition matrices.

    ``entering`` j is the probability of being there next, given another state now,

    .. math:: \frac{\sum_{i \ne j} s_i A_{ij}}{\sum_{i \ne j} s_i},

    ``dwell`` is :math:`1 / (1 - A_{ii})`, the mean number of steps of a stay, and
    ``occupancy`` the share of time in the long run, both if the matrix stayed so; the
    latter is NaN where that depends on the state that the chain starts in.

    Args:
        matrices: shape (*batch, origins, destinations).
        shares: how often each origin is taken, shape (origins,).

    Returns:
        Shape (*batch, numbers), in the order of :func:`transition_names`.
    """
    staying = matrices.diagonal(dim1=-2, dim2=-1)
    others = shares[:, None] * (1 - torch.eye(matrices.shape[-1]).to(matrices))
    entering = (others * matrices).sum(-2) / others.sum(-2)
    occupancy = stationary_probs(matrices)
    parts = [staying, 1 - staying, entering, 1 / (1 - staying), occupancy]
    return torch.cat([matrices.flatten(-2), *parts], -1)
