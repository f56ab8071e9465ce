"""Calibration: exact draws pass, and draws that are too narrow are found out."""

from dataclasses import replace

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import Calibration, simulation_based_calibration
from glmhmm_pyro.inference import Posterior
from glmhmm_pyro.inference.fits.given import fit_at

STEPS = 12


class KnownNoise(gh.GLMEmission):
    """A linear regression whose noise is standard normal: its posterior is known."""

    def distribution(self, predictor):
        """A normal of standard deviation 1."""
        return dist.Normal(predictor, 1.0)


class Exact:
    """Draws from the posterior of a regression, in closed form, stretched if asked."""

    name = "exact"

    def __init__(self, stretch=1.0):
        self.stretch = stretch

    def fit(self, program, search):
        """A MAP fit, with draws."""
        found = gh.MAP(em_iters=0).fit(program, search)
        x, y = program.data.covariates, program.data.emissions
        precision = torch.eye(2).double() + x.T @ x
        mean = torch.linalg.solve(precision, x.T @ y)
        root = torch.linalg.cholesky(torch.linalg.inv(precision))
        generator = torch.Generator().manual_seed(search.seed)
        noise = torch.randn((31, 2), generator=generator, dtype=torch.float64)
        draws = mean + self.stretch * noise @ root.T
        posterior = Posterior({"emissions.weights": draws[None, :, None]})
        return replace(found, posterior=posterior)


@pytest.fixture(scope="module")
def regression():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((STEPS, 2), generator=generator, dtype=torch.float64)
    model = gh.GLMHMM(1, KnownNoise(prior=Normal(0.0, 1.0)))
    return model, gh.Sequences(torch.zeros(STEPS, dtype=torch.float64), x)


def calibrated(regression, method, num_simulations=160):
    model, data = regression
    options = {"num_simulations": num_simulations, "num_draws": 31, "num_restarts": 1}
    return simulation_based_calibration(model, data, method, progress=False, **options)


def test_exact_draws_are_calibrated(regression):
    found = calibrated(regression, Exact())
    # Three quantities: a false alarm once in 300 seeds.
    assert found.p_values().min() > 1e-2 / 3
    assert found.names[-1] == "log_likelihood" and found.ranks.shape == (160, 3)
    assert found.ranks.min() >= 0 and found.ranks.max() <= 31


@pytest.mark.parametrize("stretch", [0.5, 2.0])
def test_draws_too_narrow_or_too_wide_are_found_out(regression, stretch):
    found = calibrated(regression, Exact(stretch))
    weights = list(found.names[:2])
    assert found.p_values()[weights].max() < 1e-4
    spread = found.spread()[weights]
    assert (spread > 1.15).all() if stretch < 1 else (spread < 0.85).all()


def test_nuts_is_calibrated_on_two_states():
    # The short form of benchmarks/calibration.py: 16 data sets of 30 steps, which tell
    # gross faults alone. Six quantities: a false alarm once in 1000 seeds.
    generator = torch.Generator().manual_seed(1)
    x = torch.randn((30, 1), generator=generator, dtype=torch.float64)
    data = gh.Sequences(torch.zeros(30, dtype=torch.int64), x, lengths=[20, 10])
    even = Dirichlet(torch.full((2,), 2.0))
    model = gh.GLMHMM(
        2, gh.Bernoulli(prior=Normal(0.0, 2.0)), gh.Stationary(even), gh.Initial(even)
    )
    found = simulation_based_calibration(
        model,
        data,
        gh.NUTS(num_samples=45, num_warmup=30, num_chains=1, parallel=False),
        num_simulations=16,
        num_draws=15,
        num_restarts=1,
        progress=False,
    )
    assert len(found.names) == 6
    assert found.p_values(num_bins=4).min() > 1e-3 / 6


def test_states_are_put_in_order_by_values_alone():
    even = Dirichlet(torch.full((2,), 2.0))
    model = gh.GLMHMM(
        2, gh.Bernoulli(prior=Normal(0.0, 2.0)), gh.Stationary(even), gh.Initial(even)
    )
    data = gh.Sequences([0] * 8, [[1.0]] * 8)
    found = simulation_based_calibration(
        model, data, "laplace", num_simulations=4, num_draws=31, progress=False
    )
    first, second = (found.names.index(f"emissions.weights[{k}, 0]") for k in (0, 1))
    assert first != second and found.ranks.shape == (4, 6)


class FromPrior:
    """Draws from the prior of two means, perhaps renumbered by their size."""

    name = "prior"

    def __init__(self, is_sorted):
        self.is_sorted = is_sorted

    def fit(self, program, search):
        """The posterior where emissions tell nothing."""
        draws = {
            name: torch.stack([prior.sample() for _ in range(31)])[None]
            for name, prior in program.priors.items()
        }
        if self.is_sorted:
            weights = draws["emissions.weights"]
            draws["emissions.weights"] = weights.sort(-2)[0]
        first = {name: value[0, 0] for name, value in draws.items()}
        found = fit_at(program.model, program.data, first, self.name)
        return replace(found, posterior=Posterior(draws))


@pytest.mark.parametrize("is_sorted", [False, True])
def test_states_that_the_prior_tells_apart_keep_their_numbers(is_sorted):
    means = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    row = Dirichlet(torch.ones(2).double())
    prior = Normal(means, torch.ones(2, 1).double())
    model = gh.GLMHMM(2, gh.Bernoulli(prior), gh.Stationary(row), gh.Initial(row))
    found = simulation_based_calibration(
        model,
        gh.Sequences([0], [[0.0]]),
        FromPrior(is_sorted),
        num_simulations=60,
        num_draws=31,
        progress=False,
    )
    smallest = found.p_values(num_bins=4)["emissions.weights[0, 0]"]
    # Uniform ranks are as uneven once in a million seeds.
    assert (smallest < 1e-6) == is_sorted


def test_the_p_value_of_uniform_ranks_is_1_and_of_equal_ones_0():
    even = Calibration(np.arange(32)[:, None], ("a",), 31)
    assert even.p_values()["a"] == pytest.approx(1.0)
    assert even.spread()["a"] == pytest.approx(1.0)
    assert Calibration(np.zeros((32, 1), int), ("a",), 31).p_values()["a"] < 1e-12
    with pytest.raises(ValueError, match="num_bins must divide the 32"):
        even.p_values(num_bins=5)


def test_methods_without_draws_are_refused(regression):
    with pytest.raises(ValueError, match="at least num_draws = 31 draws, got 0"):
        calibrated(regression, "map", num_simulations=2)


def test_ranks_that_no_eight_bins_hold_alike_have_bins_of_their_own():
    few = Calibration(np.repeat(np.arange(3), 5)[:, None], ("a",), 2)
    assert few.p_values()["a"] == pytest.approx(1.0)
    assert "smallest p value 1" in repr(few)
    even = Calibration(np.arange(40)[:, None] % 20, ("a",), 19)
    assert even.p_values().equals(even.p_values(num_bins=10))
