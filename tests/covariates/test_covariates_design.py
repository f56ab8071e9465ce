"""Designs: what they learn and from whom, names and groups, frames and lists."""

import numpy as np
import pandas as pd
import pyro
import pytest
import torch

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


def trials(seed=0, lengths=(8, 5)):
    """Choices by label, cues and answers."""
    rng = np.random.default_rng(seed)
    steps = sum(lengths)
    return pd.DataFrame(
        {
            "day": np.repeat([f"d{i}" for i in range(len(lengths))], lengths),
            "sound": rng.normal(size=steps),
            "light": rng.normal(size=steps),
            "side": rng.choice(["left", "right"], steps),
            "answer": rng.choice(["left", "right"], steps),
        }
    )


def full_design():
    return Design(
        Standardised(Lags("sound", 3)),
        RaisedCosine("light", 2, 4),
        PreviousChoice("side"),
        WinStayLoseSwitch("side", answer="answer"),
        ExponentialHistory(Signed("side"), [1, 3]),
        Intercept(),
    )


def test_a_design_names_its_columns_and_groups_them_by_term():
    design = full_design()
    matrix = design.fit_transform(trials(), session="day")
    assert design.groups == {
        "sound": ("sound_lag0", "sound_lag1", "sound_lag2"),
        "light": ("light_cosine0", "light_cosine1"),
        "previous_side": ("previous_side",),
        "win_stay_lose_switch": ("win_stay_lose_switch",),
        "side": ("side_half_life1", "side_half_life3"),
        "intercept": ("intercept",),
    }
    assert tuple(matrix.columns) == design.names


def test_groups_are_the_columns_of_a_grouped_prior():
    data, design = trials(), full_design()
    sequences = design.sequences(data, session="day", emissions="side")
    prior = gh.priors.Grouped({design.groups["sound"]: gh.priors.Ridge(0.1)})
    model = gh.GLMHMM(1, gh.Bernoulli(prior=prior))
    model.bind(sequences)
    trace = pyro.poutine.trace(model.draw).get_trace()
    site = trace.nodes["emissions.weights"]["fn"]
    weights = torch.zeros(1, 10, dtype=torch.float64)
    weights[0, :3] = torch.tensor([0.3, -0.1, 0.2])
    weights[0, 3:] = 5.0
    terms = np.log(0.1) + np.log(2 * np.pi) / 2 + (weights[0, :3] / 0.1) ** 2 / 2
    assert float(site.log_prob(weights).sum()) == pytest.approx(-float(terms.sum()))


def test_a_data_set_has_the_matrix_the_names_and_the_classes():
    data, design = trials(), full_design()
    moves = Design(Lags("light", 2), Intercept())
    sequences = design.sequences(
        data, session="day", emissions="side", transition_design=moves
    )
    matrix = design.transform(data)
    np.testing.assert_array_equal(sequences.covariates, matrix)
    np.testing.assert_array_equal(
        sequences.transition_covariates, moves.transform(data)
    )
    assert sequences.covariate_names == design.names
    assert sequences.transition_covariate_names == moves.names
    assert sequences.lengths.tolist() == [8, 5]
    assert sequences.session_names == ("d0", "d1")
    assert sequences.class_names == ("left", "right")
    shared = design.sequences(data, session="day", emissions="side")
    assert shared.transition_covariates is shared.covariates


def test_held_out_sessions_are_read_by_what_training_taught():
    train, test = trials(0), trials(1, (4,)).assign(side="right")
    design = full_design()
    design.sequences(train, session="day", emissions="side")
    held_out = design.sequences(test, emissions="side")
    # Alone, the test data have one class and other means.
    assert held_out.class_names == ("left", "right")
    assert held_out.emissions.tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(held_out.covariates[:, 5], [0, 1, 1, 1])
    raw = Design(Lags("sound", 3)).fit_transform(train, session="day")
    expected = (test["sound"] - raw["sound_lag0"].mean()) / raw["sound_lag0"].std(
        ddof=0
    )
    np.testing.assert_allclose(held_out.covariates[:, 0], expected)


@pytest.mark.parametrize("emissions", ["side", ["side"]])
def test_classes_of_emissions_are_learnt_where_no_term_reads_them(emissions):
    design = Design("sound")
    design.sequences(trials(), session="day", emissions=emissions)
    held_out = design.sequences(trials().assign(side="right"), emissions=emissions)
    assert held_out.class_names == ("left", "right")
    assert held_out.emissions.unique().tolist() == [1]


