"""Penalties of the estimator: their definition, and EM that maximises under them."""

import numpy as np
import pytest
import torch
from estimator_cases import (
    fit_quietly,
    make_estimator,
    make_trials,
    slopes,
)
from scipy.linalg import block_diag
from scipy.optimize import minimize
from scipy.special import softmax

from glmhmm_pyro import GLMHMMEstimator, Status
from glmhmm_pyro.estimator.penalties import Penalties, Quadratic

SMOOTH = {"L2_smooth": True, "smooth_lambda": 0.3}


def penalty_by_definition(weights, ridge, smooth, filters, own=(), own_lambda=0.0):
    """Sum of squares and of squared differences within filters, weights (features,)."""
    strength = np.full(len(weights), float(ridge))
    strength[list(own)] = own_lambda
    total = (strength * weights**2).sum() / 2
    for columns in filters:
        steps = np.diff(weights[columns]) ** 2
        of_own = set(columns) <= set(own)
        total += (own_lambda if of_own else smooth) * steps.sum() / 2
    return total


def penalties_of(number, bins, offsets=1, **options):
    """Penalties of so many rows of X, as options of the estimator ask for them."""
    layout = {"num_filter_bins": bins, "filter_offset": offsets}
    return Penalties.of(GLMHMMEstimator(**layout, **options).get_params(), number)


def smooth_penalties(number, bins, offsets=1, **options):
    """The same, smooth of strength 0.7."""
    smooth = {"L2_smooth": True, "smooth_lambda": 0.7}
    return penalties_of(number, bins, offsets, **smooth, **options)


def test_the_quadratic_form_is_ridge_and_squared_differences_within_filters():
    weights = np.random.default_rng(0).normal(size=8)
    own = {"AR_lambda": 0.5, "AR_vec": [4, 5]}
    form = smooth_penalties(8, 3, 2, **own).matrix(0.1, range(8))
    # Rows of own behaviour are no neighbours of others of their filter.
    filters = [[0, 1, 2], [3], [4, 5]]
    expected = penalty_by_definition(weights, 0.1, 0.7, filters, (4, 5), 0.5)
    assert weights @ form @ weights / 2 == pytest.approx(expected)
    np.testing.assert_array_equal(form, form.T)


def test_smoothness_alone_leaves_offsets_and_the_level_of_a_filter_free():
    form = smooth_penalties(8, 3, 2).matrix(0.0, range(8))
    level = np.array([1.0, 1, 1, -2, -2, -2, 5, 7])
    np.testing.assert_allclose(form @ level, 0, atol=1e-15)
    assert np.linalg.matrix_rank(form) == 4


def test_rows_that_are_not_read_have_no_part_in_the_penalty():
    form = smooth_penalties(7, 3).matrix(0.1, [0, 2, 3, 4])
    expected = np.diag([0.1] * 4)
    expected[2:, 2:] += 0.7 * np.array([[1, -1], [-1, 1]])
    np.testing.assert_allclose(form, expected)


def test_the_prior_of_a_penalty_has_its_value_and_gradient():
    penalties = smooth_penalties(5, 2)
    prior = penalties.prior(0.1, range(5), num_steps=30)
    weights = torch.randn(3, 5, dtype=torch.float64).requires_grad_()
    log_prob = prior.expand((3,)).log_prob(weights)
    (gradient,) = torch.autograd.grad(log_prob.sum(), weights)
    rows = weights.detach().numpy()
    for row, value, slope in zip(rows, log_prob.tolist(), gradient.numpy()):
        expected = penalty_by_definition(row, 0.1, 0.7, [[0, 1], [2, 3]])
        assert value == pytest.approx(-30 * expected)
        np.testing.assert_allclose(
            slope,
            slopes(
                lambda w: -30 * penalty_by_definition(w, 0.1, 0.7, [[0, 1], [2, 3]]),
                row,
            ),
            atol=1e-7,
        )
    assert prior.is_proper
    assert not Quadratic(torch.tensor([[1.0, -1.0], [-1.0, 1.0]])).is_proper
    assert penalties.prior(0.0, [4], num_steps=30) is None


