"""How much data it takes, found by fits to simulated sessions."""

from glmhmm_pyro.analysis.planning.power_study import power
from glmhmm_pyro.analysis.planning.result import Power

__all__ = ["Power", "power"]
