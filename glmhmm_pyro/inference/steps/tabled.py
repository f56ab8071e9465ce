"""The chain of a GLMHMM whose parts all have hand-written tables."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.chain import Borders, ExpectedCounts
from glmhmm_pyro.chain.passes import Passes
from glmhmm_pyro.components.levels.level_tables import HalfStepsTable, SharedTable
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
        goes_on: which sessions go on from the one before (sessions,); ``None`` for
            none of them.
    """

    def __init__(
        self, tables: Tables, data: Sequences, sets: int, goes_on: Tensor | None
    ):
        self.tables = tables
        self._names: dict[str, list[tuple[str, str]]] | None = None
        self.borders = None if goes_on is None else Borders.of(data.lengths, goes_on)
        seen = steps_observed(data.mask)
        self.unseen = None if seen is None else ~seen
        self.weights = data.session_weights
        self.out = [np.empty((sets, *table.shape)) for table in tables.values()]
        lengths = data.lengths
        if self.borders is not None:
            lengths = self.borders.lengths
            self.out[0] = self.out[0][:, : len(lengths)]
            if self.weights is not None:
                self.weights = self.weights[self.borders.first]
        self.passes = [
            Passes((first, moves, states), lengths, self.weights)
            for first, moves, states in zip(*self.out)
        ]

    def _by_part(self, values: Values) -> dict[str, dict[str, np.ndarray]]:
        """Values by site, as values by part and attribute."""
        if self._names is None:
            self._names = {
                part: [
                    (n.removeprefix(f"{part}."), n)
                    for n in values
                    if n.startswith(f"{part}.")
                ]
                for part in PARTS
            }
        return {
            part: {attribute: values[name] for attribute, name in names}
            for part, names in self._names.items()
        }

    def potentials(self, values: Values) -> list[np.ndarray]:
        """Log-probabilities that a pass reads, at values of all parameters by site."""
        own = self._by_part(values)
        first, moves, states = (t(own[part]) for part, t in self.tables.items())
        if self.borders is None:
            return [first, moves, states]
        joined = self.borders.joined(torch.from_numpy(first), torch.from_numpy(moves))
        return [*(part.numpy() for part in joined), states]

    def _by_session(self) -> list[np.ndarray]:
        """Counts of all sets after a pass of each; to be asked for once."""
        if self.borders is None:
            return self.out
        logs = torch.zeros(())
        counts = ExpectedCounts(logs, *map(torch.from_numpy, self.out))
        return [count.numpy() for count in self.borders.split(counts)[1:]]

    def given(self, values: Values, number: int = 0) -> tuple[Any, ...]:
        """What a set's pass reads, half-steps and emissions where their counts go."""
        moves, emissions = self.tables["transitions"], self.tables["emissions"]
        if not isinstance(moves, HalfStepsTable) or moves.shape[0] == 1:
            return tuple(self.potentials(values))
        if not isinstance(emissions, SharedTable):
            return tuple(self.potentials(values))
        own = self._by_part(values)
        first = self.tables["initial"](own["initial"])

        def made(as_logs: bool, *places: np.ndarray) -> tuple[np.ndarray, ...]:
            moves.into(own["transitions"], places[0], as_logs)
            emissions.into(own["emissions"], places[1])
            self._enter(first, places[0], as_logs)
            return places

        def again() -> tuple[np.ndarray, ...]:
            return made(True, np.empty(moves.shape), np.empty(emissions.shape))

        begun = first if self.borders is None else first[self.borders.first.numpy()]
        return begun, *made(False, self.out[1][number], self.out[2][number]), again

    def _enter(self, first: np.ndarray, moves: np.ndarray, as_logs: bool) -> None:
        """Make transitions into sessions that go on draw a new fast state."""
        if self.borders is None:
            return
        rows = self.borders.steps.numpy()
        alone = self.borders._replace(steps=torch.arange(len(rows)))
        begun = torch.from_numpy(first if as_logs else np.exp(first))
        at_borders = torch.from_numpy(moves[rows])
        moves[rows] = alone.joined(begun, at_borders, as_logs)[1].numpy()

    def slopes(self, number: int) -> dict[str, np.ndarray]:
        """Slopes of one set's log-likelihood at its last potentials, by site."""
        parts = zip(self.tables.items(), self._by_session())
        return {
            f"{part}.{name}": slope
            for (part, table), counts in parts
            for name, slope in table.slopes(counts[number]).items()
        }

    def posterior(self, values: Values) -> np.ndarray | None:
        """Posterior probabilities of the chain's states (steps, states) under one set.

        ``None`` where sessions have weights, which counts have too, or go on from one
        another.
        """
        if self.borders is not None or self.weights is not None:
            return None
        with np.errstate(all="ignore"):
            self.passes[0](*self.given(values))
        return self.out[2][0].copy()

    def expected_counts(self, params: Params) -> ExpectedCounts:
        """What ``HiddenMarkov.expected_counts`` returns, in reused memory.

        Args:
            params: values with a leading axis of sets.
        """
        arrays = {name: value.numpy() for name, value in params.items()}
        with np.errstate(all="ignore"):
            for number, pass_over in enumerate(self.passes):
                one = {name: value[number] for name, value in arrays.items()}
                pass_over(*self.given(one, number))
        logs = torch.tensor(np.stack([p.log_marginals for p in self.passes]))
        initial, transition, emission = map(torch.from_numpy, self._by_session())
        logs = logs if self.weights is None else logs * self.weights
        if self.unseen is not None:
            emission[:, self.unseen] = 0.0
        return ExpectedCounts(logs, initial, transition, emission)
