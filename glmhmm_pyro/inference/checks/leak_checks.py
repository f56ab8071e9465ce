"""Covariates that hold the emission of their own step, which they are to predict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from glmhmm_pyro.inference.checks.columns import WeightedColumns
from glmhmm_pyro.inference.checks.followed import distinct, follows, repeats
from glmhmm_pyro.inference.checks.report import WARNING, Finding
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.leaks import are_choices, history_leaks

# Columns beyond which none is looked at, and rows that are.
MOST_COLUMNS, _MOST_ROWS = 100, 5000

# A column, by the covariates that it is one of, and its name.
_Key = tuple[str, str]


def leak_findings(parts: Sequence[WeightedColumns]) -> Iterator[Finding]:
    """Columns made of an emission of their own step, in all parts of a model.

    Of emission covariates those of the choice before that begin sessions with their
    first choice (``sequences/leaks.py``). Of all, columns of a few values, such as
    whether a choice was rewarded, that follow without a mistake from the choice of
    their step and the other covariates, and do not follow from these alone.

    Args:
        parts: columns of every component.
    """
    for part in parts:
        if part.argument == "covariates":
            for name, sentence in history_leaks(_fields(part.data)):
                if name in part.names:
                    yield Finding("leak", WARNING, sentence)
    seen = [rows for part in parts if _is_small(part) for rows in _OutputRows.of(part)]
    for emission in dict.fromkeys(rows.emission for rows in seen):
        yield from _outcomes([rows for rows in seen if rows.emission == emission])


def leaks_left_out(parts: Sequence[WeightedColumns]) -> dict[str, str]:
    """Why columns were not looked at, by the name of the check."""
    if all(_is_small(part) for part in parts):
        return {}
    return {"leaks of outcomes": f"there are more than {MOST_COLUMNS} columns"}


def _fields(data: Sequences) -> dict[str, object]:
    """What ``history_leaks`` reads of a data set."""
    kept = ("emissions", "emission_names", "lengths", "mask", "starts")
    fields = {name: getattr(data, name) for name in (*kept, "covariate_names")}
    return fields | {"covariates": data.operator("covariates")}


def _is_small(part: WeightedColumns) -> bool:
    data = part.data
    beside = data.num_features + data.num_transition_features
    return part.design.shape[1] + beside <= MOST_COLUMNS


@dataclass(frozen=True)
class _OutputRows:
    """Choices of one output, and what stands beside them for one component.

    Attributes:
        argument: which covariates the component reads.
        emission: name of the output.
        labels: shape (rows,).
        own: the component's columns, by name.
        beside: all columns that are known of the rows, by where they are and name.
    """

    argument: str
    emission: str
    labels: np.ndarray
    own: dict[str, np.ndarray]
    beside: dict[_Key, np.ndarray]

    @classmethod
    def of(cls, part: WeightedColumns) -> "Iterator[_OutputRows]":
        """Those of every output of choices, where it was observed."""
        data, steps = part.data, part.steps.cpu()
        emissions = data.emissions.reshape(data.num_steps, -1).cpu().numpy()
        seen = np.ones(emissions.shape, bool)
        if data.mask is not None:
            seen &= data.mask.reshape(data.num_steps, -1).cpu().numpy()
        for name, values, is_seen in zip(data.emission_names, emissions.T, seen.T):
            values = np.where(is_seen, values, 0)
            if not are_choices(values):
                continue
            rows = np.flatnonzero(is_seen[steps.numpy()])
            if not len(rows):
                continue
            rows = np.random.default_rng(0).permutation(rows)[:_MOST_ROWS]
            chosen = torch.from_numpy(rows)
            own = dict(zip(part.names, part.design.read(chosen).cpu().numpy().T))
            beside = {(part.argument, n): column for n, column in own.items()}
            for argument in ("covariates", "transition_covariates"):
                names = getattr(data, f"{argument[:-1]}_names")
                columns = data.operator(argument).read(steps[chosen]).cpu().double()
                beside |= {(argument, n): c for n, c in zip(names, columns.numpy().T)}
            yield cls(part.argument, name, values[steps.numpy()[rows]], own, beside)

    def is_made_of_choice(self, name: str, made: Sequence[_Key]) -> bool:
        """Whether a column follows, where others are known to be made of the choice."""
        column = self.own[name]
        context = distinct(np.column_stack(list(self.beside.values())))
        for key in made:
            if key in self.beside and np.ptp(self.beside[key]) > 0:
                context = context[:, ~repeats(context, self.beside[key])]
        return follows(column, context, self.labels)

    def rank(self, name: str) -> tuple[int, bool, float]:
        """Rank of a column: the larger, the later it is taken to be made of the choice.

        By how many values it has, by whether it is among the covariates of emissions,
        and by the size of its correlation with the classes.
        """
        column, number = self.own[name], len(np.unique(self.own[name]))
        varies = number > 1 and np.ptp(self.labels) > 0
        size = np.corrcoef(column, self.labels)[0, 1] if varies else 1.0
        return number, self.argument == "covariates", float(np.abs(size))


def _outcomes(parts: Sequence[_OutputRows]) -> Iterator[Finding]:
    """Columns that follow from one output.

    Where a side and a choice make a reward, a reward and a choice make a side: the one
    of lower rank is taken to be made of the choice, and left out of what others follow
    from.
    """
    suspects = sorted(
        (part.rank(name), at, name)
        for at, part in enumerate(parts)
        for name in part.own
    )
    made: list[_Key] = []
    for _, at, name in suspects:
        if parts[at].is_made_of_choice(name, made):
            made.append((parts[at].argument, name))
    for argument in dict.fromkeys(argument for argument, _ in made):
        names = [name for among, name in made if among == argument]
        yield Finding("leak", WARNING, _sentence(argument, names, parts[0]))


def _sentence(argument: str, names: Sequence[str], part: _OutputRows) -> str:
    """What was found of columns that follow from an emission, and what to do."""
    remedy = "take what was known before the session"
    if argument != "initial_covariates":
        remedy = (
            f"take it from the step before, covariates.Lags({names[0]!r}, 1, "
            "first_lag=1), or leave it out"
        )
    them = "it follows" if len(names) == 1 else "each follows"
    return (
        f"{argument} must not hold what became of their own step, got "
        f"{', '.join(map(repr, names))}: with the other covariates {them} without a "
        f"mistake from {part.emission!r} of the same step in the {len(part.labels)} "
        f"rows looked at, as a reward does, and so explains it by itself; {remedy}; if "
        "it was known before, as a stimulus is that was always followed, let it stand"
    )
