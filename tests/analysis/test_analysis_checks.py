"""Predictive checks: statistics by their definitions, defects found, loops closed."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.analysis.checks.statistics import autocorrelation, survival
from glmhmm_pyro.covariates import Design, PreviousChoice
from glmhmm_pyro.inference.fits.given import fit_at

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

LENGTHS = [150, 150]


def table(choices, seed=0):
    """Trials of two days with a stimulus."""
    x = np.random.default_rng(seed).normal(size=300)
    return pd.DataFrame({"day": np.repeat([1, 2], 150), "x": x, "y": choices})


def by_design(choices, design):
    """Data whose covariates a design made."""
    return gh.Sequences.from_dataframe(
        table(choices), session="day", emissions="y", covariates=design
    )


def at(data, weights):
    """The fit of one state of choices at given weights."""
    params = {"emissions.weights": torch.tensor([weights]).double()}
    return fit_at(gh.GLMHMM(1, gh.Bernoulli()), data, params, "the truth")


NOISE = np.random.default_rng(1).integers(0, 2, 300)
HISTORY = Design("x", PreviousChoice("y"))


def closed(seed=0, weight=1.5):
    """A fit whose choices repeat the one before, and data that it drew."""
    data = by_design(NOISE, HISTORY)
    fit = at(data, [1.0, weight])
    choices = fit.simulate(data, seed, history=True)[0].emissions.numpy()
    data = by_design(choices, HISTORY)
    return at(data, [1.0, weight]), data


def test_statistics_are_those_of_their_definitions():
    values, starts = np.array([[1.0, 1, 0, 0, 0, 1]]), np.array([0, 4])
    centred = values[0] - 0.5
    pairs = [(0, 1), (1, 2), (2, 3), (4, 5)]
    expected = np.mean([centred[a] * centred[b] for a, b in pairs]) / 0.25
    found = autocorrelation(values, starts, np.array([1]))
    assert found[0, 0] == pytest.approx(expected)
    # Runs 11, 00, then the next session's 0 and 1.
    assert survival(values, starts, 3)[0].tolist() == [0.5, 0.0, 0.0]


def test_a_fit_at_the_truth_is_not_told_from_its_simulations():
    fit, data = closed()
    check = gh.analysis.predictive_check(fit, data, num_samples=100)
    assert list(check.p_values.index) == ["autocorrelation", "runs", "psychometric"]
    assert check.report.codes == ()
    rows = check.table
    assert ((rows.lower <= rows.estimate) & (rows.estimate <= rows.upper)).mean() > 0.8


def test_choices_that_repeat_are_unlike_a_fit_without_history():
    data = by_design(closed()[1].emissions.numpy(), Design("x"))
    check = gh.analysis.predictive_check(at(data, [1.0]), data, num_samples=100)
    assert {"unlike-autocorrelation", "unlike-runs"} <= set(check.report.codes)
    assert check.p_values["runs"] == 1 / 101


def test_a_loop_left_open_is_found_out():
    fit, data = closed(weight=2.5)
    options = {"num_samples": 100, "max_lag": 5}
    shut = gh.analysis.predictive_check(fit, data, **options)
    left = gh.analysis.predictive_check(fit, data, history=False, **options)
    lag = ("autocorrelation", 2.0)
    # Twice removed from the choice, open loops forget what closed ones hand on.
    assert shut.table.estimate[lag] > left.table.estimate[lag] + 0.05


def test_history_that_nobody_can_remake_is_refused_by_name():
    fit, data = closed()
    arrays = gh.Sequences(
        data.emissions,
        data.covariates,
        lengths=LENGTHS,
        covariate_names=["x", "previous"],
    )
    with pytest.raises(ValueError, match="history must tell .* 'previous'"):
        gh.analysis.predictive_check(at(arrays, [1.0, 1.5]), arrays)


def test_visits_of_states_are_compared_and_pictures_drawn():
    data = by_design(NOISE, Design("x"))
    params = {
        "initial.probs": torch.tensor([0.5, 0.5]).double(),
        "transitions.probs": torch.tensor([[0.9, 0.1], [0.2, 0.8]]).double(),
        "emissions.weights": torch.tensor([[1.0], [-1.0]]).double(),
    }
    model = gh.GLMHMM(2, gh.Bernoulli())
    fit = fit_at(model, data, params, "the truth")
    check = gh.analysis.predictive_check(fit, data, num_samples=100)
    dwell = check.table.loc["dwell"].estimate
    # Visits to either last more than a step with 0.9 or 0.8, as often as each begins.
    assert dwell[1.0] == pytest.approx(0.85, abs=0.02)
    pictures = [
        lambda ax: gh.plotting.predictive_check(check, "dwell", ax),
        lambda ax: gh.plotting.calibration_of_steps(fit, data, ax),
        lambda ax: gh.plotting.residuals(fit, data, ax),
    ]
    for picture in pictures:
        _, ax = plt.subplots()
        assert picture(ax) is ax and ax.get_xlabel() and ax.get_ylabel()
    plt.close("all")
    line = [
        x for x in gh.plotting.predictive_check(check).lines if len(x.get_xdata()) > 2
    ]
    observed = check.table.loc["autocorrelation"].observed
    assert np.allclose(line[0].get_ydata(), observed)
    plt.close("all")


def test_a_psychometric_check_names_its_axes():
    named = ["left" if choice == 0 else "right" for choice in NOISE]
    for choices, up in ((named, "share of right"), (NOISE, "share of y = 1")):
        data = by_design(choices, Design("x"))
        check = gh.analysis.predictive_check(at(data, [1.0]), data, num_samples=20)
        ax = gh.plotting.predictive_check(check, "psychometric")
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", up)
    plt.close("all")


def test_the_autocorrelation_of_residuals_is_drawn_beside_that_of_noise():
    data = by_design(NOISE, Design("x"))
    data = data.with_mask(np.arange(300) != 7)
    fit = at(data, [1.0])
    ax = gh.plotting.residuals(fit, data, kind="autocorrelation", max_lag=5)
    pearson = np.full(300, np.nan)
    found = gh.analysis.residuals(fit, data)["pearson"].droplevel("emission")
    pearson[found.index] = found
    centred = pearson - np.nanmean(pearson)
    days = centred.reshape(2, 150)
    expected = [
        np.nanmean(days[:, lag:] * days[:, :-lag]) / np.nanmean(centred**2)
        for lag in range(1, 6)
    ]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), expected)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    # Of two days of 150 steps 149 pairs each are a step apart.
    assert band.max() == pytest.approx(1.96 / np.sqrt(2 * 145), rel=1e-4)
    assert np.isclose(band, 1.96 / np.sqrt(2 * 149), rtol=1e-4).any()
    assert ax.get_xlabel() == "steps apart"
    with pytest.raises(ValueError, match="kind must be one of quantiles, autocorrel"):
        gh.plotting.residuals(fit, data, kind="lags")
    plt.close("all")
