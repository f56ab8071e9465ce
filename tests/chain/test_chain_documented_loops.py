"""The loops in the kernels' documentation compute what the kernels do."""

import re
import textwrap

import numpy as np
import pytest
import torch
from chain_cases import random_potentials
from oracles import by_session, log_marginals, path_posterior

from glmhmm_pyro.chain import scaled_kernels, stationary_kernels

LENGTHS = torch.tensor([5])


@pytest.mark.parametrize(
    "module, shared", [(scaled_kernels, False), (stationary_kernels, True)]
)
def test_the_documented_loop_is_the_enumerated_posterior(module, shared):
    potentials = random_potentials(3, LENGTHS, shared=(True, shared))
    initial, transition, emission = (x.numpy() for x in potentials)
    loop = re.search(r"::\n\n((?:    .*\n|\n)+)", module.__doc__)[1]
    found = {
        **{"exp": np.exp, "log": np.log, "sum": np.sum, "n": len(emission)},
        **{"initial": initial[0], "transition": transition, "emission": emission},
        **{name: np.zeros_like(emission) for name in ("alpha", "beta")},
        **{"pairs": np.zeros((3, 3)), "out_transition": np.zeros_like(transition)},
    }
    exec(textwrap.dedent(loop), found)
    (posterior,) = (path_posterior(*s) for s in by_session(*potentials, LENGTHS))
    pairs = posterior.pairwise.numpy()
    np.testing.assert_allclose(found["out_emission"], posterior.smoothed.numpy())
    np.testing.assert_allclose(
        found["out_transition"], pairs.sum(0, keepdims=True) if shared else pairs
    )
    total = log_marginals(*potentials, LENGTHS).numpy()
    np.testing.assert_allclose(found["log_marginal"], total[0])
