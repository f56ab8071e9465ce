"""Covariates as a design makes them that has learnt from some of the sessions alone.

A session held out must not lend its means and scales to those that a model is fitted
to, so every fold has covariates of its own.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .table import Table
from .terms import Term, all_columns


@dataclass(frozen=True)
class DesignSource:
    """What the covariates of a data set are made of.

    Attributes:
        terms: the fitted terms of each design, by the argument of ``Sequences``.
        tables: the raw columns that they read.
        sessions: identity of every session of the tables.
    """

    terms: Mapping[str, tuple[Term, ...]]
    tables: Mapping[str, Table]
    sessions: tuple[Hashable, ...]

    @classmethod
    def of(
        cls, designs: Mapping[str, Any], tables: Mapping[str, Table], data: Any
    ) -> Any:
        """That of new data, or ``None`` where no term learns numbers of the rows."""
        terms = {argument: design.terms for argument, design in designs.items()}
        learns = any(
            term.relearnt(tables[argument]) is not term
            for argument, fitted in terms.items()
            for term in fitted
        )
        if not learns:
            return None
        kept = {argument: table.copied() for argument, table in tables.items()}
        return cls(terms, kept, tuple(data.session_origins))

    def relearnt(self, data: Any, training: Sequence[int]) -> dict[str, Any]:
        """Fields of the data with covariates learnt from these of its sessions.

        Columns that the designs did not make stay as they are.

        Raises:
            ValueError: a session is not of the designs' data, or a term cannot learn
                from these sessions alone.
        """
        known = {session: row for row, session in enumerate(self.sessions)}
        unknown = [
            name
            for name, session in zip(data.session_names, data.session_origins)
            if session not in known
        ]
        if unknown:
            raise ValueError(
                "data must be of one call of design.sequences for the design to be "
                f"fitted anew to some of its sessions, got session {unknown[0]!r} "
                "beside; make all sessions in one call, or take refit_design=False"
            )
        rows = [known[session] for session in data.session_origins]
        fields = {}
        for argument, terms in self.terms.items():
            table = self.tables[argument]
            learnt = table.subset([rows[session] for session in training])
            again = [term.relearnt(learnt) for term in terms]
            fields[argument] = self._placed(data, argument, again, table.subset(rows))
        return fields

    def _placed(
        self, data: Any, argument: str, terms: Sequence[Term], table: Table
    ) -> torch.Tensor:
        """A design of the data with the columns of these terms in their places."""
        design = getattr(data, argument).clone()
        names = list(getattr(data, f"{argument[:-1]}_names"))
        made = [name for term in terms for name in term.names()]
        values = torch.as_tensor(all_columns(terms, table)).to(design)
        for column, name in enumerate(made):
            if name in names:
                design[:, names.index(name)] = values[:, column]
        return design
