"""Many passes over one chain: what does not change is prepared once, memory used again.

A sampler evaluates thousands of potentials of the same shapes. Of a short chain the
recursion takes a hundredth of what checks, plans and fresh memory around it take.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.chain import compiled
from glmhmm_pyro.chain.compiled import Array


class Passes:
    """Log marginal and expected counts of one chain at many potentials, on the CPU.

    Args:
        out: where counts go, in the shapes of the initial (sessions|1, states),
            transition (steps|1, states, states) and emission (steps, states)
            potentials: float64, contiguous.
        lengths: number of steps of every session.
        weights: how often every session counts, shape (sessions,); once by default.

    Attributes:
        log_marginals: of all sessions at the last potentials, shape (sessions,).

    Example:
        >>> out = np.empty((1, 2)), np.empty((1, 2, 2)), np.empty((3, 2))
        >>> passes = Passes(out, torch.tensor([3]))
        >>> total = passes(np.zeros((1, 2)), np.zeros((1, 2, 2)), np.zeros((3, 2)))
        >>> print(round(np.exp(total)), out[0])  # 2 ** 3 paths
        8 [[0.5 0.5]]
    """

    def __init__(
        self,
        out: tuple[Array, Array, Array],
        lengths: Tensor,
        weights: Tensor | None = None,
    ):
        states = out[2].shape[-1]
        self.work = compiled.plan(torch.Size(), lengths, states)
        self.pieces = self.work.pieces
        sessions = len(lengths)
        self.weights = np.ones(sessions) if weights is None else weights.numpy()
        self.log_marginals = np.empty(sessions)
        self.initial, self.transition, self.emission = out
        # What an axis of size 1 gathers is kept apart by piece, added in their order.
        pieces = len(self.work.ranges)
        self.by_piece = [
            np.empty((pieces, *where.shape)) if len(where) == 1 else where[None]
            for where in out[:2]
        ]

    def __call__(
        self,
        initial: Array,
        transition: Array,
        emission: Array,
        again: Callable[[], tuple[Array, Array]] | None = None,
    ) -> float:
        """Log marginal of all sessions, and their counts, each weighted by its session.

        Args:
            initial, transition, emission: float64 potentials, contiguous.
            again: makes ``transition`` and ``emission`` as logarithms, if they are
                half-steps that are exponentiated and emissions in the memory of counts.
        """
        entries, moves = self.by_piece
        entries[:] = 0.0
        if len(transition) == 1:
            moves[:] = 0.0
        calls = self._calls(initial, transition, emission)
        if again is not None:
            calls = [(*call, True) for call in calls]
        if len(calls) == 1:
            compiled.counted(*calls[0])
        else:
            self.work.run(compiled.counted, calls)
        if again is not None and np.isnan(self.log_marginals).any():
            self.work.run(compiled.count_lost, self._calls(initial, *again()))
        for gathered, out in zip(self.by_piece, (self.initial, self.transition)):
            if len(out) == 1:
                gathered.sum(0, out=out)
        return float(self.log_marginals @ self.weights)

    def _calls(self, initial: Array, transition: Array, emission: Array) -> list[tuple]:
        """Arguments of the kernel by piece."""
        entries, moves = self.by_piece
        return [
            (
                initial,
                transition,
                emission,
                self.work.offsets,
                first,
                last,
                self.weights,
                self.log_marginals,
                entries[min(piece, len(entries) - 1)],
                moves[min(piece, len(moves) - 1)],
                self.emission,
            )
            for _, piece, first, last in self.pieces
        ]
