"""Priors: flat or given, filled to a parameter's shape, in float64."""

import math

import pyro
import pytest
import torch
from families import MASK, log_joint, random_data, random_params
from pyro import poutine
from pyro.distributions import Delta
from torch.distributions import (
    Bernoulli,
    Beta,
    Dirichlet,
    HalfNormal,
    Independent,
    LogNormal,
    MultivariateNormal,
    Normal,
    constraints,
)

import glmhmm_pyro as gh
from glmhmm_pyro.priors import Flat
from glmhmm_pyro.priors.filling import fill

REAL, SIMPLEX = constraints.real, constraints.simplex


def test_a_flat_prior_costs_nothing_anywhere_on_its_support():
    flat = Flat((2, 3))
    values = 100 * torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(flat.log_prob(values), torch.zeros(5, 2, 3))
    assert flat.support is REAL
    simplex = Flat((2, 3), SIMPLEX)
    assert (simplex.batch_shape, simplex.event_shape) == ((2,), (3,))
    assert simplex.log_prob(torch.full((4, 2, 3), 1 / 3)).shape == (4, 2)


def test_a_flat_prior_without_bounds_starts_near_the_middle_of_its_support():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        real = Flat((1000,)).sample()
        more = Flat((3,)).expand((4,)).sample((5,))
    assert real.dtype == torch.float64 and more.shape == (5, 4)
    assert real.abs().max() < 0.6 and real.std() > 0.05


