"""Data made by designs know their raw columns, through subsets, joining, simulation."""

import numpy as np
import pandas as pd
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.covariates import (
    Design,
    Intercept,
    Lags,
    PreviousChoice,
    Standardised,
    WinStayLoseSwitch,
)
from glmhmm_pyro.sequences import Sequences


def sides(codes):
    return pd.Categorical.from_codes(codes, ["left", "right"])


def trials(days=("a", "b", "c"), seed=0):
    rng = np.random.default_rng(seed)
    steps = 6 * len(days)
    return pd.DataFrame(
        {
            "day": np.repeat(days, 6),
            "sound": rng.normal(2.0, 3.0, steps),
            "side": sides(rng.integers(2, size=steps)),
            "answer": sides(rng.integers(2, size=steps)),
            "rt": rng.uniform(size=steps),
        }
    )


def design():
    return Design(
        Standardised(Lags("sound", 2)),
        PreviousChoice("side"),
        WinStayLoseSwitch("side", answer="answer"),
        Intercept(),
    )


TOLD = {"session": "day", "emissions": "side"}


def made(frame, recipe=None, **more):
    return Sequences.from_dataframe(
        frame, covariates=recipe or design(), **TOLD, **more
    )


def test_a_data_frame_and_a_design_are_one_path():
    frame = trials().assign(seen=np.arange(18) % 5 != 2, trial=np.arange(18))
    moves, first = Design(Lags("sound", 1), Intercept()), Design(Standardised("rt"))
    more = {"mask": "seen", "time": "trial", "class_names": ["right", "left"]}
    one = made(frame, transition_covariates=moves, initial_covariates=first, **more)
    other = design().sequences(
        frame,
        transition_design=Design(Lags("sound", 1), Intercept()),
        initial_covariates=Design(Standardised("rt")),
        **TOLD,
        **more,
    )
    for field in ("emissions", "mask", *(f"{n}covariates" for n in PREFIXES)):
        assert torch.equal(getattr(one, field), getattr(other, field)), field
    for field in ("class_names", *(f"{n}covariate_names" for n in PREFIXES)):
        assert getattr(one, field) == getattr(other, field), field
    assert one.class_names == ("right", "left")
    # Row 1 of a session follows what stood in its row 0; class 0 is "right".
    before = {"left": 1.0, "right": -1.0}[frame["side"][0]]
    assert one.covariates[1, 2] == before
    rt = frame["rt"]
    expected = ((rt - rt.mean()) / rt.std(ddof=0))[::6]
    np.testing.assert_allclose(one.initial_covariates[:, 0], expected, rtol=1e-12)


PREFIXES = ("", "transition_", "initial_")


def test_columns_may_stand_beside_a_design():
    frame = trials()
    data = made(frame, transition_covariates=["sound", "rt"], initial_covariates="rt")
    np.testing.assert_array_equal(data.transition_covariates, frame[["sound", "rt"]])
    np.testing.assert_array_equal(data.initial_covariates[:, 0], frame["rt"][::6])
    moves = Sequences.from_dataframe(
        frame, covariates="rt", transition_covariates=design(), **TOLD
    )
    assert moves.covariate_names == ("rt",)
    np.testing.assert_array_equal(moves.transition_covariates, made(frame).covariates)
    constant = Sequences.from_dataframe(
        frame, transition_covariates=Design("sound"), intercept=True, **TOLD
    )
    assert constant.covariate_names == ("intercept",)
    assert constant.transition_covariate_names == ("sound", "intercept")
    with pytest.raises(ValueError, match="must not hold an emission"):
        made(frame, transition_covariates="side")
    with pytest.raises(ValueError, match="time must not go back"):
        made(frame, time="rt")


def test_raw_columns_follow_the_sessions():
    frame = trials()
    data = made(frame)
    pd.testing.assert_frame_equal(data.raw_columns(), frame)
    chosen = data.subset(["c", "a", "c"])["c", "c (2)"][[1, 0]]
    twice = pd.concat([frame[frame.day == "c"]] * 2, ignore_index=True)
    pd.testing.assert_frame_equal(chosen.raw_columns(), twice)
    frame["sound"] = 0.0
    assert data.raw_columns()["sound"].std() > 1
    shown = data.raw_columns()
    shown["sound"] = 0.0
    assert data.raw_columns()["sound"].std() > 1
    with pytest.raises(ValueError, match="made by a Design to have raw columns"):
        Sequences([0, 1]).raw_columns()


