"""How long states last: laws of dwell times, and the transitions that follow them."""

from glmhmm_pyro.components.dwell.laws import (
    Categorical,
    DwellLaw,
    NegativeBinomial,
    Poisson,
)
from glmhmm_pyro.components.dwell.semi_markov import SemiMarkov

__all__ = ["Categorical", "DwellLaw", "NegativeBinomial", "Poisson", "SemiMarkov"]
