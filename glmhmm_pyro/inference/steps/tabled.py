"""The chain of a GLMHMM whose parts all have tables made by hand."""

import numpy as np
import torch

from glmhmm_pyro.chain import ExpectedCounts
from glmhmm_pyro.chain.passes import Passes
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.tables import LogTable, Values
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.masking import steps_observed
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

PARTS = ("initial", "transitions", "emissions")

Tables = dict[str, LogTable]


def tables_of(model: GLMHMM, data: Sequences) -> Tables | None:
    """Tables of first states, transitions and emissions, if all have one.

    Args:
        model: bound to the data.
        data: the data set.
    """
    as_here = is_as_defined(model, GLMHMM, "forward", "hidden_markov", "_hidden_markov")
    if not as_here or data.device.type != "cpu" or data.dtype != torch.float64:
        return None
    tables = {part: getattr(model, part).log_table(data) for part in PARTS}
    return None if None in tables.values() else tables


class Tabled:
    """Log-likelihoods and expected counts of parameter sets, by tables.

    Args:
        tables: by part, in the order of ``PARTS``.
        data: the data set.
        sets: number of parameter sets.
    """

    def __init__(self, tables: Tables, data: Sequences, sets: int):
        self.tables = tables
        seen = steps_observed(data.mask)
        self.unseen = None if seen is None else ~seen
        self.weights = data.session_weights
        self.out = [np.empty((sets, *table.shape)) for table in tables.values()]
        self.passes = [
            Passes((first, moves, states), data.lengths, self.weights)
            for first, moves, states in zip(*self.out)
        ]

    def potentials(self, values: Values) -> list[np.ndarray]:
        """Log-probabilities that a pass reads, at values of all parameters by site."""
        own = _by_part(values)
        return [table(own[part]) for part, table in self.tables.items()]

    def slopes(self, number: int) -> dict[str, np.ndarray]:
        """Slopes of one set's log-likelihood at its last potentials, by site."""
        parts = zip(self.tables.items(), self.out)
        return {
            f"{part}.{name}": slope
            for (part, table), counts in parts
            for name, slope in table.slopes(counts[number]).items()
        }

    def expected_counts(self, params: Params) -> ExpectedCounts:
        """What ``HiddenMarkov.expected_counts`` gives, in memory used again.

        Args:
            params: values with a leading axis of sets.
        """
        arrays = {name: value.numpy() for name, value in params.items()}
        with np.errstate(all="ignore"):
            for number, pass_over in enumerate(self.passes):
                one = {name: value[number] for name, value in arrays.items()}
                pass_over(*self.potentials(one))
        logs = torch.tensor(np.stack([p.log_marginals for p in self.passes]))
        logs = logs if self.weights is None else logs * self.weights
        initial, transition, emission = map(torch.from_numpy, self.out)
        if self.unseen is not None:
            emission[:, self.unseen] = 0.0
        return ExpectedCounts(logs, initial, transition, emission)


def _by_part(values: Values) -> dict[str, dict[str, np.ndarray]]:
    """Values by site, as values by part and attribute."""
    return {
        part: {
            name.removeprefix(f"{part}."): value
            for name, value in values.items()
            if name.startswith(f"{part}.")
        }
        for part in PARTS
    }
