"""Tables of labels by weights of every pair of a slow and a fast state."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from glmhmm_pyro.components.alike import single_outputs
from glmhmm_pyro.components.tables import (
    LabelTable,
    LogTable,
    TablesSideBySide,
    Values,
)
from glmhmm_pyro.components.varying.unit_laws import WEIGHTS
from glmhmm_pyro.components.varying.unit_tables import OUTPUT_AXES, WholeWeights
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.sequences import Sequences

if TYPE_CHECKING:
    from glmhmm_pyro.components.varying.over_slow import VaryingOverSlow


class LabelsOfPairs(LabelTable):
    """Labels by weights (slow, fast, ..., features), of pairs in their order.

    Args:
        data: where the labels stand.
        design: covariates, shape (steps, features).
        shape: of the weights of all covariates.
        whole: which of these vary.
    """

    def __init__(
        self,
        data: Sequences,
        design: DesignMatrix,
        shape: torch.Size,
        whole: WholeWeights,
    ):
        pairs = torch.Size((shape[0] * shape[1],))
        super().__init__(data, design, pairs + shape[2:])
        self.whole, self.weights = whole, shape

    def __call__(self, values: Values) -> np.ndarray:
        """log p(y_t | s_t = j, f_t = b)."""
        return super().__call__(self.whole(values))

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the weights of all pairs, and by those that do not vary."""
        return self.whole.apart(super().slopes(counts))

    def softmaxes(self) -> None:
        """None that the covariances of scores know, whose weights are all in one."""
        return None


def labels_of_pairs(component: "VaryingOverSlow", data: Sequences) -> LogTable | None:
    """The table of labels by weights of pairs, if it is labels that are emitted.

    Args:
        component: emissions whose weights vary over slow states, bound to the data.
        data: the data set.
    """
    table = component.inner.log_table(data)
    design, whole = component.operator(data), WholeWeights(component)
    shape = torch.Size((component.num_slow, *component.inner.shape(WEIGHTS)))
    if type(table) is LabelTable:
        return LabelsOfPairs(data, design, shape, whole)
    if not isinstance(table, TablesSideBySide):
        return None
    one = shape[:2] + shape[3:]
    outputs = [LabelsOfPairs(d, design, one, whole) for d in single_outputs(data)]
    return TablesSideBySide(outputs, OUTPUT_AXES)
