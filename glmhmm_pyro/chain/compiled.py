"""The engine for tensors on the CPU: compiled kernels, spread over a pool of threads.

Every function takes potentials with equally many batch axes, as
:func:`glmhmm_pyro.chain.shapes.align` returns them, computes in float64 and returns
tensors of the potentials' type. Batch axes of the results are full.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.chain import half_log_kernels, log_kernels
from glmhmm_pyro.chain.half_kernels import counts_halved, exponentiated_in
from glmhmm_pyro.chain.half_steps import HalfSteps, are_halves
from glmhmm_pyro.chain.half_tangent_kernels import halved_tangents_log
from glmhmm_pyro.chain.scaled_kernels import counts_scaled
from glmhmm_pyro.chain.shapes import Potentials, memory_of
from glmhmm_pyro.chain.single_state import counts_single
from glmhmm_pyro.chain.specialised import States, pair_for, states_for
from glmhmm_pyro.chain.stationary_kernels import counts_stationary
from glmhmm_pyro.chain.tangent_kernels import tangents_log
from glmhmm_pyro.concurrency import in_threads

# Sessions are grouped into pieces of work of about this many (step, origin,
# destination) triples, whatever the number of threads, so that sums are always taken
# in the same order. A piece takes about a millisecond.
_PIECE_SIZE = 2**19

# Directions of a derivative that one filter serves: it costs about as much as two.
_TOGETHER = 32

Array = NDArray[np.float64]


class Work(NamedTuple):
    """Pieces of work: ranges of sessions, for every parameter set."""

    batch: torch.Size
    num_sets: int
    offsets: NDArray[np.int64]
    ranges: list[tuple[int, int]]
    threads: int

    @property
    def pieces(self) -> list[tuple[int, int, int, int]]:
        """Parameter set, number of the range, its first and last session, of each."""
        ranges = [(piece, *ends) for piece, ends in enumerate(self.ranges)]
        return [(b, *each) for b in range(self.num_sets) for each in ranges]

    def run(self, kernel: Callable[..., None], calls: Sequence[tuple]) -> None:
        """Call a kernel with the arguments of every piece, in threads if it pays."""
        list(in_threads(kernel, calls, self.threads))


def log_marginal(potentials: Potentials, lengths: Tensor) -> Tensor:
    """Log marginal of every session, (\\*batch, sessions)."""
    return counts(potentials, lengths, None)[0]


def counts(
    potentials: Potentials,
    lengths: Tensor,
    weights: Tensor | None,
    out: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log marginals, and expected counts weighted by session, in the memory of out."""
    work = _plan(
        potentials, lengths, *([] if weights is None else [weights.shape[:-1]])
    )
    rows = _all_rows(potentials, work)
    return _accumulate(counted, rows, work, potentials, weights, out)


def counted(
    initial: Array,
    transition: Array,
    emission: Array,
    offsets: NDArray[np.int64],
    first: int,
    last: int,
    session_weights: Array,
    log_marginal: Array,
    out_initial: Array,
    out_transition: Array,
    out_emission: Array,
    exponentiated: bool = False,
) -> None:
    """Counts of the sessions first to last: the fast way, where that lost none of them.

    Arguments are those of ``counts_log``, which does the others. Half-steps may be
    given ``exponentiated``, they and emissions in the memory of their counts; what is
    lost is then left to :func:`count_lost`, its log marginal being NaN.
    """
    steps, size = int(offsets[last] - offsets[first]), emission.shape[1]
    moves, sizes = transition, tuple[States, ...]()
    if kind := HalfSteps.of(transition, size):
        kernel, between = counts_halved, kind.slow * kind.slots
        sizes = pair_for(kernel, kind.slow, kind.fast, kind.slots, steps)
        space = np.empty(steps * (size + between) + 2 * transition[0].size)
        if not exponentiated:
            moves = exponentiated_in(out_transition, transition, offsets[[first, last]])
    elif size == 1:
        kernel, space = counts_single, np.empty(0)
    else:
        stationary = len(transition) == 1
        kernel = counts_stationary if stationary else counts_scaled
        sizes = (states_for(kernel, size, steps),)
        space = np.empty(size * (2 * size + steps) if stationary else 0)
    lost = kernel(
        *sizes,
        *[x.reshape(-1) for x in (initial, moves, emission)],
        offsets,
        first,
        last,
        session_weights,
        space,
        log_marginal,
        *[x.reshape(-1) for x in (out_initial, out_transition, out_emission)],
    )
    if lost and not exponentiated:
        given = initial, transition, emission, offsets, first, last, session_weights
        count_lost(*given, log_marginal, out_initial, out_transition, out_emission)


def count_lost(*given: Any) -> None:
    """Counts of sessions first to last whose log marginal is NaN, in log space.

    Arguments are those of :func:`counted`.
    """
    moves, emission, first, last, logs = (given[i] for i in (1, 2, 4, 5, 7))
    kernel = _in_logs(moves, emission.shape[1]).counts_log
    for s in first + np.flatnonzero(np.isnan(logs[first:last])):
        kernel(*given[:4], s, s + 1, *given[6:])