def test_the_past_of_one_output_among_several_is_read():
    data = trials()
    data["time"] = np.arange(13.0)
    data["right"] = (data["side"] == "right").astype(int)
    design = Design(Lags("time", 2, first_lag=1), PreviousChoice("right"))
    sequences = design.sequences(data, session="day", emissions=["right", "time"])
    replay = design.replay(sequences)
    past = torch.tensor([[[0.0, 7.0], [1.0, 9.0]]], dtype=torch.float64)
    rows = torch.tensor([2])
    lags, previous = replay[("time_lag1", "time_lag2")], replay[("previous_right",)]
    assert lags(past, rows).tolist() == [[9.0, 7.0]]
    assert previous(past, rows).tolist() == [[1.0]]
    assert previous(past[:, :0], rows).tolist() == [[0.0]]


def test_designs_add_up_to_one_that_is_fitted_anew():
    data = trials()
    cues, own = Design(Lags("sound", 2)), Design(PreviousChoice("side"), Intercept())
    cues.fit(data, session="day")
    both = cues + own
    with pytest.raises(ValueError, match="must be fitted"):
        both.transform(data)
    actual = both.fit_transform(data, session="day")
    expected = pd.concat(
        [d.fit_transform(data, session="day") for d in (cues, own)], axis=1
    )
    pd.testing.assert_frame_equal(actual, expected)
    with pytest.raises(ValueError, match="'sound' twice"):
        cues + cues


def test_lists_of_arrays_give_what_a_data_frame_gives():
    data = trials()
    data["y"] = data["side"].map({"left": 0, "right": 1})
    parts = [part for _, part in data.groupby("day")]
    arrays = [part[["sound", "light"]].to_numpy() for part in parts]
    ys = [part["y"].to_numpy() for part in parts]

    def design():
        cues = Lags("sound", 3), RaisedCosine("light", 2, 4)
        return Design(*cues, Lags(Indicator("y", 1), 2, first_lag=1))

    told = {"columns": ["sound", "light"], "emissions": ys}
    lists, frames = design(), design()
    actual = lists.sequences(arrays, **told, transition_design=Design("sound"))
    expected = frames.sequences(
        data, session="day", emissions="y", transition_design=Design("sound")
    )
    for name in ("covariates", "transition_covariates", "emissions", "lengths"):
        torch.testing.assert_close(getattr(actual, name), getattr(expected, name))
    assert actual.covariate_names == expected.covariate_names
    assert actual.transition_covariate_names == ("sound",)
    # The names of the columns are remembered.
    again = lists.transform(arrays, emissions=ys)
    np.testing.assert_array_equal(again, actual.covariates)


def test_a_design_keeps_nothing_of_the_data_and_changes_nothing():
    data = trials()
    before = data.copy()
    design = full_design().fit(data, session="day")
    design.transform(data)
    pd.testing.assert_frame_equal(data, before)

    def numbers_in(value):
        if isinstance(value, (np.ndarray, pd.Series, pd.DataFrame, torch.Tensor)):
            return value.size
        if isinstance(value, dict):
            return sum(map(numbers_in, value.values()))
        if isinstance(value, (tuple, list)):
            return sum(map(numbers_in, value))
        return numbers_in(vars(value)) if hasattr(value, "__dict__") else 0

    assert numbers_in(vars(design)) == 0


def test_the_index_of_the_rows_is_kept():
    data = trials().set_index(np.arange(13) * 10)
    assert Design("sound").fit_transform(data, session=None).index[1] == 10


def test_previous_choices_of_the_rat_are_those_in_its_own_table():
    rat = gh.datasets.load_rat_dataframe()
    design = Design(PreviousChoice("choice_right"))
    actual = design.fit_transform(rat, session="day")["previous_choice_right"]
    # The table knows the trial before a day's first, and has 0 after a violation.
    follows = rat["day"].diff().eq(0) & rat["prev_choice"].ne(0)
    assert follows.sum() > 15_000
    np.testing.assert_array_equal(actual[follows], rat["prev_choice"][follows])


