r"""Transitions of pairs of states by two half-steps, which no table of pairs holds.

A state of such a chain is a pair (s, z), of number ``s * fast + z``. In a step s moves
first, and then z as the s arrived at has it,

.. math:: A_t\big((i, a), (j, b)\big) = S_t(i, j)\, F_{t,j}(a, b),

so that a recursion takes slow + fast multiplications a pair instead of slow * fast, and
its potentials slow^2 + slow * fast^2 numbers instead of (slow * fast)^2. They stand in
one tensor, (\*batch, steps|1, slow, slow + fast^2): row j is all about arriving at slow
state j, the log potentials from every slow state i, and then those of the fast moves
there, origin by origin. Expected counts of these moves have the same shape.

Where s may also bring z to an end, its moves go by the z that is left, and are of two
kinds: those that keep z, which moves on as before, and those after which it begins
anew,

.. math:: A_t\big((i, a), (j, b)\big) =
    K_{t,a}(i, j)\, F_{t,j}(a, b) + N_{t,a}(i, j)\, e_{t,j}(b).

Row j then has the potentials K from every pair (i, a), N from every pair, F, and last
e, as if from a fast state more: (\*batch, steps|1, slow, 2 * slow * fast + fast^2 +
fast). Between both half-steps a chain is in one of ``slots`` places of every slow
state: its fast states and, where there is one, the place of those that begin anew. The
most probable path says of every step, too, whether z began anew.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.broadcasting import broadcast_shape


class HalfSteps(NamedTuple):
    """Which numbers of a row of half-steps are which.

    Attributes:
        slow, fast: numbers of states.
        renews: whether fast states may begin anew.

    Example:
        >>> plain = HalfSteps(slow=2, fast=3)
        >>> plain.width, plain._replace(renews=True).width
        (11, 24)
    """

    slow: int
    fast: int
    renews: bool = False

    @classmethod
    def of(cls, transition: Tensor | np.ndarray, states: int) -> HalfSteps | None:
        """Those of potentials or counts of so many states, if they are half-steps."""
        slow, width = transition.shape[-2:]
        if states % slow:
            return None
        kinds = (cls(slow, states // slow, renews) for renews in (False, True))
        return next((kind for kind in kinds if kind.width == width), None)

    @classmethod
    def needed(cls, transition: Tensor, states: int) -> HalfSteps:
        """The same, or a ValueError where they are none."""
        found = cls.of(transition, states)
        if found is None:
            raise ValueError(
                f"transitions must be half-steps of {states} pairs of states, got "
                f"shape {tuple(transition.shape)}; put them together by halved or "
                "renewing"
            )
        return found

    @property
    def states(self) -> int:
        """Number of pairs."""
        return self.slow * self.fast

    @property
    def slots(self) -> int:
        """Number of places by slow state between both half-steps."""
        return self.fast + self.renews

    @property
    def place(self) -> int:
        """Where the fast moves of a row begin."""
        return 2 * self.states if self.renews else self.slow

    @property
    def width(self) -> int:
        """Number of all numbers of a row."""
        return self.place + self.slots * self.fast

    def kept(self, transition: Tensor) -> Tensor:
        """Slow moves that keep the fast state, (\\*batch, steps, fast|1, slow, slow).

        By the fast state, if they may begin anew, origin and destination.
        """
        if not self.renews:
            return transition[..., : self.slow].mT.unsqueeze(-3)
        return self._by_fast(transition[..., : self.states])

    def anew(self, transition: Tensor) -> Tensor:
        """Slow moves after which fast states begin anew, by the one that is left."""
        return self._by_fast(transition[..., self.states : self.place])

    def _by_fast(self, by_pair: Tensor) -> Tensor:
        return by_pair.unflatten(-1, (self.slow, self.fast)).transpose(-3, -1)

    def moves(self, transition: Tensor) -> Tensor:
        """Fast moves, (\\*batch, steps, slow, slots, fast), by the slow state."""
        return transition[..., self.place :].unflatten(-1, (self.slots, self.fast))


def halved(slow: Tensor, fast: Tensor) -> Tensor:
    """Log potentials of both half-steps in one tensor, as the chain takes them.

    Args:
        slow: shape (\\*batch, steps|1, slow, slow): step, origin, destination.
        fast: shape (\\*batch, slow, steps|1, fast, fast), by the slow state arrived at.

    Returns:
        Shape (\\*batch, steps|1, slow, slow + fast^2).

    Example:
        >>> halved(torch.zeros(7, 2, 2), torch.zeros(2, 1, 3, 3)).shape
        torch.Size([7, 2, 11])
    """
    return _beside(slow.mT, fast.flatten(-2).transpose(-3, -2))


def renewing(kept: Tensor, anew: Tensor, fast: Tensor, entry: Tensor) -> Tensor:
    """The same of fast states that may begin anew where a slow one is arrived at.

    Args:
        kept: of slow moves that keep the fast state, shape (\\*batch, fast, steps|1,
            slow, slow), by the fast state that is left.
        anew: of those after which it begins anew, likewise.
        fast: of fast moves, shape (\\*batch, slow, steps|1, fast, fast).
        entry: of fast states that begin anew, shape (\\*batch, slow, steps|1, fast).

    Returns:
        Shape (\\*batch, steps|1, slow, 2 * slow * fast + fast^2 + fast).

    Example:
        >>> slow = torch.zeros(3, 7, 2, 2)
        >>> renewing(slow, slow, torch.zeros(2, 1, 3, 3), torch.zeros(2, 1, 3)).shape
        torch.Size([7, 2, 24])
    """
    slow = (part.movedim(-4, -1).transpose(-3, -2).flatten(-2) for part in (kept, anew))
    moves = (part.transpose(-3, -2) for part in (fast.flatten(-2), entry))
    return _beside(*slow, *moves)


def _beside(*parts: Tensor) -> Tensor:
    """Rows (\\*batch, steps|1, slow, numbers) put together."""
    shape = broadcast_shape(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*shape, -1) for part in parts], -1)


def are_halves(transition: Tensor | np.ndarray, states: int) -> bool:
    """Whether potentials of so many states are those of two half-steps."""
    return HalfSteps.of(transition, states) is not None


def whole(transition: Tensor, states: int) -> Tensor:
    """Log potentials of both half-steps as a table of so many pairs of states.

    Returns:
        Shape (\\*batch, steps|1, slow * fast, slow * fast).
    """
    kind = HalfSteps.needed(transition, states)
    moves = kind.moves(transition).transpose(-3, -2).unsqueeze(-4)
    kept = kind.kept(transition).movedim(-3, -2)
    pairs = kept.unsqueeze(-1) + moves[..., : kind.fast, :, :]
    if kind.renews:
        anew = kind.anew(transition).movedim(-3, -2)
        pairs = either(pairs, anew.unsqueeze(-1) + moves[..., kind.fast :, :, :])
    return pairs.flatten(-4, -3).flatten(-2, -1)


def either(one: Tensor, other: Tensor) -> Tensor:
    """Log of the sum of the exponentials of both, whose slopes zeros do not spoil."""
    no_one, no_other = one == -torch.inf, other == -torch.inf
    lone = no_one | no_other
    both = one.masked_fill(lone, 0.0).logaddexp(other.masked_fill(lone, 0.0))
    return torch.where(no_one, other, torch.where(no_other, one, both))


def summed(pairs: Tensor, slow: int, renews: bool | None = None) -> Tensor:
    """Counts of moves between pairs as those of half-steps.

    Args:
        pairs: shape (\\*batch, steps|1, slow * fast, slow * fast).
        slow: number of slow states.
        renews: whether fast states begin anew wherever the slow state is another one;
            ``None`` if there is to be no room for that.
    """
    split = pairs.unflatten(-2, (slow, -1)).unflatten(-1, (slow, -1))
    if renews is None:
        return halved(split.sum((-3, -1)), split.sum(-4).movedim(-2, -4))
    kept = torch.ones(slow, slow, dtype=pairs.dtype, device=pairs.device)
    kept = torch.eye(slow).to(kept) if renews else kept
    slow_moves = split.sum(-1).movedim(-2, -4)
    by_fast = split * kept[:, None, :, None]
    return renewing(
        slow_moves * kept,
        slow_moves * (1 - kept),
        by_fast.sum(-4).movedim(-2, -4),
        (split - by_fast).sum((-4, -3)).transpose(-3, -2),
    )
