"""GLMHMM: one definition, summed out, enumerated and written out path by path."""

from itertools import cycle

import pyro
import pytest
import torch
from families import (
    EMISSIONS,
    INITIALS,
    LENGTHS,
    MASK,
    TRANSITIONS,
    constrained,
    enumerated_log_joint,
    hidden_markov,
    log_joint,
    parameter_sites,
    path_log_joints,
    random_data,
    random_free,
    random_params,
)
from pyro import poutine
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh

CASES = [
    (transitions, initial, family)
    for transitions in TRANSITIONS
    for initial, family in zip(cycle(INITIALS), EMISSIONS)
]


def make_model(transitions, initial, family, num_states=3):
    parts = EMISSIONS[family](), TRANSITIONS[transitions](), INITIALS[initial]()
    return gh.GLMHMM(num_states, *parts)


def bound_model(data, *parts, **options):
    model = make_model(*parts, **options)
    model.bind(data)
    return model


def value_and_gradients(function, model, data, free):
    """Value at unconstrained parameters, and its gradients with respect to them."""
    value = function(model, data, constrained(model, data, free))
    return value.detach(), torch.autograd.grad(value, list(free.values()))


@pytest.mark.parametrize("mask", [None, MASK], ids=["observed", "masked"])
@pytest.mark.parametrize("parts", CASES, ids="-".join)
def test_the_states_summed_out_agree_with_the_states_enumerated(parts, mask):
    data = random_data(parts[2], mask=mask)
    model = bound_model(data, *parts)
    free = random_free(model, data, seed=7)
    actual = value_and_gradients(log_joint, model, data, free)
    expected = value_and_gradients(enumerated_log_joint, model, data, free)
    assert all(gradient.abs().max() > 1e-3 for gradient in expected[1])
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("mask", [None, MASK], ids=["observed", "masked"])
@pytest.mark.parametrize("parts", CASES, ids="-".join)
def test_the_likelihood_is_the_sum_over_all_paths(parts, mask):
    data = random_data(parts[2], mask=mask, seed=5)
    model = bound_model(data, *parts)
    params = random_params(model, data, seed=8)
    actual = hidden_markov(model, data, params).log_prob_per_session(data.emissions)
    expected = [
        path_log_joints(model, data, params, session)[1].logsumexp(0)
        for session in range(data.num_sessions)
    ]
    torch.testing.assert_close(actual, torch.stack(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("lengths", [(1,), (1, 1), (5,), (2, 3, 1)])
@pytest.mark.parametrize("num_states", [1, 2, 4])
def test_any_lengths_and_numbers_of_states_agree(lengths, num_states):
    data = random_data("categorical", lengths, seed=num_states)
    model = bound_model(
        data, "input-driven", "initial", "categorical", num_states=num_states
    )
    free = random_free(model, data, seed=3)
    actual = log_joint(model, data, constrained(model, data, free))
    expected = enumerated_log_joint(model, data, constrained(model, data, free))
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_priors_are_counted_once_by_both_bodies():
    prior = Normal(0.5, 2.0)
    model = gh.GLMHMM(
        2,
        gh.Categorical(3, prior=prior),
        gh.Stationary(prior=Dirichlet(torch.tensor([[3.0, 1.0], [1.0, 3.0]]))),
        gh.Initial(prior=Dirichlet(torch.tensor([2.0, 1.5]))),
    )
    data = random_data("categorical", mask=MASK)
    model.bind(data)
    params = random_params(model, data)
    expected = (
        Normal(0.5, 2.0).log_prob(params["emissions.weights"]).sum()
        + Dirichlet(torch.tensor([3.0, 1.0]).double()).log_prob(
            params["transitions.probs"][0]
        )
        + Dirichlet(torch.tensor([1.0, 3.0]).double()).log_prob(
            params["transitions.probs"][1]
        )
        + Dirichlet(torch.tensor([2.0, 1.5]).double()).log_prob(params["initial.probs"])
        + hidden_markov(model, data, params).log_prob(data.emissions)
    )
    torch.testing.assert_close(log_joint(model, data, params), expected)
    leaves = {name: value.requires_grad_() for name, value in params.items()}
    actual = enumerated_log_joint(model, data, leaves)
    torch.testing.assert_close(actual, expected)


def test_a_hyperparameter_sampled_in_a_prior_is_a_site_of_both_bodies():
    model = gh.GLMHMM(2, gh.Bernoulli(prior=_scaled))
    data = random_data("bernoulli")
    model.bind(data)
    assert "emissions.scale" in parameter_sites(model, data)
    free = random_free(model, data)
    actual = value_and_gradients(log_joint, model, data, free)
    expected = value_and_gradients(enumerated_log_joint, model, data, free)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)


def _scaled(shape):
    zero = torch.zeros((), dtype=torch.float64)
    scale = pyro.sample("scale", pyro.distributions.LogNormal(zero, zero + 1.0))
    return pyro.distributions.Normal(zero, scale).expand(shape)


def test_the_gradient_comes_from_all_three_components():
    data = random_data("bernoulli")
    model = bound_model(data, "input-driven", "glm", "bernoulli")
    free = random_free(model, data)
    _, gradients = value_and_gradients(log_joint, model, data, free)
    assert set(free) == {"initial.weights", "transitions.weights", "emissions.weights"}
    assert all((gradient != 0).all() for gradient in gradients)


def test_row_t_of_the_transition_covariates_drives_the_step_into_t():
    data = random_data("bernoulli", lengths=(3, 2))
    model = bound_model(data, "input-driven", "initial", "bernoulli")
    params = random_params(model, data)
    before = hidden_markov(model, data, params).log_prob_per_step(data.emissions)
    for row in range(data.num_steps):
        moved = data.transition_covariates.clone()
        moved[row] += 1.0
        changed = data.replace(transition_covariates=moved)
        after = hidden_markov(model, changed, params).log_prob_per_step(data.emissions)
        same = torch.isclose(after, before, rtol=0, atol=1e-14)
        first = None if same.all() else int((~same).nonzero()[0])
        assert first == (None if row in (0, 3) else row)


def test_one_component_given_to_two_models_shares_nothing():
    transitions, emissions = gh.InputDriven(), gh.Bernoulli()
    first, second = (gh.GLMHMM(k, emissions, transitions) for k in (2, 3))
    data = random_data()
    first.bind(data)
    assert first.emissions is not second.emissions is not emissions
    assert (first.emissions.num_states, second.emissions.num_states) == (2, 3)
    assert (first.emissions.num_features, second.emissions.num_features) == (2, None)
    assert emissions.num_states is None and transitions.num_states is None
    assert parameter_sites(second, data)["transitions.weights"].shape() == (3, 2, 2)


def test_one_component_used_for_two_models_in_one_program_gives_two_sites():
    emissions = gh.Bernoulli()

    class Pair(pyro.nn.PyroModule):
        def __init__(self):
            super().__init__()
            self.a = gh.GLMHMM(2, emissions)
            self.b = gh.GLMHMM(2, emissions)

        def forward(self, data):
            with poutine.block(hide=["y"]):
                return self.a.hidden_markov(data), self.b.hidden_markov(data)

    names = poutine.trace(Pair()).get_trace(random_data()).stochastic_nodes
    weights = {"a.emissions.weights", "b.emissions.weights"}
    assert weights <= set(names)


def test_data_with_other_features_than_the_first_are_refused():
    model = gh.GLMHMM(2, gh.Bernoulli(), gh.InputDriven())
    model.bind(random_data(features=2))
    with pytest.raises(ValueError, match="covariates must have 2 columns.*got 3"):
        model.bind(random_data(features=3))


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ((0, gh.Bernoulli()), ValueError, "num_states.* 1, got 0"),
        ((2.0, gh.Bernoulli()), ValueError, "num_states.*got 2.0"),
        ((True, gh.Bernoulli()), ValueError, "num_states.*got True"),
        ((2, gh.InputDriven()), TypeError, "emissions must be"),
        ((2, gh.Bernoulli(), gh.Initial()), TypeError, "transitions must be"),
        ((2, gh.Bernoulli(), None, gh.Stationary()), TypeError, "initial must be"),
        ((2, gh.Bernoulli), TypeError, "emissions must be"),
    ],
)
def test_a_wrong_part_is_named(arguments, error, match):
    with pytest.raises(error, match=match):
        gh.GLMHMM(*arguments)


