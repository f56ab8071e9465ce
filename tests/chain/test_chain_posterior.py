"""Filtered, smoothed and pairwise probabilities; most probable and sampled paths."""

import itertools

import pytest
import torch
from chain_cases import ENGINES, FEW, LENGTHS, chains, random_potentials
from hypothesis import given
from oracles import (
    by_session,
    log_marginals,
    parameter_sets,
    path_log_probs,
    path_posterior,
)

from glmhmm_pyro.chain import (
    expected_counts,
    filter,
    log_marginal,
    pairwise,
    sample_paths,
    smooth,
    viterbi,
)

pytestmark = pytest.mark.parametrize("engine", ENGINES)


def _each_set(potentials, lengths):
    batch, sets = parameter_sets(*potentials)
    for index, single in zip(itertools.product(*map(range, batch)), sets):
        yield index, by_session(*single, lengths)


def _prefixes(session):
    initial, transition, emission = session
    for stop in range(1, len(emission) + 1):
        yield initial, transition[:stop], emission[:stop]


@given(chains())
@FEW
def test_filter_equals_enumeration_of_every_prefix(engine, case):
    potentials, lengths = case
    filtered = filter(*potentials, lengths, engine=engine)
    for index, sessions in _each_set(potentials, lengths):
        probs, predicted, totals = [], [], []
        for session in sessions:
            before = 0.0
            for initial, transition, emission in _prefixes(session):
                unseen = torch.cat([emission[:-1], torch.zeros_like(emission[-1:])])
                total = path_log_probs(initial, transition, emission)[1].logsumexp(0)
                probs.append(path_posterior(initial, transition, emission).smoothed[-1])
                ahead = path_posterior(initial, transition, unseen).smoothed[-1]
                predicted.append(ahead)
                totals.append(total - before if before > -torch.inf else total)
                before = total
        # The oracle takes differences of sums that reach 1e4.
        near = {"atol": 1e-9, "rtol": 1e-9}
        actual = [x[index] for x in filtered]
        torch.testing.assert_close(actual[0], torch.stack(predicted), **near)
        torch.testing.assert_close(actual[1], torch.stack(probs), **near)
        torch.testing.assert_close(actual[2], torch.stack(totals), **near)


@given(chains())
@FEW
def test_smoothed_and_pairwise_probabilities_equal_enumeration(engine, case):
    potentials, lengths = case
    actual = pairwise(*potentials, lengths, engine=engine)
    smoothed = smooth(*potentials, lengths, engine=engine)
    torch.testing.assert_close(smoothed, actual.smoothed_probs)
    for index, sessions in _each_set(potentials, lengths):
        posteriors = [path_posterior(*session) for session in sessions]
        expected = torch.cat([p.smoothed for p in posteriors])
        torch.testing.assert_close(actual.smoothed_probs[index], expected)
        expected = torch.cat([p.pairwise for p in posteriors])
        torch.testing.assert_close(actual.pairwise_probs[index], expected)
    torch.testing.assert_close(actual.log_marginal, log_marginals(*potentials, lengths))


@given(chains())
@FEW
def test_viterbi_path_is_the_best_of_all_paths(engine, case):
    potentials, lengths = case
    best = viterbi(*potentials, lengths, engine=engine)
    for index, sessions in _each_set(potentials, lengths):
        found = best.states[index].split(lengths.tolist())
        for session, states, log_prob in zip(sessions, found, best.log_prob[index]):
            paths, log_probs = path_log_probs(*session)
            torch.testing.assert_close(log_prob, log_probs.max())
            if log_probs.max() > -torch.inf:
                row = (paths == states).all(1).nonzero().item()
                torch.testing.assert_close(log_probs[row], log_probs.max())


def test_sampled_paths_have_the_posterior_frequencies(engine):
    # Pearson's chi-squared over the 27 paths of two parameter sets: with 26 degrees of
    # freedom 70 is exceeded by chance once in 150,000 times. The generator is fixed.
    lengths = torch.tensor([3])
    potentials = random_potentials(3, lengths, ((2,), (), ()), seed=1, scale=0.5)
    num_samples = 20_000
    generator = torch.Generator().manual_seed(3)
    paths = sample_paths(*potentials, lengths, num_samples, generator, engine=engine)
    assert paths.shape == (num_samples, 2, 3) and paths.dtype == torch.int64
    for b, sessions in _each_set(potentials, lengths):
        posterior = path_posterior(*sessions[0])
        codes = paths[:, b[0]] @ torch.tensor([9, 3, 1])
        seen = torch.bincount(codes, minlength=27)
        expected = num_samples * posterior.probs
        assert expected.min() > 5
        assert ((seen - expected) ** 2 / expected).sum() < 70.0


def test_sampled_paths_of_many_sessions_respect_what_is_forbidden(engine):
    initial, transition, emission = random_potentials(3, shared=(True, True))
    transition[0, :, 1] = -torch.inf
    initial[0, 2] = -torch.inf
    generator = torch.Generator().manual_seed(0)
    paths = sample_paths(
        initial, transition, emission, LENGTHS, 500, generator, engine=engine
    )
    starts = torch.tensor([0, 3, 4])
    assert not (paths[:, starts] == 2).any()
    inside = torch.ones(8, dtype=torch.bool)
    inside[starts] = False
    assert not (paths[:, inside] == 1).any()
    assert paths[:, starts].unique().tolist() == [0, 1]


def test_sampling_an_impossible_session_raises(engine):
    initial, transition, emission = random_potentials(2)
    emission[3] = -torch.inf
    with pytest.raises(ValueError, match=r"sessions \[1\]"):
        sample_paths(initial, transition, emission, LENGTHS, 1, engine=engine)


def test_steps_of_the_filter_sum_to_the_log_marginal(engine):
    potentials = random_potentials(3, batches=((2,), (), ()))
    steps = filter(*potentials, LENGTHS, engine=engine).log_prob_per_step
    totals = torch.stack([x.sum(-1) for x in steps.split(LENGTHS.tolist(), -1)], -1)
    expected = log_marginal(*potentials, LENGTHS, engine=engine)
    torch.testing.assert_close(totals, expected)


def test_probabilities_of_an_impossible_session_are_zero_not_nan(engine):
    initial, transition, emission = random_potentials(2)
    emission[5] = -torch.inf
    filtered = filter(initial, transition, emission, LENGTHS, engine=engine)
    assert not any(x.isnan().any() for x in filtered)
    assert (filtered.log_prob_per_step[5:] == -torch.inf).all()
    assert (filtered.filtered_probs[5:] == 0).all()
    counts = expected_counts(initial, transition, emission, LENGTHS, engine=engine)
    assert (counts.emission[4:] == 0).all() and (counts.transition[4:] == 0).all()
    path = viterbi(initial, transition, emission, LENGTHS, engine=engine)
    assert path.log_prob[2] == -torch.inf and path.log_prob[:2].isfinite().all()
