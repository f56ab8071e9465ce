"""What each component of a model on two levels knows of its pairs of states."""

from collections.abc import Callable

import torch
from torch import Tensor

from glmhmm_pyro.chain.half_steps import HalfSteps, summed
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
        known = ("slow", "fast", *self.axes.values())
        self.sizes = {axis: self._size(axis) for axis in known}

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
        slow = self.levels.parts_by_slow(order)[0]
        permuted: Tensor = component.permuted(name, value, slow)
        return permuted


class _Moves(_OfLevels):
    """Moves of one level, which may go by the states of the other.

    Args:
        levels: numbers of states.
        renews: whether fast states begin anew where the slow state is another one;
            ``None`` if the chain moves by half-steps that have no room for it.
    """

    def __init__(self, levels: Levels, renews: bool | None = None):
        super().__init__(levels)
        self.renews = renews

    def halves(self, counts: Tensor) -> tuple[Tensor, HalfSteps]:
        """Counts of both half-steps, from those of moves between pairs, if these came.

        With them comes which of their numbers are which.
        """
        kind = HalfSteps.of(counts, self.levels.size)
        if kind is not None:
            return counts, kind
        kind = HalfSteps(self.levels.slow, self.levels.fast, self.renews is not None)
        return summed(counts, self.levels.slow, self.renews), kind


class SlowMoves(_Moves):
    """Transitions between slow states.

    Args:
        levels: numbers of states.
        ticks: steps at which they may be left, from a data set (steps,); ``None`` for
            all of them.
        first_steps: those of chains, from a data set.
        by_fast: whether they go by the fast state that is left.
        renews: as for all moves.
    """

    letter = "s"
    axes = {"origin": "slow_origin", "destination": "slow_destination"}

    def __init__(
        self,
        levels: Levels,
        ticks: Callable[[Sequences], Tensor | None],
        first_steps: Callable[[Sequences], Tensor],
        by_fast: bool = False,
        renews: bool | None = None,
    ):
        super().__init__(levels, renews)
        self.ticks, self.first_steps, self.by_fast = ticks, first_steps, by_fast

    def steps(self, data: Sequences) -> Tensor:
        """Steps into which slow states may be left."""
        ticks = self.ticks(data)
        inside = torch.ones(data.num_steps, dtype=torch.bool, device=data.device)
        inside[self.first_steps(data)] = False
        return inside if ticks is None else inside & ticks

    def counts(self, counts: Tensor, data: Sequences) -> Tensor:
        """Slow half-steps (..., steps, slow, slow), at steps of the clock.

        Those by fast state have it before these axes.
        """
        halves, kind = self.halves(counts)
        moves = kind.kept(halves)
        if kind.renews:
            moves = moves + kind.anew(halves)
        moves = moves.movedim(-3, -4) if self.by_fast else moves.sum(-3)
        ticks = self.ticks(data)
        if ticks is None or moves.shape[-3] == 1:
            return moves
        return moves * ticks[:, None, None]

    def state(self, state: int) -> int:
        """The slow state of a pair."""
        return state // self.levels.fast

    def permuted(
        self, component: Component, name: str, value: Tensor, order: Tensor
    ) -> Tensor:
        """Slow states renumbered, and the fast ones that are left in each."""
        slow, fast = self.levels.parts_by_slow(order)
        permuted: Tensor = component.permuted(name, value, slow)
        axes = component.sites[name].axes
        if "fast" not in axes:
            return permuted
        if "origin" not in axes:
            alike = self.levels.parts(order)[1]
            return permuted.index_select(axes.index("fast") - len(axes), alike)
        place, origin = (axes.index(axis) - len(axes) for axis in ("fast", "origin"))
        by_origin = permuted.unbind(origin)
        rows = zip(by_origin, fast)
        place = place + 1 if place < origin else place
        return torch.stack([r.index_select(place, own) for r, own in rows], origin)


class _FastInSlow(_OfLevels):
    """Parameters of fast states, mostly with an axis of slow ones before their own.

    Attributes:
        apart: whether fast states may be renumbered otherwise in every slow state.
    """

    letter = "f"
    apart = True

    def state(self, state: int) -> int:
        """The fast state of a pair."""
        return state % self.levels.fast

    def permuted(
        self, component: Component, name: str, value: Tensor, order: Tensor
    ) -> Tensor:
        """Slow states renumbered, and fast ones in each."""
        axes = component.sites[name].axes
        if "slow" not in axes or not self.apart:
            fast = self.levels.parts(order)[1]
        if "slow" not in axes:
            permuted: Tensor = component.permuted(name, value, fast)
            return permuted
        slow, by_slow = self.levels.parts_by_slow(order)
        place = axes.index("slow") - len(axes)
        value = value.index_select(place, slow)
        if (by_slow == by_slow[:1]).all():
            permuted = component.permuted(name, value, by_slow[0])
            return permuted
        each = [component.permuted(name, value, own) for own in by_slow]
        rows = [found.select(place, j) for j, found in enumerate(each)]
        return torch.stack(rows, place)


def _inside(data: Sequences) -> Tensor:
    """Steps inside sessions."""
    inside = torch.ones(data.num_steps, dtype=torch.bool, device=data.device)
    inside[data.starts] = False
    return inside


class FastMoves(_FastInSlow, _Moves):
    """Transitions between fast states, by the slow state arrived at if they go by it.

    Args:
        levels: numbers of states.
        by_slow: whether they go by the slow state.
        renews: as for all moves.
    """

    axes = {"origin": "fast_origin", "destination": "fast_destination"}

    def __init__(
        self, levels: Levels, by_slow: bool = True, renews: bool | None = None
    ):
        super().__init__(levels, renews)
        self.by_slow, self.apart = by_slow, by_slow and bool(renews)

    def counts(self, counts: Tensor, data: Sequences) -> Tensor:
        """Fast half-steps, (..., steps, fast, fast), none into first steps.

        Those by slow state have it before these axes.
        """
        halves, kind = self.halves(counts)
        moves = kind.moves(halves)[..., : kind.fast, :]
        moves = moves.movedim(-3, -4) if self.by_slow else moves.sum(-3)
        if moves.shape[-3] == 1:
            return moves
        return moves * self.steps(data)[:, None, None]

    def steps(self, data: Sequences) -> Tensor:
        """Steps inside sessions."""
        return _inside(data)


class PooledByFast(_FastInSlow):
    """Emissions by fast state whose weights vary over slow ones: those of pairs.

    Fast states have the same numbers in all slow ones, as they have means in common.
    """

    axes = {"state": "fast"}
    apart = False

    def counts(self, counts: Tensor, data: Sequences) -> Tensor:
        """Those of pairs, as they are."""
        return counts


class Entries(_FastInSlow, _Moves):
    """Fast states that begin anew where another slow state is arrived at.

    Args:
        levels: numbers of states.
    """

    axes = {"state": "fast"}
    counts_of = "transition"

    def __init__(self, levels: Levels):
        super().__init__(levels, renews=True)

    def counts(self, counts: Tensor, data: Sequences) -> Tensor:
        """Those of every slow state (..., slow, steps, fast), none into first steps."""
        halves, kind = self.halves(counts)
        entered = kind.moves(halves)[..., kind.fast, :].transpose(-3, -2)
        if entered.shape[-2] == 1:
            return entered
        return entered * _inside(data)[:, None]


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
