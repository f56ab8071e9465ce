"""Weights that vary over groups, sessions, steps or slow states, linked by laws."""

from glmhmm_pyro.components.varying.kinds import (
    VaryingEmission,
    VaryingInitial,
    VaryingTransitions,
)
from glmhmm_pyro.components.varying.over_slow import VaryingOverSlow
from glmhmm_pyro.components.varying.varies import Varies
from glmhmm_pyro.components.varying.wrapping import Varying

__all__ = [
    "Varies",
    "Varying",
    "VaryingEmission",
    "VaryingInitial",
    "VaryingOverSlow",
    "VaryingTransitions",
]
