"""Penalties that change from iteration to iteration."""

import math

import numpy as np
from estimator_cases import fit_quietly, make_estimator, make_trials

from glmhmm_pyro import GLMHMMEstimator

# Rounding grows over the forty iterations: starts that differ by their last bit end
# with log-likelihoods 9e-12 apart, ones by five of these 2e-11, relative to their size.
RELATIVE = 1e-10


def test_annealing_follows_the_original(shared):
    with np.load(shared / "golden" / "glmhmm_B2_anneal.npz") as archive:
        run = dict(archive)
    X, y = ([run[f"{key}_{r}"] for r in range(3)] for key in ("X", "y"))
    estimator = GLMHMMEstimator(
        num_states=3, num_emissions=3, auto_anneal=True, max_iter=40
    )
    start = {"emit_w_init": run["emit_w0"], "trans_w_init": run["trans_w0"]}
    history = fit_quietly(estimator, X, y, **start)
    assert len(history) == len(run["loglik"])
    names = {
        "emit_lambda": "lambda_emit",
        "trans_lambda": "lambda_trans",
        "emit_w": "emit_w",
        "trans_w": "trans_w",
        "prior": "prior",
        "loglik": "loglik",
    }
    for name, theirs in names.items():
        ours = np.stack([entry[name] for entry in history])
        np.testing.assert_allclose(ours, run[theirs], RELATIVE, 1e-8, err_msg=name)
    marginal = [entry["marginal_log_likelihood"] for entry in history]
    np.testing.assert_allclose(marginal, run["marginal_ll"][1:], RELATIVE)


def falling(position):
    return 1.0 if position < 5 else math.exp(-(position - 4) / 1.5) + 0.005


def test_the_originals_ridge_begins_with_ones_own_and_then_is_the_schedules():
    X, y = make_trials()
    estimator = make_estimator(auto_anneal=True, tol=0, max_iter=7)
    history = fit_quietly(estimator, X, y)
    found = [entry["emit_lambda"] for entry in history]
    assert found == [0.02] + [falling(n) for n in range(2, 8)]
    assert found == [entry["trans_lambda"] for entry in history]


def test_a_run_that_stalls_early_goes_to_the_falling_ridge_at_once():
    X, y = make_trials()
    # With a tolerance this wide all iterations stall, and the second one ends the run.
    history = make_estimator(auto_anneal=True, tol=10.0, init_loglik=1e3).fit(X, y)
    assert [entry["emit_lambda"] for entry in history] == [0.02, falling(5)]


def test_annealing_to_ones_own_ridge_ends_with_it():
    X, y = make_trials()
    estimator = make_estimator(
        anneal_lambda=True, emit_lambda=0.3, trans_lambda=0.1, tol=0, max_iter=8
    )
    history = fit_quietly(estimator, X, y)
    schedule = [0.0] + [falling(n) for n in range(2, 9)]
    for name, own in (("emit_lambda", 0.3), ("trans_lambda", 0.1)):
        assert [entry[name] for entry in history] == [max(own, s) for s in schedule]


def test_a_schedule_of_ones_own_runs_to_its_end():
    X, y = make_trials()
    options = {
        "auto_anneal_vec": [1.0, 0.3, 0.05],
        "auto_anneal_schedule": [1, 3, 4],
    }
    estimator = make_estimator(auto_anneal=True, tol=0, max_iter=6, **options)
    history = fit_quietly(estimator, X, y)
    ridges = [entry["emit_lambda"] for entry in history]
    assert ridges == [1.0, 1.0, 0.3, 0.05, 0.05, 0.05]
    # All iterations stall: each goes to the next strength, the last ends the run.
    estimator.set_params(tol=10.0, init_loglik=1e3)
    history = estimator.fit(X, y)
    assert [entry["emit_lambda"] for entry in history] == [1.0, 0.3, 0.05]
    assert estimator.converged_


def test_every_iteration_raises_the_log_joint_of_the_ridge_in_force():
    X, y = make_trials()
    bins = sum(map(len, y))
    history = fit_quietly(make_estimator(auto_anneal=True, tol=0, max_iter=12), X, y)
    squares = [(e["emit_w"] ** 2).sum() + (e["trans_w"] ** 2).sum() for e in history]
    for before, now, square in zip(history, history[1:], squares):
        penalty = bins / 2 * now["emit_lambda"] * square
        start = before["marginal_log_likelihood"] - penalty
        assert now["penalised_log_likelihood"] >= start - 1e-9
