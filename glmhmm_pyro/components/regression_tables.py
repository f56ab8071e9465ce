"""Tables of regressions of counts and of measurements, with slopes made by hand.

What a step adds and its derivatives are those of the family's M-step
(:mod:`~glmhmm_pyro.components.regressions`).
"""

from collections.abc import Sequence

import numpy as np
import torch

from glmhmm_pyro.components.alike import OutputsAlike, single_outputs
from glmhmm_pyro.components.regressions import RegressionObjective, Terms
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.softmax import predictors
from glmhmm_pyro.components.tables import (
    LogTable,
    Softmaxes,
    TablesSideBySide,
    Values,
)
from glmhmm_pyro.sequences import Sequences


class RegressionTable:
    """Regressions of one number, one regression a state.

    Args:
        objective: of the family's M-step.
        data: where the numbers stand; masked steps have log-probability 0.
        num_states: number of states.
        others: names of the positive parameters, in the order of their declaration,
            each by state (states,) or one for all of them ().
    """

    def __init__(
        self,
        objective: RegressionObjective,
        data: Sequences,
        num_states: int,
        others: Sequence[str],
    ):
        self.objective, self.others = objective, tuple(others)
        self.shape: tuple[int, ...] = (data.num_steps, num_states)
        pool = objective.pool
        self._group = None if pool.group is None else pool.group.numpy()
        self._unseen = None if data.mask is None else ~data.mask.numpy()
        self._values: dict[str, np.ndarray] = {}
        none = np.zeros((num_states, 0))
        self._terms = Terms(none, none, (), none)

    def __call__(self, values: Values) -> np.ndarray:
        """log p(y_t | z_t = k)."""
        self._values = {name: np.asarray(values[name]) for name in self.others}
        by_state = (self.shape[1], 1)
        logs = [
            np.broadcast_to(np.log(value).reshape(-1, 1), by_state)
            for value in self._values.values()
        ]
        scores = predictors(self.objective.design, values["weights"])
        self._terms = self.objective.terms(scores, *logs)
        table = self._terms.log_probs.T
        if self._group is not None:
            table = table.take(self._group, axis=0)
        if self._unseen is not None:
            table = np.where(self._unseen[:, None], 0.0, table)
        return np.ascontiguousarray(table)

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the weights, and by the positive parameters."""
        if self._unseen is not None:
            counts = np.where(self._unseen[:, None], 0.0, counts)
        pooled = self.objective.prepare(torch.from_numpy(counts[None]))
        expected = pooled != 0
        # 0 counts times an infinite slope is 0.
        by_predictor = np.where(expected, pooled * self._terms.slope, 0.0)
        weights = torch.from_numpy(by_predictor) @ self.objective.design
        found = {"weights": weights.numpy()}
        for (name, value), slope in zip(self._values.items(), self._terms.others):
            by_log = np.where(expected, pooled * slope, 0.0).sum(1)
            found[name] = np.asarray((by_log if value.ndim else by_log.sum()) / value)
        return found

    def softmaxes(self) -> Softmaxes | None:
        """None: these are no softmaxes."""
        return None


def regression_table(
    family: OutputsAlike, data: Sequences, kind: type
) -> LogTable | None:
    """The table of a family of numbers, if it is as its class of this package has it.

    Args:
        family: bound to the data.
        data: what it reads of the data set.
        kind: that class.
    """
    if not family.is_plain or not is_as_defined(family, kind, "distribution"):
        return None
    design, states = family.operator(data), family.shape("weights")[0]
    others = [name for name in family.sites if name != "weights"]
    objectives = [(family.objective_of(d, design), d) for d in single_outputs(data)]
    if any(objective is None for objective, _ in objectives):
        return None
    tables = [RegressionTable(o, d, states, others) for o, d in objectives]
    if family.num_outputs is None:
        return tables[0]
    axes = {name: family.sites[name].axes.index("output") for name in family.sites}
    return TablesSideBySide(tables, axes)
