"""Moves in which an M-step of units without a law is searched."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.components.varying.unit_laws import CONSTANT, WEIGHTS
from glmhmm_pyro.components.whitened_columns import WhitenedWeights
from glmhmm_pyro.priors.answers import normal_precision
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    from glmhmm_pyro.components.varying.by_unit import UnlinkedUnits

# Count of a step at the least: weights of a state that is not in a unit have a size.
_LEAST = 1e-4


def moves_of_units(
    component: "UnlinkedUnits", counts: Tensor, data: Sequences
) -> WhitenedWeights:
    """Moves of weights of one size, under expected counts and normal priors.

    Args:
        component: bound to the data.
        counts: that its M-step reads, with a leading axis of sets.
        data: the data set.
    """
    design = component.operator(data).dense().double().cpu()
    of_unit, units = component.entries(data)[:, 0].cpu(), component.shape(WEIGHTS)[0]
    weights = _counts_of_rows(component, counts.double().cpu())
    order, sizes = of_unit.argsort(stable=True), of_unit.bincount(minlength=units)
    columns = [design[:, places] for places in component.places]
    precise, shared_ones = (_prior_rows(component, n) for n in (WEIGHTS, CONSTANT))
    varying, shared = [], []
    for unit, steps in enumerate(order.split(sizes.tolist())):
        seen = weights[..., steps].clamp(min=_LEAST).sqrt().unsqueeze(-1)
        own, others = (seen * part[steps] for part in columns)
        if precise is not None:
            own, others = _below(own, precise[unit]), _below(others, precise[unit], 0.0)
        if shared_ones is not None and unit == 0:
            own, others = _below(own, shared_ones, 0.0), _below(others, shared_ones)
        varying.append(own)
        shared.append(others)
    names = [name for name in (WEIGHTS, CONSTANT) if name in component.sites]
    return WhitenedWeights.of(names, varying, shared)


def _counts_of_rows(component: "UnlinkedUnits", counts: Tensor) -> Tensor:
    """Count of every row of the design, (sets, *axes of weights but columns, rows)."""
    if component.counts_of != "emission":
        counts = counts.sum(-1)
    if component.counts_of == "initial":
        counts = counts.unsqueeze(-1)
    counts = counts.mT
    for _ in range(len(component.unit_axes) + 1 - counts.dim()):
        counts = counts.unsqueeze(-2)
    return counts


def _prior_rows(component: "UnlinkedUnits", name: str) -> Tensor | None:
    """Rows of columns whose moments are a normal prior's precision, (..., size, size).

    ``None`` for other priors, and for a component without such a site.
    """
    if name not in component.sites:
        return None
    prior = component.filled(name)
    found = normal_precision(prior)
    if found is None:
        return None
    whole = found.double().cpu().expand(*prior.shape(), found.shape[-1])
    values, vectors = torch.linalg.eigh(whole)
    return values.clamp(min=0).sqrt().unsqueeze(-1) * vectors.mT


def _below(rows: Tensor, more: Tensor, factor: float = 1.0) -> Tensor:
    """Rows (sets, *own, rows, columns) with others below, or as many of 0.

    Args:
        rows: of all sets.
        more: shape (*own, others, any).
        factor: 0 for rows of 0.
    """
    if not factor:
        more = rows.new_zeros(*more.shape[:-1], rows.shape[-1])
    batch = broadcast_shape(rows.shape[:-2], more.shape[:-2])
    both = (part.expand(*batch, *part.shape[-2:]) for part in (rows, more))
    return torch.cat([*both], -2)
