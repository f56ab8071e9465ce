"""How many sessions it takes: simulated experiments against what is known exactly."""

import functools

import matplotlib
import numpy as np
import pandas as pd
import pytest
from drawn import overlapping_texts
from made_fits import made_fit, sticky
from scipy.stats import binom, norm

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import power
from glmhmm_pyro.covariates import Design, Intercept, PreviousChoice

matplotlib.use("Agg")

QUICK = {"progress": False, "num_restarts": 1}

# Of a test of frequencies that are right; its bounds are exact.
FALSE_ALARMS = 1e-6


def coin(log_odds=0.4):
    """A fit of a coin that is bent, and sessions to throw it in."""
    data = gh.Sequences([0, 1] * 60, lengths=[30] * 4)
    params = {"emissions.weights": [[log_odds]]}
    return made_fit(gh.GLMHMM(1, gh.Bernoulli()), data, params), data


def two_states():
    """A fit of an engaged and a biased state, and its sessions."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=240), np.ones(240)])
    names = ["stim", "bias"]
    data = gh.Sequences(
        rng.integers(0, 2, 240), x, lengths=[60] * 4, covariate_names=names
    )
    params = {
        "initial.probs": [0.5, 0.5],
        "transitions.probs": sticky(2, 0.95),
        "emissions.weights": [[6.0, 0.0], [0.0, 2.0]],
    }
    ridge = gh.priors.Ridge(4.0)
    return made_fit(gh.GLMHMM(2, gh.Bernoulli(ridge)), data, params), data


@functools.cache
def found_of_two_states():
    """What few experiments of four sizes find."""
    fit, data = two_states()
    options = {"num_replicates": 2, "method": "map", "init": fit.params, **QUICK}
    return power(fit, data, [2, 4], num_trials=[40, 60], **options)


def exact_power(log_odds, throws, level=0.05):
    """How often Wald's test finds a coin bent, by the sum over all numbers of heads.

    Where all throws are alike the fit fails, and has found nothing.
    """
    heads = np.arange(1, throws)
    found = heads / throws
    size = np.abs(np.log(found / (1 - found))) * np.sqrt(throws * found * (1 - found))
    probs = binom.pmf(heads, throws, 1 / (1 + np.exp(-log_odds)))
    return probs[size > norm.ppf(1 - level / 2)].sum()


def test_power_is_that_of_the_sum_over_all_that_could_come():
    fit, data = coin()
    found = power(fit, data, [2, 8], num_replicates=25, **QUICK)
    for size in (2, 8):
        share = found.effects().loc[(size, 30), "power"].item()
        low, high = binom.ppf(
            [FALSE_ALARMS / 2, 1 - FALSE_ALARMS / 2], 25, exact_power(0.4, 30 * size)
        )
        assert low <= round(25 * share) <= high
    assert exact_power(0.4, 60) < 0.4 < 0.8 < exact_power(0.4, 240)


def test_tables_are_made_of_the_replicates():
    found = found_of_two_states()
    table, replicates, rows = found.table(), found.replicates, found.estimates
    assert table.index.tolist() == [(2, 40), (2, 60), (4, 40), (4, 60)]
    good = replicates[replicates["is_success"]]
    weights = rows[rows["parameter"] == "emissions.weights"]
    for design in table.index:
        here = good.loc[design]
        assert table.loc[design, "accuracy"] == here["accuracy"].mean()
        own = weights.loc[design]
        error = own["estimate"] - own["truth"]
        rmse = np.sqrt((error**2).mean())
        assert table.loc[design, "weights_rmse"] == pytest.approx(rmse)
        holds = (own["lower"] <= own["truth"]) & (own["truth"] <= own["upper"])
        assert table.loc[design, "coverage"] == pytest.approx(holds.mean())
    wald = weights["estimate"].abs() / weights["standard_error"] > norm.ppf(0.975)
    assert (weights["found"].astype(bool) == wald).all()
    truths = weights.groupby(["state", "covariate"])["truth"].first()
    assert truths.tolist() == [0.0, 6.0, 2.0, 0.0]
    # States that differ so much are told apart, and numbered as in the truth.
    assert good["accuracy"].min() > 0.7
    effects = found.effects("emissions.weights")
    names = ["num_sessions", "num_trials", "parameter", "state", "covariate"]
    assert effects.index.names == names


def test_states_are_numbered_as_in_the_truth():
    fit, data = two_states()
    swapped = fit.permuted([1, 0]).params
    options = {"num_replicates": 2, "method": "map", "init": swapped, **QUICK}
    found = power(fit, data, [4], **options)
    assert found.replicates["accuracy"].min() > 0.7
    stim = found.effects("emissions.weights").xs("stim", level="covariate")
    assert stim["truth"].tolist() == [6.0, 0.0]
    assert stim["bias"].abs().max() < 3


def test_what_comes_after_the_trials_is_not_observed(monkeypatch):
    fit, data = coin()
    hidden = np.arange(120) % 30 != 5
    seen = []
    monkeypatch.setattr(
        "glmhmm_pyro.analysis.planning.power_study.whole_fit",
        lambda model, data, *_, **__: seen.append(data) or fit,
    )
    options = {"num_trials": [10], "num_replicates": 1, **QUICK}
    power(fit, data.with_mask(hidden), [3], **options)
    (cut,) = seen
    steps = np.arange(30)
    wanted = np.tile((steps < 10) & (steps != 5), 3)
    np.testing.assert_array_equal(cut.mask.numpy(), wanted)


def test_the_number_of_states_that_bic_prefers():
    fit, data = two_states()
    options = {"num_states": [1, 2], "method": "map", "num_replicates": 2}
    found = power(fit, data, [4], init=fit.params, **options, **QUICK)
    assert found.replicates["chosen"].tolist() == [2, 2]
    table = found.table()
    assert table["right_num_states"].tolist() == [1.0]
    assert table["right_num_states_error"].item() == pytest.approx(
        np.sqrt(0.75 * 0.25 / 4)
    )


def test_history_columns_follow_what_is_simulated(monkeypatch):
    trials = pd.DataFrame({"day": np.repeat([1, 2], 20), "choice": [0, 1] * 20})
    design = Design(PreviousChoice("choice"), Intercept())
    data = design.sequences(trials, session="day", emissions="choice")
    # Whoever always repeats the last choice makes one run of choices a session.
    params = {"emissions.weights": [[30.0, 0.0]]}
    model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
    fit = made_fit(model, data, params)
    seen = []
    monkeypatch.setattr(
        "glmhmm_pyro.analysis.planning.power_study.whole_fit",
        lambda model, data, *_, **__: seen.append(data) or fit,
    )
    power(fit, data, [3], num_replicates=1, **QUICK)
    (simulated,) = seen
    assert simulated.num_sessions == 3
    for session in simulated:
        assert len(set(session.emissions.tolist())) == 1
        sign = 2 * int(session.emissions[0]) - 1
        assert session.covariates[1:, 0].tolist() == [sign] * 19


def test_a_killed_call_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    fit, data = coin()
    path = tmp_path / "power"
    options = {"num_replicates": 3, "checkpoint": path, **QUICK}
    whole = power(fit, data, [2], **options)
    monkeypatch.setattr(
        "glmhmm_pyro.analysis.planning.power_study.whole_fit", lambda *_, **__: 1 / 0
    )
    again = power(fit, data, [2], **options)
    pd.testing.assert_frame_equal(whole.estimates, again.estimates)


def test_fits_that_fail_are_counted_and_have_found_nothing():
    fit, data = coin(30.0)
    with pytest.raises(ValueError, match="must give a fit that ends well, got"):
        power(fit, data, [1], num_replicates=2, **QUICK)
    fit, data = coin(3.0)
    found = power(fit, data, [1], num_replicates=6, **QUICK)
    failed = ~found.replicates["is_success"]
    assert 0 < failed.sum() < 6
    hits = found.estimates["found"].astype(bool).sum()
    assert found.effects()["power"].item() == pytest.approx(hits / 6)


@pytest.mark.parametrize("figure", ["power", "accuracy", "coverage", "weights_rmse"])
def test_a_picture_has_the_figures_of_the_table(figure):
    found = found_of_two_states()
    ax = gh.plotting.power(found, figure)
    drawn = [container.lines[0].get_ydata() for container in ax.containers]
    if figure == "power":
        weights = found.effects("emissions.weights").xs(60, level="num_trials")
        wanted = weights["power"].to_numpy().reshape(2, 4).T
        labels = [text.get_text() for text in ax.get_legend().get_texts()]
        assert labels[0] == "state 0, stim"
    else:
        wanted = found.table()[figure].unstack("num_trials").to_numpy().T
    np.testing.assert_allclose(drawn, wanted)
    assert not overlapping_texts(ax)
    matplotlib.pyplot.close("all")
