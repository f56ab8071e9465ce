r"""Transitions of pairs of states by two half-steps, which no table of pairs holds.

A state of such a chain is a pair (s, z), of number ``s * fast + z``. In a step s moves
first, and then z as the s arrived at has it,

.. math:: A_t\big((i, a), (j, b)\big) = S_t(i, j)\, F_{t,j}(a, b),

so that a recursion takes slow + fast multiplications a pair instead of slow * fast, and
its potentials slow^2 + slow * fast^2 numbers instead of (slow * fast)^2. They stand in
one tensor, (\*batch, steps|1, slow, slow + fast^2): row j is all about arriving at slow
state j, the log potentials from every slow state i, and then those of the fast moves
there, origin by origin. Expected counts of these moves have the same shape.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.broadcasting import broadcast_shape


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
    parts = slow.mT, fast.flatten(-2).transpose(-3, -2)
    shape = broadcast_shape(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*shape, -1) for part in parts], -1)


def are_halves(transition: Tensor | np.ndarray, states: int) -> bool:
    """Whether potentials of so many states are those of two half-steps."""
    slow, width = transition.shape[-2:]
    fast = math.isqrt(max(width - slow, 0))
    return slow * fast == states and slow + fast**2 == width


def slow_half(transition: Tensor) -> Tensor:
    """The slow half of potentials or counts, (\\*batch, steps|1, slow, slow)."""
    return transition[..., : transition.shape[-2]].mT


def fast_half(transition: Tensor) -> Tensor:
    """The fast half, (\\*batch, steps|1, slow, fast, fast), by the slow state."""
    slow, width = transition.shape[-2:]
    fast = math.isqrt(width - slow)
    return transition[..., slow:].unflatten(-1, (fast, fast))


def whole(transition: Tensor) -> Tensor:
    """Log potentials of both half-steps as a table of pairs of states.

    Returns:
        Shape (\\*batch, steps|1, slow * fast, slow * fast).
    """
    slow, fast = slow_half(transition), fast_half(transition)
    moves = slow.unsqueeze(-2).unsqueeze(-1) + fast.transpose(-3, -2).unsqueeze(-4)
    return moves.flatten(-4, -3).flatten(-2, -1)


def summed(pairs: Tensor, slow: int) -> Tensor:
    """Counts of moves between pairs as those of half-steps.

    Args:
        pairs: shape (\\*batch, steps|1, slow * fast, slow * fast).
        slow: number of slow states.
    """
    split = pairs.unflatten(-2, (slow, -1)).unflatten(-1, (slow, -1))
    return halved(split.sum((-3, -1)), split.sum(-4).movedim(-2, -4))
