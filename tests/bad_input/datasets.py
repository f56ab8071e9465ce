"""Simulated data sets: how many of what, and the seed."""

import glmhmm_pyro as gh

from .row import Row

COUNTS = {
    "simulate_choices": ["num_sessions"],
    "simulate_song": ["num_sessions", "num_steps", "num_filters"],
    "simulate_demo": ["num_steps", "num_states", "num_classes", "num_lags"],
}


def simulated(name, **options):
    return lambda: getattr(gh.datasets, name)(**options)


ROWS = {
    f"{name}, {argument} of {value!r}": Row(
        simulated(name, **{argument: value}),
        *(argument, words, repr(value), "give", error),
    )
    for name, arguments in COUNTS.items()
    for argument in arguments
    for value, words, error in [
        (-1, "at least", ValueError),
        (2.5, "a whole number", TypeError),
        ("3", "a whole number", TypeError),
        (True, "a whole number", TypeError),
    ]
}
ROWS |= {
    f"{name}, seed of {seed!r}": Row(
        simulated(name, seed=seed),
        *("seed", "a whole number of at least 0", repr(seed), "give 0"),
    )
    for name in COUNTS
    for seed in (-1, 2.5, "a", None)
}
ROWS |= {
    f"{name}, an argument nearly right": Row(
        simulated(name, num_step=3),
        *(name, "arguments of its own", "'num_step'", "'num_steps'", TypeError),
    )
    for name in COUNTS
}
ROWS |= {
    "choices of half a trial": Row(
        simulated("simulate_choices", num_steps=2.5),
        *("num_steps", "a whole number", "2.5", "give", TypeError),
    ),
    "choices of trials as text": Row(
        simulated("simulate_choices", num_steps="3"),
        *("num_steps", "a whole number", "'3'", "give", TypeError),
    ),
    "choices of too few lengths": Row(
        simulated("simulate_choices", num_sessions=2, num_steps=[3]),
        *("num_steps", "one for each of 2 sessions", "1", "give as many"),
    ),
    "a demo that is not drawn, of three states": Row(
        simulated("simulate_demo", num_states=3, sampled=False),
        *("sampled=False", "2 states and 2 classes", "3 and 2", "leave sampled=True"),
    ),
}