def test_joined_data_know_the_raw_columns_of_all_parts():
    frame, more = trials(), trials(("d", "a"), seed=1).assign(extra=1)
    one, two = made(frame), made(more)
    joined = Sequences.concatenate([one["b"], two, one.subset(["c", "a"])])
    expected = pd.concat(
        [frame[6:12], more, frame[12:], frame[:6]], ignore_index=True
    ).drop(columns="extra")
    pd.testing.assert_frame_equal(joined.raw_columns(), expected)
    # Two sessions are called "a"; each learns from its own rows.
    again = joined.refit_design([2, 3])
    seen = expected[12:24]
    by_hand = design().fit(seen.assign(day=seen.day), session="day")
    days = expected.assign(day=np.repeat(list("bdaca"), 6)).assign(
        day=np.repeat(np.arange(5), 6)
    )
    np.testing.assert_allclose(again.covariates, by_hand.transform(days), atol=1e-12)


def test_data_of_another_recipe_stand_beside():
    one = made(trials(), Design(Standardised("sound")))
    two = made(trials(("d",)), Design("sound"))
    joined = Sequences.concatenate([one, two])
    with pytest.raises(ValueError, match="made by one design.*'d' beside"):
        joined.refit_design(["a"])
    np.testing.assert_array_equal(
        joined.subset(["a"]).refit_design([0]).covariates,
        one.subset(["a"]).refit_design([0]).covariates,
    )


def test_other_raw_columns_move_all_that_is_made_of_them():
    frame = trials()
    recipe = design()
    data = made(frame, recipe, transition_covariates=Design("sound", "rt"))
    moved = data.subset(["b", "c"]).with_raw({"sound": 1.5, "rt": np.arange(12.0)})
    other = frame[6:].assign(sound=1.5, rt=np.arange(12.0))
    np.testing.assert_array_equal(moved.covariates, recipe.transform(other))
    np.testing.assert_array_equal(moved.transition_covariates, other[["sound", "rt"]])
    assert torch.equal(moved.emissions, data.subset(["b", "c"]).emissions)
    assert (moved.raw_columns()["sound"] == 1.5).all()
    # What a fold has learnt is kept.
    again = data.refit_design(["a"]).with_raw({"sound": 0.0})
    by_hand = design().fit(frame[:6], session="day").transform(frame.assign(sound=0.0))
    np.testing.assert_allclose(again.covariates, by_hand, atol=1e-12)
    with pytest.raises(ValueError, match="'sond'; did you mean 'sound'"):
        data.with_raw({"sond": 1.0})
    with pytest.raises(ValueError, match="must be raw columns.*'side'; they are"):
        data.with_raw({"side": "left"})
    with pytest.raises(ValueError, match="each of the 18 steps.*got 2 of 'rt'"):
        data.with_raw({"rt": [1.0, 2.0]})
    with pytest.raises(TypeError, match="columns must be a Mapping.*got float"):
        data.with_raw(0.5)


def test_exchanged_covariates_are_no_longer_the_designs():
    data = made(trials(), Design(Standardised("sound")))
    assert data.replace(covariates=torch.ones(18, 1)).design_source is None
    emitted = data.replace(emissions=1 - data.emissions)
    np.testing.assert_array_equal(
        emitted.refit_design(["a"]).covariates, data.refit_design(["a"]).covariates
    )
    assert emitted.replace(lengths=[18]).design_source is None


def test_a_simulation_closes_the_loop_by_the_datas_own_design():
    frame = trials()
    recipe = design()
    data = made(frame, recipe)
    fit = gh.fit(
        gh.GLMHMM(1, gh.Bernoulli(prior=gh.priors.Ridge(1))),
        data,
        "map",
        num_restarts=1,
    )
    one, states = fit.simulate(data, seed=3, history=True, num_samples=2)
    other, also = fit.simulate(
        data, seed=3, history=recipe.history(frame), num_samples=2
    )
    assert torch.equal(one.emissions, other.emissions)
    assert torch.equal(one.covariates, other.covariates)
    np.testing.assert_array_equal(states, also)
    # Their raw columns are those of the simulation, and so is what is made of them.
    labels = np.array(data.class_names)[one.emissions]
    assert one.raw_columns()["side"].astype(str).tolist() == labels.tolist()
    drawn = pd.concat([frame, frame], ignore_index=True).assign(
        side=labels, day=np.repeat(np.arange(6), 6)
    )
    np.testing.assert_allclose(one.covariates, recipe.transform(drawn), atol=1e-12)
    np.testing.assert_allclose(
        one.with_raw({"sound": frame["sound"].tolist() * 2}).covariates,
        one.covariates,
        atol=1e-12,
    )
    joined = Sequences.concatenate([one, data])
    np.testing.assert_array_equal(
        joined.raw_columns()["side"], [*labels, *frame["side"]]
    )
    plain = made(frame, Design("sound"))
    fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), plain, "em", num_restarts=1)
    with pytest.raises(ValueError, match="history must be given.*got True"):
        fit.simulate(plain, history=True)
