"""HiddenMarkov: the distribution of a sequence whose hidden states are summed out."""

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints

from glmhmm_pyro import chain
from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.chain.half_steps import are_halves, whole
from glmhmm_pyro.distributions.event_shapes import check_borders, check_shapes
from glmhmm_pyro.distributions.log_probs import (
    normalised,
    normalised_firsts,
    weighted_sum,
)
from glmhmm_pyro.distributions.output import Output, expected_emission, outputs_of
from glmhmm_pyro.distributions.posteriors import StatePosteriors
from glmhmm_pyro.masking import (
    check_mask,
    count_observed,
    emission_log_probs,
    steps_observed,
)


@suggests_names
class HiddenMarkov(StatePosteriors, TorchDistribution):
    r"""Emissions of a hidden Markov chain whose transitions vary in time.

    .. math:: p(y) = \sum_z \pi(z_0) p(y_0 | z_0)
        \prod_{t>0} A_t(z_{t-1}, z_t) \, p(y_t | z_t)

    One value holds all sessions end to end: ``event_shape = (steps, *emission event)``,
    and ``log_prob`` sums over the sessions. Row t of ``transition_logits`` drives the
    step from t-1 INTO t; at a session start the chain is drawn from the initial
    distribution and that row is ignored. ``batch_shape`` holds parameter sets only.

    The gradient of ``log_prob`` comes from forward-backward (Fisher's identity), not
    from tracing the recursion; second derivatives are exact too.

    The chain may have more states than emit in ways of their own: phases of how long a
    state lasts, pairs of a slow and a fast state. ``emits`` says which state each chain
    state emits as. All that is said of states is then said of these, summed over their
    chain states; the transitions alone are those of the chain.

    Args:
        initial_logits: shape (*batch, sessions | 1, states), normalised here. A state
            is entered by the first of its chain states; logits of all chain states
            say otherwise.
        transition_logits: shape (*batch, steps | 1, origins, destinations), normalised
            here over the destinations; an axis of size 1 is a stationary chain. Origins
            and destinations are chain states. Or the log-probabilities of both
            half-steps of pairs of a slow and a fast state, as
            ``chain.half_steps.halved`` puts them together, taken as they are.
        emission_dist: batch shape (*batch, steps, states).
        lengths: number of steps of each session, shape (sessions,).
        mask: shape (steps,), False where the emission is not observed; or that of the
            emissions (steps, outputs), False where an output is not.
        emits: the state that each chain state emits as, shape (chain states,); by
            default the chain states are the states.
        weights: how often every session counts in ``log_prob`` and in expected counts,
            shape (sessions,); once by default.
        goes_on: whether the slow state of a session's first step goes on from that at
            the end of the session before it, shape (sessions,); by default none does.
            Moves are then half-steps at every step, at borders too, where only the slow
            one counts, and ``initial_logits`` have a row for every session. Those of
            one that goes on are of the fast state, given the slow one. Such sessions
            are one chain, of a single weight.

    Example:
        >>> import torch, pyro.distributions as dist
        >>> rates = torch.tensor([[1.0, 5.0]], dtype=torch.float64).expand(4, 2)
        >>> stay = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]], dtype=torch.float64)
        >>> start = torch.zeros(1, 2, dtype=torch.float64)
        >>> lengths = torch.tensor([3, 1])
        >>> hidden = HiddenMarkov(start, stay, dist.Poisson(rates), lengths)
        >>> hidden.log_prob(torch.tensor([0.0, 1.0, 6.0, 5.0])).shape
        torch.Size([])
    """

    arg_constraints: dict = {}
    has_rsample = False

    def __init__(
        self,
        initial_logits: Tensor,
        transition_logits: Tensor,
        emission_dist: Distribution,
        lengths: Tensor,
        mask: Tensor | None = None,
        emits: Tensor | None = None,
        weights: Tensor | None = None,
        goes_on: Tensor | None = None,
    ):
        if not isinstance(emission_dist, Distribution):
            raise TypeError(
                "emission_dist must be a distribution, got "
                f"{type(emission_dist).__name__}; give such as Bernoulli(logits=...)"
            )
        steps, states = emission_dist.batch_shape[-2:]
        self.expansion = chain.Expansion(emits, states)
        given = initial_logits, transition_logits
        check_shapes(*given, steps, self.expansion, lengths, weights)
        check_borders(*given, self.expansion, lengths, weights, goes_on)
        check_mask(mask, torch.Size([steps]) + emission_dist.event_shape)
        self.goes_on, self.borders = goes_on, None
        if goes_on is not None and goes_on.any():
            self.borders = chain.Borders.of(lengths, goes_on)
        halves = are_halves(transition_logits, self.num_chain_states)
        self.moves = transition_logits if halves else normalised(transition_logits)
        self.initial_logits = normalised_firsts(initial_logits, self.moves, goes_on)
        self.emission_dist = emission_dist
        self.lengths = lengths
        self.mask = mask
        self.weights = weights
        batch_shape = broadcast_shape(
            initial_logits.shape[:-2],
            transition_logits.shape[:-3],
            emission_dist.batch_shape[:-2],
        )
        event_shape = torch.Size([steps]) + emission_dist.event_shape
        super().__init__(batch_shape, event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Support of the emissions."""
        emission: Any = self.emission_dist.support
        return constraints.independent(
            emission, len(self.event_shape) - emission.event_dim
        )

    @property
    def num_states(self) -> int:
        """Number of hidden states."""
        return self.expansion.num_states

    @property
    def num_chain_states(self) -> int:
        """Number of states of the chain, which several may have in common."""
        return self.expansion.num_chain_states

    @property
    def transition_logits(self) -> Tensor:
        """Log-probabilities (*batch, steps | 1, origins, destinations).

        Half-steps, which ``moves`` has, are put together for it, and at borders with
        the first fast states of a session.
        """
        moves = self._of_chains[1]
        states = self.num_chain_states
        return whole(moves, states) if are_halves(moves, states) else moves

    @property
    def chain_lengths(self) -> Tensor:  # type: ignore[override]
        """Number of steps of each chain, a session with those that go on from it."""
        return self.lengths if self.borders is None else self.borders.lengths

    @property
    def _chain_weights(self) -> Tensor | None:
        """How often every chain counts."""
        if self.weights is None or self.borders is None:
            return self.weights
        return self.weights[self.borders.first]

    @property
    def _of_chains(self) -> tuple[Tensor, Tensor]:
        """Logs of first states and of moves, of whole chains."""
        if self.borders is None:
            return self.initial_logits, self.moves
        return self.borders.joined(self.initial_logits, self.moves)

    @property
    def num_observed(self) -> float:
        """Number of steps of which something was observed, as often as they count."""
        return count_observed(self.mask, self.lengths, self.weights)

    def expand(
        self, batch_shape: torch.Size, _instance: object = None
    ) -> "HiddenMarkov":
        """The distribution itself; a real expansion would count the data repeatedly."""
        if torch.Size(batch_shape) != self.batch_shape:
            raise ValueError(
                f"HiddenMarkov must keep its batch shape {tuple(self.batch_shape)}, "
                f"got {tuple(batch_shape)}: its log_prob already sums over all "
                "sessions, so a plate around the site would count them repeatedly; "
                "take the site out of the plate (mini-batches: data.subset and "
                "poutine.scale)"
            )
        return self

    def without_emissions(self) -> "HiddenMarkov":
        """The same chain with no step observed: its states follow from the covariates.

        :meth:`smoothed_probs` are then p(z_t), whatever emissions are given.
        """
        device = self.initial_logits.device
        return self.with_mask(
            torch.zeros(self.event_shape[:1], dtype=torch.bool, device=device)
        )

    def with_mask(self, mask: Tensor | None) -> "HiddenMarkov":
        """The same chain with other emissions observed.

        Args:
            mask: as for the class, in the place of its own.
        """
        given = (self.initial_logits, self.moves, self.emission_dist, self.lengths)
        kept = (self.expansion.emits, self.weights, self.goes_on)
        return HiddenMarkov(*given, mask, *kept)

    def tabled(self) -> "HiddenMarkov":
        """The same chain with all its moves in one table, and counts of them so.

        Sessions that go on from one another are one.
        """
        given = (self._of_chains[0], self.transition_logits, self.emission_dist)
        emits, weights = self.expansion.emits, self._chain_weights
        return HiddenMarkov(*given, self.chain_lengths, self.mask, emits, weights)

    def outputs(self, value: Tensor) -> dict[str, Output]:
        """What the emissions consist of, by name; a single output has no name.

        A distribution of several says so by a method ``outputs(value, mask)``.
        """
        return outputs_of(self.emission_dist, value, self.mask)

    def emission_log_probs(self, value: Tensor) -> Tensor:
        """log p(y_t | z_t = k), 0 where masked, shape (*batch, steps, states)."""
        return emission_log_probs(self.emission_dist, value, self.mask)

    def potentials(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the chain reads: initial, transition and emission logs, and lengths.

        They are of chain states, and are given one precision, the finest that any of
        them has.
        """
        emission = self.emission_log_probs(value)
        initial, moves = self._of_chains
        dtype = torch.promote_types(self.initial_logits.dtype, emission.dtype)
        dtype = torch.promote_types(dtype, self.moves.dtype)
        return (
            self.expansion.enter(initial.to(dtype)),
            moves.to(dtype),
            self.expansion.expand(emission.to(dtype)),
            self.chain_lengths,
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-likelihood of all sessions, in nats, shape (*batch,)."""
        by_chain, weights = self.log_prob_per_chain(value), self._chain_weights
        return (by_chain if weights is None else by_chain * weights).sum(-1)

    def expected_counts(
        self,
        value: Tensor,
        out: chain.ExpectedCounts | None = None,
        beta: float = 1.0,
    ) -> chain.ExpectedCounts:
        """The E-step: posterior expectations, in the shapes of what was given.

        Those of emissions are counts of states, those of transitions of chain states,
        and those of first states whichever the initial distribution speaks of.

        Masked steps have no emission, so their counts of emissions are 0. The memory of
        ``out``, an earlier result of the same shapes, is used again. At an inverse
        temperature ``beta`` below 1 the paths of states count p(y, z)^beta, and
        ``log_marginal`` is the logarithm of the sum of these.
        """
        initial, transition, emission, lengths = self.potentials(value)
        weights = self._chain_weights
        if beta != 1.0:
            initial, transition = beta * initial, beta * transition
            emission = beta * emission
        if self.expansion.emits is not None:
            out = None  # Its counts of emissions are folded: they are of another shape.
        counts = chain.expected_counts(
            initial, transition, emission, lengths, out=out, weights=weights
        )
        if weights is not None:
            logs = counts.log_marginal * weights
            counts = counts._replace(log_marginal=logs)
        if self.borders is not None:
            counts = self.borders.split(counts)
        counts = self._folded(counts)
        seen = steps_observed(self.mask)
        if seen is None:
            return counts
        return counts._replace(emission=counts.emission * seen[:, None])

    def _folded(self, counts: chain.ExpectedCounts) -> chain.ExpectedCounts:
        """Counts of a chain, in the shapes of what was given."""
        if self.expansion.emits is None:
            return counts
        initial = counts.initial
        if self.initial_logits.shape[-1] == self.num_states:
            initial = self.expansion.fold(initial)
        emission = self.expansion.fold(counts.emission)
        return counts._replace(initial=initial, emission=emission)

    def expected_log_prob(self, value: Tensor, counts: chain.ExpectedCounts) -> Tensor:
        r"""Expected complete-data log-likelihood, which an M-step maximises.

        .. math:: Q(\theta) = \mathrm{E}[\log p_\theta(y, z)],
            \quad z \sim \text{counts}

        Shape (*batch,).
        """
        return (
            weighted_sum(counts.initial, self.initial_logits, 2)
            + weighted_sum(counts.transition, self.moves, 3)
            + weighted_sum(counts.emission, self.emission_log_probs(value), 2)
        )

    def expected_emission(self, state_probs: Tensor) -> Tensor:
        """Emissions expected under probabilities of the states.

        Args:
            state_probs: shape (*batch, steps, states).

        Returns:
            For emissions with countably few values (labels) the probability of each,
            (*batch, steps, values); else their mean, (*batch, steps, *emission event).
        """
        return expected_emission(self.emission_dist, state_probs)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Emissions along a path drawn from the chain, past emissions not fed back."""
        return self.sample_with_states(sample_shape)[0]

    def sample_with_states(
        self,
        sample_shape: torch.Size = torch.Size(),
    ) -> tuple[Tensor, Tensor]:
        """Emissions and the states they came from (open loop).

        Returns:
            Emissions (*sample, *batch, steps, *emission event) and states
            (*sample, *batch, steps).
        """
        num_samples = torch.Size(sample_shape).numel()
        shape = self.batch_shape + self.emission_dist.batch_shape[-2:]
        initial, moves = self._of_chains
        initial = self.expansion.enter(initial)
        nothing = initial.new_zeros(shape[:-1] + (self.num_chain_states,))
        given = (initial, moves, nothing, self.chain_lengths)
        paths = chain.sample_paths(*given, num_samples)
        states = self.expansion.states(paths).reshape(
            torch.Size(sample_shape) + self.batch_shape + shape[-2:-1]
        )
        event = self.emission_dist.event_shape
        of_all_states = self.emission_dist.sample(torch.Size(sample_shape))
        of_all_states = of_all_states.expand(states.shape + shape[-1:] + event)
        index = states.reshape(states.shape + (1,) * (1 + len(event)))
        index = index.expand(states.shape + (1,) + event)
        return of_all_states.gather(states.dim(), index).squeeze(states.dim()), states
