"""What recursions in plain torch ask of the moves into one step.

Tensors are log messages (\\*batch, sessions, states), and moves by origin and
destination with the same axes before them. ``Table`` has all moves in one table,
``Halves`` by half-steps (:mod:`glmhmm_pyro.chain.half_steps`), which are tables of many
small chains side by side: a slow one for every fast state, a fast one for every slow
state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glmhmm_pyro.chain.half_steps import HalfSteps


class Table:
    """Moves of which all are in one table.

    Args:
        logs: (\\*batch, sessions|1, states, states): origin, destination.
    """

    def __init__(self, logs: Tensor):
        self.logs = logs

    def ahead(self, state: Tensor) -> Tensor:
        """Log messages a step further, before its emission."""
        return (state[..., None] + self.logs).logsumexp(-2)

    def origins(self, state: Tensor) -> Tensor:
        """P(z_{t-1} = i | z_t = j, y_0..t-1), columns summing to one, or zero."""
        joint = state[..., None] + self.logs
        total = joint.logsumexp(-2, keepdim=True)
        return torch.where(total == -torch.inf, 0.0, (joint - total).exp())

    def back(self, state: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
        """Counts of the moves, and of the states before them, from those after."""
        pairs = self.origins(state) * gamma[..., None, :]
        return pairs, pairs.sum(-1)

    def tangent(self, state: Tensor, tangent: Tensor, moved: Tensor) -> Tensor:
        """Derivative of :meth:`ahead`, where moves change by what has moved."""
        return (self.origins(state) * (tangent[..., None] + moved)).sum(-2)

    def tangent_back(
        self,
        state: Tensor,
        tangent: Tensor,
        moved: Tensor,
        gamma: Tensor,
        d_gamma: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Derivatives of :meth:`back`: of moves, and counts and those of states."""
        origins, move = self.origins(state), tangent[..., None] + moved
        move = move - (origins * move).sum(-2, keepdim=True)
        pairs = origins * gamma[..., None, :]
        d_pairs = pairs * move + origins * d_gamma[..., None, :]
        return d_pairs, pairs.sum(-1), d_pairs.sum(-1)

    def best(self, score: Tensor) -> tuple[Tensor, Tensor]:
        """Greatest sums a step further, and the states that they come from."""
        best, origin = (score[..., None] + self.logs).max(-2)
        return best, origin

    def into(self, state: Tensor) -> Tensor:
        """Logs of the moves from every state into these, (\\*state, states)."""
        move = self.logs.expand(*state.shape, -1, -1)
        index = state[..., None, None].expand(*move.shape[:-1], 1)
        return move.gather(-1, index)[..., 0]


