"""The parts of a GLM-HMM: initial state, transitions, emissions, and their priors."""

from glmhmm_pyro.components import dwell
from glmhmm_pyro.components.base import Component, Site
from glmhmm_pyro.components.continuous import Gamma, StudentT
from glmhmm_pyro.components.counts import NegativeBinomial, Poisson
from glmhmm_pyro.components.dwell import SemiMarkov
from glmhmm_pyro.components.emissions import Emission, GLMEmission
from glmhmm_pyro.components.gaussian import Gaussian
from glmhmm_pyro.components.initial import (
    Initial,
    InitialGLM,
    InitialState,
    OnlyInitial,
)
from glmhmm_pyro.components.known_states import KnownStates
from glmhmm_pyro.components.label_families import Bernoulli, Categorical
from glmhmm_pyro.components.lapsing import Lapsing
from glmhmm_pyro.components.levels import (
    ByLevel,
    Levels,
    TwoLevels,
    TwoLevelsInitial,
)
from glmhmm_pyro.components.only_state import OnlyState
from glmhmm_pyro.components.outputs import Outputs
from glmhmm_pyro.components.stationary_initial import StationaryInitial
from glmhmm_pyro.components.transitions import (
    InputDriven,
    SharedInputDriven,
    Stationary,
    Transitions,
)
from glmhmm_pyro.components.varying import (
    Varying,
    VaryingEmission,
    VaryingInitial,
    VaryingOverSlow,
    VaryingTransitions,
)
from glmhmm_pyro.displays import listing

__all__ = [
    "Bernoulli",
    "ByLevel",
    "Categorical",
    "Component",
    "Emission",
    "GLMEmission",
    "Gamma",
    "Gaussian",
    "Initial",
    "InitialGLM",
    "InitialState",
    "InputDriven",
    "KnownStates",
    "Lapsing",
    "Levels",
    "NegativeBinomial",
    "OnlyInitial",
    "OnlyState",
    "Outputs",
    "Poisson",
    "SemiMarkov",
    "SharedInputDriven",
    "Site",
    "Stationary",
    "StationaryInitial",
    "StudentT",
    "Transitions",
    "TwoLevels",
    "TwoLevelsInitial",
    "Varying",
    "VaryingEmission",
    "VaryingInitial",
    "VaryingOverSlow",
    "VaryingTransitions",
    "dwell",
]

__dir__ = listing(__all__)
