"""Covariates from raw columns: lags, bases on lags, the animal's own history.

A :class:`Design` puts terms together into named columns in groups. What it learns, it
learns from training sessions; no filter reaches over the start of a session.
"""

from glmhmm_pyro.displays import listing

from .categories import Factor, Interaction
from .design import Design
from .filters import BSpline, ExponentialHistory, FilterTerm, Lags, RaisedCosine
from .history import PreviousChoice, WinStayLoseSwitch
from .sources import Imputed, Indicator, Missing, Signed, StepInSession
from .splines import Spline
from .terms import Columns, Intercept, Standardised, Term

__all__ = [
    "BSpline",
    "Columns",
    "Design",
    "ExponentialHistory",
    "Factor",
    "FilterTerm",
    "Imputed",
    "Indicator",
    "Interaction",
    "Intercept",
    "Lags",
    "Missing",
    "PreviousChoice",
    "RaisedCosine",
    "Signed",
    "Spline",
    "Standardised",
    "StepInSession",
    "Term",
    "WinStayLoseSwitch",
]

__dir__ = listing(__all__)
