"""Hyperparameters of the largest evidence: against the closed form of a regression."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from families import normals
from inference_cases import clear_data, penalised
from scipy.optimize import minimize
from torch.distributions import MultivariateNormal

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import log_evidence, maximise_evidence
from glmhmm_pyro.analysis.evidence import search_near
from glmhmm_pyro.inference.program.program import Program

LAGS, STEPS = 12, 150


class KnownNoise(gh.GLMEmission):
    """A linear regression whose noise is standard normal: its evidence is known."""

    def distribution(self, predictor):
        """A normal of standard deviation 1."""
        return dist.Normal(predictor, torch.ones((), dtype=torch.float64))


@pytest.fixture(scope="module")
def smooth():
    """Emissions of one smooth filter."""
    lags = torch.arange(LAGS).double()
    weights = 0.5 * torch.exp(-((lags - 5.0) ** 2) / 8.0)
    x = normals(STEPS, LAGS, seed=1)
    return gh.Sequences(x @ weights + normals(STEPS, seed=2), x)


def process(length, scale):
    prior = gh.priors.GaussianProcess(length, scale)
    return gh.GLMHMM(1, KnownNoise(prior=prior))


def exact(data, prior):
    covariance = prior((1, LAGS)).covariance_matrix[0]
    x = data.covariates
    total = x @ covariance @ x.T + torch.eye(STEPS).double()
    zero = torch.zeros(STEPS, dtype=torch.float64)
    return MultivariateNormal(zero, total).log_prob(data.emissions).item()


def test_length_and_size_of_a_smooth_filter_are_those_of_the_exact_evidence(smooth):
    start = {"length": 1.0, "scale": 1.0}
    found = maximise_evidence(process, start, smooth, progress=False)
    best = minimize(
        lambda logs: -exact(smooth, gh.priors.GaussianProcess(*np.exp(logs))),
        np.zeros(2),
        method="Nelder-Mead",
    )
    assert found.converged
    assert found.log_evidence == pytest.approx(-best.fun, abs=0.01)
    np.testing.assert_allclose(list(found.values.values()), np.exp(best.x), rtol=0.05)
    # Every evaluation is exact, not the last alone.
    for length, scale, value in found.table.itertuples(index=False):
        prior = gh.priors.GaussianProcess(length, scale)
        assert value == pytest.approx(exact(smooth, prior), abs=1e-6)


def test_the_fit_is_that_of_the_model_at_the_values(smooth):
    start = {"length": 1.0, "scale": 1.0}
    found = maximise_evidence(process, start, smooth, progress=False)
    covariance = gh.priors.GaussianProcess(
        **{"length_scale": found.values["length"], "scale": found.values["scale"]}
    )((1, LAGS)).covariance_matrix[0]
    x, y = smooth.covariates, smooth.emissions
    mean = torch.linalg.solve(torch.linalg.inv(covariance) + x.T @ x, x.T @ y)
    torch.testing.assert_close(
        found.fit.params["emissions.weights"][0], mean, atol=1e-4, rtol=0
    )
    evidence = log_evidence(found.fit, smooth)
    assert evidence == pytest.approx(found.log_evidence, abs=1e-6)


def test_a_round_search_ends_in_the_mode_of_a_plain_one():
    model, data = penalised(), clear_data()
    fit = gh.fit(model, data, num_restarts=2, progress=False)
    program = Program.of(fit.model, data)
    plain, _ = gh.MAP(tol=1e-9).density_mode(program, fit.params)
    for factor in (None, 3.0 * torch.eye(len(plain)).double()):
        mode, status = search_near(program, fit.params, factor)
        assert status is gh.Status.CONVERGED
        torch.testing.assert_close(mode, plain, atol=1e-4, rtol=1e-4)


def test_two_states_keep_to_the_optimum_of_the_best_start():
    data = clear_data(lengths=(300, 200))
    even = torch.distributions.Dirichlet(torch.full((2,), 2.0))

    def model(scale):
        emissions = gh.Bernoulli(prior=gh.priors.Ridge(scale))
        return gh.GLMHMM(2, emissions, gh.Stationary(even), gh.Initial(even))

    found = maximise_evidence(model, {"scale": 2.0}, data, progress=False)
    for factor in (0.8, 1.25):
        near = gh.fit(
            model(found.values["scale"] * factor),
            data,
            "map",
            init=found.fit.params,
            num_restarts=1,
            progress=False,
        )
        assert log_evidence(near, data) < found.log_evidence
    assert math.isfinite(found.fit.log_joint) and "scale = " in repr(found)


def test_a_search_that_a_bound_or_the_budget_stops_says_so(smooth):
    def ridge(scale):
        return gh.GLMHMM(1, KnownNoise(prior=gh.priors.Ridge(scale)))

    with pytest.warns(gh.ConvergenceWarning, match="stopped at a bound of scale"):
        found = maximise_evidence(
            ridge, {"scale": 5.0}, smooth, bounds={"scale": (2.0, 9.0)}, progress=False
        )
    assert found.values["scale"] == pytest.approx(2.0)
    with pytest.warns(gh.ConvergenceWarning, match="stopped before its end"):
        found = maximise_evidence(
            ridge, {"scale": 5.0}, smooth, max_evals=2, progress=False
        )
    assert not found.converged


def test_wrong_arguments_are_named(smooth):
    def call(start, make_model=process, **options):
        maximise_evidence(make_model, start, smooth, progress=False, **options)

    with pytest.raises(ValueError, match="start\\['scale'\\] must be a positive"):
        call({"length": 1.0, "scale": -1.0})
    with pytest.raises(ValueError, match="inside its bounds \\(2, 3\\), got 1.0"):
        call({"length": 1.0, "scale": 1.0}, bounds={"scale": (2, 3)})
    with pytest.raises(ValueError, match="which are length, got size"):
        call({"length": 1.0}, bounds={"size": (1, 2)})
    with pytest.raises(TypeError, match="start must be a Mapping, got float; give a"):
        call(1.0)
    with pytest.raises(TypeError, match="bounds must be a Mapping, got list; give a"):
        call({"length": 1.0}, bounds=[(1, 2)])
    with pytest.raises(ValueError, match="max_evals must be at least 1, got 0"):
        call({"length": 1.0}, max_evals=0)
    with pytest.raises(ValueError, match="which are none"):
        call({})
    with pytest.raises(ValueError, match="be proper .* flat ones of emissions.weights"):
        call({"s": 1.0}, lambda s: gh.GLMHMM(1, KnownNoise()))
    with pytest.raises(TypeError, match="make_model must return a GLMHMM"):
        call({"s": 1.0}, lambda s: s)
