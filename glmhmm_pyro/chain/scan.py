"""The engine for any device: recursions in log space, in plain torch.

The sessions are padded to equal length and go through the recursions side by side, as
do the parameter sets, whose batch axes are broadcast by torch. Time is unbound once:
indexing it inside the loop would cost a copy of everything at each step of a backward
pass. The functions mirror those of :mod:`glmhmm_pyro.chain.compiled`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.chain.moves import Halves, Table, moves_of
from glmhmm_pyro.chain.shapes import Potentials


class _Padded(NamedTuple):
    """Sessions side by side, one list element for every step of the longest.

    ``initial`` is (\\*batch, sessions|1, states), an element of ``transition``
    (\\*batch, sessions|1, states, states), of ``emission`` (\\*batch, sessions, states)
    and of ``inside``, which tells the sessions that are not over, (sessions, 1).
    """

    initial: Tensor
    transition: list[Tensor]
    emission: list[Tensor]
    inside: list[Tensor]

    def moves(self, t: int) -> Table | Halves:
        """Moves into a step."""
        return moves_of(self.transition[t], self.emission[0].shape[-1])


class _Messages(NamedTuple):
    """Log probabilities of the states before and after an emission, and normalisers."""

    predicted: list[Tensor]
    filtered: list[Tensor]
    log_probs: list[Tensor]
    log_marginal: Tensor


@dataclass(frozen=True)
class _Border:
    """Indices of the steps of all sessions, and which exist, (sessions, longest)."""

    index: Tensor
    inside: Tensor

    @classmethod
    def of(cls, lengths: Tensor, device: torch.device) -> _Border:
        lengths = lengths.to(device)
        step = torch.arange(int(lengths.max()), device=device)
        inside = step < lengths[:, None]
        start = lengths.cumsum(0) - lengths
        return cls(torch.where(inside, start[:, None] + step, 0), inside)

    def pad(self, potentials: Potentials) -> _Padded:
        initial, transition, emission = potentials
        if transition.shape[-3] == 1:
            # One row for every session and step; the axis of sessions stays of size 1.
            moves = [transition] * self.index.shape[1]
        else:
            moves = list(transition[..., self.index, :, :].unbind(-3))
        return _Padded(
            initial,
            moves,
            list(emission[..., self.index, :].unbind(-2)),
            list(self.inside[..., None].unbind(1)),
        )

    def unpad(self, steps: list[Tensor], core: int) -> Tensor:
        """Lay (\\*batch, sessions, \\*core) by step end to end."""
        stacked = torch.stack(steps, -1 - core)
        present = self.inside.flatten().nonzero()[:, 0]
        return stacked.flatten(-2 - core, -1 - core).index_select(-1 - core, present)


def log_marginal(potentials: Potentials, lengths: Tensor) -> Tensor:
    """Log marginal of every session, (\\*batch, sessions)."""
    border = _Border.of(lengths, potentials.emission.device)
    return _filter(border.pad(potentials), potentials.batch_shape).log_marginal


@torch.no_grad()
def counts(
    potentials: Potentials,
    lengths: Tensor,
    weights: Tensor | None,
    out: object = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log marginals, and expected counts weighted by session.

    ``out`` is left alone: the memory of a device is kept by torch itself.
    """
    if weights is None:
        weights = potentials.emission.new_ones(len(lengths))
    border = _Border.of(lengths, potentials.emission.device)
    padded = border.pad(potentials)
    batch = broadcast_shape(potentials.batch_shape, weights.shape[:-1])
    messages = _filter(padded, batch)
    possible = (messages.log_marginal != -torch.inf)[..., None]
    last = messages.filtered[-1]
    gamma = torch.where(possible, last.exp(), 0.0) * weights[..., None]
    gammas, pairs = [gamma], _Pairs(potentials, border)
    for t in range(len(padded.inside) - 1, 0, -1):
        inside = padded.inside[t]
        xi, earlier = padded.moves(t).back(messages.filtered[t - 1], gamma)
        gamma = torch.where(inside, earlier, gamma)
        pairs.add(torch.where(inside[..., None], xi, 0.0))
        gammas.append(gamma)
    return (
        messages.log_marginal,
        _share_sessions(gamma, potentials.initial),
        pairs.total(gamma),
        border.unpad(gammas[::-1], 1),
    )


