"""The log marginal, its two derivatives, and the expected counts."""

import functools
import itertools

import pytest
import torch
from chain_cases import ENGINES, FEW, LENGTHS, chains, random_potentials
from hypothesis import given
from oracles import (
    by_session,
    finite_differences,
    log_marginals,
    parameter_sets,
    path_posterior,
)
from torch.autograd import grad, gradcheck, gradgradcheck

from glmhmm_pyro.chain import compiled, expected_counts, log_marginal, scan

pytestmark = [
    pytest.mark.parametrize("engine", ENGINES),
    # What torch says of itself when forward mode is first used.
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
]


@given(chains())
@FEW
def test_log_marginal_is_the_sum_over_all_paths(engine, case):
    potentials, lengths = case
    actual = log_marginal(*potentials, lengths, engine=engine)
    torch.testing.assert_close(actual, log_marginals(*potentials, lengths))


@given(chains())
@FEW
def test_expected_counts_are_those_of_the_enumerated_posterior(engine, case):
    potentials, lengths = case
    counts = expected_counts(*potentials, lengths, engine=engine)
    batch, sets = parameter_sets(*potentials)
    for name, actual, potential, core in zip(
        counts._fields[1:], counts[1:], potentials, (2, 3, 2)
    ):
        assert actual.shape == (*batch, *potential.shape[-core:]), name
    for index, single in zip(itertools.product(*map(range, batch)), sets):
        posteriors = [path_posterior(*s) for s in by_session(*single, lengths)]
        initial = torch.stack([p.smoothed[0] for p in posteriors])
        transition = torch.cat([p.pairwise for p in posteriors])
        if len(single[0]) == 1:
            initial = initial.sum(0, keepdim=True)
        if len(single[1]) == 1:
            transition = transition.sum(0, keepdim=True)
        emission = torch.cat([p.smoothed for p in posteriors])
        torch.testing.assert_close(counts.initial[index], initial)
        torch.testing.assert_close(counts.transition[index], transition)
        torch.testing.assert_close(counts.emission[index], emission)
    torch.testing.assert_close(counts.log_marginal, log_marginals(*potentials, lengths))


@given(chains())
@FEW
def test_gradient_is_that_of_the_sum_over_all_paths(engine, case):
    potentials, lengths = case
    if any(torch.isinf(x).any() for x in potentials):
        # The oracle's own gradient is NaN there.
        potentials = [x.clamp_min(-1e4) for x in potentials]
    potentials = [x.requires_grad_() for x in potentials]
    actual = log_marginal(*potentials, lengths, engine=engine)
    expected = log_marginals(*potentials, lengths)
    cotangent = torch.linspace(-1, 2, actual.numel(), dtype=actual.dtype)
    torch.testing.assert_close(
        grad(actual, potentials, cotangent.reshape(actual.shape)),
        grad(
            expected,
            potentials,
            cotangent.reshape(actual.shape),
            allow_unused=True,
            materialize_grads=True,
        ),
    )


@pytest.mark.parametrize("shared", [(False, False), (True, True)])
@pytest.mark.parametrize("batches", [((), (), ()), ((2, 1), (2,), (1, 2))])
def test_gradient_of_a_multiple_of_the_sum_over_sessions(engine, shared, batches):
    potentials = random_potentials(3, LENGTHS, batches, shared)
    potentials = [x.requires_grad_() for x in potentials]
    gradients = [
        grad(-2.5 * total(*potentials, LENGTHS).sum(), potentials)
        for total in (functools.partial(log_marginal, engine=engine), log_marginals)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("weights, passes", [(None, 1), ([1.0, 2.0, 3.0], 2)])
def test_a_value_and_its_gradient_are_one_pass(engine, weights, passes, monkeypatch):
    calls, module = [], {"compiled": compiled, "torch": scan}[engine]
    for name in ("counts", "log_marginal", "filter_messages"):
        whole = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, f=whole: calls.append(f) or f(*args)
        )
    potentials = [x.requires_grad_() for x in random_potentials(3)]
    total = log_marginal(*potentials, LENGTHS, engine=engine)
    total = total.sum() if weights is None else total @ total.new_tensor(weights)
    grad(total, potentials)
    assert len(calls) == passes
    log_marginal(*[x.detach() for x in potentials], LENGTHS, engine=engine)
    assert len(calls) > passes


