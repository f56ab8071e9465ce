"""States that are known at some steps: their labels, their baseline, other numbers."""

import numpy as np
import pytest

import glmhmm_pyro as gh
from glmhmm_pyro.components import KnownStates

ONCE = {"num_restarts": 1, "progress": False}


def made():
    """Choices of two states, of which one step in three is known."""
    rng = np.random.default_rng(0)
    z = np.arange(90) // 9 % 2
    y = (rng.random(90) < np.where(z, 0.9, 0.2)).astype(float)
    known = np.where(np.arange(90) % 3 == 0, z, np.nan)
    names = ["choice", "state"]
    y[5] = np.nan
    data = gh.Sequences(
        np.column_stack([y, known]), lengths=[30] * 3, emission_names=names
    )
    return data, y, known


def model_of(known):
    family = gh.Outputs(choice=gh.Bernoulli(gh.priors.Ridge(2.0)), state=known)
    return gh.GLMHMM(2, family)


def test_renumbered_states_keep_their_labels_and_their_density(tmp_path):
    data, *_ = made()
    fit = gh.fit(model_of(KnownStates()), data, **ONCE)
    turned = fit.permuted([1, 0])
    assert turned.model.emissions.state.labels == (1, 0)
    assert turned.log_joint == pytest.approx(fit.log_joint, abs=1e-9)
    turned.save(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc")
    for same in (turned, loaded):
        assert same.log_prob(data) == pytest.approx(fit.log_likelihood, abs=1e-9)
        back = same.permuted([1, 0])
        assert back.log_joint == pytest.approx(fit.log_joint, abs=1e-9)
        assert back.model.emissions.state.labels is None


def test_labels_given_are_those_of_the_states():
    data, _, known = made()
    plain = gh.fit(model_of(KnownStates()), data, **ONCE)
    other = gh.fit(model_of(KnownStates(labels=[1, 0])), data, **ONCE)
    assert other.log_joint == pytest.approx(plain.log_joint, abs=1e-5)
    at = ~np.isnan(known)
    probs = other.decode(data).smoothed_probs.values[at]
    np.testing.assert_allclose(probs[:, 0], known[at])


def test_bits_are_above_choices_and_labels_as_often_as_they_are_seen():
    data, y, known = made()
    fit = gh.fit(model_of(KnownStates()), data, **ONCE)
    baseline = 0.0
    for values in (y[~np.isnan(y)], known[~np.isnan(known)]):
        rate = values.mean()
        baseline += np.log(np.where(values == 1, rate, 1 - rate)).sum()
    steps = (~np.isnan(y) | ~np.isnan(known)).sum()
    wanted = (fit.log_likelihood - baseline) / steps / np.log(2)
    assert fit.score(data, units="bits") == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("labels", [[0, 0], [0], [0, 2]])
def test_labels_that_are_none_of_the_states_are_refused(labels):
    with pytest.raises(ValueError, match="labels must hold every number from 0 to 1"):
        model_of(KnownStates(labels=labels))
    with pytest.raises(TypeError, match="labels must be a list"):
        KnownStates(labels=1)


def test_known_states_that_cannot_follow_one_another_are_said_to():
    data, *_ = made()
    family = gh.Outputs(choice=gh.Bernoulli(), state=KnownStates())
    model = gh.GLMHMM(2, family, gh.Stationary(forbidden=[(1, 0)]))
    with pytest.raises(ValueError, match="states are known or moves are forbidden"):
        gh.fit(model, data, **ONCE)
