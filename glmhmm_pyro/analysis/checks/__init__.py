"""Checks that simulate, or tell of single steps: what a fit cannot make up."""

from glmhmm_pyro.analysis.checks.predictive import PredictiveCheck, predictive_check
from glmhmm_pyro.analysis.checks.stepwise import calibration_of_steps, residuals

__all__ = ["PredictiveCheck", "calibration_of_steps", "predictive_check", "residuals"]
