"""What the chain of a ``HiddenMarkov`` says of its steps, and of its states."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro import chain
from glmhmm_pyro.arguments import whole_number
from glmhmm_pyro.masking import steps_observed


class StatePosteriors:
    """Mixin of :class:`HiddenMarkov`: scores of steps, probabilities of states, paths.

    Attributes:
        lengths: number of steps of each session, shape (sessions,).
        chain_lengths: of each chain, shape (chains,).
        borders: where chains go on from one session to the next, if any does.
    """

    lengths: Tensor
    chain_lengths: Tensor
    borders: chain.Borders | None
    mask: Tensor | None
    expansion: chain.Expansion
    initial_logits: Tensor
    transition_logits: Any
    potentials: Callable[[Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]
    event_shape: torch.Size
    num_chain_states: Any

    def log_prob_per_chain(self, value: Tensor) -> Tensor:
        """Log-likelihood of each chain, in nats, shape (*batch, chains).

        A chain is a session, with those that go on from it.
        """
        return chain.log_marginal(*self.potentials(value))

    def log_prob_per_session(self, value: Tensor) -> Tensor:
        """Log-likelihood of each session, in nats, shape (*batch, sessions).

        Of a session that goes on from those before it, it is given their emissions,
        log p(y_s | y_before), so that the sum is that of the chain; there it has no
        gradient, which :meth:`log_prob_per_chain` has.
        """
        if self.borders is None:
            return self.log_prob_per_chain(value)
        by_step = self.log_prob_per_step(value)
        numbers = torch.arange(len(self.lengths), device=by_step.device)
        nothing = by_step.new_zeros(by_step.shape[:-1] + numbers.shape)
        return nothing.index_add(-1, numbers.repeat_interleave(self.lengths), by_step)

    def log_prob_per_step(self, value: Tensor) -> Tensor:
        """log p(y_t | earlier y of its chain), in nats, shape (*batch, steps)."""
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
        lengths = self.chain_lengths
        starts = lengths.cumsum(0) - lengths
        more = min(steps_ahead, int(lengths.max())) - 1
        first = probs[..., starts, :]
        moves = self.transition_logits.exp().to(probs.dtype) if more else probs
        for _ in range(more):
            probs = (probs.roll(1, -2).unsqueeze(-2) @ moves).squeeze(-2)
            probs[..., starts, :] = first
        return self.expansion.fold(probs)

    def smoothed_probs(self, value: Tensor) -> Tensor:
        """p(z_t | all y of its chain), shape (*batch, steps, states)."""
        return self.expansion.fold(chain.smooth(*self.potentials(value)))

    def pairwise_probs(self, value: Tensor) -> Tensor:
        """p(z_t-1, z_t | all y of its chain), shape (*batch, steps, states, states).

        Row t is about the step INTO t; rows at the starts of chains are 0.
        """
        pairs = chain.pairwise(*self.potentials(value)).pairwise_probs
        return self.expansion.fold_pairs(pairs)

    def transition_probs(self) -> Tensor:
        """p(z_t | z_t-1) before any emission, (*batch, steps | 1, states, states).

        Where several chain states are one state, it depends on which of them is how
        probable at the step before. Rows of a state that is impossible there are NaN,
        those at the starts of chains too.
        """
        if self.expansion.emits is None:
            return self.transition_logits.exp()
        steps, initial = self.event_shape[:1], self.expansion.enter(self.initial_logits)
        nothing = initial.new_zeros(steps + (self.num_chain_states,))
        potentials = (initial, self.transition_logits, nothing, self.chain_lengths)
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