def tangents(
    potentials: Potentials, directions: Potentials, lengths: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Derivatives of what :func:`counts` returns along a direction."""
    border = _Border.of(lengths, potentials.emission.device)
    padded, moved = border.pad(potentials), border.pad(directions)
    batch = broadcast_shape(
        potentials.batch_shape, directions.batch_shape, weights.shape[:-1]
    )
    filtered = _filter(padded, batch).filtered
    tangent, total = _filter_tangents(filtered, padded, moved)
    gamma = filtered[-1].exp() * weights[..., None]
    # An impossible session moves by nothing.
    possible = (filtered[-1] > -torch.inf).any(-1, keepdim=True)
    d_gamma = torch.where(possible, gamma * tangent[-1], 0.0)
    d_gammas, pairs = [d_gamma], _Pairs(potentials, border)
    for t in range(len(padded.inside) - 1, 0, -1):
        inside = padded.inside[t]
        before = filtered[t - 1], tangent[t - 1], moved.transition[t]
        d_xi, earlier, d_earlier = padded.moves(t).tangent_back(*before, gamma, d_gamma)
        d_earlier = torch.where(possible, d_earlier, 0.0)
        gamma = torch.where(inside, earlier, gamma)
        d_gamma = torch.where(inside, d_earlier, d_gamma)
        pairs.add(torch.where((inside & possible)[..., None], d_xi, 0.0))
        d_gammas.append(d_gamma)
    return (
        torch.where(possible[..., 0], total, 0.0),
        _share_sessions(d_gamma, potentials.initial),
        pairs.total(d_gamma),
        border.unpad(d_gammas[::-1], 1),
    )


def filter_messages(
    potentials: Potentials, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log predicted and log filtered states, log normalisers, log marginals."""
    border = _Border.of(lengths, potentials.emission.device)
    messages = _filter(border.pad(potentials), potentials.batch_shape)
    return (
        border.unpad(messages.predicted, 1),
        border.unpad(messages.filtered, 1),
        border.unpad(messages.log_probs, 0),
        messages.log_marginal,
    )


def viterbi(potentials: Potentials, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Most probable paths (\\*batch, steps) and their log probabilities by session."""
    border = _Border.of(lengths, potentials.emission.device)
    padded = border.pad(potentials)
    score = (padded.initial + padded.emission[0]).expand(
        *potentials.batch_shape, len(lengths), potentials.num_states
    )
    origins = []
    for t in range(1, len(padded.inside)):
        best, origin = padded.moves(t).best(score)
        score = torch.where(padded.inside[t], best + padded.emission[t], score)
        origins.append(origin)
    log_prob, state = score.max(-1)
    states = [state]
    for origin, inside in zip(origins[::-1], padded.inside[:0:-1]):
        earlier = origin.gather(-1, state[..., None])[..., 0]
        state = torch.where(inside[..., 0], earlier, state)
        states.append(state)
    return border.unpad(states[::-1], 0), log_prob


def sample_paths(
    log_filtered: Tensor, transition: Tensor, lengths: Tensor, uniforms: Tensor
) -> Tensor:
    """Paths (num_samples, \\*batch, steps), one uniform number for every state."""
    border = _Border.of(lengths, log_filtered.device)
    none = log_filtered[..., :1, :]
    padded = border.pad(Potentials(none, transition, log_filtered))
    draws = uniforms[..., border.index].unbind(-1)
    shape = broadcast_shape(draws[0].shape, padded.emission[0].shape[:-1])
    state = torch.zeros(shape, dtype=torch.int64, device=uniforms.device)
    states = []
    for t in range(len(draws) - 1, -1, -1):
        weights = padded.emission[t].expand(*shape, -1)
        if t + 1 < len(draws):
            into, inside = padded.moves(t + 1).into(state), padded.inside[t + 1]
            weights = weights + torch.where(inside, into, 0.0)
        state = _draw(weights, draws[t])
        states.append(state)
    return border.unpad(states[::-1], 0)


def _draw(log_weights: Tensor, uniform: Tensor) -> Tensor:
    """Inverse of the cumulative distribution; never a state of probability zero."""
    probs = (log_weights - log_weights.amax(-1, keepdim=True)).exp()
    before = probs.cumsum(-1) - probs
    legal = (probs > 0) & (before <= uniform[..., None] * probs.sum(-1, keepdim=True))
    rank = torch.arange(probs.shape[-1], device=probs.device)
    return torch.where(legal, rank, 0).amax(-1)


class _Pairs:
    """Gathers pairwise counts: a row for each step, or their sum where it is shared."""

    def __init__(self, potentials: Potentials, border: _Border) -> None:
        self._border = border
        self._core = potentials.transition.shape[-2:]
        self._shared = potentials.transition.shape[-3] == 1
        self._steps: list[Tensor] = []
        self._sum: Tensor | None = None

    def add(self, pairs: Tensor) -> None:
        """Take (\\*batch, sessions, *row of the transitions), the latest step first."""
        if self._shared:
            summed = pairs.sum(-3)
            self._sum = summed if self._sum is None else self._sum + summed
        else:
            self._steps.append(pairs)

    def total(self, like: Tensor) -> Tensor:
        """In the shape of the transitions; rows at session starts are zero."""
        batch = like.shape[:-2]
        if not self._shared:
            start = like.new_zeros(*like.shape[:-1], *self._core)
            return self._border.unpad([start, *self._steps[::-1]], 2)
        if self._sum is None:
            return like.new_zeros(*batch, 1, *self._core)
        return self._sum[..., None, :, :]


def _share_sessions(gamma: Tensor, initial: Tensor) -> Tensor:
    return gamma.sum(-2, keepdim=True) if initial.shape[-2] == 1 else gamma


def _filter(padded: _Padded, batch: torch.Size) -> _Messages:
    """Forward recursion over all sessions at once."""
    shape = (*batch, *padded.emission[0].shape[-2:])
    predicted, filtered, log_probs = [], [], []
    state = torch.zeros(shape, dtype=padded.emission[0].dtype)
    state = state.to(padded.emission[0].device)
    for t, (emission, inside) in enumerate(zip(padded.emission, padded.inside)):
        ahead = padded.moves(t).ahead(state) if t else padded.initial
        joint = (ahead + emission).expand(shape)
        log_prob = joint.logsumexp(-1, keepdim=True)
        new = joint - torch.where(log_prob == -torch.inf, 0.0, log_prob)
        state = torch.where(inside, new, state)
        predicted.append(ahead.expand(shape))
        filtered.append(state)
        log_probs.append(torch.where(inside, log_prob, 0.0)[..., 0])
    # In pairs, not one after the other: the rounding error of float32 would grow.
    return _Messages(predicted, filtered, log_probs, torch.stack(log_probs, -1).sum(-1))


def _filter_tangents(
    filtered: list[Tensor], padded: _Padded, moved: _Padded
) -> tuple[list[Tensor], Tensor]:
    """Derivatives of the log messages, centred, and of the log marginals."""
    tangents: list[Tensor] = []
    means = []
    for t, inside in enumerate(padded.inside):
        if t == 0:
            tangent = moved.initial + moved.emission[0]
        else:
            before = filtered[t - 1], tangents[-1], moved.transition[t]
            tangent = padded.moves(t).tangent(*before) + moved.emission[t]
        mean = (filtered[t].exp() * tangent).sum(-1, keepdim=True)
        tangent = tangent - mean
        tangents.append(torch.where(inside, tangent, tangents[-1]) if t else tangent)
        means.append(torch.where(inside, mean, 0.0)[..., 0])
    return tangents, torch.stack(means, -1).sum(-1)
