"""The ragged data set, and the one border at which data are checked."""

from glmhmm_pyro.arguments import want_kind

from .data import Sequences
from .leaks import LeakageWarning
from .naming import MatchingWarning

want_kind(
    Sequences,
    "Sequences(...), Sequences.from_lists and Sequences.from_dataframe make one",
)

__all__ = ["LeakageWarning", "MatchingWarning", "Sequences"]
