"""The log-likelihood of tabled chains with its slopes, some sites given by value."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.inference.kinds.placed import placed
from glmhmm_pyro.inference.program.coordinates import Coordinates
from glmhmm_pyro.inference.steps.tabled import Tabled, tables_of
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences


class DirectLikelihood:
    """Value and slopes of the log-likelihood, without automatic differentiation.

    Args:
        chain: of the model, for one parameter set.
        coordinates: of the sites that are not given by value.
    """

    def __init__(self, chain: Tabled, coordinates: Coordinates):
        self.chain, self.slices = chain, coordinates.slices
        self.sites = {
            name: placed(transform, coordinates.shapes[name], coordinates.is_real[name])
            for name, transform in coordinates.transforms.items()
        }

    def __call__(
        self, point: Tensor, others: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Log-likelihood, its slope by the coordinates, and those by the other values.

        Args:
            point: of the coordinates.
            others: values of the other sites.
        """
        flat = point.detach().numpy()
        found = np.zeros_like(flat)
        values = {name: value.detach().numpy() for name, value in others.items()}
        with np.errstate(all="ignore"):
            for name, site in self.sites.items():
                values[name] = site.value(flat[self.slices[name]].reshape(site.shape))
            total = self.chain.passes[0](*self.chain.given(values))
            slopes = self.chain.slopes(0)
            # What the likelihood does not read, such as scales of laws, has none.
            for name in self.sites.keys() & slopes.keys():
                slope = self.sites[name].slope(slopes[name], False)
                found[self.slices[name]] = slope.reshape(-1)
        by_value = {name: torch.from_numpy(slopes[name]) for name in others}
        value = torch.tensor(total, dtype=torch.float64)
        return value, torch.from_numpy(found), by_value


def direct_likelihood(
    model: GLMHMM, data: Sequences, coordinates: Coordinates
) -> DirectLikelihood | None:
    """The log-likelihood as one function, if all parts of the model have tables.

    Args:
        model: bound to the data, which are on one process.
        data: the data set.
        coordinates: of some of the sites; the others' values are given beside them.
    """
    tables = tables_of(model, data)
    if tables is None:
        return None
    chain = Tabled(tables, data, 1, model.transitions.goes_on(data))
    return DirectLikelihood(chain, coordinates)
