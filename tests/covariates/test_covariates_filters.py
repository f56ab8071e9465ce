"""Filters in time units: from basis weights, in raw units, with their errors."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from made_fits import made_fit

import glmhmm_pyro as gh
from glmhmm_pyro.covariates import (
    Design,
    ExponentialHistory,
    Intercept,
    Lags,
    RaisedCosine,
    Signed,
    Standardised,
)


def case(seed=0):
    """A table, a design of filters of all kinds, and weights (state, covariate)."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "day": np.repeat([1, 2], [60, 40]),
            "sound": 5 + 3 * rng.normal(size=100),
            "choice": rng.integers(0, 2, 100),
        }
    )
    design = Design(
        Standardised(RaisedCosine("sound", 4, 15)),
        Lags("sound", 3, first_lag=2, name="late"),
        ExponentialHistory(Signed("choice"), [0.5, 1]),
        Intercept(),
    ).fit(table, session="day")
    names = list(design.names)
    weights = xr.DataArray(
        rng.normal(size=(2, len(names))),
        {"state": [0, 1], "covariate": names},
        ("state", "covariate"),
    )
    return table, design, weights


def test_filters_give_the_linear_predictor_from_the_raw_columns():
    """Up to a constant, the filters alone make the product of design and weights."""
    table, design, weights = case()
    matrix = design.transform(table).to_numpy()
    predictor = matrix @ weights.values[0]
    filters = design.filters(weights)
    rows = filters[filters["state"] == 0].groupby("term")
    raw = {
        "sound": table["sound"].to_numpy(),
        "late": table["sound"].to_numpy(),
        "choice": 2 * table["choice"].to_numpy() - 1.0,
    }
    total = np.zeros(60)
    for term, part in rows:
        for lag, value in zip(part["lag"].astype(int), part["estimate"]):
            total[lag:] += value * raw[term][: 60 - lag]
    difference = predictor[:60] - total
    # What is left of decaying history beyond the lags shown is below a thousandth.
    np.testing.assert_allclose(difference, difference[-1], atol=2e-3)
    assert np.ptp(predictor[:60]) > 1


def test_lags_are_in_units_of_time_and_rows_have_the_axes_of_the_weights():
    _, design, weights = case()
    filters = design.filters(weights, bin_width=0.1)
    assert list(filters.columns) == ["term", "state", "lag", "estimate"]
    late = filters[(filters["term"] == "late") & (filters["state"] == 1)]
    np.testing.assert_allclose(late["lag"], [0.2, 0.3, 0.4])
    np.testing.assert_array_equal(late["estimate"], weights.values[1, 4:7])
    assert list(filters["term"].unique()) == ["sound", "late", "choice"]


def test_errors_are_the_spread_of_the_filters_of_draws():
    _, design, weights = case()
    rng = np.random.default_rng(1)
    size = weights.shape[1]
    roots = rng.normal(size=(2, size, size))
    covariance = roots @ roots.transpose(0, 2, 1)
    found = design.filters(weights, covariance=covariance)
    # Draws that have exactly this covariance: plus and minus every root.
    steps = np.concatenate([roots, -roots], axis=2) * np.sqrt(size)
    draws = weights.values[:, :, None] + steps
    draws = xr.DataArray(
        draws.transpose(2, 0, 1)[None],
        {"state": [0, 1], "covariate": weights["covariate"].values},
        ("chain", "draw", "state", "covariate"),
    )
    by_draws = design.filters(draws)
    keys = ["term", "state", "lag"]
    pd.testing.assert_frame_equal(found[keys], by_draws[keys])
    np.testing.assert_allclose(by_draws["estimate"], found["estimate"])
    unbiased = np.sqrt(2 * size / (2 * size - 1))
    np.testing.assert_allclose(
        by_draws["standard_error"], found["standard_error"] * unbiased
    )
    width = found["upper"] - found["lower"]
    np.testing.assert_allclose(width / found["standard_error"], 2 * 1.959963984540054)


def test_quantiles_of_draws_are_those_of_every_lag():
    _, design, weights = case()
    rng = np.random.default_rng(2)
    values = rng.normal(size=(2, 50, *weights.shape))
    dims = ("chain", "draw", *weights.dims)
    draws = xr.DataArray(values, {"covariate": weights["covariate"].values}, dims)
    found = design.filters(draws.transpose("state", "draw", "covariate", "chain"))
    late = found[(found["term"] == "late") & (found["state"] == 0)]
    expected = np.quantile(values[:, :, 0, 4:7], [0.025, 0.975], axis=(0, 1))
    np.testing.assert_allclose(late[["lower", "upper"]].T, expected)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_covariance_has_the_standard_errors_on_its_diagonal(num_classes):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3))
    data = gh.Sequences(rng.integers(0, num_classes, 80), x)
    model = gh.GLMHMM(1, gh.Categorical(num_classes))
    fit = gh.fit(model, data, "map", num_restarts=1, progress=False)
    covariance = fit.covariance(data)
    errors = fit.standard_errors(data)["emissions.weights"]
    assert covariance.dims == (*errors.dims, "other_covariate")
    assert covariance.shape == (1, num_classes, 3, 3)
    diagonal = np.diagonal(covariance.values, axis1=-2, axis2=-1)
    np.testing.assert_allclose(np.sqrt(diagonal), errors.values)
    probs = fit.predict(data).values
    # Information of a softmax regression, all free classes together.
    free = probs[:, 1:]
    blocks = np.einsum("tc,cd->tcd", free, np.eye(num_classes - 1))
    blocks = blocks - free[:, :, None] * free[:, None, :]
    information = np.einsum("tcd,ti,tj->cidj", blocks, x, x)
    size = 3 * (num_classes - 1)
    inverse = np.linalg.inv(information.reshape(size, size))
    inverse = inverse.reshape(information.shape)
    for c in range(num_classes - 1):
        expected = inverse[c, :, c]
        np.testing.assert_allclose(covariance.values[0, c + 1], expected, rtol=1e-4)


def test_a_covariance_is_unknown_where_a_standard_error_is():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    data = gh.Sequences(rng.integers(0, 2, 60), np.column_stack([x, x[:, 1]]))
    fit = made_fit(
        gh.GLMHMM(1, gh.Bernoulli()), data, {"emissions.weights": np.zeros((1, 3))}
    )
    with pytest.warns(gh.ConvergenceWarning, match="not determined by data"):
        unknown = np.isnan(fit.covariance(data).values[0])
    assert unknown.tolist() == [[False, True, True], [True] * 3, [True] * 3]
    with pytest.raises(ValueError, match="emissions.weights, got 'initial.probs'"):
        fit.covariance(data, "initial.probs")


def test_filters_refuse_what_they_cannot_read():
    _, design, weights = case()
    with pytest.raises(TypeError, match="axis 'covariate'.*got ndarray"):
        design.filters(weights.values)
    for width in (0, "ms", float("nan")):
        with pytest.raises(ValueError, match=f"bin_width must be a.*got {width!r}"):
            design.filters(weights, width)
    with pytest.raises(ValueError, match="no 'choice_half_life0.5' among sound"):
        design.filters(weights[:, :7])
    with pytest.raises(ValueError, match=r"shape \(2, 10, 10\), got \(10, 10\)"):
        design.filters(weights, covariance=np.eye(10))
    with pytest.raises(ValueError, match="no draws"):
        design.filters(weights.expand_dims("draw"), covariance=np.eye(10))
    with pytest.raises(ValueError, match="must have a filter.*got intercept"):
        Design(Intercept()).fit(pd.DataFrame({"a": [1]}), session=None).filters(weights)
