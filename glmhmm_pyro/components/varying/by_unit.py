"""M-steps of components whose weights are those of units without a law."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.formulas import fast_objective
from glmhmm_pyro.components.objectives import Beginning, BlockObjective
from glmhmm_pyro.components.rescaling import ColumnUnits, Gain, Together
from glmhmm_pyro.components.site import block_axes
from glmhmm_pyro.components.varying.unit_laws import CONSTANT, MEAN, WEIGHTS
from glmhmm_pyro.components.varying.unit_moves import moves_of_units
from glmhmm_pyro.components.whitened_columns import WhitenedWeights
from glmhmm_pyro.priors.affine import Affine, held_map, rescaled
from glmhmm_pyro.sequences import Sequences

# Curvature that any weight has in an M-step, in steps at its covariate's unit.
_LEAST = 1e-8


class ObjectiveByUnit:
    """An M-step in which every block of every unit's weights is a problem of its own.

    Problems are numbered sets times units times blocks.

    Args:
        parts: numbers of a unit's steps, and the family's objective at these.
        num_units: number of units that have weights.
        num_blocks: of a unit.
        axis: of steps in expected counts.
    """

    def __init__(
        self,
        parts: dict[int, tuple[Tensor, BlockObjective]],
        num_units: int,
        num_blocks: int,
        axis: int,
    ):
        self.parts, self.num_units, self.num_blocks = parts, num_units, num_blocks
        self.axis = axis

    def prepare(self, counts: Tensor) -> dict[int, Any]:
        """Expected counts (sets, ..., steps, ...) of every unit's steps."""
        return {
            unit: objective.prepare(counts.index_select(self.axis, places))
            for unit, (places, objective) in self.parts.items()
        }

    def __call__(
        self, points: np.ndarray, which: np.ndarray, counts: dict[int, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values and gradients of the running problems, 0 without steps."""
        values, gradient = np.zeros(len(points)), np.zeros_like(points)
        parameter_set, rest = np.divmod(which, self.num_units * self.num_blocks)
        of_unit, block = np.divmod(rest, self.num_blocks)
        own = parameter_set * self.num_blocks + block
        for unit, (_, objective) in self.parts.items():
            rows = np.flatnonzero(of_unit == unit)
            if len(rows):
                found = objective(points[rows], own[rows], counts[unit])
                values[rows], gradient[rows] = found
        return values, gradient

    def begin(self, points: np.ndarray, counts: dict[int, Any]) -> Beginning:
        """All problems; those of units without steps have next to no curvature."""
        size = points.shape[1]
        by_unit = points.reshape(-1, self.num_units, self.num_blocks, size)
        values, gradient = np.zeros(by_unit.shape[:3]), np.zeros_like(by_unit)
        found = {
            unit: objective.begin(by_unit[:, unit].reshape(-1, size), counts[unit])
            for unit, (_, objective) in self.parts.items()
        }
        shape = next(iter(found.values())).curvature.shape[1:]
        # Where a unit has no steps, its weights stay where they are.
        curvature = np.zeros((*values.shape, *shape)) + _LEAST * np.eye(shape[-1])
        for unit, own in found.items():
            values[:, unit] = own.values.reshape(-1, self.num_blocks)
            gradient[:, unit] = own.gradient.reshape(-1, self.num_blocks, size)
            curvature[:, unit] += own.curvature.reshape(-1, self.num_blocks, *shape)
        return Beginning(
            values.reshape(-1),
            gradient.reshape(-1, size),
            curvature.reshape(-1, *shape),
        )


def objective_by_unit(
    component: "UnlinkedUnits", data: Sequences
) -> ObjectiveByUnit | None:
    """The M-step of every unit by itself, if the family has one of blocks.

    Args:
        component: one of weights that vary, bound to the data.
        data: the data set.
    """
    parts = {}
    for unit, (places, own) in _by_unit(component, data).items():
        objective = fast_objective(component.inner, own)
        if objective is None:
            return None
        parts[unit] = places, objective
    units, *blocks = component.shape("weights")[: len(block_axes(component.blocks))]
    axis = -3 if component.counts_of == "transition" else -2
    return ObjectiveByUnit(parts, units, math.prod(blocks), axis)


def are_unlinked(component: "UnlinkedUnits") -> bool:
    """Whether the weights of units without a law are all that a component has."""
    weights_alone = set(component.sites) == set(component.inner.sites) == {"weights"}
    return component.link is None and weights_alone and component.over != "step"


def _by_unit(
    component: "UnlinkedUnits", data: Sequences
) -> dict[int, tuple[Tensor, Sequences]]:
    """Numbers of the steps, and the data, of every unit that has some."""
    by_session = torch.tensor(component.rows(component.over, data))
    by_step = by_session.repeat_interleave(data.lengths)
    return {
        unit: (
            (by_step == unit).nonzero()[:, 0],
            data.subset((by_session == unit).tolist()),
        )
        for unit in by_session.unique().tolist()
    }


class UnlinkedUnits(Component):
    """What a component whose weights vary can do where no law links the units."""

    family: Any
    inner: Any
    link: Any
    over: str
    outer: tuple[str, ...]
    unit_axes: tuple[str, ...]
    has_objectives = False

    places: Any

    @property
    def has_own_rows(self) -> bool:
        """Whether a step reads the weights of its unit alone, as here."""
        raise NotImplementedError

    @property
    def learnt_scales(self) -> tuple[str, ...]:
        """Names of the sites of scales that are learnt."""
        raise NotImplementedError

    @property
    def has_own_units(self) -> bool:
        """Whether predictors are those made here."""
        return self.has_own_rows

    @property
    def _reads_columns(self) -> bool:
        """Whether weights are of covariates, not log-odds alone."""
        return WEIGHTS in self.inner.sites

    @property
    def columns_together(self) -> list[Together | None]:
        """Columns whose weights vary, and those whose do not.

        A constant weight takes up no means of what varies; weights of all units do
        those of what does not. A law speaks of weights of columns where these are, so
        that nothing takes up means of them, nor they of others.
        """
        if not self._reads_columns:
            return []
        varying, fixed = self.places
        if self.link:
            parts = Together(varying, []), Together.alone(fixed)
            return [p for p in parts if p.columns] if self._law_has_units else [None]
        parts = Together.alone(varying), Together(fixed, fixed + varying)
        return [part for part in parts if part.columns]

    @property
    def _law_has_units(self) -> bool:
        """Whether learnt scales of a law are of one column's weights each."""
        apart = all("covariate" in self.sites[name].axes for name in self.learnt_scales)
        return apart or len(self.places[0]) == 1

    def own_maps(self, columns: ColumnUnits) -> dict[str, Affine]:
        """Weights of all units, those that are the same in them, and their law."""
        if columns.are_as_given or not self._reads_columns:
            return {}
        maps = self._by_site(columns.affine(), columns)
        if self.link is None:
            return maps
        size = Affine(1 / columns.chosen(self.places[0]).scale.abs())
        one = Affine(size.factor.reshape(-1)[0])
        for name in self.learnt_scales:
            axes = self.sites[name].axes
            maps[name] = size if "covariate" in axes else one
        return maps | ({MEAN: maps[WEIGHTS]} if MEAN in self.sites else {})

    def law_in_units(self, columns: ColumnUnits) -> tuple[str, ...]:
        """Take the law to columns in these units, whose weights' maps are known.

        Returns:
            The sites whose density that changes, which no prior of theirs tells.
        """
        if self.link is None or columns.are_as_given or not self._reads_columns:
            return ()
        self.link = self.link.in_units(columns.chosen(self.places[0]).scale.abs())
        # Fits begin at the family's own.
        weights = self.family.sites[WEIGHTS]
        affine = held_map(columns.affine(), self.inner.filled(WEIGHTS))
        weights.prior = rescaled(weights.prior, affine)
        return (WEIGHTS,)

    def _by_site(self, affine: Affine, columns: ColumnUnits) -> dict[str, Affine]:
        """The map of the weights of all columns, by the site that they stand in."""
        ends = {n: p for n, p in zip((WEIGHTS, CONSTANT), self.places) if p}
        return {
            name: affine.chosen(places, columns.chosen(places).affine())
            for name, places in ends.items()
        }

    def own_gains(self, columns: ColumnUnits) -> dict[str, Gain]:
        """What a constant column's weight has in every unit by means of the others."""
        varying, fixed = (columns.chosen(places) for places in self.places)
        column, size = varying.constant, len(varying.scale)
        if column is None or fixed.constant is not None or not fixed.centre.any():
            return {}
        shares = fixed.centre / varying.scale[column]

        def gained(weights: Tensor) -> Tensor:
            taken = -(weights @ shares.to(weights))
            by_column = pad(taken.unsqueeze(-1), (column, size - column - 1))
            return by_column.unsqueeze(-1 - len(self.unit_axes))

        return {WEIGHTS: Gain(CONSTANT, gained, column, self.places[1])}

    def whitening(self, counts: Tensor, data: Sequences) -> WhitenedWeights | None:
        """Moves by which columns are orthogonal within units, where no law is."""
        is_known = self.link is None and self.has_own_rows and data.ranks.size == 1
        return moves_of_units(self, counts, data) if is_known else None

    def bind_blocks(self, data: Sequences) -> None:
        """Declare blocks by unit, if the family has an objective of blocks for data."""
        axes = block_axes(self.inner.blocks)
        if (
            self.has_own_rows
            and are_unlinked(self)
            and axes
            and data.device.type == "cpu"
        ):
            first = fast_objective(self.inner, data.subset([0]))
            self.has_objectives = first is not None
            blocks = (self.over, *self.outer, *axes)
            self.blocks = blocks if self.has_objectives else None

    def separates(self) -> bool:
        """Whether units have M-steps of their own: if nothing links them."""
        return super().separates() and self.has_objectives

    def block_objective(self, data: Sequences) -> BlockObjective | None:
        """The family's for every unit, where no law links them."""
        return objective_by_unit(self, data) if self.separates() else None
