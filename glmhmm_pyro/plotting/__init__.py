"""Pictures of fits: each takes a fit, or a comparison of some, and returns its Axes.

matplotlib is imported when a picture is drawn, not before. A state has the same colour
in every picture, one that readers with any colour vision can tell from the others.
"""

from glmhmm_pyro.plotting.behaviour import generated, predictions
from glmhmm_pyro.plotting.coefficients import weights
from glmhmm_pyro.plotting.lags import filters
from glmhmm_pyro.plotting.methods import comparison
from glmhmm_pyro.plotting.penalties import penalty_path
from glmhmm_pyro.plotting.restarts import history
from glmhmm_pyro.plotting.sessions import timeline
from glmhmm_pyro.plotting.style import STATE_COLOURS, state_colour
from glmhmm_pyro.plotting.switching import transitions

__all__ = [
    "STATE_COLOURS",
    "comparison",
    "filters",
    "generated",
    "history",
    "penalty_path",
    "predictions",
    "state_colour",
    "timeline",
    "transitions",
    "weights",
]
