"""Analyses of many fits: numbers of states, models and penalties chosen, errors."""

from glmhmm_pyro.analysis.bootstrap import Bootstrap, bootstrap
from glmhmm_pyro.analysis.calibration import (
    Calibration,
    simulation_based_calibration,
)
from glmhmm_pyro.analysis.checks import (
    PredictiveCheck,
    calibration_of_steps,
    predictive_check,
    residuals,
)
from glmhmm_pyro.analysis.comparison import Comparison, compare_methods
from glmhmm_pyro.analysis.cross_validation import CrossValidation, cross_validate
from glmhmm_pyro.analysis.driven import marginal_effects, response_curve
from glmhmm_pyro.analysis.evidence import log_evidence
from glmhmm_pyro.analysis.groups import GroupFits, fit_groups
from glmhmm_pyro.analysis.learnt_scales import EvidenceMaximum, maximise_evidence
from glmhmm_pyro.analysis.leaving_out import leave_out_sessions
from glmhmm_pyro.analysis.planning import Power, power
from glmhmm_pyro.analysis.selection import Study, choose_num_states, compare_models
from glmhmm_pyro.analysis.states import (
    DwellTimes,
    accuracy_by_state,
    column_by_state,
    dwell_law,
    dwell_times,
    occupancy,
    psychometric,
    states_in_session,
    switch_triggered,
)
from glmhmm_pyro.displays import listing

__all__ = [
    "Bootstrap",
    "Calibration",
    "Comparison",
    "CrossValidation",
    "DwellTimes",
    "EvidenceMaximum",
    "GroupFits",
    "Power",
    "PredictiveCheck",
    "Study",
    "accuracy_by_state",
    "bootstrap",
    "calibration_of_steps",
    "choose_num_states",
    "column_by_state",
    "compare_methods",
    "compare_models",
    "cross_validate",
    "dwell_law",
    "dwell_times",
    "fit_groups",
    "leave_out_sessions",
    "log_evidence",
    "marginal_effects",
    "maximise_evidence",
    "occupancy",
    "power",
    "predictive_check",
    "psychometric",
    "residuals",
    "response_curve",
    "simulation_based_calibration",
    "states_in_session",
    "switch_triggered",
]

__dir__ = listing(__all__)
