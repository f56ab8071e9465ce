"""What makes covariates of raw columns, seen from below: a recipe, and what it leaves.

``glmhmm_pyro.covariates`` has the one kind of recipe, ``Design``, and its ``source``.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd

    from .data import Sequences


class Recipe:
    """What can stand where columns of covariates are named, such as a ``Design``."""

    def _data_set(
        self, data: "pd.DataFrame", designs: Mapping[str, Any], **options: Any
    ) -> "Sequences":
        """A data set of these designs, some of which are recipes."""
        raise NotImplementedError(f"{type(self).__name__} must make data sets")


def recipe_among(designs: Mapping[str, Any]) -> Recipe | None:
    """The first recipe among arguments that otherwise name columns."""
    return next((d for d in designs.values() if isinstance(d, Recipe)), None)


class StepByStep(Protocol):
    """The columns of a design as an experiment goes on.

    Attributes:
        names: of the columns.
        follows: raw columns of whose past they are made.
    """

    names: tuple[str, ...]
    follows: tuple[str, ...]

    def start(self) -> None:
        """Begin a session."""

    def now(self, columns: Mapping[str, Any]) -> list[float]:
        """The columns of the next step, from its raw columns."""

    def seen(
        self,
        columns: Mapping[str, Any],
        behaviour: Mapping[str, tuple[float, str | None]],
    ) -> None:
        """Take in the step, with the number and class of its behaviour."""

    def copied(self) -> "StepByStep":
        """Another one with the same past."""


class RawSource(Protocol):
    """Raw columns and recipes of a data set, session by session."""

    def subset(self, chosen: Sequence[int]) -> "RawSource":
        """The source of these sessions alone."""

    def joined(self, parts: Sequence["Sequences"]) -> "RawSource":
        """The source of several data sets end to end."""

    def without(self, arguments: Sequence[str]) -> "RawSource | None":
        """The source without the designs of these arguments."""

    def relearnt(self, data: "Sequences", training: Sequence[int]) -> dict[str, Any]:
        """Fields of the data, learnt from some of its sessions."""

    def raw(self, data: "Sequences") -> Any:
        """A data frame of the raw columns."""

    def with_raw(self, data: "Sequences", columns: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of the data at other raw columns."""

    def histories(self, data: "Sequences") -> list[Any]:
        """What makes the columns of past emissions anew in a simulation."""

    def online(self, data: "Sequences") -> Mapping[str, "StepByStep"]:
        """The designs, by the argument, as they go along with an experiment."""

    def simulated(self, copies: int) -> "RawSource":
        """The source of copies of all sessions, whose emissions were simulated."""


def joined_source(parts: Sequence["Sequences"]) -> RawSource | None:
    """The source of several data sets end to end, where any of them has one."""
    known = [p.design_source for p in parts if p.design_source is not None]
    return known[0].joined(parts) if known else None
