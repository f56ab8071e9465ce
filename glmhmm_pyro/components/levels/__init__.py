"""States on two timescales: what is slow, and what it modulates."""

from glmhmm_pyro.components.levels.by_level import ByLevel
from glmhmm_pyro.components.levels.first_levels import TwoLevelsInitial
from glmhmm_pyro.components.levels.levels import Levels
from glmhmm_pyro.components.levels.two_levels import TwoLevels
from glmhmm_pyro.displays import listing

__all__ = ["ByLevel", "Levels", "TwoLevels", "TwoLevelsInitial"]

__dir__ = listing(__all__)
