"""Simulation: open and closed loop against enumeration, one estimate or many draws."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from families import LENGTHS, Gaussian, random_data
from made_fits import made_fit, sticky
from scipy.stats import chi2

import glmhmm_pyro as gh
from glmhmm_pyro.covariates import (
    Design,
    ExponentialHistory,
    Indicator,
    Intercept,
    Lags,
    PreviousChoice,
    RaisedCosine,
    Signed,
    Standardised,
    WinStayLoseSwitch,
)
from glmhmm_pyro.inference import Posterior

# Of a chi-square test that is right.
FALSE_ALARMS = 1e-6
NAMES = ["cue", "previous", "before"]


def two_states(lengths=(4,), transitions=True):
    """A fit whose emissions and transitions read a cue and the last two choices."""
    rng = np.random.default_rng(0)
    steps = sum(lengths)
    x = np.column_stack([rng.normal(size=steps), np.zeros((steps, 2))])
    data = gh.Sequences(
        rng.integers(0, 2, steps), x, lengths=lengths, covariate_names=NAMES
    )
    kind = gh.InputDriven() if transitions else gh.Stationary()
    params = {
        "initial.probs": [0.3, 0.7],
        "emissions.weights": [[1.0, 1.5, -1.0], [-0.5, -1.2, 0.8]],
    }
    if transitions:
        params["transitions.weights"] = [[[0.5, 1.0, -0.7]], [[-0.4, -1.3, 0.6]]]
    else:
        params["transitions.probs"] = sticky(2, 0.8)
    return made_fit(gh.GLMHMM(2, gh.Bernoulli(), kind), data, params), data


def last_two(past, rows):
    """The choices one and two steps before as -1 and +1; 0 before the start."""
    padded = torch.nn.functional.pad(2 * past - 1, (2, 0))
    return padded[:, [-1, -2]]


def closed_loop_probs(fit, data):
    """p(y) of every sequence of one short session, by the sum over all paths."""
    steps, found = data.num_steps, {}
    emission, moves = fit.params["emissions.weights"], fit.params["transitions.weights"]
    for y in itertools.product([0, 1], repeat=steps):
        x = data.covariates.clone()
        for t in range(steps):
            x[t, 1] = 2 * y[t - 1] - 1 if t > 0 else 0
            x[t, 2] = 2 * y[t - 2] - 1 if t > 1 else 0
        total = 0.0
        for z in itertools.product([0, 1], repeat=steps):
            prob = fit.params["initial.probs"][z[0]]
            for t in range(steps):
                right = (emission[z[t]] @ x[t]).sigmoid()
                prob = prob * (right if y[t] else 1 - right)
                if t > 0:
                    leave = (moves[z[t - 1], 0] @ x[t]).sigmoid()
                    prob = prob * (leave if z[t] != z[t - 1] else 1 - leave)
            total = total + float(prob)
        found[y] = total
    return found


def disagreement(samples, probs):
    """Probability of frequencies as far from these probabilities, if they are right."""
    counts = dict.fromkeys(probs, 0)
    for sample in samples:
        counts[tuple(int(y) for y in sample)] += 1
    expected = {y: p * len(samples) for y, p in probs.items()}
    statistic = sum((counts[y] - e) ** 2 / e for y, e in expected.items())
    return chi2.sf(statistic, len(probs) - 1)


def test_closed_loop_has_the_distribution_of_the_sum_over_paths():
    fit, data = two_states()
    probs = closed_loop_probs(fit, data)
    assert sum(probs.values()) == pytest.approx(1.0)
    history = {("previous", "before"): last_two}
    simulated, _ = fit.simulate(data, history=history, num_samples=40_000)
    samples = simulated.emissions.reshape(-1, 4)
    assert disagreement(samples, probs) > FALSE_ALARMS
    opened, _ = fit.simulate(data, num_samples=40_000)
    assert disagreement(opened.emissions.reshape(-1, 4), probs) < FALSE_ALARMS


def test_a_column_made_anew_as_it_was_is_open_loop():
    fit, data = two_states()
    data = data.replace(
        covariates=torch.randn(4, 3, dtype=torch.float64), covariate_names=NAMES
    )
    probs = {}
    for y in itertools.product([0, 1], repeat=4):
        log_prob = fit.distribution(data).log_prob(torch.tensor(y))
        probs[y] = float(log_prob.exp())
    history = {"before": lambda past, rows: data.covariates[rows, 2]}
    for options in ({}, {"history": history}):
        simulated, _ = fit.simulate(data, num_samples=40_000, **options)
        assert disagreement(simulated.emissions.reshape(-1, 4), probs) > FALSE_ALARMS


def test_covariates_are_a_function_of_the_emissions_that_were_drawn():
    fit, data = two_states((3, 6, 1, 5))
    history = {"previous": lambda p, r: last_two(p, r)[:, 0]}
    history["before"] = lambda p, r: last_two(p, r)[:, 1]
    simulated, states = fit.simulate(data, 1, history=history, num_samples=3)
    assert simulated.num_sessions == 12 and states.shape == (45,)
    for session, copy in enumerate(simulated):
        x, y = copy.covariates, 2 * copy.emissions - 1
        assert copy.covariates is copy.transition_covariates
        origin = data[session % 4]
        torch.testing.assert_close(x[:, 0], origin.covariates[:, 0])
        zeros = torch.zeros(2, dtype=y.dtype)
        expected = torch.cat([zeros, y])
        steps = len(y)
        torch.testing.assert_close(x[:, 1], expected[1 : steps + 1].to(x))
        torch.testing.assert_close(x[:, 2], expected[:steps].to(x))
    assert simulated.session_names[:5] == ("0", "1", "2", "3", "0 (2)")


def test_the_past_and_the_rows_are_those_of_the_step():
    fit, data = two_states((3, 6, 1, 5))
    seen = []

    def function(past, rows):
        seen.append((tuple(past.shape), rows.tolist()))
        return torch.zeros(len(rows))

    fit.simulate(data, history={"before": function}, num_samples=2)
    starts, lengths = [3, 10, 0, 9], [6, 5, 3, 1]
    for t, (shape, rows) in enumerate(seen):
        expected = [s + t for s, n in zip(starts, lengths) if n > t for _ in range(2)]
        assert rows == expected and shape == (len(rows), t)
    assert len(seen) == 6


def trials(seed=0, lengths=(7, 1, 12, 4)):
    rng = np.random.default_rng(seed)
    steps = sum(lengths)
    return pd.DataFrame(
        {
            "day": np.repeat(np.arange(len(lengths)), lengths),
            "sound": rng.normal(size=steps),
            "side": rng.choice(["left", "right"], steps),
            "answer": rng.choice(["left", "right"], steps),
        }
    )


def designs():
    """All terms of the past between others, for emissions and for transitions."""
    x = Design(
        RaisedCosine("sound", 2, 5),
        Standardised(PreviousChoice("side")),
        WinStayLoseSwitch("side", answer="answer"),
        Standardised(Lags(Signed("side"), 3, first_lag=2, name="late")),
        Intercept(),
    )
    u = Design(
        ExponentialHistory(Signed("side"), [1, 4]),
        RaisedCosine(Indicator("side", "left"), 2, 4, first_lag=1),
        "sound",
    )
    return x, u


def designed_fit(table, x, u):
    data = x.sequences(table, session="day", emissions="side", transition_design=u)
    rng = np.random.default_rng(1)
    params = {
        "initial.probs": [0.5, 0.5],
        "emissions.weights": rng.normal(size=(2, data.num_features)),
        "transitions.weights": rng.normal(size=(2, 1, data.num_transition_features)),
    }
    return made_fit(gh.GLMHMM(2, gh.Bernoulli(), gh.InputDriven()), data, params), data


def test_a_design_makes_anew_what_it_would_transform_the_simulated_trials_to():
    table, (x, u) = trials(), designs()
    fit, data = designed_fit(table, x, u)
    simulated, _ = fit.simulate(data, 3, history=[x.history(table), u], num_samples=4)
    assert not torch.equal(simulated.covariates[:24], data.covariates)
    parts = simulated.emissions.reshape(4, 24).numpy()
    for number, y in enumerate(parts):
        replayed = table.assign(side=np.array(["left", "right"])[y])
        rows = slice(24 * number, 24 * (number + 1))
        for design, values in [
            (x, simulated.covariates),
            (u, simulated.transition_covariates),
        ]:
            expected = design.transform(replayed)
            np.testing.assert_allclose(values[rows], expected, rtol=0, atol=1e-12)


def test_a_design_reads_classes_by_name():
    """The data may number classes in another order than the design."""
    table = trials()
    design = Design(Lags(Signed("side"), 1, first_lag=1), Intercept())
    matrix = design.fit_transform(table, session="day")
    turned = table.assign(x=matrix["side_lag1"], one=1.0)
    data = gh.Sequences.from_dataframe(
        turned,
        session="day",
        emissions="side",
        covariates=["x", "one"],
        class_names=["right", "left"],
    ).replace(covariates=matrix)
    params = {"emissions.weights": torch.zeros(1, 2, dtype=torch.float64)}
    fit = made_fit(gh.GLMHMM(1, gh.Bernoulli()), data, params)
    simulated, _ = fit.simulate(data, history=design)
    replayed = table.assign(side=np.array(["right", "left"])[simulated.emissions])
    np.testing.assert_array_equal(simulated.covariates, design.transform(replayed))


def test_numbers_feed_back_as_they_are():
    """An autoregression without noise follows its recursion."""
    lengths = (5, 2)
    data = gh.Sequences(
        np.zeros(7),
        np.column_stack([np.zeros(7), np.ones(7)]),
        lengths=lengths,
        covariate_names=["y_lag1", "intercept"],
    )
    model = gh.GLMHMM(1, Gaussian())
    weights = {"emissions.weights": [[0.5, 1.0]], "emissions.scale": [1e-9]}
    fit = made_fit(model, data, weights)
    arrays = [np.zeros((n, 1)) for n in lengths]
    ys = [np.zeros(n) for n in lengths]
    design = Design(Lags("y", 1, first_lag=1)).fit(arrays, emissions=ys)
    simulated, _ = fit.simulate(data, history=design)
    expected = [1.0, 1.5, 1.75, 1.875, 1.9375, 1.0, 1.5]
    np.testing.assert_allclose(simulated.emissions, expected, atol=1e-7)


@pytest.mark.parametrize("transitions", [gh.Stationary, gh.SharedInputDriven])
def test_stepped_states_have_the_models_probabilities(transitions):
    """State and emission are the same where emissions give the state away."""
    data = random_data("bernoulli", (300, 100))
    model = gh.GLMHMM(2, gh.Bernoulli(), transitions(), gh.InitialGLM())
    moves = {"transitions.probs": [[0.9, 0.1], [0.3, 0.7]]}
    if transitions is gh.SharedInputDriven:
        zeros = torch.zeros(1, 2)
        moves = {"transitions.weights": zeros}
        odds = torch.tensor([[1 / 9], [3 / 7]])
        moves["transitions.baseline"] = odds.log()
    ones = torch.ones(400, 2, dtype=torch.float64)
    data = data.replace(covariates=ones, covariate_names=["a", "b"])
    params = {
        "initial.weights": torch.zeros(1, 2),
        "emissions.weights": [[-40.0, 0.0], [40.0, 0.0]],
        **moves,
    }
    fit = made_fit(model, data, params)
    history = {"b": lambda past, rows: torch.zeros(len(rows))}
    simulated, states = fit.simulate(data, history=history, num_samples=100)
    np.testing.assert_array_equal(simulated.emissions, states)
    inside = np.ones(len(states), dtype=bool)
    inside[simulated.starts] = False
    left = np.roll(states, 1)
    for origin, leaves in ((0, 0.1), (1, 0.3)):
        steps = states[inside & (left == origin)]
        rate = (steps != origin).mean()
        # Five standard deviations.
        assert abs(rate - leaves) < 5 * np.sqrt(leaves * (1 - leaves) / len(steps))


def certain_draws(num_draws):
    """A fit with draws of an intercept that makes all choices 0, or all 1."""
    data = gh.Sequences([0, 1, 0], np.zeros((3, 1)), covariate_names=["one"])
    data = data.replace(covariates=np.ones((3, 1)), covariate_names=["one"])
    params = {"emissions.weights": torch.zeros(1, 1, dtype=torch.float64)}
    fit = made_fit(gh.GLMHMM(1, gh.Bernoulli()), data, params)
    signs = torch.arange(num_draws, dtype=torch.float64) % 2 * 2 - 1
    draws = {"emissions.weights": 40 * signs.reshape(1, -1, 1, 1)}
    return dataclasses.replace(fit, posterior=Posterior(draws)), data


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(
    "num_samples, expected", [(4, [0, 1, 0, 1]), (2, [0, 0]), (8, [0, 0, 1, 1] * 2)]
)
def test_every_sample_may_be_at_a_draw_of_its_own(num_samples, expected, closed):
    fit, data = certain_draws(4)
    history = {"one": lambda past, rows: torch.ones(len(rows))} if closed else None
    options = {"history": history, "num_samples": num_samples, "draws": True}
    simulated, _ = fit.simulate(data, **options)
    assert simulated.emissions.reshape(-1, 3).tolist() == [[y] * 3 for y in expected]


def test_simulations_are_reproducible_and_leave_everything_as_it_was():
    fit, data = two_states((3, 6))
    before = data.covariates.clone()
    state = torch.get_rng_state()
    options = {"history": {("previous", "before"): last_two}, "num_samples": 5}
    first, _ = fit.simulate(data, 1, **options)
    again, _ = fit.simulate(data, seed=1, **options)
    other, _ = fit.simulate(data, seed=2, **options)
    assert torch.equal(first.emissions, again.emissions)
    assert not torch.equal(first.emissions, other.emissions)
    assert first.emissions.dtype == data.emissions.dtype and first.mask is None
    assert torch.equal(data.covariates, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_initial_states_of_sessions_may_be_their_own():
    data = random_data("bernoulli", LENGTHS)
    model = gh.GLMHMM(2, gh.Bernoulli(), initial=gh.Initial(per_session=True))
    params = {
        "initial.probs": [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]],
        "transitions.probs": sticky(2),
        "emissions.weights": torch.zeros(2, 2),
    }
    fit = made_fit(model, data, params)
    for history in (None, {"x0": lambda past, rows: torch.zeros(len(rows))}):
        simulated, states = fit.simulate(data, history=history, num_samples=2)
        assert states[simulated.starts].tolist() == [0, 1, 0] * 2


@pytest.mark.parametrize(
    "change, words",
    [
        ({"history": {"prev": last_two}}, ["cue, previous, before", "'prev'"]),
        ({"history": {"previous": last_two}}, ["shape (1, 1)", "(1, 2)", "step 0"]),
        (
            {"history": {"before": lambda p, r: torch.full((len(r),), torch.nan)}},
            ["before", "finite", "NaN"],
        ),
        ({"num_samples": 0}, ["num_samples", "at least 1", "got 0"]),
        ({"draws": True}, ["draws", "em", "laplace"]),
    ],
)
def test_simulate_refuses_what_it_cannot_do_in_a_sentence(change, words):
    fit, data = two_states()
    with pytest.raises(ValueError) as caught:
        fit.simulate(data, **change)
    for word in words:
        assert word in str(caught.value)


def test_a_history_is_a_design_or_functions():
    fit, data = two_states()
    with pytest.raises(TypeError, match="fitted design, a mapping.*got 'previous'"):
        fit.simulate(data, history="previous")
    with pytest.raises(TypeError, match="'previous' to a function.*got 3"):
        fit.simulate(data, history={"previous": 3})
    with pytest.raises(TypeError, match="must be a Sequences to be simulated"):
        fit.simulate([1, 0])
    own = dataclasses.replace(fit, model=lambda data: None)
    with pytest.raises(ValueError, match="can be stepped, got function"):
        own.simulate(data, history={"previous": last_two})


def test_the_history_of_an_output_that_does_not_exist_is_refused():
    table, (x, u) = trials(), designs()
    fit, data = designed_fit(table, x, u)
    other = Design(PreviousChoice("answer"), "sound").fit(table, session="day")
    with pytest.raises(ValueError, match="emission, which data name side.*of answer"):
        fit.simulate(data, history=other)
    stranger = Design(Lags(Signed("side"), 9, first_lag=1)).fit(table, session="day")
    with pytest.raises(ValueError, match="name covariates.*got 'side_lag1'"):
        fit.simulate(data, history=stranger)
    with pytest.raises(ValueError, match="correct answers.*history=design.history"):
        fit.simulate(data, history=x)
    with pytest.raises(ValueError, match="sessions of data, of lengths"):
        fit.simulate(data, history=x.history(table[:7]))
    rewards = table.assign(reward=1)
    told = Design(WinStayLoseSwitch("side", reward="reward"))
    told.fit(rewards, session="day")
    with pytest.raises(ValueError, match="past rewards only.*answer="):
        fit.simulate(data, history=told.history(rewards))
    gaps = table.assign(answer=None)
    with pytest.raises(ValueError, match="'answer' must have an answer in every row"):
        fit.simulate(data, history=x.history(gaps))


@pytest.mark.parametrize("number", [1, 2])
def test_one_name_for_two_codings_of_the_past_is_refused(number):
    table = trials()
    x = Design(Standardised(PreviousChoice("side")), Intercept())
    u = Design(PreviousChoice("side"), Intercept())
    data = x.sequences(table, session="day", emissions="side", transition_design=u)
    fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0))), data, num_restarts=1)
    with pytest.raises(ValueError, match="one column by 'previous_side'.*name="):
        fit.simulate(data, history=[x, u][:number])


def test_a_term_of_the_present_is_no_history_even_in_data_made_by_hand():
    table = trials()
    design = Design(Lags("side", 2), Intercept()).fit(
        table.assign(side=table["side"].eq("right")), session="day"
    )
    data = gh.Sequences(
        table["side"].eq("right").to_numpy().astype(int),
        np.ones((len(table), 3)),
        lengths=table.groupby("day", sort=False).size().tolist(),
        covariate_names=design.names,
        emission_names=["side"],
    )
    fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0))), data, num_restarts=1)
    with pytest.raises(ValueError, match="'side' at its own step.*first_lag=1"):
        fit.simulate(data, history=design)
