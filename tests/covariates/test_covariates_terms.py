"""Terms of a design against their definitions, written as loops over steps."""

import numpy as np
import pandas as pd
import pytest

from glmhmm_pyro.covariates import (
    BSpline,
    Columns,
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

LENGTHS = (7, 1, 12, 3)


def table(seed=0, lengths=LENGTHS):
    """Sessions of numbers, choices with gaps, rewards and labels."""
    rng = np.random.default_rng(seed)
    steps = sum(lengths)
    choice = rng.integers(0, 2, steps).astype(float)
    choice[rng.random(steps) < 0.3] = np.nan
    return pd.DataFrame(
        {
            "day": np.repeat(np.arange(len(lengths)), lengths),
            "sound": rng.normal(size=steps),
            "choice": choice,
            "answer": rng.integers(0, 2, steps),
            "reward": rng.integers(0, 2, steps),
            "mode": rng.choice(["none", "pulse", "sine"], steps),
        }
    )


def transformed(*terms, data=None):
    return Design(*terms).fit_transform(
        table() if data is None else data, session="day"
    )


def by_session(data, function):
    """Rows of a function of one session, end to end."""
    parts = [np.array(function(part)) for _, part in data.groupby("day", sort=False)]
    return np.concatenate(parts)


def convolved(signal, lags, filters):
    """Sum over lags of filter times signal, nothing before the start."""
    return [
        [
            sum(f * signal[t - lag] for lag, f in zip(lags, column) if t >= lag)
            for column in np.transpose(filters)
        ]
        for t in range(len(signal))
    ]


@pytest.mark.parametrize("first_lag", [0, 1, 3])
@pytest.mark.parametrize(
    "make",
    [
        lambda first: Lags("sound", 4, first),
        lambda first: RaisedCosine("sound", 3, 6, first),
        lambda first: BSpline("sound", 4, 7, first_lag=first),
    ],
)
def test_filters_are_sums_over_lags_within_a_session(make, first_lag):
    data, term = table(), make(first_lag)
    lags, filters = term.basis()
    assert lags.tolist() == list(range(first_lag, first_lag + term.num_lags))
    expected = by_session(
        data, lambda part: convolved(part["sound"].to_numpy(), lags, filters)
    )
    actual = transformed(term)
    assert list(actual.columns) == list(term.names())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-14)


def test_lags_of_a_session_start_are_exactly_zero():
    data = table()
    starts = np.cumsum((0, *LENGTHS[:-1]))
    for term in (Lags("sound", 3, 1), RaisedCosine("sound", 2, 5, 1)):
        assert (transformed(term, data=data).to_numpy()[starts] == 0).all()


def test_cosines_are_those_of_the_paper_and_end_after_the_last_lag():
    lags, offset, bumps = np.arange(20), 2.0, 5
    ends = np.log([offset, 20 + offset])
    # The paper's a and phi: peaks pi / 2 apart on the warped axis.
    scale = (np.pi / 2) / ((ends[1] - ends[0]) / (bumps + 1))
    angles = scale * np.log(lags + offset)
    peaks = scale * ends[0] + np.pi / 2 * np.arange(bumps)
    for j, peak in enumerate(peaks):
        inside = np.abs(angles - peak) <= np.pi
        expected = np.where(inside, np.cos(angles - peak) / 2 + 0.5, 0.0)
        actual = RaisedCosine("s", bumps, 20, offset=offset).basis().values[:, j]
        np.testing.assert_allclose(actual, expected, atol=1e-14)
    assert peaks[-1] + np.pi == pytest.approx(scale * ends[1])


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_splines_sum_to_one_and_reproduce_polynomials_of_their_degree(degree):
    basis = BSpline("s", 6, 25, degree).basis().values
    np.testing.assert_allclose(basis.sum(1), 1.0, atol=1e-12)
    assert (basis >= 0).all()
    if degree:
        curve = np.arange(25.0) ** degree
        fitted = basis @ np.linalg.lstsq(basis, curve, rcond=None)[0]
        np.testing.assert_allclose(fitted, curve, atol=1e-8)


