"""Shapes of a chain's potentials: checked once, aligned, never expanded."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.chain.half_steps import are_halves


class Potentials(NamedTuple):
    """Log potentials of Markov chains, with equally many batch axes.

    ``initial`` is (\\*batch, sessions|1, states), ``transition`` is
    (\\*batch, steps|1, states, states), or has the shape of two half-steps
    (:mod:`glmhmm_pyro.chain.half_steps`), ``emission`` is (\\*batch, steps, states);
    each batch axis is full or of size 1.
    """

    initial: Tensor
    transition: Tensor
    emission: Tensor

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the parameter sets, after broadcasting."""
        if self.emission.dim() == 2:
            return torch.Size()
        return broadcast_shape(
            self.initial.shape[:-2],
            self.transition.shape[:-3],
            self.emission.shape[:-2],
        )

    @property
    def num_states(self) -> int:
        """Number of hidden states."""
        return self.emission.shape[-1]


def align(
    initial: Tensor, transition: Tensor, emission: Tensor, lengths: Tensor
) -> Potentials:
    """Check the potentials against each other and give them equally many batch axes.

    Raises:
        ValueError: shapes that do not fit together or cannot be broadcast.
        TypeError: potentials that are not floating, lengths that are not integers.
    """
    _check_types(initial, transition, emission, lengths)
    steps, states = _check_emission(emission, lengths)
    _check_core("initial", initial, (lengths.numel(), states), "sessions")
    halves = transition.dim() > 2 and are_halves(transition, states)
    row = transition.shape[-2:] if halves else (states, states)
    _check_core("transition", transition, (steps, *row), "steps")
    tensors = (initial, transition, emission)
    dims = (initial.dim() - 2, transition.dim() - 3, emission.dim() - 2)
    most = max(dims)
    if not most:
        return Potentials(*tensors)
    potentials = Potentials(
        *[
            x if dim == most else x[(None,) * (most - dim)]
            for x, dim in zip(tensors, dims)
        ]
    )
    try:
        batch = potentials.batch_shape
    except ValueError:
        batches = [tuple(x.shape[:dim]) for x, dim in zip(tensors, dims)]
        raise ValueError(
            "the batch shapes of initial, transition and emission must broadcast, got "
            f"{batches[0]}, {batches[1]} and {batches[2]}"
            "; give all three the same leading axes"
        ) from None
    if 0 in batch:
        raise ValueError(
            f"the batch shape must have no axis of size 0, got {batch}"
            "; give at least one parameter set"
        )
    return potentials


def _check_types(
    initial: Tensor, transition: Tensor, emission: Tensor, lengths: Tensor
) -> None:
    potentials = (
        ("emission", emission),
        ("initial", initial),
        ("transition", transition),
    )
    for name, value in potentials:
        if not isinstance(value, Tensor) or not value.dtype.is_floating_point:
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(
                f"{name} must be a floating tensor, got {got}; convert it by .double()"
            )
        if value.dtype != emission.dtype or value.device != emission.device:
            raise TypeError(
                f"{name} must have the type and device of emission, "
                f"{emission.dtype} on {emission.device}, "
                f"got {value.dtype} on {value.device}; convert it by .to(...)"
            )
    if not isinstance(lengths, Tensor) or lengths.dtype != torch.int64:
        got = lengths.dtype if isinstance(lengths, Tensor) else type(lengths).__name__
        raise TypeError(
            f"lengths must be a tensor of type int64, got {got}" "; give lengths.long()"
        )


def _check_emission(emission: Tensor, lengths: Tensor) -> tuple[int, int]:
    sizes = lengths.tolist()
    if lengths.dim() != 1 or not sizes or min(sizes) < 1:
        raise ValueError(
            "lengths must be a vector with one length of at least 1 for every session, "
            f"got {sizes}; leave empty sessions out"
        )
    if emission.dim() < 2 or emission.shape[-1] == 0:
        raise ValueError(
            "emission must have shape (*batch, steps, states), "
            f"got {tuple(emission.shape)}; give a column for each state"
        )
    steps, states = emission.shape[-2:]
    total = sum(sizes)
    if total != steps:
        raise ValueError(
            f"lengths must sum to the {steps} steps of emission, "
            f"got a sum of {total}; give the steps of each session"
        )
    return steps, states


def _check_core(name: str, value: Tensor, core: tuple[int, ...], axis: str) -> None:
    got = tuple(value.shape[-len(core) :])
    if got != core and got != (1, *core[1:]):
        raise ValueError(
            f"{name} must have shape (*batch, {', '.join(map(str, core))}), "
            f"or 1 instead of {core[0]} {axis}, got {tuple(value.shape)}"
            "; give one of these"
        )


def memory_of(tensor: Tensor, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Reuse the memory of an earlier result as an array of this shape."""
    fits = tensor.numel() == math.prod(shape) and tensor.is_contiguous()
    if not fits or tensor.dtype != torch.float64:
        raise ValueError(
            f"out must be an earlier float64 result for these potentials, {shape}, got "
            f"{tensor.dtype} of shape {tuple(tensor.shape)}; leave it out"
        )
    array: NDArray[np.float64] = tensor.numpy().reshape(shape)
    return array