def test_data_must_be_sequences():
    with pytest.raises(TypeError, match="data must be a Sequences, got list"):
        gh.GLMHMM(2, gh.Bernoulli()).bind([0, 1])


@pytest.mark.parametrize("parts", CASES[:9], ids="-".join)
def test_single_precision_data_give_the_same_to_single_precision(parts):
    data = random_data(parts[2], mask=MASK)
    model = bound_model(data, *parts)
    params = random_params(model, data)
    expected = log_joint(model, data, params)
    single = data.to(dtype=torch.float32)
    actual = log_joint(model, single, params).double()
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    assert (actual != expected).any()


def test_a_plate_around_the_site_is_refused_with_a_sentence():
    data = random_data()
    model = gh.GLMHMM(2, gh.Bernoulli())

    def in_a_plate(data):
        hidden = model.hidden_markov(data)
        with pyro.plate("sessions", data.num_sessions):
            pyro.sample("y", hidden, obs=data.emissions)

    with pytest.raises(ValueError, match="take the site out of the plate"):
        poutine.trace(in_a_plate).get_trace(data)


def test_the_explanation_states_the_conventions():
    text = make_model("input-driven", "glm", "categorical").explain()
    for words in ("3 hidden states", "InputDriven", "Categorical", "INTO t", "nats"):
        assert words in text


def test_permuting_the_states_changes_no_likelihood():
    data = random_data("categorical", mask=MASK)
    model = bound_model(data, "stationary", "initial", "categorical")
    params = random_params(model, data)
    order = torch.tensor([2, 0, 1])
    permuted = {name: value[order] for name, value in params.items()}
    permuted["transitions.probs"] = permuted["transitions.probs"][:, order]
    actual, expected = (log_joint(model, data, p) for p in (permuted, params))
    torch.testing.assert_close(actual, expected)


def test_sessions_are_independent():
    data = random_data("bernoulli", mask=MASK)
    model = bound_model(data, "input-driven", "initial", "bernoulli")
    params = random_params(model, data)
    whole = hidden_markov(model, data, params).log_prob_per_session(data.emissions)
    for session in range(len(LENGTHS)):
        part = data.subset(session)
        alone = hidden_markov(model, part, params).log_prob(part.emissions)
        torch.testing.assert_close(alone, whole[session])
