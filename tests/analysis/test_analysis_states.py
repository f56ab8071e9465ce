"""Tables by state: against enumeration, the laws of known chains, and coverage."""

import itertools

import numpy as np
import pandas as pd
import pyro
import pytest
import torch
from made_fits import categorical_fit, with_posterior
from pyro.distributions import Bernoulli, Normal
from scipy.stats import binom
from test_chain_states import VALUES, make_model

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import states as by_state
from glmhmm_pyro.inference.fits.given import fit_at

MOVES = np.array([[0.95, 0.05], [0.1, 0.9]])
RIGHT = np.array([0.9, 0.35])


def known_fit(labels, lengths, moves=MOVES, right=RIGHT, **options):
    """The fit of a chain at parameters that are known: P(1 | state) is ``right``."""
    data = gh.Sequences(labels, lengths=lengths, **options)
    logits = np.log(right / (1 - right))
    params = {
        "initial.probs": torch.tensor([0.5, 0.5]).double(),
        "transitions.probs": torch.tensor(moves),
        "emissions.weights": torch.tensor(logits)[:, None],
    }
    model = gh.GLMHMM(2, gh.Bernoulli())
    return fit_at(model, data, params, "the truth"), data


def simulated(lengths, seed, moves=MOVES, right=RIGHT):
    """States and labels of the known chain."""
    rng = np.random.default_rng(seed)
    states = []
    for length in lengths:
        state = rng.integers(2)
        for _ in range(length):
            states.append(state)
            state = rng.choice(2, p=moves[state])
    states = np.array(states)
    return states, (rng.random(len(states)) < right[states]).astype(int)


LENGTHS = [4, 3]
LABELS = [1, 1, 0, 1, 0, 0, 1]


def enumerated():
    """All paths (paths, steps) of the small data, with their probabilities given y."""
    paths, probs = [], []
    for path in itertools.product((0, 1), repeat=7):
        prob = 1.0
        for step, (state, label) in enumerate(zip(path, LABELS)):
            begins = step in (0, 4)
            prob *= 0.5 if begins else MOVES[path[step - 1], state]
            prob *= RIGHT[state] if label else 1 - RIGHT[state]
        paths.append(path)
        probs.append(prob)
    return np.array(paths), np.array(probs) / sum(probs)


def runs_of(path):
    """(state, length, whether cut) of every run of the small data."""
    found = []
    for session in (path[:4], path[4:]):
        groups = [(s, len(list(g))) for s, g in itertools.groupby(session)]
        found += [(s, n, i == len(groups) - 1) for i, (s, n) in enumerate(groups)]
    return found


@pytest.fixture(scope="module")
def small():
    fit, data = known_fit(LABELS, LENGTHS, groups=["a", "b"])
    return fit.named(["on", "off"]), data


def test_occupancy_is_the_mean_of_the_marginals_of_all_paths(small):
    fit, data = small
    paths, probs = enumerated()
    share = np.stack([1 - probs @ paths, probs @ paths], -1)
    whole = by_state.occupancy(fit, data, num_samples=20)
    np.testing.assert_allclose(whole.estimate, share.mean(0), atol=1e-10)
    assert whole.index.tolist() == ["on", "off"] and whole.index.name == "state"
    for by, names in (("session", ["0", "1"]), ("group", ["a", "b"])):
        table = by_state.occupancy(fit, data, by, num_samples=20)
        assert table.index.names == [by, "state"]
        for name, rows in zip(names, (share[:4], share[4:])):
            found = table.loc[name].estimate
            np.testing.assert_allclose(found, rows.mean(0), atol=1e-10)


