"""Which rows of X each part reads, filters added to a model, and evaluation alone."""

import numpy as np
import pytest
from estimator_cases import (
    RIDGE,
    fit_quietly,
    forward_log_likelihood,
    make_estimator,
    make_trials,
    slopes,
)

from glmhmm_pyro import GLMHMMEstimator, Status


def start_of(features, states=2):
    rng = np.random.default_rng(3)
    return {
        "emit_w_init": rng.normal(size=(states, 1, features)),
        "trans_w_init": rng.normal(size=(states, states, features)),
    }


def test_parts_that_read_the_constant_alone_are_fitted_as_if_X_held_nothing_else():
    X, y = make_trials()
    small = start_of(1)
    start = {
        n: np.pad(w, ((0, 0), (0, 0), (4, 0))) for n, w in small.items()
    }  # zeros in the rows that are not read
    both = make_estimator(GLM_emissions=False, GLM_transitions=False, max_iter=4)
    wide = fit_quietly(both, X, y, **start)
    narrow = fit_quietly(make_estimator(max_iter=4), [x[-1:] for x in X], y, **small)
    assert len(wide) == len(narrow) == 4
    for one, other in zip(wide, narrow):
        for name in ("emit_w", "trans_w"):
            np.testing.assert_array_equal(one[name][..., 4:], other[name])
            assert one[name].shape[-1] == 5 and not one[name][..., :4].any()
        assert one["loglik"] == other["loglik"]
        assert one["penalised_log_likelihood"] == other["penalised_log_likelihood"]


@pytest.mark.parametrize(
    "options, read",
    [
        ({"GLM_emissions": False}, {"emit_w": [4], "trans_w": [0, 1, 2, 3, 4]}),
        ({"GLM_transitions": False}, {"emit_w": [0, 1, 2, 3, 4], "trans_w": [4]}),
        ({"train_bins": [2, 0]}, {"emit_w": [0, 1, 2, 3, 4], "trans_w": [0, 2]}),
    ],
)
def test_weights_of_the_rows_read_are_at_the_maximum_and_all_others_0(options, read):
    X, y = make_trials()
    estimator = make_estimator(tol=1e-9, max_iter=400, **options)
    history = fit_quietly(estimator, X, y)
    last, bins = history[-1], sum(map(len, y))
    likelihood = forward_log_likelihood(
        last["emit_w"], last["trans_w"], X, y, last["prior"]
    )
    assert last["marginal_log_likelihood"] == pytest.approx(likelihood, abs=1e-9)

    def joint(name, moved):
        weights = {n: last[n] for n in ("emit_w", "trans_w")} | {name: moved}
        found = forward_log_likelihood(*weights.values(), X, y, last["prior"])
        return found - 0.01 * bins * sum((w**2).sum() for w in weights.values())

    for name in ("emit_w", "trans_w"):
        columns = np.flatnonzero(last[name].any((0, 1)))
        assert columns.tolist() == read[name]
        index = (1, 0, read[name])

        def along(values):
            moved = last[name].copy()
            moved[index] = values
            return joint(name, moved)

        assert np.abs(slopes(along, last[name][index])).max() < 0.02
    assert estimator.score(X, y) * bins == pytest.approx(
        forward_log_likelihood(last["emit_w"], last["trans_w"], X, y), abs=1e-9
    )


def test_the_constant_row_must_be_constant():
    X, y = make_trials()
    with pytest.raises(ValueError, match="X must have a constant last row.*GLM_emiss"):
        make_estimator(GLM_emissions=False).fit([x[::-1] for x in X], y)
    zero = [x * np.array([[1], [1], [1], [1], [0]]) for x in X]
    with pytest.raises(ValueError, match="other than 0.*GLM_transitions"):
        make_estimator(GLM_transitions=False).fit(zero, y)


def test_starting_weights_of_rows_that_are_not_read_are_refused():
    X, y = make_trials()
    with pytest.raises(ValueError, match="trans_w_init must be 0 in the rows.*train"):
        make_estimator(train_bins=[0, 1]).fit(X, y, **start_of(5))


