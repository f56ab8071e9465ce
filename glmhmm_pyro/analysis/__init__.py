"""Analyses of fits: methods side by side, and whether their draws can be believed."""

from glmhmm_pyro.analysis.calibration import (
    Calibration,
    simulation_based_calibration,
)
from glmhmm_pyro.analysis.comparison import Comparison, compare_methods

__all__ = [
    "Calibration",
    "Comparison",
    "compare_methods",
    "simulation_based_calibration",
]