def test_dwell_times_are_expected_steps_at_risk_over_expected_exits(small):
    """Of 4000 paths: a count is off by more than 5 standard errors 1e-6 of times."""
    fit, data = small
    paths, probs = enumerated()
    exits, at_risk = np.zeros(2), np.zeros(2)
    left, lasting = np.zeros((2, 5)), np.zeros((2, 5))
    for path, prob in zip(paths, probs):
        for state, length, is_cut in runs_of(path):
            exits[state] += prob * (not is_cut)
            at_risk[state] += prob * (length - is_cut)
            left[state, length] += prob * (not is_cut)
            lasting[state, 1 : length - is_cut + 1] += prob
    found = by_state.dwell_times(fit, data, max_steps=4, num_samples=4000)
    np.testing.assert_allclose(found.table.exits, exits, atol=5 * 0.8 / 63)
    np.testing.assert_allclose(found.table.at_risk, at_risk, atol=5 * 1.6 / 63)
    ratio = found.table.at_risk / found.table.exits
    np.testing.assert_allclose(found.table.estimate, ratio, rtol=1e-12)
    survival = np.cumprod(1 - left[:, 1:4] / lasting[:, 1:4], 1)
    shown = found.survival.estimate.unstack("step").loc[["on", "off"], 1:3]
    np.testing.assert_allclose(shown, survival, atol=0.05)
    np.testing.assert_allclose(found.table.model, 1 / (1 - MOVES.diagonal()))
    law = found.survival.model.unstack("step").loc["on"]
    np.testing.assert_allclose(law, 0.95 ** np.arange(5))


def test_cut_runs_are_censored_and_a_state_never_left_lasts_for_ever():
    """Where states are certain there is one path, whose runs can be counted by hand."""
    sure = np.array([1 - 1e-12, 1e-12])
    labels = [1, 1, 0, 0, 0, 1] + [1, 0, 0]
    fit, data = known_fit(labels, [6, 3], right=sure)
    found = by_state.dwell_times(fit, data, max_steps=3, num_samples=4)
    # State 0: 2 and 1 steps left, 1 cut; state 1: 3 steps left, 2 cut.
    assert found.table.exits.tolist() == [2, 1]
    assert found.table.at_risk.tolist() == [3, 4]
    assert found.table.estimate.tolist() == [1.5, 4.0]
    curves = found.survival.estimate.unstack("step")
    np.testing.assert_allclose(curves.loc["0", :2], [1, 0.5, 0])
    # One of two at risk after 1 step stays; none knows of 2 steps but the one of 3.
    np.testing.assert_allclose(curves.loc["1"], [1, 1, 1, 0])
    fit, data = known_fit([1, 1, 1], [3], right=sure)
    table = by_state.dwell_times(fit, data, num_samples=4).table
    assert table.estimate["0"] == table.upper["0"] == np.inf
    assert np.isnan(table.estimate["1"])


def test_viterbi_would_say_more_than_the_drawn_paths_do():
    """States that are hard to tell: the truth is 10 steps.

    4000 steps have 400 exits, so that the estimate is off by more than a quarter once
    in 1e6; it took the truth's parameters.
    """
    right, moves = np.array([0.8, 0.2]), np.array([[0.9, 0.1], [0.1, 0.9]])
    _, labels = simulated([2000, 2000], 0, moves, right)
    fit, data = known_fit(labels, [2000, 2000], moves, right)
    estimate = by_state.dwell_times(fit, data, num_samples=20).table.estimate
    assert (abs(estimate - 10) < 2.5).all()
    viterbi = fit.decode(data).viterbi_states.values
    switches = (np.diff(viterbi) != 0).sum()
    assert 4000 / switches > 15


def test_driven_and_expanded_chains_are_compared_with_simulation():
    """The law of a run of three phases, by its own table of survival.

    Of 300 simulated runs of 40 steps every share is off by .15 less than once in 1e6.
    """
    rng = np.random.default_rng(1)
    data = gh.Sequences(rng.integers(2, size=120), rng.normal(size=(120, 2)))
    fit = fit_at(make_model(), data, VALUES, "by hand")
    found = by_state.dwell_times(fit, data, max_steps=8, num_samples=50)
    assert found.law == "simulated"
    law = found.survival.model.unstack("step").loc["0"]
    leave = float(VALUES["transitions.leave"][0])
    # More than n steps: at most two of three phases are over.
    ns, ks = np.arange(9)[:, None], np.arange(3)
    expected = binom.pmf(ks, ns, leave).sum(1)
    np.testing.assert_allclose(law, expected, atol=0.05)
    driven, data = categorical_fit(2, 2, gh.InputDriven())
    assert by_state.dwell_times(driven, data, num_samples=5).law == "simulated"