UNIT = {
    "l2": ({}, (0.02, 0.05)),
    "l2_AR": ({"AR_lambda": 0.1, "AR_vec": [3, 4, 5]}, (0.02, 0.05)),
    "l2_AR_contiguous": ({"AR_lambda": 0.1, "AR_vec": [4, 5, 6]}, (0.02, 0.05)),
    "smooth0p05": ({"L2_smooth": True, "smooth_lambda": 0.05}, (0, 0)),
    "smooth3": ({"L2_smooth": True, "smooth_lambda": 3.0}, (0, 0)),
    "smooth_l2": ({"L2_smooth": True, "smooth_lambda": 0.05}, (0.02, 0.05)),
    "smooth_nbins2": (
        {"L2_smooth": True, "smooth_lambda": 0.05, "bins": 2},
        (0, 0),
    ),
}


def unit_penalties(options):
    """The penalties of these options, for filters of 3 bins and an offset."""
    return penalties_of(7, **{"bins": 3, **options})


@pytest.fixture(scope="module")
def units(shared):
    """What the original's objectives give at the start of run A: added by penalties."""
    with np.load(shared / "golden" / "units.npz") as archive:
        found = {k[2:]: archive[k] for k in archive.files if k.startswith("A/")}
    with np.load(shared / "golden" / "glmhmm_A.npz") as archive:
        weights = {"emit": archive["emit_w0"], "trans": archive["trans_w0"]}

    def added(part, name):
        key = f"{part}/{name}"
        return [found[f"{key}/{n}"] - found[f"{part}/none/{n}"] for n in ("f", "g")]

    return weights, added


@pytest.mark.parametrize("part", ["emit", "trans"])
@pytest.mark.parametrize("name", UNIT)
def test_penalties_are_those_of_the_original_where_it_is_right(units, part, name):
    weights, added = units
    options, ridges = UNIT[name]
    form = unit_penalties(options).matrix(ridges[part == "trans"], range(7))
    rows = weights[part]
    values = (rows @ form * rows).sum((1, 2)) / 2
    value, gradient = added(part, name)
    expected = rows @ form
    if part == "trans":
        # Rows of staying have no smoothness there, in the gradient alone.
        ridge = unit_penalties({}).matrix(ridges[1], range(7))
        if "smooth" in name:
            expected[[0, 1], [0, 1]] = (rows @ ridge)[[0, 1], [0, 1]]
    if name == "l2_AR":
        # Its gradient has the columns in another order than its weights.
        order = [0, 1, 2, 6, 3, 4, 5]
        scrambled = np.concatenate(
            [ridges[part == "trans"] * rows[..., order[:4]], 0.1 * rows[..., 3:6]], -1
        )
        np.testing.assert_allclose(gradient, scrambled, atol=1e-12)
        np.testing.assert_allclose(value, values, atol=1e-12)
        assert np.abs(gradient - expected).max() > 1e-2
        return
    np.testing.assert_allclose(gradient, expected, atol=1e-12)
    if "smooth" not in name:
        np.testing.assert_allclose(value, values, atol=1e-12)
    else:
        # The value that it reports is not one whose gradient this is.
        assert np.abs(value - values).max() > 1e-4


