"""Many passes over one chain: what does not change is prepared once, memory used again.

A sampler evaluates thousands of potentials of the same shapes. Of a short chain the
recursion takes a hundredth of what checks, plans and fresh memory around it take.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.chain import compiled
from glmhmm_pyro.chain.compiled import Array


class Passes:
    """Log marginal and expected counts of one chain at many potentials, on the CPU.

    Args:
        shapes: of the initial (sessions|1, states), transition (steps|1, states,
            states) and emission (steps, states) potentials.
        lengths: number of steps of every session.
        weights: how often every session counts, shape (sessions,); once by default.

    Example:
        >>> import torch
        >>> passes = Passes([(1, 2), (1, 2, 2), (3, 2)], torch.tensor([3]))
        >>> total, (initial, transition, emission) = passes(
        ...     np.zeros((1, 2)), np.zeros((1, 2, 2)), np.zeros((3, 2))
        ... )
        >>> print(round(np.exp(total)), initial)  # 2 ** 3 paths
        8 [[0.5 0.5]]
    """

    def __init__(
        self,
        shapes: list[tuple[int, ...]],
        lengths: Tensor,
        weights: Tensor | None = None,
    ):
        states = shapes[2][-1]
        self.work = compiled.plan(torch.Size(), lengths, states)
        self.kernel = compiled.kernel_of(shapes[1][0])
        self.states = compiled.length_of(states)
        sessions = len(lengths)
        self.weights = np.ones(sessions) if weights is None else weights.numpy()
        self.totals = np.empty(sessions)
        gathers = [shape[0] == 1 for shape in shapes[:2]]
        self.initial, self.transition = (
            np.zeros((len(self.work.ranges) if gathered else 1, *shape))
            for gathered, shape in zip(gathers, shapes)
        )
        self.emission = np.empty(shapes[2])

    def __call__(
        self, initial: Array, transition: Array, emission: Array
    ) -> tuple[float, tuple[Array, Array, Array]]:
        """Log marginal of all sessions, and counts in memory that the next call uses.

        Args:
            initial, transition, emission: float64 potentials, contiguous.
        """
        self.initial[:] = 0.0
        if len(transition) == 1:
            self.transition[:] = 0.0
        most = len(self.initial) - 1, len(self.transition) - 1

        def task(_: int, piece: int, first: int, last: int) -> None:
            self.kernel(
                self.states,
                initial,
                transition,
                emission,
                self.work.offsets,
                first,
                last,
                self.weights,
                self.totals,
                self.initial[min(piece, most[0])],
                self.transition[min(piece, most[1])],
                self.emission,
            )

        self.work.run(task)
        initial, transition = (
            by_piece[0] if len(by_piece) == 1 else by_piece.sum(0)
            for by_piece in (self.initial, self.transition)
        )
        counts = initial, transition, self.emission
        return float(self.totals @ self.weights), counts
