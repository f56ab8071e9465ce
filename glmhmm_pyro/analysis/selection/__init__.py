"""The number of states, and models, chosen by sessions held out."""

from glmhmm_pyro.analysis.selection.choice import choose_num_states, compare_models
from glmhmm_pyro.analysis.selection.study import Study

__all__ = ["Study", "choose_num_states", "compare_models"]
