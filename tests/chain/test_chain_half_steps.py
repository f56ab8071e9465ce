"""Chains of pairs by half-steps: the same as by a table of pairs, and as all paths."""

import pytest
import torch
from chain_cases import ENGINES, LENGTHS
from oracles import by_session, log_marginals, path_posterior

from glmhmm_pyro import chain
from glmhmm_pyro.chain import specialised
from glmhmm_pyro.chain.half_steps import HalfSteps, halved, renewing, summed, whole

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
CASES |= {f"renewed, {name}": {**case, "renews": True} for name, case in CASES.items()}


def potentials(
    pair=(2, 3),
    batch=(),
    shared=False,
    scale=1.0,
    forbidden=0.0,
    masked=0.0,
    renews=False,
    seed=0,
):
    """Initial, transitions by half-steps and emissions; not normalised."""
    generator = torch.Generator().manual_seed(seed)
    (slow, fast), rows = pair, 1 if shared else STEPS
    slow_moves = [(*batch, rows, slow, slow)]
    if renews:
        slow_moves = [(*batch, fast, rows, slow, slow)] * 2
    shapes = (
        *((1, slow * fast), (*batch, STEPS, slow * fast)),
        *(*slow_moves, (slow, rows, fast, fast)),
        *[(slow, rows, fast)] * renews,
    )
    draws = []
    for shape in shapes:
        draw = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
        chance = torch.rand(shape, generator=generator, dtype=torch.float64)
        draws.append(draw.masked_fill(chance < forbidden, -torch.inf))
    hidden = torch.rand(STEPS, generator=generator) < masked
    emission = draws[1].masked_fill(hidden[:, None], 0.0)
    return draws[0], (renewing if renews else halved)(*draws[2:]), emission


def potentials_of_paths(**options):
    """The same where a move says whether its fast state goes on or begins anew."""
    initial, moves, emission = potentials(**options)
    kind = HalfSteps.of(moves, emission.shape[-1])
    if kind.renews:
        moves = moves.clone()
        number = torch.arange(kind.states)
        moves[..., (number % 2 == 0).nonzero().flatten()] = -torch.inf
        moves[..., kind.states + (number % 2 == 1).nonzero().flatten()] = -torch.inf
    return initial, moves, emission


def by_table(case):
    initial, moves, emission = case
    return initial, whole(moves, emission.shape[-1]), emission


every_case = pytest.mark.parametrize("options", CASES.values(), ids=CASES)
every_engine = pytest.mark.parametrize("engine", ENGINES)


def by_row(pairs, moves):
    """Counts of moves between pairs as those of the numbers they are made of."""
    given = moves.clone().requires_grad_()
    table = whole(given, pairs.shape[-1])
    return torch.autograd.grad(table, given, pairs)[0].nan_to_num(0.0)


def test_a_table_has_the_sum_of_both_half_steps():
    slow, fast = torch.randn(1, 2, 2), torch.randn(2, 5, 3, 3)
    moves, kind = halved(slow, fast), HalfSteps(2, 3)
    table = whole(moves, 6).reshape(5, 2, 3, 2, 3)
    for i, a, j, b in torch.cartesian_prod(*map(torch.arange, (2, 3, 2, 3))).tolist():
        expected = slow[0, i, j] + fast[j, :, a, b]
        torch.testing.assert_close(table[:, i, a, j, b], expected)
    assert HalfSteps.of(moves, 6) == kind
    torch.testing.assert_close(kind.kept(moves)[:1, 0], slow)
    torch.testing.assert_close(kind.moves(moves).transpose(0, 1), fast)


def test_a_table_has_fast_states_that_begin_anew():
    kept, anew = torch.randn(2, 3, 5, 2, 2)
    fast, entry = torch.randn(2, 1, 3, 3), torch.randn(2, 5, 3)
    moves, kind = renewing(kept, anew, fast, entry), HalfSteps(2, 3, renews=True)
    table = whole(moves, 6).reshape(5, 2, 3, 2, 3)
    for i, a, j, b in torch.cartesian_prod(*map(torch.arange, (2, 3, 2, 3))).tolist():
        goes_on = (kept[a, :, i, j] + fast[j, :, a, b]).exp()
        begins = (anew[a, :, i, j] + entry[j, :, b]).exp()
        expected = (goes_on + begins).log()
        torch.testing.assert_close(table[:, i, a, j, b], expected)
    assert HalfSteps.of(moves, 6) == kind
    torch.testing.assert_close(kind.kept(moves).transpose(0, 1), kept)
    torch.testing.assert_close(kind.anew(moves).transpose(0, 1), anew)
    assert torch.equal(kind.moves(moves)[..., 3, :].transpose(0, 1), entry)


def test_pairs_whose_slow_state_stays_keep_their_fast_state():
    pairs = torch.rand(5, 6, 6, dtype=torch.float64)
    split, found = pairs.reshape(5, 2, 3, 2, 3), summed(pairs, 2, renews=True)
    kind = HalfSteps(2, 3, renews=True)
    for s in range(2):
        stays = split[:, s, :, s]
        torch.testing.assert_close(kind.kept(found)[..., s, s], stays.sum(-1))
        torch.testing.assert_close(kind.moves(found)[:, s, :3], stays)
        left = split[:, 1 - s, :, s]
        torch.testing.assert_close(kind.anew(found)[..., 1 - s, s], left.sum(-1))
        torch.testing.assert_close(kind.moves(found)[:, s, 3], left.sum(1))
        assert not kind.kept(found)[..., 1 - s, s].any()
        assert not kind.anew(found)[..., s, s].any()


@every_engine
@pytest.mark.parametrize("renews", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_counts_are_those_of_all_paths(engine, shared, renews):
    initial, moves, emission = case = potentials((2, 2), shared=shared, renews=renews)
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
    torch.testing.assert_close(found.transition, by_row(pairs, moves), **EXACT)
    if not renews:
        torch.testing.assert_close(found.transition, summed(pairs, 2), **EXACT)


@every_engine
@every_case
def test_counts_and_filters_are_those_of_a_table_of_pairs(options, engine):
    case = potentials(**options)
    found, expected = (
        chain.expected_counts(*given, LENGTHS, engine=engine)
        for given in (case, by_table(case))
    )
    for name, value in expected._asdict().items():
        value = by_row(value, case[1]) if name == "transition" else value
        torch.testing.assert_close(getattr(found, name), value, **EXACT)
    for what in (chain.filter, chain.pairwise, chain.left_out):
        found, expected = (
            what(*given, LENGTHS, engine=engine) for given in (case, by_table(case))
        )
        torch.testing.assert_close(found, expected, equal_nan=True, **EXACT)


@every_engine
@every_case
def test_paths_are_those_of_a_table_of_pairs(options, engine):
    case = potentials_of_paths(**options)
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
    for form in (lambda moves: moves, lambda moves: whole(moves, case[2].shape[-1])):
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
@pytest.mark.parametrize("renews", [False, True])
def test_derivatives_are_those_of_differences(engine, renews):
    leaves = [x.requires_grad_() for x in potentials((2, 2), renews=renews)]

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
    assert {numbers for _, numbers in specialised._special} == {(2, 2, 2)}
    special = chain.expected_counts(*case, LENGTHS)
    for one, other in zip(general, special):
        assert torch.equal(one, other)


def test_transitions_that_are_neither_are_refused():
    initial, moves, emission = potentials()
    with pytest.raises(ValueError, match="transition must have shape"):
        chain.log_marginal(initial, moves[..., :-1], emission, LENGTHS)
