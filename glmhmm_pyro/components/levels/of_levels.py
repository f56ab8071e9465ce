"""What each component of a model on two levels knows of its pairs of states."""

from collections.abc import Callable

import torch
from torch import Tensor

from glmhmm_pyro.chain.half_steps import are_halves, fast_half, slow_half, summed
from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.levels.levels import Levels
from glmhmm_pyro.components.own_states import OwnStates
from glmhmm_pyro.sequences import Sequences


class _OfLevels(OwnStates):
    """The pairs of two levels.

    Args:
        levels: numbers of states.
    """

    def __init__(self, levels: Levels):
        self.levels, self.num_states = levels, levels.size
        self.sizes = {axis: self._size(axis) for axis in ("slow", *self.axes.values())}

    def _size(self, axis: str) -> int:
        is_slow = axis.startswith("slow")
        return self.levels.slow if is_slow else self.levels.fast


class ByFast(_OfLevels):
    """Emissions whose parameters go by fast state."""

    letter = "f"
    axes = {"state": "fast"}

    def counts(self, counts: Tensor, data: Sequences) -> Tensor:
        """Sums over slow states (..., fast)."""
        return self.levels.marginal(counts, "fast")

    def state(self, state: int) -> int:
        """The fast state of a pair."""
        return state % self.levels.fast

    def permuted(
        self, component: Component, name: str, value: Tensor, order: Tensor
    ) -> Tensor:
        """Fast states renumbered."""
        permuted: Tensor = component.permuted(name, value, self.levels.parts(order)[1])
        return permuted


class BySlow(_OfLevels):
    """Emissions whose parameters go by slow state."""

    letter = "s"
    axes = {"state": "slow"}

    def counts(self, counts: Tensor, data: Sequences) -> Tensor:
        """Sums over fast states (..., slow)."""
        return self.levels.marginal(counts, "slow")

    def state(self, state: int) -> int:
        """The slow state of a pair."""
        return state // self.levels.fast

    def permuted(
        self, component: Component, name: str, value: Tensor, order: Tensor
    ) -> Tensor:
        """Slow states renumbered."""
        permuted: Tensor = component.permuted(name, value, self.levels.parts(order)[0])
        return permuted


def _half_steps(counts: Tensor, levels: Levels) -> Tensor:
    """Counts of both half-steps, from those of moves between pairs, if these came."""
    halves = are_halves(counts, levels.size)
    return counts if halves else summed(counts, levels.slow)


class SlowMoves(BySlow):
    """Transitions between slow states.

    Args:
        levels: numbers of states.
        ticks: steps at which they may be left, from a data set (steps,); ``None`` for
            all of them.
        first_steps: those of chains, from a data set.
    """

    axes = {"origin": "slow_origin", "destination": "slow_destination"}

    def __init__(
        self,
        levels: Levels,
        ticks: Callable[[Sequences], Tensor | None],
        first_steps: Callable[[Sequences], Tensor],
    ):
        super().__init__(levels)
        self.ticks, self.first_steps = ticks, first_steps

    def steps(self, data: Sequences) -> Tensor:
        """Steps into which slow states may be left."""
        ticks = self.ticks(data)
        inside = torch.ones(data.num_steps, dtype=torch.bool, device=data.device)
        inside[self.first_steps(data)] = False
        return inside if ticks is None else inside & ticks

    def counts(self, counts: Tensor, data: Sequences) -> Tensor:
        """Slow half-steps (..., steps, slow, slow), at steps of the clock."""
        moves = slow_half(_half_steps(counts, self.levels))
        ticks = self.ticks(data)
        if ticks is None or moves.shape[-3] == 1:
            return moves
        return moves * ticks[:, None, None]


class _FastInSlow(_OfLevels):
    """Parameters of fast states, with an axis of slow states before their own."""

    letter = "f"

    def state(self, state: int) -> int:
        """The fast state of a pair."""
        return state % self.levels.fast

    def permuted(
        self, component: Component, name: str, value: Tensor, order: Tensor
    ) -> Tensor:
        """Slow states renumbered, and fast ones in each."""
        slow, fast = self.levels.parts(order)
        axes = component.sites[name].axes
        permuted: Tensor = component.permuted(name, value, fast)
        if "slow" not in axes:
            return permuted
        return permuted.index_select(axes.index("slow") - len(axes), slow)


class FastMoves(_FastInSlow):
    """Transitions between fast states, by the slow state arrived at."""

    axes = {"origin": "fast_origin", "destination": "fast_destination"}

    def counts(self, counts: Tensor, data: Sequences) -> Tensor:
        """Fast half-steps, (..., slow, steps, fast, fast), none into first steps."""
        moves = fast_half(_half_steps(counts, self.levels)).movedim(-3, -4)
        if moves.shape[-3] == 1:
            return moves
        return moves * self.steps(data)[:, None, None]

    def steps(self, data: Sequences) -> Tensor:
        """Steps inside sessions."""
        inside = torch.ones(data.num_steps, dtype=torch.bool, device=data.device)
        inside[data.starts] = False
        return inside


class SlowFirst(BySlow):
    """First slow states.

    Args:
        levels: numbers of states.
        goes_on: which sessions go on from the one before, from a data set (sessions,);
            ``None`` for none of them.
    """

    def __init__(self, levels: Levels, goes_on: Callable[[Sequences], Tensor | None]):
        super().__init__(levels)
        self.goes_on = goes_on

    def counts(self, counts: Tensor, data: Sequences) -> Tensor:
        """Sums over fast states (..., sessions or 1, slow), where chains begin."""
        firsts, goes_on = super().counts(counts, data), self.goes_on(data)
        if goes_on is None or firsts.shape[-2] == 1:
            return firsts
        return firsts * ~goes_on.unsqueeze(-1)


class FastFirst(_FastInSlow):
    """First fast states of sessions, by the slow state."""

    axes = {"state": "fast"}

    def counts(self, counts: Tensor, data: Sequences) -> Tensor:
        """Those of every slow state (..., slow, sessions or 1, fast)."""
        return counts.unflatten(-1, (self.levels.slow, -1)).movedim(-2, -3)
