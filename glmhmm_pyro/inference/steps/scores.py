"""Second derivatives of a log-likelihood by one pass over covariances of scores.

See :mod:`glmhmm_pyro.components.score_kernels`. A pass costs a few E-steps for however
many numbers, and products of matrices, their number squared, at every step. Scores of
emissions may be given, where they are no softmaxes.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.chain.passes import Passes
from glmhmm_pyro.chain.tangent_kernels import origins_log
from glmhmm_pyro.components.score_kernels import covary, covary_given
from glmhmm_pyro.components.tables import Softmaxes

# Numbers of the rows of steps that are multiplied together, and least such steps.
_TOGETHER, _LEAST_STEPS = 1 << 18, 32


class Emitted(NamedTuple):
    """Scores of emissions: derivatives of log p(y_t | z_t = k) by numbers of theirs.

    Attributes:
        values: shape (steps, states, numbers).
    """

    values: np.ndarray

    @property
    def size(self) -> int:
        """Number of numbers."""
        return self.values.shape[-1]


class Scores(NamedTuple):
    """Derivatives of a log-likelihood by the numbers of all parts, one after another.

    Attributes:
        parts: softmaxes, and emissions that are none.
        slope: shape (numbers,).
        matrix: second derivatives, shape (numbers, numbers); without the expected ones
            of log p(y_t | z_t) where emissions are no softmaxes.
    """

    parts: Sequence[Softmaxes | Emitted]
    slope: Tensor
    matrix: Tensor


def scores_at(
    first: Softmaxes,
    moves: Softmaxes,
    emissions: Softmaxes | Emitted,
    potentials: list[np.ndarray],
    passes: Passes,
) -> Scores:
    """Derivatives at these potentials.

    Args:
        first, moves, emissions: what the potentials were made of.
        potentials: of first states, transitions and emissions.
        passes: over the sessions.
    """
    parts = first, moves, emissions
    width = sum(part.size for part in parts) + 1
    entry = np.zeros((first.probs[0].size, width))
    given = (
        np.zeros((emissions.size, width)) if isinstance(emissions, Emitted) else None
    )
    softmaxes = [part for part in parts[1:] if isinstance(part, Softmaxes)]
    sums = [
        torch.zeros(part.features, part.probs[0].size * width, dtype=torch.float64)
        for part in softmaxes
    ]
    for steps, out in _row_stretches(passes, potentials, parts, entry, given):
        for total, part, rows in zip(sums, softmaxes, out):
            left = torch.from_numpy(rows).reshape(len(rows), -1)
            total.addmm_(part.covariates(steps).T, left)
    whole = [
        total.reshape(part.features, -1, width).transpose(0, 1).reshape(-1, width)
        for total, part in zip(sums, softmaxes)
    ]
    ends = [entry] if given is None else [entry, given]
    begin, *end = map(torch.from_numpy, ends)
    found = torch.cat([begin, *whole, *end])
    return Scores(parts, found[:, -1], found[:, :-1] + found[:, :-1].T)


def _row_stretches(
    passes: Passes,
    potentials: list[np.ndarray],
    parts: tuple[Softmaxes, Softmaxes, Softmaxes | Emitted],
    entry: np.ndarray,
    given: np.ndarray | None,
) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """Stretches of steps with the rows of transitions and of softmaxes emitted there.

    Rows of first states are added up in ``entry``, those of other emissions in
    ``given``.
    """
    first, moves, emissions = parts
    work, width = passes.work, entry.shape[1]
    offsets = work.offsets
    weights = np.repeat(passes.weights, np.diff(offsets))
    begins = np.zeros(len(weights), bool)
    begins[offsets[:-1]] = True
    softmaxes = [part for part in parts[1:] if isinstance(part, Softmaxes)]
    numbers = [part.probs[0].size for part in softmaxes]
    together = max(_LEAST_STEPS, _TOGETHER // max(1, sum(numbers) * width))
    together = min(together, len(weights))
    buffers = [np.empty((together, number, width)) for number in numbers]
    states = potentials[2].shape[1]
    means = np.zeros((states, width - 1))
    for one, last in work.ranges:
        begin, end = int(offsets[one]), int(offsets[last])
        origins = np.empty((end - begin, states, states))
        gamma = np.empty((end - begin, states))
        origins_log(*potentials, offsets, one, last, origins, gamma)
        for start in range(begin, end, together):
            steps = slice(start, min(start + together, end))
            own = slice(steps.start - begin, steps.stop - begin)
            out = [buffer[: steps.stop - steps.start] for buffer in buffers]
            known = begins[steps], weights[steps], origins[own], gamma[own]
            chain = *known, first.probs, *_told(moves, steps), moves.has_reference
            if isinstance(emissions, Emitted):
                covary_given(*chain, emissions.values[steps], means, entry, given, *out)
            else:
                labels = emissions.labels
                labels = np.zeros(0, np.int64) if labels is None else labels
                told = *_told(emissions, steps), labels
                covary(*chain, *told, means, entry, *out)
            yield steps, out


def _told(part: Softmaxes, steps: slice) -> tuple[np.ndarray, ...]:
    """Probabilities, which of them each step has, and covariates."""
    return part.probs, part.kinds(steps), part.covariates(steps).numpy()
