"""Columns whose weights no data determine: what is fitted stands, they are named."""

import numpy as np
import pytest
import torch
from families import normals

import glmhmm_pyro as gh

QUICK = {"num_restarts": 1, "progress": False}
LEVELS = np.eye(3)[np.arange(300) % 3]
ONE = np.ones((300, 1))
X = normals(300).numpy()[:, None]
NOISE = normals(300, seed=2).numpy() + 2 * (np.arange(300) // 50 % 2)
CHOICES = (NOISE > 1).astype(int)


def data(y, x, names, **more):
    return gh.Sequences(y, x, covariate_names=list(names), **more)


def noted(model, dummies, names, whole, match):
    """Both fits agree, and the one of repeated columns says which these are."""
    with pytest.warns(gh.ConvergenceWarning, match=match) as caught:
        found = gh.fit(model(), dummies, **QUICK)
    assert caught[0].filename == __file__
    assert len(found.notes) == 1 and names in found.notes[0]
    same = gh.fit(model(), whole, **QUICK)
    assert not same.notes
    assert found.log_likelihood == pytest.approx(same.log_likelihood, abs=1e-6)
    assert found.score(dummies) == pytest.approx(same.score(whole), abs=1e-8)


@pytest.mark.parametrize("states", [1, 2])
@pytest.mark.parametrize("family, y", [(gh.Bernoulli, CHOICES), (gh.Gaussian, NOISE)])
def test_dummies_beside_an_intercept_are_named_and_change_no_fit(family, y, states):
    noted(
        lambda: gh.GLMHMM(states, family()),
        data(y, np.c_[LEVELS, X, ONE], ["a", "b", "c", "x", "one"]),
        "emissions.weights of a, b, c, one are not",
        data(y, np.c_[LEVELS, X], ["a", "b", "c", "x"]),
        "leave one of them out, or give a prior, such as",
    )


def test_a_column_twice_in_other_units_is_named():
    noted(
        lambda: gh.GLMHMM(1, gh.Bernoulli()),
        data(CHOICES, np.c_[X, 1e6 * X, ONE], ["mm", "nm", "one"]),
        "of mm, nm are not",
        data(CHOICES, np.c_[X, ONE], ["mm", "one"]),
        "a sum of these columns of covariates is always 0",
    )


def test_what_transitions_cannot_tell_apart_is_named():
    def model():
        return gh.GLMHMM(2, gh.Gaussian(), gh.SharedInputDriven())

    noted(
        model,
        gh.Sequences(NOISE, ONE, transition_covariates=LEVELS),
        "transitions.weights of u0, u1, u2, the baseline",
        gh.Sequences(NOISE, ONE, transition_covariates=LEVELS[:, 1:]),
        "transition_covariates",
    )


def test_the_advice_ends_it():
    doubled = data(CHOICES, np.c_[LEVELS, ONE], "abcd")
    single = data(CHOICES, LEVELS, "abc")
    for family, given in (
        (gh.Bernoulli(gh.priors.Ridge(1.0)), doubled),
        (gh.Bernoulli(), single),
    ):
        found = gh.fit(gh.GLMHMM(1, family), given, **QUICK)
        assert found.status is gh.Status.CONVERGED and not found.notes
        errors = found.standard_errors(given)["emissions.weights"]
        assert np.isfinite(errors.values).all()


def test_columns_that_differ_where_nothing_was_seen_are_named():
    other = X.copy()
    other[-100:] += 0.3
    seen = np.arange(300) < 200
    hidden = data(CHOICES, np.c_[X, other], ["x", "z"], mask=seen)
    with pytest.warns(gh.ConvergenceWarning, match="of x, z are not determined"):
        gh.fit(gh.GLMHMM(1, gh.Bernoulli()), hidden, **QUICK)
    shown = data(CHOICES, np.c_[X, other], ["x", "z"])
    assert not gh.fit(gh.GLMHMM(1, gh.Bernoulli()), shown, **QUICK).notes


def test_nearly_equal_columns_are_told_apart():
    near = X + 1e-4 * normals(300, seed=5).numpy()[:, None]
    found = gh.fit(
        gh.GLMHMM(1, gh.Gaussian()), data(NOISE, np.c_[X, near], "xz"), **QUICK
    )
    assert found.status is gh.Status.CONVERGED and not found.notes


def test_a_step_without_an_observation_is_certain_to_the_last_digit():
    seen = torch.arange(40) < 15
    sequences = gh.Sequences(CHOICES[:40], X[:40], lengths=[10, 30], mask=seen.numpy())
    model = gh.GLMHMM(2, gh.Bernoulli(gh.priors.Ridge(1.0)))
    found = gh.fit(model, sequences, num_iters=5, tol=1.0, **QUICK)
    decoded = found.decode(sequences)
    assert (decoded.log_prob_per_step.values[15:] == 0).all()
    assert (decoded.log_prob_per_step.values[:15] < 0).all()
