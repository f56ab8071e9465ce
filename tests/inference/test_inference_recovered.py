"""Laws of what changes, found again in data drawn from them."""

import numpy as np
import pytest
import torch
from families import hidden_markov

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import compare_models, log_evidence
from glmhmm_pyro.components import Varying

STEP, STAYS = 0.3, 0.97


def walking(states):
    """Choices of 80 sessions over which the weights of the states walk."""
    rng, rows, choices = np.random.default_rng(3), [], []
    weights = np.array([[2.0, 0.5], [-2.0, -0.5]])[:states]
    for _ in range(80):
        weights = weights + STEP * rng.normal(size=weights.shape)
        state = rng.integers(states)
        for _ in range(100):
            state = state if rng.random() < STAYS else rng.integers(states)
            rows.append([rng.normal(), 1.0])
            odds = weights[state] @ rows[-1]
            choices.append(int(rng.random() < 1 / (1 + np.exp(-odds))))
    return gh.Sequences(choices, np.array(rows), lengths=[100] * 80)


@pytest.mark.parametrize("states", [1, 2])
def test_steps_of_a_walk_are_found_within_three_tenths(states):
    """Of every weight: the spread of 79 steps, each seen through 100 choices."""
    model = gh.GLMHMM(states, Varying(gh.Bernoulli(), law="walk"))
    fit = gh.fit(model, walking(states), "map", num_restarts=2, progress=False)
    found = fit.params["emissions.weights_step_scale"]
    assert found.shape == (states, 2)
    np.testing.assert_allclose(found, STEP, rtol=0.3)


def dwelling(phases, leave, sessions=10):
    """A model of that many phases, its parameters, and choices drawn from it."""
    blank = gh.Sequences(
        [0] * (600 * sessions), np.ones((600 * sessions, 1)), lengths=[600] * sessions
    )
    law = gh.SemiMarkov(gh.dwell.NegativeBinomial(phases=phases))
    model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(5.0)), law)
    model.bind(blank)
    true = {
        "initial.probs": [0.5, 0.5],
        "transitions.leave": leave,
        "emissions.weights": [[2.0], [-2.0]],
    }
    params = {n: torch.tensor(v, dtype=torch.float64) for n, v in true.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        y, _ = hidden_markov(model, blank, params).sample_with_states()
    return model, params, blank.replace(emissions=y.long())


def test_laws_of_dwell_times_are_found_within_a_tenth():
    """The chance to leave each of three phases, from some 200 dwells of every state."""
    model, params, data = dwelling(3, [0.15, 0.3])
    fit = gh.fit(model, data, num_restarts=2, progress=False)
    if fit.params["emissions.weights"][0] < 0:
        fit = fit.permuted([1, 0])
    found = fit.params["transitions.leave"]
    np.testing.assert_allclose(found, params["transitions.leave"], rtol=0.1)


def test_the_number_of_phases_is_chosen_by_folds_bic_and_evidence():
    """Dwells of four phases are told from geometric ones, and these from those."""
    for phases in (1, 4):
        _, _, data = dwelling(phases, [0.05 * phases, 0.04 * phases], sessions=4)
        models = {
            r: gh.GLMHMM(
                2,
                gh.Bernoulli(gh.priors.Ridge(5.0)),
                gh.SemiMarkov(gh.dwell.NegativeBinomial(r)),
            )
            for r in (1, 4)
        }
        options = {"num_restarts": 1, "progress": False}
        study = compare_models(models, data, folds=2, baselines=False, **options)
        evidence = {r: log_evidence(study.fits[r], data) for r in models}
        assert study.best == phases == study.table["bic"].idxmin()
        assert max(evidence, key=evidence.__getitem__) == phases
