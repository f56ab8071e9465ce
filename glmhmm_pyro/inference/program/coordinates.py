"""The named sites of a model as one vector of unconstrained numbers.

MAP, Laplace, variational inference and NUTS move through this vector; users see values
by site. Positive numbers are exponentials, probabilities are broken sticks: the
transforms of ``torch.distributions.biject_to``.
"""

import math
from collections.abc import Mapping

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import biject_to

from glmhmm_pyro.broadcasting import unconstrained_shape
from glmhmm_pyro.priors.filling import is_real, is_unbounded

Params = dict[str, Tensor]

# Unconstrained number of a value at the border of its support: exp(-35) from it. From
# 37 on, 1 minus a probability is rounded to 0 or cut off, and with it its derivatives.
_BORDER = 35.0


class Coordinates:
    """Packs values of sites into a vector, and back.

    Args:
        priors: distribution of every site, by name; their supports and shapes count.

    Attributes:
        transforms: from unconstrained numbers to values, by site.
        shapes: of the unconstrained numbers, by site.
        slices: where each site stands in the vector.
        size: length of the vector.
        is_real: which sites have all numbers for values, so that these are their
            unconstrained ones, by site.
        is_unbounded: which sites have all numbers for values, but for those held.
    """

    def __init__(self, priors: Mapping[str, TorchDistribution]):
        self.transforms = {n: biject_to(prior.support) for n, prior in priors.items()}
        self.shapes = {
            name: unconstrained_shape(self.transforms[name], prior.shape())
            for name, prior in priors.items()
        }
        self.is_real = {n: is_real(prior) for n, prior in priors.items()}
        self.is_unbounded = {n: is_unbounded(prior) for n, prior in priors.items()}
        self.slices: dict[str, slice] = {}
        self.size = 0
        for name, shape in self.shapes.items():
            self.slices[name] = slice(self.size, self.size + shape.numel())
            self.size += shape.numel()

    def pack(self, params: Params) -> Tensor:
        """Vector (*batch, size) in float64 from values (*batch, *shape).

        Values at the border of their support, such as a probability of 0, are moved
        inside, as their unconstrained numbers would be infinite or overflow.
        """
        pieces = [torch.zeros(0, dtype=torch.float64)]
        for name, transform in self.transforms.items():
            free = transform.inv(params[name]).to(torch.float64)
            free = torch.nan_to_num(free, posinf=_BORDER, neginf=-_BORDER)
            if not self.is_unbounded[name]:
                free = free.clamp(-_BORDER, _BORDER)
            batch = free.shape[: free.dim() - len(self.shapes[name])]
            pieces.append(free.reshape(batch + (-1,)))
        return torch.cat(pieces[1:] or pieces, -1)

    def unpack(self, vector: Tensor) -> Params:
        """Values (*batch, *shape) of every site from a vector (*batch, size)."""
        return {
            name: transform(self._free(vector, name))
            for name, transform in self.transforms.items()
        }

    def log_jacobian(self, vector: Tensor) -> Tensor:
        """Log determinant of the Jacobian of the map to the values, shape (*batch,).

        Added to the log density of the values it gives that of the vector.
        """
        return self.unpack_with_jacobian(vector)[1]

    def unpack_with_jacobian(self, vector: Tensor) -> tuple[Params, Tensor]:
        """:meth:`unpack` and :meth:`log_jacobian`, every transform computed once."""
        params, total = {}, vector.new_zeros(vector.shape[:-1])
        for name, transform in self.transforms.items():
            free = self._free(vector, name)
            params[name] = transform(free)
            gain = transform.log_abs_det_jacobian(free, params[name])
            total = total + gain.reshape(vector.shape[:-1] + (-1,)).sum(-1)
        return params, total

    def names(self) -> list[str]:
        """A name for every number: the site's, and an index where it has several."""
        return [
            name if not shape else f"{name}[{', '.join(map(str, _index(i, shape)))}]"
            for name, shape in self.shapes.items()
            for i in range(shape.numel())
        ]

    def _free(self, vector: Tensor, name: str) -> Tensor:
        piece = vector[..., self.slices[name]]
        return piece.reshape(vector.shape[:-1] + self.shapes[name])


def _index(position: int, shape: torch.Size) -> list[int]:
    """Indices along every axis of the number at a position of the flattened array."""
    index = []
    for i in range(len(shape)):
        below = math.prod(shape[i + 1 :])
        index.append(position // below % shape[i])
    return index
