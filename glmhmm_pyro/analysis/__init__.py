"""Analyses of many fits: numbers of states, models and penalties chosen, errors."""

from glmhmm_pyro.analysis.bootstrap import Bootstrap, bootstrap
from glmhmm_pyro.analysis.calibration import (
    Calibration,
    simulation_based_calibration,
)
from glmhmm_pyro.analysis.comparison import Comparison, compare_methods
from glmhmm_pyro.analysis.cross_validation import CrossValidation, cross_validate
from glmhmm_pyro.analysis.evidence import log_evidence
from glmhmm_pyro.analysis.learnt_scales import EvidenceMaximum, maximise_evidence
from glmhmm_pyro.analysis.selection import Study, choose_num_states, compare_models

__all__ = [
    "Bootstrap",
    "Calibration",
    "Comparison",
    "CrossValidation",
    "EvidenceMaximum",
    "Study",
    "bootstrap",
    "choose_num_states",
    "compare_methods",
    "compare_models",
    "cross_validate",
    "log_evidence",
    "maximise_evidence",
    "simulation_based_calibration",
]
