"""Distributions of the next state given the present one and the covariates."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro.distributions import Categorical
from pyro.nn import pyro_method
from torch import Tensor
from torch.distributions import constraints

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.chain import Expansion
from glmhmm_pyro.components.base import Component, Site
from glmhmm_pyro.components.forbidden import Forbidding
from glmhmm_pyro.components.going_on import GoesOn
from glmhmm_pyro.components.pairs import (
    free_pairs,
    insert_staying,
    insert_staying_rows,
    permuted_pairs,
)
from glmhmm_pyro.components.rescaling import ColumnUnits, Gain, logits_as_defined
from glmhmm_pyro.components.soft_labels import TransitionObjective
from glmhmm_pyro.components.softmax import insert_zeros, permuted_rows
from glmhmm_pyro.components.tables import (
    LogTable,
    MovesTable,
    ProbsTable,
    SharedMovesTable,
)
from glmhmm_pyro.distributions import normalised
from glmhmm_pyro.priors.answers import is_flat, mode_given
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.zeros import exact_logits, log_or_zero_slope, zeros_allowed


class Transitions(GoesOn, Component):
    """Distribution of the state at t given the state at t-1 and the covariates of t.

    A subclass writes ``forward``, broadcasting over the state it comes from; that alone
    serves every method. :meth:`logits`, the table over all origins, may be overridden.

    Example:
        >>> import glmhmm_pyro as gh
        >>> issubclass(gh.InputDriven, gh.Transitions)
        True
    """

    covariates_of = "transition_covariates"
    counts_of = "transition"

    @property
    def emits(self) -> Tensor | None:
        """The state that each state of the chain emits as, shape (chain states,).

        By default the model's. Others (phases of a state, say) are seen by ``forward``,
        ``logits`` and transition counts alone; sessions begin in a state's first one.
        """
        return None

    @property
    def expansion(self) -> Expansion:
        """From the states of the chain to those of the model, and back."""
        return Expansion(self.emits, len(super().all_states(torch.device("cpu"))))

    def all_states(self, device: torch.device) -> Tensor:
        """The numbers of all chain states."""
        return torch.arange(self.expansion.num_chain_states, device=device)

    @property
    def decides_first(self) -> bool:
        """Whether :meth:`enter` reads its parameters."""
        return False

    def separate(self) -> None:
        """Hook: from now on do not tie the initial distribution to the transitions."""

    def enter(self, log_probs: Tensor) -> Tensor:
        """First chain states (..., chain states) of first states (..., states).

        These are given back where every session begins in the first one of a state.
        """
        return log_probs

    def separates(self) -> bool:
        """False where one row of parameters drives several chain states."""
        return super().separates() and self.emits is None

    def permuted(self, name: str, value: Tensor, order: Tensor) -> Tensor:
        """As for every component; chain states are renumbered with their states."""
        Expansion(self.emits, len(order)).check_even()
        return super().permuted(name, value, order)

    def forward(self, state: Tensor, covariates: Tensor) -> Categorical:
        """Distribution of the next chain state.

        Args:
            state: chain state where the step starts, shape (*shape).
            covariates: shape (*shape, features), of the step it leads INTO.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define forward(state, covariates), the "
            "distribution of the next state"
        )

    def logits(self, data: Sequences) -> Tensor:
        """Log-odds: (*batch, steps or 1, origins, destinations)."""
        origins = self.all_states(data.device)
        logits = exact_logits(self(origins, self.inputs(data).unsqueeze(-2)))
        return logits.unsqueeze(0) if logits.dim() == 2 else logits

    def moves(self, data: Sequences) -> Tensor:
        """What the chain reads: :meth:`logits`, or log-probabilities of half-steps.

        The latter, put together by ``chain.half_steps.halved``, are of states that are
        pairs; expected counts come in their shape.
        """
        return self.logits(data)

    @pyro_method
    def log_probs(self, data: Sequences) -> Tensor:
        """Log-probabilities, shape (*batch, steps or 1, origins, destinations)."""
        with zeros_allowed(self):
            logits = self.logits(data)
        return normalised(logits)


