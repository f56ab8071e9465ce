"""Inference: how a model is fitted, and what a fit can do."""

from glmhmm_pyro.inference.em import EM
from glmhmm_pyro.inference.export import prior_predictive
from glmhmm_pyro.inference.fit import Fit
from glmhmm_pyro.inference.laplace import Laplace
from glmhmm_pyro.inference.map import MAP
from glmhmm_pyro.inference.methods import fit
from glmhmm_pyro.inference.nuts import NUTS
from glmhmm_pyro.inference.posterior import Posterior
from glmhmm_pyro.inference.runs import Restart
from glmhmm_pyro.inference.status import ConvergenceWarning, Status
from glmhmm_pyro.inference.svi import SVI

__all__ = [
    "EM",
    "MAP",
    "NUTS",
    "SVI",
    "ConvergenceWarning",
    "Fit",
    "Laplace",
    "Posterior",
    "Restart",
    "Status",
    "fit",
    "prior_predictive",
]