@pytest.mark.parametrize(
    "term", [Lags(Signed("side"), 2), RaisedCosine(Signed("side"), 2, 4)]
)
def test_an_emission_cannot_be_a_covariate_of_its_own_step(term):
    for designs in ((Design(term), None), (Design("sound"), Design(term))):
        with pytest.raises(ValueError, match="'side' at its own step.*first_lag=1"):
            designs[0].sequences(
                trials(), session="day", emissions="side", transition_design=designs[1]
            )


def test_a_forgotten_session_column_is_asked_for():
    with pytest.raises(ValueError, match="session must name.*session=None"):
        Design("sound").fit(trials())
    with pytest.raises(ValueError, match="session must be left out"):
        Design("x0").fit([np.ones((3, 1))], session="day")
    with pytest.raises(ValueError, match="emissions must name.*did you mean 'side'"):
        Design("sound").sequences(trials(), session="day", emissions="sides")
    with pytest.raises(ValueError, match="did you mean 'day'"):
        Design("sound").fit(trials(), session="days")


def test_other_kinds_of_data_are_refused_in_a_sentence():
    with pytest.raises(TypeError, match="got ndarray.*as \\[array\\]"):
        Design("x0").fit(np.ones((3, 1)))
    with pytest.raises(ValueError, match="an empty list; give one session"):
        Design("x0").fit([])
    with pytest.raises(ValueError, match="as many steps.*\\[3\\], got \\[2\\]"):
        Design("x0").fit([np.ones((3, 1))], emissions=[[0, 1]])
    with pytest.raises(ValueError, match="'y' twice"):
        Design("y").fit([np.ones((1, 1))], columns=["y"], emissions=[[0]])


def test_classes_are_those_of_training():
    data = trials()
    design = Design(PreviousChoice("side"), Lags("sound", 1)).fit(data, session="day")
    with pytest.raises(ValueError, match="labels among left, right, got 'up'"):
        design.transform(data.assign(side="up"))
    with pytest.raises(TypeError, match="labels left, right.*got numbers"):
        design.transform(data.assign(side=1))
    with pytest.raises(TypeError, match="'sound' must hold numbers"):
        design.transform(data.assign(sound="loud"))
    numbers = Design(PreviousChoice("n")).fit(data.assign(n=1), session="day")
    with pytest.raises(ValueError, match="2 classes that fit found, got class 2"):
        numbers.transform(data.assign(n=2))


@pytest.mark.parametrize("as_lists", [False, True])
def test_what_stands_behind_a_mask_is_in_no_covariate(as_lists):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"day": [0] * 6 + [1] * 4, "y": rng.integers(0, 2, 10)})
    table["seen"] = ~table.index.isin([2, 3, 7])
    other = table.assign(y=table["y"].where(table["seen"], 1 - table["y"]))
    covariates = []
    for rows in (table, other):
        x, u = Design(PreviousChoice("y")), Design(Lags(Signed("y"), 2, first_lag=1))
        days = [day for _, day in rows.groupby("day")]
        if as_lists:
            data = x.sequences(
                [np.zeros((len(day), 1)) for day in days],
                emissions=[day["y"].to_numpy() for day in days],
                mask=[day["seen"].to_numpy() for day in days],
                transition_design=u,
            )
        else:
            data = x.sequences(
                rows, session="day", emissions="y", mask="seen", transition_design=u
            )
        covariates.append((data.covariates, data.transition_covariates))
    for one, two in zip(*covariates):
        assert torch.equal(one, two)
    # The choice before the two hidden ones is the last valid one still.
    assert covariates[0][0][2:5, 0].unique().item() == 2 * table["y"][1] - 1


def test_a_mask_hides_one_output_among_several_of_terms_too():
    table = trials()
    table["sound_seen"], table["side_seen"] = True, True
    # A choice that differs from the one before it, so that hiding it tells.
    table.loc[table["side"].ne(table["side"].shift())[1:].idxmax(), "side_seen"] = False
    numbers = table.assign(side=table["side"].eq(table["side"].iloc[0]).astype(float))
    design = Design(PreviousChoice("side"), Lags("sound", 1, first_lag=1))
    data = design.sequences(
        numbers,
        session="day",
        emissions=["side", "sound"],
        mask=["side_seen", "sound_seen"],
    )
    expected = design.transform(
        numbers.assign(side=numbers["side"].where(numbers["side_seen"]))
    )
    np.testing.assert_array_equal(data.covariates, expected)