def test_paths_of_a_fit_with_draws_are_at_the_draws():
    fit, data = categorical_fit(2, 2)
    sure = by_state.occupancy(fit, data, num_samples=50)
    unsure = by_state.occupancy(with_posterior(fit, data, scale=1.0), data)
    width = sure.upper - sure.lower
    assert (unsure.upper - unsure.lower > 1.2 * width).all()
    table = by_state.dwell_times(with_posterior(fit, data), data, num_samples=20).table
    assert np.isfinite(table.model).all()


def test_accuracy_and_columns_are_weighted_means(small):
    fit, data = small
    correct = [True, False, True, None, True, False, True]
    values = np.array([1.0, 2.0, np.nan, 4.0, 5.0, 7.0, 6.0])
    paths, probs = enumerated()
    smoothed = np.stack([1 - probs @ paths, probs @ paths], -1)
    predicted = fit.decode(data).predicted_probs.values
    for name, weights in (("smoothed", smoothed), ("predicted", predicted)):
        options = {"weights": name, "num_samples": 20}
        rows = [0, 1, 2, 4, 5, 6]
        right = np.array([1, 0, 1, 1, 0, 1])
        table = by_state.accuracy_by_state(fit, data, correct, **options)
        share = right @ weights[rows] / weights[rows].sum(0)
        np.testing.assert_allclose(table.estimate, share, atol=1e-10)
        np.testing.assert_allclose(table.steps, weights[rows].sum(0), atol=1e-10)
        table = by_state.column_by_state(fit, data, values, **options)
        rows = [0, 1, 3, 4, 5, 6]
        mean = values[rows] @ weights[rows] / weights[rows].sum(0)
        np.testing.assert_allclose(table.estimate, mean, atol=1e-10)
        options["statistic"] = "median"
        table = by_state.column_by_state(fit, data, values, **options)
        for state, name in enumerate(fit.state_names):
            median, by = table.estimate[name], weights[rows][:, state]
            assert by[values[rows] < median].sum() < by.sum() / 2
            assert by[values[rows] <= median].sum() >= by.sum() / 2


def test_a_missed_step_is_neither_right_nor_wrong(small):
    fit, data = small
    correct = [True, False, True, True, True, False, True]
    missed = data.with_mask([True, True, False, True, True, False, True])
    found = by_state.accuracy_by_state(fit, missed, correct, num_samples=5)
    correct[2] = correct[5] = None
    told = by_state.accuracy_by_state(fit, missed, correct, num_samples=5)
    pd.testing.assert_frame_equal(found, told)


def test_the_column_of_a_data_set_is_known_by_its_name(small):
    fit, data = small
    found = by_state.column_by_state(fit, data, "y", num_samples=5)
    same = by_state.column_by_state(fit, data, pd.Series(LABELS), num_samples=5)
    pd.testing.assert_frame_equal(found, same)


def test_switches_are_those_of_the_one_path_that_is_certain():
    sure = np.array([1 - 1e-12, 1e-12])
    labels = [1, 1, 0, 0, 1, 0] + [1, 1, 0]
    values = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, np.nan])
    fit, data = known_fit(labels, [6, 3], right=sure)
    options = {"steps_before": 2, "steps_after": 1, "num_samples": 3}
    table = by_state.switch_triggered(fit, data, values, **options)
    # Into 0 at step 4, into 1 at 2, 5 and 8; step 6 is the first of another session.
    np.testing.assert_allclose(table.estimate["0"], [3, 4, 5, 6])
    assert table.switches["0"].tolist() == [1, 1, 1, 1]
    into = [(1 + 4 + 7) / 3, (2 + 5 + 8) / 3, (3 + 6) / 2, 4]
    np.testing.assert_allclose(table.estimate["1"], into)
    assert table.switches["1"].tolist() == [3, 3, 2, 1]
    out = by_state.switch_triggered(fit, data, values, direction="out of", **options)
    np.testing.assert_allclose(out.estimate["1"], table.estimate["0"])


