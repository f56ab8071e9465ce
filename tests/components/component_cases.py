"""A model bound to data, and calls within it."""

from families import random_data
from pyro import poutine
from pyro.nn import pyro_method

import glmhmm_pyro as gh

STATES = 3


def bound(emissions=None, transitions=None, initial=None, data=None, states=STATES):
    """A model bound to data."""
    data = random_data() if data is None else data
    model = gh.GLMHMM(states, emissions or gh.Bernoulli(), transitions, initial)
    model.bind(data)
    return model, data


def within(model, params, function):
    """What a function gives inside a model call at these parameters."""
    body = pyro_method(lambda self: function())
    return poutine.condition(lambda: body(model), data=params)()
