"""Timelines of several sessions, with errors marked and other columns below."""

import matplotlib
import numpy as np
import pytest
from drawn import overlapping_texts
from made_fits import categorical_fit

import glmhmm_pyro as gh
from glmhmm_pyro import plotting

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

COLUMN = 89 / 25.4


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def case():
    names = {"session_names": ["mon", "tue", "wed"], "class_names": ["left", "right"]}
    fit, data = categorical_fit(3, 2, **names)
    rng = np.random.default_rng(7)
    right = rng.choice([0.0, 1.0, np.nan], data.num_steps)
    return fit, data, right


def ticks(ax):
    """Steps and heights of all ticks, by the bottom of their row."""
    found = {}
    for collection in ax.collections:
        for (step, low), (_, high) in collection.get_segments():
            found.setdefault(round(low, 3), {})[round(step)] = high - low
    return found


def test_ticks_of_errors_are_the_highest_in_their_row():
    fit, data, right = case()
    ax = plotting.timeline(fit, data, "mon", correct=right)
    labels, judged = data.emissions[:40].numpy(), right[:40]
    rows = ticks(ax)
    for label, bottom in enumerate(sorted(rows)):
        heights = rows[bottom]
        assert set(heights) == set(np.flatnonzero(labels == label))
        by_kind = [
            {round(heights[t], 6) for t in heights if kind(judged[t])}
            for kind in (lambda x: x == 0, lambda x: x == 1, np.isnan)
        ]
        (error,), (correct,), (neither,) = by_kind
        assert error == pytest.approx(2 * correct) and correct > neither
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend[-2:] == ["correct", "error"]
    darkness = {}
    for collection in ax.collections:
        for (_, low), (_, high) in collection.get_segments():
            darkness[round(high - low, 3)] = collection.get_color()[0][:3].sum()
    assert darkness[max(darkness)] == min(darkness.values())


def test_numbers_of_errors_are_crosses():
    rng = np.random.default_rng(0)
    data = gh.Sequences(rng.normal(size=30), np.ones((30, 1)), lengths=[20, 10])
    model = gh.GLMHMM(1, gh.Gaussian())
    fit = gh.fit(model, data, num_restarts=1, progress=False)
    right = np.arange(30) % 3 > 0
    ax = plotting.timeline(fit, data, 1, correct=right)
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert [set(line.get_xdata()) for line in crosses] == [{1, 4, 7}]


def test_columns_stand_below_from_their_least_to_their_largest_value():
    fit, data, right = case()
    times = np.arange(data.num_steps) ** 2.0
    times[[3, 45]] = np.nan
    columns = {"time (s)": times, "sound": "x0"}
    ax = plotting.timeline(fit, data, "wed", columns=columns)
    dots = [
        line for line in ax.lines if line.get_marker() == "." and len(line.get_xdata())
    ]
    for line, values in zip(dots, (times[41:], data.covariates[41:, 0].numpy())):
        seen = np.isfinite(values)
        np.testing.assert_array_equal(line.get_xdata(), np.flatnonzero(seen))
        heights, known = line.get_ydata(), values[seen]
        share = (known - known.min()) / (known.max() - known.min())
        np.testing.assert_allclose((heights - heights.min()) / np.ptp(heights), share)
        assert heights.max() < 0
    assert dots[0].get_ydata().min() > dots[1].get_ydata().max()
    names = [t.get_text() for t in ax.get_yticklabels()][-2:]
    assert names[0] == "time (s)\n1.7e+03 to 4.2e+03" and names[1].startswith("sound\n")


def test_every_session_has_a_panel_and_all_have_one_axis_of_steps():
    fit, data, right = case()
    ax = plotting.timeline(fit, data, ["wed", 0], columns="x1")
    first, second = ax.child_axes
    wanted = fit.decode(data).smoothed_probs.values
    for panel, rows in ((first, slice(41, 66)), (second, slice(0, 40))):
        areas = [p.get_data() for p in panel.patches if hasattr(p, "get_data")]
        shown = np.stack([a.values - a.baseline for a in areas], 1)
        np.testing.assert_allclose(shown, wanted[rows], atol=1e-12)
        assert panel.get_xlim() == (-0.5, 39.5)
    titles = [panel.get_title("left") for panel in ax.child_axes]
    assert titles == ["session wed", "session mon"]
    # On one scale.
    x1 = data.covariates[:, 1].numpy()[np.r_[0:40, 41:66]]
    said = f"x1\n{x1.min():.2g} to {x1.max():.2g}"
    assert [p.get_yticklabels()[-1].get_text() for p in ax.child_axes] == [said] * 2


@pytest.mark.parametrize("width, height", [(COLUMN, 4.5), (9, 6)])
@pytest.mark.parametrize("sessions", [0, [0, 2]])
def test_nothing_overlaps_in_a_timeline(width, height, sessions):
    fit, data, right = case()
    ax = plt.subplots(figsize=(width, height), layout="constrained")[1]
    columns = {"reaction time (s)": right, "sound": "x0"}
    plotting.timeline(fit, data, sessions, ax, correct=right, columns=columns)
    panels = ax.child_axes or [ax]
    texts = []
    for panel in panels:
        assert overlapping_texts(panel) == []
        box, frame = panel.get_tightbbox(), ax.figure.bbox.padded(2)
        assert frame.containsx(box.x0) and frame.containsx(box.x1)
        assert frame.containsy(box.y0) and frame.containsy(box.y1)
        texts.append(panel.title.get_window_extent())
        texts.append(panel._left_title.get_window_extent())
    legend = panels[0].get_legend().get_window_extent()
    assert not any(legend.overlaps(text) for text in texts if text.width)
