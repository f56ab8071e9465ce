"""Analyses of fits: penalties chosen, methods compared, draws and errors judged."""

from glmhmm_pyro.analysis.bootstrap import Bootstrap, bootstrap
from glmhmm_pyro.analysis.calibration import (
    Calibration,
    simulation_based_calibration,
)
from glmhmm_pyro.analysis.comparison import Comparison, compare_methods
from glmhmm_pyro.analysis.cross_validation import CrossValidation, cross_validate
from glmhmm_pyro.analysis.evidence import log_evidence

__all__ = [
    "Bootstrap",
    "Calibration",
    "Comparison",
    "CrossValidation",
    "bootstrap",
    "compare_methods",
    "cross_validate",
    "log_evidence",
    "simulation_based_calibration",
]
