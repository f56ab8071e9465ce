"""GLM-HMMs in Pyro: hidden states whose emissions and transitions covariates drive."""

from glmhmm_pyro import datasets
from glmhmm_pyro.components import (
    Bernoulli,
    Categorical,
    Emission,
    GLMEmission,
    Initial,
    InitialGLM,
    InputDriven,
    SharedInputDriven,
    Site,
    Stationary,
    Transitions,
)
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.estimator import GLMHMMEstimator
from glmhmm_pyro.inference import EM, ConvergenceWarning, Fit, Status, fit
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.version import __version__

load = Fit.load

__all__ = [
    "EM",
    "GLMHMM",
    "GLMHMMEstimator",
    "Bernoulli",
    "Categorical",
    "ConvergenceWarning",
    "Emission",
    "Fit",
    "GLMEmission",
    "HiddenMarkov",
    "Initial",
    "InitialGLM",
    "InputDriven",
    "Sequences",
    "SharedInputDriven",
    "Site",
    "Stationary",
    "Status",
    "Transitions",
    "__version__",
    "datasets",
    "fit",
    "load",
]