def test_filters_are_added_to_a_smaller_model_where_they_do_nothing_yet():
    X, y = make_trials()
    small = make_estimator(num_feedbacks=1, max_iter=3)
    fit_quietly(small, [x[[0, 1, 4]] for x in X], y)
    start = {"emit_w_init": small.emit_w_, "trans_w_init": small.trans_w_}
    grown = make_estimator(add_filters=True, evaluate=True)
    (entry,) = grown.fit(X, y, **start)
    assert entry["emit_w"].shape == (2, 1, 5) and entry["trans_w"].shape == (2, 2, 5)
    np.testing.assert_array_equal(grown.emit_w_init_[..., [0, 1, 4]], small.emit_w_)
    assert not grown.emit_w_init_[..., 2:4].any()
    same = small.score([x[[0, 1, 4]] for x in X], y)
    assert grown.score(X, y) == pytest.approx(same, abs=1e-14)
    longer = make_estimator(add_filters=True, max_iter=3)
    history = fit_quietly(longer, X, y, **start)
    assert longer.emit_w_[..., 2:4].any()
    assert history[0]["penalised_log_likelihood"] > entry["marginal_log_likelihood"] - (
        0.01 * 155 * sum((start[n] ** 2).sum() for n in start)
    )


@pytest.mark.parametrize("features", [2, 4, 6])
def test_a_smaller_model_must_consist_of_whole_filters(features):
    X, y = make_trials()
    with pytest.raises(ValueError, match="emit_w_init must have weights of num_filter"):
        make_estimator(add_filters=True).fit(X, y, **start_of(features))


def test_evaluation_is_one_e_step_at_the_weights_given():
    X, y = make_trials()
    start = start_of(5)
    estimator = make_estimator(evaluate=True)
    (entry,) = estimator.fit(X, y, **start)
    np.testing.assert_array_equal(entry["emit_w"], start["emit_w_init"])
    np.testing.assert_array_equal(entry["trans_w"], start["trans_w_init"])
    np.testing.assert_array_equal(entry["prior"], np.full((4, 2), 0.5))
    likelihood = forward_log_likelihood(*start.values(), X, y)
    assert entry["marginal_log_likelihood"] == pytest.approx(likelihood, abs=1e-10)
    # Minus the expected log-joint lacks the entropy of the states, and so is larger.
    assert entry["loglik"] > -likelihood
    parts = ("initial", "symb", "trans")
    assert entry["loglik"] == pytest.approx(
        sum(entry[f"{p}_likelihood"] for p in parts)
    )
    assert estimator.n_iter_ == 0 and estimator.status_ is Status.GIVEN
    assert not estimator.converged_ and estimator.is_fitted_


def test_evaluation_is_the_first_e_step_of_the_original(shared):
    with np.load(shared / "golden" / "glmhmm_B2.npz") as archive:
        run = dict(archive)
    X, y = ([run[f"{key}_{r}"] for r in range(3)] for key in ("X", "y"))
    estimator = GLMHMMEstimator(num_states=3, num_emissions=3, evaluate=True)
    start = {"emit_w_init": run["emit_w0"], "trans_w_init": run["trans_w0"]}
    (entry,) = estimator.fit(X, y, **start)
    expected = run["marginal_ll_uniform_prior"][0]
    assert entry["marginal_log_likelihood"] == pytest.approx(expected, abs=1e-9)
    gamma, xi = run["gamma_first_1"], run["xi_first_1"]
    probs = estimator.predict_states_proba(X, y)[1]
    np.testing.assert_allclose(probs, gamma.T, atol=1e-10)
    np.testing.assert_allclose(xi.sum((0, 1)), 1, atol=1e-9)


def test_an_option_of_the_fit_before_leaves_nothing_behind():
    X, y = make_trials()
    estimator = make_estimator(evaluate=True, generate=True)
    estimator.fit(X, y)
    assert hasattr(estimator, "output_")
    estimator.set_params(evaluate=False, generate=False, **RIDGE)
    estimator.fit(X, y)
    assert not hasattr(estimator, "output_")
    assert estimator.status_ is Status.CONVERGED
