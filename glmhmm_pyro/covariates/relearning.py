"""What the covariates of a data set are made of: raw columns, and the designs.

A session held out must not lend its means and scales to those that a model is fitted
to, so every fold has covariates of its own. A curve over a raw column moves all that
is made of it; a simulation makes anew what follows its own emissions.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from glmhmm_pyro.designs import DesignMatrix, Stacked
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.frames import emission_columns
from glmhmm_pyro.sequences.naming import names_of
from glmhmm_pyro.sequences.operators import kept
from glmhmm_pyro.sequences.validation import close_matches

from .lagging import operator_of_terms
from .online import OnlineDesign
from .replay import BoundHistory
from .table import RawTable
from .terms import Term, all_columns

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DesignSource:
    """What the covariates of a data set are made of.

    Attributes:
        designs: the fitted designs, by the argument of ``Sequences``.
        table: raw columns.
        rows: for every session of the data, its number in the table; ``None`` for one
            that stands beside, made otherwise.
        is_simulated: whether raw columns that are emissions are those of the data.
    """

    designs: Mapping[str, Any]
    table: RawTable
    rows: tuple[int | None, ...]
    is_simulated: bool = False

    @classmethod
    def of(cls, designs: Mapping[str, Any], table: RawTable) -> "DesignSource":
        """The source of new data, made by the same designs."""
        frozen = {argument: copy.copy(design) for argument, design in designs.items()}
        return cls(frozen, table.copied(), tuple(range(len(table.lengths))))

    def subset(self, chosen: Sequence[int]) -> "DesignSource":
        """The source of these sessions; the table is shared."""
        return replace(self, rows=tuple(self.rows[session] for session in chosen))

    def simulated(self, copies: int) -> "DesignSource":
        """The source of copies of all sessions with simulated emissions."""
        return replace(self, rows=self.rows * copies, is_simulated=True)

    def without(self, arguments: Sequence[str]) -> "DesignSource | None":
        """The source with the designs of other arguments."""
        kept = {a: d for a, d in self.designs.items() if a not in arguments}
        return replace(self, designs=kept) if kept else None

    def joined(self, parts: Sequence[Sequences]) -> "DesignSource":
        """The source of several data sets end to end.

        Sessions whose covariates are made by another recipe stand beside.
        """
        tables: list[RawTable] = []
        rows: list[int | None] = []
        for part in parts:
            source: Any = part.design_source
            if source is None or not self._agrees(source):
                rows += [None] * part.num_sessions
                continue
            if source.is_simulated:
                source = source.settled(part)
            if not any(table is source.table for table in tables):
                tables.append(source.table)
            before = [len(t.lengths) for t in tables]
            place = [table is source.table for table in tables].index(True)
            first = sum(before[:place])
            rows += [None if row is None else first + row for row in source.rows]
        table = tables[0] if len(tables) == 1 else RawTable.joined(tables)
        return DesignSource(self.designs, table, tuple(rows))

    def _agrees(self, other: "DesignSource") -> bool:
        """Whether both have the same recipes and classes."""
        return self.designs.keys() == other.designs.keys() and all(
            design.is_like(other.designs[argument])
            for argument, design in self.designs.items()
        )

    def settled(self, data: Sequences) -> "DesignSource":
        """The same of a table with the sessions of the data, in their order."""
        table = self.table_of(data)
        return DesignSource(self.designs, table, tuple(range(len(table.lengths))))

    def table_of(self, data: Sequences) -> RawTable:
        """The raw columns of the sessions of the data.

        Raises:
            ValueError: a session was not made by the designs.
        """
        rows = [row for row in self.rows if row is not None]
        if len(rows) < len(self.rows):
            beside = data.session_names[self.rows.index(None)]
            raise ValueError(
                "data must all be made by one design for it to be fitted or filled "
                f"anew, got session {beside!r} beside, made otherwise; make all "
                "sessions by that design, or take refit_design=False"
            )
        table = self.table
        if rows != list(range(len(table.lengths))):
            table = table.subset(rows)
        if not self.is_simulated:
            return table
        mask = None if data.mask is None else data.mask.cpu().numpy()
        values = emission_columns(data.emissions.cpu().numpy(), mask, data.class_names)
        columns = dict(zip(data.emission_names, values))
        table = replace(table, hidden={})
        return table.with_columns({n: c for n, c in columns.items() if n in table})

    def raw(self, data: Sequences) -> "pd.DataFrame":
        """The raw columns of all steps."""
        return self.table_of(data).frame()

    def with_raw(self, data: Sequences, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of the data at other raw columns."""
        table = self.table_of(data)
        for name in columns:
            if name not in table or name in data.emission_names:
                known = [n for n in table.names if n not in data.emission_names]
                raise ValueError(
                    "columns must be raw columns that covariates are made of, got "
                    f"{name!r}"
                    f"{close_matches(str(name), known) or f'; they are {known[:12]}'}"
                )
        table = table.with_columns(columns)
        source = DesignSource(self.designs, table, tuple(range(len(table.lengths))))
        return source._fields(data, table) | {"design_source": source}

    def histories(self, data: Sequences) -> list[BoundHistory]:
        """The designs that have a term of the past of an emission."""
        table = self.table_of(data)
        return [
            BoundHistory(design, design.reading(table))
            for design in self.designs.values()
            if any(term.following(data.emission_names) for term in design.terms)
        ]

    def online(self, data: Sequences) -> dict[str, OnlineDesign]:
        """The designs step by step, by the argument of ``Sequences``."""
        table = self.table_of(data)
        return {a: OnlineDesign(design, table) for a, design in self.designs.items()}

    def relearnt(self, data: Sequences, training: Sequence[int]) -> dict[str, Any]:
        """Fields of the data with covariates learnt from these of its sessions.

        Columns that the designs did not make stay as they are.

        Raises:
            ValueError: a session is not of the designs' data, or a term cannot learn
                from these sessions alone.
        """
        if not self._learns():
            return {}
        table = self.table_of(data)
        learnt = table.subset(training)
        again = {a: design.relearnt(learnt) for a, design in self.designs.items()}
        source = replace(self, designs=again)
        return source._fields(data, table) | {"design_source": source}

    def _learns(self) -> bool:
        """Whether a term learns numbers of the rows."""
        return any(
            term.relearnt(design.reading(self.table)) is not term
            for design in self.designs.values()
            for term in design.terms
        )

    def _fields(self, data: Sequences, table: RawTable) -> dict[str, Any]:
        """The designs of the data, their columns made from this table."""
        return {
            argument: _with_columns_replaced(
                data, argument, design.terms, design.reading(table)
            )
            for argument, design in self.designs.items()
        }


