"""Intervals: textbook scales, whatever the order of states, and none at a border."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from families import normals
from inference_cases import RIDGE, clear_data
from made_fits import made_fit
from torch.distributions import constraints

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import compare_methods
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.curvature.intervals import SupportBounds, interval

ONCE = {"num_restarts": 1, "progress": False}
Z = 1.959963984540054


def log_odds(p):
    return np.log(p / (1 - p))


def by_hand(forward, back, slope, value, error):
    """The textbook's, on a scale with this slope."""
    return [back(forward(value) + sign * Z * slope(value) * error) for sign in (-1, 1)]


SCALES = {
    "real": (constraints.real, lambda x: x, lambda x: x, lambda x: 1.0),
    "positive": (constraints.positive, np.log, np.exp, lambda x: 1 / x),
    "simplex": (
        constraints.simplex,
        log_odds,
        lambda x: 1 / (1 + np.exp(-x)),
        lambda p: 1 / (p * (1 - p)),
    ),
    "correlation": (
        constraints.interval(-1.0, 1.0),
        np.arctanh,
        np.tanh,
        lambda r: 1 / (1 - r**2),
    ),
    "above 3": (
        constraints.greater_than(3.0),
        lambda x: np.log(x - 3),
        lambda x: 3 + np.exp(x),
        lambda x: 1 / (x - 3),
    ),
    "below 1": (
        constraints.less_than(1.0),
        lambda x: -np.log(1 - x),
        lambda x: 1 - np.exp(-x),
        lambda x: 1 / (1 - x),
    ),
}
VALUES = {"above 3": [3.01, 5.0, 80.0], "below 1": [-50.0, 0.0, 0.97]}


@pytest.mark.parametrize("name", SCALES)
def test_each_support_has_its_textbook_scale(name):
    support, *scale = SCALES[name]
    values = np.array(VALUES.get(name, [0.02, 0.5, 0.97]))
    errors = np.array([0.01, 0.4, 0.1])
    found = interval(values, errors, SupportBounds.of(support, values.shape))
    np.testing.assert_allclose(found, by_hand(*scale, values, errors), rtol=1e-12)
    wider = interval(
        values, errors, SupportBounds.of(support, values.shape), level=0.99
    )
    assert (wider[0] < found[0]).all() and (wider[1] > found[1]).all()


def test_entries_of_a_matrix_have_scales_of_their_own():
    factor = np.array([[1.0, 0.0], [0.6, 0.8]])
    errors = np.array([[0.0, 0.0], [0.2, 0.15]])
    low, high = interval(
        factor, errors, SupportBounds.of(constraints.corr_cholesky, (2, 2))
    )
    assert (low[0] == factor[0]).all() and (high[0] == factor[0]).all()
    ends = by_hand(*SCALES["correlation"][1:], 0.6, 0.2)
    np.testing.assert_allclose([low[1, 0], high[1, 0]], ends)
    ends = by_hand(*SCALES["simplex"][1:], 0.8, 0.15)
    np.testing.assert_allclose([low[1, 1], high[1, 1]], ends)


def test_there_is_none_at_a_border_nor_without_an_error():
    bounds = SupportBounds.of(constraints.unit_interval, (4,))
    values, errors = np.array([0.0, 1.0, 0.5, 0.5]), np.array([0.1, 0.1, np.nan, 0.1])
    low, high = interval(values, errors, bounds)
    assert np.isnan(low[:3]).all() and np.isnan(high[:3]).all()
    assert 0 < low[3] < 0.5 < high[3] < 1


def columns_of(table, name):
    rows = table.query(f"parameter == {name!r}")
    assert len(rows)
    columns = ["estimate", "standard_error", "lower", "upper"]
    return rows[columns].astype(float).to_numpy().T


def few_sessions():
    """Two sessions tell little of the first state: its error is about 0.3."""
    data = clear_data(lengths=(60, 60))
    emissions = gh.Bernoulli(prior=RIDGE)
    even = dist.Dirichlet(torch.full((2,), 1.2))
    model = gh.GLMHMM(2, emissions, gh.Stationary(even), gh.Initial(even))
    return gh.fit(model, data, "map", tol=1e-7, **ONCE), data


def test_a_summary_has_intervals_that_stay_inside_the_support():
    fit, data = few_sessions()
    table = fit.summary(data)
    value, error, low, high = columns_of(table, "initial.probs")
    # On their own scale they would have left it.
    assert (value - Z * error < 0).any() and (value + Z * error > 1).any()
    for name in ("initial.probs", "transitions.probs"):
        value, error, low, high = columns_of(table, name)
        expected = by_hand(*SCALES["simplex"][1:], value, error)
        np.testing.assert_allclose([low, high], expected, rtol=1e-9)
        assert (0 < low).all() and (low < value).all() and (high < 1).all()
    value, error, low, high = columns_of(table, "emissions.weights")
    np.testing.assert_allclose([low, high], [value - Z * error, value + Z * error])


