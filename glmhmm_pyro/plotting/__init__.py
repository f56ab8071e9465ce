"""Pictures of fits: each takes a fit, or a comparison of some, and returns its Axes.

matplotlib is imported when a picture is drawn, not before. A state has the same colour
in every picture, one that readers with any colour vision can tell from the others.
"""

from glmhmm_pyro.plotting.behaviour import generated, predictions
from glmhmm_pyro.plotting.coefficients import weights
from glmhmm_pyro.plotting.estimates import comparison
from glmhmm_pyro.plotting.lag_filters import filters
from glmhmm_pyro.plotting.penalty_paths import penalty_path
from glmhmm_pyro.plotting.progress import history
from glmhmm_pyro.plotting.style import STATE_COLOURS, state_colour
from glmhmm_pyro.plotting.switching import transitions
from glmhmm_pyro.plotting.timelines import timeline

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
