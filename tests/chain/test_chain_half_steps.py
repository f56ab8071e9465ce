"""Chains of pairs by half-steps: the same as by a table of pairs, and as all paths."""

import pytest
import torch
from chain_cases import ENGINES, LENGTHS
from oracles import by_session, log_marginals, path_posterior

from glmhmm_pyro import chain
from glmhmm_pyro.chain import specialised
from glmhmm_pyro.chain.half_steps import fast_half, halved, slow_half, summed, whole

EXACT = {"rtol": 1e-12, "atol": 1e-12}
STEPS = int(LENGTHS.sum())
CASES = {
    "plain": {},
    "shared": {"shared": True},
    "sets": {"batch": (2,)},
    "more slow states": {"pair": (4, 2)},
    "exact zeros": {"forbidden": 0.25},
    "steps not observed": {"masked": 0.4},
    "far apart": {"scale": 600.0},
    "far apart, shared": {"scale": 600.0, "shared": True, "forbidden": 0.1},
}


def potentials(
    pair=(2, 3), batch=(), shared=False, scale=1.0, forbidden=0.0, masked=0.0, seed=0
):
    """Initial, transitions by half-steps and emissions; not normalised."""
    generator = torch.Generator().manual_seed(seed)
    (slow, fast), rows = pair, 1 if shared else STEPS
    shapes = (
        *((1, slow * fast), (*batch, rows, slow, slow), (slow, rows, fast, fast)),
        (*batch, STEPS, slow * fast),
    )
    draws = []
    for shape in shapes:
        draw = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
        chance = torch.rand(shape, generator=generator, dtype=torch.float64)
        draws.append(draw.masked_fill(chance < forbidden, -torch.inf))
    hidden = torch.rand(STEPS, generator=generator) < masked
    emission = draws[3].masked_fill(hidden[:, None], 0.0)
    return draws[0], halved(*draws[1:3]), emission


def by_table(case):
    initial, moves, emission = case
    return initial, whole(moves), emission


every_case = pytest.mark.parametrize("options", CASES.values(), ids=CASES)
every_engine = pytest.mark.parametrize("engine", ENGINES)


def test_a_table_has_the_sum_of_both_half_steps():
    slow, fast = torch.randn(1, 2, 2), torch.randn(2, 5, 3, 3)
    table = whole(halved(slow, fast)).reshape(5, 2, 3, 2, 3)
    for i, a, j, b in torch.cartesian_prod(*map(torch.arange, (2, 3, 2, 3))).tolist():
        expected = slow[0, i, j] + fast[j, :, a, b]
        torch.testing.assert_close(table[:, i, a, j, b], expected)
    torch.testing.assert_close(slow_half(halved(slow, fast))[:1], slow)
    torch.testing.assert_close(fast_half(halved(slow, fast)).transpose(0, 1), fast)


@every_engine
@pytest.mark.parametrize("shared", [False, True])
def test_counts_are_those_of_all_paths(engine, shared):
    initial, moves, emission = case = potentials((2, 2), shared=shared)
    found = chain.expected_counts(*case, LENGTHS, engine=engine)
    tables = by_table(case)
    sessions = by_session(*tables, LENGTHS)
    posteriors = [path_posterior(*session) for session in sessions]
    torch.testing.assert_close(
        found.log_marginal, log_marginals(*tables, LENGTHS), **EXACT
    )
    smoothed = torch.cat([p.smoothed for p in posteriors])
    torch.testing.assert_close(found.emission, smoothed, **EXACT)
    pairs = torch.cat([p.pairwise for p in posteriors])
    pairs = pairs.sum(0, keepdim=True) if shared else pairs
    split = pairs.reshape(-1, 2, 2, 2, 2)
    torch.testing.assert_close(slow_half(found.transition), split.sum((2, 4)), **EXACT)
    fast = split.sum(1).transpose(1, 2)
    torch.testing.assert_close(fast_half(found.transition), fast, **EXACT)


@every_engine
@every_case
def test_counts_and_filters_are_those_of_a_table_of_pairs(options, engine):
    case = potentials(**options)
    slow = case[1].shape[-2]
    found, expected = (
        chain.expected_counts(*given, LENGTHS, engine=engine)
        for given in (case, by_table(case))
    )
    for name, value in expected._asdict().items():
        value = summed(value, slow) if name == "transition" else value
        torch.testing.assert_close(getattr(found, name), value, **EXACT)
    for what in (chain.filter, chain.pairwise, chain.left_out):
        found, expected = (
            what(*given, LENGTHS, engine=engine) for given in (case, by_table(case))
        )
        torch.testing.assert_close(found, expected, equal_nan=True, **EXACT)


@every_engine
@every_case
def test_paths_are_those_of_a_table_of_pairs(options, engine):
    case = potentials(**options)
    best, expected = (
        chain.viterbi(*given, LENGTHS, engine=engine)
        for given in (case, by_table(case))
    )
    torch.testing.assert_close(best.log_prob, expected.log_prob, **EXACT)
    if not torch.isfinite(expected.log_prob).all():
        return
    assert torch.equal(best.states, expected.states)
    drawn = [
        chain.sample_paths(
            *given, LENGTHS, 20, torch.Generator().manual_seed(1), engine=engine
        )
        for given in (case, by_table(case))
    ]
    assert torch.equal(*drawn)


@every_engine
@every_case
def test_derivatives_are_those_of_a_table_of_pairs(options, engine):
    case = potentials(**options)
    directions = potentials(**options | {"scale": 1.0, "forbidden": 0.0, "seed": 1})
    found = []
    for form in (lambda moves: moves, whole):
        leaves = [x.clone().requires_grad_() for x in case]
        given = leaves[0], form(leaves[1]), leaves[2]
        total = chain.log_marginal(*given, LENGTHS, engine=engine)
        weights = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
        possible = torch.where(torch.isfinite(total), total * weights, 0.0).sum()
        slopes = torch.autograd.grad(possible, leaves, create_graph=True)
        along = sum((g * d).sum() for g, d in zip(slopes, directions))
        found.append((slopes, torch.autograd.grad(along, leaves)))
    # Adding moves up, a graph makes 0 times infinity of an exact zero.
    for value, other in zip(*found):
        for one, table in zip(value, other):
            table = table.nan_to_num(0.0)
            torch.testing.assert_close(one, table, rtol=1e-9, atol=1e-10)


@every_engine
def test_derivatives_are_those_of_differences(engine):
    leaves = [x.requires_grad_() for x in potentials((2, 2))]

    def log_marginal(*given):
        return chain.log_marginal(*given, LENGTHS, engine=engine)

    assert torch.autograd.gradcheck(log_marginal, leaves)
    assert torch.autograd.gradgradcheck(log_marginal, leaves)


def test_kernels_made_for_a_pair_give_the_same_bits(monkeypatch):
    monkeypatch.setattr(specialised, "_special", set())
    monkeypatch.setattr(specialised, "is_on_disk", lambda *_: False)
    case = potentials((2, 2))
    general = chain.expected_counts(*case, LENGTHS)
    chain.warm_up([(2, 2), (7, 7)])
    assert {numbers for _, numbers in specialised._special} == {(2, 2)}
    special = chain.expected_counts(*case, LENGTHS)
    for one, other in zip(general, special):
        assert torch.equal(one, other)


def test_transitions_that_are_neither_are_refused():
    initial, moves, emission = potentials()
    with pytest.raises(ValueError, match="transition must have shape"):
        chain.log_marginal(initial, moves[..., :-1], emission, LENGTHS)
