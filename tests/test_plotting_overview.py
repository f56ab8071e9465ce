"""Weights with intervals, and all pictures of a fit on one page."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from drawn import overlapping_texts
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro import plotting

EVEN = gh.Initial(Dirichlet(torch.tensor([2.0, 2.0])))
QUICK = {"num_restarts": 1, "progress": False}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 2))
    side = np.repeat([2.0, -2.0, 2.0, -2.0], 30)
    y = (rng.uniform(size=120) < 1 / (1 + np.exp(-side * x[:, 0]))).astype(int)
    return gh.Sequences(y, x, lengths=[60, 60], covariate_names=["stim", "past"])


@pytest.fixture(scope="module")
def fit(data):
    sticky = gh.Stationary(gh.priors.Sticky(stay=8, move=2))
    model = gh.GLMHMM(2, gh.Bernoulli(Normal(0.0, 2.0)), sticky, EVEN)
    return gh.fit(model, data, tol=1e-10, **QUICK)


@pytest.fixture(autouse=True)
def closed():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def bars(ax):
    """Lower and upper ends of all vertical bars, in their order."""
    segments = [s for lines in ax.collections for s in lines.get_segments()]
    return np.array([segment[:, 1] for segment in segments])


def test_weights_have_the_intervals_of_the_summary(fit, data):
    ax = plotting.weights(fit, data=data)
    table = fit.summary(data)
    rows = table[table["parameter"] == "emissions.weights"]
    np.testing.assert_allclose(bars(ax), rows[["lower", "upper"]].astype(float))
    points = [line for line in ax.lines if line.get_marker() not in ("None", "")]
    assert [line.get_linestyle() for line in points] == ["None"] * 2
    first, second = (line.get_xdata() for line in points)
    assert (first < second).all()


def test_weights_of_draws_have_their_quantiles(data):
    model = gh.GLMHMM(1, gh.Bernoulli(Normal(0.0, 2.0)))
    drawn = gh.fit(model, data, method="laplace", num_samples=40, **QUICK)
    found = bars(plotting.weights(drawn))
    draws = drawn.draws["emissions.weights"].flatten(0, 1)[:, 0].numpy()
    np.testing.assert_allclose(found, np.quantile(draws, (0.025, 0.975), axis=0).T)


def test_many_covariates_are_lines_with_a_band(data):
    rng = np.random.default_rng(0)
    wide = gh.Sequences(data.emissions, rng.normal(size=(120, 60)))
    fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli(Normal(0.0, 0.5))), wide, **QUICK)
    ax = plotting.weights(fit, data=wide)
    (line,) = [line for line in ax.lines if len(line.get_xdata()) == 60]
    assert line.get_linestyle() == "-" and len(ax.collections) == 1


def test_the_overview_has_six_pictures_of_names(fit, data):
    named = fit.named({"with": ("stim", "largest"), "against": ("stim", "smallest")})
    figure = plotting.overview(named, data, session=1, num_samples=10)
    panels = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    assert len(panels) == 6
    texts = [t.get_text() for t in panels[0].get_legend().get_texts()]
    assert texts == ["with", "against"]
    shown = panels[1].images[0].get_array()
    np.testing.assert_allclose(shown, named.parameters["transitions.probs"])
    titles = [ax.get_title("left") for ax in figure.axes]
    assert len(set(titles)) == 6 and all(titles)
    with_legend = [ax.get_legend() is not None for ax in panels]
    assert with_legend == [True, False, False, True, False, False]
    figure.canvas.draw()
    assert [pair for ax in panels for pair in overlapping_texts(ax)] == []
    written = [t for t in panels[1].texts if "\N{EN DASH}" in t.get_text()]
    assert all(text.get_fontsize() >= 6 for text in written)
    page = figure.get_tightbbox()
    assert page.x0 > -0.1 and page.x1 < figure.get_figwidth() + 0.1


def test_what_cannot_be_drawn_is_named(fit, data):
    with pytest.raises(TypeError, match="data must be a Sequences, got an int"):
        plotting.overview(fit, 3)
    with pytest.raises(TypeError, match="data must be a Sequences, got a list"):
        plotting.weights(fit, data=[1])


OWN_WEIGHTS = {
    "offset": lambda: gh.Poisson(Normal(0.0, 2.0), offset="past"),
    "two outputs": lambda: gh.Outputs(a=gh.Bernoulli(Normal(0.0, 2.0)), b=gh.Poisson()),
    "by group": lambda: gh.Varying(gh.Bernoulli(), over="group", law="pooled"),
    "by session": lambda: gh.Varying(
        gh.Bernoulli(), over="session", law=gh.priors.RandomWalk(0.3)
    ),
}


@pytest.mark.parametrize("kind", OWN_WEIGHTS)
def test_the_overview_draws_the_weights_that_there_are(data, kind):
    if kind == "two outputs":
        y = np.column_stack([data.emissions, 2 * data.emissions])
        data = gh.Sequences(
            y, data.covariates, lengths=[60, 60], emission_names=["a", "b"]
        )
    data = data.replace(lengths=[30] * 4, groups=["one", "one", "two", "two"])
    data = data.replace(session_names=["1", "2", "1", "2"])
    sticky = gh.Stationary(gh.priors.Sticky(stay=8, move=2))
    model = gh.GLMHMM(2, OWN_WEIGHTS[kind](), sticky, EVEN)
    fit = gh.fit(model, data, method="map", **QUICK)
    figure = plotting.overview(fit, data, num_samples=5)
    top, *_ = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    title = top.get_title(loc="left")
    if kind == "by session":
        assert title == "weights of emissions" and not top.axison
        assert "no weights by state" in top.texts[0].get_text()
        with pytest.raises(ValueError, match="parameter must name weights"):
            plotting.weights(fit)
    else:
        wanted = {
            "offset": "weights of emissions",
            "two outputs": "weights of emissions.a",
            "by group": "mean weights of emissions",
        }
        assert title == wanted[kind] and len(bars(top))
