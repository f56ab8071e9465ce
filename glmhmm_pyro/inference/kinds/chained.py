"""Second derivatives by the unconstrained vector, by the chain rule from softmaxes.

The softmaxes' numbers are functions of the vector, most of them the identity. Their
own second derivatives, and those of priors and of the log volume, do not involve the
data and are left to automatic differentiation.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from glmhmm_pyro.components.tables import Softmaxes
from glmhmm_pyro.inference.program.coordinates import Coordinates, Params
from glmhmm_pyro.inference.program.evaluated import Curvature
from glmhmm_pyro.inference.steps.scores import Emitted, Scores
from glmhmm_pyro.inference.steps.tabled import PARTS


class ComponentNumbers:
    """The numbers of one component, as a function of its entries of the vector.

    Args:
        name: of the component.
        part: what has the numbers; those of given scores are entries of the vector.
        coordinates: of all sites.

    Attributes:
        place: which entries of the vector they depend on.
        is_linear: whether these are the numbers.
        size: how many numbers there are.
    """

    def __init__(self, name: str, part: Softmaxes | Emitted, coordinates: Coordinates):
        self.sites = [n for n in coordinates.slices if n.startswith(f"{name}.")]
        is_given = isinstance(part, Emitted)
        self.prefix, self.size = f"{name}.", part.size
        self.numbers = None if isinstance(part, Emitted) else part.numbers
        self.coordinates = coordinates
        everything = torch.arange(coordinates.size)
        pieces = [everything[coordinates.slices[site]] for site in self.sites]
        self.place = torch.cat([everything[:0], *pieces])
        real = all(coordinates.is_real[site] for site in self.sites)
        self.is_linear = is_given or self.numbers is None and real

    def at(self, params: Params) -> Tensor:
        """The numbers at values of all sites."""
        if self.numbers is None:
            return params[f"{self.prefix}weights"].reshape(-1)
        own = {site.removeprefix(self.prefix): params[site] for site in self.sites}
        return self.numbers(own)

    def jacobian(self, vector: Tensor) -> Tensor | None:
        """Derivatives (numbers, entries) by their place; ``None`` if both are one."""
        if self.is_linear:
            return None
        if not self.size:
            return vector.new_zeros(0, len(self.place))

        def value(own: Tensor) -> Tensor:
            moved = vector.index_put((self.place,), own)
            return self.at(self.coordinates.unpack(moved))

        # Not torch.func.jacrev, for which torch first imports its compiler.
        found: Tensor = torch.autograd.functional.jacobian(value, vector[self.place])
        return found


def curvature_by_vector(
    coordinates: Coordinates,
    log_prior: Callable[[Params], Tensor],
    scores: Scores,
    vector: Tensor,
) -> Curvature:
    """Second derivatives of a log density by its vector.

    Args:
        coordinates: of all sites.
        log_prior: log density of the priors at values.
        scores: derivatives of the log-likelihood at this vector.
        vector: shape (size,).
    """
    parts = [ComponentNumbers(n, s, coordinates) for n, s in zip(PARTS, scores.parts)]
    sizes = [part.size for part in scores.parts]
    slopes = scores.slope.split(sizes)
    jacobians = [part.jacobian(vector) for part in parts]

    def summed(rows: Tensor) -> Tensor:
        pieces = zip(jacobians, rows.split(sizes))
        return torch.cat([r if j is None else j.T @ r for j, r in pieces])

    place = torch.cat([part.place for part in parts])
    matrix = scores.matrix.new_zeros(2 * (coordinates.size,))
    matrix[place[:, None], place] = summed(summed(scores.matrix).T)

    def rest(point: Tensor, jacobian: bool) -> Tensor:
        params, gain = coordinates.unpack_with_jacobian(point)
        total = log_prior(params) + (gain if jacobian else 0.0)
        for part, slope in zip(parts, slopes):
            if not part.is_linear:
                total = total + part.at(params) @ slope
        return total

    return Curvature(matrix, rest)
