"""Ready-made columns of history that know the choice they are to explain."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.callers import warn_caller
from glmhmm_pyro.designs import DesignMatrix

# Classes beyond which emissions are counts or measurements rather than choices.
MOST_CLASSES = 20
# Rows below which a column may follow the choice before by chance: 1 in 500 and more.
FEWEST_ROWS = 8


class LeakageWarning(UserWarning):
    """A covariate seems to hold the emission that it is to explain."""


def warn_of_leaks(fields: Mapping[str, Any]) -> None:
    """Name columns of the choice before that begin sessions with their first choice.

    Warns:
        LeakageWarning: such a column; tables of published studies have one.
    """
    for _, sentence in history_leaks(fields):
        warn_caller(sentence, LeakageWarning)


def history_leaks(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names of such columns, each with a sentence that says what to do.

    Args:
        fields: of a data set, by name: emissions and their names, mask, lengths,
            starts, covariates and their names.
    """
    values = fields["emissions"].cpu().numpy()
    if values.ndim > 1 or len(fields["lengths"]) < 2 or not are_choices(values):
        return
    mask = fields["mask"]
    seen = np.ones(len(values), bool) if mask is None else mask.cpu().numpy()
    starts = fields["starts"].cpu().numpy()
    first = starts[seen[starts]]
    later = np.ones(len(values), bool)
    later[starts] = False
    later[1:] &= seen[:-1]
    rows = np.flatnonzero(later)
    if len(np.unique(values[first])) < 2 or len(rows) < FEWEST_ROWS:
        return
    emission = fields["emission_names"][0]
    columns = _design_columns(fields["covariates"], values, first)
    for name, column in zip(fields["covariate_names"], columns):
        if column is not None and _leaks(column, values, first, rows):
            yield name, (
                "covariates must not hold the emission of their own step, got column "
                f"{name!r}: it is {emission!r} of the step before, but at the first "
                f"step of all {len(first)} sessions that of this very step, which "
                f"explains itself; take covariates.PreviousChoice({emission!r}), which "
                "is 0 there"
            )


def _design_columns(
    design: Tensor | DesignMatrix, values: np.ndarray, first: np.ndarray
) -> Iterator[np.ndarray | None]:
    """The columns of a design; of one that streams, those that are codes at starts."""
    if not isinstance(design, DesignMatrix):
        yield from design.cpu().numpy().T
        return
    begins = design.read(torch.from_numpy(first)).cpu().numpy()
    same = [np.ptp(begins[values[first] == c], axis=0) == 0 for c in set(values[first])]
    is_code = np.all(same, axis=0) & (np.ptp(begins, axis=0) > 0)
    for place, may_be in enumerate(is_code.tolist()):
        column = design.columns([place]).dense()[:, 0] if may_be else None
        yield None if column is None else column.cpu().numpy()


def are_choices(values: np.ndarray) -> bool:
    """Whether values are whole numbers of few classes."""
    head = values[:1000]
    if (head < 0).any() or head.max() >= MOST_CLASSES or (head % 1 != 0).any():
        return False
    return not (values % 1 != 0).any() and values.max() < MOST_CLASSES


def _leaks(
    column: np.ndarray, values: np.ndarray, first: np.ndarray, rows: np.ndarray
) -> bool:
    """Whether a column is one code of the choice before and of a session's first."""
    code = {}
    for choice in np.unique(values[first]):
        begins = column[first[values[first] == choice]]
        if np.ptp(begins) > 0:
            return False
        code[choice] = begins[0]
    if len(set(code.values())) < 2:
        return False
    before = values[rows - 1]
    of_code = [column[rows[before == choice]] - code[choice] for choice in code]
    return all(len(found) > 0 and not found.any() for found in of_code)
