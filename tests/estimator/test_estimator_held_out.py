"""Trials held out by the estimator itself: to score a fit, and to choose a penalty."""

import numpy as np
import pytest
from estimator_cases import fit_quietly, make_estimator, make_trials

LENGTHS = (40, 25, 60, 30, 20, 35)


def test_cross_validation_fits_three_quarters_and_scores_the_rest_at_every_iteration():
    X, y = make_trials(lengths=LENGTHS)
    y[0] = y[0].astype(float)
    y[0][3] = np.nan
    estimator = make_estimator(cross_validate=True, max_iter=5)
    history = fit_quietly(estimator, X, y)
    train, test = estimator.train_data_.tolist(), estimator.test_data_.tolist()
    assert len(test) == 2 and sorted(train + test) == list(range(6))
    assert history[-1]["prior"].shape == (4, 2)
    alone = make_estimator(max_iter=5)
    start = {
        "emit_w_init": estimator.emit_w_init_,
        "trans_w_init": estimator.trans_w_init_,
    }
    expected = fit_quietly(alone, [X[i] for i in train], [y[i] for i in train], **start)
    held_out = [X[i] for i in test], [y[i] for i in test]
    labelled = sum((~np.isnan(labels)).sum() for labels in held_out[1])
    for one, other in zip(history, expected):
        np.testing.assert_array_equal(one["emit_w"], other["emit_w"])
        alone.emit_w_, alone.trans_w_ = one["emit_w"], one["trans_w"]
        assert one["held_out_log_likelihood"] == pytest.approx(
            alone.score(*held_out) * labelled
        )


def test_labels_held_out_change_no_weight():
    X, y = make_trials(lengths=LENGTHS)
    first = make_estimator(cross_validate=True)
    before = fit_quietly(first, X, y)
    for i in first.test_data_:
        y[i] = 1 - y[i]
    after = fit_quietly(make_estimator(cross_validate=True), X, y)
    np.testing.assert_array_equal(before[-1]["trans_w"], after[-1]["trans_w"])
    name = "held_out_log_likelihood"
    assert abs(before[-1][name] - after[-1][name]) > 1


def test_trials_held_out_without_any_label_cost_nothing():
    X, y = make_trials(lengths=LENGTHS)
    estimator = make_estimator(cross_validate=True, max_iter=2)
    fit_quietly(estimator, X, y)
    for i in estimator.test_data_:
        y[i] = np.full(len(y[i]), np.nan)
    history = fit_quietly(estimator, X, y)
    scores = [entry["held_out_log_likelihood"] for entry in history]
    np.testing.assert_allclose(scores, 0, atol=1e-12)


@pytest.mark.parametrize("smooth", [False, True])
def test_a_penalty_is_chosen_by_trials_held_out(smooth):
    X, y = make_trials(lengths=LENGTHS)
    options = {"L2_smooth": smooth, "max_iter": 4, "random_state": 2}
    estimator = make_estimator(CV_regularize=True, **options)
    history = fit_quietly(estimator, X, y)
    schedule, scores = estimator.regular_schedule_, estimator.regular_scores_
    np.testing.assert_allclose(schedule, np.logspace(-4, 1, 10))
    assert scores.shape == (10,)
    assert estimator.regular_schedule_ind_ == scores.argmax()
    chosen = schedule[scores.argmax()]
    names = ["smooth_lambda"] if smooth else ["emit_lambda", "trans_lambda"]
    assert all(entry[name] == chosen for entry in history for name in names)
    if smooth:
        assert history[-1]["emit_lambda"] == 0.02
    # All trials are fitted in the end, and the penalty of all trials acts.
    assert history[-1]["prior"].shape == (6, 2)
    assert np.diff([e["penalised_log_likelihood"] for e in history]).min() > -1e-9


def test_the_scores_of_a_penalty_are_those_of_a_path_of_fits():
    X, y = make_trials(lengths=LENGTHS)
    estimator = make_estimator(CV_regularize=True, max_iter=2)
    fit_quietly(estimator, X, y)
    # The generator that drew the start draws the split next.
    generator = np.random.default_rng(0)
    make_start = make_estimator(evaluate=True, random_state=generator)
    make_start.fit(X, y)
    order = generator.permutation(6)
    test, train = np.sort(order[:2]), np.sort(order[2:])
    start = {
        "emit_w_init": estimator.emit_w_init_,
        "trans_w_init": estimator.trans_w_init_,
    }
    np.testing.assert_array_equal(make_start.emit_w_init_, start["emit_w_init"])
    for strength, score in zip(
        estimator.regular_schedule_[::-1], estimator.regular_scores_[::-1]
    ):
        path = make_estimator(emit_lambda=strength, trans_lambda=strength, max_iter=2)
        fit_quietly(path, [X[i] for i in train], [y[i] for i in train], **start)
        start = {"emit_w_init": path.emit_w_, "trans_w_init": path.trans_w_}
        expected = path.score([X[i] for i in test], [y[i] for i in test])
        assert score == pytest.approx(expected, abs=1e-10)


def test_a_choice_of_penalty_inside_cross_validation_never_sees_the_trials_held_out():
    X, y = make_trials(lengths=LENGTHS)
    options = {"CV_regularize": True, "cross_validate": True, "max_iter": 2}
    first = make_estimator(**options)
    fit_quietly(first, X, y)
    for i in first.test_data_:
        y[i] = 1 - y[i]
    second = make_estimator(**options)
    fit_quietly(second, X, y)
    np.testing.assert_array_equal(first.regular_scores_, second.regular_scores_)


@pytest.mark.parametrize("option", ["CV_regularize", "cross_validate"])
def test_one_trial_cannot_be_held_out(option):
    X, y = make_trials(lengths=(30,))
    with pytest.raises(ValueError, match=f"^{option} must have at least 2 trials"):
        make_estimator(**{option: True}).fit(X, y)


@pytest.mark.parametrize("option", ["CV_regularize", "cross_validate"])
def test_the_only_labels_are_not_held_out(option):
    X, y = make_trials(lengths=LENGTHS)
    refused = 0
    for only in range(6):
        some = [v if i == only else np.full(len(v), np.nan) for i, v in enumerate(y)]
        estimator = make_estimator(**{option: True}, max_iter=1)
        try:
            fit_quietly(estimator, X, some)
        except ValueError as error:
            assert str(error).startswith(f"{option} must leave labels")
            refused += 1
    # A quarter of the trials, rounded up.
    assert refused == 2
