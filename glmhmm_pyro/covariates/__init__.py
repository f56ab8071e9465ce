"""Covariates from raw columns: lags, bases on lags, the animal's own history.

A :class:`Design` puts terms together into named columns in groups. What it learns, it
learns from training sessions; no filter reaches over the start of a session.
"""

from .design import Design
from .filters import BSpline, ExponentialHistory, FilterTerm, Lags, RaisedCosine
from .history import PreviousChoice, WinStayLoseSwitch
from .sources import Indicator, Signed
from .terms import Columns, Intercept, Standardised, Term

__all__ = [
    "BSpline",
    "Columns",
    "Design",
    "ExponentialHistory",
    "FilterTerm",
    "Indicator",
    "Intercept",
    "Lags",
    "PreviousChoice",
    "RaisedCosine",
    "Signed",
    "Standardised",
    "Term",
    "WinStayLoseSwitch",
]
