"""States put in order, named, looked at: arguments that cannot be right."""

import functools

from made_fits import categorical_fit

import glmhmm_pyro as gh
from glmhmm_pyro import analysis, plotting

from .row import Row

NAMES = ["engaged", "left", "right"]


@functools.cache
def case():
    """Three states of choices among three classes, and the data."""
    return categorical_fit(3, 3, class_names=["none", "left", "right"])


def fit():
    return case()[0]


def binary_fit():
    """One state of four choices, and these."""
    data = gh.Sequences([0, 1, 1, 0])
    model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
    return gh.fit(model, data, num_restarts=1, progress=False), data


def named(names, **options):
    return lambda: fit().named(names, **options)


def ordered(by, **options):
    return lambda: fit().ordered(by, **options)


def table(name, *arguments, **options):
    """A table by state of the fit and its data."""
    return lambda: getattr(analysis, name)(*case(), *arguments, **options)


def single(name, *arguments, **options):
    """The same of one session alone."""
    fit, data = case()
    return lambda: getattr(analysis, name)(fit, data[0], *arguments, **options)


ONES = [1.0] * 66

RULE = {"engaged": ("x0", "largest"), "left": ("x1", "smallest")}

ROWS = {
    "named: too few": Row(
        named(NAMES[:2]), *("names", "must have 3 entries", "got 2", "as many names")
    ),
    "named: too few rules": Row(
        named(RULE), *("names", "must have 3 entries", "got 2", "as many names")
    ),
    "named: twice": Row(
        named(["a", "b", "a"]), *("names", "must differ", "got 'a' twice", "rename one")
    ),
    "named: one string": Row(
        named("abc"),
        *("names", "must be a list of strings", "'abc'", "give a list"),
        TypeError,
    ),
    "named: a rule without an end": Row(
        named({**RULE, "right": "x1"}, class_="left"),
        *("names['right']", "must be a pair", "got 'x1'", "write ('stim', 'largest')"),
    ),
    "named: a rule with another end": Row(
        named({**RULE, "right": ("x1", "highest")}, class_="left"),
        *("names['right']", "must be a pair", "'highest'", "write ('stim', 'largest')"),
    ),
    "named: several classes": Row(
        named({**RULE, "right": ("x1", "largest")}),
        *("class_", "must name the class", "one of 'left', 'right', got None", "give"),
    ),
    "ordered: several classes": Row(
        ordered("x0"),
        *("class_", "must name the class", "one of 'left', 'right', got None", "give"),
    ),
    "ordered: the reference class": Row(
        ordered("x0", class_="none"),
        *("class_", "must name the class", "got 'none'", "give class_="),
    ),
    "ordered: no covariate": Row(
        ordered("x7"), *("by", "must be one of x0, x1, x2, occupancy", "got 'x7'", ";")
    ),
    "ordered: nothing to go by": Row(
        ordered(3),
        *("by", "must be the name of a covariate", "got 3", "give one of these"),
        TypeError,
    ),
    "ordered: occupancy of nothing": Row(
        ordered("occupancy"),
        *("data", "must be given to order states", "got none", "give the data fitted"),
    ),
    "ordered: too few numbers": Row(
        ordered(lambda fit: [1.0]),
        *("by", "must return a number for each of the 3 states", "got [1.0]", "return"),
    ),
    "ordered: no order": Row(
        ordered(lambda fit: [1.0, float("nan"), 2.0]),
        *("by", "must return numbers that can be sorted", "nan", "return what is"),
    ),
    "ordered: another parameter": Row(
        ordered("x0", parameter="transitions.probs"),
        *("parameter", "must be one of emissions.weights", "got 'trans", ";"),
    ),
    "tables: swapped": Row(
        lambda: analysis.occupancy(*case()[::-1]),
        *("fit", "must be a Fit", "got a Sequences", "write occupancy(fit, data)"),
        TypeError,
    ),
    "tables: no data": Row(
        lambda: analysis.dwell_times(fit(), [0, 1]),
        *("data", "must be a Sequences", "got a list", "write dwell_times(fit, data)"),
        TypeError,
    ),
    "tables: a single path": Row(
        table("occupancy", num_samples=1),
        *("num_samples", "must be at least 2", "got 1", "give a number such as"),
    ),
    "occupancy: by what is not known": Row(
        table("occupancy", "animal"),
        *("by", "must be one of session, group", "got 'animal'", "give one of these"),
    ),
    "occupancy: no groups": Row(
        table("occupancy", "group"),
        *("data", "must have groups", "got none", "give groups to Sequences"),
    ),
    "accuracy: no rights and wrongs": Row(
        table("accuracy_by_state", [2.0] * 66),
        *("correct", "must be True or False", "got 2.0", "write choice == answer"),
    ),
    "accuracy: too few": Row(
        table("accuracy_by_state", [True]),
        *("correct", "must be the name of a column of data", "(1,)", "give df['col"),
    ),
    "column: none of the data": Row(
        table("column_by_state", "rt"),
        *("column", "must be one of step, y, x0", "got 'rt'", "give one of these"),
    ),
    "column: another statistic": Row(
        table("column_by_state", ONES, statistic="mode"),
        *("statistic", "must be one of mean", "got 'mode'", "give one"),
    ),
    "column: a single session": Row(
        single("column_by_state", ONES[:40]),
        *("unit", "must be 'step' for a single", "got 'session'", "give unit='step'"),
    ),
    "weights of another kind": Row(
        table("accuracy_by_state", ONES, weights="filtered"),
        *("weights", "must be one of smoothed, predicted", "got 'filt", ";"),
    ),
    "switches: another direction": Row(
        table("switch_triggered", ONES, direction="out"),
        *("direction", "must be one of into, out of", "got 'out'", ";"),
    ),
    "pictures: no table": Row(
        lambda: plotting.occupancy([0.5, 0.5]),
        *("found", "must be what analysis.occupancy", "a list", "write occupancy(fit"),
        TypeError,
    ),
    "pictures: a table and more": Row(
        lambda: plotting.occupancy(analysis.occupancy(*case()), by="session"),
        *("found", "must be what analysis.occupancy", "and more", "write occupancy(f"),
        TypeError,
    ),
    "pictures: a table of another analysis": Row(
        lambda: plotting.accuracy_by_state(analysis.occupancy(*case())),
        *("found", "must be what analysis.accuracy", "got a table of est", "write acc"),
        TypeError,
    ),
    "psychometric: several classes": Row(
        table("psychometric", "x0"),
        *("class_", "must name one of none, left, right", "got None", "say whose"),
    ),
    "psychometric: no covariate": Row(
        table("psychometric", "x9", class_="left"),
        *("covariate", "must be one of x0, x1, x2", "got 'x9'", ";"),
    ),
    **{
        f"{name}: {argument} of another kind": Row(
            functools.partial(getattr(analysis, name), *given, **more),
            argument,
            f"must be a {kind}",
            "got an int",
            f"write {name}(fit, data",
            TypeError,
        )
        for name, more in {
            "response_curve": {"covariate": "x0"},
            "marginal_effects": {"covariate": "x0"},
            "accuracy_by_state": {"correct": ONES},
            "occupancy": {},
        }.items()
        for argument, given, kind in (
            ("fit", (1, 2), "Fit"),
            ("data", (fit(), 2), "Sequences"),
        )
    },
    "response_curve: transitions that nothing drives": Row(
        table("response_curve", "x0"),
        "part",
        "must be one that covariates drive",
        "got transitions of Stationary",
        "part='emissions'",
    ),
    "ordered: by numbers": Row(
        ordered([1.0, 2.0, 3.0]),
        "by",
        "must be the name of a covariate",
        "got [1.0",
        "give one of these",
        TypeError,
    ),
    "calibration_of_steps: too few": Row(
        lambda: plotting.calibration_of_steps(*binary_fit()),
        "data",
        "must have steps enough for one bin",
        "got 4 steps",
        "give more data",
    ),
}
