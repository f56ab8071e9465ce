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

from glmhmm_pyro.inference.kinds.places import Arrays, places_of
from glmhmm_pyro.inference.program.coordinates import Coordinates
from glmhmm_pyro.inference.program.evaluated import Evaluated
from glmhmm_pyro.inference.steps.scores import Scores, scores_at
from glmhmm_pyro.inference.steps.tabled import Tabled, tables_of
from glmhmm_pyro.model import GLMHMM
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
        self.places = places_of(coordinates, priors)

    def __call__(self, vector: Tensor, jacobian: bool) -> Evaluated:
        """What :meth:`Program.evaluated` returns."""
        flat = vector.detach().numpy().copy()
        prior, gain, found = 0.0, 0.0, np.empty_like(flat)
        with np.errstate(all="ignore"):
            values = self._values(flat)
            likelihood = self.chain.passes[0](*self.chain.given(values))
            slopes = self.chain.slopes(0)
            own = np.array(likelihood), *slopes.values()
            total, *sums = self.ranks.totals(*own)
            likelihood, slopes = float(total), dict(zip(slopes, sums))
            for place in self.places:
                density, slope = place.log_prior()
                prior += density
                gain += place.site.gain() if jacobian else 0.0
                found[place.where] = place.slope(slope, slopes, jacobian)
        params = {name: torch.from_numpy(value) for name, value in values.items()}
        return Evaluated(params, likelihood, prior, gain, torch.from_numpy(found))

    def _values(self, vector: np.ndarray) -> Arrays:
        """Values by site."""
        values: Arrays = {}
        for place in self.places:
            values |= place.values(vector)
        return values

    @property
    def is_soft(self) -> bool:
        """Whether all potentials are softmaxes with known derivatives."""
        return all(t.softmaxes() is not None for t in self.chain.tables.values())

    def scores(self, vector: Tensor) -> Scores | None:
        """Derivatives of the log-likelihood by the numbers of its softmaxes, if any."""
        flat = vector.detach().numpy()
        with np.errstate(all="ignore"):
            potentials = self.chain.potentials(self._values(flat))
        parts = [table.softmaxes() for table in self.chain.tables.values()]
        first, moves, emissions = parts
        if first is None or moves is None or emissions is None:
            return None
        with np.errstate(all="ignore"):
            passes = self.chain.passes[0]
            return scores_at(first, moves, emissions, potentials, passes)


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
