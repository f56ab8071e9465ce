"""The evidence: against closed forms, quadrature, and its own maximum."""

import math
from dataclasses import replace

import pyro.distributions as dist
import pytest
import torch
from families import normals
from inference_cases import clear_data, penalised
from torch.distributions import MultivariateNormal, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import log_evidence
from glmhmm_pyro.priors import Flat

QUICK = {"num_restarts": 1, "progress": False}


class KnownNoise(gh.GLMEmission):
    """A linear regression whose noise is standard normal: its evidence is known."""

    def distribution(self, predictor):
        """A normal of standard deviation 1."""
        return dist.Normal(predictor, 1.0)


def regression_data(steps=40, features=3, seed=0):
    x = normals(steps, features, seed=seed)
    y = x @ normals(features, seed=seed + 1) + normals(steps, seed=seed + 2)
    return gh.Sequences(y, x)


def exact_evidence(data, covariance):
    """Log density of the emissions, the weights integrated out."""
    x, steps = data.covariates, data.num_steps
    total = x @ covariance @ x.T + torch.eye(steps).double()
    zero = torch.zeros(steps, dtype=torch.float64)
    return MultivariateNormal(zero, total).log_prob(data.emissions).item()


def test_the_evidence_of_a_regression_is_exact():
    data = regression_data()
    model = gh.GLMHMM(1, KnownNoise(prior=Normal(0.0, 0.5)))
    found = gh.fit(model, data, "map", **QUICK)
    expected = exact_evidence(data, 0.25 * torch.eye(3).double())
    assert log_evidence(found, data) == pytest.approx(expected, abs=1e-8)


class Seen(gh.GLMEmission):
    """States that are as good as seen: emissions are their numbers."""

    def distribution(self, predictor):
        """Narrow normals around the number of the state, whatever the weights."""
        return dist.Normal(0 * predictor + torch.arange(2.0).double(), WIDTH)


WIDTH = 2.0**-7


@pytest.mark.parametrize("prior", [(3.0, 2.0), None])
def test_the_evidence_of_probabilities_is_that_of_a_beta(prior):
    """Against the closed form, of which Laplace's integral is 1 / (12 n) off."""
    data = gh.Sequences([0.0] * 300 + [1.0] * 200, [[1.0]] * 500, lengths=[1] * 500)
    dirichlet = torch.distributions.Dirichlet
    first = gh.Initial(prior and dirichlet(torch.tensor(prior).double()))
    rows = gh.Stationary(dirichlet(torch.full((2,), 1e4).double()))
    model = gh.GLMHMM(2, Seen(prior=Normal(0.0, 1.0)), rows, first)
    found = gh.fit(model, data, "map", **QUICK)

    def log_beta(a, b):
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    a, b = prior or (1.0, 1.0)
    emitted = -500 * math.log(WIDTH * math.sqrt(2 * math.pi))
    exact = log_beta(a + 300, b + 200) - log_beta(a, b) + emitted
    assert log_evidence(found, data) == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize("lengths, error", [((120, 80), 0.1), ((600, 400), 0.03)])
def test_two_states_against_the_sum_over_a_grid(lengths, error):
    """Two weights, the probabilities fixed by strong priors; Laplace errs by 1 / n."""
    data = clear_data(lengths=lengths)
    data = gh.Sequences(data.emissions, data.covariates[:, :1], lengths=list(lengths))
    rows = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).double()
    half = torch.full((2,), 0.5).double()
    dirichlet = torch.distributions.Dirichlet
    model = gh.GLMHMM(
        2,
        gh.Bernoulli(prior=Normal(0.0, 2.0)),
        gh.Stationary(dirichlet(1e7 * rows)),
        gh.Initial(dirichlet(1e7 * half)),
    )
    found = gh.fit(model, data, "map", **QUICK)
    grid = torch.linspace(-4.0, 4.0, 81).double()
    pairs = torch.cartesian_prod(grid, grid)
    values = {
        "initial.probs": half.expand(1, 2),
        "transitions.probs": rows.expand(1, 2, 2),
        "emissions.weights": pairs[:, :, None],
    }
    hidden = found.model.hidden_markov_at(values, data)
    densities = hidden.log_prob(data.emissions)
    densities = densities + Normal(0.0, 2.0).log_prob(pairs).sum(-1)
    area = (densities.logsumexp(0) + 2 * math.log(0.1)).item()
    # The area has two hills, one for each numbering of the states.
    both = log_evidence(found, data) + math.log(2)
    assert both == pytest.approx(area, abs=error)


def test_the_fit_may_come_from_any_method_and_stays_as_it_is():
    data, model = clear_data(), penalised(transitions="stationary")
    by_em = gh.fit(model, data, num_restarts=2, progress=False)
    by_map = gh.fit(model, data, "map", num_restarts=2, progress=False)
    before = {name: value.clone() for name, value in by_em.params.items()}
    assert log_evidence(by_em, data) == pytest.approx(
        log_evidence(by_map, data), abs=1e-6
    )
    for name, value in before.items():
        assert torch.equal(value, by_em.params[name])


def test_a_flat_prior_of_probabilities_is_the_uniform_one():
    """Three states, whose simplex has a volume of a half."""
    data, ones = clear_data(), torch.distributions.Dirichlet(torch.ones(3).double())
    emissions = gh.Bernoulli(prior=Normal(0.0, 2.0))
    flat = gh.GLMHMM(3, emissions)
    uniform = gh.GLMHMM(3, emissions, gh.Stationary(ones), gh.Initial(ones))
    found = gh.fit(flat, data, "map", **QUICK)
    same = replace(found, model=uniform)
    assert log_evidence(found, data) == pytest.approx(log_evidence(same, data))
    assert Flat((2, 3), torch.distributions.constraints.simplex).log_volume == (
        pytest.approx(ones.log_prob(torch.ones(3).double() / 3).item() * -2)
    )
    inside = torch.distributions.constraints.interval(-1.0, 3.0)
    assert Flat((2,), inside).log_volume == pytest.approx(2 * math.log(4.0))
    assert Flat((2,)).log_volume == math.inf


def test_what_has_no_evidence_is_named():
    data = clear_data()
    flat = gh.GLMHMM(1, gh.Bernoulli())
    found = gh.fit(flat, data, "map", **QUICK)
    with pytest.raises(ValueError, match="proper priors, which emissions.weights lack"):
        log_evidence(found, data)


def test_a_direction_without_curvature_is_named():
    data = regression_data()

    class Sum(KnownNoise):
        """A prior of the weights' sum alone, whose density is flat along the rest."""

    def along_the_sum(shape):
        root = torch.full((3, 1), 1.0).double()
        return dist.LowRankMultivariateNormal(
            torch.zeros(3).double(), root, torch.full((3,), 1e24).double()
        ).expand(shape[:-1])

    x = torch.ones_like(data.covariates)
    data = gh.Sequences(data.emissions, x)
    found = gh.fit(gh.GLMHMM(1, Sum(prior=along_the_sum)), data, "map", **QUICK)
    with pytest.raises(ValueError, match="quadratic maximum: .*covariate"):
        log_evidence(found, data)


def test_what_is_no_fit_is_refused():
    with pytest.raises(TypeError, match="found must be a Fit, got GLMHMM"):
        log_evidence(gh.GLMHMM(2, gh.Bernoulli()), clear_data())