@pytest.mark.parametrize(
    "prior, shape",
    [
        (Normal(1.0, 2.0), (3, 2)),
        (Normal(torch.zeros(2), torch.ones(2)), (3, 2)),
        (Normal(torch.zeros(3, 1), torch.ones(3, 1)), (3, 2)),
        (pyro.distributions.Laplace(0.0, 1.0), (4,)),
        (MultivariateNormal(torch.zeros(2), torch.eye(2)), (3, 2)),
        (Dirichlet(torch.tensor([1.0, 2.0, 3.0])), (2, 3)),
        (Dirichlet(torch.ones(2, 2) + torch.eye(2)), (2, 2)),
        (pyro.distributions.Normal(0.0, 1.0).expand([2]).to_event(1), (3, 2)),
        (lambda shape: Normal(0.0, 1.0).expand(shape), (3, 2)),
        (lambda shape: pyro.distributions.Normal(0.0, 1.0).expand(shape), (3, 2)),
    ],
)
def test_a_prior_fills_the_shape_with_the_same_density(prior, shape):
    filled = fill(prior, shape, REAL)
    assert (filled.batch_shape, filled.event_shape) == ((), shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        value = filled()
    assert value.shape == shape and value.dtype == torch.float64
    given = (
        prior if isinstance(prior, torch.distributions.Distribution) else prior(shape)
    )
    expected = given.log_prob(value).sum().double()
    torch.testing.assert_close(filled.log_prob(value), expected, rtol=1e-6, atol=1e-6)


def test_a_prior_written_in_single_precision_is_raised_to_double():
    filled = fill(Normal(torch.tensor(0.1), torch.tensor(3.0)), (2,), REAL)
    value = torch.tensor([0.5, -0.25], dtype=torch.float64)
    expected = Normal(torch.tensor(0.1).double(), 3.0).log_prob(value).sum()
    torch.testing.assert_close(filled.log_prob(value), expected, rtol=1e-15, atol=0)


def test_filling_leaves_the_given_prior_alone():
    prior = Normal(torch.zeros(2), torch.ones(2))
    fill(prior, (3, 2), REAL)
    assert prior.loc.dtype == torch.float32 and prior.batch_shape == (2,)


@pytest.mark.parametrize(
    "prior, got",
    [
        (Normal(torch.zeros(4), torch.ones(4)), r"Normal of shape \(4,\)"),
        (
            Normal(torch.zeros(5, 3, 2), torch.ones(5, 3, 2)),
            r"Normal of shape \(5, 3, 2\)",
        ),
        (Dirichlet(torch.ones(3)), r"Dirichlet of shape \(3,\)"),
        (lambda shape: Normal(0.0, 1.0), r"\(\); expand it"),
    ],
)
def test_a_prior_of_a_wrong_shape_is_refused(prior, got):
    with pytest.raises(ValueError, match=rf"shape.*\(3, 2\).*got {got}"):
        fill(prior, (3, 2), REAL)


@pytest.mark.parametrize("prior, got", [(2.0, "got 2.0"), (lambda s: 2.0, "got float")])
def test_what_is_no_prior_is_refused(prior, got):
    with pytest.raises(TypeError, match=got):
        fill(prior, (3, 2), REAL)


@pytest.mark.parametrize(
    "prior, hint",
    [
        ("ridge", "got 'ridge'; gh.priors.Ridge"),
        (gh.priors.Ridge, r"make one of the class: Ridge\(...\)"),
        (2.0, r"Normal\(0, 2.0\) is a penalty"),
    ],
)
def test_what_is_no_prior_is_refused_where_it_is_written(prior, hint):
    with pytest.raises(TypeError, match=hint):
        gh.Bernoulli(prior=prior)


@pytest.mark.parametrize("prior", [gh.priors.Ridge(), Normal(0.0, 1.0)])
def test_a_prior_of_other_values_is_refused_in_a_sentence_of_its_own(prior):
    model = gh.GLMHMM(2, gh.Bernoulli(), gh.Stationary(prior=prior))
    with pytest.raises(ValueError) as raised:
        gh.fit(model, random_data(), progress=False)
    assert str(raised.value) == (
        "prior of transitions.probs must be of values in simplex, got Normal, of "
        "values in real; give a Dirichlet or gh.priors.Sticky, or None for flat"
    )


def test_a_prior_of_fewer_values_than_the_parameter_may_take_is_fine():
    assert fill(HalfNormal(1.0), (3, 2), REAL).event_shape == (3, 2)
    positive = constraints.positive
    assert fill(Beta(2.0, 2.0), (3,), positive).event_shape == (3,)
    with pytest.raises(ValueError, match="in positive, got Normal.*LogNormal"):
        fill(Normal(0.0, 1.0), (3,), positive)


NARROW = {
    "a weight": ("weights", 1.0, {"prior": Normal(1.0, 0.001)}),
    "a scale": ("scale", 2.0, {"scale_prior": LogNormal(math.log(2.0), 0.001)}),
}


@pytest.mark.parametrize("name", NARROW)
def test_a_value_is_fixed_by_a_narrow_prior_as_is_advised(name):
    site, value, priors = NARROW[name]
    with pytest.raises(ValueError, match="give a narrow one around the value"):
        gh.Gaussian(**{argument: Delta(torch.tensor(value)) for argument in priors})
    data = gh.Sequences(torch.arange(30.0).sin())
    fit = gh.fit(gh.GLMHMM(1, gh.Gaussian(**priors)), data, progress=False)
    assert fit.status is gh.Status.CONVERGED
    found = fit.params[f"emissions.{site}"]
    assert found.flatten().tolist() == pytest.approx([value], rel=0.01)


def test_probabilities_are_fixed_by_a_narrow_prior_as_is_advised():
    value = torch.tensor([0.3, 0.7], dtype=torch.float64)
    model = gh.GLMHMM(
        2,
        gh.Bernoulli(gh.priors.Ridge(1.0)),
        gh.Stationary(gh.priors.Sticky(5.0, 2.0)),
        gh.Initial(Dirichlet(1e6 * value)),
    )
    fit = gh.fit(model, gh.Sequences([0, 1, 1, 0, 0, 1]), progress=False)
    torch.testing.assert_close(fit.params["initial.probs"], value, atol=1e-4, rtol=0.0)


def test_a_site_of_one_value_in_a_users_model_is_refused():
    def model(data):
        at = pyro.sample("at", Delta(torch.zeros((), dtype=torch.float64)))
        hidden = gh.HiddenMarkov(
            torch.zeros(1, 1).double(),
            torch.zeros(1, 1, 1).double(),
            Bernoulli(logits=at.expand(data.num_steps, 1)),
            data.lengths,
        )
        pyro.sample("y", hidden, obs=data.emissions.double())

    with pytest.raises(ValueError, match="site 'at' must have a density, got Delta"):
        gh.fit(model, gh.Sequences([0, 1]), progress=False)


def test_the_explanation_of_a_model_tells_its_priors():
    moves = gh.Stationary(prior=gh.priors.Sticky(stay=20.0, move=2.0))
    told = gh.GLMHMM(2, gh.Bernoulli(), moves).explain()
    assert told.endswith("\nPrior of transitions.probs: Sticky(stay=20.0, move=2.0).")


@pytest.mark.parametrize(
    "prior, said",
    [
        (Normal(0.0, 2.0), "Normal(loc=0.0, scale=2.0)"),
        (
            Normal(0.0, torch.tensor([1.0, 0.3])),
            "Normal(loc=[0.0, 0.0], scale=[1.0, 0.3])",
        ),
        (
            Independent(Normal(0.0, 1.0).expand([1]), 1),
            "Normal(loc=[0.0], scale=[1.0])",
        ),
        (LogNormal(0.0, 0.5), "LogNormal(loc=0.0, scale=0.5)"),
        (
            Normal(torch.zeros(9, 2), 1.0),
            "Normal(loc=9 x 2 values, scale=9 x 2 values)",
        ),
    ],
)
def test_a_prior_is_told_with_the_numbers_it_was_made_of(prior, said):
    told = gh.GLMHMM(2, gh.Bernoulli(prior)).explain()
    assert told.endswith(f"\nPrior of emissions.weights: {said}.")


def test_a_wrong_prior_is_named_when_the_model_meets_the_data():
    model = gh.GLMHMM(2, gh.Bernoulli(prior=Normal(torch.zeros(5), torch.ones(5))))
    with pytest.raises(ValueError, match=r"prior.*\(2, 2\).*got Normal.* \(5,\)"):
        gh.fit(model, random_data(), progress=False)


@pytest.mark.parametrize(
    "make",
    [
        lambda prior: gh.Bernoulli(prior=prior),
        lambda prior: gh.GLMEmission(prior=prior),
        lambda prior: gh.InputDriven(prior=prior),
        lambda prior: gh.SharedInputDriven(prior=prior),
        lambda prior: gh.InitialGLM(prior=prior),
    ],
)
def test_a_component_keeps_the_prior_it_was_given(make):
    prior = Normal(0.0, 2.0)
    component = make(prior)
    assert component.prior is prior and component.sites["weights"].prior is prior


def test_a_flat_prior_makes_the_log_joint_the_log_likelihood():
    data = random_data(mask=MASK)
    model = gh.GLMHMM(2, gh.Bernoulli(), gh.InputDriven())
    model.bind(data)
    params = random_params(model, data)
    trace = poutine.trace(poutine.condition(model, data=params)).get_trace(data)
    joint = log_joint(model, data, params)
    torch.testing.assert_close(joint, trace.nodes["y"]["fn"].log_prob(data.emissions))


def test_two_reads_of_a_parameter_in_one_call_are_one_draw():
    model = gh.GLMHMM(2, gh.Bernoulli(prior=Normal(0.0, 1.0)))
    data = random_data()
    model.bind(data)
    first, second = _reads(model)
    assert torch.equal(first, second)


@pyro.nn.pyro_method
def _reads(self):
    with torch.random.fork_rng(devices=[]):
        return self.emissions.weights, self.emissions.weights
