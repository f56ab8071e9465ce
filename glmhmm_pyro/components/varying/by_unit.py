"""Tables of components whose weights are those of units that no law links."""

from typing import Any

import numpy as np
import torch

from glmhmm_pyro.components.tables import LogTable, Softmaxes, Values
from glmhmm_pyro.sequences import Sequences

# Units beyond which as many tables take longer than a graph of all steps.
_MOST_UNITS = 100


class TableByUnit:
    """A table of each unit's steps, at the weights of the unit.

    Args:
        steps: numbers of every unit's steps, by its number.
        tables: the family's at these steps.
        num_units: number of units that have weights.
    """

    def __init__(
        self, steps: dict[int, np.ndarray], tables: list[LogTable], num_units: int
    ):
        self.parts = list(zip(steps.items(), tables))
        self.num_units = num_units
        number = sum(len(places) for places in steps.values())
        self.shape = (number, *tables[0].shape[1:])
        self._logs = np.empty(self.shape)

    def __call__(self, values: Values) -> np.ndarray:
        """The potentials of all steps."""
        for (unit, places), table in self.parts:
            weights = np.ascontiguousarray(values["weights"][unit])
            self._logs[places] = table({"weights": weights})
        return self._logs

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the weights (units, ...), 0 for units that have no steps."""
        own = {
            unit: table.slopes(np.ascontiguousarray(counts[places]))["weights"]
            for (unit, places), table in self.parts
        }
        none = np.zeros_like(next(iter(own.values())))
        return {"weights": np.stack([own.get(u, none) for u in range(self.num_units)])}

    def softmaxes(self) -> Softmaxes | None:
        """None that the covariances of scores know, which are of one design."""
        return None


def table_by_unit(component: Any, data: Sequences) -> TableByUnit | None:
    """The family's table of every unit, if the units' weights are all there is.

    Args:
        component: one of weights that vary, bound to the data.
        data: the data set.
    """
    weights_alone = set(component.sites) == set(component.inner.sites) == {"weights"}
    if component.link is not None or not weights_alone or data.ranks.size > 1:
        return None
    number = component.shape("weights")[0]
    if number > _MOST_UNITS or component.over == "step":
        return None
    by_session = torch.tensor(component.rows(component.over, data))
    by_step = by_session.repeat_interleave(data.lengths)
    steps, tables = {}, []
    for unit in by_session.unique().tolist():
        own = data.subset((by_session == unit).tolist())
        table = component.inner.log_table(own)
        if table is None or table.shape[0] != own.num_steps:
            return None
        steps[unit] = (by_step == unit).nonzero()[:, 0].numpy()
        tables.append(table)
    return TableByUnit(steps, tables, number)
