"""Inference: how a model is fitted, and what a fit can do.

``program`` is a model with its data as one density, which every method reads, and
``kinds`` are its kinds, of a ``GLMHMM`` and of models of the user's own; ``search`` is
where methods begin. ``em``, ``mode`` (MAP and Laplace), ``svi`` and ``nuts`` are the
methods, which return findings; ``fits`` is what the user gets of these. All rooms stand
in the page on architecture.
"""

from glmhmm_pyro.displays import listing
from glmhmm_pyro.inference.checks.before import check
from glmhmm_pyro.inference.checks.report import Finding, Report
from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.em.em import EM
from glmhmm_pyro.inference.fits.export import prior_predictive
from glmhmm_pyro.inference.fits.fit import Fit
from glmhmm_pyro.inference.kinds.glmhmm_program import GLMHMMProgram as GLMHMMProgram
from glmhmm_pyro.inference.kinds.pyro_program import PyroProgram as PyroProgram
from glmhmm_pyro.inference.methods import fit
from glmhmm_pyro.inference.mode.laplace import Laplace
from glmhmm_pyro.inference.mode.map import MAP
from glmhmm_pyro.inference.nuts.nuts import NUTS
from glmhmm_pyro.inference.search.runs import Findings, Restart, Solution
from glmhmm_pyro.inference.status import (
    ConvergenceWarning,
    StandardErrorWarning,
    Status,
)
from glmhmm_pyro.inference.svi.svi import SVI

__all__ = [
    "EM",
    "MAP",
    "NUTS",
    "SVI",
    "ConvergenceWarning",
    "Finding",
    "Findings",
    "Fit",
    "Laplace",
    "Posterior",
    "Report",
    "Restart",
    "Solution",
    "StandardErrorWarning",
    "Status",
    "check",
    "fit",
    "prior_predictive",
]

__dir__ = listing(__all__)
