"""Weights that vary over groups, sessions or steps, and the laws that link them."""

from glmhmm_pyro.components.varying.kinds import (
    Varying,
    VaryingEmission,
    VaryingInitial,
    VaryingTransitions,
)
from glmhmm_pyro.components.varying.varies import Varies

__all__ = [
    "Varies",
    "Varying",
    "VaryingEmission",
    "VaryingInitial",
    "VaryingTransitions",
]
