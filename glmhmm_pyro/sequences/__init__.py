"""The ragged data set, and the one border at which data are checked."""

from .data import Sequences
from .leaks import LeakageWarning
from .naming import MatchingWarning

__all__ = ["LeakageWarning", "MatchingWarning", "Sequences"]
