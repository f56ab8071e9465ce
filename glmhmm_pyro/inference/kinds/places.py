"""Sites side by side in the vector, with their priors: values, densities and slopes.

Of few numbers a call of NumPy takes as long as a hundred products, and a sampler makes
them thousands of times. Neighbours with priors of one kind are the rows of one array.
"""

from collections.abc import Mapping

import numpy as np
from pyro.distributions import TorchDistribution
from torch.distributions import Distribution

from glmhmm_pyro.broadcasting import unconstrained_shape
from glmhmm_pyro.inference.kinds.placed import placed
from glmhmm_pyro.inference.program.coordinates import Coordinates
from glmhmm_pyro.priors.slopes import scored, side_by_side, spread

Arrays = dict[str, np.ndarray]


class SitesTogether:
    """A part of the vector, and the sites that stand in it.

    Args:
        coordinates: of all sites.
        shapes: of the values of these, by site.
        prior: of the values of all of them, one site's rows after another's.
    """

    def __init__(
        self,
        coordinates: Coordinates,
        shapes: Mapping[str, tuple[int, ...]],
        prior: Distribution,
    ):
        names, shape = list(shapes), prior.batch_shape + prior.event_shape
        transform = coordinates.transforms[names[0]]
        free = unconstrained_shape(transform, shape)
        self.site = placed(transform, free, coordinates.is_real[names[0]])
        self.score = scored(prior, shape)
        ends = coordinates.slices[names[0]], coordinates.slices[names[-1]]
        self.where = slice(ends[0].start, ends[1].stop)
        stops = np.cumsum([np.prod(each, dtype=int) for each in shapes.values()])
        starts = [0, *stops[:-1]]
        self.members = [
            (name, slice(start, stop), shapes[name])
            for name, start, stop in zip(names, starts, stops)
        ]

    def values(self, vector: np.ndarray) -> Arrays:
        """Values by site at a vector, kept for what is asked next."""
        free = vector[self.where].reshape(self.site.shape)
        self._value = self.site.value(free)
        flat = self._value.reshape(-1)
        return {name: flat[own].reshape(shape) for name, own, shape in self.members}

    def log_prior(self) -> tuple[float, np.ndarray]:
        """Log density of the priors at the last values, with its slope by them."""
        return self.score(self._value)

    def slope(
        self, of_prior: np.ndarray, others: Mapping[str, np.ndarray], jacobian: bool
    ) -> np.ndarray:
        """Slope of the sum of all by this part of the vector, at the last values.

        Args:
            of_prior: slope of the priors by the values.
            others: slopes of all else by the values, by site.
            jacobian: whether the log volume is added to what is derived.
        """
        parts = [others[name].reshape(-1) for name, *_ in self.members]
        flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
        by_value = np.asarray(of_prior + flat.reshape(of_prior.shape))
        return self.site.slope(by_value, jacobian).reshape(-1)


def places_of(
    coordinates: Coordinates, priors: Mapping[str, TorchDistribution]
) -> list[SitesTogether]:
    """All parts of the vector, in their order.

    Args:
        coordinates: of all sites.
        priors: of these, which are fixed.
    """
    spreads = {name: spread(prior, prior.shape()) for name, prior in priors.items()}
    runs: list[list[str]] = []
    for name in coordinates.slices:
        last = runs[-1] if runs else []
        if last and side_by_side([spreads[each] for each in (*last, name)]):
            last.append(name)
        else:
            runs.append([name])
    return [_place(coordinates, priors, spreads, run) for run in runs]


def _place(
    coordinates: Coordinates,
    priors: Mapping[str, TorchDistribution],
    spreads: Mapping[str, Distribution | None],
    run: list[str],
) -> SitesTogether:
    together = side_by_side([spreads[name] for name in run])
    prior = priors[run[0]] if together is None or len(run) == 1 else together
    return SitesTogether(
        coordinates, {name: priors[name].shape() for name in run}, prior
    )
