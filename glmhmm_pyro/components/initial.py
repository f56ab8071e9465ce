"""Distributions of a session's first state."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro.nn import pyro_method
from torch import Tensor
from torch.distributions import constraints

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.components.base import Component, Site
from glmhmm_pyro.components.rescaling import logits_as_defined
from glmhmm_pyro.components.softmax import insert_zeros, permuted_rows
from glmhmm_pyro.components.tables import Certain, LogTable, ProbsTable
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.distributions import normalised
from glmhmm_pyro.priors.answers import mode_given
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.zeros import log_or_zero_slope, zeros_allowed


class InitialState(Component):
    """Distribution of the first hidden state of a session.

    A subclass writes :meth:`logits`.

    Example:
        >>> import glmhmm_pyro as gh
        >>> issubclass(gh.Initial, gh.components.InitialState)
        True
    """

    covariates_of = "initial_covariates"
    counts_of = "initial"

    @property
    def reads_covariates(self) -> bool:
        """Whether covariates have a part in it."""
        return False

    def forward(self, data: Sequences) -> Tensor:
        """Same as :meth:`logits`."""
        return self.logits(data)

    def bind(self, data: Sequences) -> None:
        """Nothing to record where no covariates are read."""

    def follow(self, transitions: Component) -> None:
        """Hook: receives the model's transitions; most initial states ignore them."""

    def logits(self, data: Sequences) -> Tensor:
        """Log-odds of the first state: (*batch, sessions or 1, states)."""
        raise NotImplementedError(
            f"{type(self).__name__} must define logits(data), the log-odds of the "
            "first state, of shape (*batch, sessions or 1, states)"
        )

    @pyro_method
    def log_probs(self, data: Sequences) -> Tensor:
        """Log-probabilities: (*batch, sessions or 1, states)."""
        with zeros_allowed(self):
            logits = self.logits(data)
        return normalised(logits)


class OnlyInitial(InitialState):
    """The start of a model with a single state: nothing is learnt.

    Example:
        >>> import glmhmm_pyro as gh
        >>> type(gh.GLMHMM(1, gh.Bernoulli()).initial).__name__
        'OnlyInitial'
    """

    batched = True

    def equations(self) -> list[str]:
        """All sessions begin in state 0."""
        return [f"{self.drawn} = 0"]

    @property
    def is_linear(self) -> bool:
        """Whether no covariates are read."""
        return logits_as_defined(self, OnlyInitial)

    def log_table(self, data: Sequences) -> LogTable | None:
        """Zeros."""
        return Certain(1, 1) if self.is_plain else None

    def logits(self, data: Sequences) -> Tensor:
        """Zeros, shape (1, 1)."""
        return torch.zeros(1, 1, dtype=torch.float64, device=data.device)