def test_states_in_session_average_sessions_that_are_as_long(small):
    fit, data = small
    smoothed = fit.decode(data).smoothed_probs.values
    table = by_state.states_in_session(fit, data, num_bins=4, num_samples=10)
    expected = [smoothed[[i, i + 4]].mean(0) for i in range(3)] + [smoothed[3]]
    found = table.estimate.unstack("state")[["on", "off"]]
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert table.sessions.tolist() == [2] * 6 + [1] * 2
    assert found.index.tolist() == [0.5, 1.5, 2.5, 3.5]
    table = by_state.states_in_session(fit, data, 2, relative=True, num_samples=10)
    found = table.estimate.unstack("state")[["on", "off"]]
    # Step 1 of 3 begins in the first half.
    first = smoothed[[0, 1, 4, 5]].mean(0)
    np.testing.assert_allclose(found.iloc[0], first, atol=1e-10)
    assert found.index.tolist() == [0.25, 0.75]


def test_psychometric_averages_the_model_over_the_steps():
    names = ["stim", "side", "bias"]
    fit, data = categorical_fit(
        2, 3, covariate_names=names, class_names=["none", "left", "right"]
    )
    weights = fit.decode(data).smoothed_probs.values
    table = by_state.psychometric(
        fit, data, "stim", class_="left", num_bins=5, num_samples=10
    )
    assert table.index.names == ["source", "state", "stim"]
    x = data.covariates.numpy().copy()
    parameters = fit.parameters["emissions.weights"]
    for state, name in enumerate(fit.state_names):
        curve = table.loc[("model", name)].estimate
        for point in (0, 17, 30):
            x[:, 0] = curve.index[point]
            odds = np.exp(x @ parameters[state].values.T)
            left = odds[:, 1] / odds.sum(1)
            mean = left @ weights[:, state] / weights[:, state].sum()
            assert curve.iloc[point] == pytest.approx(mean, abs=1e-10)
    x = data.covariates[:, 0].numpy()
    shown = table.loc[("data", "1")]
    assert len(shown) == 5
    inside = x < np.quantile(x, 0.2)
    w, y = weights[inside, 1], (data.emissions.numpy() == 1)[inside]
    assert shown.estimate.iloc[0] == pytest.approx(w @ y / w.sum())
    assert shown.effective_count.iloc[0] == pytest.approx(w.sum() ** 2 / (w @ w))
    assert shown.index[0] == pytest.approx(x[inside].mean())
    drawn = by_state.psychometric(
        with_posterior(fit, data), data, "stim", class_="left", num_samples=10
    ).loc["model"]
    assert ((drawn.lower <= drawn.estimate) & (drawn.estimate <= drawn.upper)).all()


def test_bands_of_a_fit_without_draws_are_those_of_its_weight():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 1))
    y = (rng.random(80) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    data = gh.Sequences(y, x, covariate_names=["stim"])
    model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(2.0)))
    fit = gh.fit(model, data, num_restarts=1, progress=False)
    weight = float(fit.params["emissions.weights"])
    error = fit.standard_errors(data)["emissions.weights"].item()
    table = by_state.psychometric(fit, data, "stim", num_samples=5).loc[("model", "0")]
    at = table.index.to_numpy()
    # Log-odds are w x, whose error is |x| times that of w.
    for sign, end in ((-1, table.lower), (1, table.upper)):
        odds = weight * at + sign * 1.959964 * np.abs(at) * error
        np.testing.assert_allclose(end, 1 / (1 + np.exp(-odds)), rtol=1e-4)


def test_tables_say_the_level_of_their_intervals(small):
    fit, data = small
    few = {"num_samples": 4}
    dwell = by_state.dwell_times(fit, data, **few)
    correct = np.arange(len(data.emissions)) % 2
    tables = [
        by_state.occupancy(fit, data, **few),
        by_state.states_in_session(fit, data, 2, **few),
        by_state.accuracy_by_state(fit, data, correct, **few),
        by_state.column_by_state(fit, data, correct, **few),
        by_state.switch_triggered(fit, data, correct, **few),
        by_state.dwell_law(fit, steps=2),
        dwell.table,
        dwell.survival,
    ]
    for table in tables:
        assert table.attrs["level"] == 0.95
        assert table.columns[:3].tolist() == ["estimate", "lower", "upper"]


