"""Standard errors of the weights, exact, and the original's figures."""

import numpy as np
import pytest
from estimator_cases import (
    fit_quietly,
    forward_log_likelihood,
    make_estimator,
    make_trials,
)

from glmhmm_pyro import GLMHMMEstimator


def test_errors_of_one_state_are_those_of_a_logistic_regression():
    X, y = make_trials(num_emissions=3)
    estimator = make_estimator(
        num_states=1, num_emissions=3, tol=1e-9, get_error_bars=True
    )
    history = estimator.fit(X, y)
    design = np.hstack(X)
    scores = np.pad(estimator.emit_w_[0] @ design, ((1, 0), (0, 0)))
    probs = (np.exp(scores) / np.exp(scores).sum(0))[1:]
    information = np.zeros((2, 5, 2, 5))
    for p, x in zip(probs.T, design.T):
        by_label = np.diag(p) - np.outer(p, p)
        information += np.einsum("ce,i,j->ciej", by_label, x, x)
    information = information.reshape(10, 10) + 0.02 * design.shape[1] * np.eye(10)
    expected = np.sqrt(np.diag(np.linalg.inv(information))).reshape(1, 2, 5)
    np.testing.assert_allclose(estimator.emit_std_, expected, rtol=1e-9)
    assert not estimator.trans_std_.any() and not estimator.hess_diag_trans_.any()
    for name in ("emit_std", "trans_std", "hess_diag_emit", "hess_diag_trans"):
        np.testing.assert_array_equal(history[-1][name], getattr(estimator, f"{name}_"))
        assert not np.shares_memory(history[-1][name], getattr(estimator, f"{name}_"))
        assert all(name not in entry for entry in history[:-1])


def differences(function, size, step=1e-3):
    """Second derivatives at 0 by central differences."""
    axes = step * np.eye(size)
    found = np.zeros((size, size))
    for i in range(size):
        for j in range(i + 1):
            corners = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
            total = sum(a * b * function(a * axes[i] + b * axes[j]) for a, b in corners)
            found[i, j] = found[j, i] = total / (4 * step**2)
    return found


@pytest.mark.parametrize("fit_emissions", [True, False])
def test_errors_of_two_states_are_from_the_curvature_of_the_log_joint(fit_emissions):
    rng = np.random.default_rng(1)
    X = [np.vstack([rng.normal(size=80), np.ones(80)]) for _ in range(2)]
    y = [rng.integers(2, size=80) for _ in range(2)]
    layout = {"num_feedbacks": 1, "num_filter_bins": 1}
    estimator = make_estimator(
        **layout, evaluate=True, generate=True, random_state=1, fit_emissions=True
    )
    start = {
        "emit_w_init": np.array([[[2.5, 0.3]], [[-1.7, -1.0]]]),
        "trans_w_init": np.array([[[0, 0], [0.5, -2]], [[-0.3, -1.5], [0, 0.0]]]),
    }
    # Labels of the model itself, where the log-joint is near its maximum.
    estimator.fit(X, y, **start)
    y = estimator.output_
    estimator.set_params(get_error_bars=True, fit_emissions=fit_emissions)
    estimator.fit(X, y, **start)
    free = np.array([[0, 1], [1, 0]])  # rows of leaving
    size = 6 + 4 * fit_emissions

    def joint(moves):
        """By weights that are fitted, and log-odds of both trials' first states."""
        emit_w, trans_w = start["emit_w_init"].copy(), start["trans_w_init"].copy()
        emit_w += moves[6:].reshape(2, 1, 2) if fit_emissions else 0.0
        trans_w[free[:, 0], free[:, 1]] += moves[:4].reshape(2, 2)
        odds = np.stack([moves[4:6], np.zeros(2)], -1)
        prior = np.exp(odds) / np.exp(odds).sum(-1, keepdims=True)
        squares = (emit_w**2).sum() + (trans_w**2).sum()
        likelihood = forward_log_likelihood(emit_w, trans_w, X, y, prior)
        return likelihood - 0.01 * 160 * squares

    covariance = np.linalg.inv(-differences(joint, size))
    errors = np.sqrt(np.diag(covariance))
    leaving = estimator.trans_std_[free[:, 0], free[:, 1]]
    np.testing.assert_allclose(leaving.ravel(), errors[:4], rtol=1e-3)
    expected = errors[6:].reshape(2, 1, 2) if fit_emissions else np.zeros((2, 1, 2))
    np.testing.assert_allclose(estimator.emit_std_, expected, rtol=1e-3)
    assert not estimator.trans_std_[[0, 1], [0, 1]].any()


