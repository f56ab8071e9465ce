"""Known states, offsets of counts, and one family for many outputs."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.distributions import Poisson

import glmhmm_pyro as gh
from glmhmm_pyro.components import KnownStates, NegativeBinomial

QUICK = {"num_restarts": 1, "progress": False}


def labelled():
    """Choices of two sessions, the state known at some steps."""
    rng = np.random.default_rng(0)
    states = np.repeat([0, 1, 0, 1], 15)
    choices = (rng.random(60) < np.array([0.2, 0.8])[states]).astype(float)
    known = np.where(rng.random(60) < 0.2, states, np.nan)
    both = np.column_stack([choices, known])
    return gh.Sequences(both, lengths=[30, 30], emission_names=["choice", "state"])


def known_model():
    return gh.GLMHMM(2, gh.Outputs(choice=gh.Bernoulli(), state=KnownStates()))


def test_known_states_leave_the_paths_that_pass_through_them():
    data = labelled()
    fit = gh.fit(known_model(), data, "em", **QUICK)
    part = gh.Sequences(
        [[1, math.nan], [0, 1], [0, math.nan], [1, 0], [1, math.nan]],
        emission_names=["choice", "state"],
    )
    initial = fit.params["initial.probs"]
    moves = fit.params["transitions.probs"]
    ones = torch.sigmoid(fit.params["emissions.choice.weights"][:, 0])
    total, at_first = 0.0, 0.0
    for path in itertools.product(range(2), repeat=5):
        if path[1] != 1 or path[3] != 0:
            continue
        p = float(initial[path[0]])
        for i, j in zip(path[:-1], path[1:]):
            p *= float(moves[i, j])
        for state, y in zip(path, part.emissions[:, 0]):
            p *= float(ones[state] if y == 1 else 1 - ones[state])
        total, at_first = total + p, at_first + p * (path[0] == 1)
    found = fit.distribution(part)
    assert float(found.log_prob(part.emissions)) == pytest.approx(math.log(total))
    probs = found.smoothed_probs(part.emissions)
    torch.testing.assert_close(probs[[1, 3], [1, 0]].tolist(), [1.0, 1.0])
    assert float(probs[0, 1]) == pytest.approx(at_first / total)


def test_known_states_tell_which_state_is_which_and_count_no_parameter():
    data = labelled()
    for method in ("em", "map"):
        fit = gh.fit(known_model(), data, method, **QUICK)
        assert fit.num_parameters == 5
        weights = fit.params["emissions.choice.weights"][:, 0]
        assert weights[0] < 0 < weights[1]
        probs = fit.distribution(data).smoothed_probs(data.emissions)
        seen = data.mask[:, 1]
        named = probs[seen].gather(1, data.emissions[seen, 1].long()[:, None])
        torch.testing.assert_close(named, torch.ones_like(named))
    turned = fit.permuted([1, 0])
    assert turned.params["emissions.state.codes"].tolist() == [1, 0]
    assert turned.score(data) == pytest.approx(fit.score(data))
    with pytest.raises(ValueError, match="labels 0 to 1 for KnownStates"):
        known_model().bind(
            data.replace(emissions=data.emissions * torch.tensor([1, 2]))
        )


def test_a_simulation_shows_the_states_that_it_drew():
    fit = gh.fit(known_model(), labelled(), "map", **QUICK)
    drawn, states = fit.simulate(labelled(), seed=1)
    assert drawn.emissions[:, 1].tolist() == states.tolist()


def counts(num_outputs=3, num_steps=150):
    rng = np.random.default_rng(2)
    states = np.repeat([0, 1], num_steps // 2)
    x = rng.normal(size=num_steps)
    rates = np.exp(np.stack([[0.3, 1.5], [1.2, -0.4], [0.0, 0.8]])[:, states].T)
    rates = rates * np.exp(0.2 * x[:, None])
    y = rng.poisson(rates)[:, :num_outputs].astype(float)
    return gh.Sequences(
        y[:, 0] if num_outputs == 1 else y,
        np.column_stack([x, np.ones(num_steps)]),
        covariate_names=["x", "one"],
    )


@pytest.mark.parametrize("family", [gh.Poisson, NegativeBinomial])
@pytest.mark.parametrize("method", ["em", "map"])
def test_an_offset_is_the_exposure_of_a_rate(family, method):
    data = counts(1)
    ridge = gh.priors.Ridge(5.0)
    wider = data.replace(
        covariates=torch.cat(
            [torch.linspace(-1, 1, 150)[:, None].double(), data.covariates], 1
        ),
        covariate_names=["log_minutes", "x", "one"],
    )
    options = {"dispersion_prior": gh.priors.Fixed(0.3)}
    options = options if family is NegativeBinomial else {}
    model = gh.GLMHMM(1, family(ridge, offset="log_minutes", **options))
    fit = gh.fit(model, wider, method, **QUICK)
    weights = fit.params["emissions.weights"][0]
    assert weights[0] == 1 and fit.num_parameters == 2
    # The same rates by hand: exp(log exposure + w'x), and none better.
    predictor = (
        wider.covariates[:, 0] + data.covariates @ weights[1:]
    ).requires_grad_()
    if family is gh.Poisson:
        law = Poisson(predictor.exp(), validate_args=False)
    else:
        mean = predictor.exp()
        law = torch.distributions.NegativeBinomial(
            torch.tensor(1 / 0.3).double(), logits=(0.3 * mean).log()
        )
    log_prob = law.log_prob(data.emissions).sum()
    assert fit.log_likelihood == pytest.approx(log_prob.item())
    (slope,) = torch.autograd.grad(log_prob, predictor)
    gradient = data.covariates.T @ slope - weights[1:] / 25
    assert gradient.abs().max() < 1e-3


def test_an_offset_must_be_a_covariate():
    model = gh.GLMHMM(1, gh.Poisson(offset="log_seconds"))
    with pytest.raises(ValueError, match="which are x, one, got 'log_seconds'"):
        gh.fit(model, counts(1), **QUICK)


@pytest.mark.parametrize("masked", [False, True])
def test_many_outputs_are_a_family_for_each(masked):
    data = counts()
    if masked:
        seen = np.random.default_rng(4).random((150, 3)) < 0.8
        data = data.with_mask(seen)
    ridge = gh.priors.Ridge(3.0)
    names = {"a": gh.Poisson(ridge), "b": gh.Poisson(ridge), "c": gh.Poisson(ridge)}
    apart = gh.GLMHMM(2, gh.Outputs(**names))
    one = gh.GLMHMM(2, gh.Poisson(ridge, num_outputs=3))
    for method in ("em", "map"):
        fit = gh.fit(one, data, method, **QUICK)
        other = gh.fit(
            apart, data.replace(emission_names=["a", "b", "c"]), method, **QUICK
        )
        assert fit.num_parameters == other.num_parameters
        assert fit.log_joint == pytest.approx(other.log_joint, abs=1e-5)
        stacked = [other.params[f"emissions.{name}.weights"] for name in names]
        others = torch.stack(stacked, 1)
        found = fit.params["emissions.weights"]
        gaps = [float((found[o] - others).abs().max()) for o in ([0, 1], [1, 0])]
        assert min(gaps) < 1e-3
    assert fit.parameters["emissions.weights"].dims == ("state", "output", "covariate")
    rates = (data.covariates[:2] @ found.flatten(0, 1).T).exp().reshape(2, 2, 3)
    hidden = fit.distribution(data)
    torch.testing.assert_close(hidden.emission_dist.mean[:2], rates)


def test_the_fast_step_of_many_outputs_has_the_derivatives_of_their_sum():
    data = counts().with_mask(np.random.default_rng(5).random((150, 3)) < 0.7)
    model = gh.GLMHMM(2, gh.Poisson(num_outputs=3))
    model.bind(data)
    objective = model.emissions.block_objective(data)
    torch.manual_seed(0)
    weights = torch.randn(4, 6, dtype=torch.float64)
    share = torch.rand(2, 150, 2, dtype=torch.float64)
    leaf = weights.clone().requires_grad_()
    rows = leaf.reshape(2, 2, 3, 2)
    rates = torch.einsum("tf,skof->stko", data.covariates, rows).exp()
    logs = Poisson(rates, validate_args=False).log_prob(data.emissions[:, None])
    logs = torch.where(data.mask[:, None], logs, 0.0).sum(-1)
    expected = (share * logs).sum(1).flatten()
    (gradient,) = torch.autograd.grad(expected.sum(), leaf)
    values, slopes = objective(weights.numpy(), np.arange(4), objective.prepare(share))
    np.testing.assert_allclose(values, expected.detach())
    np.testing.assert_allclose(slopes, gradient, atol=1e-9)


def test_outputs_of_another_number_are_refused_with_the_one_that_fits():
    with pytest.raises(ValueError, match=r"\(150, 3\); give Poisson\(num_outputs=3\)"):
        gh.GLMHMM(2, gh.Poisson()).bind(counts())
    with pytest.raises(ValueError, match=r"\(steps, 4\) for Poisson\(num_outputs=4\)"):
        gh.GLMHMM(2, gh.Poisson(num_outputs=4)).bind(counts())
