"""Pairs of states without those of a state with itself, and back.

Staying is the reference of transitions, and a jump always leaves its state.
"""

from torch import Tensor
from torch.nn.functional import pad


def insert_staying(free: Tensor) -> Tensor:
    """(..., origins, destinations - 1) with the zeros of staying on the diagonal.

    In a flattened square matrix as many numbers stand between two diagonal ones as it
    has rows, so the zeros are the fronts of such stretches, and the end.
    """
    states = free.shape[-2]
    stretches = free.reshape(free.shape[:-2] + (states - 1, states))
    flat = pad(pad(stretches, (1, 0)).flatten(-2), (0, 1))
    return flat.reshape(free.shape[:-2] + (states, states))


def insert_staying_rows(free: Tensor) -> Tensor:
    """:func:`insert_staying` of weights (..., origins, destinations - 1, features)."""
    return insert_staying(free.movedim(-1, 0)).movedim(0, -1)


def permuted_pairs(free: Tensor, order: Tensor) -> Tensor:
    """(..., origins, destinations - 1) with the states renumbered on both axes."""
    return free_pairs(insert_staying(free)[..., order[:, None], order])


def free_pairs(pairs: Tensor) -> Tensor:
    """(..., origins, destinations - 1) of a square matrix without its diagonal."""
    states = pairs.shape[-1]
    # Without the end of the flattened matrix, every stretch begins on the diagonal.
    stretches = pairs.flatten(-2)[..., :-1].unflatten(-1, (states - 1, states + 1))
    return stretches[..., 1:].reshape(pairs.shape[:-1] + (states - 1,))
