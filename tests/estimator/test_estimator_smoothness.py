"""Automatic smoothness of the filters of analog outputs."""

import numpy as np
import pytest
import torch
from estimator_cases import fit_quietly, make_estimator
from scipy.stats import multivariate_normal

from glmhmm_pyro.estimator.smoothness import (
    Regression,
    bins_of_filters,
    covariance_of,
)

LAYOUT = {"num_feedbacks": 2, "num_filter_bins": 12, "filter_offset": 1}


def test_the_evidence_is_the_density_of_the_values_with_weights_integrated_out():
    rng = np.random.default_rng(0)
    design, values = rng.normal(size=(9, 4)), rng.normal(size=9)
    counts = rng.uniform(0.2, 1.0, size=9)
    regression = Regression.of(*map(torch.from_numpy, (design, values, counts)))
    lengths, sizes = torch.tensor([1.5]).double(), torch.tensor([0.7]).double()
    covariance = covariance_of(lengths, sizes, [3], 4, 5.0)
    bins = np.arange(3)
    expected = np.zeros((4, 4))
    size = float(sizes) ** 2
    expected[:3, :3] = size * np.exp(-((bins[:, None] - bins) ** 2) / (2 * 1.5**2))
    expected[:3, :3] += size * 1e-4 * np.eye(3)
    expected[3, 3] = 25.0
    np.testing.assert_allclose(covariance.numpy(), expected)
    scale = 0.5
    found = regression.log_evidence(covariance, torch.tensor(scale).double())
    # A density to the power n is one of variance s^2 / n, but for a constant.
    noise = scale**2 / counts
    density = multivariate_normal.logpdf(
        values, np.zeros(9), design @ expected @ design.T + np.diag(noise)
    )
    own = counts * np.log(2 * np.pi * scale**2)
    constant = (np.log(2 * np.pi * noise) - own).sum() / 2
    assert float(found) == pytest.approx(density + constant)


def test_filters_come_before_offsets_and_the_last_may_be_shorter():
    assert bins_of_filters(7, 3, 1) == [3, 3]
    assert bins_of_filters(8, 3, 1) == [3, 3, 1]
    assert bins_of_filters(1, 3, 1) == []


def smooth_data():
    """Two cues whose filters are bumps, one output, and noise twice their size."""
    rng = np.random.default_rng(0)
    bins = np.arange(12)
    bumps = [np.exp(-((bins - 4) ** 2) / 12), -np.exp(-((bins - 7) ** 2) / 20)]
    truth = np.append(np.concatenate(bumps), 0.3)
    X = [np.vstack([rng.normal(size=(24, 60)), np.ones(60)]) for _ in range(2)]
    y_analog = [(truth @ x + 2.0 * rng.normal(size=60))[None] for x in X]
    y = [rng.integers(2, size=60) for _ in X]
    return X, y, y_analog, truth


def test_smooth_filters_are_found_with_less_error_than_by_least_squares():
    X, y, y_analog, truth = smooth_data()
    errors = {}
    for use_asd in (False, True):
        estimator = make_estimator(**LAYOUT, num_states=1, use_ASD=use_asd)
        fit_quietly(estimator, X, y, y_analog)
        found = estimator.analog_emit_w_[0, 0]
        errors[use_asd] = np.square(found - truth).mean()
    assert errors[True] < errors[False] / 3
    assert estimator.analog_lengths_.shape == (1, 1, 2)
    assert (estimator.analog_lengths_ > 1).all()


def test_a_fit_goes_on_under_the_smoothness_that_it_has_learnt():
    X, y, y_analog, _ = smooth_data()
    options = {"max_iter": 4, "tol": 0, **LAYOUT}
    rough = fit_quietly(make_estimator(use_ASD=False, **options), X, y, y_analog)
    estimator = make_estimator(**options)
    history = fit_quietly(estimator, X, y, y_analog)
    assert len(history) == 8 == estimator.n_iter_
    for one, other in zip(history, rough):
        np.testing.assert_array_equal(one["analog_emit_w"], other["analog_emit_w"])
    last = history[-1]
    weights, penalty = last["analog_emit_w"], 0.0
    for state in range(2):
        found = estimator.analog_lengths_[state, 0], estimator.analog_sizes_[state, 0]
        free = 1e3 * torch.from_numpy(np.hstack(y_analog)[0]).std()
        found = map(torch.from_numpy, found)
        covariance = covariance_of(*found, [12, 12], 25, float(free))
        row = weights[state, 0]
        penalty += row @ np.linalg.solve(covariance.numpy(), row) / 2
    squares = (last["emit_w"] ** 2).sum() + (last["trans_w"] ** 2).sum()
    expected = last["marginal_log_likelihood"] - penalty - 0.02 * 120 / 2 * squares
    assert last["penalised_log_likelihood"] == pytest.approx(expected)
    penalised = [entry["penalised_log_likelihood"] for entry in history[4:]]
    assert np.diff(penalised).min() > -1e-9
    roughness = [
        np.square(np.diff(entry["analog_emit_w"][..., :12], axis=-1)).sum()
        for entry in (history[3], history[-1])
    ]
    assert roughness[1] < 0.8 * roughness[0]


def test_outputs_that_read_the_constant_alone_have_no_filters():
    X, y, y_analog, _ = smooth_data()
    estimator = make_estimator(**LAYOUT, num_states=1, GLM_emissions=False)
    fit_quietly(estimator, X, y, y_analog)
    mean = np.hstack(y_analog).mean()
    assert estimator.analog_emit_w_[0, 0, -1] == pytest.approx(mean, rel=1e-4)
    assert not estimator.analog_emit_w_[0, 0, :-1].any()
