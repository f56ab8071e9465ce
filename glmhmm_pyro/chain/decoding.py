"""Posterior of the hidden states: filtered, predicted, smoothed, pairs, paths."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.chain.half_steps import are_halves, whole
from glmhmm_pyro.chain.marginals import engine_module, expected_counts, pick
from glmhmm_pyro.chain.shapes import Potentials, align


class Filtered(NamedTuple):
    r"""Posterior of each state given the emissions up to its step.

    .. math::
        p(z_t \mid y_{0..t-1}), \qquad p(z_t \mid y_{0..t}), \qquad
        \log p(y_t \mid y_{0..t-1})

    From the step that makes a session impossible on, ``log_prob_per_step`` is -inf and
    ``filtered_probs`` is zero, as is ``predicted_probs`` from the step after.

    Attributes:
        predicted_probs: (\*batch, steps, states), before the step's emission.
        filtered_probs: (\*batch, steps, states), after it.
        log_prob_per_step: (\*batch, steps) one-step-ahead log probabilities, whose sum
            over a session is its log marginal. Of potentials that are not normalised it
            is what a step adds to the log of the sum over all paths.
    """

    predicted_probs: Tensor
    filtered_probs: Tensor
    log_prob_per_step: Tensor


class Smoothed(NamedTuple):
    r"""Posterior of each state and each pair of neighbours given all emissions.

    .. math::
        p(z_t = j \mid y_{0..T-1}), \qquad p(z_{t-1} = i, z_t = j \mid y_{0..T-1})

    Attributes:
        smoothed_probs: (\*batch, steps, states).
        pairwise_probs: (\*batch, steps, states, states), axes (step, origin,
            destination). Row t is for the pair (t-1, t); rows at session starts, which
            have no pair, are zero.
        log_marginal: (\*batch, sessions) log probability of each session.
    """

    smoothed_probs: Tensor
    pairwise_probs: Tensor
    log_marginal: Tensor


class ViterbiPath(NamedTuple):
    r"""The most probable path and its log joint probability with the emissions.

    .. math:: \arg\max_z \log p(z, y), \qquad \max_z \log p(z, y)

    Attributes:
        states: (\*batch, steps) int64; of equally probable paths, one of them. The
            states of an impossible session mean nothing.
        log_prob: (\*batch, sessions), -inf for an impossible session.
    """

    states: Tensor
    log_prob: Tensor


def filter(
    initial: Tensor,
    transition: Tensor,
    emission: Tensor,
    lengths: Tensor,
    *,
    engine: str | None = None,
) -> Filtered:
    """Predict each state from the past, and update by its emission.

    Arguments and errors are those of :func:`log_marginal`. Not differentiable.
    """
    potentials = align(initial, transition, emission, lengths)
    with torch.no_grad():
        module = engine_module(pick(engine, potentials))
        predicted, filtered, log_probs, _ = module.filter_messages(potentials, lengths)
        top = predicted.amax(-1, keepdim=True)
        predicted = (predicted - torch.where(top == -torch.inf, 0.0, top)).exp()
        total = predicted.sum(-1, keepdim=True)
        predicted = predicted / torch.where(total == 0.0, 1.0, total)
        return Filtered(predicted, filtered.exp(), log_probs)


def smooth(
    initial: Tensor,
    transition: Tensor,
    emission: Tensor,
    lengths: Tensor,
    *,
    engine: str | None = None,
) -> Tensor:
    """Posterior of every state given all emissions, (\\*batch, steps, states).

    Arguments and errors are those of :func:`log_marginal`. Not differentiable. The
    probabilities of an impossible session are zero.
    """
    counts = expected_counts(initial, transition, emission, lengths, engine=engine)
    return counts.emission


def left_out(
    initial: Tensor,
    transition: Tensor,
    emission: Tensor,
    lengths: Tensor,
    *,
    engine: str | None = None,
) -> Tensor:
    r"""Log-likelihood of every emission given all others, earlier and later ones.

    .. math:: \log p(y_t \mid y_{\setminus t}) =
        \log \frac{\sum_k a_t(k) b_t(k) h_t(k)}{\sum_k a_t(k) h_t(k)}

    Here :math:`a_t(k) \propto p(z_t = k \mid y_{<t})` comes from a filter, and
    :math:`h_t(k) \propto p(y_{>t} \mid z_t = k)` from one that runs backwards.
    Arguments and errors are those of :func:`log_marginal`. Not differentiable.

    Returns:
        Shape (\*batch, steps), in nats.
    """
    if are_halves(transition, emission.shape[-1]):
        transition = whole(transition, emission.shape[-1])
    potentials = align(initial, transition, emission, lengths)
    with torch.no_grad():
        module = engine_module(pick(engine, potentials))
        order = _backwards(lengths)
        ahead = module.filter_messages(potentials, lengths)[0]
        behind = module.filter_messages(_reversed(potentials, order), lengths)[0]
        others = ahead + behind[..., order, :]
        joint = (others + potentials.emission).logsumexp(-1)
        return joint - others.logsumexp(-1)


def _backwards(lengths: Tensor) -> Tensor:
    """Row numbers, each session from its last step to its first, shape (steps,)."""
    ends = lengths.cumsum(0)
    mirror = (2 * ends - lengths - 1).repeat_interleave(lengths)
    return mirror - torch.arange(len(mirror), device=lengths.device)


def _reversed(potentials: Potentials, order: Tensor) -> Potentials:
    """The chain run from the end of every session, all states possible there."""
    transition, emission = potentials.transition, potentials.emission
    if transition.shape[-3] > 1:
        into = (order + 1).clamp(max=len(order) - 1)
        transition = transition[..., into, :, :]
    return potentials._replace(
        initial=torch.zeros_like(potentials.initial),
        transition=transition.transpose(-1, -2),
        emission=emission[..., order, :],
    )


def pairwise(
    initial: Tensor,
    transition: Tensor,
    emission: Tensor,
    lengths: Tensor,
    *,
    engine: str | None = None,
) -> Smoothed:
    """Posterior of every state and of every pair of neighbours given all emissions.

    Arguments and errors are those of :func:`log_marginal`. Not differentiable. A shared
    transition is expanded, half-steps are put together: the sums of the pairs alone,
    which an E-step needs, are to be had from :func:`expected_counts` without.
    """
    if are_halves(transition, emission.shape[-1]):
        transition = whole(transition, emission.shape[-1])
    if transition.dim() >= 3 and transition.shape[-3] == 1:
        steps = emission.shape[-2]
        transition = transition.expand(*transition.shape[:-3], steps, -1, -1)
    counts = expected_counts(initial, transition, emission, lengths, engine=engine)
    return Smoothed(counts.emission, counts.transition, counts.log_marginal)


def viterbi(
    initial: Tensor,
    transition: Tensor,
    emission: Tensor,
    lengths: Tensor,
    *,
    engine: str | None = None,
) -> ViterbiPath:
    """Most probable path of hidden states, by dynamic programming (Viterbi 1967).

    Arguments and errors are those of :func:`log_marginal`. Not differentiable.
    """
    potentials = align(initial, transition, emission, lengths)
    with torch.no_grad():
        module = engine_module(pick(engine, potentials))
        return ViterbiPath(*module.viterbi(potentials, lengths))


def sample_paths(
    initial: Tensor,
    transition: Tensor,
    emission: Tensor,
    lengths: Tensor,
    num_samples: int,
    generator: torch.Generator | None = None,
    *,
    engine: str | None = None,
) -> Tensor:
    """Draw paths from the posterior: filter forward, sample backward.

    Both engines draw the same paths from a generator in the same state.

    Args:
        initial, transition, emission, lengths: as in :func:`log_marginal`.
        num_samples: number of independent paths.
        generator: source of the random numbers, on the device of the tensors.
        engine: as in :func:`log_marginal`.

    Returns:
        (num_samples, \\*batch, steps) states, of type int64.

    Raises:
        ValueError: a session is impossible, so that it has no posterior to draw from.
    """
    potentials = align(initial, transition, emission, lengths)
    with torch.no_grad():
        module = engine_module(pick(engine, potentials))
        _, filtered, _, totals = module.filter_messages(potentials, lengths)
        _check_possible(totals)
        uniforms = torch.rand(
            (num_samples, *filtered.shape[:-1]),
            dtype=torch.float64,
            device=emission.device,
            generator=generator,
        )
        paths: Tensor = module.sample_paths(
            filtered, potentials.transition, lengths, uniforms
        )
        return paths


def _check_possible(log_marginals: Tensor) -> None:
    bad = ~torch.isfinite(log_marginals)
    if bool(bad.any()):
        sessions = bad.nonzero()[:, -1].unique().tolist()
        raise ValueError(
            "every session must have a finite log marginal to draw paths from, "
            f"got -inf or NaN for sessions {sessions[:5]}; look for emissions that no "
            "state allows"
        )
