"""Semi-Markov log-likelihoods at fixed parameters against LaMa's, an R package.

The numbers are those of ``forward_hsmm`` and ``forward_ihsmm`` of LaMa (Koslik, on
CRAN), for the data and parameters below: of their recursion as its source has it
(github.com/janoleko/LaMa, R/hsmm_functions.R, commit 2600f47), run in R 4.2.2 with
dense matrices, without the package's automatic differentiation, which was not at hand.

LaMa takes the law of a dwell from the covariates of the step where it begins, this
package the hazard from those of the step where it may end; both say every law, and LaMa
was given the one that has these hazards. Its function for driven laws leaves out the
first 11 steps, as many as a state has phases less one.
"""

import numpy as np
import pytest
import torch
from families import hidden_markov

import glmhmm_pyro as gh
from glmhmm_pyro.components import dwell

STEPS = np.arange(1, 151)
CHOICES = (np.sin(STEPS) + np.sin(0.37 * STEPS**1.3) > 0.2).astype(int)
COVARIATES = np.stack([np.ones(150), np.cos(0.2 * STEPS)], 1)

FIRSTS = [0.2, 0.5, 0.3]
CHANCES = [0.9, 0.5, 0.15]
JUMPS = [[0.7, 0.3], [0.4, 0.6], [0.5, 0.5]]


def log_likelihood(transitions, values, firsts=FIRSTS, chances=CHANCES, begin=0):
    """Of the choices from step ``begin`` on; no ``firsts`` for stationary ones."""
    x = COVARIATES[begin:]
    data = gh.Sequences(CHOICES[begin:], x[:, :1], transition_covariates=x)
    initial = None if firsts else gh.StationaryInitial()
    model = gh.GLMHMM(len(chances), gh.Bernoulli(), transitions, initial)
    model.bind(data)
    given = {f"transitions.{name}": value for name, value in values.items()}
    given["emissions.weights"] = np.log(chances / (1 - np.array(chances)))[:, None]
    if firsts:
        given["initial.probs"] = firsts
    tensors = {n: torch.tensor(np.array(v, dtype=float)) for n, v in given.items()}
    return float(hidden_markov(model, data, tensors).log_prob(data.emissions))


def test_poisson_dwells_that_begin_with_the_session():
    transitions = gh.components.SemiMarkov(dwell.Poisson(20))
    found = log_likelihood(transitions, {"rate": [2, 5, 9], "jump_probs": JUMPS})
    assert found == pytest.approx(-108.479717925726, abs=1e-9)


def test_poisson_dwells_of_a_stationary_process():
    transitions = gh.components.SemiMarkov(dwell.Poisson(20), first="stationary")
    values = {"rate": [2, 5, 9], "jump_probs": JUMPS}
    found = log_likelihood(transitions, values, firsts=None)
    assert found == pytest.approx(-108.875870158202, abs=1e-9)


@pytest.mark.parametrize(
    "first, firsts, lama",
    [("fresh", FIRSTS, -113.16487004204), ("stationary", None, -113.394560717184)],
)
def test_negative_binomial_dwells(first, firsts, lama):
    # LaMa cuts the law off, here after 28, 58 and 120 steps.
    transitions = gh.components.SemiMarkov(dwell.NegativeBinomial(3), first=first)
    values = {"leave": [0.6, 0.35, 0.2], "jump_probs": JUMPS}
    assert log_likelihood(transitions, values, firsts) == pytest.approx(lama, abs=1e-8)


def test_dwells_that_covariates_drive():
    transitions = gh.components.SemiMarkov(dwell.Poisson(12, driven=True))
    values = {"dwell_weights": [[1.5, 0.5], [1.2, -0.4]]}
    found = log_likelihood(transitions, values, [0.4, 0.6], [0.85, 0.25], begin=11)
    assert found == pytest.approx(-108.903691101986, abs=1e-9)


def test_jumps_that_covariates_drive():
    transitions = gh.components.SemiMarkov(dwell.Poisson(12), jumps="driven")
    weights = [[[0.5, 0.8]], [[-1.0, 0.6]], [[0.3, -0.7]]]
    values = {"rate": [2, 4, 6], "jump_weights": weights}
    found = log_likelihood(transitions, values, begin=11)
    assert found == pytest.approx(-98.0217436577014, abs=1e-9)