@suggests_names
class Stationary(Forbidding, Transitions):
    """One matrix of transition probabilities for all steps.

    Args:
        prior: distribution of a row of the matrix, of the moves that can be, such as
            :class:`~glmhmm_pyro.priors.Sticky` or a Dirichlet, or ``None`` for flat.
        forbidden: pairs of states (from, to) of moves that cannot be; none by default.

    Example:
        >>> import glmhmm_pyro as gh
        >>> sticky = gh.priors.Sticky(stay=20, move=2)
        >>> model = gh.GLMHMM(2, gh.Bernoulli(), gh.Stationary(prior=sticky))
    """

    blocks = "origin"
    batched = True
    reads_covariates = False
    probs: Any

    def __init__(
        self, prior: Prior = None, *, forbidden: Sequence[tuple[int, int]] = ()
    ):
        super().__init__()
        self.forbid(forbidden)
        self.prior, given = prior, self.where_allowed(prior, 0)
        axes = "origin", "destination"
        self.probs = Site(*axes, prior=given, support=constraints.simplex)

    def sizes(self) -> dict[str, int | None]:
        """As for every component, and the destinations."""
        return {**super().sizes(), "destination": self.num_states}

    def bind(self, data: Sequences) -> None:
        """No covariates are read, so there is nothing to record."""

    @property
    def is_linear(self) -> bool:
        """Whether no covariates are read."""
        return logits_as_defined(self, Stationary)

    def forward(self, state: Tensor, covariates: Tensor) -> Categorical:
        """The row of the matrix that belongs to the state."""
        return Categorical(probs=self.probs[..., state, :], validate_args=False)

    def log_table(self, data: Sequences) -> LogTable | None:
        """The matrix, if its states are the model's."""
        if not self.is_plain or self.emits is not None:
            return None
        states = len(self.all_states(data.device))
        return ProbsTable(1, states, states)

    def logits(self, data: Sequences) -> Tensor:
        """Logarithms of the matrix, shape (*batch, 1, origins, destinations)."""
        return log_or_zero_slope(self.probs).unsqueeze(-3)

    def closed_form(
        self, counts: Tensor, data: Sequences, params: Mapping[str, Tensor]
    ) -> dict[str, Tensor] | None:
        """Mode of the Dirichlet that the prior and the expected counts make."""
        prior = self.sites["probs"].prior
        probs = mode_given(prior, counts.squeeze(-3), self.shape("probs"))
        return None if probs is None else {"probs": probs}


