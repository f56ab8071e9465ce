"""A design of lagged signals, of which the signals alone are kept."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from glmhmm_pyro.arguments import whole_number
from glmhmm_pyro.designs.streamed import Streamed

# Steps of one piece of the signals that stays in the cache.
_PIECE = 2048

# From so many lags on products by Fourier transforms are faster than those by shifts.
_MANY_LAGS = 24


class Lagged(Streamed):
    r"""Signals at several lags, through filters that all signals share.

    .. math:: x_{t, (s, j)} = \sum_l B_{lj} \, s_{t-l},
        \quad s = 0 \text{ before the session}

    The columns of one signal stand together. Rows are made of stretches of the signals
    as they are read; the lagged matrix is never there.

    Args:
        signals: shape (steps, signals), sessions end to end.
        lengths: steps of every session.
        num_lags: number of lags.
        first_lag: the first of them, in steps.
        filters: B, shape (lags, filters); by default each lag is a column.
        names: of the columns, signal after signal.

    Example:
        >>> import torch
        >>> from glmhmm_pyro.designs import Lagged
        >>> Lagged(torch.tensor([[1.0], [2.0], [3.0]]), [2, 1], num_lags=2).dense()
        tensor([[1., 0.],
                [2., 1.],
                [3., 0.]])
    """

    def __init__(
        self,
        signals: Tensor,
        lengths: Sequence[int] | Tensor,
        num_lags: int,
        first_lag: int = 0,
        filters: Tensor | None = None,
        names: tuple[str, ...] | None = None,
    ):
        num_lags = whole_number("num_lags", num_lags, 1)
        first_lag = whole_number("first_lag", first_lag, 0)
        lengths = _checked(signals, lengths, num_lags, filters)
        self.num_lags, self.first_lag = num_lags, first_lag
        self.filters, self.names = filters, names
        self.session_lengths = tuple(lengths.tolist())
        self.dtype, self.device = signals.dtype, signals.device
        steps, self.num_signals = signals.shape
        own = num_lags if filters is None else filters.shape[1]
        self.shape = torch.Size([steps, own * self.num_signals])
        # Sessions stand apart by the longest lag, and time runs backwards, so that a
        # row is a window on the signals.
        reach = first_lag + num_lags - 1
        session = torch.arange(len(lengths), device=signals.device)
        gaps = session.repeat_interleave(lengths) * reach
        whole = steps + len(lengths) * reach
        self.places = whole - 1 - reach - gaps - torch.arange(steps, device=gaps.device)
        padded = signals.new_zeros(self.num_signals, whole + first_lag)
        padded[:, self.places] = signals.T
        self.padded = padded

    def read(self, steps: slice | Tensor) -> Tensor:
        """Windows on the signals, through the filters."""
        places = self.places[steps] + self.first_lag
        windows = self.padded.unfold(1, self.num_lags, 1).permute(1, 0, 2)[places]
        if self.filters is not None:
            windows = windows @ self.filters
        return windows.reshape(len(windows), -1)

    def product(self, weights: Tensor) -> Tensor:
        """The signals correlated with what weights make of the filters."""
        columns = weights.shape[1]
        kernel = weights.reshape(self.num_signals, -1, columns)
        if self.filters is not None:
            kernel = torch.einsum("lj,sjc->slc", self.filters.to(weights), kernel)
        way = _transformed if self.num_lags >= _MANY_LAGS else _shifted
        return way(self.padded[:, self.first_lag :], kernel)[self.places]

    def sums(self, residuals: Tensor) -> Tensor:
        """The signals correlated with residuals, then through the filters."""
        signals = self.padded[:, self.first_lag :]
        spread = residuals.new_zeros(len(residuals), signals.shape[1])
        spread[:, self.places] = residuals
        way = _transformed_sums if self.num_lags >= _MANY_LAGS else _shifted_sums
        found = way(signals, spread, self.num_lags)
        if self.filters is not None:
            found = torch.einsum("lj,slr->sjr", self.filters.to(residuals), found)
        return found.flatten(0, 1).T


def _shifted(signals: Tensor, kernel: Tensor) -> Tensor:
    """Correlations (times, columns): all lags of a piece, then shifted and added.

    Args:
        signals: shape (signals, times).
        kernel: shape (signals, lags, columns).
    """
    number, lags, columns = kernel.shape
    times = signals.shape[1]
    by_signal = kernel.reshape(number, -1)
    found = signals.new_zeros(times, columns)
    for start in range(0, times, _PIECE):
        piece = signals[:, start : start + _PIECE + lags - 1]
        at_lags = (piece.T @ by_signal).reshape(-1, lags, columns)
        own = found[start : start + _PIECE]
        for lag in range(lags):
            late = at_lags[lag : lag + len(own), lag]
            own[: len(late)] += late
    return found


def _shifted_sums(signals: Tensor, residuals: Tensor, lags: int) -> Tensor:
    """Correlations (signals, lags, sets): residuals at all lags, piece by piece.

    Args:
        signals: shape (signals, times).
        residuals: shape (sets, times).
        lags: number of lags.
    """
    windows = pad(residuals, (lags - 1, 0)).unfold(1, lags, 1).permute(1, 2, 0)
    found = signals.new_zeros(len(signals), lags * len(residuals))
    for start in range(0, signals.shape[1], _PIECE):
        piece = slice(start, start + _PIECE)
        found.addmm_(signals[:, piece], windows[piece].flatten(1))
    return found.reshape(len(signals), lags, -1).flip(1)


def _transformed(signals: Tensor, kernel: Tensor) -> Tensor:
    """The same as :func:`_shifted`, by Fourier transforms of pieces that overlap."""
    lags, times = kernel.shape[1], signals.shape[1]
    size, step = _transform_sizes(lags)
    by_frequency = torch.fft.rfft(kernel, size, dim=1).conj().transpose(0, 1)
    found = signals.new_empty(times, kernel.shape[2])
    for start in range(0, times, step):
        piece = torch.fft.rfft(signals[:, start : start + size], size)
        product = (piece.T[:, None] @ by_frequency).squeeze(1)
        own = found[start : start + step]
        own.copy_(torch.fft.irfft(product, size, dim=0)[: len(own)])
    return found


def _transformed_sums(signals: Tensor, residuals: Tensor, lags: int) -> Tensor:
    """The same as :func:`_shifted_sums`, by Fourier transforms."""
    size, step = _transform_sizes(lags)
    total: Any = 0.0
    for start in range(0, signals.shape[1], step):
        piece = torch.fft.rfft(signals[:, start : start + size], size)
        own = torch.fft.rfft(residuals[:, start : start + step], size)
        total = total + piece.T[:, :, None] * own.T.conj()[:, None]
    return torch.fft.irfft(total, size, dim=0)[:lags].transpose(0, 1)


def _transform_sizes(lags: int) -> tuple[int, int]:
    """Length of transforms, and how many times of each hold all lags."""
    size = max(4096, 1 << (8 * lags - 1).bit_length())
    return size, size - lags + 1


def _checked(
    signals: Any, lengths: Any, num_lags: int, filters: Tensor | None
) -> Tensor:
    """The lengths of sessions, if signals and filters are such as go with them."""
    if not isinstance(signals, Tensor) or signals.dim() != 2:
        shape = tuple(getattr(signals, "shape", ()))
        raise ValueError(
            f"signals must be a tensor (steps, signals), got a {type(signals).__name__}"
            f" of shape {shape}; give such as torch.from_numpy(array), a single one as "
            "(steps, 1)"
        )
    found = torch.as_tensor(lengths, device=signals.device)
    if found.dim() != 1 or found.sum() != len(signals) or (found < 1).any():
        raise ValueError(
            f"lengths must be steps of every session, {len(signals)} in all as signals "
            f"have, got {found.tolist()!r:.80}; give those of the data"
        )
    if filters is not None and (filters.dim() != 2 or len(filters) != num_lags):
        raise ValueError(
            f"filters must have shape (lags, filters) of {num_lags} lags, got "
            f"{tuple(filters.shape)}; give a row for each lag"
        )
    return found
