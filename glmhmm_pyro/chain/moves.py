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

from glmhmm_pyro.chain.half_steps import are_halves, fast_half, slow_half


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

    Args:
        logs: (\\*batch, sessions|1, slow, slow + fast^2).
    """

    def __init__(self, logs: Tensor):
        self.logs, (self.slow, self.fast) = logs, _both(logs)
        self.pair = self.slow.logs.shape[-1], self.fast.logs.shape[-1]

    def _by_fast(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, self.pair).mT

    def _by_slow(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, self.pair)

    def _middle(self, state: Tensor) -> Tensor:
        return self.slow.ahead(self._by_fast(state)).mT

    def ahead(self, state: Tensor) -> Tensor:
        """As for a table."""
        return self.fast.ahead(self._middle(state)).flatten(-2)

    def back(self, state: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
        """As for a table."""
        fast, gamma = self.fast.back(self._middle(state), self._by_slow(gamma))
        slow, gamma = self.slow.back(self._by_fast(state), gamma.mT)
        return _summed_counts(slow, fast), gamma.mT.flatten(-2)

    def tangent(self, state: Tensor, tangent: Tensor, moved: Tensor) -> Tensor:
        """As for a table."""
        middle, (_, fast) = self._middle_tangent(state, tangent, moved)
        return self.fast.tangent(self._middle(state), middle, fast.logs).flatten(-2)

    def _middle_tangent(
        self, state: Tensor, tangent: Tensor, moved: Tensor
    ) -> tuple[Tensor, tuple[Table, Table]]:
        slow, fast = _both(moved)
        by_fast = self._by_fast(state), self._by_fast(tangent)
        return self.slow.tangent(*by_fast, slow.logs).mT, (slow, fast)

    def tangent_back(
        self,
        state: Tensor,
        tangent: Tensor,
        moved: Tensor,
        gamma: Tensor,
        d_gamma: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As for a table."""
        middle, (slow, fast) = self._middle_tangent(state, tangent, moved)
        d_fast, gamma, d_gamma = self.fast.tangent_back(
            self._middle(state),
            middle,
            fast.logs,
            self._by_slow(gamma),
            self._by_slow(d_gamma),
        )
        by_fast = self._by_fast(state), self._by_fast(tangent)
        d_slow, gamma, d_gamma = self.slow.tangent_back(
            *by_fast, slow.logs, gamma.mT, d_gamma.mT
        )
        d_pairs = _summed_counts(d_slow, d_fast)
        return d_pairs, gamma.mT.flatten(-2), d_gamma.mT.flatten(-2)

    def best(self, score: Tensor) -> tuple[Tensor, Tensor]:
        """As for a table."""
        middle, from_slow = self.slow.best(self._by_fast(score))
        best, from_fast = self.fast.best(middle.mT)
        from_slow = from_slow.mT.gather(-1, from_fast)
        return best.flatten(-2), (from_slow * self.pair[1] + from_fast).flatten(-2)

    def into(self, state: Tensor) -> Tensor:
        """As for a table."""
        slow, fast = self.pair
        rows = self.logs.expand(*state.shape, -1, -1)
        index = (state // fast)[..., None, None].expand(*state.shape, 1, rows.shape[-1])
        row = rows.gather(-2, index)[..., 0, :]
        moves = Table(row[..., slow:].unflatten(-1, (fast, fast))).into(state % fast)
        return (row[..., :slow, None] + moves[..., None, :]).flatten(-2)


def moves_of(logs: Tensor, states: int) -> Table | Halves:
    """Moves into one step, from a row of a chain's transitions."""
    return Halves(logs) if are_halves(logs, states) else Table(logs)


def _both(logs: Tensor) -> tuple[Table, Table]:
    """Slow moves (..., 1, slow, slow) and fast ones (..., slow, fast, fast)."""
    return Table(slow_half(logs).unsqueeze(-3)), Table(fast_half(logs))


def _summed_counts(slow: Tensor, fast: Tensor) -> Tensor:
    """Counts of both half-steps in one tensor, slow ones for every fast state added."""
    return torch.cat([slow.sum(-3).mT, fast.flatten(-2)], -1)
