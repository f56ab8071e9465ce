"""The two engines against each other, long chains, threads, and the border."""

import pytest
import torch
from chain_cases import ENGINES, LENGTHS, random_potentials

from glmhmm_pyro.chain import (
    compiled,
    expected_counts,
    filter,
    log_marginal,
    sample_paths,
    viterbi,
)


@pytest.mark.parametrize("states", [2, 3, 5, 8, 9, 20])
@pytest.mark.parametrize("shared", [False, True])
def test_engines_agree_on_many_states_and_longer_sessions(states, shared):
    lengths = torch.tensor([40, 1, 2, 33, 7, 150])
    potentials = random_potentials(
        states,
        lengths,
        ((), (2,), ()),
        (shared, shared),
        forbidden=0.0 if shared else 0.02,
    )
    for function in (expected_counts, filter, viterbi):
        results = [function(*potentials, lengths, engine=e) for e in ENGINES]
        for actual, expected in zip(*results):
            torch.testing.assert_close(actual, expected)
    drawn = [
        sample_paths(
            *potentials, lengths, 5, torch.Generator().manual_seed(2), engine=engine
        )
        for engine in ENGINES
    ]
    assert torch.equal(*drawn)


@pytest.mark.parametrize("states", [2, 9])
@pytest.mark.parametrize("shared", [False, True])
def test_second_derivatives_of_the_engines_agree(states, shared):
    lengths = torch.tensor([20, 1, 9])
    results = []
    for engine in ENGINES:
        potentials = random_potentials(states, lengths, shared=(shared, shared))
        potentials = [x.requires_grad_() for x in potentials]
        total = log_marginal(*potentials, lengths, engine=engine)
        weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
        first = torch.autograd.grad(total, potentials, weights, create_graph=True)
        square = sum(x.square().sum() for x in first)
        results.append(torch.autograd.grad(square, potentials))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("shared", [False, True])
def test_a_single_state_has_the_counts_of_the_other_engine(shared, monkeypatch):
    # In several pieces, with a session of one step and one that is impossible.
    monkeypatch.setattr(compiled, "_PIECE_SIZE", 10)
    lengths = torch.tensor([7, 1, 9, 3, 1])
    initial, transition, emission = random_potentials(1, lengths, shared=(shared,) * 2)
    emission[9] = -torch.inf
    if not shared:
        transition[18] = -torch.inf
    weights = torch.tensor([1.0, 2.0, -0.5, 3.0, 0.5], dtype=torch.float64)
    given = initial, transition, emission, lengths
    found, expected = (
        expected_counts(*given, engine=engine, weights=weights) for engine in ENGINES
    )
    assert found.log_marginal.isneginf().tolist() == [
        *(False, False, True, not shared, False)
    ]
    for name, value in found._asdict().items():
        torch.testing.assert_close(value, getattr(expected, name), msg=name)


def test_one_step_of_a_single_state_needs_no_move():
    forbidden = torch.full((1, 1, 1), -torch.inf)
    zeros = torch.zeros(1, 1), forbidden, torch.zeros(2, 1)
    found = expected_counts(*zeros, torch.tensor([1, 1]))
    assert found.log_marginal.tolist() == [0.0, 0.0]
    assert found.transition.tolist() == [[[0.0]]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shared", [False, True])
def test_a_million_steps_do_not_underflow(dtype, shared):
    # Every step multiplies the sum over paths by a known factor: emissions that do not
    # depend on the state, and transitions whose rows have the same sum.
    steps = 10**6
    row = torch.tensor([0.7, 0.2, 0.1], dtype=dtype)
    matrix = torch.stack([row.roll(k) for k in range(3)]).log() - 3.0
    transition = matrix.expand(1 if shared else steps, 3, 3)
    emission = torch.full((steps, 3), -2.0, dtype=dtype)
    initial = torch.zeros(1, 3, dtype=dtype)
    counts = expected_counts(initial, transition, emission, torch.tensor([steps]))
    expected = torch.tensor(3.0).log() - 2.0 - 5.0 * (steps - 1)
    assert counts.log_marginal.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (counts.emission - 1 / 3).abs().max() < 1e-6
    assert counts.transition.double().sum().item() == pytest.approx(steps - 1, rel=1e-6)


def test_threads_change_no_bit_of_the_counts():
    lengths = torch.full((300,), 1000)
    potentials = random_potentials(3, lengths, ((2,), (), ()), (True, True))
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 4):
            torch.set_num_threads(threads)
            results.append(expected_counts(*potentials, lengths))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_layout_of_memory_does_not_matter():
    initial, transition, emission = random_potentials(3)
    expected = expected_counts(initial, transition, emission, LENGTHS)
    actual = expected_counts(
        initial.T.contiguous().T,
        transition.permute(2, 1, 0).contiguous().permute(2, 1, 0),
        emission.repeat_interleave(2, 0)[::2],
        LENGTHS,
    )
    assert all(torch.equal(a, b) for a, b in zip(actual, expected))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"lengths": torch.tensor([3, 4])}, "lengths must sum to the 8 steps"),
        ({"lengths": torch.tensor([8, 0])}, "length of at least 1"),
        ({"initial": torch.zeros(2, 2)}, r"initial must have shape \(\*batch, 3, 2\)"),
        ({"transition": torch.zeros(7, 2, 2)}, "transition must have shape"),
        ({"transition": torch.zeros(2, 2)}, "transition must have shape"),
        ({"emission": torch.zeros(8)}, "emission must have shape"),
        ({"initial": torch.zeros(5, 1, 2), "emission": torch.zeros(4, 8, 2)}, "batch"),
        ({"engine": "fast"}, "engine must be"),
    ],
)
def test_shapes_that_do_not_fit_raise(change, message):
    arguments = {
        "initial": torch.zeros(3, 2),
        "transition": torch.zeros(8, 2, 2),
        "emission": torch.zeros(8, 2),
        "lengths": LENGTHS,
    }
    with pytest.raises(ValueError, match=message):
        log_marginal(**{**arguments, **change})


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"initial": torch.zeros(3, 2, dtype=torch.int64)},
            "initial must be a floating",
        ),
        ({"emission": [[0.0, 0.0]]}, "emission must be a floating tensor, got list"),
        (
            {"transition": torch.zeros(8, 2, 2).double()},
            "transition must have the type",
        ),
        ({"lengths": torch.tensor([8.0])}, "lengths must be a tensor of type int64"),
    ],
)
def test_types_that_do_not_fit_raise(change, message):
    arguments = {
        "initial": torch.zeros(3, 2),
        "transition": torch.zeros(8, 2, 2),
        "emission": torch.zeros(8, 2),
        "lengths": LENGTHS,
    }
    with pytest.raises(TypeError, match=message):
        log_marginal(**{**arguments, **change})