@pytest.mark.parametrize(
    "options, own",
    [
        ({"emit_lambda": 0.05, **SMOOTH}, ()),
        ({"emit_lambda": 0.05, "AR_lambda": 0.8, "AR_vec": [2, 3]}, (2, 3)),
        ({"emit_lambda": 0, "AR_lambda": 0.8, "AR_vec": [2, 3], **SMOOTH}, (2, 3)),
        ({"emit_lambda": 0.05, "AR_lambda": 0, "AR_vec": [0, 4]}, (0, 4)),
    ],
)
def test_one_state_is_the_penalised_regression_of_its_definition(options, own):
    X, y = make_trials()
    estimator = make_estimator(num_states=1, tol=1e-9, **options)
    history = fit_quietly(estimator, X, y)
    design, labels = np.hstack(X), np.concatenate(y)
    smooth = options.get("smooth_lambda", 0.0)
    filters = [[0, 1], [2, 3]] if "L2_smooth" in options else []

    def objective(weights):
        scores = weights @ design
        loss = np.logaddexp(0, scores) - labels * scores
        return loss.mean() + penalty_by_definition(
            weights,
            options["emit_lambda"],
            smooth,
            filters,
            own,
            options.get("AR_lambda", 0.0),
        )

    best = minimize(objective, np.zeros(5), method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(estimator.emit_w_[0, 0], best.x, atol=1e-4)
    assert history[-1]["penalised_log_likelihood"] == pytest.approx(
        -best.fun * len(labels), abs=1e-5
    )


def test_rows_in_neither_stim_vec_nor_AR_vec_have_no_ridge():
    X, y = make_trials()
    options = {"AR_lambda": 5.0, "AR_vec": [0], "stim_vec": [1, 2], "emit_lambda": 5.0}
    estimator = make_estimator(num_states=1, tol=1e-9, **options)
    fit_quietly(estimator, X, y)
    free = make_estimator(num_states=1, tol=1e-9, emit_lambda=0, trans_lambda=0)
    fit_quietly(free, [trial[3:] for trial in X], y, **_zeros(2))
    assert np.abs(estimator.emit_w_[0, 0, :3]).max() < 0.05
    np.testing.assert_allclose(
        estimator.emit_w_[0, 0, 3:], free.emit_w_[0, 0], atol=0.05
    )


def _zeros(features):
    return {
        "emit_w_init": np.zeros((1, 1, features)),
        "trans_w_init": np.zeros((1, 1, features)),
    }


def test_a_smooth_m_step_ends_at_the_optimum_that_the_original_does_not_reach(shared):
    with np.load(shared / "golden" / "glmhmm_B2_smooth.npz") as archive:
        run = dict(archive)
    X, y = ([run[f"{key}_{r}"] for r in range(3)] for key in ("X", "y"))
    estimator = GLMHMMEstimator(
        num_states=3,
        num_emissions=3,
        num_filter_bins=3,
        L2_smooth=True,
        smooth_lambda=0.05,
        tol=0,
        max_iter=40,
    )
    start = {"emit_w_init": run["emit_w0"], "trans_w_init": run["trans_w0"]}
    history = fit_quietly(estimator, X, y, **start)
    # Both begin with the same E-step, so that the M-step alone makes them differ.
    design, labels = np.hstack(X), np.concatenate(y)
    gamma = np.hstack([run[f"gamma_first_{r}"] for r in range(3)])
    steepest = []
    for emit_w in (history[0]["emit_w"], run["emit_w"][0]):
        scores = np.pad(emit_w @ design, ((0, 0), (1, 0), (0, 0)))
        residual = (labels == np.arange(3)[:, None]) - softmax(scores, axis=1)
        slope = (gamma[:, None] * residual)[:, 1:] @ design.T / len(labels)
        slope -= 0.05 * emit_w @ laplacian()
        steepest.append(np.abs(slope).max())
    assert steepest[0] < 2e-5 and steepest[1] > 1e-4
    ours = [entry["penalised_log_likelihood"] for entry in history]
    theirs = run["penalised_ll_gradient_form"][1:]
    assert np.diff(ours).min() > 0 and ours[0] > theirs[0]
    # Theirs has moved no more in its last iteration, and is nowhere near an end.
    assert abs(theirs[-1] - theirs[-2]) < 0.05 and ours[-1] > theirs[-1] + 0.4


def laplacian():
    """D of two filters of three bins and an offset."""
    path = np.array([[1, -1, 0], [-1, 2, -1], [0, -1, 1]])
    return block_diag(path, path, [[0]])


def test_smoothness_does_not_hide_weights_without_a_finite_maximum():
    X, _ = make_trials()
    y = [(trial[0] + trial[1] > 0).astype(int) for trial in X]
    estimator = make_estimator(
        num_states=1, emit_lambda=0, trans_lambda=0, L2_smooth=True, smooth_lambda=1e-6
    )
    fit_quietly(estimator, X, y)
    assert estimator.status_ is Status.UNBOUNDED
