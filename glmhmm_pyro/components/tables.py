"""Log-probabilities of the package's own components, with slopes made by hand.

A method that takes slopes evaluates one model thousands of times. Here a component's
table is made in numpy, without a graph of what was done, and expected counts are led
back to its parameters: for a softmax of predictors s with probabilities p,

.. math:: \\frac{\\partial}{\\partial s_j} \\sum_i n_i \\log p_i
    = n_j - p_j \\sum_i n_i
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from glmhmm_pyro.components.pairs import free_pairs
from glmhmm_pyro.components.softmax import insert_zeros
from glmhmm_pyro.components.table_kernels import (
    label_logs,
    label_residuals,
    move_residuals,
    move_table,
    shared_scores,
    shared_slopes,
)
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.zeros import log_or_zero_slope

Values = Mapping[str, np.ndarray]

# Columns and products up to which NumPy multiplies faster than torch, and in one thread
# in any case.
_NARROW, _SMALL = 16, 2**17


class Softmaxes(NamedTuple):
    """Softmaxes that potentials were made of, by linear predictors of numbers.

    Attributes:
        probs: of what has a predictor, by kind of step and by state, origin, or once
            for first states, shape (kinds, groups, free).
        design: covariates of the predictors (kinds, features); ``None`` for 1 alone.
        kind: of every step, shape (steps,); ``None`` if each is its own, or all are.
        has_reference: whether staying has no predictor.
        has_constant: whether a last covariate is 1 which the design lacks.
        labels: of the kinds, 0 for the reference, -1 for none.
        numbers: from the values of a component's sites, by attribute, to the numbers
            (groups * free * features,); ``None`` if these are the weights.
    """

    probs: np.ndarray
    design: DesignMatrix | None = None
    kind: np.ndarray | None = None
    has_reference: bool = True
    has_constant: bool = False
    labels: np.ndarray | None = None
    numbers: Callable[[Mapping[str, Tensor]], Tensor] | None = None

    @property
    def features(self) -> int:
        """Number of covariates."""
        width = 1 if self.design is None else self.design.shape[1]
        return width + self.has_constant

    @property
    def size(self) -> int:
        """Number of numbers."""
        return self.probs[0].size * self.features

    def kinds(self, steps: slice) -> np.ndarray:
        """Kinds of the steps of a stretch."""
        if self.kind is not None:
            return self.kind[steps]
        numbers = np.arange(steps.start, steps.stop)
        return numbers if len(self.probs) > 1 else np.zeros_like(numbers)

    def covariates(self, steps: slice) -> Tensor:
        """Those of the steps of a stretch (steps, features)."""
        if self.design is None:
            return torch.ones(steps.stop - steps.start, 1, dtype=torch.float64)
        where = steps if self.kind is None else torch.from_numpy(self.kind[steps])
        rows = self.design.read(where)
        return pad(rows, (0, 1), value=1.0) if self.has_constant else rows.contiguous()


class LogTable(Protocol):
    """A component's potentials of the chain at values, and slopes by expected counts.

    Attributes:
        shape: of the potentials: (sessions or 1, states), (steps or 1, states, states)
            or (steps, states).
    """

    shape: tuple[int, ...]

    def __call__(self, values: Values) -> np.ndarray:
        """Potentials at the values of all parameters, by attribute."""

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Derivatives by these values of the counts times the potentials, summed.

        Args:
            counts: in the shape of the potentials last returned; it may be overwritten.
        """

    def softmaxes(self) -> Softmaxes | None:
        """What the potentials last returned were made of, until slopes are asked.

        ``None`` where second derivatives are left to automatic differentiation.
        """


def taken(values: Values, number: int, axes: Mapping[str, int]) -> Values:
    """Values at one place of an axis, by attribute; others are left out."""
    return {
        name: np.asarray(values[name].take(number, axis))
        for name, axis in axes.items()
        if name in values
    }


