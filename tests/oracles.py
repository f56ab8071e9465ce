"""Definitions that tests compare with: slow, short, and free of recursions."""

import itertools
from typing import NamedTuple

import torch


def path_log_probs(initial, transition, emission):
    """Log joint of every path of hidden states, by the definition of the chain.

    One session: ``initial`` (states,), ``transition`` (steps, states, states) whose row
    t leads from step t-1 to step t, ``emission`` (steps, states). Returns the paths
    (states ** steps, steps) and their log joints.
    """
    steps, states = emission.shape
    paths = list(itertools.product(range(states), repeat=steps))
    log_probs = [
        initial[path[0]]
        + sum(transition[t, path[t - 1], path[t]] for t in range(1, steps))
        + sum(emission[t, path[t]] for t in range(steps))
        for path in paths
    ]
    return torch.tensor(paths), torch.stack(log_probs)


def by_session(initial, transition, emission, lengths):
    """Potentials of one parameter set, expanded and cut into sessions."""
    sessions, (steps, states) = len(lengths), emission.shape
    initial = initial.expand(sessions, states)
    transition = transition.expand(steps, states, states)
    cuts = lengths.tolist()
    return list(zip(initial, transition.split(cuts), emission.split(cuts)))


def parameter_sets(initial, transition, emission):
    """Batch shape, and every parameter set's potentials with its batch axes gone."""
    batch = torch.broadcast_shapes(
        initial.shape[:-2], transition.shape[:-3], emission.shape[:-2]
    )
    tensors = [
        x.expand(*batch, *x.shape[x.dim() - core :]).reshape(-1, *x.shape[-core:])
        for x, core in zip((initial, transition, emission), (2, 3, 2))
    ]
    return batch, list(zip(*tensors))


def log_marginals(initial, transition, emission, lengths):
    """Log of the sum over all paths, (*batch, sessions); differentiable."""
    batch, sets = parameter_sets(initial, transition, emission)
    totals = [
        path_log_probs(*session)[1].logsumexp(0)
        for potentials in sets
        for session in by_session(*potentials, lengths)
    ]
    return torch.stack(totals).reshape(*batch, len(lengths))


class PathPosterior(NamedTuple):
    """Posterior of one session by enumeration."""

    paths: torch.Tensor
    probs: torch.Tensor
    smoothed: torch.Tensor
    pairwise: torch.Tensor


def path_posterior(initial, transition, emission):
    """Probabilities of paths, states and pairs given all emissions of one session."""
    steps, states = emission.shape
    paths, log_probs = path_log_probs(initial, transition, emission)
    probs = log_probs.softmax(0) if log_probs.max() > -torch.inf else 0 * paths[:, 0]
    smoothed = emission.new_zeros(steps, states)
    pairwise = emission.new_zeros(steps, states, states)
    for path, prob in zip(paths.tolist(), probs):
        for t, state in enumerate(path):
            smoothed[t, state] += prob
            if t > 0:
                pairwise[t, path[t - 1], state] += prob
    return PathPosterior(paths, probs, smoothed, pairwise)


def finite_differences(function, point, step=1e-5):
    """Central differences of a function of one tensor, output axes first."""
    columns = []
    for index in range(point.numel()):
        move = torch.zeros(point.numel(), dtype=point.dtype)
        move[index] = step
        move = move.reshape(point.shape)
        columns.append((function(point + move) - function(point - move)) / (2 * step))
    return torch.stack(columns, -1).reshape(*columns[0].shape, *point.shape)