@pytest.mark.parametrize("shared", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("batches", [((), (), ()), ((2, 1), (2,), (1, 2))])
def test_first_and_second_derivatives_pass_gradcheck(engine, shared, batches):
    lengths = torch.tensor([2, 1])
    potentials = random_potentials(2, lengths, batches, shared)
    potentials = [x.requires_grad_() for x in potentials]

    def function(*values):
        return log_marginal(*values, lengths, engine=engine)

    assert gradcheck(function, potentials, check_forward_ad=True)
    assert gradgradcheck(function, potentials, check_fwd_over_rev=True)


@pytest.mark.parametrize("which", range(3))
def test_hessians_of_all_modes_agree_with_finite_differences(engine, which):
    potentials = random_potentials(3, torch.tensor([3, 2]), shared=(True, True))

    def total(value):
        values = [*potentials[:which], value, *potentials[which + 1 :]]
        return log_marginal(*values, torch.tensor([3, 2]), engine=engine).sum()

    point = potentials[which]
    expected = finite_differences(torch.func.grad(total), point)
    for hessian in (
        torch.func.hessian(total),
        torch.func.jacrev(torch.func.grad(total)),
        torch.func.jacrev(torch.func.jacrev(total)),
        lambda x: torch.autograd.functional.hessian(total, x),
    ):
        torch.testing.assert_close(hessian(point), expected, atol=1e-8, rtol=1e-6)


def test_gradients_mapped_over_parameter_sets_equal_those_one_by_one(engine):
    emissions = torch.stack([random_potentials(seed=s)[2] for s in range(3)])
    initial, transition, _ = random_potentials(shared=(True, True))

    def total(emission, transition):
        return log_marginal(initial, transition, emission, LENGTHS, engine=engine).sum()

    gradient = torch.func.grad(total, argnums=(0, 1))
    mapped = torch.func.vmap(gradient, in_dims=(1, None))(
        emissions.transpose(0, 1), transition
    )
    single = [gradient(emission, transition) for emission in emissions]
    for actual, expected in zip(mapped, zip(*single)):
        torch.testing.assert_close(actual, torch.stack(expected))


def test_third_derivatives_raise(engine):
    initial, transition, emission = random_potentials()

    def total(value):
        return log_marginal(initial, transition, value, LENGTHS, engine=engine).sum()

    emission.requires_grad_()
    (first,) = grad(total(emission), emission, create_graph=True)
    (second,) = grad(first.square().sum(), emission, create_graph=True)
    with pytest.raises((NotImplementedError, RuntimeError)):
        grad(second.sum(), emission)


def test_log_marginal_counts_paths_when_every_potential_is_one(engine):
    potentials = [torch.zeros_like(x) for x in random_potentials(3)]
    actual = log_marginal(*potentials, LENGTHS, engine=engine).exp()
    torch.testing.assert_close(actual, 3.0 ** LENGTHS.double())


def test_one_state_has_one_path(engine):
    potentials = random_potentials(1)
    counts = expected_counts(*potentials, LENGTHS, engine=engine)
    starts = torch.tensor([0, 3, 4])
    moves = potentials[1][:, 0, 0].clone()
    moves[starts] = potentials[0][:, 0]
    expected = torch.stack(
        [x.sum() for x in (moves + potentials[2][:, 0]).split(LENGTHS.tolist())]
    )
    torch.testing.assert_close(counts.log_marginal, expected)
    torch.testing.assert_close(counts.emission, torch.ones_like(counts.emission))


def test_permuting_states_permutes_the_counts(engine):
    initial, transition, emission = random_potentials(4)
    order = torch.tensor([2, 0, 3, 1])
    counts = expected_counts(initial, transition, emission, LENGTHS, engine=engine)
    moved = expected_counts(
        initial[:, order],
        transition[:, order][:, :, order],
        emission[:, order],
        LENGTHS,
        engine=engine,
    )
    torch.testing.assert_close(moved.log_marginal, counts.log_marginal)
    torch.testing.assert_close(moved.emission, counts.emission[:, order])
    torch.testing.assert_close(
        moved.transition, counts.transition[:, order][:, :, order]
    )


def test_axes_of_size_one_equal_expanded_axes(engine):
    initial, transition, emission = random_potentials(3, shared=(True, True))
    full = (
        initial.expand(3, 3).contiguous(),
        transition.expand(8, 3, 3).contiguous(),
        emission,
    )
    shared = expected_counts(initial, transition, emission, LENGTHS, engine=engine)
    expanded = expected_counts(*full, LENGTHS, engine=engine)
    torch.testing.assert_close(shared.initial[0], expanded.initial.sum(0))
    torch.testing.assert_close(shared.transition[0], expanded.transition.sum(0))
    torch.testing.assert_close(shared.emission, expanded.emission)
    torch.testing.assert_close(shared.log_marginal, expanded.log_marginal)


def test_rows_of_transition_at_session_starts_change_nothing(engine):
    initial, transition, emission = random_potentials(3)
    changed = transition.clone()
    changed[[0, 3, 4]] = torch.nan
    counts = expected_counts(initial, transition, emission, LENGTHS, engine=engine)
    others = expected_counts(initial, changed, emission, LENGTHS, engine=engine)
    for actual, expected in zip(others, counts):
        torch.testing.assert_close(actual, expected)
    assert (counts.transition[[0, 3, 4]] == 0).all()


def test_an_impossible_session_has_no_probability_and_a_finite_gradient(engine):
    potentials = random_potentials(2)
    potentials[2][3] = -torch.inf
    potentials[2][5, 0] = -torch.inf
    potentials = [x.requires_grad_() for x in potentials]
    actual = log_marginal(*potentials, LENGTHS, engine=engine)
    assert actual[1] == -torch.inf and actual[[0, 2]].isfinite().all()
    gradients = grad(actual.sum(), potentials, create_graph=True)
    assert all(x.isfinite().all() for x in gradients)
    assert (gradients[2][3] == 0).all() and gradients[2][5, 0] == 0
    second = grad(sum(x.square().sum() for x in gradients), potentials)
    assert all(x.isfinite().all() for x in second)


def test_emissions_of_any_size_neither_underflow_nor_overflow(engine):
    initial, transition, emission = random_potentials(3)
    offset = torch.tensor([1e5, -1e5, 7e2, -7e2, 0.0, 1e5, -1e3, 1e3])
    plain = expected_counts(initial, transition, emission, LENGTHS, engine=engine)
    moved = expected_counts(
        initial, transition, emission + offset[:, None], LENGTHS, engine=engine
    )
    torch.testing.assert_close(moved.emission, plain.emission)
    shift = torch.stack([x.sum() for x in offset.split(LENGTHS.tolist())])
    torch.testing.assert_close(moved.log_marginal, plain.log_marginal + shift)


def test_a_path_that_was_all_but_ruled_out_comes_back(engine):
    # State 1 is unlikely by exp(-2000) after step 0, and the only one left at the end.
    forbid = -torch.inf
    initial = torch.tensor([[0.0, -2000.0]], dtype=torch.float64)
    transition = torch.tensor([[[0.0, forbid], [forbid, 0.0]]], dtype=torch.float64)
    emission = torch.zeros(6, 2, dtype=torch.float64)
    emission[1:, 0] = -500.0
    emission[1, 1] = -300.0
    lengths = torch.tensor([6])
    counts = expected_counts(initial, transition, emission, lengths, engine=engine)
    torch.testing.assert_close(counts.log_marginal[0].item(), -2300.0)
    assert counts.emission[:, 1] == pytest.approx(torch.ones(6))
    total = log_marginal(initial, transition, emission, lengths, engine=engine)
    assert total.item() == pytest.approx(-2300.0)


def test_potentials_that_are_not_numbers_are_not_hidden(engine):
    initial, transition, emission = random_potentials(2)
    emission[1, 0] = torch.nan
    actual = log_marginal(initial, transition, emission, LENGTHS, engine=engine)
    assert actual.isnan().tolist() == [True, False, False]
    counts = expected_counts(initial, transition, emission, LENGTHS, engine=engine)
    assert counts.log_marginal.isnan().tolist() == [True, False, False]


def test_float32_gives_float32(engine):
    potentials = random_potentials(3)
    expected = expected_counts(*potentials, LENGTHS, engine=engine)
    single = [x.float() for x in potentials]
    for actual, exact in zip(
        expected_counts(*single, LENGTHS, engine=engine), expected
    ):
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual, exact.float(), atol=1e-5, rtol=1e-5)


def test_inputs_are_left_as_they_were(engine):
    potentials = random_potentials(3)
    copies = [x.clone() for x in potentials]
    expected_counts(*potentials, LENGTHS, engine=engine)
    assert all(torch.equal(a, b) for a, b in zip(potentials, copies))
