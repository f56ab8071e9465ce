"""Exponential and logarithm of the compiled kernels, against those of libraries."""

import math

import numpy as np

from glmhmm_pyro.chain.arithmetic import exp, log
from glmhmm_pyro.chain.compiler import compiled


@compiled(reassociate=False)
def exps(values, out):
    for k in range(len(values)):
        out[k] = exp(values[k])


@compiled(reassociate=False)
def logs(values, out):
    for k in range(len(values)):
        out[k] = log(values[k])


def through(function, values):
    out = np.empty_like(values)
    function(values, out)
    return out


def units_apart(found, expected):
    """Distance in units of the last place."""
    return np.abs(found - expected) / np.spacing(np.abs(expected))


def test_logarithms_are_right_to_two_units_in_the_last_place():
    draws = np.random.default_rng(0).normal(size=(4, 20_000))
    values = np.exp(draws * [[1e-9], [1e-3], [1.0], [150.0]]).reshape(-1)
    roots = np.nextafter(2.0 ** np.array([-0.5, 0.5]), [0.0, 9.0])
    values = np.concatenate([values, roots, [2.0**-1022, 2.0**1023, 0.5, 2.0]])
    # Those of numpy may be farther off, by its version and the processor.
    expected = np.array([math.log(value) for value in values])
    values, expected = values[expected != 0], expected[expected != 0]
    assert units_apart(through(logs, values), expected).max() <= 2
    special = through(logs, np.array([1.0, np.inf, np.nan]))
    assert special[0] == 0 and special[1] == np.inf and np.isnan(special[2])


def test_exponentials_are_right_to_two_units_in_the_last_place():
    values = np.random.default_rng(0).uniform(-707.0, 709.0, 20_000)
    assert units_apart(through(exps, values), np.exp(values)).max() <= 2
    special = through(exps, np.array([0.0, np.inf, -np.inf, -709.0]))
    assert special.tolist() == [1.0, np.inf, 0.0, 0.0]
