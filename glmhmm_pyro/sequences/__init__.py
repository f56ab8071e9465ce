"""The ragged data set, and the one border at which data are checked."""

from .data import Sequences

__all__ = ["Sequences"]
