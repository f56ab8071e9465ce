"""Priors, which are penalties: ridge, lasso, sticky, smooth, grouped, and so on.

A prior is declared once, on a component, and serves every inference method. It may be
``None`` for flat, a distribution of torch or Pyro, a function from a shape to one, or a
recipe of this room: a few numbers that become a distribution once the parameter has a
shape. What engines ask of it stands in :mod:`glmhmm_pyro.priors.answers`, by which a
prior of another kind is one class with what it answers.
"""

from glmhmm_pyro.displays import listing
from glmhmm_pyro.priors.contrast import Contrast
from glmhmm_pyro.priors.conversion import prior_from_lambda
from glmhmm_pyro.priors.elementwise import Lasso, Ridge, StudentT
from glmhmm_pyro.priors.fixed import Fixed
from glmhmm_pyro.priors.flat import Flat
from glmhmm_pyro.priors.grouped import Grouped
from glmhmm_pyro.priors.hierarchical import Hierarchical
from glmhmm_pyro.priors.lags import GaussianProcess, RandomWalk
from glmhmm_pyro.priors.recipe import PriorRecipe, ScaleFamily
from glmhmm_pyro.priors.sticky import Sticky

__all__ = [
    "Contrast",
    "Fixed",
    "Flat",
    "GaussianProcess",
    "Grouped",
    "Hierarchical",
    "Lasso",
    "PriorRecipe",
    "RandomWalk",
    "Ridge",
    "ScaleFamily",
    "Sticky",
    "StudentT",
    "prior_from_lambda",
]

__dir__ = listing(__all__)
