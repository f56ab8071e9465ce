"""The first state drawn from the chain's stationary distribution."""

import pytest
import torch
from component_cases import bound
from families import (
    constrained,
    enumerated_log_joint,
    hidden_markov,
    log_joint,
    normals,
    random_data,
    random_free,
)
from inference_cases import RIDGE, clear_data

import glmhmm_pyro as gh
from glmhmm_pyro.components.stationary_initial import stationary_probs


def test_the_stationary_probabilities_are_those_a_step_does_not_change():
    matrix = normals(4, 3, 3).softmax(-1)
    probs = stationary_probs(matrix)
    torch.testing.assert_close((probs.unsqueeze(-2) @ matrix).squeeze(-2), probs)
    torch.testing.assert_close(probs.sum(-1), torch.ones(4).double())
    torch.testing.assert_close(probs, torch.matrix_power(matrix, 200)[:, 0])


def test_a_stationary_start_agrees_with_the_states_enumerated():
    data = random_data("normal")
    model, _ = bound(gh.Gaussian(), initial=gh.StationaryInitial(), data=data)
    free = random_free(model, data, seed=7)
    assert list(free) == ["transitions.probs", "emissions.weights", "emissions.scale"]
    found = []
    for function in (log_joint, enumerated_log_joint):
        value = function(model, data, constrained(model, data, free))
        found.append((value.detach(), *torch.autograd.grad(value, list(free.values()))))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10)


def test_em_takes_the_first_states_into_account_and_ends_where_map_ends(tmp_path):
    data = clear_data(lengths=(20, 20, 20))
    model = gh.GLMHMM(2, gh.Bernoulli(prior=RIDGE), initial=gh.StationaryInitial())
    options = {"num_restarts": 1, "progress": False}
    found = gh.fit(model, data, method="map", tol=1e-8, **options)
    em = gh.fit(model, data, init=found.params, num_iters=20, **options)
    assert em.log_joint == pytest.approx(found.log_joint, abs=1e-6)
    found.save(tmp_path / "fit.nc")
    assert gh.load(tmp_path / "fit.nc").score(data) == found.score(data)


def test_a_chain_that_covariates_drive_has_no_stationary_start():
    with pytest.raises(
        ValueError, match="drive the transitions, got InputDriven.*Stationary"
    ):
        gh.GLMHMM(2, gh.Bernoulli(), gh.InputDriven(), gh.StationaryInitial())
    gh.GLMHMM(1, gh.Bernoulli(), gh.InputDriven(), gh.StationaryInitial())
    driven = gh.components.SemiMarkov(gh.dwell.Poisson(3, driven=True))
    with pytest.raises(ValueError, match="drive the transitions, got SemiMarkov"):
        gh.GLMHMM(2, gh.Bernoulli(), driven, gh.StationaryInitial())


@pytest.mark.parametrize("law", ["walk", "pooled", None])
def test_a_chain_that_varies_has_no_single_stationary_start(law):
    varying = gh.Varying(gh.Stationary(), "session", law)
    for states, moves in ((2, varying), (gh.Levels(2, 2), gh.TwoLevels(fast=varying))):
        with pytest.raises(ValueError, match="vary over .*, got Varying.*an Initial,"):
            gh.GLMHMM(states, gh.Bernoulli(), moves, gh.StationaryInitial())


@pytest.mark.parametrize("first", ["fresh", "stationary"])
def test_first_states_of_semi_markov_chains_have_their_share_of_the_time(first):
    rates, jumps = torch.tensor([1.0, 3.0, 6.0]), torch.tensor([0.7, 0.4, 0.5])
    transitions = gh.components.SemiMarkov(gh.dwell.Poisson(60), first=first)
    model = gh.GLMHMM(3, gh.Bernoulli(), transitions, gh.StationaryInitial())
    data = gh.Sequences([0, 1, 1], [[1.0]] * 3)
    model.bind(data)
    values = {
        "transitions.rate": rates.double(),
        "transitions.jump_probs": torch.stack([jumps, 1 - jumps], 1).double(),
        "emissions.weights": torch.zeros(3, 1).double(),
    }
    moves = torch.tensor([[0, 0.7, 0.3], [0.4, 0, 0.6], [0.5, 0.5, 0]]).double()
    entered = torch.matrix_power((moves + torch.eye(3)) / 2, 500)[0]
    shares = entered * (1 + rates)
    initial = hidden_markov(model, data, values).initial_logits.exp()
    found = model.transitions.expansion.fold_first(initial)
    torch.testing.assert_close(found.flatten(), shares / shares.sum())


