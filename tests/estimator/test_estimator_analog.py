"""Analog outputs of the estimator, beside labels and alone."""

import numpy as np
import pytest
from estimator_cases import (
    fit_quietly,
    forward_log_likelihood,
    make_estimator,
    make_trials,
)
from scipy.special import log_softmax
from scipy.stats import norm

from glmhmm_pyro import GLMHMMEstimator


def make_analog(X, outputs=2, seed=5):
    """Outputs that follow the covariates, with noise; a few values are missing."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(outputs, len(X[0])))
    found = [3 * weights @ x + rng.normal(size=(outputs, x.shape[1])) for x in X]
    found[0][0, 2:5] = np.nan
    found[1][:, 7] = np.nan
    return found


def log_likelihood(entry, X, y, y_analog):
    """By the forward algorithm, normal densities written out, first states given."""
    total = 0.0
    for trial, design in enumerate(X):
        log_alpha = np.log(entry["prior"][trial])
        for t in range(design.shape[1]):
            x = design[:, t]
            if t > 0:
                scores = entry["trans_w"] @ x
                np.fill_diagonal(scores, 0)
                moves = log_softmax(scores, axis=1)
                log_alpha = np.logaddexp.reduce(log_alpha[:, None] + moves, axis=0)
            if y is not None and not np.isnan(y[trial][t]):
                scores = np.pad(entry["emit_w"] @ x, ((0, 0), (1, 0)))
                log_alpha = log_alpha + log_softmax(scores, 1)[:, int(y[trial][t])]
            values = y_analog[trial][:, t]
            seen = ~np.isnan(values)
            mean = entry["analog_emit_w"] @ x
            terms = norm.logpdf(values, mean, entry["analog_emit_scale"])
            log_alpha = log_alpha + terms[:, seen].sum(1)
        total += np.logaddexp.reduce(log_alpha)
    return total


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("labels", [True, False])
def test_analog_outputs_are_fitted_beside_labels_and_alone(outputs, labels):
    X, y = make_trials()
    y = [one.astype(float) for one in y]
    y[2][4] = np.nan
    y_analog = make_analog(X, outputs)
    estimator = make_estimator(symb_exists=labels, use_ASD=False, max_iter=6, tol=0)
    history = fit_quietly(estimator, X, y if labels else [], y_analog)
    last = history[-1]
    assert last["analog_emit_w"].shape == (2, outputs, 5)
    assert last["analog_emit_scale"].shape == (2, outputs)
    assert last["emit_w"].shape == (2, int(labels), 5)
    expected = log_likelihood(last, X, y if labels else None, y_analog)
    assert last["marginal_log_likelihood"] == pytest.approx(expected, abs=1e-8)
    penalised = [entry["penalised_log_likelihood"] for entry in history]
    assert np.diff(penalised).min() > 0
    parts = ("initial", "symb", "trans", "analog")
    total = sum(last[f"{part}_likelihood"] for part in parts)
    assert last["loglik"] == pytest.approx(total)
    uniform = {**last, "prior": np.full((4, 2), 0.5)}
    seen = ~np.isnan(np.hstack(y_analog)).all(0)
    bins = (seen | ~np.isnan(np.concatenate(y))).sum() if labels else seen.sum()
    score = estimator.score(X, y if labels else None, y_analog) * bins
    assert score == pytest.approx(
        log_likelihood(uniform, X, y if labels else None, y_analog), abs=1e-8
    )


def test_one_state_is_least_squares_for_every_output_where_it_was_observed():
    X, y = make_trials()
    y_analog = make_analog(X)
    estimator = make_estimator(num_states=1, use_ASD=False, max_iter=2)
    fit_quietly(estimator, X, y, y_analog)
    design, values = np.hstack(X), np.hstack(y_analog)
    for output in range(2):
        seen = ~np.isnan(values[output])
        x, v = design[:, seen].T, values[output, seen]
        best = np.linalg.lstsq(x, v, rcond=None)[0]
        np.testing.assert_allclose(estimator.analog_emit_w_[0, output], best)
        scale = np.sqrt(np.mean((v - x @ best) ** 2))
        assert estimator.analog_emit_scale_[0, output] == pytest.approx(scale)
    alone = make_estimator(num_states=1, max_iter=2)
    fit_quietly(alone, X, y, **{"emit_w_init": estimator.emit_w_init_})
    np.testing.assert_allclose(estimator.emit_w_, alone.emit_w_, atol=1e-12)


def test_emissions_of_both_kinds_may_stay_as_they_start():
    X, y = make_trials()
    options = {"use_ASD": False, "max_iter": 2, "fit_emissions": False}
    estimator = make_estimator(**options)
    last = fit_quietly(estimator, X, y, make_analog(X))[-1]
    for name in ("emit_w", "analog_emit_w"):
        np.testing.assert_array_equal(last[name], getattr(estimator, f"{name}_init_"))
    assert np.abs(last["trans_w"] - estimator.trans_w_init_).max() > 0.1


def test_predictions_read_whatever_is_known():
    X, y = make_trials(num_emissions=3)
    y_analog = make_analog(X)
    estimator = make_estimator(num_emissions=3, use_ASD=False, max_iter=3)
    fit_quietly(estimator, X, y, y_analog)
    known = [(None, None), (y, None), (None, y_analog), (y, y_analog)]
    found = []
    for labels, analog in known:
        probs = estimator.predict_proba(X, labels, analog)
        assert [one.shape for one in probs] == [(len(one), 3) for one in y]
        predicted = estimator.predict_analog(X, labels, analog)
        assert [one.shape for one in predicted] == [one.shape for one in y_analog]
        found.append(estimator.predict_states_proba(X, labels, analog)[0])
    labels_alone = estimator.emit_w_, estimator.trans_w_, X, y
    assert estimator.score(X, y) * 155 == pytest.approx(
        forward_log_likelihood(*labels_alone), abs=1e-9
    )
    for one, other in zip(found, found[1:]):
        assert np.abs(one - other).max() > 1e-3
    # At the first bin nothing is known but the covariates, and states are uniform.
    x = X[0][:, 0]
    mean = estimator.analog_emit_w_.mean(0) @ x
    predicted = estimator.predict_analog(X, y, y_analog)[0]
    np.testing.assert_allclose(predicted[:, 0], mean)
    labels_only = make_estimator(max_iter=1)
    fit_quietly(labels_only, *make_trials())
    with pytest.raises(ValueError, match="fit must have analog outputs"):
        labels_only.predict_analog(X)


def test_error_bars_and_generation_know_of_analog_outputs():
    X, y = make_trials()
    y_analog = [one * [[1], [5]] for one in make_analog(X)]
    estimator = make_estimator(
        num_states=1, use_ASD=False, get_error_bars=True, generate=True, tol=1e-9
    )
    history = fit_quietly(estimator, X, y, y_analog)
    design, values = np.hstack(X), np.hstack(y_analog)
    for output in range(2):
        x = design[:, ~np.isnan(values[output])]
        scale = estimator.analog_emit_scale_[0, output]
        errors = scale * np.sqrt(np.diag(np.linalg.inv(x @ x.T)))
        np.testing.assert_allclose(estimator.analog_emit_std_[0, output], errors)
    assert "hess_diag_emit" in history[-1]
    drawn = np.hstack(estimator.output_analog_)
    assert drawn.shape == values.shape
    residuals = drawn - estimator.analog_emit_w_[0] @ design
    # A sample of 155 is this far off less than once in 10,000 times.
    ratio = residuals.std(1) / estimator.analog_emit_scale_[0]
    assert (np.abs(ratio - 1) < 0.23).all()
    assert [one.shape for one in estimator.output_] == [one.shape for one in y]


@pytest.mark.parametrize(
    "options, change, message",
    [
        ({}, lambda a: [], "y_analog must be a list.*analog_flag is True"),
        ({"symb_exists": False}, lambda a: [], "y_analog must be a list.*symb_exists"),
        ({}, lambda a: a[:3], "y_analog must have 4 trials, as many as X, got 3"),
        ({}, lambda a: [a[0][:, 1:], *a[1:]], r"y_analog\[0\] must have shape \(2, 40"),
        ({}, lambda a: [a[0] * np.inf, *a[1:]], r"y_analog\[0\] must be finite"),
        ({}, lambda a: [one * [[0], [1]] for one in a], "different values.*output 0"),
    ],
)
def test_bad_analog_outputs_are_refused_by_name(options, change, message):
    X, y = make_trials()
    y_analog = change(make_analog(X))
    options = {"analog_flag": True, "use_ASD": False, **options}
    with pytest.raises(ValueError, match=message):
        make_estimator(**options).fit(X, y, y_analog)


def test_starting_weights_of_emissions_that_are_not_there_are_refused():
    X, y = make_trials()
    with pytest.raises(ValueError, match="analog_emit_w_init must be None"):
        make_estimator().fit(X, y, analog_emit_w_init=np.zeros((2, 1, 5)))


# The original's runs


def golden_run(shared, case):
    with np.load(shared / "golden" / f"analog_{case}.npz") as archive:
        run = dict(archive)
    trials = range(int(run["n_trials"]))
    parts = [[run[f"{key}_{r}"] for r in trials] for key in ("X", "y", "analog")]
    start = {
        "emit_w_init": run["emit_w0"],
        "trans_w_init": run["trans_w0"],
        "analog_emit_w_init": run["analog_w0"],
    }
    return run, parts, start


def test_the_originals_first_iteration_is_followed_where_it_is_right(shared):
    run, (X, y, y_analog), start = golden_run(shared, "H1")
    estimator = GLMHMMEstimator(analog_flag=True, use_ASD=False, max_iter=5)
    history = fit_quietly(estimator, X, y, y_analog, **start)
    first = history[0]
    # The same E-step, and the same M-step of labels and transitions.
    for name in ("emit_w", "trans_w", "prior"):
        np.testing.assert_allclose(first[name], run[name][0], 0, 1e-8, err_msg=name)
    # Least squares here; there a ridge of 100 on the first 30 % of all bins.
    design, values = np.hstack(X).T, np.hstack(y_analog)
    gamma = np.hstack([run[f"gamma_first_{r}"] for r in range(2)])
    some = slice(0, round(0.3 * len(design)))
    for state in range(2):
        for output in range(2):
            ours = weighted(design, values[output], gamma[state], 0.0)
            theirs = weighted(
                design[some], values[output, some], gamma[state, some], 100.0
            )
            found = first["analog_emit_w"][state, output]
            np.testing.assert_allclose(found, ours, rtol=1e-8)
            found = run["analog_w"][0, state, output]
            np.testing.assert_allclose(found, theirs, rtol=1e-8)
            # Variances are those of the state here, of all bins there.
            residuals = values[output] - design @ ours
            variance = (gamma[state] * residuals**2).sum() / gamma[state].sum()
            scale = first["analog_emit_scale"][state, output]
            assert scale**2 == pytest.approx(variance, rel=1e-8)
    marginal = [entry["marginal_log_likelihood"] for entry in history]
    assert np.diff(marginal).min() > 0
    assert marginal[-1] > run["pseudo_marginal_ll"][-1] + 10


def weighted(design, values, gamma, ridge):
    moments = (design.T * gamma) @ design + ridge * np.eye(design.shape[1])
    return np.linalg.solve(moments, (design.T * gamma) @ values)


def test_a_missing_analog_value_says_nothing_of_the_state(shared):
    run, (X, y, y_analog), start = golden_run(shared, "H3")
    estimator = GLMHMMEstimator(use_ASD=False, max_iter=1)
    history = fit_quietly(estimator, X, y, y_analog, **start)
    design, values = np.hstack(X), np.hstack(y_analog)
    missing = np.isnan(values)
    assert missing.sum() == 30
    residuals = values - run["analog_w0"] @ design
    scale = np.nanstd(residuals, axis=-1, ddof=1)
    np.testing.assert_allclose(scale**2, run["analog_var_init"], rtol=1e-10)
    start_at = {
        "emit_w": run["emit_w0"],
        "trans_w": run["trans_w0"],
        "analog_emit_w": run["analog_w0"],
        "analog_emit_scale": scale,
        "prior": np.full((2, 2), 0.5),
    }
    ours = log_likelihood(start_at, X, y, y_analog)
    evaluated = GLMHMMEstimator(use_ASD=False, evaluate=True)
    (entry,) = evaluated.fit(X, y, y_analog, **start)
    assert entry["marginal_log_likelihood"] == pytest.approx(ours, abs=1e-8)
    # There a missing value counts as one with no error, which tells the states apart.
    filled = [a.copy() for a in y_analog]
    gaps = np.abs(run["pseudo_marginal_ll"][0] - ours)
    assert gaps > 10
    for trial, one in enumerate(filled):
        one[np.isnan(one)] = 0
    assert all(np.isfinite(one).all() for one in filled)
    assert np.abs(history[0]["emit_w"] - run["emit_w"][0]).max() > 1e-6