def test_exponential_history_is_its_recursion():
    data = table()

    def recursion(part):
        rows, mean = [], np.zeros(2)
        for x in part["sound"]:
            rows.append(mean)
            decay = 0.5 ** (1 / np.array([0.5, 4.0]))
            mean = decay * mean + (1 - decay) * x
        return rows

    term = ExponentialHistory("sound", [0.5, 4])
    assert term.names() == ("sound_half_life0.5", "sound_half_life4")
    np.testing.assert_allclose(transformed(term), by_session(data, recursion))


def test_half_of_the_past_is_forgotten_after_the_half_life():
    lags, filters = ExponentialHistory("s", 3).basis()
    assert filters[3, 0] == pytest.approx(filters[0, 0] / 2)
    assert filters.sum() == pytest.approx(1.0, abs=1e-3)


def last_choices(part):
    """The last valid choice and its row, before every step."""
    rows, last = [], None
    for number, choice in enumerate(part["choice"]):
        rows.append(last)
        last = last if np.isnan(choice) else (choice, number)
    return rows


def test_the_previous_choice_is_the_last_valid_one_of_the_session():
    data = table()

    def signed(part):
        return [
            [0.0 if last is None else 2 * last[0] - 1] for last in last_choices(part)
        ]

    actual = transformed(PreviousChoice("choice"))
    assert list(actual.columns) == ["previous_choice"]
    np.testing.assert_array_equal(actual, by_session(data, signed))


def test_of_several_classes_the_previous_choice_has_a_column_each():
    data = table()
    actual = transformed(PreviousChoice("mode"), data=data)
    assert list(actual) == [f"previous_mode_{m}" for m in ("none", "pulse", "sine")]
    before = data.groupby("day")["mode"].shift()
    for name in ("none", "pulse", "sine"):
        np.testing.assert_array_equal(actual[f"previous_mode_{name}"], before == name)


def test_classes_given_in_another_order_than_the_columns_are_refused():
    data = table()
    right = ("none", "pulse", "sine")
    given = transformed(PreviousChoice("mode", classes=right), data=data)
    np.testing.assert_array_equal(given, transformed(PreviousChoice("mode"), data=data))
    with pytest.raises(ValueError, match="classes must be those of column 'mode', in"):
        transformed(PreviousChoice("mode", classes=right[::-1]), data=data)


@pytest.mark.parametrize("told", ["reward", "answer"])
def test_win_stay_lose_switch_is_the_choice_times_its_reward(told):
    data = table()

    def stays(part):
        rows = []
        for last in last_choices(part):
            if last is None:
                rows.append([0.0])
                continue
            choice, row = last
            answer, reward = part["answer"].iloc[row], part["reward"].iloc[row]
            won = reward > 0 if told == "reward" else answer == choice
            rows.append([(2 * choice - 1) * (1 if won else -1)])
        return rows

    actual = transformed(WinStayLoseSwitch("choice", **{told: told}))
    np.testing.assert_array_equal(actual, by_session(data, stays))


def test_codes_of_labels_and_of_missing_choices():
    data = table()
    data["side"] = data["choice"].map({0: "left", 1: "right"})
    actual = transformed(
        Lags(Signed("side"), 1), Lags(Indicator("mode", "sine"), 1), data=data
    )
    assert list(actual.columns) == ["side_lag0", "mode_sine_lag0"]
    expected = (2 * data["choice"] - 1).fillna(0)
    np.testing.assert_array_equal(actual["side_lag0"], expected)
    np.testing.assert_array_equal(actual["mode_sine_lag0"], data["mode"] == "sine")


def test_a_categorical_sets_the_order_of_the_classes():
    data = table()
    order = pd.CategoricalDtype(["right", "left"])
    data["side"] = data["choice"].map({0: "right", 1: "left"}).astype(order)
    actual = transformed(PreviousChoice("side"), data=data)
    expected = transformed(PreviousChoice("choice"), data=data)
    np.testing.assert_array_equal(actual, expected)


