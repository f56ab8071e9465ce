"""Labels of several outputs that are independent given the state."""

from collections.abc import Sequence

import torch
from pyro.distributions import Independent, TorchDistribution
from torch import Tensor

from glmhmm_pyro.distributions.output import Output


class LabelsApart(Independent):
    """Labels side by side, along the last axis of a value.

    Args:
        single: a Bernoulli or a categorical distribution, batch shape (..., outputs).
        names: of the outputs.
    """

    def __init__(self, single: TorchDistribution, names: Sequence[str]):
        super().__init__(single, 1)
        self.names = tuple(names)

    def expand(
        self, batch_shape: torch.Size, _instance: object = None
    ) -> "LabelsApart":
        """The same with other batches in front."""
        shape = torch.Size(batch_shape) + self.event_shape
        return LabelsApart(self.base_dist.expand(shape), self.names)

    def outputs(self, value: Tensor, mask: Tensor | None) -> dict[str, Output]:
        """Every output with its values and its mask."""
        single, axis = self.base_dist, len(self.batch_shape)
        by_output = mask is not None and mask.dim() > 1
        found = {}
        for column, name in enumerate(self.names):
            logits = single.logits.select(axis, column)
            own = type(single)(logits=logits, validate_args=False)
            seen = mask[..., column] if mask is not None and by_output else mask
            found[name] = Output(own, value[..., column], seen, column=column)
        return found
