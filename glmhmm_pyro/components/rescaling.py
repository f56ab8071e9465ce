"""Internal units of a fit: covariates and outputs of mean 0 and spread 1.

Whether a duration is in days or in seconds, counted from today or from 1970, is a
matter of writing. Numbers that differ by ten powers of ten cost an optimiser all its
digits, so a fit takes columns by their own scales, and about their own means where a
constant column, or a free baseline, takes up what that adds to a predictor.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.priors.affine import Affine

if TYPE_CHECKING:
    from glmhmm_pyro.components.reader import CovariateReader

# A column that varies by less than this part of its size does not, but for rounding.
_ROUNDING = 1e-13


class Together(NamedTuple):
    """Columns whose weights stand in one site, and what may take up their means.

    Attributes:
        columns: their numbers.
        takers: numbers of columns of which one that is constant takes them up.
    """

    columns: list[int]
    takers: list[int]

    @classmethod
    def alone(cls, columns: Iterable[int]) -> "Together":
        """Columns of which one takes up the means of the others."""
        return cls([*columns], [*columns])

    def among(self, numbers: Sequence[int]) -> "Together":
        """The same columns by these numbers."""
        return Together(*([numbers[i] for i in part] for part in self))


class ColumnUnits(NamedTuple):
    r"""Units of the columns of a design.

    .. math:: x'_j = (x_j - m_j) / s_j

    Attributes:
        scale: s, shape (features,); the value of a constant column.
        centre: m, 0 for columns that are left where they are, same shape.
        constants: which columns are the same, and not 0, in all rows, same shape.
    """

    scale: Tensor
    centre: Tensor
    constants: Tensor

    @classmethod
    def of(
        cls, design: DesignMatrix, readers: Sequence[Together | None]
    ) -> "ColumnUnits":
        """Units in which columns have size 1, and mean 0 where all readers allow it.

        Args:
            design: rows that count, shape (rows, features).
            readers: the columns that components read which take up means by a constant
                column, ``None`` for one that must have all as they are.
        """
        if any(reader is None for reader in readers) or not design.total_rows:
            return cls.none(design.shape[1])
        design = design.to(torch.float64)
        low, high = design.extent()
        largest = torch.maximum(low.abs(), high.abs())
        constants = (low == high) & (largest > 0)
        size = torch.where(largest > 0, largest, 1.0)
        shares = design.moved(0.0, size)
        mean = shares.means()
        spread = shares.moved(mean, 1.0).means(power=2).sqrt()
        moves = spread > _ROUNDING
        for reader in filter(None, readers):
            if not constants[reader.takers].any():
                moves[reader.columns] = False
        root = shares.means(power=2).sqrt()
        scale = size * torch.where(moves, spread, torch.where(root > 0, root, 1.0))
        return cls(
            torch.where(constants, low, scale),
            torch.where(moves, size * mean, 0.0),
            constants,
        )

    @classmethod
    def none(cls, features: int) -> "ColumnUnits":
        """Columns as they are."""
        ones = torch.ones(features, dtype=torch.float64)
        return cls(ones, torch.zeros_like(ones), ones == 0)

    def kept(self, columns: Sequence[int]) -> "ColumnUnits":
        """These units with some columns left in the user's."""
        ends = (self.scale, 1.0), (self.centre, 0.0), (self.constants, False)
        places = torch.tensor(columns, dtype=torch.long)
        return ColumnUnits(*(value.index_fill(0, places, end) for value, end in ends))

    @property
    def constant(self) -> int | None:
        """Number of the first constant column, if there is one."""
        found = self.constants.nonzero().flatten().tolist()
        return found[0] if found else None

    @property
    def are_as_given(self) -> bool:
        """Whether the design is the user's own."""
        return bool((self.scale == 1).all() and (self.centre == 0).all())

    def chosen(self, columns: Sequence[int]) -> "ColumnUnits":
        """Those of some columns alone."""
        return ColumnUnits(*(value[list(columns)] for value in self))

    def __call__(self, design: DesignMatrix) -> DesignMatrix:
        """The design in these units."""
        return design.moved(self.centre, self.scale)

    def affine(
        self, factor: Tensor | None = None, shift: Tensor | float = 0.0
    ) -> Affine:
        """From weights of the columns in these units to the user's.

        Args:
            factor: by which predictors are smaller than the user's, broadcasts to
                weights (*rows, 1).
            shift: by which they are less, after that, same shape; 0 where no column is
                constant.
        """
        scale = (1.0 if factor is None else factor) / self.scale
        column, offset = self.constant, torch.zeros_like(self.scale)
        if column is None:
            return Affine(scale)
        offset[column] = 1 / self.scale[column]
        shares = self.centre / self.scale if self.centre.any() else None
        return Affine(scale, shift * offset, shares, column)


class Gain(NamedTuple):
    """What is added to a parameter in the user's units, linear in another parameter.

    Attributes:
        source: the other parameter, by attribute.
        linear: from the user's values of that, (*batch, *shape), to the difference.
        column: number, along the last axis, of what gains, whose prior must be flat;
            ``None`` for all, where that is known.
        centred: numbers of the columns whose means that takes up, among those read.
    """

    source: str
    linear: Callable[[Tensor], Tensor]
    column: int | None = None
    centred: Sequence[int] = ()


class OutputUnits(NamedTuple):
    r"""Units of a family's emissions, y' = (y - b) / c, and of its parameters.

    Attributes:
        scale: c, shape (outputs,).
        centre: b, same shape.
        maps: of the family's parameters, from the fit's own values to the user's.
    """

    scale: Tensor
    centre: Tensor
    maps: dict[str, Affine]

    def __call__(self, values: Tensor) -> Tensor:
        """Emissions (steps,) or (steps, outputs) in these units."""
        columns = values.to(torch.float64).reshape(len(values), -1)
        return ((columns - self.centre) / self.scale).reshape(values.shape)


def is_as_defined(
    component: "nn.Module | CovariateReader", kind: type, *methods: str
) -> bool:
    """Whether a component has not overridden these methods of a class.

    What holds for the package's own methods need not hold for a user's.
    """
    return all(getattr(type(component), m) is getattr(kind, m) for m in methods)


def logits_as_defined(component: "nn.Module | CovariateReader", kind: type) -> bool:
    """Whether a part of the chain has the log-probabilities that a class defines."""
    methods = ("forward", "logits", "log_probs", "design")
    return is_as_defined(component, kind, *methods)
