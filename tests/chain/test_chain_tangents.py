"""Derivatives of expected counts along many directions: against listing all paths."""

import pytest
import torch
from chain_cases import LENGTHS, random_potentials
from oracles import log_marginals

from glmhmm_pyro.chain import compiled
from glmhmm_pyro.chain.shapes import Potentials

WEIGHTS = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def moved(potentials, directions, weights):
    """Derivatives along one direction, by those of a sum over all paths."""
    leaves = [x.clone().requires_grad_() for x in potentials]
    totals = log_marginals(*leaves, LENGTHS)
    by_session = [
        torch.autograd.grad(total, leaves, create_graph=True) for total in totals
    ]
    along = torch.stack(
        [sum((g * d).sum() for g, d in zip(one, directions)) for one in by_session]
    )
    second = torch.autograd.grad((weights * along).sum(), leaves)
    return (along.detach(), *second)


@pytest.fixture
def calls(monkeypatch):
    """Arguments of every call of the kernel."""
    found, kernel = [], compiled.tangents_log

    def recorded(*arguments):
        found.append(arguments)
        kernel(*arguments)

    monkeypatch.setattr(compiled, "tangents_log", recorded)
    return found


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_derivatives_along_directions_are_those_of_all_paths(
    shared, pieces, monkeypatch, calls
):
    if pieces:
        monkeypatch.setattr(compiled, "_PIECE_SIZE", 10)
    options = {"lengths": LENGTHS, "shared": (shared, shared)}
    potentials = random_potentials(3, seed=1, **options)
    directions = random_potentials(3, batches=((4,),) * 3, seed=2, **options)
    arguments = Potentials(*potentials), Potentials(*directions), LENGTHS, WEIGHTS
    found = compiled.tangents(*arguments)
    for b in range(4):
        one = [x[b] for x in directions]
        for value, expected in zip(found, moved(potentials, one, WEIGHTS)):
            torch.testing.assert_close(value[b], expected)
    # One filter for all of them, in each of the pieces.
    assert len(calls) == (3 if pieces else 1)
    assert all(len(arguments[7]) == 4 for arguments in calls)


def test_each_direction_is_that_of_its_own_parameter_set(calls):
    batches = ((2, 1), (), (1, 1))
    potentials = random_potentials(2, batches=batches, seed=3)
    directions = random_potentials(2, batches=((3,), (2, 3), (2, 1)), seed=4)
    weights = torch.stack([WEIGHTS, WEIGHTS.flip(0)])[:, None]
    aligned = [x if x.dim() > 3 else x[None, None] for x in potentials[:2]]
    aligned[0] = potentials[0]
    whole = Potentials(aligned[0], potentials[1][None, None], potentials[2])
    along = Potentials(directions[0][None], directions[1], directions[2])
    found = compiled.tangents(whole, along, LENGTHS, weights)
    assert len(calls) == 2
    for a in range(2):
        own = [potentials[0][a, 0], potentials[1], potentials[2][0, 0]]
        for b in range(3):
            one = [directions[0][b], directions[1][a, b], directions[2][a, 0]]
            for value, expected in zip(found, moved(own, one, weights[a, 0])):
                torch.testing.assert_close(value[a, b], expected)


def test_more_directions_than_go_together_are_taken_in_turns(monkeypatch, calls):
    potentials = random_potentials(2, seed=5)
    directions = random_potentials(2, batches=((7,),) * 3, seed=6)
    arguments = Potentials(*potentials), Potentials(*directions), LENGTHS, WEIGHTS
    together = compiled.tangents(*arguments)
    monkeypatch.setattr(compiled, "_TOGETHER", 3)
    for value, expected in zip(compiled.tangents(*arguments), together):
        assert torch.equal(value, expected)
    assert [len(arguments[7]) for arguments in calls] == [7, 3, 3, 1]


def test_an_impossible_session_has_no_derivatives_and_spoils_none():
    potentials = random_potentials(2, shared=(False, True), seed=7)
    directions = random_potentials(2, batches=((2,),) * 3, shared=(False, True), seed=8)
    impossible = potentials[2].clone()
    impossible[3] = -torch.inf
    lone = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    both = [Potentials(*potentials[:2], x) for x in (impossible, potentials[2])]
    weights = [torch.ones_like(lone), lone]
    found, expected = (
        compiled.tangents(p, Potentials(*directions), LENGTHS, w)
        for p, w in zip(both, weights)
    )
    assert (found[0][:, 1] == 0).all() and (found[3][:, 3] == 0).all()
    for value, other in zip(found[1:], expected[1:]):
        torch.testing.assert_close(value, other)
