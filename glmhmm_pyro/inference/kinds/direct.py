"""The log-joint of a GLMHMM of the package's own parts as one function of its vector.

Value and slope are computed from arrays, without Pyro or automatic differentiation.
The slope follows from Fisher's identity: expected counts of the chain times the slopes
of its potentials. Parts without such slopes are left to automatic differentiation.
"""

from collections.abc import Mapping

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from glmhmm_pyro.inference.kinds.placed import placed
from glmhmm_pyro.inference.program.coordinates import Coordinates
from glmhmm_pyro.inference.program.evaluated import Evaluated
from glmhmm_pyro.inference.steps.scores import Scores, scores_at
from glmhmm_pyro.inference.steps.tabled import Tabled, tables_of
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.priors.slopes import scored
from glmhmm_pyro.ranks import ALONE, Ranks
from glmhmm_pyro.sequences import Sequences


class DirectDensity:
    """Value and slope of the log-joint at points of the unconstrained coordinates.

    Args:
        chain: of the model, for one parameter set.
        coordinates: those of all sites.
        priors: of all sites, which are fixed.
        ranks: over which the chain's sessions are spread.
    """

    def __init__(
        self,
        chain: Tabled,
        coordinates: Coordinates,
        priors: Mapping[str, TorchDistribution],
        ranks: Ranks = ALONE,
    ):
        self.chain, self.ranks = chain, ranks
        self.slices = coordinates.slices
        self.sites = {
            name: placed(transform, coordinates.shapes[name], coordinates.is_real[name])
            for name, transform in coordinates.transforms.items()
        }
        self.scored = {n: scored(prior, prior.shape()) for n, prior in priors.items()}

    def __call__(self, vector: Tensor, jacobian: bool) -> Evaluated:
        """What :meth:`Program.evaluated` returns."""
        flat = vector.detach().numpy().copy()
        prior, gain, found = 0.0, 0.0, np.empty_like(flat)
        with np.errstate(all="ignore"):
            values = {
                name: site.value(flat[self.slices[name]].reshape(site.shape))
                for name, site in self.sites.items()
            }
            likelihood = self.chain.passes[0](*self.chain.given(values))
            slopes = self.chain.slopes(0)
            own = np.array(likelihood), *slopes.values()
            total, *sums = self.ranks.totals(*own)
            likelihood, slopes = float(total), dict(zip(slopes, sums))
            for name, site in self.sites.items():
                density, slope = self.scored[name](values[name])
                prior += density
                gain += site.gain() if jacobian else 0.0
                slope = site.slope(slope + slopes[name], jacobian)
                found[self.slices[name]] = slope.reshape(-1)
        params = {name: torch.from_numpy(value) for name, value in values.items()}
        return Evaluated(params, likelihood, prior, gain, torch.from_numpy(found))

    @property
    def is_soft(self) -> bool:
        """Whether all potentials are softmaxes with known derivatives."""
        return all(t.softmaxes() is not None for t in self.chain.tables.values())

    def scores(self, vector: Tensor) -> Scores | None:
        """Derivatives of the log-likelihood by the numbers of its softmaxes, if any."""
        flat = vector.detach().numpy()
        with np.errstate(all="ignore"):
            values = {
                name: site.value(flat[self.slices[name]].reshape(site.shape))
                for name, site in self.sites.items()
            }
            return scores_at(self.chain, self.chain.potentials(values))


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
    tables = tables_of(model, data)
    if tables is None:
        return None
    chain = Tabled(tables, data, 1, model.transitions.goes_on(data))
    return DirectDensity(chain, coordinates, priors, data.ranks)