def test_scales_and_correlations_have_theirs():
    data = clear_data("normals", lengths=(30, 30))
    model = gh.GLMHMM(1, gh.Gaussian(2, covariance="full"))
    fit = gh.fit(model, data, "map", tol=1e-7, **ONCE)
    table = fit.summary(data)
    for name, scale in [("scale", "positive"), ("correlation", "correlation")]:
        value, error, low, high = columns_of(table, f"emissions.{name}")
        expected = by_hand(*SCALES[scale][1:], value, error)
        np.testing.assert_allclose([low, high], expected, rtol=1e-9)


def test_intervals_do_not_depend_on_the_order_of_the_states():
    """Three states, one of them rarely the first: near the end of the broken stick."""
    x = torch.stack([normals(400, seed=1), torch.ones(400).double()], 1)
    data = gh.Sequences(torch.zeros(400).double(), x, lengths=[20] * 20)
    truth = {
        "initial.probs": [0.5, 0.45, 0.05],
        "transitions.probs": [[0.8, 0.1, 0.1], [0.02, 0.9, 0.08], [0.3, 0.3, 0.4]],
        "emissions.weights": [[1.0, 3.0], [0.0, 0.0], [-1.0, -3.0]],
        "emissions.scale": [0.5, 1.0, 0.5],
    }
    even = dist.Dirichlet(torch.full((3,), 1.1))
    model = gh.GLMHMM(3, gh.Gaussian(), gh.Stationary(even), gh.Initial(even))
    data, _ = made_fit(model, data, truth).simulate(data, seed=1)
    fit = gh.fit(model, data, "map", init=truth, tol=1e-8, **ONCE)
    table = fit.summary(data)
    for order in ([1, 0, 2], [2, 0, 1], [2, 1, 0]):
        moved = fit.permuted(order).summary(data)
        for name in fit.params:
            shape = (4,) + fit.parameters[name].shape
            ours = columns_of(table, name).reshape(shape)[:, order]
            if name == "transitions.probs":
                ours = ours[:, :, order]
            theirs = columns_of(moved, name).reshape(shape)
            np.testing.assert_allclose(theirs, ours, rtol=1e-6)


def test_a_value_at_a_border_has_none_and_is_named():
    data = clear_data()
    model = gh.GLMHMM(2, gh.Bernoulli(prior=RIDGE))
    fit = gh.fit(model, data, num_restarts=2, progress=False)
    said = r"initial.probs\[state=0\] and initial.probs\[state=1\] are at the border"
    with pytest.warns(gh.ConvergenceWarning, match=said) as caught:
        table = fit.summary(data)
    assert caught[0].filename == __file__
    _, error, low, high = columns_of(table, "initial.probs")
    assert np.isnan([error, low, high]).all()
    assert not table.query("parameter != 'initial.probs'").isna().any(axis=None)
    found = compare_methods(model, data, ["em"], num_restarts=2, progress=False)
    message = found.table["message"].iloc[0]
    assert "initial.probs[state=0] and initial.probs[state=1] are at" in message


def test_intervals_of_a_comparison_are_those_of_the_summary():
    fit, data = few_sessions()
    found = compare_methods(fit.model, data, ["map"], init=fit.params, **ONCE)
    ends = found.estimates["map"].loc["initial.probs"]
    assert (0 < ends["lower"]).all() and (ends["upper"] < 1).all()
    _, _, low, high = columns_of(found.fits["map"].summary(data), "initial.probs")
    np.testing.assert_allclose(ends[["lower", "upper"]].astype(float).T, [low, high])


def test_a_users_site_has_the_scale_of_its_own_support():
    def model(data):
        shape = dist.HalfNormal(torch.ones(2).double()).to_event(1)
        spread = pyro.sample("spread", shape)
        mix = pyro.sample("mix", dist.Beta(torch.tensor(3.0).double(), 2.0))
        zeros = torch.zeros(1, 1, dtype=torch.float64)
        table = dist.Normal(mix + 0 * data.covariates, spread[0])
        pyro.sample("y", HiddenMarkov(zeros, zeros[None], table, data.lengths), obs=y)
        pyro.sample("z", dist.Gamma(3.0, 1 / spread[1]), obs=torch.tensor(2.0).double())

    data = gh.Sequences(normals(40) * 0.8 + 0.6, torch.zeros(40, 1))
    y = data.emissions
    fit = gh.fit(model, data, "map", tol=1e-8, **ONCE)
    table = fit.summary(data)
    for name, scale in [("spread", "positive"), ("mix", "simplex")]:
        value, error, low, high = columns_of(table, name)
        expected = by_hand(*SCALES[scale][1:], value, error)
        np.testing.assert_allclose([low, high], expected, rtol=1e-9)
