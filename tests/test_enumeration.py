"""Pyro's own inference over the enumerated states agrees with the states summed out."""

import pyro
import pytest
import torch
from families import (
    EMISSIONS,
    TRANSITIONS,
    hidden_markov,
    path_log_joints,
    random_data,
    random_params,
    seeded_generator,
)
from pyro import poutine
from pyro.infer import infer_discrete
from scipy.stats import chisquare

import glmhmm_pyro as gh

COPIES = 4000

# Six tests of independent draws: false alarms happen once in a hundred runs of all.
FALSE_ALARM = 0.01 / 6


def repeated(family, copies):
    """The same session of three steps, the second masked, many times over."""
    one = random_data(family, lengths=(3,), mask=(True, False, True), seed=11)
    return gh.Sequences(
        one.emissions.repeat(copies),
        one.covariates.repeat(copies, 1),
        lengths=[3] * copies,
        transition_covariates=one.transition_covariates.repeat(copies, 1),
        mask=one.mask.repeat(copies),
    )


def decoded_by_pyro(model, data, params, temperature):
    """States (steps,) that Pyro draws, or maximises over, for every session."""
    body = poutine.condition(model.enumerated, data=params)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoded = infer_discrete(body, first_available_dim=-2, temperature=temperature)
        nodes = poutine.trace(decoded).get_trace(data).nodes
    longest = int(data.lengths.max())
    states = torch.stack([nodes[f"z_{t}"]["value"] for t in range(longest)], -1)
    return torch.cat([row[:n] for row, n in zip(states, data.lengths.tolist())])


def path_numbers(states):
    """A number for every path of three states."""
    return states.reshape(-1, 3) @ torch.tensor([4, 2, 1])


@pytest.mark.parametrize("transitions", TRANSITIONS)
def test_infer_discrete_and_our_paths_are_drawn_from_the_same_posterior(transitions):
    data = repeated("categorical", COPIES)
    model = gh.GLMHMM(2, EMISSIONS["categorical"](), TRANSITIONS[transitions]())
    model.bind(data)
    params = random_params(model, data, seed=4)
    paths, log_joints = path_log_joints(model, data.subset([0]), params, 0)
    expected = COPIES * log_joints.softmax(0)
    assert path_numbers(paths).tolist() == list(range(8)) and expected.min() > 20
    hidden = hidden_markov(model, data, params)
    ours = hidden.sample_states(data.emissions, 1, seeded_generator())[0]
    theirs = decoded_by_pyro(model, data, params, temperature=1)
    for states in (ours, theirs):
        counts = path_numbers(states).bincount(minlength=8)
        assert chisquare(counts, expected.detach()).pvalue > FALSE_ALARM


@pytest.mark.parametrize("family", EMISSIONS)
def test_infer_discrete_at_temperature_0_gives_the_viterbi_path(family):
    data = random_data(family, seed=3)
    model = gh.GLMHMM(3, EMISSIONS[family](), gh.InputDriven())
    model.bind(data)
    params = random_params(model, data, seed=6)
    theirs = decoded_by_pyro(model, data, params, temperature=0)
    ours = hidden_markov(model, data, params).viterbi_states(data.emissions)
    assert torch.equal(ours, theirs) and len(ours.unique()) > 1


def test_svi_on_the_enumerated_body_has_the_gradient_of_the_states_summed_out():
    # The loss of Pyro's SVI with its enumeration of states, at one value of the guide.
    data = random_data("bernoulli", mask=(True,) * 5 + (False,) * 3)
    model = gh.GLMHMM(2, gh.Bernoulli(pyro.distributions.Normal(0.0, 2.0)))
    model.bind(data)
    params = random_params(model, data)
    losses = []
    for body, elbo in (
        (model.enumerated, pyro.infer.TraceEnum_ELBO(max_plate_nesting=1)),
        (model, pyro.infer.Trace_ELBO()),
    ):
        weights = params["emissions.weights"].clone().requires_grad_()
        values = {**params, "emissions.weights": weights}
        conditioned = poutine.condition(body, data=values)
        loss = elbo.differentiable_loss(conditioned, lambda data: None, data)
        losses.append((loss.detach(), *torch.autograd.grad(loss, weights)))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-10, atol=1e-10)
