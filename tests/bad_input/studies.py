"""Studies, animals, scores and lapses: arguments that cannot be right."""

import functools
import warnings

import numpy as np
import torch
from torch.distributions import Dirichlet

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import (
    choose_num_states,
    compare_models,
    fit_groups,
    leave_out_sessions,
    maximise_evidence,
    power,
    response_curve,
)
from glmhmm_pyro.components import Lapsing

from .row import Row

MODEL = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
QUICK = {"num_restarts": 1, "progress": False}


@functools.cache
def data():
    """Three sessions without groups."""
    return gh.datasets.load_rat().subset([0, 1, 2])


@functools.cache
def fit():
    """A fit of one state to them."""
    return gh.fit(MODEL, data(), **QUICK)


def varying():
    """A fit whose weights are those of single sessions."""
    model = gh.GLMHMM(1, gh.Varying(gh.Bernoulli(), law="pooled"))
    return gh.fit(model, data(), **QUICK)


def chosen(num_states=(1, 2), **options):
    """A choice among few."""
    return choose_num_states(lambda K: MODEL, data(), num_states, **options)


def compared(**models):
    """Models compared, of counts or of a label beside a count."""
    y, names = np.arange(90) % 3, None
    if isinstance(models["p"].emissions, gh.Outputs):
        y, names = np.stack([y % 2, y], 1), ["a", "b"]
    sessions = gh.Sequences(y, lengths=[30] * 3, emission_names=names)
    return compare_models(models, sessions, folds=3, **QUICK)


def of_two():
    """First states under a prior that is one of two states."""
    return gh.Initial(Dirichlet(torch.ones(2)))


def by_session():
    """Two sessions of choices, a drug in the second."""
    drug = np.repeat([1.0, 2.0], 100)
    y = np.random.default_rng(0).integers(0, 2, 200)
    columns = np.stack([drug, np.ones(200)], 1)
    return gh.Sequences(y, columns, covariate_names=["drug", "one"], lengths=[100] * 2)


def type_row(call, *words):
    """A row whose error is a TypeError."""
    return Row(call, *words, TypeError)


@functools.cache
def drawn(initial=None):
    """A fit with draws; of two states where their start is told."""
    ridge = gh.priors.Ridge(1.0)
    model = gh.GLMHMM(1 if initial is None else 2, gh.Bernoulli(ridge), initial=initial)
    laplace = gh.Laplace(num_samples=10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gh.ConvergenceWarning)
        return gh.fit(model, data(), laplace, **QUICK)


def planned(num_sessions=(2,), **options):
    """Experiments simulated from the fit."""
    return power(fit(), data(), num_sessions, **QUICK, **options)


