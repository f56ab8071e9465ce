"""Second derivatives of a log-likelihood by one pass over covariances of scores.

See :mod:`glmhmm_pyro.components.score_kernels`. A pass costs a few E-steps for however
many numbers, and products of matrices, their number squared, at every step.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.chain.tangent_kernels import origins_log
from glmhmm_pyro.components.score_kernels import covary
from glmhmm_pyro.components.tables import Softmaxes
from glmhmm_pyro.inference.steps.tabled import Tabled

# Numbers of the rows of steps that are multiplied together, and least such steps.
_TOGETHER, _LEAST_STEPS = 1 << 18, 32


class Scores(NamedTuple):
    """Derivatives of a log-likelihood by the numbers of all softmaxes, part by part.

    Attributes:
        parts: the softmaxes.
        slope: shape (numbers,).
        matrix: second derivatives, shape (numbers, numbers).
    """

    parts: list[Softmaxes]
    slope: Tensor
    matrix: Tensor


def scores_at(chain: Tabled, potentials: list[np.ndarray]) -> Scores | None:
    """Derivatives at the values that the chain's tables were last called with.

    ``None`` if a table is not made of softmaxes.

    Args:
        chain: of the model.
        potentials: what they gave.
    """
    softmaxes = [table.softmaxes() for table in chain.tables.values()]
    parts = [found for found in softmaxes if found is not None]
    if len(parts) < len(softmaxes):
        return None
    width = sum(part.size for part in parts) + 1
    first = parts[0].probs[0].size
    entry = np.zeros((first, width))
    sums = [
        torch.zeros(part.features, part.probs[0].size * width, dtype=torch.float64)
        for part in parts[1:]
    ]
    for steps, out in _row_stretches(chain, potentials, parts, entry, width):
        for total, part, rows in zip(sums, parts[1:], out):
            left = torch.from_numpy(rows).reshape(len(rows), -1)
            total.addmm_(part.covariates(steps).T, left)
    whole = [
        total.reshape(part.features, -1, width).transpose(0, 1).reshape(-1, width)
        for total, part in zip(sums, parts[1:])
    ]
    found = torch.cat([torch.from_numpy(entry), *whole])
    return Scores(parts, found[:, -1], found[:, :-1] + found[:, :-1].T)


def _row_stretches(
    chain: Tabled,
    potentials: list[np.ndarray],
    parts: list[Softmaxes],
    entry: np.ndarray,
    width: int,
) -> Iterator[tuple[slice, tuple[np.ndarray, np.ndarray]]]:
    """Stretches of steps with the rows of transitions and emissions there."""
    first, moves, labels = parts
    work, states = chain.passes[0].work, potentials[2].shape[1]
    offsets = work.offsets
    weights = np.repeat(chain.passes[0].weights, np.diff(offsets))
    begins = np.zeros(len(weights), bool)
    begins[offsets[:-1]] = True
    numbers = [part.probs[0].size for part in (moves, labels)]
    together = max(_LEAST_STEPS, _TOGETHER // (sum(numbers) * width))
    together = min(together, len(weights))
    buffers = [np.empty((together, number, width)) for number in numbers]
    kinds = np.zeros(0, np.int64) if labels.labels is None else labels.labels
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
            covary(
                begins[steps],
                weights[steps],
                origins[own],
                gamma[own],
                first.probs,
                moves.probs,
                moves.kinds(steps),
                moves.covariates(steps).numpy(),
                moves.has_reference,
                labels.probs,
                labels.kinds(steps),
                kinds,
                labels.covariates(steps).numpy(),
                means,
                entry,
                *out,
            )
            yield steps, (out[0], out[1])
