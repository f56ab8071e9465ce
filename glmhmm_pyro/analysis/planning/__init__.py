"""How much data it takes, found by fits to simulated sessions."""

from glmhmm_pyro.analysis.planning.result import Power
from glmhmm_pyro.analysis.planning.study import power

__all__ = ["Power", "power"]