def put_together(
    slopes: Sequence[dict[str, np.ndarray]], axes: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Slopes by what values were taken from, of those at all places of an axis."""
    return {
        name: np.stack([own[name] for own in slopes], axes[name]) for name in slopes[0]
    }


class Certain:
    """The potentials of a single state, which are 0."""

    def __init__(self, *shape: int):
        self.shape = shape

    def __call__(self, values: Values) -> np.ndarray:
        """Zeros."""
        return np.zeros(self.shape)

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Empty: there are no parameters."""
        return {}

    def softmaxes(self) -> Softmaxes:
        """One without numbers."""
        return Softmaxes(np.zeros((1, 1, 0)), numbers=lambda _: torch.zeros(0).double())


class ProbsTable:
    """Probabilities that are the parameter ``probs``, the same at all steps.

    Args:
        shape: of the potentials, the first axis being of size 1.
    """

    def __init__(self, *shape: int):
        self.shape = shape
        self._probs = self._sums = np.zeros(0)

    def __call__(self, values: Values) -> np.ndarray:
        """Logarithms of the probabilities."""
        self._probs = values["probs"].reshape(self.shape)
        self._sums = np.add.reduce(self._probs, -1, keepdims=True)
        return np.log(self._probs / self._sums)

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the probabilities, 0 for one that is 0."""
        expected = np.add.reduce(counts, -1, keepdims=True) / self._sums
        slopes, possible = np.zeros(self.shape), self._probs > 0
        np.divide(counts, self._probs, out=slopes, where=possible)
        np.subtract(slopes, expected, out=slopes, where=possible)
        return {"probs": slopes[0]}

    def softmaxes(self) -> Softmaxes:
        """Softmaxes of the logarithms."""
        probs = (self._probs / self._sums).reshape(1, -1, self.shape[-1])

        def numbers(values: Mapping[str, Tensor]) -> Tensor:
            return log_or_zero_slope(values["probs"]).reshape(-1)

        return Softmaxes(probs, has_reference=False, numbers=numbers)


class SoftmaxRegressions:
    """Softmax regressions of which all steps with equal rows are put together.

    Args:
        design: covariates, shape (steps, features).
        values: what else a step's table depends on, shape (steps,).
    """

    shape: tuple[int, ...]

    def __init__(self, design: DesignMatrix, values: Tensor | None = None):
        pool = design.pooled(values)
        self.design = pool.design.contiguous()
        self.member, self.sums = pool.member, pool.sums
        self.group = None if pool.group is None else pool.group.numpy()
        is_whole = not self.design.is_streamed and self.design.shape[1] <= _NARROW
        is_small = is_whole and np.prod(self.design.shape) <= _SMALL
        self._rows = self.design.dense().numpy() if is_small else None

    def spread(self, table: np.ndarray) -> np.ndarray:
        """The table of all steps, from that of groups (groups, ...)."""
        return table if self.group is None else table.take(self.group, axis=0)

    def pooled(self, counts: np.ndarray) -> np.ndarray:
        """Counts of groups, from those of steps (steps, ...)."""
        if self.group is None:
            return counts
        return self.sums(torch.from_numpy(counts[None]))[0].numpy()

    def predicted(self, weights: np.ndarray, out: np.ndarray) -> None:
        """Predictors of all groups (groups, ...) by weights (..., features)."""
        rows = self._rows
        if rows is not None and len(rows) * weights.size <= _SMALL:
            by_class = weights.reshape(-1, rows.shape[1]).T
            np.dot(rows, by_class, out=out.reshape(len(rows), -1))
            return
        by_row = torch.from_numpy(weights).reshape(-1, self.design.shape[1])
        scores = torch.from_numpy(out).reshape(len(self.design), -1)
        self.design.multiply(by_row.T, scores)

    def by_weights(self, residuals: np.ndarray) -> np.ndarray:
        """Slopes by weights (..., features), from those by predictors (groups, ...)."""
        rows, shape = self._rows, residuals.shape[1:]
        if rows is not None and residuals.size * rows.shape[1] <= _SMALL:
            by_class: np.ndarray = residuals.reshape(len(rows), -1).T @ rows
            return by_class.reshape(*shape, -1)
        slopes = torch.from_numpy(residuals).reshape(len(self.design), -1)
        found = np.empty((slopes.shape[1], self.design.shape[1]))
        self.design.collect(slopes.T, torch.from_numpy(found))
        return found.reshape(*shape, -1)


class LabelTable(SoftmaxRegressions):
    """Softmax regressions of labels for every state, class 0 being the reference.

    Args:
        data: where the labels stand; masked steps have log-probability 0.
        design: covariates, shape (steps, features).
        shape: of the weights (states, features), or (states, classes - 1, features).
    """

    def __init__(self, data: Sequences, design: DesignMatrix, shape: torch.Size):
        labels = data.emissions.to(torch.int64)
        if data.mask is not None:
            labels = torch.where(data.mask, labels, -1)
        super().__init__(design, labels)
        self.labels = labels[self.member].contiguous().numpy()
        self.weights, self.shape = shape, (len(labels), shape[0])
        self._scores = np.empty((len(self.design), shape[0], shape[1:-1].numel()))
        self._logs = np.empty(self._scores.shape[:2])

    def __call__(self, values: Values) -> np.ndarray:
        """log p(y_t | z_t = k)."""
        self.predicted(values["weights"], self._scores)
        label_logs(self._scores, self.labels, self._logs)
        return self.spread(self._logs)

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the weights of all classes but the reference."""
        label_residuals(self._scores, self.labels, self.pooled(counts))
        return {"weights": self.by_weights(self._scores).reshape(self.weights)}

    def softmaxes(self) -> Softmaxes | None:
        """Those of the labels; the reference has none."""
        labels = self.labels
        return Softmaxes(self._scores, self.design, self.group, labels=labels)


class TablesSideBySide:
    """Several outputs, independent given the state.

    Args:
        tables: that of every output.
        axes: of the outputs in values, by attribute; that in weights by default.
    """

    def __init__(
        self,
        tables: Sequence[LogTable],
        axes: Mapping[str, int] = MappingProxyType({"weights": 1}),
    ):
        self.tables, self.shape, self.axes = list(tables), tables[0].shape, axes

    def __call__(self, values: Values) -> np.ndarray:
        """log p(y_t | z_t = k), the sum over the outputs."""
        total = np.zeros(self.shape)
        for number, table in enumerate(self.tables):
            total += table(taken(values, number, self.axes))
        return total

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the weights of all outputs."""
        return put_together([t.slopes(counts) for t in self.tables], self.axes)

    def softmaxes(self) -> Softmaxes | None:
        """None that the covariances of scores know, which are of one label a step."""
        return None


class MovesByScores(SoftmaxRegressions):
    """Log-probabilities of moves by scores of those to other states.

    Args:
        design: transition covariates, shape (steps, features).
        never: whether moves cannot be, shape (states, states - 1).
    """

    def __init__(self, design: DesignMatrix, never: np.ndarray):
        super().__init__(design)
        num_states, self._never = len(never), never if never.any() else None
        self.shape = (len(design), num_states, num_states)
        self.scores = np.empty((len(self.design), num_states, num_states - 1))

    @cached_property
    def _made(self) -> np.ndarray:
        return np.empty((len(self.design), *self.shape[1:]))

    def __call__(self, values: Values) -> np.ndarray:
        """log p(z_t = j | z_t-1 = i)."""
        self._make(values, self._made, True)
        return self.spread(self._made)

    def into(self, values: Values, out: np.ndarray, as_logs: bool) -> None:
        """Log-probabilities in ``out``, of their shape, or if not the probabilities."""
        if self.group is None:
            self._make(values, out, as_logs)
        else:
            self._make(values, self._made, as_logs)
            out[:] = self.spread(self._made)

    def _make(self, values: Values, out: np.ndarray, as_logs: bool) -> None:
        self._predict(values)
        if self._never is not None:
            self.scores[:, self._never] = -np.inf
        move_table(self.scores, out, as_logs)

    def _predict(self, values: Values) -> None:
        """Scores at the values of all parameters, those of all moves being finite."""
        raise NotImplementedError


class MovesTable(MovesByScores):
    """Softmax regressions of the next state for every origin, staying the reference."""

    def _predict(self, values: Values) -> None:
        self.predicted(values["weights"], self.scores)

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the weights of all pairs of different states."""
        move_residuals(self.scores, self.pooled(counts))
        return {"weights": self.by_weights(self.scores)}

    def softmaxes(self) -> Softmaxes | None:
        """Those of the destinations from every origin."""
        return Softmaxes(self.scores, self.design, self.group)


class SharedMovesTable(MovesByScores):
    """The same with a baseline for every pair and predictors that origins share."""

    @cached_property
    def _predictors(self) -> np.ndarray:
        return np.empty((len(self.design), self.shape[-1] - 1))

    def _predict(self, values: Values) -> None:
        self.predicted(values["weights"], self._predictors)
        baseline = np.ascontiguousarray(values["baseline"])
        shared_scores(self._predictors, baseline, self.scores)

    def slopes(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Those by the shared weights, and by the baseline."""
        by_baseline = np.zeros(self.scores.shape[1:])
        move_residuals(self.scores, self.pooled(counts))
        shared_slopes(self.scores, self._predictors, by_baseline)
        return {
            "weights": self.by_weights(self._predictors),
            "baseline": by_baseline,
        }

    def softmaxes(self) -> Softmaxes:
        """As if every pair had weights of its own, and a constant for the baseline."""

        def numbers(values: Mapping[str, Tensor]) -> Tensor:
            to = insert_zeros(values["weights"]).mT
            moved = free_pairs(to.unsqueeze(-2) - to.unsqueeze(-1)).movedim(0, -1)
            return torch.cat([moved, values["baseline"][..., None]], -1).reshape(-1)

        return Softmaxes(
            self.scores, self.design, self.group, has_constant=True, numbers=numbers
        )
