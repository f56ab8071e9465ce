"""What a fit says of data state by state: tables with intervals."""

from glmhmm_pyro.analysis.states.behaviour import (
    accuracy_by_state,
    column_by_state,
    switch_triggered,
)
from glmhmm_pyro.analysis.states.dwelling import DwellTimes, dwell_times
from glmhmm_pyro.analysis.states.law import dwell_law
from glmhmm_pyro.analysis.states.psychometric_curves import psychometric
from glmhmm_pyro.analysis.states.shares import occupancy, states_in_session

__all__ = [
    "DwellTimes",
    "accuracy_by_state",
    "column_by_state",
    "dwell_law",
    "dwell_times",
    "occupancy",
    "psychometric",
    "states_in_session",
    "switch_triggered",
]