@suggests_names
class InputDriven(Forbidding, Transitions):
    r"""Softmax regression of the next state, with weights for every pair of states.

    .. math:: p(z_t = j \mid z_{t-1} = i, u_t) \propto \exp(w_{ij}^\top u_t),
        \quad w_{ii} = 0

    Staying is the reference (Calhoun, Pillow & Murthy 2019, Methods).

    Args:
        prior: distribution that broadcasts to the free weights (origins,
            destinations - 1, features), or ``None`` for flat.
        covariates: names of the transition covariates that it reads; all by default.
        forbidden: pairs of states (from, to) of moves that cannot be; none by default.

    Example:
        >>> import glmhmm_pyro as gh
        >>> moves = gh.InputDriven(gh.priors.Ridge(1.0), forbidden=[(0, 2), (2, 0)])
        >>> model = gh.GLMHMM(3, gh.Bernoulli(), moves)
    """

    blocks = "origin"
    batched = True
    reference = "staying"
    weights: Any

    def __init__(
        self,
        prior: Prior = None,
        covariates: Sequence[str] | None = None,
        *,
        forbidden: Sequence[tuple[int, int]] = (),
    ):
        super().__init__()
        self.choose(covariates)
        self.forbid(forbidden)
        self.prior, given = prior, self.where_allowed(prior, 1)
        self.weights = Site("origin", "destination", "covariate", prior=given)

    def sizes(self) -> dict[str, int | None]:
        """As for every component, and the free destinations: all but staying."""
        free = None if self.num_states is None else self.num_states - 1
        return {**super().sizes(), "destination": free}

    @property
    def is_linear(self) -> bool:
        """Whether predictors are those made here."""
        return logits_as_defined(self, InputDriven)

    def forward(self, state: Tensor, covariates: Tensor) -> Categorical:
        """Softmax of the linear predictors of the state's row."""
        weights = self.weights.to(covariates.dtype)
        weights = insert_staying_rows(weights)[..., state, :, :]
        scores = self.possible((weights * covariates.unsqueeze(-2)).sum(-1), state)
        return Categorical(logits=scores, validate_args=False)

    def logits(self, data: Sequences) -> Tensor:
        """The linear predictors, by one product, 0 for staying."""
        design = self.operator(data)
        weights = self.weights.to(design.dtype)
        scores = design @ weights.flatten(-3, -2).transpose(-1, -2)
        shape = scores.shape[:-1] + weights.shape[-3:-1]
        return self.possible(insert_staying(scores.reshape(shape)))

    def log_table(self, data: Sequences) -> LogTable | None:
        """Softmax regressions, differentiated by hand."""
        if not self.is_plain or self.emits is not None:
            return None
        return MovesTable(self.operator(data), self.never)

    def block_objective(self, data: Sequences) -> TransitionObjective:
        """All rows' softmax regressions evaluated together."""
        states = len(self.all_states(data.device))
        return TransitionObjective(self.operator(data), states)

    def display(self, name: str, value: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """The weights of all pairs of states: 0 for staying, NaN of forbidden moves."""
        by_pair = self.shown(insert_staying(value.movedim(-1, 0)))
        return by_pair.movedim(0, -1), self.sites[name].axes

    def permuted(self, name: str, value: Tensor, order: Tensor) -> Tensor:
        """Weights of every pair of states, staying being the reference in all."""
        return permuted_pairs(value.movedim(-1, 0), order).movedim(0, -1)


@suggests_names
class SharedInputDriven(Forbidding, Transitions):
    r"""A baseline for every pair of states, and weights shared by all origins.

    .. math:: p(z_t = j \mid z_{t-1} = i, u_t) \propto \exp(b_{ij} + w_j^\top u_t),
        \quad b_{ii} = 0, \; w_0 = 0

    The covariates draw the animal to a state wherever it comes from. They must not hold
    a constant column: the baseline is one already.

    Args:
        prior: distribution that broadcasts to the weights (destinations - 1, features),
            or ``None`` for flat.
        baseline_prior: distribution that broadcasts to the free baseline (origins,
            destinations - 1), or ``None`` for flat.
        covariates: names of the transition covariates that it reads; all by default.
        forbidden: pairs of states (from, to) of moves that cannot be; none by default.

    Example:
        >>> import glmhmm_pyro as gh
        >>> moves = gh.SharedInputDriven(gh.priors.Ridge(1.0))
        >>> model = gh.GLMHMM(2, gh.Bernoulli(), moves)
    """

    batched = True
    reference = "staying (baseline) and state 0"
    weights: Any
    baseline: Any

    def __init__(
        self,
        prior: Prior = None,
        baseline_prior: Prior = None,
        covariates: Sequence[str] | None = None,
        *,
        forbidden: Sequence[tuple[int, int]] = (),
    ):
        super().__init__()
        self.choose(covariates)
        self.forbid(forbidden)
        self.prior, self.baseline_prior = prior, baseline_prior
        self.weights = Site("destination", "covariate", prior=prior)
        given = self.where_allowed(baseline_prior, 0)
        self.baseline = Site("origin", "destination", prior=given)

    def sizes(self) -> dict[str, int | None]:
        """As for every component, and the free destinations."""
        free = None if self.num_states is None else self.num_states - 1
        return {**super().sizes(), "destination": free}

    def check_varies(self, data: Sequences) -> None:
        """Refuse a column that is constant in data that are fitted."""
        design = self.operator(data)
        low, high = design.extent()
        constant = (low == high).nonzero().flatten().tolist()
        if constant and design.total_rows > 1:
            name = (design.names or data.transition_covariate_names)[constant[0]]
            raise ValueError(
                f"transition_covariates must have no constant column for "
                f"SharedInputDriven, got column {name!r}; leave it out: the baseline "
                "of every pair of states is free already"
            )

    @property
    def is_linear(self) -> bool:
        """Whether predictors are those made here."""
        return logits_as_defined(self, SharedInputDriven)

    @property
    def takes_centres(self) -> bool:
        """Whether the baseline is free to take up the means of the covariates."""
        return bool(is_flat(self.baseline_prior))

    def own_gains(self, columns: ColumnUnits) -> dict[str, Gain]:
        """The baseline's, by the predictors at the means, that of staying being 0."""
        centre = columns.centre
        if not centre.any():
            return {}

        def gained(weights: Tensor) -> Tensor:
            to = insert_zeros(weights) @ centre.to(weights)
            gain = free_pairs(to.unsqueeze(-1) - to.unsqueeze(-2))
            return gain.masked_fill(torch.from_numpy(self.never).to(gain.device), 0)

        return {"baseline": Gain("weights", gained)}

    def forward(self, state: Tensor, covariates: Tensor) -> Categorical:
        """Softmax of the baseline's row plus the shared linear predictors."""
        baseline = insert_staying(self.baseline)[..., state, :]
        weights = self.weights.to(covariates.dtype)
        scores = baseline + covariates @ insert_zeros(weights).transpose(-1, -2)
        return Categorical(logits=self.possible(scores, state), validate_args=False)

    def log_table(self, data: Sequences) -> LogTable | None:
        """Softmax regressions, differentiated by hand."""
        if not self.is_plain or self.emits is not None:
            return None
        return SharedMovesTable(self.operator(data), self.never)

    def logits(self, data: Sequences) -> Tensor:
        """Baseline (origins, destinations) plus predictors (steps, 1, destinations)."""
        design = self.operator(data)
        weights = insert_zeros(self.weights.to(design.dtype))
        scores = design @ weights.transpose(-1, -2)
        scores = insert_staying(self.baseline).unsqueeze(-3) + scores.unsqueeze(-2)
        return self.possible(scores)

    def display(self, name: str, value: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        """Weights of all destinations, or the baseline, NaN for forbidden moves."""
        if name == "weights":
            return insert_zeros(value), self.sites[name].axes
        return self.shown(insert_staying(value)), self.sites[name].axes

    def permuted(self, name: str, value: Tensor, order: Tensor) -> Tensor:
        """The baseline of every pair, or weights relative to the new state 0's.

        A row of the softmax is free of a constant, so both move on their own.
        """
        permute = permuted_rows if name == "weights" else permuted_pairs
        return permute(value, order)
