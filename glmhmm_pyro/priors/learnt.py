"""Scales of recipes that may be learnt: by a prior of their own, or a flat one."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from pyro.distributions import TorchDistribution
from torch.distributions import Distribution

from glmhmm_pyro.arguments import has_items
from glmhmm_pyro.priors.filling import check_density
from glmhmm_pyro.priors.recipe import PriorRecipe

if TYPE_CHECKING:
    from glmhmm_pyro.priors.hierarchical import Hierarchical
    from glmhmm_pyro.priors.lags import RandomWalk

# In the place of a scale: one that is learnt, under a flat prior.
LEARNT = "learnt"


def check_scale(recipe: PriorRecipe, field: str) -> None:
    """Check that a field is a scale, known or learnt; keep numbers as floats.

    Raises:
        ValueError: it is none: not positive and finite, nor a distribution of such.
    """
    given, kind = getattr(recipe, field), type(recipe).__name__
    if isinstance(given, Distribution):
        check_scale_prior(f"{field} of {kind}", given)
        return
    if isinstance(given, str) and given == LEARNT:
        return
    found = None if isinstance(given, str | bool) else _as_positive(given)
    if found is None:
        raise ValueError(
            f"{field} of {kind} must be a positive, finite number, or a prior of one, "
            f"got {given!r:.80}; give a number such as 0.1, or 'learnt'"
        )
    object.__setattr__(recipe, field, found)


def check_scale_prior(name: str, prior: TorchDistribution) -> None:
    """Raise an error if a prior is no distribution of a positive number."""
    check_density(name, prior)
    lowest = torch.as_tensor(getattr(prior.support, "lower_bound", -1.0))
    if prior.event_shape or not bool((lowest >= 0).all()):
        raise ValueError(
            f"{name} must be a distribution of a positive number, such as "
            f"HalfNormal(1.0), got {type(prior).__name__} on {prior.support}; give that"
        )


def axes_named(recipe: "Hierarchical | RandomWalk") -> tuple[str, ...]:
    """The axes in the field ``per`` of a recipe."""
    per = (recipe.per,) if isinstance(recipe.per, str) else recipe.per
    if not has_items(per) or not all(isinstance(axis, str) for axis in per):
        raise TypeError(
            f"per of {type(recipe).__name__} must be names of axes, got "
            f"{recipe.per!r:.80}; give such as ('covariate',)"
        )
    return tuple(per)


def _as_positive(given: ArrayLike) -> Any:
    """A positive float, or nested tuples of some; ``None`` for anything else."""
    try:
        found = np.asarray(given, dtype=float)
    except (TypeError, ValueError, RuntimeError):
        return None
    if not found.size or not (np.isfinite(found) & (found > 0)).all():
        return None
    return _tuples(found.tolist())


def _tuples(numbers: list | float) -> Any:
    return tuple(map(_tuples, numbers)) if isinstance(numbers, list) else numbers
