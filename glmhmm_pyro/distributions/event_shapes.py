"""Shapes of what a hidden Markov chain is made of, checked."""

import torch
from torch import Tensor

from glmhmm_pyro import chain
from glmhmm_pyro.chain.half_steps import are_halves


def check_shapes(
    initial: Tensor,
    transition: Tensor,
    steps: int,
    expansion: chain.Expansion,
    lengths: Tensor,
    weights: Tensor | None,
) -> None:
    """Refuse logits, lengths and weights that do not belong together."""
    sessions, states = lengths.numel(), expansion.num_states
    chain_states = expansion.num_chain_states
    if lengths.dim() != 1:
        raise ValueError(
            f"lengths must have shape (sessions,), got {tuple(lengths.shape)}; give "
            "a tensor of as many numbers as there are sessions"
        )
    if initial.dim() < 2 or tuple(initial.shape[-2:]) not in {
        (rows, columns) for rows in (1, sessions) for columns in (states, chain_states)
    }:
        raise ValueError(
            f"initial_logits must have shape (*batch, 1 or {sessions} sessions, "
            f"{states} states), got {tuple(initial.shape)}"
            "; give a column for each state"
        )
    known = {(rows, chain_states, chain_states) for rows in (1, steps)}
    if transition.dim() > 2 and are_halves(transition, chain_states):
        known = {(rows, *transition.shape[-2:]) for rows in (1, steps)}
    if transition.dim() < 3 or tuple(transition.shape[-3:]) not in known:
        raise ValueError(
            f"transition_logits must have shape (*batch, 1 or {steps} steps, "
            f"{chain_states} origins, {chain_states} destinations), got "
            f"{tuple(transition.shape)}"
            "; give a matrix of states by states for each step, or one"
        )
    if int(lengths.sum()) != steps:
        raise ValueError(
            f"lengths must sum to the {steps} steps of emission_dist, got "
            f"{int(lengths.sum())}; give the steps of each session"
        )
    if weights is not None and weights.shape != lengths.shape:
        raise ValueError(
            f"weights must have shape ({sessions},), one for each session, got "
            f"{tuple(weights.shape)}; give as many numbers"
        )


def check_borders(
    initial: Tensor,
    transition: Tensor,
    expansion: chain.Expansion,
    lengths: Tensor,
    weights: Tensor | None,
    goes_on: Tensor | None,
) -> None:
    """Refuse sessions that go on from others where nothing could."""
    if goes_on is None:
        return
    sessions = lengths.numel()
    if goes_on.shape != lengths.shape or goes_on.dtype != torch.bool or goes_on[0]:
        raise ValueError(
            f"goes_on must be booleans ({sessions},), one for each session, False for "
            f"the first one, got {goes_on.tolist()!r:.80}; say of every session "
            "whether it goes on from the one before it"
        )
    halves = are_halves(transition, expansion.num_chain_states)
    if not (halves and initial.shape[-2] == sessions) or (
        transition.shape[-3] != int(lengths.sum())
    ):
        raise ValueError(
            "transition_logits must be half-steps of every step, and initial_logits "
            "have a row for every session, where sessions go on from others, got "
            f"shapes {tuple(transition.shape)} and {tuple(initial.shape)}; put them "
            "together by chain.half_steps.halved, and expand them"
        )
    if weights is not None and (weights[1:] != weights[:-1])[goes_on[1:]].any():
        raise ValueError(
            "weights must be the same for sessions that go on from one another, got "
            f"{weights.tolist()!r:.80}; weigh whole groups of sessions"
        )
