"""Tables of softmax regressions in which every step has the weights of its unit."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.components.alike import single_outputs
from glmhmm_pyro.components.tables import (
    LabelTable,
    LogTable,
    MovesTable,
    SoftmaxRegressions,
    TablesSideBySide,
    Values,
)
from glmhmm_pyro.components.varying.unit_laws import CONSTANT, WEIGHTS
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    from glmhmm_pyro.components.varying.varies import Varies

# Axes of outputs in weights that vary, and in those that do not.
OUTPUT_AXES = {WEIGHTS: 2, CONSTANT: 1}


class WholeWeights:
    """Weights of every unit, those that are the same in all of them included.

    Args:
        component: whose weights vary, bound to the data.
    """

    def __init__(self, component: "Varies"):
        self.varying, self.fixed = component.places

    def __call__(self, values: Values) -> dict[str, np.ndarray]:
        """Weights (units, ..., features) of all covariates."""
        weights = values[WEIGHTS]
        if not self.fixed:
            return {WEIGHTS: weights}
        size = len(self.varying) + len(self.fixed)
        found = np.empty((*weights.shape[:-1], size))
        found[..., self.varying] = weights
        found[..., self.fixed] = values[CONSTANT]
        return {WEIGHTS: found}

    def apart(self, slopes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Slopes by what a call was given, from those by what it returned."""
        if not self.fixed:
            return slopes
        whole = slopes[WEIGHTS]
        fixed = whole[..., self.fixed].sum(0)
        return {WEIGHTS: whole[..., self.varying], CONSTANT: fixed}


class UnitWeights(WholeWeights):
    """Those of units of several steps, with these.

    Args:
        component: whose weights vary, bound to the data.
        data: the data set.

    Attributes:
        number: of units that have weights.
        runs: a unit and its steps, for all stretches of steps of one unit.
    """

    def __init__(self, component: "Varies", data: Sequences):
        super().__init__(component)
        self.number = component.shape(WEIGHTS)[0]
        units = component.entries(data)[:, 0]
        found, lengths = units.unique_consecutive(return_counts=True)
        ends = lengths.cumsum(0).tolist()
        rows = map(slice, [0, *ends], ends)
        self.runs: list[tuple[int, slice]] = list(zip(found.tolist(), rows))


class _OfUnits(SoftmaxRegressions):
    """Regressions of all steps by weights (units, ..., features)."""

    units: UnitWeights

    def __init__(self, design: DesignMatrix, values: Tensor | None = None):
        self.design, self.member, self.group = design, slice(None), None
        rows = design.dense().double().contiguous().numpy()
        self.rows = [(unit, steps, rows[steps]) for unit, steps in self.units.runs]

    def predicted(self, weights: np.ndarray, out: np.ndarray) -> None:
        """Predictors of all steps (steps, ...)."""
        columns = weights.reshape(len(weights), -1, weights.shape[-1]).swapaxes(1, 2)
        scores = out.reshape(len(out), -1)
        for unit, steps, rows in self.rows:
            np.matmul(rows, columns[unit], out=scores[steps])

    def by_weights(self, residuals: np.ndarray) -> np.ndarray:
        """Slopes by weights; 0 for units that have no steps."""
        slopes = residuals.reshape(len(residuals), -1)
        number, features = self.units.number, self.design.shape[1]
        found = np.zeros((number, slopes.shape[1], features))
        for unit, steps, rows in self.rows:
            found[unit] += slopes[steps].T @ rows
        return found.reshape(number, *residuals.shape[1:], features)


class MovesOfUnits(MovesTable, _OfUnits):
    """Moves by weights of units, staying the reference.

    Args:
        design: transition covariates, shape (steps, features).
        num_states: number of states.
        units: weights of these.
    """

    def __init__(self, design: DesignMatrix, num_states: int, units: UnitWeights):
        self.units = units
        super().__init__(design, np.zeros((num_states, num_states - 1), dtype=bool))

    def _predict(self, values: Values) -> None:
        super()._predict(self.units(values))

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the weights of all units."""
        return self.units.apart(super().slopes(counts))

    def softmaxes(self) -> None:
        """None that the covariances of scores know, which are of one design."""


class LabelsOfUnits(LabelTable, _OfUnits):
    """Labels by weights of units.

    Args:
        data: where the labels stand.
        design: covariates, shape (steps, features).
        shape: of a unit's weights of all covariates.
        units: weights of these.
    """

    def __init__(
        self,
        data: Sequences,
        design: DesignMatrix,
        shape: torch.Size,
        units: UnitWeights,
    ):
        self.units = units
        super().__init__(data, design, shape)
        self.weights = torch.Size((units.number, *shape))

    def __call__(self, values: Values) -> np.ndarray:
        """log p(y_t | z_t = k)."""
        return super().__call__(self.units(values))

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the weights of all units."""
        return self.units.apart(super().slopes(counts))

    def softmaxes(self) -> None:
        """None that the covariances of scores know, which are of one design."""


def moves_of_units(component: "Varies", data: Sequences) -> LogTable | None:
    """The table of moves by weights of units, if predictors are those made here.

    Args:
        component: transitions whose weights vary over units.
        data: the data set.
    """
    if not component.has_tables(data):
        return None
    states = len(component.all_states(data.device))
    units = UnitWeights(component, data)
    return MovesOfUnits(component.operator(data), states, units)


def labels_of_units(component: "Varies", data: Sequences) -> LogTable | None:
    """The table of labels by weights of units, if it is labels that are emitted.

    Args:
        component: emissions whose weights vary over units.
        data: the data set.
    """
    if not component.has_tables(data):
        return None
    table = component.inner.log_table(data)
    design, shape = component.operator(data), component.inner.shape(WEIGHTS)
    if type(table) is LabelTable:
        return LabelsOfUnits(data, design, shape, UnitWeights(component, data))
    if not isinstance(table, TablesSideBySide):
        return None
    one, units = shape[:1] + shape[2:], UnitWeights(component, data)
    outputs = [LabelsOfUnits(d, design, one, units) for d in single_outputs(data)]
    return TablesSideBySide(outputs, OUTPUT_AXES)
