"""The ragged data set, and the one border at which data are checked."""

from .data import Sequences
from .naming import MatchingWarning

__all__ = ["MatchingWarning", "Sequences"]
