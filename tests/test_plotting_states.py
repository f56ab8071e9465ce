"""Pictures by state: what they draw is what the tables say."""

import matplotlib
import numpy as np
import pytest
from drawn import overlapping_texts
from made_fits import categorical_fit, with_posterior

from glmhmm_pyro import analysis, plotting

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

NAMES = ["engaged", "biased left", "biased right"]
FEW = {"num_samples": 10}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def case():
    options = {"lengths": (40, 12, 25), "groups": ["a", "b", "a"]}
    fit, data = categorical_fit(3, 2, class_names=["left", "right"], **options)
    return with_posterior(fit, data, num_draws=5).named(NAMES), data


VALUES = np.random.default_rng(0).normal(size=77)
OPTIONS = {
    "occupancy": {},
    "accuracy_by_state": {"correct": VALUES > 0},
    "column_by_state": {"column": VALUES},
    "psychometric": {"covariate": "x0"},
    "switch_triggered": {"column": VALUES},
    "states_in_session": {"num_bins": 5},
    "dwell_times": {"max_steps": 20},
}


EFFECTS = {
    "marginal_effects": {"covariate": "x0", "part": "emissions"},
    "response_curve": {"covariate": "x0", "part": "emissions"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_pictures_take_no_table_of_another_analysis(case, name):
    tables = {n: getattr(analysis, n)(*case, **o) for n, o in EFFECTS.items()}
    for other, options in OPTIONS.items():
        tables[other] = getattr(analysis, other)(*case, **options, **FEW)
    tables |= {"of dwell times": tables["dwell_times"].table, "none": case[0].history}
    getattr(plotting, name)(tables.pop(name))
    for table in tables.values():
        with pytest.raises(TypeError, match=f"must be what analysis.{name} returns"):
            getattr(plotting, name)(table)


def test_pictures_take_tables_without_attributes_such_as_those_of_files(case):
    for name in ("accuracy_by_state", "column_by_state"):
        table = getattr(analysis, name)(*case, **OPTIONS[name], **FEW)
        table.attrs = {}
        assert getattr(plotting, name)(table).get_ylabel()


def lines(ax, number):
    """What is drawn of so many points, by colour."""
    found = [line for line in ax.lines if len(line.get_xdata()) == number]
    return {line.get_color(): line for line in found if line.get_linestyle() != "--"}


@pytest.mark.parametrize("name", OPTIONS)
def test_pictures_take_a_table_or_a_fit_and_name_states_and_axes(case, name):
    options = {**OPTIONS[name], **FEW}
    picture = getattr(plotting, name)
    table = getattr(analysis, name)(*case, **options)
    _, given = plt.subplots()
    assert picture(table, ax=given) is given
    ax, same = picture(table), picture(*case, **options)
    assert overlapping_texts(ax) == []
    assert ax.get_ylabel() and ax.get_title() == ""
    texts = [t.get_text() for t in ax.get_xticklabels()]
    if ax.get_legend() is not None:
        texts = [t.get_text() for t in ax.get_legend().get_texts()]
        assert ax.get_xlabel()
    assert all(text.startswith(n) for text, n in zip(texts, NAMES)) and len(texts) > 2
    for one, other in zip(ax.lines, same.lines):
        np.testing.assert_array_equal(one.get_ydata(), other.get_ydata())


@pytest.mark.parametrize(
    "name, number",
    [
        ("states_in_session", 5),
        ("psychometric", 31),
        ("switch_triggered", 21),
        ("dwell_times", 21),
    ],
)
def test_curves_are_the_estimates_of_every_state(case, name, number):
    found = getattr(analysis, name)(*case, **OPTIONS[name], **FEW)
    table = getattr(found, "survival", found)
    drawn = lines(getattr(plotting, name)(found), number)
    for state, label in enumerate(NAMES):
        part = table.xs(label, level="state")
        part = part.xs("model") if name == "psychometric" else part
        line = drawn[plotting.state_colour(state)]
        np.testing.assert_allclose(line.get_xdata(), part.index)
        np.testing.assert_allclose(line.get_ydata(), part.estimate)


def test_states_have_dots_sessions_lines_and_groups_dots(case):
    whole = analysis.occupancy(*case, **FEW)
    ax = plotting.occupancy(whole)
    assert [line.get_ydata()[0] for line in ax.lines] == whole.estimate.tolist()
    bars = [c.get_segments()[0][:, 1].tolist() for c in ax.collections]
    assert bars == whole[["lower", "upper"]].values.tolist()
    table = analysis.occupancy(*case, "session", **FEW)
    drawn = lines(plotting.occupancy(table), 3)
    part = table.xs("biased left", level="state").estimate
    np.testing.assert_array_equal(drawn[plotting.state_colour(1)].get_ydata(), part)
    ax = plotting.occupancy(*case, by="group", **FEW)
    assert len(ax.lines) == 6 and [t.get_text() for t in ax.get_xticklabels()] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize("names, said", [(None, "y = 1"), (["left", "right"], "right")])
def test_a_class_without_a_name_is_a_number_of_its_output(names, said):
    ax = plotting.psychometric(*categorical_fit(2, 2, class_names=names), **OF_X)
    assert ax.get_ylabel() == f"probability of {said}"
    ax = plotting.response_curve(*categorical_fit(2, 2, class_names=names), **CLASSES)
    assert ax.get_ylabel() == "probability of the class"
    last = ax.get_legend().get_texts()[-1].get_text()
    assert last == f"state 1: {'class 1' if names is None else 'right'}"


OF_X = {"covariate": "x0", "num_samples": 5}
CLASSES = {"covariate": "x0", "part": "emissions"}


def test_unnamed_states_are_called_by_their_numbers():
    ax = plotting.states_in_session(*categorical_fit(2), num_bins=3, **FEW)
    texts = [t.get_text() for t in ax.get_legend().get_texts()]
    assert texts == ["state 0", "state 1"]


def test_dwell_times_say_the_means_and_draw_the_law(case):
    found = analysis.dwell_times(*case, max_steps=20, **FEW)
    ax = plotting.dwell_times(found)
    texts = [t.get_text() for t in ax.get_legend().get_texts()]
    assert texts[0] == f"engaged, mean {found.table.estimate.iloc[0]:.3g}"
    assert texts[-1] == "geometric"
    dashed = [line for line in ax.lines if line.get_linestyle() == "--"]
    law = found.survival.xs("engaged", level="state").model
    np.testing.assert_allclose(dashed[0].get_ydata(), law)