def rows_read(argument: str, table: RawTable) -> Any:
    """The rows of a table that a design reads: of every step, or session."""
    return table.starts if argument == "initial_covariates" else slice(None)


def _with_columns_replaced(
    data: Sequences, argument: str, terms: Sequence[Term], table: RawTable
) -> Any:
    """A design of the data with the columns of these terms in their places."""
    design, names = kept(data, argument), list(getattr(data, names_of(argument)))
    if isinstance(design, DesignMatrix):
        return _placed_operator(design, names, terms, table)
    design = design.clone()
    made = [name for term in terms for name in term.names()]
    rows = rows_read(argument, table)
    values = torch.as_tensor(np.asarray(all_columns(terms, table))[rows]).to(design)
    for column, name in enumerate(made):
        if name in names:
            design[:, names.index(name)] = values[:, column]
    return design


def _placed_operator(
    design: DesignMatrix, names: list[str], terms: Sequence[Term], table: RawTable
) -> DesignMatrix:
    """As above, for a design whose rows are made as they are read."""
    made = operator_of_terms(terms, table, design.dtype, design.device)
    order = [name for term in terms for name in term.names()]
    others = [name for name in names if name not in order]
    if others:
        places = [names.index(name) for name in others]
        made = Stacked([made, design.columns(places)])
    order += others
    return made if order == names else made.columns([order.index(n) for n in names])