def test_standardised_columns_have_mean_0_and_sd_1_in_the_training_sessions():
    train, test = table(0), table(1)
    design = Design(Standardised(Lags("sound", 3)), Standardised("answer"))
    plain = Design(Lags("sound", 3), "answer").fit(train, session="day")
    inside = design.fit(train, session="day").transform(train)
    np.testing.assert_allclose(inside.mean(), 0.0, atol=1e-14)
    np.testing.assert_allclose(inside.std(ddof=0), 1.0)
    raw = plain.transform(train)
    expected = (plain.transform(test) - raw.mean()) / raw.std(ddof=0)
    np.testing.assert_allclose(design.transform(test), expected)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Lags("sound", 0), ["num_lags", "at least 1", "got 0"]),
        (lambda: Lags("sound", 2, -1), ["first_lag", "at least 0", "-1"]),
        (lambda: RaisedCosine("s", 0, 5), ["num_bases", "at least 1"]),
        (lambda: RaisedCosine("s", 3, 9, offset=0.0), ["offset", "between 0", "0.0"]),
        (lambda: RaisedCosine("s", 6, 5), ["num_bases", "5", "got 6", "fewer"]),
        (lambda: BSpline("s", 3, 9), ["num_bases", "above degree", "got 3"]),
        (lambda: BSpline("s", 8, 6), ["num_bases", "6 lags", "got 8", "more lags"]),
        (lambda: ExponentialHistory("s", [1, 0]), ["half_lives", "above 0"]),
        (lambda: ExponentialHistory("s", "long"), ["half_lives", "got 'long'"]),
        (lambda: ExponentialHistory("s", [2, 2]), ["half_lives", "differ"]),
        (lambda: WinStayLoseSwitch("choice"), ["reward", "answer"]),
        (lambda: Columns([]), ["columns", "names"]),
        (lambda: Design(), ["at least one term"]),
        (lambda: Design("sound", Lags("sound", 2)), ["'sound' twice", "name="]),
    ],
)
def test_terms_refuse_what_makes_no_sense_in_a_sentence(make, words):
    with pytest.raises(ValueError) as caught:
        make()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "term, words",
    [
        (Lags("sounds", 2), ["'sounds'", "did you mean 'sound'"]),
        (Lags("choice", 2), ["'choice'", "finite", "NaN", "Signed"]),
        (Columns("choice"), ["'choice'", "finite", "NaN", "fill"]),
        (Lags("sound", 13), ["longest session", "12 steps", "fewer lags"]),
        (BSpline("sound", 4, 13), ["longest session", "12 steps"]),
        (Standardised(Intercept()), ["vary", "'intercept'"]),
        (Lags(Signed("mode"), 1), ["'mode'", "two classes", "Indicator"]),
        (Lags(Indicator("mode", "song"), 1), ["'mode'", "sine", "'song'"]),
        (PreviousChoice("sound"), ["'sound'", "classes 0, 1", "NaN"]),
        (WinStayLoseSwitch("choice", reward="gap"), ["'gap'", "known", "missing"]),
    ],
)
def test_fit_refuses_data_that_a_term_cannot_read_in_a_sentence(term, words):
    data = table().assign(gap=np.nan)
    with pytest.raises(ValueError) as caught:
        Design(term).fit(data, session="day")
    for word in words:
        assert word in str(caught.value)


def test_labels_are_no_numbers_and_need_a_code():
    with pytest.raises(TypeError, match="'mode' with labels.*Signed.*Indicator"):
        transformed("mode")
    with pytest.raises(TypeError, match="column must be a column's name.*got 3"):
        Lags(3, 2)
    with pytest.raises(TypeError, match="terms of a design.*got int"):
        Design(3)


def test_half_lives_may_be_numbers_of_numpy():
    for given in (np.int64(2), np.float64(2), np.array([2]), [np.int64(2)]):
        assert ExponentialHistory("s", given).half_lives == (2.0,)
