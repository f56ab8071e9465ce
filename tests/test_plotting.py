"""The pictures: what they draw is what the fit says, in colours that all can tell."""

import dataclasses
import inspect
import itertools
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from drawn import overlapping_texts, ticks_by_row, visible_tick_labels
from made_fits import (
    categorical_fit,
    labelled_data,
    made_fit,
    sticky,
    with_posterior,
)

import glmhmm_pyro as gh
from glmhmm_pyro import plotting
from glmhmm_pyro.inference.program.labels import named_draws

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

# Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB.
COLOUR_VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def texts_outside(ax):
    """Texts that do not stand wholly inside the figure."""
    ax.figure.canvas.draw()
    frame = ax.figure.bbox.padded(2)
    legend = ax.get_legend()
    found = [t for a in ax.figure.axes for t in visible_tick_labels(a)]
    found += [a.xaxis.label for a in ax.figure.axes]
    found += [a.yaxis.label for a in ax.figure.axes]
    found += list(legend.get_texts()) if legend else []
    boxes = {t.get_text(): t.get_window_extent() for t in found if t.get_text()}
    return [
        text
        for text, box in boxes.items()
        if not (frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1))
    ]


def in_lab(colour, vision):
    """CIE Lab coordinates of a colour as this colour vision sees it."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(COLOUR_VISION[vision]) @ linear, 0, 1)
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    ratio = np.array(to_xyz) @ linear / [0.95047, 1.0, 1.08883]
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * 841 / 108 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_states_differ_in_colour_for_every_colour_vision(vision):
    seen = [in_lab(colour, vision) for colour in plotting.STATE_COLOURS]
    for a, b in itertools.combinations(seen, 2):
        # A just noticeable difference is about 2.3 in these units.
        assert np.linalg.norm(a - b) > 15
    white = in_lab("white", vision)
    assert all(np.linalg.norm(white - colour) > 25 for colour in seen)


def test_importing_the_pictures_does_not_import_matplotlib():
    code = (
        "import sys; import glmhmm_pyro, glmhmm_pyro.plotting as p; p.weights; "
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_picture_takes_and_returns_an_axes():
    fit, data = categorical_fit(3)
    fit = with_posterior(fit, data, num_draws=3)
    pictures = [
        lambda ax: plotting.weights(fit, data, ax),
        lambda ax: plotting.weights(fit, ax),
        lambda ax: plotting.weights(fit, ax, data=data),
        lambda ax: plotting.transitions(fit, data, ax),
        lambda ax: plotting.transitions(fit, ax, data=data),
        lambda ax: plotting.residuals(fit, data, ax),
        lambda ax: plotting.timeline(fit, data, 0, ax),
        lambda ax: plotting.history(fit, ax),
    ]
    for picture in pictures:
        _, ax = plt.subplots()
        assert picture(ax) is ax
        fresh = picture(None)
        assert fresh is not ax and fresh.figure is not ax.figure


PICTURES = [n for n in plotting.__all__ if n not in ("STATE_COLOURS", "state_colour")]


@pytest.mark.parametrize("name", sorted({*PICTURES} - {"overview"}))
def test_an_axes_may_stand_where_a_picture_takes_what_it_shows(name):
    called = getattr(plotting, name)
    first, *others = inspect.signature(called).parameters.values()
    assert any(p.name == "ax" and p.default is None for p in others)
    _, ax = plt.subplots()
    with pytest.raises(Exception) as caught:
        called(ax)
    said = str(caught.value)
    lacks_what_it_shows = re.match(rf"{first.name}( \(\w+\))? must be given to ", said)
    assert lacks_what_it_shows, "decorate it with picture, of plotting/pictures.py"


def test_pictures_of_a_fit_take_its_data_second():
    fit, data = categorical_fit(3)
    fit = with_posterior(fit, data, num_draws=3)
    assert "mean over" in plotting.transitions(fit, data).get_xlabel()
    for name in PICTURES:
        names = list(inspect.signature(getattr(plotting, name)).parameters)
        if "data" in names and "fit" in names:
            given = ["fit", "design", "data"] if name == "filters" else ["fit", "data"]
            assert names[: len(given)] == given


def test_an_axes_is_refused_where_there_are_two():
    fit, _ = categorical_fit(3)
    _, (one, other) = plt.subplots(1, 2)
    with pytest.raises(TypeError, match="data must be a Sequences, got an Axes"):
        plotting.weights(fit, one, ax=other)


@pytest.mark.parametrize(
    "num_states, num_classes, transitions",
    [
        (1, 2, None),
        (2, 2, gh.InputDriven()),
        (3, 4, None),
        (8, 2, None),
        (8, 4, gh.InputDriven()),
    ],
)
def test_all_pictures_are_legible(num_states, num_classes, transitions):
    names = ["loudness of sound", "previous choice", "a bias to the right"]
    options = {"covariate_names": names}
    fit, data = categorical_fit(num_states, num_classes, transitions, **options)
    drawn = [
        plotting.weights(fit),
        plotting.transitions(fit),
        plotting.timeline(fit, data),
        plotting.history(fit),
    ]
    for ax in drawn:
        assert overlapping_texts(ax) == []
        assert texts_outside(ax) == []
        assert ax.get_xlabel() and ax.get_ylabel()


def test_weights_draws_the_weights_of_every_state_and_class():
    names = ["sound", "side", "intercept"]
    options = {"covariate_names": names, "class_names": ["none", "left", "right"]}
    fit, _ = categorical_fit(2, 3, **options)
    ax = plotting.weights(fit)
    lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
    free = fit.params["emissions.weights"].numpy()
    for number, line in enumerate(lines):
        block, state = divmod(number, 2)
        np.testing.assert_array_equal(line.get_ydata(), free[state, block])
        assert line.get_color() == plotting.state_colour(state)
    assert len(lines) == 4
    assert [t.get_text() for t in ax.get_xticklabels()] == names * 2
    ticks = ax.get_xticks()
    np.testing.assert_array_equal(ticks[:3], lines[0].get_xdata())
    np.testing.assert_array_equal(ticks[3:], lines[2].get_xdata())
    assert [t.get_text() for t in ax.texts] == ["left", "right"]
    assert "against none" in ax.get_ylabel()
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend == ["state 0", "state 1"]


def test_weights_thins_out_the_names_of_many_covariates():
    fit, _ = categorical_fit(2, 3, num_features=61)
    ax = plotting.weights(fit)
    labels = [t.get_text() for t in ax.get_xticklabels()]
    assert len(labels) <= 24 and labels[: len(labels) // 2] * 2 == labels
    assert labels[:2] == ["x0", "x6"]


def test_weights_refuses_a_parameter_without_states_and_covariates():
    fit, _ = categorical_fit(2)
    with pytest.raises(ValueError, match="emissions.weights, got 'transitions.probs'"):
        plotting.weights(fit, parameter="transitions.probs")


def test_weights_of_a_family_of_the_users_own():
    class Poisson(gh.GLMEmission):
        def distribution(self, predictor):
            return torch.distributions.Poisson(predictor.exp(), validate_args=False)

    data = gh.Sequences([0.0, 3.0, 1.0], [[1.0], [0.5], [2.0]], emission_names=["n"])
    values = {"initial.probs": [0.5, 0.5], "transitions.probs": sticky(2)}
    values["emissions.weights"] = [[0.3], [-0.2]]
    fit = made_fit(gh.GLMHMM(2, Poisson()), data, values)
    assert "linear predictor" in plotting.weights(fit).get_ylabel()
    ax = plotting.timeline(fit, data)
    dots = [line for line in ax.lines if line.get_marker() == "."]
    heights = dots[0].get_ydata()
    assert np.argmax(heights) == 1 and np.argmin(heights) == 0
    assert ax.get_yticklabels()[-1].get_text() == "n"


def cells(ax):
    """The numbers written into an image, by (row, column)."""
    return {
        (round(t.get_position()[1]), round(t.get_position()[0])): float(t.get_text())
        for t in ax.texts
    }


def test_transitions_writes_the_matrix_of_stationary_transitions():
    fit, _ = categorical_fit(3)
    ax = plotting.transitions(fit)
    expected = fit.params["transitions.probs"].numpy()
    np.testing.assert_array_equal(ax.images[0].get_array(), expected)
    for index, value in np.ndenumerate(expected):
        assert cells(ax)[index] == pytest.approx(value, abs=5e-4)
    assert "t - 1" in ax.get_ylabel()


def test_transitions_writes_the_weights_of_every_move():
    fit, data = categorical_fit(3, 2, gh.InputDriven())
    ax = plotting.transitions(fit)
    full = fit.parameters["transitions.weights"]
    moves = [t.get_text() for t in ax.get_yticklabels()]
    assert moves == ["0 → 1", "0 → 2", "1 → 0", "1 → 2", "2 → 0", "2 → 1"]
    for row, move in enumerate(moves):
        origin, destination = int(move[0]), int(move[-1])
        for column in range(data.num_features):
            value = float(full[origin, destination, column])
            assert cells(ax)[row, column] == pytest.approx(value, abs=5.1e-3)


def test_transitions_averages_over_steps_that_are_no_session_starts():
    fit, data = categorical_fit(2, 2, gh.InputDriven())
    ax = plotting.transitions(fit, data=data)
    weights = fit.parameters["transitions.weights"].values
    matrices = []
    for session in data:
        for row in session.transition_covariates.numpy()[1:]:
            scores = np.exp(weights @ row)
            matrices.append(scores / scores.sum(1, keepdims=True))
    shown = ax.images[0].get_array()
    np.testing.assert_allclose(shown, np.mean(matrices, axis=0), atol=1e-12)
    number = data.num_steps - data.num_sessions
    assert ax.get_xlabel() == f"state at t, mean over {number} steps"


def test_transitions_of_shared_weights_are_towards_a_state():
    data = labelled_data(2)
    model = gh.GLMHMM(3, gh.Categorical(2), gh.SharedInputDriven())
    rng = np.random.default_rng(0)
    shapes = {
        "emissions.weights": (3, 1, 3),
        "transitions.weights": (2, 3),
        "transitions.baseline": (3, 2),
    }
    values = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    values["initial.probs"] = np.full(3, 1 / 3)
    ax = plotting.transitions(made_fit(model, data, values))
    np.testing.assert_array_equal(
        ax.images[0].get_array(), values["transitions.weights"]
    )
    assert [t.get_text() for t in ax.get_yticklabels()] == ["to 1", "to 2"]


def test_transitions_needs_a_step_inside_a_session():
    fit, data = categorical_fit(2, 2, gh.InputDriven())
    with pytest.raises(ValueError, match="more than one step"):
        plotting.transitions(fit, data=data.subset([1]))


def areas(ax):
    """Top and bottom of every state's area, by state."""
    filled = [p for p in ax.patches if hasattr(p, "get_data")]
    return [(p.get_data().values, p.get_data().baseline) for p in filled]


