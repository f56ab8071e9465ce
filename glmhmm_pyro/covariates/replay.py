"""Covariates of past emissions, computed anew as a simulation makes the emissions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.sequences import Sequences

from .table import Classes, RawTable
from .terms import Past, Recomputed, Term

# By the names of columns, a function of the emissions so far and the rows of a step.
Replay = dict[tuple[str, ...], Callable[[Tensor, Tensor], Tensor]]


@dataclass(frozen=True)
class BoundHistory:
    """A design with the raw columns of the sessions to be simulated.

    Attributes:
        design: the fitted design.
        table: the raw columns.
    """

    design: Any
    table: RawTable

    def replay(self, data: Sequences) -> Replay:
        """Functions that make the columns anew; see :meth:`Design.replay`."""
        replay: Replay = self.design.replay(data, self.table)
        return replay


def replayed(
    terms: Sequence[Term],
    classes: Mapping[str, Classes],
    data: Sequences,
    table: RawTable | None,
) -> Replay:
    """Functions that make columns of past emissions anew; see :meth:`Design.replay`."""
    if table is not None and not np.array_equal(table.lengths, data.lengths.cpu()):
        raise ValueError(
            "the raw columns of history must have the sessions of data, of lengths "
            f"{data.lengths.tolist()[:8]}, got {table.lengths.tolist()[:8]}; take "
            "design.history of the rows that data were made from"
        )
    refuse_leaks(terms, data.emission_names)
    replay: Replay = {}
    for term in terms:
        following = term.following(data.emission_names)
        if following is not None:
            read = _past_reader(str(following.follows), classes, data)
            replay[term.names()] = _of_tensors(following.recomputed(table), read)
    if not replay:
        followed = sorted({term.follows for term in terms if term.follows})
        raise ValueError(
            "history must have a term of the past of an emission, which data name "
            f"{', '.join(data.emission_names)}, got terms of "
            f"{', '.join(followed) or 'no column'}"
            "; give the mapping of a column to a function of the past"
        )
    return replay


def _of_tensors(
    function: Recomputed, read: Callable[[np.ndarray], Past]
) -> Callable[[Tensor, Tensor], Tensor]:
    def recomputed(past: Tensor, rows: Tensor) -> Tensor:
        values = function(read(past.cpu().numpy()), rows.cpu().numpy())
        return torch.as_tensor(values, dtype=past.dtype, device=past.device)

    return recomputed


def _past_reader(
    column: str, classes: Mapping[str, Classes], data: Sequences
) -> Callable[[np.ndarray], Past]:
    """From emissions (simulations, steps, *event) to the past that terms read."""
    output = list(data.emission_names).index(column)
    known = classes.get(column)
    if known is None:
        return lambda past: Past(past if past.ndim == 2 else past[..., output])
    if data.class_names is None or not set(data.class_names) <= set(known):
        raise ValueError(
            f"emissions must have the classes that the design learnt, "
            f"{', '.join(known)}, got {data.class_names}; make data by "
            "design.sequences"
        )
    codes = np.array([known.index(name) for name in data.class_names], dtype=float)
    return lambda past: Past(past, codes)


def refuse_leaks(terms: Sequence[Term], emission_names: Sequence[str]) -> None:
    """Raise an error for covariates that hold the emission they explain."""
    for term in terms:
        for column in term.reads_now:
            if column in emission_names:
                raise ValueError(
                    f"term {term.label!r} must read emissions of earlier steps only, "
                    f"got {column!r} at its own step, which would explain itself; take "
                    "Lags(..., first_lag=1)"
                )