def test_a_share_lies_in_its_interval_as_often_as_it_says():
    """Of 80 shares at 95 % more than 13 are outside once in 1e5."""
    outside = 0
    for seed in range(80):
        states, labels = simulated([60], seed)
        fit, data = known_fit(labels, [60])
        table = by_state.occupancy(fit, data, num_samples=100, seed=seed)
        inside = table.lower["1"] <= states.mean() <= table.upper["1"]
        outside += not inside
    assert outside <= 13


def test_unmixed_means_are_those_of_the_states():
    """Where states are not sure; off by .25 less than once in 1e6 (2000 steps)."""
    right = np.array([0.8, 0.3])
    states, labels = simulated([100] * 20, 5, right=right)
    noise = np.random.default_rng(1).normal(size=2000)
    fit, data = known_fit(labels, [100] * 20, right=right)
    options = {"num_samples": 50, "statistic": "unmixed"}
    found = by_state.column_by_state(fit, data, states + 0.5 * noise, **options)
    np.testing.assert_allclose(found.estimate, [0, 1], atol=0.25)
    assert (found.lower < [0.1, 1.1]).all() and (found.upper > [-0.1, 0.9]).all()
    plain = by_state.column_by_state(fit, data, states + 0.5 * noise).estimate
    assert plain["1"] < 0.85
    options |= {"weights": "predicted"}
    found = by_state.column_by_state(fit, data, labels, **options)
    np.testing.assert_allclose(found.estimate, right, atol=0.25)


def test_a_raw_column_moves_all_covariates_that_are_made_of_it():
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(rng.normal(size=(50, 2)), columns=["stim", "tone"])
    frame["choice"] = rng.integers(2, size=50)
    frame.loc[3, "choice"] = np.nan
    design = gh.covariates.Design(
        "stim", gh.covariates.Interaction("stim", "tone"), gh.covariates.Intercept()
    )
    data = gh.Sequences.from_dataframe(
        frame, session=None, emissions="choice", covariates=design
    )
    weights = np.array([[2.0, 1.0, 0.3], [0.5, -1.0, -0.2]])
    params = {
        "initial.probs": torch.tensor([0.5, 0.5]).double(),
        "transitions.probs": torch.tensor(MOVES),
        "emissions.weights": torch.tensor(weights),
    }
    fit = fit_at(gh.GLMHMM(2, gh.Bernoulli()), data, params, "by hand")
    table = by_state.psychometric(fit, data, "stim", num_samples=5)
    by = fit.decode(data).smoothed_probs.values
    for state, name in enumerate(fit.state_names):
        curve = table.loc[("model", name)].estimate
        point = curve.index[7]
        design = [np.full(50, point), point * frame.tone, np.ones(50)]
        probs = 1 / (1 + np.exp(-weights[state] @ np.array(design)))
        mean = probs @ by[:, state] / by[:, state].sum()
        assert curve.iloc[7] == pytest.approx(mean, abs=1e-10)
    shares = table.loc["data"].effective_count
    assert len(shares) == 2 * 12
    tones = by_state.column_by_state(fit, data, "tone", unit="step", num_samples=5)
    mean = frame.tone.values @ by / by.sum(0)
    np.testing.assert_allclose(tones.estimate, mean)


def test_a_model_of_several_chains_is_refused():
    def model(data):
        loc = pyro.sample("loc", Normal(torch.zeros(2).double(), 1.0).to_event(1))
        for name in ("a", "b"):
            hidden = gh.HiddenMarkov(
                torch.zeros(1, 2).double(),
                torch.eye(2).double()[None],
                Bernoulli(logits=loc.expand(data.num_steps, 2)),
                data.lengths,
            )
            pyro.sample(name, hidden, obs=data.emissions)

    data = gh.Sequences(LABELS, lengths=LENGTHS)
    fit = fit_at(model, data, {"loc": torch.tensor([0.5, -1.0]).double()}, "by hand")
    with pytest.raises(ValueError, match="fit must be of a model with one.*got a, b"):
        by_state.occupancy(fit, data)