@pytest.mark.parametrize("session", [0, 2, "third"])
def test_timeline_stacks_the_smoothed_probabilities_of_the_session(session):
    fit, data = categorical_fit(3, session_names=["first", "second", "third"])
    ax = plotting.timeline(fit, data, session)
    wanted = fit.decode(data).smoothed_probs.values
    rows = slice(0, 40) if session == 0 else slice(41, 66)
    heights = np.stack([top - bottom for top, bottom in areas(ax)], axis=1)
    np.testing.assert_allclose(heights, wanted[rows], atol=1e-12)
    np.testing.assert_array_equal(areas(ax)[1][1], areas(ax)[0][0])
    name = "first" if session == 0 else "third"
    assert ax.get_xlabel() == f"step of session {name}"


def test_timeline_ticks_the_class_of_every_step():
    fit, data = categorical_fit(2, 3, class_names=["none", "left", "right"])
    ax = plotting.timeline(fit, data, 0)
    labels = data.emissions[:40].numpy()
    for label, steps in enumerate(ticks_by_row(ax)):
        assert steps == set(np.flatnonzero(labels == label))
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == ["0", "0.5", "1", "none", "left", "right"]


def test_timeline_shows_steps_that_were_not_observed_as_gaps():
    fit, data = categorical_fit(2)
    mask = np.ones(data.num_steps, dtype=bool)
    mask[[0, 7, 8, 20]] = False
    ax = plotting.timeline(fit, data.with_mask(mask), 0)
    for top, _ in areas(ax):
        np.testing.assert_array_equal(np.isnan(top), ~mask[:40])
    assert set().union(*ticks_by_row(ax)) == set(np.flatnonzero(mask[:40]))


