"""The picture of the transition matrix: its intervals, and where they have room."""

import matplotlib
import numpy as np
import pytest
from drawn import overlapping_texts
from made_fits import categorical_fit, labelled_data, made_fit, with_posterior

import glmhmm_pyro as gh
from glmhmm_pyro import plotting
from glmhmm_pyro.inference.program.labels import named_draws

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

COLUMN = 89 / 25.4


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def ranges(ax):
    """Ends of the intervals that are written, by (row, column)."""
    found = {}
    for text in ax.texts:
        if "–" in text.get_text():
            column, row = map(round, text.get_position())
            found[row, column] = [float(x) for x in text.get_text().split("–")]
    return found


def switching_data():
    """Two states that show themselves, and a constant as the only covariate."""
    rng = np.random.default_rng(1)
    states = np.zeros(400, dtype=int)
    for t in range(1, 400):
        leaves = rng.random() < (0.1, 0.25)[states[t - 1]]
        states[t] = (1 - states[t - 1]) if leaves and t % 100 else states[t - 1]
    labels = np.where(rng.random(400) < 0.05, 1 - states, states)
    names = {"covariate_names": ["constant"]}
    return gh.Sequences(labels, np.ones((400, 1)), lengths=[100] * 4, **names)


def fitted(transitions):
    data = switching_data()
    model = gh.GLMHMM(2, gh.Bernoulli(), transitions)
    return gh.fit(model, data, num_restarts=1, progress=False), data


def test_the_matrix_has_the_intervals_of_the_summary():
    fit, data = fitted(gh.Stationary())
    table = fit.summary(data).set_index("parameter").loc["transitions.probs"]
    wanted = table[["lower", "upper"]].to_numpy().reshape(2, 2, 2)
    shown = ranges(plotting.transitions(fit, data=data))
    assert shown.keys() == set(np.ndindex(2, 2))
    for place, ends in shown.items():
        np.testing.assert_allclose(ends, wanted[place], atol=5.1e-4)
    assert not ranges(plotting.transitions(fit))


def test_the_mean_matrix_of_driven_transitions_has_intervals():
    fit, data = fitted(gh.InputDriven())
    # Of a constant alone, log-odds of leaving are the weights.
    table = fit.summary(data).set_index("parameter").loc["transitions.weights"]
    table = table.set_index(["origin", "destination"])
    shown = ranges(plotting.transitions(fit, data=data))
    for move in ((0, 1), (1, 0)):
        row = table.loc[move]
        ends = row[["lower", "upper"]].astype(float)
        np.testing.assert_allclose(shown[move], 1 / (1 + np.exp(-ends)), atol=5.1e-4)


def test_the_matrix_of_a_fit_with_draws_has_their_quantiles():
    fit, data = categorical_fit(3)
    fit = with_posterior(fit, data)
    draws = named_draws(fit.model, fit.draws, fit.labels)["transitions.probs"]
    wanted = np.quantile(draws.values, (0.025, 0.975), axis=(0, 1))
    for ax in (plotting.transitions(fit), plotting.transitions(fit, data=data)):
        for place, ends in ranges(ax).items():
            np.testing.assert_allclose(ends, wanted[(slice(None), *place)], atol=5.1e-4)
        assert len(ranges(ax)) == 9


@pytest.mark.parametrize("width, height", [(COLUMN, 2.8), (COLUMN / 2, 1.6), (9, 5)])
@pytest.mark.parametrize("num_states", [2, 3, 5])
def test_numbers_of_a_matrix_do_not_touch(num_states, width, height):
    fit, data = categorical_fit(num_states)
    fit = with_posterior(fit, data, num_chains=1, num_draws=5)
    ax = plt.subplots(figsize=(width, height), layout="constrained")[1]
    plotting.transitions(fit, ax)
    assert numbers_that_touch(ax) == []
    most = {COLUMN: 3, 9: 5}.get(width, 2)
    assert bool(ranges(ax)) == (num_states <= most)
    assert all(t.get_fontsize() >= 6 for t in ax.texts if "–" in t.get_text())


def numbers_that_touch(ax):
    """Pairs of texts that overlap, one of them a number."""
    return [pair for pair in overlapping_texts(ax) if "." in "".join(pair)]


@pytest.mark.parametrize("height, has_intervals", [(2.6, False), (3.2, True)])
def test_long_names_of_states_leave_less_room_for_numbers(height, has_intervals):
    fit, data = categorical_fit(3)
    fit = with_posterior(fit, data, num_chains=1, num_draws=5)
    ax = plt.subplots(figsize=(COLUMN, height), layout="constrained")[1]
    plotting.transitions(fit.named(["engaged", "biased left", "biased right"]), ax)
    assert numbers_that_touch(ax) == []
    assert bool(ranges(ax)) == has_intervals


@pytest.mark.parametrize(
    "effects, intercept, end",
    [(0.8, -5.0, 0.8), (0.01, -5.0, 0.5), (3.0, -5.0, 5.0), (0.0, 0.0, 1.0)],
)
def test_colours_of_driven_weights_are_those_of_effects(effects, intercept, end):
    data = labelled_data(2)
    model = gh.GLMHMM(2, gh.Categorical(2), gh.InputDriven())
    values = {
        "initial.probs": np.full(2, 0.5),
        "emissions.weights": np.zeros((2, 1, 3)),
        "transitions.weights": np.tile([effects, -effects / 2, intercept], (2, 1, 1)),
    }
    ax = plotting.transitions(made_fit(model, data, values))
    image = ax.images[0]
    assert image.norm.vmax == -image.norm.vmin == pytest.approx(end)
    assert image.colorbar.extend == ("both" if end < abs(intercept) else "neither")