def test_what_the_data_do_not_determine_has_no_error():
    X, y = make_trials()
    doubled = [x[[0, 0, 2, 3, 4]] for x in X]
    estimator = make_estimator(
        num_states=1, emit_lambda=0, trans_lambda=0, get_error_bars=True, tol=1e-9
    )
    fit_quietly(estimator, doubled, y)
    assert np.isnan(estimator.emit_std_[0, 0]).tolist() == [True] * 2 + [False] * 3


def test_the_diagonal_figures_are_those_of_their_definition():
    X, y = make_trials(num_emissions=3)
    estimator = make_estimator(
        num_states=3, num_emissions=3, max_iter=2, get_error_bars=True
    )
    history = fit_quietly(estimator, X, y)
    last = history[-1]
    states = make_estimator(num_states=3, num_emissions=3, evaluate=True)
    start = {"emit_w_init": last["emit_w"], "trans_w_init": last["trans_w"]}
    states.fit(X, y, **start)
    # With uniform first states; bins after the first few forget them.
    visits = states.predict_states_proba(X, y)
    emit, trans = np.zeros((3, 5, 2, 2)), np.zeros((3, 5, 2, 2))
    for design, visit in zip(X, visits):
        for t in range(design.shape[1]):
            x = design[:, t]
            for k in range(3):
                scores = np.append(0, last["emit_w"][k] @ x)
                p = (np.exp(scores) / np.exp(scores).sum())[1:]
                block = visit[t, k] * (np.diag(p) - np.outer(p, p))
                emit[k] += x[:, None, None] ** 2 * block
                if t > 0:
                    scores = last["trans_w"][k] @ x
                    scores[k] = 0
                    p = np.delete(np.exp(scores) / np.exp(scores).sum(), k)
                    block = visit[t - 1, k] * (np.diag(p) - np.outer(p, p))
                    trans[k] += x[:, None, None] ** 2 * block
    ridge = 0.02 * sum(map(len, y)) * np.eye(2)

    def variances(blocks):
        inverse = np.linalg.inv(blocks + ridge)
        return inverse.diagonal(axis1=-2, axis2=-1).transpose(0, 2, 1)

    np.testing.assert_allclose(last["hess_diag_emit"], variances(emit), rtol=0.02)
    expected = variances(trans)
    for k in range(3):
        others = [i for i in range(3) if i != k]
        found = last["hess_diag_trans"][k]
        np.testing.assert_allclose(found[others], expected[k], rtol=0.02)
        assert not found[k].any()


@pytest.mark.parametrize("case, states, labels", [("A", 2, 2), ("E", 1, 3)])
def test_the_diagonal_figures_are_the_originals_but_for_its_errors(
    shared, case, states, labels
):
    with np.load(shared / "golden" / f"glmhmm_{case}.npz") as archive:
        run = dict(archive)
    with np.load(shared / "golden" / "units.npz") as archive:
        units = {k: archive[k] for k in archive.files if k.startswith(f"{case}/")}
    trials = range(int(run["n_trials"]))
    X, y = ([run[f"{key}_{r}"] for r in trials] for key in ("X", "y"))
    start = {"emit_w_init": run["emit_w0"], "trans_w_init": run["trans_w0"]}
    figures = {}
    for name, ridges in (("none", (0, 0)), ("l2", (0.02, 0.05))):
        estimator = GLMHMMEstimator(
            num_states=states,
            num_emissions=labels,
            evaluate=True,
            get_error_bars=True,
            emit_lambda=ridges[0],
            trans_lambda=ridges[1],
        )
        estimator.fit(X, y, **start)
        figures[name] = estimator.hess_diag_emit_, estimator.hess_diag_trans_
    emit, trans = figures["none"]
    np.testing.assert_allclose(
        emit, units[f"{case}/estats/none/inv_hess_diag"], rtol=1e-9
    )
    if states > 1:
        # Its variances of transitions are negative.
        theirs = units[f"{case}/tstats/none/inv_hess_diag"]
        np.testing.assert_allclose(trans, -theirs, rtol=1e-9)
    if labels == 2:
        # It adds the ridge without the number of bins that it is to be multiplied by.
        theirs = 1 / units[f"{case}/estats/l2/inv_hess_diag"] - 1 / emit
        np.testing.assert_allclose(theirs, 0.02, rtol=1e-6)
        ours = 1 / figures["l2"][0] - 1 / emit
        np.testing.assert_allclose(ours, 0.02 * sum(map(len, y)), rtol=1e-9)