def test_what_stands_at_masked_steps_changes_nothing_in_the_timeline():
    fit, data = categorical_fit(2)
    mask = np.arange(data.num_steps) % 5 > 0
    changed = data.replace(emissions=torch.where(torch.tensor(mask), data.emissions, 1))
    first, second = (
        plotting.timeline(fit, d.with_mask(mask), 0) for d in (data, changed)
    )
    assert ticks_by_row(first) == ticks_by_row(second)
    for one, other in zip(areas(first), areas(second)):
        np.testing.assert_array_equal(one, other)


CURVES = ((-90.0, -50.0, -10.0), (-80.0, -10.05), (-70.0, -20.0, -19.0, -18.9))


def test_history_draws_every_start_and_highlights_the_best():
    data = labelled_data(2)
    fit = made_fit(gh.GLMHMM(1, gh.Bernoulli()), data, {}, CURVES, best=0)
    ax = plotting.history(fit)
    drawn = {tuple(line.get_ydata()) for line in ax.lines if len(line.get_ydata()) > 1}
    assert drawn == set(CURVES)
    thickest = max(ax.lines, key=lambda line: line.get_linewidth())
    assert tuple(thickest.get_ydata()) == CURVES[0]
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend == ["best start (2 of 3 agree)", "agree with it", "stopped lower"]