@suggests_names
class Initial(InitialState):
    """Free probabilities of the first state, shared by all sessions by default.

    Args:
        prior: distribution of the probabilities (a Dirichlet), or ``None`` for flat.
        per_session: whether every session has probabilities of its own, as in the
            original of Calhoun et al. 2019. Such a model is for the sessions it was
            fitted to, in any order, and for no others. It finds them by their names,
            and takes copies of a session for that session.

    Example:
        >>> import glmhmm_pyro as gh
        >>> first = gh.Initial(prior=gh.priors.Fixed([1, 0]))  # Always state 0.
        >>> model = gh.GLMHMM(2, gh.Bernoulli(), initial=first)
    """

    batched = True
    probs: Any

    def __init__(self, prior: Prior = None, per_session: bool = False):
        super().__init__()
        self.prior = prior
        self.per_session = per_session
        axes = ("session", "state") if per_session else ("state",)
        self.probs = Site(*axes, prior=prior, support=constraints.simplex)

    def right_side(self) -> str:
        """Whether every session has probabilities of its own, too."""
        return super().right_side() + ", of its own in every session" * self.per_session

    varying = "initial probabilities"
    unvarying = "Initial(per_session=False)"

    @property
    def is_linear(self) -> bool:
        """Whether no covariates are read."""
        return logits_as_defined(self, Initial)

    def log_table(self, data: Sequences) -> LogTable | None:
        """The probabilities, those of all sessions being the same."""
        if not self.is_plain:
            return None
        return ProbsTable(1, len(self.all_states(data.device)))

    def scores(self, covariates: Any) -> Tensor:
        """Logarithms of the probabilities (*batch, 1, states), whatever is read."""
        return log_or_zero_slope(self.probs).unsqueeze(-2)

    def logits(self, data: Sequences) -> Tensor:
        """Logarithms of the probabilities."""
        if not self.varies_over:
            return self.scores(None)
        logits = log_or_zero_slope(self.probs)
        rows = self.rows("session", data)
        everything = rows == list(range(logits.shape[-2]))
        return logits if everything else logits[..., rows, :]

    def closed_form(
        self, counts: Tensor, data: Sequences, params: Mapping[str, Tensor]
    ) -> dict[str, Tensor] | None:
        """Mode of the Dirichlet that the prior and the expected counts make."""
        if self.varies_over:
            rows = torch.tensor(self.rows("session", data), device=counts.device)
            shape = (*counts.shape[:-2], *self.shape("probs"))
            counts = counts.new_zeros(shape).index_add(-2, rows, counts)
        else:
            counts = counts.squeeze(-2)
        probs = mode_given(self.prior, counts, self.shape("probs"))
        return None if probs is None else {"probs": probs}


@suggests_names
class InitialGLM(InitialState):
    r"""Softmax regression of the first state on the session's initial covariates.

    .. math:: p(z_0 = k \mid v) \propto \exp(w_k^\top v), \quad w_0 = 0

    Args:
        prior: distribution that broadcasts to the weights (states - 1, features), or
            ``None`` for flat.
        covariates: names of the initial covariates that it reads; all by default.

    Example:
        >>> import glmhmm_pyro as gh
        >>> first = [[1.0], [0.5]]
        >>> data = gh.Sequences([0, 1, 1], lengths=[2, 1], initial_covariates=first)
        >>> model = gh.GLMHMM(3, gh.Bernoulli(), initial=gh.InitialGLM())
        >>> model.bind(data)
        >>> model.components["initial"].shape("weights")
        torch.Size([2, 1])
    """

    batched = True
    reads_covariates = True
    reference = "state 0"
    weights: Any

    def __init__(self, prior: Prior = None, covariates: Sequence[str] | None = None):
        super().__init__()
        self.choose(covariates)
        self.prior = prior
        self.weights = Site("state", "covariate", prior=prior)

    def sizes(self) -> dict[str, int | None]:
        """As for every component; state 0 is the reference and has no weights."""
        free = None if self.num_states is None else self.num_states - 1
        return {**super().sizes(), "state": free}

    def bind(self, data: Sequences) -> None:
        """Record or check the number of initial covariates."""
        if self.design(data) is None:
            raise ValueError(
                "data must have initial_covariates for an InitialGLM, got None; give "
                "them to Sequences, shape (sessions, features)"
            )
        Component.bind(self, data)

    @property
    def is_linear(self) -> bool:
        """Whether predictors are those made here."""
        return logits_as_defined(self, InitialGLM)

    def scores(self, covariates: DesignMatrix | Tensor) -> Tensor:
        """Linear predictors (*batch, rows, states) of rows of covariates."""
        weights = self.weights.to(covariates.dtype)
        return covariates @ insert_zeros(weights).transpose(-1, -2)

    def logits(self, data: Sequences) -> Tensor:
        """Linear predictors, 0 for state 0."""
        return self.scores(self.operator(data))

    def display(self, name: str, value: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """The weights of all states, those of state 0 being 0."""
        return insert_zeros(value), self.sites[name].axes

    def permuted(self, name: str, value: Tensor, order: Tensor) -> Tensor:
        """Weights relative to those of the state that becomes 0."""
        return permuted_rows(value, order)