def test_map_and_em_agree_on_stationary_semi_markov_chains():
    data = clear_data(lengths=(20, 20, 20))
    transitions = gh.components.SemiMarkov(gh.dwell.Poisson(2), first="stationary")
    model = gh.GLMHMM(2, gh.Bernoulli(prior=RIDGE), transitions, gh.StationaryInitial())
    options = {"num_restarts": 1, "progress": False}
    found = gh.fit(model, data, method="map", tol=1e-8, **options)
    em = gh.fit(model, data, init=found.params, num_iters=2, **options)
    assert em.log_joint == pytest.approx(found.log_joint, abs=1e-6)


def test_a_chain_without_emissions_stays_in_its_stationary_distribution():
    data = clear_data(lengths=(4, 3))
    model = gh.GLMHMM(2, gh.Bernoulli(), initial=gh.StationaryInitial())
    matrix = torch.tensor([[0.9, 0.1], [0.3, 0.7]]).double()
    params = {"transitions.probs": matrix, "emissions.weights": normals(2, 2)}
    hidden = model.hidden_markov_at(params, data).without_emissions()
    expected = torch.tensor([0.75, 0.25]).double().expand(7, 2)
    torch.testing.assert_close(hidden.smoothed_probs(data.emissions), expected)


def test_a_state_that_is_never_entered_has_a_finite_start():
    absorbing = torch.tensor([[1.0, 0.0], [0.5, 0.5]]).double()
    probs = stationary_probs(absorbing)
    torch.testing.assert_close(probs, torch.tensor([1.0, 0.0]).double())
    assert probs.log().isfinite().all()


def left_with(odds):
    """Matrices (..., 2, 2) of two states that are left with these probabilities."""
    odds = torch.tensor(odds, dtype=torch.float64)
    one, other = odds.unbind(-1)
    rows = [torch.stack([1 - one, one], -1), torch.stack([other, 1 - other], -1)]
    return torch.stack(rows, -2)


def test_however_seldom_states_are_left_the_shares_are_exact():
    """Of two states left with probabilities a and b: b / (a + b)."""
    rare = [[10.0**-n, 2 * 10.0**-n] for n in (1, 6, 12, 16, 40, 300)]
    wanted = torch.tensor([2 / 3, 1 / 3], dtype=torch.float64).expand(len(rare), 2)
    torch.testing.assert_close(
        stationary_probs(left_with(rare)), wanted, rtol=1e-14, atol=0
    )


def test_slopes_of_the_shares_are_those_of_differences():
    free = normals(2, 4, 4).requires_grad_()

    def shares(free):
        return stationary_probs(free.softmax(-1))

    torch.autograd.gradcheck(shares, free)
    torch.autograd.gradgradcheck(shares, free[:1, :3, :3].detach().requires_grad_())


def test_states_left_for_good_have_no_share_and_two_ends_no_answer():
    half = [[0.5, 0.5], [0.5, 0.5]]
    single = torch.zeros(3, 3).double()
    single[0] = torch.tensor([0.2, 0.3, 0.5])
    single[1:, 1:] = torch.tensor(half)
    torch.testing.assert_close(
        stationary_probs(single), torch.tensor([0.0, 0.5, 0.5]).double()
    )
    two = torch.eye(3).double()
    two[1:, 1:] = torch.tensor(half)
    batch = stationary_probs(torch.stack([single, two]))
    assert batch[0].isfinite().all() and batch[1].isnan().all()
    assert stationary_probs(torch.ones(1, 1).double()).tolist() == [1.0]
    round_about = torch.eye(3).double().roll(1, 1)
    torch.testing.assert_close(
        stationary_probs(round_about), torch.full((3,), 1 / 3).double()
    )