def test_history_keeps_all_ends_in_view():
    data = labelled_data(2)
    fit = made_fit(gh.GLMHMM(1, gh.Bernoulli()), data, {}, CURVES, best=0)
    low, high = plotting.history(fit).get_ylim()
    assert low < -18.9 and -10.0 < high


def test_history_names_no_kind_of_start_that_there_is_not():
    data = labelled_data(2)
    curves = (CURVES[2], CURVES[0])
    fit = made_fit(gh.GLMHMM(1, gh.Bernoulli()), data, {}, curves, best=1)
    legend = [t.get_text() for t in plotting.history(fit).get_legend().get_texts()]
    assert legend == ["best start (1 of 2 agree)", "stopped lower"]


def made_comparison(broken=False, interval=0.3):
    """A comparison of two methods, the first without intervals."""
    fit, data = categorical_fit(2, 3, gh.InputDriven(), class_names=["a", "b", "c"])
    summary = fit.summary().set_index(
        ["parameter", "state", "origin", "destination", "covariate", "class"]
    )
    value = summary["estimate"][summary["estimate"] != 0]
    nothing = np.full(len(value), np.nan)
    point = {"estimate": value, "lower": nothing, "upper": nothing}
    moved = value + 0.1
    drawn = {"estimate": moved, "lower": moved - interval, "upper": moved + interval}
    frames = {"em": pd.DataFrame(point), "nuts": pd.DataFrame(drawn)}
    table = pd.DataFrame(
        {
            "seconds": [1.25, 61.0],
            "log_likelihood": [-10.0, -11.5],
            "held_out_bits_per_step": [np.nan, -0.91234],
            "num_draws": [0, 400],
            "status": ["CONVERGED", "MAX_ITERS"],
            "message": ["", ""],
        },
        index=["em", "nuts"],
    )
    if broken:
        table.loc["svi"] = [np.nan] * 4 + ["FAILED", "ValueError: it " + 90 * "!"]
    estimates = pd.concat(frames, axis=1, names=["method", "quantity"])
    return gh.Comparison(table, estimates, {"em": fit, "nuts": fit})