class Halves:
    """Moves of pairs of a slow and a fast state by half-steps.

    Between both half-steps stand messages (..., slow, slots), the last slot being that
    of fast states that begin anew, if they may.

    Args:
        logs: as ``kind`` has them, (\\*batch, sessions|1, slow, numbers).
        kind: which of these are which.
    """

    def __init__(self, logs: Tensor, kind: HalfSteps):
        self.logs, self.kind = logs, kind
        self.kept, self.anew, self.fast = _parts(logs, kind)
        self.pair = kind.slow, kind.fast

    def _by_fast(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, self.pair).mT

    def _by_slow(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, self.pair)

    def _slots(self, by_fast: Tensor, renewed: Tensor | None) -> Tensor:
        """What is there by fast state, and by slow state of those that begin anew."""
        by_slow = by_fast.mT
        if renewed is None:
            return by_slow
        return torch.cat([by_slow, renewed.unsqueeze(-1)], -1)

    def _middle(self, state: Tensor) -> Tensor:
        renewed = None if self.anew is None else self.anew.ahead(state)
        return self._slots(self.kept.ahead(self._by_fast(state)), renewed)

    def ahead(self, state: Tensor) -> Tensor:
        """As for a table."""
        return self.fast.ahead(self._middle(state)).flatten(-2)

    def back(self, state: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
        """As for a table."""
        fast, slots = self.fast.back(self._middle(state), self._by_slow(gamma))
        kept, gamma = self.kept.back(self._by_fast(state), self._by_kept(slots))
        gamma, renewed = gamma.mT.flatten(-2), None
        if self.anew is not None:
            renewed, others = self.anew.back(state, slots[..., -1])
            gamma = gamma + others
        return self._counts(kept, renewed, fast), gamma

    def _by_kept(self, slots: Tensor) -> Tensor:
        return slots[..., : self.kind.fast].mT

    def _counts(self, kept: Tensor, renewed: Tensor | None, fast: Tensor) -> Tensor:
        """Counts of both half-steps in one tensor."""
        if renewed is None:
            return torch.cat([kept.sum(-3).mT, fast.flatten(-2)], -1)
        kept = kept.transpose(-3, -1).flatten(-2)
        return torch.cat([kept, renewed.mT, fast.flatten(-2)], -1)

    def tangent(self, state: Tensor, tangent: Tensor, moved: Tensor) -> Tensor:
        """As for a table."""
        middle, fast = self._middle_tangent(state, tangent, moved)
        return self.fast.tangent(self._middle(state), middle, fast).flatten(-2)

    def _middle_tangent(
        self, state: Tensor, tangent: Tensor, moved: Tensor
    ) -> tuple[Tensor, Tensor]:
        kept, anew, fast = _parts(moved, self.kind)
        by_fast = self._by_fast(state), self._by_fast(tangent)
        renewed = None
        if self.anew is not None and anew is not None:
            renewed = self.anew.tangent(state, tangent, anew.logs)
        middle = self._slots(self.kept.tangent(*by_fast, kept.logs), renewed)
        return middle, fast.logs

    def tangent_back(
        self,
        state: Tensor,
        tangent: Tensor,
        moved: Tensor,
        gamma: Tensor,
        d_gamma: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As for a table."""
        kept, anew, _ = _parts(moved, self.kind)
        middle, fast = self._middle_tangent(state, tangent, moved)
        d_fast, slots, d_slots = self.fast.tangent_back(
            self._middle(state),
            middle,
            fast,
            self._by_slow(gamma),
            self._by_slow(d_gamma),
        )
        d_kept, gamma, d_gamma = self.kept.tangent_back(
            self._by_fast(state),
            self._by_fast(tangent),
            kept.logs,
            self._by_kept(slots),
            self._by_kept(d_slots),
        )
        gamma, d_gamma = gamma.mT.flatten(-2), d_gamma.mT.flatten(-2)
        d_anew = None
        if self.anew is not None and anew is not None:
            own = slots[..., -1], d_slots[..., -1]
            d_anew, *others = self.anew.tangent_back(state, tangent, anew.logs, *own)
            gamma, d_gamma = gamma + others[0], d_gamma + others[1]
        return self._counts(d_kept, d_anew, d_fast), gamma, d_gamma

    def best(self, score: Tensor) -> tuple[Tensor, Tensor]:
        """As for a table."""
        slow, fast = self.pair
        best, origin = self.kept.best(self._by_fast(score))
        states = torch.arange(fast, device=score.device).unsqueeze(-1)
        found = [(best, origin * fast + states)]
        if self.anew is not None:
            best, origin = self.anew.best(score)
            found.append((best.unsqueeze(-2), origin.unsqueeze(-2)))
        middle, from_pair = (torch.cat(parts, -2).mT for parts in zip(*found))
        best, from_slot = self.fast.best(middle)
        return best.flatten(-2), from_pair.gather(-1, from_slot).flatten(-2)

    def into(self, state: Tensor) -> Tensor:
        """As for a table."""
        kind, (_, fast) = self.kind, self.pair
        rows = self.logs.expand(*state.shape, -1, -1)
        index = (state // fast)[..., None, None].expand(*state.shape, 1, rows.shape[-1])
        row = rows.gather(-2, index)[..., 0, :]
        moves = row[..., kind.place :].unflatten(-1, (kind.slots, fast))
        moves = Table(moves).into(state % fast)
        if not kind.renews:
            return (row[..., : kind.slow, None] + moves[..., None, :]).flatten(-2)
        kept, anew = (
            row[..., : kind.place].unflatten(-1, (2, kind.slow, fast)).unbind(-3)
        )
        kept = kept + moves[..., None, :fast]
        return kept.logaddexp(anew + moves[..., None, fast:]).flatten(-2)


def moves_of(logs: Tensor, states: int) -> Table | Halves:
    """Moves into one step, from a row of a chain's transitions."""
    kind = HalfSteps.of(logs, states)
    return Table(logs) if kind is None else Halves(logs, kind)


def _parts(logs: Tensor, kind: HalfSteps) -> tuple[Table, Table | None, Table]:
    """Slow moves that keep the fast state, others (pairs, slow), and fast ones.

    The first are (..., fast|1, slow, slow), the last (..., slow, slots, fast).
    """
    anew = Table(logs[..., kind.states : kind.place].mT) if kind.renews else None
    return Table(kind.kept(logs)), anew, Table(kind.moves(logs))
