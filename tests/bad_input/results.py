"""Fits, their methods, files, pictures and analyses: arguments that cannot be right."""

import functools
from pathlib import Path

import numpy as np

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import (
    bootstrap,
    cross_validate,
    maximise_evidence,
    simulation_based_calibration,
)

from .row import Row

GOLDEN = Path(__file__).parents[1] / "golden" / "fits"
MODEL = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
TEXT = str(Path(__file__))
FOLDER = str(Path(__file__).parent)
WHOLE, LEAST = "must be a whole number from", "must be at least"


@functools.cache
def data():
    """The sessions that the fits are of."""
    return gh.datasets.load_rat().subset([0, 1, 2])


@functools.cache
def fit(method="em"):
    """A fit of each method."""
    return gh.load(GOLDEN / f"{method}.nc")


def number_rows(name, call, least=1):
    """Rows for what is no number from ``least``, and what is too small."""
    return {
        f"{name}={wrong!r}": Row(
            functools.partial(call, **{name: wrong}),
            name,
            f"{LEAST if isinstance(wrong, int) else WHOLE} {least}",
            f"got {wrong!r}",
            "give a number such as",
        )
        for wrong in (least - 1, 2.5, "3")
    }


def fitted(**options):
    return gh.fit(MODEL, data(), progress=False, **options)


def by(method):
    return lambda **options: fitted(method=method, **options)


def decoded(**options):
    return fit().sample_states(data(), **options)


def simulated(**options):
    return fit().simulate(data(), **options)


def ridge(strength):
    return gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(strength**-0.5)))


def validated(strengths=(1.0, 2.0), **options):
    return cross_validate(ridge, data(), strengths, progress=False, **options)


def bootstrapped(**options):
    return bootstrap(fit("map"), data(), progress=False, **options)


def walk_bootstrapped(kind):
    """A bootstrap of weights that walk over sessions."""
    law = gh.priors.RandomWalk(0.4)
    model = gh.GLMHMM(1, gh.Varying(gh.Bernoulli(), law=law))
    walk = gh.fit(model, data(), "map", num_restarts=1, progress=False)
    return bootstrap(walk, data(), 2, kind=kind, progress=False)


def calibrated(**options):
    return simulation_based_calibration(
        ridge(1.0), data(), "laplace", progress=False, **options
    )


def poissons():
    moves = gh.Stationary(gh.priors.Sticky(5.0, 2.0))
    return gh.GLMHMM(2, gh.Poisson(gh.priors.Ridge(2.0)), moves)


def type_row(call, argument, requirement, came, fix):
    return Row(call, argument, requirement, came, fix, TypeError)


def site_row(call, came, fix):
    """Row for a name that no site has."""
    return Row(
        call, "site", "one of emissions.weights, initial.probs, ", came, fix, KeyError
    )


