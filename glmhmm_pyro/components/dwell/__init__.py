"""How long states last: laws of dwell times, and the transitions that follow them."""

from glmhmm_pyro.components.dwell.laws import (
    Categorical,
    DwellLaw,
    NegativeBinomial,
    Poisson,
)
from glmhmm_pyro.components.dwell.semi_markov import SemiMarkov
from glmhmm_pyro.displays import listing

__all__ = ["Categorical", "DwellLaw", "NegativeBinomial", "Poisson", "SemiMarkov"]

__dir__ = listing(__all__)