def _in_logs(transition: Tensor | Array, states: int) -> ModuleType:
    """Kernels in log space for such transitions."""
    return half_log_kernels if are_halves(transition, states) else log_kernels


def tangents(
    potentials: Potentials, directions: Potentials, lengths: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Derivatives of :func:`counts`; one filter serves sets that differ in these."""
    work = _plan(potentials, lengths, directions.batch_shape, weights.shape[:-1])
    rows = [*_all_rows(potentials, work), _by_set(weights, 1, work.batch)]
    moved = [_full(x, core, work) for x, core in zip(directions, (2, 3, 2))]
    pieces = [len(work.ranges) if x.shape[1] == 1 else 1 for x in moved[:2]]
    initial, transition = (
        np.zeros((number, *x.shape)) for number, x in zip(pieces, moved)
    )
    emission = np.zeros(moved[2].shape)
    totals = np.zeros((work.num_sets, len(lengths)))

    calls = [
        (
            *[row[sets[0]] for row in rows[:3]],
            work.offsets,
            first,
            last,
            rows[3][sets[0]],
            sets,
            *moved,
            totals,
            initial[min(piece, len(initial) - 1)],
            transition[min(piece, len(transition) - 1)],
            emission,
        )
        for sets in _sets_in_common([*potentials, weights], work)
        for piece, (first, last) in enumerate(work.ranges)
    ]
    halves = are_halves(rows[1][0], potentials.num_states)
    work.run(halved_tangents_log if halves else tangents_log, calls)
    dtype = potentials.emission.dtype
    return (
        _tensor(totals, work, dtype),
        _tensor(initial.sum(0), work, dtype),
        _tensor(transition.sum(0), work, dtype),
        _tensor(emission, work, dtype),
    )


def _sets_in_common(shared: Sequence[Tensor], work: Work) -> list[NDArray[np.int64]]:
    """Numbers of the sets that have all of these in common, as many as go together."""
    batches = [x.shape[:-core] for x, core in zip(shared, (2, 3, 2, 1))]
    numbers = [np.arange(math.prod(b)).reshape(b) for b in batches]
    keys = np.stack([np.broadcast_to(n, work.batch).reshape(-1) for n in numbers])
    _, group = np.unique(keys, axis=1, return_inverse=True)
    found = [np.flatnonzero(group == g) for g in range(group.max() + 1)]
    return [
        sets[first : first + _TOGETHER]
        for sets in found
        for first in range(0, len(sets), _TOGETHER)
    ]


def _full(tensor: Tensor, core: int, work: Work) -> Array:
    """An array (sets, ...) in which axes of size 1 are expanded."""
    whole = tensor.expand(*work.batch, *tensor.shape[-core:])
    values = np.ascontiguousarray(whole.numpy(force=True), dtype=np.float64)
    return values.reshape(work.num_sets, *values.shape[-core:])


def filter_messages(
    potentials: Potentials, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log predicted and log filtered states, log normalisers, log marginals."""
    work = _plan(potentials, lengths)
    rows = _all_rows(potentials, work)
    steps, states = potentials.emission.shape[-2:]
    predicted = np.empty((work.num_sets, steps, states))
    filtered = np.empty_like(predicted)
    log_probs = np.empty((work.num_sets, steps))

    outputs = (predicted, filtered, log_probs)
    calls = [
        (
            *[row[b] for row in rows],
            work.offsets,
            first,
            last,
            *[out[b] for out in outputs],
        )
        for b, _, first, last in work.pieces
    ]
    work.run(_in_logs(potentials.transition, states).filter_log, calls)
    totals = np.add.reduceat(log_probs, work.offsets[:-1], axis=1)
    dtype = potentials.emission.dtype
    return (
        _tensor(predicted, work, dtype),
        _tensor(filtered, work, dtype),
        _tensor(log_probs, work, dtype),
        _tensor(totals, work, dtype),
    )


def viterbi(potentials: Potentials, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Most probable paths (\\*batch, steps) and their log probabilities by session."""
    work = _plan(potentials, lengths)
    rows = _all_rows(potentials, work)
    log_probs = np.empty((work.num_sets, len(lengths)))
    states = np.empty((work.num_sets, potentials.emission.shape[-2]), np.int64)

    calls = [
        (*[row[b] for row in rows], work.offsets, first, last, log_probs[b], states[b])
        for b, _, first, last in work.pieces
    ]
    work.run(_in_logs(rows[1][0], potentials.num_states).viterbi_log, calls)
    paths = torch.from_numpy(states).reshape(*work.batch, -1)
    return paths, _tensor(log_probs, work, potentials.emission.dtype)


def sample_paths(
    log_filtered: Tensor, transition: Tensor, lengths: Tensor, uniforms: Tensor
) -> Tensor:
    """Paths (num_samples, \\*batch, steps), one uniform number for every state."""
    states = log_filtered.shape[-1]
    work = plan(uniforms.shape[:-1], lengths, states)
    tensors = (log_filtered, transition, uniforms)
    filtered, moves, draws = (
        _by_set(x, core, work.batch) for x, core in zip(tensors, (2, 3, 1))
    )
    paths = np.empty((work.num_sets, uniforms.shape[-1]), np.int64)

    calls = [
        (filtered[b], moves[b], work.offsets, first, last, draws[b], paths[b])
        for b, _, first, last in work.pieces
    ]
    work.run(_in_logs(transition, states).sample_log, calls)
    return torch.from_numpy(paths).reshape(uniforms.shape)


def _accumulate(
    kernel: Callable[..., None],
    rows: list[list[Array]],
    work: Work,
    potentials: Potentials,
    weights: Tensor | None,
    out: tuple[Tensor, Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run a kernel that returns a number by session and counts of the inputs' shapes.

    What an axis of size 1 gathers is kept apart by piece and added up in their order.
    """
    sets, sessions = work.num_sets, len(work.offsets) - 1
    if weights is None:
        by_session = [np.ones(sessions)] * sets
    else:
        by_session = _by_set(weights, 1, work.batch)
    totals = np.empty((sets, sessions))
    entries, moves, steps = [row[0].shape for row in rows[:3]]
    initial = _counts_by_piece(entries, work)
    if out is None or moves[0] == 1:
        transition = _counts_by_piece(moves, work)
    else:
        transition = memory_of(out[2], (sets, 1, *moves))
    emission = (
        np.empty((sets, *steps)) if out is None else memory_of(out[3], (sets, *steps))
    )

    calls = [
        (
            *[row[b] for row in rows],
            work.offsets,
            first,
            last,
            by_session[b],
            totals[b],
            initial[b, min(piece, initial.shape[1] - 1)],
            transition[b, min(piece, transition.shape[1] - 1)],
            emission[b],
        )
        for b, piece, first, last in work.pieces
    ]
    work.run(kernel, calls)
    dtype = potentials.emission.dtype
    return (
        _tensor(totals, work, dtype),
        _tensor(_gathered(initial), work, dtype),
        _tensor(_gathered(transition), work, dtype),
        _tensor(emission, work, dtype),
    )


def _counts_by_piece(shape: tuple[int, ...], work: Work) -> Array:
    """Where counts go: (sets, pieces that are kept apart, \\*shape)."""
    if shape[0] == 1:
        return np.zeros((work.num_sets, len(work.ranges), *shape))
    # A kernel writes every row of a transition, and adds to the rows of an initial.
    make = np.empty if len(shape) == 3 else np.zeros
    return make((work.num_sets, 1, *shape))


def _gathered(counts_by_piece: Array) -> Array:
    if counts_by_piece.shape[1] == 1:
        return counts_by_piece[:, 0]
    return np.asarray(counts_by_piece.sum(1))


def _plan(potentials: Potentials, lengths: Tensor, *batches: torch.Size) -> Work:
    batch = broadcast_shape(potentials.batch_shape, *batches)
    return plan(batch, lengths, potentials.num_states)


def plan(batch: torch.Size, lengths: Tensor, states: int) -> Work:
    """Split the sessions into pieces; the split depends on their sizes alone."""
    offsets = np.zeros(lengths.numel() + 1, np.int64)
    lengths.numpy().cumsum(out=offsets[1:])
    size = int(offsets[-1]) * states**2
    ranges = [(0, lengths.numel())]
    if lengths.numel() > 1 and size > _PIECE_SIZE:
        pieces = (offsets[:-1] * states**2) // _PIECE_SIZE
        borders = np.flatnonzero(np.diff(pieces, prepend=-1, append=pieces[-1] + 1))
        ranges = [(int(a), int(b)) for a, b in zip(borders[:-1], borders[1:])]
    sets = math.prod(batch)
    small = sets * size < 2 * _PIECE_SIZE
    return Work(batch, sets, offsets, ranges, 1 if small else torch.get_num_threads())


def _all_rows(potentials: Potentials, work: Work) -> list[list[Array]]:
    return [_by_set(x, core, work.batch) for x, core in zip(potentials, (2, 3, 2))]


def _by_set(tensor: Tensor, core: int, batch: torch.Size) -> list[Array]:
    """One array for each parameter set; axes of size 1 are shared, not expanded."""
    values = np.ascontiguousarray(tensor.numpy(force=True), dtype=np.float64)
    if not batch:
        return [values]
    own = tensor.shape[:-core]
    values = values.reshape(-1, *values.shape[len(own) :])
    index = np.broadcast_to(np.arange(len(values)).reshape(own), batch)
    return [values[i] for i in index.flat]


def _tensor(values: Array, work: Work, dtype: torch.dtype) -> Tensor:
    """Results with the batch axes and the type that callers want."""
    if not work.batch:
        values = values[0]
    elif len(work.batch) > 1:
        values = values.reshape(*work.batch, *values.shape[1:])
    return torch.from_numpy(values).to(dtype)