def test_comparison_draws_every_estimate_with_its_interval():
    found = made_comparison()
    ax = plotting.comparison(found)
    panels = ax.child_axes
    sites = found.estimates.index.unique("parameter").tolist()
    assert [panel.get_title("left") for panel in panels] == sites
    for panel, site in zip(panels, sites):
        rows = found.estimates.loc[site]
        assert len(panel.get_yticklabels()) == len(rows)
        # Markers of the two methods; other lines only separate rows.
        markers = [line for line in panel.lines if line.get_linestyle() == "None"]
        assert len(markers) == 2
        for line, label in zip(markers, ("em", "nuts")):
            np.testing.assert_array_equal(line.get_xdata(), rows[label]["estimate"])
            assert (np.round(line.get_ydata()) == np.arange(len(rows))).all()
        ends = np.array([s[:, 0] for s in panel.collections[1].get_segments()])
        np.testing.assert_allclose(ends, rows["nuts"][["lower", "upper"]])
        low, high = panel.get_ylim()
        assert low > high


def test_comparison_names_rows_and_says_what_methods_cost():
    ax = plotting.comparison(made_comparison(broken=True))
    names = {p.get_title("left"): p.get_yticklabels() for p in ax.child_axes}
    texts = {site: [t.get_text() for t in ticks] for site, ticks in names.items()}
    assert texts["emissions.weights"][0] == "state 0, x0, b"
    assert texts["transitions.weights"][0] == "0 \N{RIGHTWARDS ARROW} 1, x0"
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert legend[0] == "em: 1.25 s, -10.00 nats"
    assert legend[1] == (
        "nuts: 61 s, -11.50 nats, -0.9123 bits per step held out (max_iters)"
    )
    assert legend[2].startswith("svi: failed, ValueError: it !!!") and (
        legend[2].endswith("!...") and len(legend[2]) < 90
    )


@pytest.mark.parametrize("own_axes", [False, True])
def test_nothing_in_a_comparison_overlaps_or_is_cut_off(own_axes):
    ax = plt.subplots(figsize=(7, 8), layout="constrained")[1] if own_axes else None
    ax = plotting.comparison(made_comparison(broken=True), ax)
    ax.figure.canvas.draw()
    boxes = [ax.get_legend().get_window_extent()]
    for panel in ax.child_axes:
        assert overlapping_texts(panel) == []
        boxes.append(panel.get_tightbbox())
    for first, second in itertools.combinations(boxes, 2):
        assert not first.overlaps(second)
    frame = ax.figure.bbox.padded(2)
    for box in boxes:
        assert frame.containsx(box.x0) and frame.containsx(box.x1)
        assert frame.containsy(box.y0) and frame.containsy(box.y1)


def test_a_comparison_without_a_fit_is_refused():
    found = made_comparison()
    empty = dataclasses.replace(found, estimates=pd.DataFrame(), fits={})
    with pytest.raises(ValueError, match="must have a fit to draw, got none"):
        plotting.comparison(empty)


