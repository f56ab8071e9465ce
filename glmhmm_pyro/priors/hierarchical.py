"""Priors whose strength is learnt: a scale with a prior of its own."""

from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.priors.answers import storable
from glmhmm_pyro.priors.elementwise import Ridge
from glmhmm_pyro.priors.filling import fill
from glmhmm_pyro.priors.learnt import LEARNT, axes_named, check_scale_prior
from glmhmm_pyro.priors.recipe import Place, ScaleFamily


@storable
@suggests_names
@dataclass(frozen=True)
class Hierarchical(ScaleFamily):
    r"""A prior whose scale is unknown and has a prior of its own, a hyperprior.

    .. math:: s \sim \text{scale\_prior}, \quad w = s v, \quad v \sim \text{base}

    The scale is a Pyro site named after the parameter: that of ``emissions.weights`` is
    ``emissions.weights_scale``. As a base, another Hierarchical with scales per
    covariate makes a horseshoe (Carvalho et al. 2010); its own site's name ends in
    ``_base_scale``.

    A joint mode of weights and scale need not exist: where the density of the scale
    does not vanish at 0 (HalfNormal, HalfCauchy), the log-joint rises without end as
    both run to 0. EM ends there with a status that says so, unless the data hold the
    weights away from 0; an InverseGamma or a LogNormal rules it out, and
    posterior sampling has no such trouble.

    Args:
        scale_prior: distribution of a positive number, such as ``HalfNormal(1.0)``; or
            ``"learnt"``, a flat one, as a law of :class:`gh.components.Varying`.
        base: prior of the weights where the scale is 1.
        per: axes of the parameter that have scales of their own, e.g. ``("state",)`` or
            ``("origin",)``; none for one scale of all weights. With the outermost one
            the states, or origins, do not share anything.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from pyro.distributions import InverseGamma
        >>> prior = gh.priors.Hierarchical(InverseGamma(3.0, 2.0), per=("state",))
        >>> model = gh.GLMHMM(2, gh.Bernoulli(prior=prior))
    """

    scale_prior: Any
    base: ScaleFamily = field(default_factory=Ridge)
    per: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.scale_prior, Distribution) and not self._is_learnt:
            raise TypeError(
                "scale_prior of Hierarchical must be a distribution, such as "
                f"HalfNormal(1.0), got {self.scale_prior!r}; give that"
            )
        if not self._is_learnt:
            check_scale_prior("scale_prior of Hierarchical", self.scale_prior)
        if not isinstance(self.base, ScaleFamily):
            raise TypeError(
                "base of Hierarchical must be a recipe that can be scaled, such as "
                f"Ridge(), got {self.base!r}; give that"
            )
        object.__setattr__(self, "per", axes_named(self))

    @property
    def _is_learnt(self) -> bool:
        """Whether the scale has a flat prior, as it may in a law."""
        return isinstance(self.scale_prior, str) and self.scale_prior == LEARNT

    @property
    def event_dim(self) -> int:
        """Event axes of the base: given its scale, the prior is as much a product."""
        return self.base.event_dim

    def hyperparameters(self, axes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """The scale, and those of the base."""
        deeper = self.base.hyperparameters(axes)
        return {"scale": self._shared(axes)} | {
            f"base_{name}": value for name, value in deeper.items()
        }

    def scaled(
        self, shape: torch.Size, factor: Tensor | float, place: Place = Place()
    ) -> Distribution:
        """The base, its draws multiplied by a sampled scale."""
        if self._is_learnt:
            raise ValueError(
                f"scale_prior of Hierarchical must be a distribution for {place.title},"
                " got 'learnt', under whose flat prior a joint mode of scale and "
                "weights is at 0; give such as InverseGamma(3.0, 2.0)"
            )
        own = self._shared(place.axes)
        axes = place.axes or ("",) * len(shape)
        sizes = [n for n, axis in zip(shape, axes) if axis in own]
        # The support counts for a flat prior only.
        its = Place(place.name, argument="scale_prior")
        prior = fill(self.scale_prior, torch.Size(sizes), constraints.positive, its)
        scale = pyro.sample(f"{place.name}_scale", prior)
        sets = scale.shape[: scale.dim() - len(sizes)]
        ones = [n if axis in own else 1 for n, axis in zip(shape, axes)]
        inner = place.inside("base", place.columns)
        return self.base.scaled(shape, factor * scale.reshape(*sets, *ones), inner)

    def _shared(self, axes: tuple[str, ...] | None) -> tuple[str, ...]:
        """The axes that have scales of their own, in the parameter's order."""
        unknown = [axis for axis in self.per if axis not in (axes or ())]
        if unknown:
            raise ValueError(
                "per of Hierarchical must name axes of the parameter, which are "
                f"{', '.join(axes or ()) or 'unknown'}, got {unknown[0]!r}"
                "; name some of these"
            )
        return tuple(axis for axis in axes or () if axis in self.per)
