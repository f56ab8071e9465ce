"""Fits that follow an experiment: steps and behaviour that cannot be."""

import dataclasses
import functools
from pathlib import Path

import pandas as pd

import glmhmm_pyro as gh
from glmhmm_pyro.covariates import Design, Intercept, PreviousChoice
from glmhmm_pyro.covariates.terms import Term

from .row import Row

GOLDEN = Path(__file__).parents[1] / "golden" / "fits"


class Hindsight(Term):
    """A term that knows how long its session will be."""

    label = "hindsight"

    def names(self):
        """One column."""
        return ("hindsight",)

    def values(self, table):
        """What is left of the session."""
        ends = table.lengths.repeat(table.lengths)
        return (ends - table.steps).astype(float)[:, None]


FRAME = pd.DataFrame({"stim": [0.5, -1.0, 2.0], "choice": ["l", "r", "l"]})


@functools.cache
def designed(*terms):
    """A fit of columns that a design made, and its data."""
    design = Design(*(terms or ("stim", PreviousChoice("choice"), Intercept())))
    data = design.sequences(FRAME, session=None, emissions="choice")
    model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
    return gh.fit(model, data, progress=False, num_restarts=1), data


@functools.cache
def outputs():
    """A fit of two outputs."""
    data = gh.Sequences([[0, 1.5], [1, 2.0]], emission_names=["choice", "rt"])
    family = gh.Outputs(choice=gh.Bernoulli(), rt=gh.Gaussian())
    return gh.fit(gh.GLMHMM(1, family), data, progress=False, num_restarts=1)


def by_rows(*rows, emission="l"):
    def call():
        online = designed()[0].online(designed()[1])
        for row in rows[:-1]:
            online.update(row, "r")
        return online.update(rows[-1], emission)

    return call


def golden():
    return gh.load(GOLDEN / "em.nc")


def of_golden(emission, row=None):
    fit = golden()
    number = len(fit.labels.covariates["emissions"])
    return fit.online().update([0.0] * number if row is None else row, emission)


def first_state_by_covariates():
    """A fit whose first states read covariates."""
    data = gh.Sequences(
        [0, 1, 1, 0], lengths=[2, 2], initial_covariates=[[0.0, 1.0], [1.0, 1.0]]
    )
    ridge = gh.priors.Ridge(1.0)
    model = gh.GLMHMM(2, gh.Bernoulli(ridge), initial=gh.InitialGLM(ridge))
    return gh.fit(model, data, progress=False, num_restarts=1)


ROWS = {
    "a data frame of two steps": Row(
        by_rows(FRAME.iloc[:2]),
        *("row", "must be one step", "data frame of 2 rows", "give one of them"),
    ),
    "a model of the user's own": Row(
        lambda: dataclasses.replace(golden(), model=abs).online(),
        "fit",
        "must be of a GLMHMM",
        "got a model of the user's own",
        "decode the steps so far anew",
    ),
    "no initial covariates": Row(
        lambda: first_state_by_covariates().online().start(),
        "initial_covariates",
        "must be given at the start of a session",
        "got none",
        "call start(",
    ),
    "data without a design": Row(
        lambda: golden().online(gh.Sequences([0, 1])),
        "data",
        "must be made by a Design",
        "got covariates as they are",
        "leave data out",
    ),
    "a term of hindsight": Row(
        lambda: designed("stim", Hindsight())[0].online(
            designed("stim", Hindsight())[1]
        ),
        "term 'hindsight'",
        "must be made of a step and those before it",
        "got one whose rows depend on the rest",
        "leave it out of the design",
    ),
    "covariates in place of raw columns": Row(
        by_rows([0.5, 0.0, 1.0]),
        "row",
        "must hold raw columns by name",
        "got list",
        "give a mapping",
    ),
    "a raw column lacking": Row(
        by_rows({"stimulus": 0.5}),
        "row",
        "must have column 'stim'",
        "got stimulus",
        "add it",
    ),
    "a raw column with a label": Row(
        by_rows({"stim": "left"}),
        "column 'stim' of row",
        "must hold numbers",
        "got 'left'",
        "give one of these",
    ),
    "a raw column that is NaN": Row(
        by_rows({"stim": None}),
        "column 'stim'",
        "must be finite to be a covariate",
        "got 1 NaN",
        "fill them in",
    ),
    "behaviour of no class": Row(
        by_rows({"stim": 0.5}, emission="left"),
        "emission",
        "must be one of l, r",
        "got 'left'",
        "give one of these",
    ),
    "no behaviour supposed": Row(
        lambda: designed()[0].online(designed()[1]).predict([{"stim": 1.0}] * 2),
        "row",
        "must say by 'choice' which behaviour is supposed",
        "got none",
        "or simulate",
    ),
    "behaviour that can't be": Row(
        lambda: of_golden(2),
        "emission",
        "must be one that the model's family can emit",
        "got 2",
        "give None",
    ),
    "too few covariates": Row(
        lambda: of_golden(1, [0.0]),
        "covariates of a step",
        "must be the",
        "got shape (1,)",
        "in their order or by name",
    ),
    "covariates that are no numbers": Row(
        lambda: of_golden(1, ["a"]),
        "covariates of a row",
        "must be finite numbers",
        "got ['a']",
        "give numbers",
    ),
    "behaviour that is no number": Row(
        lambda: of_golden([1]),
        "emission",
        "must be a number for each output",
        "got [1]",
        "give None",
    ),
    "first covariates that no data had": Row(
        lambda: golden().online().start(initial_covariates=[1.0]),
        "initial_covariates",
        "must be left out",
        "got [1.0]",
        "leave it out",
    ),
    "an output lacking": Row(
        lambda: outputs().online().update(None, {"choice": 1}),
        "emission",
        "must have every output, choice, rt",
        "got no 'rt'",
        "give None",
    ),
    "a number of two outputs": Row(
        lambda: outputs().online().update(None, [1]),
        "emission",
        "must have a number for every output",
        "got 1",
        "give None",
    ),
}
