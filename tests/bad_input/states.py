"""States put in order, named, looked at: arguments that cannot be right."""

import functools

from made_fits import categorical_fit

from .row import Row

NAMES = ["engaged", "left", "right"]


@functools.cache
def fit():
    """Three states of choices among three classes, and the data."""
    return categorical_fit(3, 3, class_names=["none", "left", "right"])[0]


def named(names, **options):
    return lambda: fit().named(names, **options)


def ordered(by, **options):
    return lambda: fit().ordered(by, **options)


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
}
