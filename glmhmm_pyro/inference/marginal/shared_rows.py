r"""Derivatives by the weights of units, and by those of states that all units share.

Given the shared weights s, units are what they are without them. Second derivatives by
s and all others are as many directions more; with those between units of
:mod:`~glmhmm_pyro.inference.marginal.curvatures` they are all there are. Third ones go
by the covariance V in two parts,

.. math:: V = V_{\cdot s} V_{ss}^{-1} V_{s \cdot} + V_{\mid s},

the first of which is a sum over directions in which s moves and units follow; the
second is the covariance of the units, s being held.
"""

import torch
from torch import Tensor

from glmhmm_pyro.inference.marginal.curvatures import ByUnit


class SharedBesideUnits:
    """Derivatives where the last rows are of what all units share.

    Second derivatives are those of all rows, (rows, size, rows, size), and so is the
    covariance that third ones are taken with.

    Args:
        units: derivatives by the rows of units, the others being held.
    """

    is_cheap, is_apart = False, False

    def __init__(self, units: ByUnit):
        self.units, self.layout = units, units.problem.layout
        self.value, self.slopes, self.mixed = units.value, units.slopes, units.mixed
        read = self.layout.is_read.clone()
        read[: units.rows] = False
        self.places = read.flatten().nonzero()[:, 0]

    def hessian(self, w: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value, slope by all rows, and second derivatives by all pairs of these."""
        value, slope, own = self.units.hessian(w, v)
        rows = self.units.rows
        whole = w.new_zeros(*w.shape, *w.shape)
        if self.units.is_apart:
            whole[range(rows), :, range(rows)] = own
        else:
            whole[:rows, :, :rows] = own
        directions = torch.eye(w.numel(), dtype=w.dtype)[self.places]
        columns = self.units.bends_along(w, v, directions.reshape(-1, *w.shape))
        square, columns = whole.reshape(w.numel(), -1), columns.flatten(1)
        square[self.places], square[:, self.places] = columns, columns.T
        corner = columns[:, self.places]
        square[self.places[:, None], self.places] = (corner + corner.T) / 2
        return value, slope, square.reshape(*w.shape, *w.shape)

    def third(self, w: Tensor, v: Tensor, within: Tensor) -> tuple[Tensor, Tensor]:
        r"""Slopes of :math:`\tfrac12 \mathrm{tr}(V H)` by all rows and parameters."""
        rows = self.units.rows
        square = within.reshape(w.numel(), -1)
        by_shared = square[self.places]
        root = torch.linalg.cholesky(by_shared[:, self.places])
        moves = torch.linalg.solve_triangular(root, by_shared, upper=False)
        shared = self.units.third_along(w, v, moves.reshape(-1, *w.shape))
        left = (square - moves.T @ moves).reshape(within.shape)[:rows, :, :rows]
        if self.units.is_apart:
            left = left[range(rows), :, range(rows)]
        by_rows, by_parameter = self.units.third(w, v, left)
        return shared[0] + by_rows, shared[1] + by_parameter
