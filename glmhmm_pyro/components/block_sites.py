"""Axes over which the parameters of a component fall apart, or get one more."""

from typing import Any

from torch import Tensor

from glmhmm_pyro.components.site import block_axes
from glmhmm_pyro.components.whitened_columns import WhitenedWeights
from glmhmm_pyro.sequences import Sequences


class HasBlocks:
    """Mixin of components: blocks of parameters, which M-steps take one by one.

    Attributes:
        blocks: name of the parameters' outermost axis if the M-step separates over it,
            or of several; ``None`` for one joint problem.
        sites: the declared parameters, by attribute name.
    """

    blocks: str | tuple[str, ...] | None = None
    sites: Any

    def separates(self) -> bool:
        """Whether the M-step falls into independent blocks, as declared."""
        axes = block_axes(self.blocks)
        return bool(axes) and all(
            site.axes[: len(axes)] == axes and site.is_product_over(len(axes))
            for site in self.sites.values()
        )

    def whitening(self, counts: Tensor, data: Sequences) -> WhitenedWeights | None:
        """Moves in which a joint M-step is searched; ``None`` for the values' own.

        Args:
            counts: that the M-step reads, with a leading axis of sets.
            data: the data set.
        """
        return None

    def widen(self, axis: str, size: int) -> None:
        """Give every parameter an axis more, before its own.

        Fast moves have one for slow states. Probabilities then have it, too, where
        those of several parameter sets have the axis of sets.

        Args:
            axis: its name.
            size: its size.
        """
        for name, site in self.sites.items():
            if axis not in site.axes:
                setattr(self, name, site.widened(axis, size))
        self.blocks = (axis, *block_axes(type(self).blocks))