FITS = {
    "fit.parameters: a site without its component": site_row(
        lambda: fit().parameters["weights"],
        *("got 'weights'", "did you mean 'emissions.weights'?"),
    ),
    "fit.params: a misspelt site": site_row(
        lambda: fit().params["emision.wieghts"],
        *("got 'emision.wieghts'", "did you mean 'emissions.weights'?"),
    ),
    "standard_errors: a site that is none": site_row(
        lambda: fit("laplace").standard_errors()["x"], "got 'x'", "give one of these"
    ),
    "fit: swapped": type_row(
        lambda: gh.fit(data(), MODEL),
        *("model", "must be a GLMHMM", "got a Sequences", "write fit(model, data)"),
    ),
    "fit: far more states than steps": Row(
        lambda: gh.fit(gh.GLMHMM(5000, gh.Bernoulli()), gh.Sequences([0, 1, 1])),
        *("num_states", "must be at most 100 for these data", "got 5000", "such as 3"),
    ),
    "fit: a class": type_row(
        lambda: gh.fit(gh.GLMHMM, data()),
        *("model", "must be a GLMHMM", "got the class GLMHMM", "make one"),
    ),
    "fit: emissions alone": type_row(
        lambda: gh.fit(gh.Bernoulli(), data()),
        *("model", "must be a GLMHMM", "got a Bernoulli", "GLMHMM(2, Bernoulli"),
    ),
    "fit: no model": type_row(
        lambda: gh.fit(None, data()),
        *("model", "must be a GLMHMM", "got a NoneType", "write GLMHMM("),
    ),
    "fit: checkpoint": type_row(
        lambda: fitted(checkpoint=3),
        *("checkpoint", "must be the path", "got 3", "give a string"),
    ),
    "fit: a checkpoint that is another file": Row(
        lambda: fitted(checkpoint=TEXT),
        *("checkpoint", "must be a new path", "no intact file", "give another path"),
    ),
    "fit: a method that is none": Row(
        lambda: fitted(method="EM"),
        *("method", "must be one of em, map", "got 'EM'", "did you mean 'em'?"),
    ),
    "fit: the class of a method": Row(
        lambda: fitted(method=gh.NUTS),
        *("method", "must be one of em", "NUTS", "did you mean 'nuts'?"),
    ),
    **{
        f"fit: {wrong}": Row(
            lambda wrong=wrong: fitted(**{wrong: 3}),
            *("options", "must be among num_iters", wrong, f"did you mean {right!r}?"),
        )
        for wrong, right in (
            ("n_restarts", "num_restarts"),
            ("n_init", "num_restarts"),
            ("num_restart", "num_restarts"),
            ("num_iter", "num_iters"),
            ("max_iter", "num_iters"),
            ("random_state", "seed"),
            ("verbose", "progress"),
            ("Tol", "tol"),
        )
    },
    "fit: an option of nothing": Row(
        lambda: fitted(zzz=3),
        *("options", "must be among num_iters", "got 'zzz'", "leave it out"),
    ),
    "fit: progress": Row(
        lambda: gh.fit(MODEL, data(), progress="no"),
        *("progress", "must be True or False", "got 'no'", "give one of the two"),
    ),
    "fit: a seed too large": Row(
        lambda: fitted(seed=2**70),
        *("seed", "must be below 2**63", "got 1180591620717411303424", "such as 0"),
    ),
    "fit: no seed": Row(
        lambda: fitted(seed=None),
        *("seed", "must be a whole number from 0", "got None", "give a number"),
    ),
    "fit: a negative seed": Row(
        lambda: fitted(seed=-1), "seed", "must be at least 0", "got -1", "such as 0"
    ),
    **number_rows("num_restarts", fitted),
    **number_rows("num_iters", fitted),
    **number_rows("num_samples", by("laplace")),
    **number_rows("num_chains", by("nuts")),
    **number_rows("max_tree_depth", by("nuts")),
    **number_rows("num_particles", by("svi")),
    **number_rows("window", by("svi"), least=2),
    **number_rows("em_iters", by("map"), least=0),
    **{
        f"{method}: {name}={wrong!r}": Row(
            lambda m=method, n=name, w=wrong: fitted(method=m, **{n: w}),
            *(name, requirement, f"got {wrong!r}", "give a finite number"),
        )
        for method, name, requirement, wrong in (
            ("em", "tol", "must be at least 0", -1.0),
            ("map", "tol", "must be at least 0", "small"),
            ("svi", "learning_rate", "must be above 0", 0.0),
            ("svi", "learning_rate", "must be above 0", "fast"),
            ("svi", "decay", "must be between 0 and 1", 1.0),
            ("nuts", "target_accept", "must be between 0 and 1", 1.2),
        )
    },
    "standard_errors: no data": Row(
        lambda: fit("map").standard_errors(),
        *("data", "must be what the model was fitted to", "got None", "give the data"),
    ),
    "standard_errors: robust of draws": Row(
        lambda: fit("laplace").standard_errors(robust="group"),
        *("robust", "must be None for a fit with draws", "'group'", "leave it out"),
    ),
    "covariance: no weights": Row(
        lambda: fit("laplace").covariance(parameter="transitions.probs"),
        *("parameter", "must name weights by covariate", "'transitions", "name one"),
    ),
    "EM: accelerate": Row(
        lambda: fitted(accelerate="no"),
        *("accelerate", "must be True or False", "'no'", "give one of the two"),
    ),
    "NUTS: dense_mass": Row(
        lambda: by("nuts")(dense_mass="x"),
        *("dense_mass", "must be True or False", "'x'", "give one of the two"),
    ),
    "NUTS: parallel": Row(
        lambda: by("nuts")(parallel="yes"),
        *("parallel", "must be True or False", "'yes'", "give one of the two"),
    ),
    "NUTS: state_axes": type_row(
        lambda: by("nuts")(state_axes=3),
        *("state_axes", "must be a Mapping", "got int", "give a dictionary"),
    ),
    **{
        f"init: words by {method}": Row(
            lambda m=method: fitted(method=m, init={"emissions.weights": "a"}),
            "init['emissions.weights']",
            *("must be numbers of shape", "got 'a'", "give a nested list"),
        )
        for method in ("em", "svi")
    },
    "Outputs: no covariates": Row(
        lambda: gh.Outputs(covariates={"y": []}, y=gh.Gaussian()),
        *("covariates['y']", "must name a column at least", "got none", "leave it out"),
    ),
    "GLMHMM: num_states": Row(
        lambda: gh.GLMHMM(2.5, gh.Bernoulli()),
        *("num_states", WHOLE, "got 2.5", "give a number such as 2"),
    ),
    "Categorical: num_classes": Row(
        lambda: gh.Categorical(2.5),
        *("num_classes", WHOLE, "got 2.5", "give a number such as 2"),
    ),
}
METHODS = {
    **number_rows("num_samples", decoded),
    **number_rows("num_samples", simulated),
    "simulate: seed": Row(
        lambda: simulated(seed="a"), "seed", WHOLE, "got 'a'", "such as 0"
    ),
    "sample_states: seed": Row(
        lambda: decoded(seed=2.5), "seed", WHOLE, "got 2.5", "such as 0"
    ),
    "simulate: draws": Row(
        lambda: simulated(draws="all"),
        *("draws", "must be True or False", "got 'all'", "give one of the two"),
    ),
    **number_rows("steps_ahead", lambda **o: fit().predict(data(), **o)),
    "diagnostics": Row(
        lambda: fit().diagnostics(),
        *("fit", "must have draws", "got one by em", 'fit by method="nuts"'),
    ),
    "permuted: names": Row(
        lambda: fit().permuted(["a", "b"]),
        *("order", "must be a list of the numbers", "['a', 'b']", "write [1, 0]"),
    ),
    "permuted: none": Row(
        lambda: fit().permuted(None),
        *("order", "must be a list of the numbers", "None", "write [1, 0]"),
    ),
    "permuted: twice": Row(
        lambda: fit().permuted([0, 0]),
        *("order", "must hold every state", "[0, 0]", "write [1, 0]"),
    ),
    "aligned: NaN": Row(
        lambda: fit().aligned(np.full((data().num_steps, 2), np.nan), data()),
        *("reference", "must be a fit, or finite", "nan", "take another fit"),
    ),
    "aligned: other states": Row(
        lambda: fit().aligned(np.ones((3, 2)), data()),
        *("reference", "must have probabilities", "got (3, 2)", "as many states"),
    ),
    "to_arviz: a name for a list": Row(
        lambda: fit().to_arviz(data(), "posterior"),
        *("groups", "must be a list", "'posterior'", "write ['posterior']"),
    ),
    "to_arviz: a group that is none": Row(
        lambda: fit().to_arviz(data(), ["loglik"]),
        *("groups", "must be one of posterior", "'loglik'", "mean 'log_likelihood'?"),
    ),
    "to_arviz: too many draws": Row(
        lambda: fit("laplace").to_arviz(data(), num_draws=99),
        *("num_draws", "must be from 1 to 4", "got 99", "leave it out"),
    ),
    **number_rows("num_draws", lambda **o: fit("laplace").to_arviz(data(), **o)),
    "save: None": type_row(
        lambda: fit().save(None),
        *("path", "must be the path", "got None", "give a string or a pathlib.Path"),
    ),
    "save: nothing": Row(
        lambda: fit().save(""), "path", "must be the path", "such as 'fit.nc'", "got"
    ),
    "load: a number": type_row(
        lambda: gh.load(3), "path", "must be the path", "got 3", "give a string"
    ),
    "load: another file": Row(
        lambda: gh.load(TEXT),
        *("path", "must name a file that fit.save wrote", "no netCDF", "load the path"),
    ),
    "load: another model": Row(
        lambda: gh.load(GOLDEN / "em.nc", poissons()),
        *("model", "must have Bernoulli", "got Poisson", "give the model"),
    ),
    "load: another prior": Row(
        lambda: gh.load(
            GOLDEN / "em.nc",
            gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(9.0)), gh.Stationary()),
        ),
        *("model", "must have", "got None", "give the model"),
    ),
}
PICTURES = {
    "what is right in the place of the axes": type_row(
        lambda: gh.plotting.accuracy_by_state(fit(), data(), np.ones(4)),
        *("ax", "must be a matplotlib Axes", "got ndarray as argument 3", "correct="),
    ),
    **{
        f"{name}: no fit": type_row(
            lambda name=name, rest=rest: getattr(gh.plotting, name)(data(), *rest),
            *("fit", "must be a Fit", "got a Sequences", f"write {name}(fit"),
        )
        for name, rest in (
            ("weights", ()),
            ("transitions", ()),
            ("history", ()),
            ("timeline", (MODEL,)),
            ("predictions", (MODEL,)),
            ("filters", (MODEL,)),
        )
    },
    "timeline: sessions that are none": Row(
        lambda: gh.plotting.timeline(fit(), data(), [0, 1.5]),
        *("session", "must be the number or the name", "[0, 1.5]", "write session=0"),
    ),
    "timeline: no session": Row(
        lambda: gh.plotting.timeline(fit(), data(), []),
        *("session", "must name a session", "an empty list", "write session=0"),
    ),
    "timeline: right and wrong by other numbers": Row(
        lambda: gh.plotting.timeline(
            fit(), data(), correct=np.full(data().num_steps, 2)
        ),
        *("correct", "must be True or False", "2.0", "write choice == answer"),
    ),
    "timeline: a column that is none": Row(
        lambda: gh.plotting.timeline(fit(), data(), columns="speed"),
        *("columns", "must be one of", "'speed'", "give one of"),
    ),
    "timeline: no data": type_row(
        lambda: gh.plotting.timeline(fit(), data().emissions),
        *("data", "must be a Sequences", "got a Tensor", "timeline(fit, data)"),
    ),
    "predictions: an output that is none": Row(
        lambda: gh.plotting.predictions(fit(), data(), "speed"),
        *("output", "must name one of the outputs", "got 'speed'", "give one of"),
    ),
    "predictions: bins": Row(
        lambda: gh.plotting.predictions(fit(), data(), num_bins=0),
        *("num_bins", "must be at least 1", "got 0", "give a number"),
    ),
    "filters: no design": type_row(
        lambda: gh.plotting.filters(fit(), data()),
        *("design", "must be a Design", "got a Sequences", "filters(fit, design)"),
    ),
    "penalty_path: a fit": type_row(
        lambda: gh.plotting.penalty_path(fit()),
        *("result", "must be a CrossValidation", "got a Fit", "cross_validate"),
    ),
    "comparison: a fit": type_row(
        lambda: gh.plotting.comparison(fit()),
        *("comparison", "must be a Comparison", "got a Fit", "compare_methods"),
    ),
    "generated: a data set alone": type_row(
        lambda: gh.plotting.generated(data()),
        *("behaviour", "must be a Mapping", "got Sequences", "{'name': ...}"),
    ),
    "generated: with states": type_row(
        lambda: gh.plotting.generated({"model": fit().simulate(data())}),
        *("behaviour", "must be a Sequences", "got a tuple", '{"real": data}'),
    ),
    "generated: nothing": Row(
        lambda: gh.plotting.generated({}),
        *("behaviour", "must hold at least one", "got none", '{"real": data}'),
    ),
    "generated: statistic": Row(
        lambda: gh.plotting.generated({"real": data()}, statistic="run"),
        *("statistic", "must be one of values", "got 'run'", "did you mean 'runs'?"),
    ),
    "weights: an array of axes": type_row(
        lambda: gh.plotting.weights(fit(), ax=np.array([1, 2])),
        *("ax", "must be an Axes", "got a ndarray", "take one of a figure"),
    ),
}
ANALYSES = {
    **number_rows("num_samples", bootstrapped, least=2),
    **number_rows("num_simulations", calibrated),
    **number_rows("num_draws", calibrated),
    **number_rows(
        "max_evals",
        lambda **o: maximise_evidence(
            lambda scale: ridge(scale), {"scale": 1.0}, data(), progress=False, **o
        ),
    ),
    "bootstrap: kind": Row(
        lambda: bootstrapped(kind="parametrics"),
        *("kind", "must be one of session", "'parametrics'", "mean 'parametric'?"),
    ),
    "bootstrap: sessions of a walk": Row(
        lambda: walk_bootstrapped("session"),
        *("kind", "must keep the order of sessions", "'session'", "'parametric'"),
    ),
    "bootstrap: swapped": type_row(
        lambda: bootstrap(data(), fit("map")),
        *("fit", "must be a Fit", "got a Sequences", "bootstrap(fit, data)"),
    ),
    "bootstrap: no processes": Row(
        lambda: bootstrapped(num_jobs=0),
        *("num_jobs", "must be a number of processes", "got 0", "give 1"),
    ),
    "bootstrap: seed": Row(
        lambda: bootstrapped(seed=-1), "seed", LEAST, "got -1", "such as 0"
    ),
    "bootstrap: checkpoint": type_row(
        lambda: bootstrapped(checkpoint=3),
        *("checkpoint", "must be the path", "got 3", "give a string"),
    ),
    "bootstrap: a checkpoint that is another file": Row(
        lambda: bootstrapped(checkpoint=TEXT),
        *("checkpoint", "must be a new path", "no intact file", "give another path"),
    ),
    "cross_validate: criterion": Row(
        lambda: validated(criterion="heldout"),
        *("criterion", "must be one of held_out", "'heldout'", "mean 'held_out'?"),
    ),
    "cross_validate: rule": Row(
        lambda: validated(rule="worst"),
        *("rule", "must be one of best", "got 'worst'", "give one of these"),
    ),
    "cross_validate: one strength": Row(
        lambda: validated([1.0]),
        *("strengths", "must be at least two", "got [1.0]", "give"),
    ),
    "cross_validate: strengths that are none": Row(
        lambda: validated(["weak", "strong"]),
        *("strengths", "must be a list of numbers", "'weak'", "give"),
    ),
    "cross_validate: a model": type_row(
        lambda: cross_validate(MODEL, data(), [1.0, 2.0]),
        *("make_model", "must be a function", "got a GLMHMM", "lambda strength"),
    ),
    "calibration: no data": type_row(
        lambda: simulation_based_calibration(MODEL, [0, 1], "laplace"),
        *(
            "data",
            "must be a Sequences",
            "got a list",
            "write simulation_based_calibration(model, data",
        ),
    ),
    "prior_predictive": Row(
        lambda: gh.prior_predictive(MODEL, data(), 2.5),
        *("num_samples", WHOLE, "got 2.5", "give a number"),
    ),
    "log_evidence: swapped": type_row(
        lambda: gh.analysis.log_evidence(data(), fit("map")),
        *("found", "must be a Fit", "got a Sequences", "log_evidence(found, data)"),
    ),
    "compare_methods: a name for a list": Row(
        lambda: gh.compare_methods(MODEL, data(), "map"),
        *("methods", "must be a list", "got 'map'", "write ['map']"),
    ),
    "compare_methods: held_out": Row(
        lambda: gh.compare_methods(MODEL, data(), held_out=1.5),
        *("held_out", "must be a share between 0 and 1", "got 1.5", "give"),
    ),
    "compare_methods: swapped": type_row(
        lambda: gh.compare_methods(data(), MODEL),
        *("model", "must be a GLMHMM", "got a Sequences", "(model, data)"),
    ),
}

ROWS = {
    f"{room}, {name}": row
    for room, rows in (
        ("fits", FITS),
        ("methods", METHODS),
        ("pictures", PICTURES),
        ("analyses", ANALYSES),
    )
    for name, row in rows.items()
}