ROWS = {
    "leave_out_sessions: no fit": type_row(
        lambda: leave_out_sessions(MODEL, data()),
        *(
            "fit",
            "must be a Fit",
            "got a GLMHMM",
            "write leave_out_sessions(fit, data)",
        ),
    ),
    "leave_out_sessions: no draws": Row(
        lambda: leave_out_sessions(fit(), data()),
        *("fit", "must have draws", "got one by em", "or take cross_validate"),
    ),
    "leave_out_sessions: a threshold in words": Row(
        lambda: leave_out_sessions(drawn(), data(), threshold="high"),
        *("threshold", "must be", "got 'high'", "give 0.7"),
    ),
    "leave_out_sessions: parameters by session": Row(
        lambda: leave_out_sessions(drawn(gh.Initial(per_session=True)), data()),
        "fit",
        "must have no parameters that a session left out alone tells of",
        "got initial probabilities",
        "fit with Initial(per_session=False)",
    ),
    "power: no fit": type_row(
        lambda: power(MODEL, data(), [2]),
        *(
            "fit",
            "must be a Fit",
            "got a GLMHMM",
            "write power(fit, data, num_sessions)",
        ),
    ),
    "power: no data": type_row(
        lambda: power(fit(), [1, 0], [2]),
        *("data", "must be a Sequences", "got a list", "write power(fit, data, num_"),
    ),
    "power: a number": Row(
        lambda: planned(3),
        *("num_sessions", "must be a list of whole numbers", "got 3", "write such as"),
    ),
    "power: more trials than there are": Row(
        lambda: planned(num_trials=[10**6]),
        "num_trials",
        "must be at most the length of the shortest session",
        "got 1000000",
        "take fewer trials",
    ),
    "power: weights of sessions": Row(
        lambda: power(varying(), data(), [2], **QUICK),
        *("fit", "must have parameters that all sessions share", "emissions.weights"),
        "take a fit without Varying",
    ),
    "power: another criterion": Row(
        lambda: planned(num_states=[1, 2], criterion="elbow"),
        *("criterion", "must be", "got 'elbow'", "give one of these"),
    ),
    "choose_num_states: a number": Row(
        lambda: chosen(3),
        *("num_states", "must be a list of numbers", "got 3", "write range(1, 6)"),
    ),
    "choose_num_states: none": Row(
        lambda: chosen([]),
        *("num_states", "must hold a number", "got none", "write range(1, 6)"),
    ),
    "choose_num_states: a model": type_row(
        lambda: choose_num_states(MODEL, data(), [1, 2]),
        *("make_model", "must be a function", "got a GLMHMM", "lambda K: GLMHMM(K"),
    ),
    "choose_num_states: a model of another size": Row(
        lambda: chosen([2]),
        *("make_model", "a model of 2 states", "got one of 1", "hand the number on"),
    ),
    "choose_num_states: a prior of two states for any number": Row(
        lambda: choose_num_states(
            lambda K: gh.GLMHMM(K, MODEL.emissions, initial=of_two()),
            data(),
            [3],
            folds=3,
        ),
        *("prior of initial.probs", "(3,) (state: 3)", "(2,)", "3 concentrations"),
    ),
    "choose_num_states: a covariate that varies from session to session alone": Row(
        lambda: choose_num_states(
            lambda K: gh.GLMHMM(K, gh.Bernoulli()), by_session(), [2], folds=2
        ),
        *("folds must each leave data that can be fitted", "fold 1 of 2", "constant"),
        *("or take other folds",),
    ),
    "choose_num_states: folds by group": Row(
        lambda: chosen([1], folds="group"),
        *("folds", "must be a number for data without groups", "'group'", "group="),
    ),
    "choose_num_states: folds in words": type_row(
        lambda: chosen([1], folds="five"),
        *("folds", "must be a number, 'group'", "got 'five'", "such as 5"),
    ),
    "choose_num_states: rule": Row(
        lambda: chosen([1], rule="bic"),
        *("rule", "must be one of best", "got 'bic'", "give one of these"),
    ),
    "compare_models: none": Row(
        lambda: compare_models({}, data()),
        *("models", "must hold a model", "got none", "write such as"),
    ),
    "compare_models: densities and probabilities": Row(
        lambda: compared(p=gh.GLMHMM(1, gh.Poisson()), q=gh.GLMHMM(1, gh.Gaussian())),
        *("models", "must all give emissions probabilities, or all densities"),
        *("got probabilities by 'p' and densities by 'q'", "compare families"),
    ),
    "compare_models: a density of one output": Row(
        lambda: compared(
            p=gh.GLMHMM(1, gh.Outputs(a=gh.Bernoulli(), b=gh.Poisson())),
            q=gh.GLMHMM(1, gh.Outputs(a=gh.Bernoulli(), b=gh.Gaussian())),
        ),
        *("models", "must all give emissions probabilities, or all densities"),
        *("got probabilities by 'p' and (a probability, a density) by 'q'", "compare"),
    ),
    "fit_groups: no groups": Row(
        lambda: fit_groups(fit(), data()),
        *("data", "must have groups", "got none", "give groups to Sequences"),
    ),
    "fit_groups: a model of other parameters": Row(
        lambda: fit_groups(
            fit(),
            data().replace(groups=["a", "b", "a"]),
            model=gh.GLMHMM(2, gh.Bernoulli()),
        ),
        *("model", "must have the parameters of the fit", "got", "priors alone"),
    ),
    "score: units": Row(
        lambda: fit().score(data(), units="bans"),
        *("units", "must be one of nats, bits", "got 'bans'", "give one of these"),
    ),
    "summary: robust in words": Row(
        lambda: fit().summary(data(), robust="animal"),
        *("robust", "must be one of group, session", "got 'animal'", "give one"),
    ),
    "summary: robust without groups": Row(
        lambda: fit().summary(data(), robust="group"),
        *("robust", "must be None for data without groups", "got 'group'", "groups"),
    ),
    "summary: robust in words, of a fit with draws": Row(
        lambda: drawn().summary(robust="animal"),
        *("robust", "must be one of group, session", "got 'animal'", "give one"),
    ),
    "summary: robust of a fit with draws": Row(
        lambda: drawn().summary(data(), robust="session"),
        *("robust", "must be None for a fit with draws", "got 'session'", "leave it"),
    ),
    "summary: robust without data": Row(
        lambda: fit().summary(robust="group"),
        *("robust", "must be None without data", "got 'group'", "leave it out"),
    ),
    "Lapsing: numbers": type_row(
        lambda: Lapsing(gh.Gaussian()),
        *("family", "must be a Bernoulli or a Categorical", "a Gaussian", "write"),
    ),
    "model_selection: a fit": type_row(
        lambda: gh.plotting.model_selection(fit()),
        *("study", "must be a Study", "got a Fit", "take what choose_num_states"),
    ),
    "groups: a fit": type_row(
        lambda: gh.plotting.groups(fit()),
        *("each", "must be a GroupFits", "got a Fit", "take what fit_groups returns"),
    ),
    "choose_num_states: a function of two": Row(
        lambda: choose_num_states(lambda k, prior: MODEL, data(), [1], **QUICK),
        *("make_model", "must take one argument", "'prior'", "lambda strength"),
        TypeError,
    ),
    "maximise_evidence: a function of another name": Row(
        lambda: maximise_evidence(lambda scale: MODEL, {"size": 1.0}, data()),
        *("make_model", "must take arguments called size", "(scale)", "lambda size"),
        TypeError,
    ),
    "compare_models: a fit": Row(
        lambda: compare_models({"one": fit()}, data(), **QUICK),
        *("models['one']", "must be a GLMHMM", "got a Fit", "fit.model"),
        TypeError,
    ),
    "response_curve: a word for another column": Row(
        lambda: response_curve(fit(), data(), "s1", part="emissions", at={"s2": "a"}),
        *("at['s2']", "must be a finite number", "'a'", "give a finite number"),
    ),
    "response_curve: its own column among the others": Row(
        lambda: response_curve(fit(), data(), "s1", part="emissions", at={"s1": 1.0}),
        *("at", "must name other columns than 's1'", "got 's1'", "by values="),
    ),
}
