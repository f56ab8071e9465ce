"""The log-joint of a GLMHMM of the package's own parts as one function of its vector.

Value and slope come from arrays: no site is sampled, no graph is made. Fisher's
identity gives the slope: expected counts of the chain times the slopes of its
potentials. What is lacking a part of its own here is left to automatic differentiation.
"""

from collections.abc import Mapping

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from glmhmm_pyro.chain.passes import Passes
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.tables import LogTable
from glmhmm_pyro.inference.kinds.placed import placed
from glmhmm_pyro.inference.program.coordinates import Coordinates
from glmhmm_pyro.inference.program.evaluated import Evaluated
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.priors.slopes import scored
from glmhmm_pyro.sequences import Sequences

_PARTS = ("initial", "transitions", "emissions")


class DirectDensity:
    """Value and slope of the log-joint at points of the unconstrained coordinates.

    Args:
        tables: of first states, transitions and emissions, in this order.
        data: the data set.
        coordinates: those of all sites.
        priors: of all sites, which are fixed.
    """

    def __init__(
        self,
        tables: list[LogTable],
        data: Sequences,
        coordinates: Coordinates,
        priors: Mapping[str, TorchDistribution],
    ):
        self.tables = dict(zip(_PARTS, tables))
        shapes = [table.shape for table in tables]
        self.passes = Passes(shapes, data.lengths, data.session_weights)
        self.slices = coordinates.slices
        self.sites = {
            name: placed(transform, coordinates.shapes[name], coordinates.is_real[name])
            for name, transform in coordinates.transforms.items()
        }
        self.scored = {n: scored(prior, prior.shape()) for n, prior in priors.items()}

    def __call__(self, vector: Tensor, jacobian: bool) -> Evaluated:
        """What :meth:`Program.evaluated` returns."""
        with np.errstate(all="ignore"):
            return self._evaluated(vector.detach().numpy().copy(), jacobian)

    def _evaluated(self, flat: np.ndarray, jacobian: bool) -> Evaluated:
        values = {
            name: site.value(flat[self.slices[name]].reshape(site.shape))
            for name, site in self.sites.items()
        }
        own = {
            part: {n.removeprefix(f"{part}."): v for n, v in values.items()}
            for part in _PARTS
        }
        logs = [table(own[part]) for part, table in self.tables.items()]
        likelihood, counts = self.passes(*logs)
        slopes = {
            f"{part}.{name}": slope
            for (part, table), count in zip(self.tables.items(), counts)
            for name, slope in table.slopes(count).items()
        }
        prior, gain, found = 0.0, 0.0, np.empty_like(flat)
        for name, site in self.sites.items():
            density, slope = self.scored[name](values[name])
            prior += density
            gain += site.gain() if jacobian else 0.0
            slope = site.slope(slope + slopes[name], jacobian)
            found[self.slices[name]] = slope.reshape(-1)
        params = {name: torch.from_numpy(value) for name, value in values.items()}
        return Evaluated(params, likelihood, prior, gain, torch.from_numpy(found))


def direct_density(
    model: GLMHMM,
    data: Sequences,
    coordinates: Coordinates,
    priors: Mapping[str, TorchDistribution],
) -> DirectDensity | None:
    """The log-joint as one function, if all parts of it are known.

    Args:
        model: bound to the data.
        data: the data set.
        coordinates: those of all sites.
        priors: of all sites; no hyperparameter is drawn beside them.
    """
    as_here = is_as_defined(model, GLMHMM, "forward", "hidden_markov", "_hidden_markov")
    if not as_here or data.device.type != "cpu" or data.dtype != torch.float64:
        return None
    tables = [getattr(model, part).log_table(data) for part in _PARTS]
    found = [table for table in tables if table is not None]
    if len(found) < len(tables):
        return None
    return DirectDensity(found, data, coordinates, priors)
