"""Units and parameters as parts of a program's vector."""

from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.inference.marginal.unit_layout import UnitLayout
from glmhmm_pyro.inference.program.coordinates import Coordinates, Params


class VectorParts(NamedTuple):
    """Where the numbers of units, w, and the parameters, v, stand in a vector.

    Attributes:
        layout: of the latents in w.
        names: of the latents.
        coordinates: of the vector.
        places: of the parameters in it.
    """

    layout: UnitLayout
    names: tuple[str, ...]
    coordinates: Coordinates
    places: Tensor

    @classmethod
    def of(
        cls, coordinates: Coordinates, layout: UnitLayout, names: tuple[str, ...]
    ) -> "VectorParts":
        """Those of a program's vector."""
        numbers = torch.arange(coordinates.size)
        pieces = coordinates.slices.items()
        own = [numbers[piece] for name, piece in pieces if name not in names]
        return cls(layout, names, coordinates, torch.cat([numbers[:0], *own]))

    def joined(self, w: Tensor, v: Tensor) -> Tensor:
        """Vectors (*batch, size), linear in units (*batch, units, size) and in v."""
        found = v.new_zeros(*v.shape[:-1], self.coordinates.size)
        found[..., self.places] = v
        for name, value in self.layout.latents(w).items():
            found[..., self.coordinates.slices[name]] = value.flatten(w.dim() - 2)
        return found

    def apart(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """What :meth:`joined` makes a vector (size,) of."""
        return self.layout.packed(self._latents(vector)), vector[self.places]

    def slopes_apart(self, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes by units and by parameters, from those by the vector (size,)."""
        return self.layout.slopes(self._latents(slope)), slope[self.places]

    def _latents(self, vector: Tensor) -> Params:
        slices, shapes = self.coordinates.slices, self.coordinates.shapes
        return {n: vector[slices[n]].reshape(shapes[n]) for n in self.names}
