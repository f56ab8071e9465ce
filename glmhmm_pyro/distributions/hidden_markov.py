"""HiddenMarkov: the distribution of a sequence whose hidden states are summed out."""

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints

from glmhmm_pyro import chain
from glmhmm_pyro.arguments import suggests_names, whole_number
from glmhmm_pyro.chain.half_steps import are_halves, whole
from glmhmm_pyro.distributions.event_shapes import check_shapes
from glmhmm_pyro.distributions.log_probs import normalised, weighted_sum
from glmhmm_pyro.distributions.output import Output, expected_emission, outputs_of
from glmhmm_pyro.masking import (
    check_mask,
    count_observed,
    emission_log_probs,
    steps_observed,
)


@suggests_names
class HiddenMarkov(TorchDistribution):
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
    ):
        if not isinstance(emission_dist, Distribution):
            raise TypeError(
                "emission_dist must be a distribution, got "
                f"{type(emission_dist).__name__}; give such as Bernoulli(logits=...)"
            )
        steps, states = emission_dist.batch_shape[-2:]
        self.expansion = chain.Expansion(emits, states)
        check_shapes(
            initial_logits, transition_logits, steps, self.expansion, lengths, weights
        )
        check_mask(mask, torch.Size([steps]) + emission_dist.event_shape)
        self.initial_logits = normalised(initial_logits)
        halves = are_halves(transition_logits, self.num_chain_states)
        self.moves = transition_logits if halves else normalised(transition_logits)
        self.emission_dist = emission_dist
        self.lengths = lengths
        self.mask = mask
        self.weights = weights
        batch_shape = torch.broadcast_shapes(
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

        Half-steps, which ``moves`` has, are put together for it.
        """
        halves = are_halves(self.moves, self.num_chain_states)
        return whole(self.moves) if halves else self.moves

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
        return self._replaced(self.moves, mask)

    def tabled(self) -> "HiddenMarkov":
        """The same chain with all its moves in one table, and counts of them so."""
        return self._replaced(self.transition_logits, self.mask)

    def _replaced(self, moves: Tensor, mask: Tensor | None) -> "HiddenMarkov":
        emits, weights = self.expansion.emits, self.weights
        given = (self.initial_logits, moves, self.emission_dist, self.lengths)
        return HiddenMarkov(*given, mask, emits, weights)

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
        dtype = torch.promote_types(self.initial_logits.dtype, emission.dtype)
        dtype = torch.promote_types(dtype, self.moves.dtype)
        return (
            self.expansion.enter(self.initial_logits.to(dtype)),
            self.moves.to(dtype),
            self.expansion.expand(emission.to(dtype)),
            self.lengths,
        )

    def log_prob_per_session(self, value: Tensor) -> Tensor:
        """Log-likelihood of each session, in nats, shape (*batch, sessions)."""
        return chain.log_marginal(*self.potentials(value))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-likelihood of all sessions, in nats, shape (*batch,)."""
        by_session = self.log_prob_per_session(value)
        return (by_session if self.weights is None else by_session * self.weights).sum(
            -1
        )

    def log_prob_per_step(self, value: Tensor) -> Tensor:
        """log p(y_t | earlier y of its session), in nats, shape (*batch, steps)."""
        log_probs = chain.filter(*self.potentials(value)).log_prob_per_step
        seen = steps_observed(self.mask)
        # Nothing observed is certain, to the last digit.
        return log_probs if seen is None else torch.where(seen, log_probs, 0.0)

    def filtered_probs(self, value: Tensor) -> Tensor:
        """p(z_t | y_0..t), shape (*batch, steps, states)."""
        return self.expansion.fold(chain.filter(*self.potentials(value)).filtered_probs)

    def predicted_probs(self, value: Tensor, steps_ahead: int = 1) -> Tensor:
        r"""p(z_t | y_0..t-k), shape (*batch, steps, states), k being ``steps_ahead``.

        From one step ahead to the next a transition more is made,

        .. math:: p(z_t \mid y_{0..t-k}) =
            \sum_i p(z_{t-1} = i \mid y_{0..t-k}) A_t(i, \cdot)
        """
        steps_ahead = whole_number("steps_ahead", steps_ahead, 1)
        probs = chain.filter(*self.potentials(value)).predicted_probs
        starts = self.lengths.cumsum(0) - self.lengths
        more = min(steps_ahead, int(self.lengths.max())) - 1
        first = probs[..., starts, :]
        moves = self.transition_logits.exp().to(probs.dtype) if more else probs
        for _ in range(more):
            probs = (probs.roll(1, -2).unsqueeze(-2) @ moves).squeeze(-2)
            probs[..., starts, :] = first
        return self.expansion.fold(probs)

    def smoothed_probs(self, value: Tensor) -> Tensor:
        """p(z_t | all y of the session), shape (*batch, steps, states)."""
        return self.expansion.fold(chain.smooth(*self.potentials(value)))

    def pairwise_probs(self, value: Tensor) -> Tensor:
        """p(z_t-1, z_t | all y of the session), shape (*batch, steps, states, states).

        Row t is about the step INTO t; rows at session starts are 0.
        """
        pairs = chain.pairwise(*self.potentials(value)).pairwise_probs
        return self.expansion.fold_pairs(pairs)

    def transition_probs(self) -> Tensor:
        """p(z_t | z_t-1) before any emission, (*batch, steps | 1, states, states).

        Where several chain states are one state, it depends on which of them is how
        probable at the step before. Rows of a state that is impossible there are NaN,
        those at session starts too.
        """
        if self.expansion.emits is None:
            return self.transition_logits.exp()
        steps, initial = self.event_shape[:1], self.expansion.enter(self.initial_logits)
        nothing = initial.new_zeros(steps + (self.num_chain_states,))
        potentials = (initial, self.transition_logits, nothing, self.lengths)
        pairs = self.expansion.fold_pairs(chain.pairwise(*potentials).pairwise_probs)
        return pairs / pairs.sum(-1, keepdim=True)

    def viterbi_states(self, value: Tensor) -> Tensor:
        """States of the most probable path of the chain, shape (*batch, steps)."""
        return self.expansion.states(chain.viterbi(*self.potentials(value)).states)

    def sample_states(
        self, value: Tensor, num_samples: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Paths drawn from p(z | y), shape (num_samples, *batch, steps)."""
        num_samples = whole_number("num_samples", num_samples)
        potentials = self.potentials(value)
        paths = chain.sample_paths(*potentials, num_samples, generator=generator)
        return self.expansion.states(paths)

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
        if beta != 1.0:
            initial, transition = beta * initial, beta * transition
            emission = beta * emission
        if self.expansion.emits is not None:
            out = None  # Its counts of emissions are folded: they are of another shape.
        counts = chain.expected_counts(
            initial, transition, emission, lengths, out=out, weights=self.weights
        )
        if self.weights is not None:
            logs = counts.log_marginal * self.weights
            counts = counts._replace(log_marginal=logs)
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
        initial = self.expansion.enter(self.initial_logits)
        nothing = initial.new_zeros(shape[:-1] + (self.num_chain_states,))
        paths = chain.sample_paths(
            initial, self.moves, nothing, self.lengths, num_samples
        )
        states = self.expansion.states(paths).reshape(
            torch.Size(sample_shape) + self.batch_shape + shape[-2:-1]
        )
        event = self.emission_dist.event_shape
        of_all_states = self.emission_dist.sample(torch.Size(sample_shape))
        of_all_states = of_all_states.expand(states.shape + shape[-1:] + event)
        index = states.reshape(states.shape + (1,) * (1 + len(event)))
        index = index.expand(states.shape + (1,) + event)
        return of_all_states.gather(states.dim(), index).squeeze(states.dim()), states
