"""Curves, effects and weights of emissions of two levels: a pair has its level's."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro import plotting
from glmhmm_pyro.components import ByLevel, Levels
from glmhmm_pyro.inference.fits.given import fit_at

PAIRS = {"slow": [0, 0, 0, 1, 1, 1], "fast": [0, 1, 2, 0, 1, 2], "both": [*range(6)]}
EDGES = [-1.0, 0.0, 1.0]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=80), np.ones(80)], 1)
    y = rng.integers(0, 3, size=80)
    return gh.Sequences(y, x, lengths=[50, 30], covariate_names=["stim", "bias"])


def fit_of(data, over):
    """At given weights, no two laws alike."""
    model = gh.GLMHMM(Levels(2, 3), ByLevel(gh.Categorical(3), over))
    model.bind(data)
    shape = model.components["emissions"].shape("weights")
    rng = np.random.default_rng(1)
    draw = torch.distributions.Dirichlet(torch.ones(6).double())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        params = {"initial.probs": draw.sample()}
        for level, rows in (("slow", (2,)), ("fast", (2, 3))):
            ones = torch.ones(rows[-1] if level == "fast" else 2).double()
            drawn = torch.distributions.Dirichlet(ones).sample(rows)
            params[f"transitions.{level}.probs"] = drawn
    params["emissions.weights"] = torch.as_tensor(rng.normal(size=shape))
    return fit_at(model, data, params, "by hand")


def softmax(fit, over, x):
    """Probabilities of the classes by pair, shape (pairs, values, classes)."""
    own = fit.parameters["emissions.weights"].values[PAIRS[over]]
    scores = np.exp(np.einsum("kcd,td->ktc", own, x))
    return scores / scores.sum(-1, keepdims=True)


@pytest.mark.parametrize("over", PAIRS)
def test_a_curve_of_a_pair_is_that_of_the_weights_of_its_level(data, over):
    fit = fit_of(data, over)
    curve = gh.analysis.response_curve(fit, data, "stim", EDGES, part="emissions")
    x = np.stack([EDGES, np.ones(3)], 1)
    expected = softmax(fit, over, x)
    for pair, name in enumerate(fit.state_names):
        found = curve["estimate"].loc["probability", name].unstack("destination")
        np.testing.assert_allclose(found.values, expected[pair], rtol=1e-10)


@pytest.mark.parametrize("over", PAIRS)
def test_effects_on_a_pair_are_weighted_by_where_the_animal_was(data, over):
    fit = fit_of(data, over)
    table = gh.analysis.marginal_effects(fit, data, "stim", part="emissions")
    probs = softmax(fit, over, data.covariates.numpy())
    own = fit.parameters["emissions.weights"].values[PAIRS[over], :, 0]
    slopes = probs * (own[:, None] - np.einsum("ktc,kc->kt", probs, own)[..., None])
    states = fit.decode(data)["smoothed_probs"].values
    expected = np.einsum("tk,ktc->kc", states, slopes) / states.sum(0)[:, None]
    found = table["estimate"].values.reshape(6, 3)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert [*table.index.unique("origin")] == [*fit.state_names]


@pytest.mark.parametrize("over, number", [("slow", 2), ("fast", 3), ("both", 6)])
def test_weights_of_classes_are_drawn_by_the_states_of_their_level(data, over, number):
    plt.switch_backend("Agg")
    fit = fit_of(data, over)
    ax = plotting.weights(fit)
    points = [line for line in ax.lines if line.get_marker() not in ("None", "")]
    weights = fit.parameters["emissions.weights"].values
    drawn = np.abs(weights).max(axis=(0, 2)) > 0
    expected = np.moveaxis(weights[:, drawn], 1, 0).reshape(-1, 2)
    found = np.array([line.get_ydata() for line in points])
    np.testing.assert_allclose(found, expected)
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(said) == number
    assert over == "both" or all(label.startswith(over) for label in said)
    plt.close("all")
