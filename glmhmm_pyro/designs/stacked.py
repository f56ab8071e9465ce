"""Several designs side by side or end to end, each in a form of its own."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from glmhmm_pyro.designs.matrix import DesignMatrix
from glmhmm_pyro.designs.streamed import Streamed


class Stacked(Streamed):
    """The columns of several designs of the same steps, in order.

    Args:
        parts: at least one, all of one type on one device.

    Raises:
        ValueError: they are of different lengths, sessions, types or devices.
    """

    def __init__(self, parts: Sequence[DesignMatrix]):
        _check_alike([(len(part), part.dtype, part.device) for part in parts], "steps")
        first = parts[0]
        self.parts = tuple(parts)
        self.widths = [part.shape[1] for part in parts]
        self.shape = torch.Size([len(first), sum(self.widths)])
        self.dtype, self.device = first.dtype, first.device
        self.session_lengths = _common_sessions(parts)
        named = [part.names for part in parts if part.names is not None]
        whole = tuple(name for names in named for name in names)
        self.names = whole if len(whole) == self.shape[1] else None

    def read(self, steps: slice | Tensor) -> Tensor:
        """Rows of all parts, put together."""
        return torch.cat([part.read(steps) for part in self.parts], 1)

    def product(self, weights: Tensor) -> Tensor:
        """The sum of the parts' products."""
        pieces = weights.split(self.widths)
        found: Tensor = self.parts[0] @ pieces[0]
        for part, piece in zip(self.parts[1:], pieces[1:]):
            found += part @ piece
        return found

    def sums(self, residuals: Tensor) -> Tensor:
        """The parts' sums."""
        return torch.cat([residuals @ part for part in self.parts], 1)

    def columns(self, places: Sequence[int] | slice) -> DesignMatrix:
        """Some of the columns; of no other part is anything read."""
        numbers = range(self.shape[1])
        chosen = list(numbers[places] if isinstance(places, slice) else places)
        if chosen != sorted(chosen) or not chosen:
            return super().columns(chosen)
        parts, first = [], 0
        for part, width in zip(self.parts, self.widths):
            own = [place - first for place in chosen if 0 <= place - first < width]
            if own:
                parts.append(part if len(own) == width else part.columns(own))
            first += width
        return parts[0] if len(parts) == 1 else Stacked(parts)


class Joined(Streamed):
    """The steps of several designs that have the same columns, end to end.

    Args:
        parts: at least one, all of one type on one device.

    Raises:
        ValueError: they are of different widths, types or devices.
    """

    def __init__(self, parts: Sequence[DesignMatrix]):
        _check_alike([(p.shape[1], p.dtype, p.device) for p in parts], "columns")
        self.parts, self.sizes = tuple(parts), [len(part) for part in parts]
        self.shape = torch.Size([sum(self.sizes), parts[0].shape[1]])
        first = parts[0]
        self.dtype, self.device, self.names = first.dtype, first.device, first.names
        known = [part.session_lengths for part in parts]
        if all(known):
            self.session_lengths = tuple(chain.from_iterable(filter(None, known)))

    def read(self, steps: slice | Tensor) -> Tensor:
        """Rows of the parts in which they stand."""
        if isinstance(steps, slice):
            steps = torch.arange(*steps.indices(len(self)), device=self.device)
        found = torch.empty(
            len(steps), self.shape[1], dtype=self.dtype, device=self.device
        )
        first = 0
        for part in self.parts:
            own = (steps >= first) & (steps < first + len(part))
            if own.any():
                found[own] = part.read(steps[own] - first)
            first += len(part)
        return found

    def product(self, weights: Tensor) -> Tensor:
        """The parts' products."""
        return torch.cat([part @ weights for part in self.parts])

    def sums(self, residuals: Tensor) -> Tensor:
        """The sum of the parts' sums."""
        pieces = residuals.split(self.sizes, 1)
        found: Tensor = pieces[0] @ self.parts[0]
        for part, piece in zip(self.parts[1:], pieces[1:]):
            found = found + piece @ part
        return found


def _common_sessions(parts: Sequence[DesignMatrix]) -> tuple[int, ...] | None:
    """The sessions that parts are made for, where any is made for some.

    Raises:
        ValueError: they are made for different ones.
    """
    known = [p.session_lengths for p in parts if p.session_lengths is not None]
    for other in known:
        if other != known[0]:
            raise ValueError(
                "parts must be made for the same sessions, got lengths "
                f"{list(known[0])!r:.80} and {list(other)!r:.80}; give all of them the "
                "lengths of the data"
            )
    return known[0] if known else None


def _check_alike(
    found: Sequence[tuple[int, torch.dtype, torch.device]], what: str
) -> None:
    """Raise a ValueError if parts are of several sizes, types or devices."""
    number, dtype, device = found[0]
    for other in found[1:]:
        if other != found[0]:
            raise ValueError(
                f"parts must all have {number} {what} in {dtype} on {device}, got "
                f"{other[0]} in {other[1]} on {other[2]}; convert them by to(...)"
            )
