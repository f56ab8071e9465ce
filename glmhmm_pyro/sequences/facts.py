"""What follows from the fields of a data set: numbers, types, groups."""

from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.ranks import ALONE, Ranks

from .operators import kept
from .sessions import Session


class Facts:
    """Numbers of steps, sessions, outputs and columns; types; groups of sessions.

    Attributes:
        session_weights: how often every session counts in a likelihood, (sessions,);
            ``None`` for once. See :meth:`Sequences.weighted`.
        ranks: the processes over which its sessions are spread in a fit.
    """

    emissions: Tensor
    covariates: Tensor
    transition_covariates: Tensor
    lengths: Tensor
    session_origins: tuple[Session, ...]
    session_weights: Tensor | None = None
    ranks: Ranks = ALONE

    def __getattr__(self, name: str) -> Any:
        """A design that is kept as an operator, as the tensor that it stands for."""
        made = self.__dict__.get("_operators", {})
        if not (name in made and made[name].is_streamed):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return made[name].dense()

    @property
    def num_steps(self) -> int:
        """Steps of all sessions together."""
        return len(self.emissions)

    @property
    def num_sessions(self) -> int:
        """Number of sessions."""
        return len(self.lengths)

    @property
    def groups(self) -> tuple[str, ...] | None:
        """The group of every session, or None where sessions have no groups."""
        groups = tuple(o.group for o in self.session_origins if o.group is not None)
        return groups or None

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the groups, each once, in the order of their first sessions."""
        return tuple(dict.fromkeys(self.groups or ()))

    @property
    def num_outputs(self) -> int:
        """Emissions per step; 1 where they are a vector."""
        return 1 if self.emissions.ndim == 1 else self.emissions.shape[1]

    @property
    def num_features(self) -> int:
        """Columns of the covariates."""
        return kept(self, "covariates").shape[1]

    @property
    def num_transition_features(self) -> int:
        """Columns of the transition covariates."""
        return kept(self, "transition_covariates").shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the covariates, and of emissions that are not classes."""
        return kept(self, "covariates").dtype

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return kept(self, "covariates").device

    @property
    def is_integer(self) -> bool:
        """Whether every emission is a whole number, of whatever type."""
        if not self.emissions.is_floating_point():
            return True
        return bool((self.emissions == self.emissions.floor()).all())
