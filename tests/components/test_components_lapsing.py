"""Lapses: the mixture written out, fits that find it, and what they are not for."""

import numpy as np
import pytest
import torch
from families import normals
from inference_cases import clear_data
from scipy import optimize
from torch.distributions import Dirichlet

import glmhmm_pyro as gh
from glmhmm_pyro.components import Lapsing
from glmhmm_pyro.inference.kinds.separated import label_information

QUICK = {"num_restarts": 1, "progress": False}


def psychometric(x, weights, left, right):
    """Probability of 1 of the function that psychophysicists fit."""
    return right + (1 - left - right) / (1 + np.exp(-x @ weights))


@pytest.fixture(scope="module")
def choices():
    """Choices by a psychometric function with lapses."""
    rng = np.random.default_rng(0)
    x = np.c_[3 * rng.normal(size=1500), np.ones(1500)]
    y = rng.random(1500) < psychometric(x, [1.5, -0.4], 0.15, 0.08)
    return gh.Sequences(y.astype(int), x, lengths=[300] * 5, class_names=["l", "r"])


def test_labels_have_the_probabilities_of_the_mixture():
    predictor = normals(5, 2, 2)
    rates = torch.tensor([[0.7, 0.1, 0.15, 0.05], [1.0, 0.0, 0.0, 0.0]]).double()
    table = Lapsing(gh.Categorical(3)).distribution(predictor, rates)
    softmax = torch.cat([torch.zeros(5, 2, 1), predictor], -1).softmax(-1)
    expected = rates[:, :1] * softmax + rates[:, 1:]
    torch.testing.assert_close(table.probs, expected)
    binary = Lapsing(gh.Bernoulli()).distribution(
        predictor[..., 0], rates[:, :3] / rates[:, :3].sum(-1, keepdim=True)
    )
    own = rates[:, :3] / rates[:, :3].sum(-1, keepdim=True)
    expected = own[:, 0] * predictor[..., 0].sigmoid() + own[:, 2]
    torch.testing.assert_close(binary.probs, expected)


def test_far_out_a_lapse_is_all_that_is_left_and_none_is_lost():
    rates = torch.tensor([[0.9, 0.04, 0.06], [1.0, 0.0, 0.0]]).double()
    far = torch.tensor([-800.0, -800.0]).double()
    law = Lapsing(gh.Bernoulli()).distribution(far, rates)
    found = law.log_prob(torch.ones(2).double())
    torch.testing.assert_close(found, torch.tensor([np.log(0.06), -800.0]))


def test_information_about_a_predictor_is_that_of_the_mixture():
    """The expected square of the slope of the log-probability, by autograd."""
    rates = torch.tensor([[0.7, 0.1, 0.15, 0.05], [1.0, 0.0, 0.0, 0.0]]).double()
    counts = normals(4, 2, seed=1).square()

    def probs(free):
        law = Lapsing(gh.Categorical(3)).distribution(free[..., 1:], rates)
        return law.logits.softmax(-1)

    # That of the reference, which has no weights, would be that of a free predictor.
    free = torch.cat([torch.zeros(4, 2, 1), normals(4, 2, 2)], -1).double()
    at = probs(free)
    slopes = torch.autograd.functional.jacobian(probs, free)
    own = torch.einsum("tkjtkc->tkjc", slopes)
    expected = counts[..., None] * (own**2 / at[..., None]).sum(-2)
    found = label_information(at, counts, rates)
    torch.testing.assert_close(found[..., 1:], expected[..., 1:])


