r"""Sessions through whose borders the slow half of a chain's states goes on.

The chain of such sessions is one. Into the first step of a session that goes on from
the one before it the slow state moves as into any other step, by S_t, while the fast
state begins anew as it does at the start of a chain, given the slow state:

.. math:: A_t\big((i, a), (j, b)\big) = S_t(i, j)\, q(b \mid j)

These are two half-steps like all others (:mod:`glmhmm_pyro.chain.half_steps`), the
second of which is the same from every origin a. Where fast states may begin anew within
sessions, too, they all do so there.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.chain.half_steps import HalfSteps, either
from glmhmm_pyro.chain.marginals import ExpectedCounts


class Borders(NamedTuple):
    """Where chains go on from one session to the next.

    Attributes:
        first: numbers of the sessions with which chains begin, (chains,).
        later: numbers of all others, (borders,).
        steps: first steps of these, (borders,).
        lengths: numbers of steps of the chains, (chains,).

    Example:
        >>> goes_on = torch.tensor([False, True, False])
        >>> borders = Borders.of(torch.tensor([2, 3, 4]), goes_on)
        >>> borders.lengths, borders.steps
        (tensor([5, 4]), tensor([2]))
    """

    first: Tensor
    later: Tensor
    steps: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, lengths: Tensor, goes_on: Tensor) -> Borders:
        """The borders of sessions.

        Args:
            lengths: numbers of steps of the sessions, (sessions,).
            goes_on: whether each goes on from the one before it, (sessions,).
        """
        first, later = (~goes_on).nonzero().flatten(), goes_on.nonzero().flatten()
        starts, ends = lengths.cumsum(0) - lengths, lengths.cumsum(0)
        begins = starts[first]
        until = torch.cat([begins[1:], ends[-1:]])
        return cls(first, later, starts[later], until - begins)

    @property
    def number(self) -> int:
        """Number of sessions."""
        return len(self.first) + len(self.later)

    def joined(
        self, initial: Tensor, moves: Tensor, as_logs: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Log potentials of chains, from those of their sessions.

        Args:
            initial: of first states, by session (\\*batch, sessions, pairs). Those of
                sessions that go on are log q(b | j).
            moves: both half-steps (\\*batch, steps, slow, numbers). What they say of
                fast states at borders is not read.
            as_logs: False if both are exponentiated, and what is returned will be.

        Returns:
            The first states of chains (\\*batch, chains, pairs), and the moves.
        """
        kind = HalfSteps.needed(moves, initial.shape[-1])
        entered = initial.index_select(-2, self.later)
        entered = entered.unflatten(-1, (kind.slow, kind.fast))
        slow = moves.index_select(-3, self.steps)[..., : kind.place]
        if kind.renews:
            kept, anew = slow.unflatten(-1, (2, -1)).unbind(-2)
            never = torch.full_like(kept, -torch.inf if as_logs else 0.0)
            fast = torch.zeros_like(kept[..., :1]).expand(
                *kept.shape[:-1], kind.fast**2
            )
            anew = either(kept, anew) if as_logs else kept + anew
            parts = [never, anew, fast, entered]
        else:
            parts = [slow, entered.repeat((1,) * (entered.dim() - 1) + (kind.fast,))]
        batch = broadcast_shape(moves.shape[:-3], initial.shape[:-2])
        rows = (*batch, len(self.later), kind.slow, -1)
        at_borders = torch.cat([part.expand(rows) for part in parts], -1)
        moves = moves.expand(*batch, *moves.shape[-3:])
        joined = moves.index_copy(-3, self.steps, at_borders.to(moves.dtype))
        return initial.index_select(-2, self.first), joined

    def split(self, counts: ExpectedCounts) -> ExpectedCounts:
        """Expected counts of chains, as those of the first states of all sessions.

        Counts of fast states at borders are those of first states alone: among those
        of moves, which are overwritten, they are 0.
        """
        initial, moves = counts.initial, counts.transition
        kind = HalfSteps.needed(moves, initial.shape[-1])
        fast = kind.moves(moves.index_select(-3, self.steps))
        entered = (fast[..., kind.fast :, :] if kind.renews else fast).sum(-2)
        moves[..., self.steps, :, kind.place :] = 0.0
        batch = moves.shape[:-3]
        found = initial.new_zeros(*batch, self.number, kind.states)
        found[..., self.first, :] = initial
        found[..., self.later, :] = entered.flatten(-2)
        return counts._replace(initial=found)
