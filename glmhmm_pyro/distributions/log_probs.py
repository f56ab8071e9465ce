"""Tables of log-probabilities: made to sum to 1, and summed over expected counts."""

import torch
from torch import Tensor


def normalised(logits: Tensor) -> Tensor:
    """Log-probabilities over the last axis.

    The few states stand last, where torch's softmax is slow; first it is four times as
    fast.
    """
    return logits.movedim(-1, 0).contiguous().log_softmax(0).movedim(0, -1)


def normalised_firsts(logits: Tensor, moves: Tensor, goes_on: Tensor | None) -> Tensor:
    """Log-probabilities of first states, by session.

    Args:
        logits: shape (*batch, sessions | 1, states).
        moves: half-steps of pairs of states, where a session goes on.
        goes_on: which do, shape (sessions,): their fast states alone are drawn, given
            the slow ones.
    """
    found = normalised(logits)
    if goes_on is None or not goes_on.any():
        return found
    by_slow = logits.unflatten(-1, (moves.shape[-2], -1))
    entered = normalised(by_slow).flatten(-2)
    return torch.where(goes_on.unsqueeze(-1), entered, found)


def weighted_sum(counts: Tensor, log_probs: Tensor, axes: int) -> Tensor:
    """Sum over the last ``axes`` axes, where 0 counts times log 0 is 0."""
    terms = torch.where(counts > 0, counts * log_probs, 0.0)
    return terms.sum(tuple(range(-axes, 0)))