@pytest.mark.parametrize("method", ["em", "map"])
def test_a_step_beside_lapses_has_no_finite_weight(method):
    """Lapses hide that the slope grows without end: each label has a probability."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    x = x[np.abs(x) > 0.05]
    lapsed = rng.random(len(x)) < 0.2
    y = np.where(lapsed, rng.integers(0, 2, len(x)), x > 0).astype(int)
    data = gh.Sequences(y, np.c_[x, np.ones(len(x))], covariate_names=["s", "bias"])
    with pytest.warns(gh.ConvergenceWarning, match="weight of 's' .* hardly bound"):
        fit = gh.fit(gh.GLMHMM(1, Lapsing(gh.Bernoulli())), data, method, **QUICK)
    assert fit.status is gh.Status.UNBOUNDED
    held = gh.GLMHMM(1, Lapsing(gh.Bernoulli(gh.priors.Ridge(2.0))))
    assert gh.fit(held, data, method, **QUICK).status is gh.Status.CONVERGED


def test_one_state_is_the_psychometric_function_of_maximal_likelihood(choices):
    """Against scipy, by Nelder and Mead on logits of the rates."""
    x, y = choices.covariates.numpy(), choices.emissions.numpy()

    def loss(free):
        rates = np.exp(free[2:]) / (1 + np.exp(free[2:]).sum())
        p = psychometric(x, free[:2], *rates)
        return -np.log(np.where(y, p, 1 - p)).sum()

    options = {"xatol": 1e-9, "fatol": 1e-10, "maxiter": 4000}
    least = optimize.minimize(
        loss, [1.0, 0, -2, -2], method="Nelder-Mead", options=options
    )
    rates = np.exp(least.x[2:]) / (1 + np.exp(least.x[2:]).sum())
    for method in ("em", "map"):
        fit = gh.fit(gh.GLMHMM(1, Lapsing(gh.Bernoulli())), choices, method, **QUICK)
        assert fit.log_likelihood == pytest.approx(-least.fun, abs=1e-6)
        shown = fit.parameters["emissions.guessing"]
        np.testing.assert_allclose(shown.sel(state=0), rates, atol=1e-4)
        assert shown.coords["class"].values.tolist() == ["l", "r"]
        weights = fit.parameters["emissions.weights"]
        np.testing.assert_allclose(weights[0], least.x[:2], atol=1e-3)
    assert fit.num_parameters == 4
    plain = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), choices, **QUICK)
    assert fit.log_likelihood > plain.log_likelihood + 10
    # Weights of more lapses are larger: curves are told apart by their asymptotes.
    errors = fit.standard_errors(choices)["emissions.guessing"]
    assert (abs(shown - [0.15, 0.08]) < 4 * errors).all()


def test_the_gradient_of_the_m_step_is_that_of_differences(choices):
    model = gh.GLMHMM(2, Lapsing(gh.Categorical(2)))
    program = gh.inference.GLMHMMProgram(model, choices)
    vector = normals(program.coordinates.size).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: program.log_density(v, jacobian=False), vector, rtol=1e-5
    )


def test_states_lapse_each_at_rates_of_its_own(tmp_path):
    data = clear_data("categorical", lengths=(30, 25))
    even = Dirichlet(torch.tensor([8.0, 1.0, 1.0, 1.0]))
    family = Lapsing(gh.Categorical(3, gh.priors.Ridge(1.0)), even)
    fit = gh.fit(gh.GLMHMM(2, family), data, **QUICK)
    assert fit.status.is_success
    rates = fit.params["emissions.guessing"]
    torch.testing.assert_close(rates.sum(-1), torch.ones(2).double())
    assert fit.parameters["emissions.guessing"].dims == ("state", "class")
    assert (fit.parameters["emissions.weights"].sel({"class": 0}) == 0).all()
    other = fit.permuted([1, 0])
    assert other.log_likelihood == fit.log_likelihood
    torch.testing.assert_close(other.params["emissions.guessing"], rates.flip(0))
    fit.save(tmp_path / "fit.nc")
    again = gh.load(tmp_path / "fit.nc")
    assert again.score(data) == fit.score(data)
    assert again.score(data, units="bits") == fit.score(data, units="bits")
    assert "lapse" not in gh.GLMHMM(2, family).explain()


def test_a_lapsing_output_stands_beside_others(tmp_path, choices):
    values = np.c_[choices.emissions, normals(1500)]
    both = gh.Sequences(
        values, choices.covariates.numpy(), emission_names=["choice", "time"]
    )
    family = gh.Outputs(choice=Lapsing(gh.Bernoulli()), time=gh.Gaussian())
    fit = gh.fit(gh.GLMHMM(1, family), both, **QUICK)
    fit.save(tmp_path / "fit.nc")
    again = gh.load(tmp_path / "fit.nc")
    assert again.score(both, units="bits") == fit.score(both, units="bits")
    assert again.parameters["emissions.choice.guessing"].shape == (1, 2)


def test_what_cannot_be_guessed_is_refused(choices):
    for family, what in (
        (gh.Gaussian(), "a Gaussian"),
        (gh.Bernoulli, "the class Bernoulli"),
        (Lapsing(gh.Bernoulli()), "a Lapsing"),
        (2, "an int"),
    ):
        with pytest.raises(TypeError, match=f"family must be .* got {what}; write"):
            Lapsing(family)
    with pytest.raises(
        ValueError, match=r"labels 0 to 1 for Lapsing\(Bernoulli\), got 2"
    ):
        gh.GLMHMM(1, Lapsing(gh.Bernoulli())).bind(gh.Sequences([0, 1, 2]))
