"""Weights of sessions: whole ones are copies, others multiply log-likelihoods."""

import numpy as np
import pandas as pd
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.sequences import Sequences

QUICK = {"num_restarts": 1, "progress": False}
COPIES = [0, 1, 1, 1, 2, 3, 3]
WEIGHTS = [1, 3, 1, 2]


def data():
    rng = np.random.default_rng(0)
    lengths = [25, 10, 20, 15]
    x = np.column_stack([rng.normal(size=70), np.ones(70)])
    states = (np.arange(70) // 9) % 2
    y = rng.random(70) < 1 / (1 + np.exp(-(x[:, 0] + 6 * states - 3)))
    mask = rng.random(70) < 0.9
    return Sequences(
        y.astype(int), x, lengths=lengths, mask=mask, groups=["a", "a", "b", "b"]
    )


def models():
    ridge, pull = gh.priors.Ridge(2.0), torch.distributions.Dirichlet(
        torch.full((2,), 3.0)
    )
    moves = [gh.Stationary(gh.priors.Sticky(3.0, 2.0)), gh.InputDriven(ridge)]
    return [gh.GLMHMM(2, gh.Bernoulli(ridge), m, gh.Initial(pull)) for m in moves]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("method", ["em", "map"])
def test_whole_weights_are_copies_of_the_sessions(method, number):
    plain = data()
    weighted, copied = plain.weighted(WEIGHTS), plain.subset(COPIES)
    start = gh.fit(models()[number], plain, "map", **QUICK).params
    one, other = (
        gh.fit(models()[number], d, method, init=start, **QUICK)
        for d in (weighted, copied)
    )
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-6)
    assert one.log_joint == pytest.approx(other.log_joint, abs=1e-6)
    for name, value in one.params.items():
        torch.testing.assert_close(value, other.params[name], atol=1e-3, rtol=0)
    # At the same parameters all is the same, scores per step too.
    assert other.score(weighted) == pytest.approx(other.score(copied), abs=1e-9)
    errors = [f.standard_errors(d) for f, d in ((one, weighted), (other, copied))]
    for name, error in errors[0].items():
        np.testing.assert_allclose(error, errors[1][name], rtol=0.02)


def test_the_log_likelihood_is_the_weighted_sum_over_sessions():
    plain, weights = data(), [0.3, 2.5, 1.0, 0.7]
    fit = gh.fit(models()[1], plain, "map", **QUICK)
    weighted = plain.weighted(weights)
    by_session = fit.distribution(plain).log_prob_per_session(plain.emissions)
    hidden = fit.distribution(weighted)
    expected = float((by_session * torch.tensor(weights).double()).sum())
    assert float(hidden.log_prob(weighted.emissions)) == pytest.approx(expected)
    # The counts of the E-step are the derivatives of what is weighted.
    counts = hidden.expected_counts(weighted.emissions)
    assert float(counts.log_marginal.sum()) == pytest.approx(expected)
    steps = torch.tensor(weights).double().repeat_interleave(plain.lengths)
    seen = steps * plain.mask
    torch.testing.assert_close(counts.emission.sum(-1), seen)
    assert hidden.num_observed == pytest.approx(float(seen.sum()))


def test_weights_follow_their_sessions():
    plain = data().weighted(WEIGHTS)
    assert plain.subset([3, 0, 3]).session_weights.tolist() == [2, 1, 2]
    assert plain.subset(groups="b").session_weights.tolist() == [1, 2]
    joined = Sequences.concatenate([data()[0], plain[[1]]])
    assert joined.session_weights.tolist() == [1, 3]
    assert Sequences.concatenate([data()[0], data()[1]]).session_weights is None
    moved = plain.to(dtype=torch.float32).replace(emissions=1 - plain.emissions)
    assert moved.session_weights.dtype == torch.float32
    assert moved.session_weights.tolist() == WEIGHTS
    assert plain.weighted(None).session_weights is None
    named = pd.Series([4.0, 3.0, 2.0, 1.0], index=["3", "2", "1", "0"])
    assert data().weighted(named).session_weights.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "weights", [[1, 2], [1, 1, 1, 0], [1, 1, 1, -1], [1, 1, 1, float("nan")]]
)
def test_other_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weights must be 4 finite numbers above 0"):
        data().weighted(weights)
