"""GLM-HMMs in Pyro: hidden states whose emissions and transitions covariates drive."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from glmhmm_pyro import (
    analysis,
    components,
    covariates,
    datasets,
    importers,
    optim,
    plotting,
    priors,
)
from glmhmm_pyro.analysis import compare_methods
from glmhmm_pyro.components import (
    Bernoulli,
    Categorical,
    Emission,
    Gaussian,
    GLMEmission,
    Initial,
    InitialGLM,
    InputDriven,
    Outputs,
    Poisson,
    SharedInputDriven,
    Site,
    Stationary,
    dwell,
    levels,
)
from glmhmm_pyro.displays import listing
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference import (
    EM,
    MAP,
    NUTS,
    SVI,
    ConvergenceWarning,
    Fit,
    Laplace,
    Status,
    check,
    fit,
    prior_predictive,
)
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.version import __version__

if TYPE_CHECKING:
    from glmhmm_pyro.estimator import GLMHMMEstimator

load = Fit.load

__all__ = [
    "EM",
    "GLMHMM",
    "GLMHMMEstimator",
    "MAP",
    "NUTS",
    "SVI",
    "Bernoulli",
    "Categorical",
    "ConvergenceWarning",
    "Emission",
    "Fit",
    "GLMEmission",
    "Gaussian",
    "HiddenMarkov",
    "Initial",
    "InitialGLM",
    "InputDriven",
    "Laplace",
    "Outputs",
    "Poisson",
    "Sequences",
    "SharedInputDriven",
    "Site",
    "Stationary",
    "Status",
    "__version__",
    "analysis",
    "check",
    "compare_methods",
    "components",
    "covariates",
    "datasets",
    "dwell",
    "fit",
    "importers",
    "levels",
    "load",
    "optim",
    "plotting",
    "prior_predictive",
    "priors",
]


# Names that live in a room of their own, and are found here as well.
_ELSEWHERE = {
    "ByLevel": components,
    "Comparison": analysis,
    "Levels": components,
    "SemiMarkov": components,
    "StationaryInitial": components,
    "Transitions": components,
    "TwoLevels": components,
    "Varying": components,
}


def __getattr__(name: str) -> Any:
    """The estimator, whose base class takes a second to load, and what is elsewhere."""
    if name == "GLMHMMEstimator":
        return import_module("glmhmm_pyro.estimator").GLMHMMEstimator
    if name in _ELSEWHERE:
        return getattr(_ELSEWHERE[name], name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# The estimator too, before it is loaded.
__dir__ = listing(__all__)
