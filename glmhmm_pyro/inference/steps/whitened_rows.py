"""Rows of parameters in which a joint M-step is searched: moves of one size."""

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.components.whitened_columns import WhitenedWeights
from glmhmm_pyro.inference.steps.blocks import PackedRows, is_identity
from glmhmm_pyro.optim.preconditioning import Evaluation, Objective


class WhitenedRows:
    """Moves of packed rows, from numbers of one size.

    Args:
        blocks: packer of one row for every parameter set.
        prefix: what names of sites begin with.
        whitening: of the component.
        scale: what objectives are multiplied by, so that numbers of 1 change the
            objective that is searched by about a half.
    """

    def __init__(
        self, blocks: PackedRows, prefix: str, whitening: WhitenedWeights, scale: float
    ):
        self.blocks, self.prefix, self.whitening = blocks, prefix, whitening
        self.size = scale**-0.5

    @classmethod
    def of(
        cls, blocks: PackedRows, prefix: str, whitening: WhitenedWeights, scale: float
    ) -> "WhitenedRows | None":
        """Those of a component; ``None`` where some weights are held, or known."""
        known = [blocks.transforms.get(prefix + name) for name in whitening.names]
        whole = all(given is not None and is_identity(given) for given in known)
        return cls(blocks, prefix, whitening, scale) if whole else None

    def moves(self, numbers: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Moves of the rows (some, numbers) of these sets, of the same shape."""
        found: np.ndarray = self._moved(torch.from_numpy(numbers), which).numpy()
        return found

    def seen(self, objective: Objective, start: np.ndarray) -> Objective:
        """An objective as a function of the numbers, which are 0 at the start.

        Args:
            objective: of rows.
            start: rows of all sets.
        """

        def moved(points: np.ndarray, which: np.ndarray) -> Evaluation:
            leaf = torch.from_numpy(points.copy()).requires_grad_()
            moves = self._moved(leaf, which)
            at = start[which] + moves.detach().numpy()
            values, gradient = objective(at, which)
            along = (moves * torch.from_numpy(gradient)).sum()
            (slope,) = torch.autograd.grad(along, leaf)
            return values, slope.numpy()

        return moved

    def _moved(self, rows: Tensor, which: np.ndarray) -> Tensor:
        pieces, start = {}, 0
        for name, shape in self.blocks.shapes.items():
            own = rows[:, start : start + shape.numel()]
            pieces[name.removeprefix(self.prefix)] = own.reshape(-1, *shape)
            start += shape.numel()
        for name in self.whitening.names:
            pieces[name] = self.size * pieces[name]
        moves = self.whitening(pieces, torch.from_numpy(which))
        return torch.cat([moves[name].flatten(1) for name in pieces], -1)
