"""What covariates do to probabilities: curves and average effects, with bands."""

from glmhmm_pyro.analysis.driven.curves import response_curve
from glmhmm_pyro.analysis.driven.effects import marginal_effects

__all__ = ["marginal_effects", "response_curve"]
