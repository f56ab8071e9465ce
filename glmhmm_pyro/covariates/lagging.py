"""Designs of lagged columns as operators: the lagged matrix is never made."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.designs import Dense, DesignMatrix, Lagged, Stacked

from .filters import FilterTerm, Lags
from .table import RawTable
from .terms import Standardised, Term, all_columns

# Numbers beyond which lagged columns are not made: a gigabyte of them.
LARGEST_ARRAY = 1 << 27


def streams(
    terms: Sequence[Term], num_steps: int, as_array: bool | None = None
) -> bool:
    """Whether the columns of terms are to be made as they are read.

    Args:
        terms: of a fitted design.
        num_steps: steps of the data.
        as_array: what was asked for, if anything.
    """
    if as_array or not any(_filter_of(term) for term in terms):
        return False
    width = sum(len(term.names()) for term in terms)
    return as_array is False or num_steps * width > LARGEST_ARRAY


def operator_of_terms(
    terms: Sequence[Term],
    table: RawTable,
    dtype: torch.dtype,
    device: torch.device | str,
) -> DesignMatrix:
    """All columns of all terms, those on lags as signals and filters.

    Args:
        terms: of a fitted design.
        table: raw columns.
        dtype: floating type of the numbers.
        device: where they are to be.
    """

    def moved(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=dtype, device=device)

    parts: list[DesignMatrix] = []
    for found, group in groupby(terms, _kind):
        alike = list(group)
        names = tuple(name for term in alike for name in term.names())
        if found is None:
            parts.append(Dense(moved(all_columns(alike, table)), names))
            continue
        filters = [one for term in alike if (one := _filter_of(term))]
        signals = np.stack([one.source.read(table) for one in filters], 1)
        lags, basis = filters[0].lags, None
        if not isinstance(filters[0], Lags):
            basis = moved(filters[0].basis().values)
        lagged: DesignMatrix = Lagged(
            moved(signals),
            torch.as_tensor(table.lengths, device=device),
            len(lags),
            int(lags[0]),
            basis,
            names,
        )
        if isinstance(alike[0], Standardised):
            lagged = lagged.moved(*map(torch.from_numpy, _scaling(alike)))
        parts.append(lagged)
    return parts[0] if len(parts) == 1 else Stacked(parts)


def _kind(term: Term) -> tuple | None:
    """What terms have in common that can be kept together; None for an array."""
    found = _filter_of(term)
    if found is None:
        return None
    basis = found.basis()
    return (
        isinstance(found, Lags),
        isinstance(term, Standardised),
        basis.lags.tobytes(),
        basis.values.tobytes(),
    )


def _filter_of(term: Term) -> FilterTerm | None:
    """The filter on lags that a term is, but for its units, if it is one."""
    inner = term.inner if isinstance(term, Standardised) else term
    known = (FilterTerm.values, Lags.values)
    if isinstance(inner, FilterTerm) and type(inner).values in known:
        return inner
    return None


def _scaling(terms: Sequence[Term]) -> Iterator[np.ndarray]:
    """Means and standard deviations of the columns of terms."""
    known = [term for term in terms if isinstance(term, Standardised)]
    yield np.concatenate([term.means for term in known])
    yield np.concatenate([term.scales for term in known])
