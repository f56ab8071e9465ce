"""Products of a tall matrix and few columns, which libraries of matrices are slow at.

Compiled loops over eight rows at once, so that what belongs to a column is read once
for all of them; ``benchmarks/products.py`` compares them with torch's and numpy's.
Every column is computed by itself: it has the same bits whichever others there are.
Long products are made of pieces in threads, always the same ones, whatever the number
of threads.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.chain.compiler import compiled
from glmhmm_pyro.concurrency import in_threads

# Of fewer features than this a product is too short to be worth compiling a loop for,
# of more columns it is not thin.
_LEAST_FEATURES, _MOST_COLUMNS = 48, 32

# Rows of a piece.
_PIECE = 1 << 13


def multiply(rows: Tensor, weights: Tensor, out: Tensor) -> None:
    """Put ``rows @ weights`` into a contiguous ``out``; no graph is kept."""
    if not _is_thin(rows, weights.shape[1]):
        torch.mm(rows, weights, out=out)
        return
    by_column, found = _array(weights.T), out.numpy()
    numbers = rows.numpy()
    pieces = _pieces(len(rows))
    list(in_threads(_scores, ((numbers[at], by_column, found[at]) for at in pieces)))


def add_sums(residuals: Tensor, rows: Tensor, out: Tensor) -> None:
    """Add ``residuals @ rows`` to ``out``; no graph is kept."""
    if not _is_thin(rows, len(residuals)):
        out.addmm_(residuals, rows)
        return
    by_row, numbers = _array(residuals.T), rows.numpy()
    pieces = ((by_row[at], numbers[at]) for at in _pieces(len(rows)))
    for part in in_threads(_sums, pieces):
        out += torch.from_numpy(part)


def _is_thin(rows: Tensor, columns: int) -> bool:
    """Whether the compiled loops serve, and are faster."""
    fits = rows.shape[1] >= _LEAST_FEATURES and columns <= _MOST_COLUMNS
    is_plain = rows.dtype == torch.float64 and rows.device.type == "cpu"
    return fits and is_plain and rows.is_contiguous()


def _array(numbers: Tensor) -> np.ndarray:
    return numbers.detach().contiguous().numpy()


def _pieces(steps: int) -> Iterator[slice]:
    return (slice(first, first + _PIECE) for first in range(0, steps, _PIECE))


@compiled
def _scores(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """``out[t, p] = rows[t] @ weights[p]``; rows and weights lie side by side."""
    steps, features = rows.shape
    whole = steps - steps % 8
    for t in range(0, whole, 8):
        for p in range(len(weights)):
            a = b = c = d = e = f = g = h = 0.0
            for k in range(features):
                w = weights[p, k]
                a += rows[t, k] * w
                b += rows[t + 1, k] * w
                c += rows[t + 2, k] * w
                d += rows[t + 3, k] * w
                e += rows[t + 4, k] * w
                f += rows[t + 5, k] * w
                g += rows[t + 6, k] * w
                h += rows[t + 7, k] * w
            out[t, p], out[t + 1, p], out[t + 2, p], out[t + 3, p] = a, b, c, d
            out[t + 4, p], out[t + 5, p], out[t + 6, p], out[t + 7, p] = e, f, g, h
    for t in range(whole, steps):
        for p in range(len(weights)):
            total = 0.0
            for k in range(features):
                total += rows[t, k] * weights[p, k]
            out[t, p] = total


@compiled
def _sums(residuals: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``residuals.T @ rows``."""
    steps, features = rows.shape
    out = np.zeros((residuals.shape[1], features))
    whole = steps - steps % 8
    for t in range(0, whole, 8):
        for p in range(len(out)):
            a, b, c = residuals[t, p], residuals[t + 1, p], residuals[t + 2, p]
            d, e, f = residuals[t + 3, p], residuals[t + 4, p], residuals[t + 5, p]
            g, h = residuals[t + 6, p], residuals[t + 7, p]
            for k in range(features):
                first = a * rows[t, k] + b * rows[t + 1, k]
                second = c * rows[t + 2, k] + d * rows[t + 3, k]
                third = e * rows[t + 4, k] + f * rows[t + 5, k]
                fourth = g * rows[t + 6, k] + h * rows[t + 7, k]
                out[p, k] += (first + second) + (third + fourth)
    for t in range(whole, steps):
        for p in range(len(out)):
            residual = residuals[t, p]
            for k in range(features):
                out[p, k] += residual * rows[t, k]
    return out
