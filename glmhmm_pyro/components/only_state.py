"""The transitions of a model that has one state."""

import torch
from pyro.distributions import Categorical
from torch import Tensor

from glmhmm_pyro.components.rescaling import logits_as_defined
from glmhmm_pyro.components.tables import Certain, LogTable
from glmhmm_pyro.components.transitions import Transitions
from glmhmm_pyro.sequences import Sequences


class OnlyState(Transitions):
    """Transitions of a model with one state, which stays; there are no parameters.

    Example:
        >>> import glmhmm_pyro as gh
        >>> type(gh.GLMHMM(1, gh.Bernoulli()).transitions).__name__
        'OnlyState'
    """

    batched = True
    reads_covariates = False

    def equations(self) -> list[str]:
        """All steps are in state 0."""
        return [f"{self.drawn} = 0"]

    def bind(self, data: Sequences) -> None:
        """No covariates are read."""

    @property
    def is_linear(self) -> bool:
        """Whether no covariates are read."""
        return logits_as_defined(self, OnlyState)

    def forward(self, state: Tensor, covariates: Tensor) -> Categorical:
        """The distribution of the only state."""
        return Categorical(logits=torch.zeros(state.shape + (1,), dtype=torch.float64))

    def log_table(self, data: Sequences) -> LogTable | None:
        """Zeros."""
        return Certain(1, 1, 1) if self.is_plain else None

    def logits(self, data: Sequences) -> Tensor:
        """Zeros, shape (1, 1, 1)."""
        return torch.zeros(1, 1, 1, dtype=torch.float64, device=data.device)
