"""Pictures of fits: each takes a fit, or a comparison of some, and returns its Axes.

matplotlib is imported when a picture is drawn, not before. A state has the same colour
in every picture, one that readers with any colour vision can tell from the others.
"""

from glmhmm_pyro.displays import listing
from glmhmm_pyro.plotting.animals import groups
from glmhmm_pyro.plotting.average_effects import marginal_effects
from glmhmm_pyro.plotting.by_state import (
    accuracy_by_state,
    column_by_state,
    occupancy,
)
from glmhmm_pyro.plotting.checking import (
    calibration_of_steps,
    predictive_check,
    residuals,
)
from glmhmm_pyro.plotting.coefficients import weights
from glmhmm_pyro.plotting.estimates import comparison
from glmhmm_pyro.plotting.lag_filters import filters
from glmhmm_pyro.plotting.model_selection import model_selection
from glmhmm_pyro.plotting.overviews import overview
from glmhmm_pyro.plotting.penalty_paths import penalty_path
from glmhmm_pyro.plotting.planning import power
from glmhmm_pyro.plotting.predicted_behaviour import generated, predictions
from glmhmm_pyro.plotting.progress import history
from glmhmm_pyro.plotting.responses import response_curve
from glmhmm_pyro.plotting.state_curves import (
    dwell_times,
    psychometric,
    states_in_session,
    switch_triggered,
)
from glmhmm_pyro.plotting.style import STATE_COLOURS, state_colour
from glmhmm_pyro.plotting.switching import transitions
from glmhmm_pyro.plotting.timelines import timeline

__all__ = [
    "STATE_COLOURS",
    "accuracy_by_state",
    "calibration_of_steps",
    "column_by_state",
    "comparison",
    "dwell_times",
    "filters",
    "generated",
    "groups",
    "history",
    "marginal_effects",
    "model_selection",
    "occupancy",
    "overview",
    "penalty_path",
    "power",
    "predictions",
    "predictive_check",
    "psychometric",
    "residuals",
    "response_curve",
    "state_colour",
    "states_in_session",
    "switch_triggered",
    "timeline",
    "transitions",
    "weights",
]

__dir__ = listing(__all__)