def filter_case(num_states=2, num_classes=2, transitions=None, num_bases=4):
    """A fit of random choices whose covariates a design made of one cue."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "day": np.repeat([0, 1], 60),
            "sound": rng.normal(size=120),
            "mode": rng.integers(0, num_classes, 120),
        }
    )
    bumps = gh.covariates.RaisedCosine("sound", num_bases, 12)
    lags = gh.covariates.Lags("sound", 1, first_lag=3, name="late sound")
    design = gh.covariates.Design(gh.covariates.Standardised(bumps), lags)
    data = design.sequences(table, session="day", emissions="mode")
    data = data.replace(class_names=["none", "pulse", "sine", "song"][:num_classes])
    model = gh.GLMHMM(num_states, gh.Categorical(num_classes), transitions)
    shape = (num_states, num_classes - 1, num_bases + 1)
    params = {
        "initial.probs": np.full(num_states, 1 / num_states),
        "transitions.probs": sticky(num_states),
        "emissions.weights": rng.normal(size=shape),
    }
    if transitions is not None:
        del params["transitions.probs"]
        shape = (num_states, num_states - 1, num_bases + 1)
        params["transitions.weights"] = rng.normal(size=shape)
    return made_fit(model, data, params), data, design


def filter_lines(ax):
    return [
        line for line in ax.lines if line.get_label().split()[0] in ("state", "from")
    ]


def test_filters_draws_a_line_a_state_in_units_of_time():
    fit, _, design = filter_case()
    ax = plotting.filters(fit, design, term="sound", bin_width=0.5, unit="s")
    table = design.filters(fit.parameters["emissions.weights"], 0.5)
    table = table[(table["term"] == "sound") & (table["class"] == "pulse")]
    lines = filter_lines(ax)
    assert len(lines) == 2 and not ax.collections
    for state, line in enumerate(lines):
        expected = table[table["state"] == state]
        np.testing.assert_array_equal(line.get_xdata(), 0.5 * np.arange(12))
        np.testing.assert_array_equal(line.get_ydata(), expected["estimate"])
        assert line.get_color() == plotting.state_colour(state)
    assert ax.get_xlabel() == "lag (s)"
    assert "per unit of sound" in ax.get_ylabel() and "pulse" in ax.get_ylabel()
    named = plotting.filters(fit.named(["still", "loud"]), design, term="sound")
    texts = [[t.get_text() for t in a.get_legend().get_texts()] for a in (ax, named)]
    assert texts == [["state 0", "state 1"], ["still", "loud"]]
    for one, other in zip(lines, filter_lines(named)):
        np.testing.assert_array_equal(one.get_ydata(), other.get_ydata())


def test_filters_has_bands_of_standard_errors_or_of_draws():
    made, data, design = filter_case(1)
    fit = gh.fit(made.model, data, "map", num_restarts=1, progress=False)
    drawn = with_posterior(fit, data, num_chains=1)
    covariance = fit.covariance(data)
    errors = design.filters(fit.parameters["emissions.weights"], covariance=covariance)
    quantiles = design.filters(
        named_draws(drawn.model, drawn.draws, drawn.labels)["emissions.weights"]
    )
    for table, ax in [
        (errors, plotting.filters(fit, design, term="sound", data=data)),
        (quantiles, plotting.filters(drawn, design, term="sound")),
    ]:
        table = table[(table["term"] == "sound") & (table["class"] == "pulse")]
        (band,) = ax.collections
        top = band.get_paths()[0].vertices[:, 1].max()
        assert top == pytest.approx(table["upper"].max(), rel=1e-12)


def test_filters_asks_which_where_there_are_several():
    fit, _, design = filter_case(2, 3)
    with pytest.raises(ValueError, match="term must be one of 'sound', 'late sound'"):
        plotting.filters(fit, design)
    with pytest.raises(ValueError, match="row must be one of 'pulse', 'sine'"):
        plotting.filters(fit, design, term="sound")
    with pytest.raises(ValueError, match="emissions.weights, got 'initial.probs'"):
        plotting.filters(fit, design, term="sound", parameter="initial.probs")
    ax = plotting.filters(fit, design, term="sound", row="sine")
    basis = design.terms[0].basis().values
    expected = basis @ fit.params["emissions.weights"][1, 1, :4].numpy()
    np.testing.assert_allclose(filter_lines(ax)[1].get_ydata(), expected)
    assert ax.get_title() == "sine"


def test_filters_of_moves_leave_staying_out():
    fit, _, design = filter_case(3, transitions=gh.InputDriven())
    options = {"term": "sound", "parameter": "transitions.weights"}
    ax = plotting.filters(fit, design, row=2, **options)
    assert [line.get_label() for line in filter_lines(ax)] == ["from 0", "from 1"]
    assert "move" in ax.get_ylabel()


def test_filters_takes_and_returns_an_axes_and_is_legible():
    fit, data, design = filter_case(3)
    _, ax = plt.subplots()
    assert plotting.filters(fit, design, ax, term="sound") is ax
    for term in ("sound", "late sound"):
        fresh = plotting.filters(fit, design, term=term)
        assert fresh is not ax and fresh.figure is not ax.figure
        assert overlapping_texts(fresh) == [] and texts_outside(fresh) == []
