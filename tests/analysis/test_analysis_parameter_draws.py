"""Parameters of tables by state: drawn by the curvature, or held and said so."""

import numpy as np
import pytest
import torch
from torch.distributions import Dirichlet

import glmhmm_pyro as gh
from glmhmm_pyro import analysis
from glmhmm_pyro.analysis.states.parameter_draws import DRAWN, HELD, NORMAL, with_draws
from glmhmm_pyro.inference.fits.given import fit_at

QUICK = {"num_restarts": 1, "progress": False}
EVEN = Dirichlet(torch.full((2,), 5.0))
MODEL = gh.GLMHMM(
    2, gh.Bernoulli(gh.priors.Ridge(2.0)), gh.Stationary(EVEN), gh.Initial(EVEN)
)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    states = (np.arange(240) // 12) % 2
    x = np.column_stack([rng.normal(size=240), np.ones(240)])
    y = rng.random(240) < 1 / (1 + np.exp(-x[:, 0] - 4 * states + 2))
    return gh.Sequences(y.astype(int), x, lengths=[60] * 4)


@pytest.fixture(scope="module")
def fit(data):
    return gh.fit(MODEL, data, "map", **QUICK)


def test_draws_spread_as_the_standard_errors_say(fit, data):
    drawn, said = with_draws(fit, data, 4000, 0)
    assert said == NORMAL
    values = drawn.draws["emissions.weights"][0].numpy()
    for state in range(2):
        exact = fit.covariance(data).values[state]
        np.testing.assert_allclose(np.cov(values[:, state].T), exact, atol=0.05)
    # On log-odds, on which a normal is drawn, and the delta method is exact.
    stays = drawn.draws["transitions.probs"][0, :, 0, 0].logit().std()
    stay = fit.params["transitions.probs"][0, 0].item()
    error = fit.standard_errors(data)["transitions.probs"].values[0, 0]
    assert float(stays) == pytest.approx(error / (stay * (1 - stay)), rel=0.1)


def test_intervals_are_those_of_paths_at_the_draws(fit, data):
    """Wider than with parameters held; estimates stay those of the fit."""
    table = analysis.occupancy(fit, data)
    given = analysis.occupancy(fit_at(MODEL, data, fit.params, "them"), data)
    assert table.attrs["parameters"] == NORMAL
    np.testing.assert_allclose(table.estimate, given.estimate, atol=1e-10)
    assert ((table.upper - table.lower) > 1.1 * (given.upper - given.lower)).all()
    laplace = gh.fit(MODEL, data, "laplace", init=fit.params, **QUICK)
    ends = analysis.occupancy(laplace, data)
    assert ends.attrs["parameters"] == DRAWN
    width = (table.upper - table.lower) / (ends.upper - ends.lower)
    assert (width > 0.7).all() and (width < 1.4).all()


def test_parameters_that_are_held_have_a_reason(fit, data):
    given = fit_at(MODEL, data, fit.params, "them")
    with pytest.warns(gh.ConvergenceWarning, match="not yet converged"):
        unknown = gh.fit(MODEL, data, tol=0.0, num_iters=2, **QUICK)
    for held, others, why in (
        (given, data, "they were given"),
        (unknown, data, "not yet converged"),
        (fit, data.subset([0, 1]), "the data are not those fitted"),
    ):
        same, said = with_draws(held, others, 10, 0)
        assert same is held and said == f"{HELD}: {said[len(HELD) + 2:]}"
        assert why in said
    choices = data.emissions.numpy()
    few = {"num_samples": 4}
    table = analysis.accuracy_by_state(fit, data, choices, weights="predicted", **few)
    assert table.attrs["parameters"] == HELD
    table = analysis.column_by_state(fit, data, choices, statistic="unmixed", **few)
    assert table.attrs["parameters"] == HELD


def test_a_border_is_held_and_the_rest_is_drawn(data):
    flat = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(2.0)), gh.Stationary(EVEN))
    fit = gh.fit(flat, data.replace(lengths=[240]), "map", **QUICK)
    drawn, said = with_draws(fit, data.replace(lengths=[240]), 50, 0)
    assert said.startswith(NORMAL) and "at the border of their support" in said
    first = drawn.draws["initial.probs"][0]
    assert float((first - fit.params["initial.probs"]).abs().max()) < 1e-6
    assert float(drawn.draws["emissions.weights"].std(1).min()) > 0.01
