"""Covariates made by a design: its terms, the data it learns from and transforms."""

import numpy as np
import pandas as pd

from glmhmm_pyro.covariates import (
    Design,
    ExponentialHistory,
    Lags,
    PreviousChoice,
    RaisedCosine,
    Standardised,
    WinStayLoseSwitch,
)

from .row import Row

FRAME = pd.DataFrame(
    {
        "s": [1, 1, 1, 2, 2, 2],
        "x": [0.1, 0.2, 0.3, 0.4, 0.5, 0.7],
        "y": ["l", "r", "l", "r", "r", "l"],
    }
)
LISTS = (
    "a data frame of pandas, polars or pyarrow, or a list with one array per session"
)
COUNT = "must be a whole number"


def fitted(*terms, df=FRAME, **options):
    return lambda: Design(*terms).fit(df, **{"session": "s"} | options)


def sequences(**options):
    options = {"session": "s", "emissions": "y"} | options
    return lambda: Design("x").sequences(FRAME, **options)


ROWS = {
    "no terms": Row(
        lambda: Design(), "a Design", "at least one term", "none", "Intercept() is one"
    ),
    "a number for a term": Row(
        lambda: Design(3),
        *("terms", "terms of a design", "int", "Lags(...)", TypeError),
    ),
    "a term twice": Row(
        lambda: Design("x", "x"),
        *("names of the terms", "differ from each other", "'x' twice", "rename"),
    ),
    "an unknown column": Row(
        fitted("q"), "a term", "columns that the data have", "'q'", "they have"
    ),
    "a session left out": Row(
        lambda: Design("x").fit(FRAME),
        *("session", "name the column", "got nothing", "session=None"),
    ),
    "not fitted": Row(
        lambda: Design("x").transform(FRAME),
        *("design", "fitted before it is used", "is not", "design.fit"),
    ),
    "nothing to learn from": Row(
        fitted("x", df=None), "data", LISTS, "NoneType", "as [array]", TypeError
    ),
    "one array": Row(
        lambda: Design("x0").fit(np.ones((5, 2))),
        *("data", LISTS, "ndarray", "as [array]", TypeError),
    ),
    "a mapping": Row(
        fitted("x", df={"x": [1, 2]}), "data", LISTS, "dict", "as [array]", TypeError
    ),
    "a session of nothing": Row(
        lambda: Design("x0").fit([None]),
        *("data[0]", "an array or a list", "None", "leave", TypeError),
    ),
    "text for a session": Row(
        lambda: Design("x0").fit(["ab"]),
        *("data[0]", "an array or a list", "a str", "leave", TypeError),
    ),
    "no sessions": Row(
        lambda: Design("x0").fit([]),
        *("data", "a list with one array per session", "an empty list", "give one"),
    ),
    "an argument nearly right": Row(
        lambda: Design("x").fit(FRAME, sesion="s"),
        *("Design.fit", "arguments of its own", "'sesion'", "'session'", TypeError),
    ),
    "no emissions": Row(
        sequences(emissions=None),
        *("emissions", "name a column", "None", "may not be left out", TypeError),
    ),
    "an unknown emission": Row(
        sequences(emissions="q"), "emissions", "name columns", "'q'", "it has"
    ),
    "a name for a design": Row(
        sequences(transition_design="x"),
        *("transition_design", "a Design", "str", "Design(...)", TypeError),
    ),
    "lags that are none": Row(
        lambda: Lags("x", 0), "num_lags", "at least 1", "0", "1 or more"
    ),
    "half a lag": Row(
        lambda: Lags("x", 2.5), "num_lags", COUNT, "2.5", "1 or more", TypeError
    ),
    "lags as text": Row(
        lambda: Lags("x", "3"), "num_lags", COUNT, "'3'", "1 or more", TypeError
    ),
    "arguments of lags swapped": Row(
        lambda: Lags(2, "x"), "num_lags", COUNT, "'x'", "1 or more", TypeError
    ),
    "a first lag before now": Row(
        lambda: Lags("x", 2, first_lag=-1), "first_lag", "at least 0", "-1", "0 or more"
    ),
    "lags beyond all sessions": Row(
        fitted(Lags("x", 9)), "lags of 'x'", "shorter than", "up to 8", "fewer lags"
    ),
    "no cosines": Row(
        lambda: RaisedCosine("x", 0, 5), "num_bases", "at least 1", "0", "1 or more"
    ),
    "more cosines than lags": Row(
        lambda: RaisedCosine("x", 5, 2), "num_bases", "at most", "5", "fewer bases"
    ),
    "a constant to be standardised": Row(
        fitted(Standardised("x"), df=FRAME.assign(x=1.0)),
        *("a standardised column", "vary", "the same number", "leave it out"),
    ),
    "labels to be standardised": Row(
        fitted(Standardised("y")),
        *("columns", "numeric", "'y' with labels", "Factor('y')", TypeError),
    ),
    "numbers for choices": Row(
        fitted(PreviousChoice("x")), "column 'x'", "classes 0, 1", "0.1", "recode it"
    ),
    "weights without names": Row(
        lambda: fitted(Lags("x", 2))().filters(np.ones((2, 2))),
        *("weights", "an xarray.DataArray", "fit.parameters", "got ndarray", TypeError),
    ),
    "a missing number": Row(
        lambda: fitted(Lags("x", 2))().transform(
            FRAME.assign(x=[1, None, 1, 2, 3, 4.0])
        ),
        *("column 'x'", "finite", "1 NaN", "fill them in"),
    ),
    "the emission at its own step": Row(
        lambda: Design("x").sequences(FRAME, session="s", emissions="x"),
        *(
            "term 'x'",
            "emissions of earlier steps",
            "'x' at its own step",
            "first_lag=1",
        ),
    ),
    "half-lives below 0": Row(
        lambda: fitted(ExponentialHistory("x", [-1]))(),
        *("half_lives", "above 0 steps", "[-1]", "give"),
    ),
    "neither reward nor answer": Row(
        lambda: WinStayLoseSwitch("y"),
        *("WinStayLoseSwitch", "either reward or answer", "reward=None", "give"),
    ),
}
