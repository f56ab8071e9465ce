"""Pictures of behaviour: predicted against what came, generated against real."""

import matplotlib
import numpy as np
import pytest
from drawn import overlapping_texts, ticks_by_row
from made_fits import made_fit

import glmhmm_pyro as gh
from glmhmm_pyro import plotting

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

NAN = float("nan")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def two_outputs():
    """Choices and reaction times, one of them missing, in two sessions."""
    emissions = [[1, 0.2], [1, 0.4], [0, NAN], [0, 0.9], [0, 0.6], [1, 0.1]]
    x = np.array([[0.1], [0.5], [0.4], [1.0], [0.5], [0.2]])
    names = {"emission_names": ["choice", "rt"], "covariate_names": ["x"]}
    return gh.Sequences(emissions, x, lengths=[4, 2], **names)


def fit_of(data):
    """A single state: its predictions are known."""
    model = gh.GLMHMM(1, gh.Outputs(choice=gh.Bernoulli(), rt=gh.Gaussian()))
    params = {
        "emissions.choice.weights": [[2.0]],
        "emissions.rt.weights": [[0.8]],
        "emissions.rt.scale": [0.3],
    }
    return made_fit(model, data, params)


def line(ax, label):
    """Coordinates of the line of that label."""
    return next(x for x in ax.lines if x.get_label() == label).get_xydata()


def test_predicted_numbers_stand_against_those_that_came():
    data = two_outputs()
    ax = plotting.predictions(fit_of(data), data, "rt", num_bins=2)
    x = 0.8 * np.array([0.1, 0.5, 1.0, 0.5, 0.2])
    y = np.array([0.2, 0.4, 0.9, 0.6, 0.1])
    _, dots, bins = ax.lines
    np.testing.assert_allclose(dots.get_xydata(), np.stack([x, y], 1))
    low, high = [0, 4, 1], [3, 2]
    means = [[values[rows].mean() for values in (x, y)] for rows in (low, high)]
    np.testing.assert_allclose(bins.get_xydata(), means)
    explained = 1 - ((y - x) ** 2).mean() / y.var()
    assert ax.get_title() == f"{100 * explained:.1f} % explained"
    assert ax.get_xlabel() == "predicted rt" and not overlapping_texts(ax)


def test_shares_of_labels_stand_against_their_probabilities():
    data = two_outputs()
    ax = plotting.predictions(fit_of(data), data, "choice", num_bins=2)
    probs = 1 / (1 + np.exp(-2.0 * data.covariates[:, 0].numpy()))
    order = np.argsort(probs, kind="stable")
    came = np.array([1, 1, 0, 0, 0, 1.0])
    expected = [
        [v[rows].mean() for v in (probs, came)] for rows in (order[:3], order[3:])
    ]
    np.testing.assert_allclose(line(ax, "1"), expected)
    assert ax.get_ylabel() == "share of steps"


def test_the_timeline_of_several_outputs_has_ticks_and_dots():
    data = two_outputs()
    ax = plotting.timeline(fit_of(data), data, 0)
    wrong, right = ticks_by_row(ax)
    assert (wrong, right) == ({2, 3}, {0, 1})
    (dots,) = (x for x in ax.lines if x.get_marker() == ".")
    assert dots.get_xdata().tolist() == [0, 1, 3]
    names = [text.get_text() for text in ax.get_yticklabels()[3:]]
    assert names == ["choice = 0", "choice = 1", "rt"]
    heights = [segment[:, 1].max() for segment in ax.collections[1].get_segments()]
    assert max(heights) < min(dots.get_ydata()) and not overlapping_texts(ax)


def test_runs_end_with_their_session():
    data = gh.Sequences([0, 0, 1, 1, 1, 1], lengths=[3, 3])
    ax = plotting.generated({"real": data}, statistic="runs")
    # Runs of 2 and 1 in the first session, of 3 in the second.
    np.testing.assert_allclose(line(ax, "real"), [[1, 1], [2, 2 / 3], [3, 1 / 3]])


def test_values_are_shares_of_labels_or_the_distribution_of_numbers():
    data = two_outputs()
    ax = plotting.generated({"a": data, "b": data.subset([1])}, "choice")
    np.testing.assert_allclose(line(ax, "a"), [[0, 0.5], [1, 0.5]])
    assert ax.get_legend() is not None
    ax = plotting.generated({"a": data}, "rt")
    shares = [[0.1, 0.2], [0.2, 0.4], [0.4, 0.6], [0.6, 0.8], [0.9, 1.0]]
    np.testing.assert_allclose(line(ax, "a"), shares)


def test_memory_is_the_autocorrelation_within_sessions():
    values = np.random.default_rng(0).normal(size=50).cumsum()
    data = gh.Sequences(values, lengths=[30, 20])
    ax = plotting.generated({"real": data}, statistic="memory", max_lag=25)
    centred = np.split(values - values.mean(), [30])
    variance = (np.concatenate(centred) ** 2).mean()
    for lag, found in line(ax, "real"):
        lag = int(lag)
        pairs = [p[t] * p[t - lag] for p in centred for t in range(lag, len(p))]
        assert found == pytest.approx(np.mean(pairs) / variance)
    assert len(line(ax, "real")) == 25


@pytest.mark.parametrize(
    "draw, match",
    [
        (lambda d: plotting.predictions(fit_of(d), d), "choice, rt, got None"),
        (lambda d: plotting.predictions(fit_of(d), d, "wing"), "got 'wing'"),
        (lambda d: plotting.generated({"a": d}), "choice, rt, got None"),
        (lambda d: plotting.generated({}), "at least one data set"),
        (
            lambda d: plotting.generated({"a": d}, "rt", statistic="mean"),
            "values, runs, memory, got 'mean'",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, match):
    with pytest.raises(ValueError, match=match):
        draw(two_outputs())
