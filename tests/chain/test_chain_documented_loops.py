"""The loops in the kernels' documentation compute what the kernels do."""

import re
import textwrap

import numpy as np
import pytest
import torch
from chain_cases import random_potentials
from oracles import by_session, log_marginals, path_posterior

from glmhmm_pyro.chain import scaled_kernels, stationary_kernels, tangent_kernels
from glmhmm_pyro.chain.compiled import tangents
from glmhmm_pyro.chain.shapes import Potentials

LENGTHS = torch.tensor([5])


def loop_of(module):
    """The loop in a module's docstring."""
    loop = re.search(r"::\n\n((?:    .*\n|\n)+)", module.__doc__)[1]
    return textwrap.dedent(loop)


@pytest.mark.parametrize(
    "module, shared", [(scaled_kernels, False), (stationary_kernels, True)]
)
def test_the_documented_loop_is_the_enumerated_posterior(module, shared):
    potentials = random_potentials(3, LENGTHS, shared=(True, shared))
    initial, transition, emission = (x.numpy() for x in potentials)
    found = {
        **{"exp": np.exp, "log": np.log, "sum": np.sum, "n": len(emission)},
        **{"initial": initial[0], "transition": transition, "emission": emission},
        **{name: np.zeros_like(emission) for name in ("alpha", "beta")},
        **{"pairs": np.zeros((3, 3)), "out_transition": np.zeros_like(transition)},
    }
    exec(loop_of(module), found)
    (posterior,) = (path_posterior(*s) for s in by_session(*potentials, LENGTHS))
    pairs = posterior.pairwise.numpy()
    np.testing.assert_allclose(found["out_emission"], posterior.smoothed.numpy())
    np.testing.assert_allclose(
        found["out_transition"], pairs.sum(0, keepdims=True) if shared else pairs
    )
    total = log_marginals(*potentials, LENGTHS).numpy()
    np.testing.assert_allclose(found["log_marginal"], total[0])


def test_the_documented_loop_of_derivatives_is_what_their_kernel_computes():
    potentials, directions = (random_potentials(3, LENGTHS, seed=s) for s in (1, 2))
    (posterior,) = (path_posterior(*s) for s in by_session(*potentials, LENGTHS))
    # Which origins a state had does not depend on what comes after it.
    pairs = posterior.pairwise.numpy()
    d_initial, d_transition, d_emission = (x.numpy() for x in directions)
    gamma = posterior.smoothed.numpy()
    prefix = [path_posterior(*first_steps(potentials, n + 1)) for n in range(5)]
    found = {
        **{"sum": np.sum, "n": 5, "gamma": gamma, "d_initial": d_initial[0]},
        **{"d_transition": d_transition, "d_emission": d_emission},
        "origins": pairs / np.maximum(gamma[:, None], 1e-300),
        "filtered": np.stack([one.smoothed[-1].numpy() for one in prefix]),
        **{name: np.zeros((5, 3)) for name in ("tangent", "out_emission")},
        "out_transition": np.zeros((5, 3, 3)),
    }
    exec(loop_of(tangent_kernels), found)
    ones = torch.ones(1, dtype=torch.float64)
    moved = Potentials(*directions)
    computed = tangents(Potentials(*potentials), moved, LENGTHS, ones)
    names = ("d_log_marginal", "out_emission", "out_transition")
    for name, value in zip(names, (computed[0][0], computed[3], computed[2])):
        np.testing.assert_allclose(found[name], value, atol=1e-14)
    np.testing.assert_allclose(found["out_emission"][0], computed[1][0], atol=1e-14)


def first_steps(potentials, number):
    """The potentials of the first steps of a session alone."""
    initial, transition, emission = potentials
    return initial[0], transition[:number], emission[:number]
