"""Designs that learn anew: what is held out lends a fold neither means nor scales."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import bootstrap, choose_num_states, cross_validate
from glmhmm_pyro.covariates import (
    Design,
    Intercept,
    Lags,
    PreviousChoice,
    Standardised,
    Term,
)

DAYS = ["a", "b", "c", "d"]


def trials():
    """Sessions whose stimuli have means and scales of their own."""
    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "day": day,
                "sound": rng.normal(5.0 * number, 1.0 + number, 20),
                "right": rng.integers(2, size=20),
            }
        )
        for number, day in enumerate(DAYS)
    ]
    return pd.concat(frames, ignore_index=True)


def design():
    return Design(
        Standardised(Lags("sound", 2, name="heard")),
        PreviousChoice("right"),
        Intercept(),
        "sound",
    )


def made(frame, recipe=design, **options):
    return recipe().sequences(frame, session="day", emissions="right", **options)


@pytest.fixture(scope="module")
def data():
    return made(trials())


@pytest.mark.parametrize("training", [["a", "b"], ["d", "b", "c"], ["c"]])
def test_covariates_are_those_of_a_design_that_saw_the_training_sessions(
    data, training
):
    frame = trials()
    seen = frame[frame.day.isin(training)]
    by_hand = design().fit(seen, session="day").transform(frame)
    again = data.refit_design(training)
    np.testing.assert_allclose(again.covariates, by_hand, atol=1e-12)
    assert again.transition_covariates is again.covariates
    assert torch.equal(again.emissions, data.emissions)
    assert not np.allclose(again.covariates, data.covariates)


def test_a_design_that_learnt_from_all_sessions_gives_them_again(data):
    np.testing.assert_allclose(
        data.refit_design(DAYS).covariates, data.covariates, atol=1e-12
    )


def test_subsets_copies_and_further_columns_keep_their_places(data):
    frame = trials()
    by_hand = design().fit(frame[frame.day == "b"], session="day").transform(frame)
    chosen = data.subset(["d", "b", "d"]).to(dtype=torch.float32)
    again = chosen.with_mask([True, False] * 30).refit_design(["b"])
    expected = [by_hand[frame.day == day] for day in ("d", "b", "d")]
    np.testing.assert_allclose(again.covariates, pd.concat(expected), rtol=1e-5)
    wider = data.subset(["b", "a"])
    wider = wider._derive(
        covariates=torch.cat([torch.full((40, 1), 7.0), wider.covariates], 1),
        covariate_names=("other", *wider.covariate_names),
    )
    again = wider.refit_design([0])
    assert (again.covariates[:, 0] == 7.0).all()
    np.testing.assert_allclose(again.covariates[:20, 1:], expected[1], atol=1e-12)


def test_a_design_of_the_transitions_learns_too():
    frame = trials()
    moves = Design(Standardised("sound"), Intercept())
    data = made(frame, lambda: Design("sound"), transition_design=moves)
    again = data.refit_design(["a"])
    seen = frame[frame.day == "a"]
    by_hand = Design(Standardised("sound"), Intercept()).fit(seen, session="day")
    np.testing.assert_allclose(
        again.transition_covariates, by_hand.transform(frame), atol=1e-12
    )
    assert torch.equal(again.covariates, data.covariates)


def test_lists_learn_as_data_frames_do():
    frame = trials()
    arrays = [part[["sound"]].to_numpy() for _, part in frame.groupby("day")]
    choices = [part["right"].to_numpy() for _, part in frame.groupby("day")]
    recipe = Design(Standardised("sound"))
    data = recipe.sequences(arrays, emissions=choices, columns=["sound"])
    again = data.refit_design([1, 2])
    seen = np.concatenate(arrays[1:3])
    expected = (np.concatenate(arrays) - seen.mean()) / seen.std()
    np.testing.assert_allclose(again.covariates, expected, atol=1e-12)


def test_what_the_caller_does_to_the_frame_later_changes_nothing():
    frame = trials()
    data, kept = made(frame), made(trials())
    frame["sound"] = 0.0
    np.testing.assert_array_equal(
        data.refit_design(["a"]).covariates, kept.refit_design(["a"]).covariates
    )


def test_data_without_learnt_numbers_stay_as_they_are():
    data = made(trials(), lambda: Design(Lags("sound", 2), PreviousChoice("right")))
    assert data.refit_design(["a"]) is data
    plain = gh.Sequences([0, 1], [[1.0], [2.0]])
    assert plain.refit_design([0]) is plain


def test_terms_of_the_users_learn_by_what_they_write():
    @dataclass(frozen=True)
    class Centred(Term):
        mean: float = 0.0

        @property
        def label(self):
            return "centred"

        def fitted(self, table):
            return replace(self, mean=float(table.numbers("sound").mean()))

        def names(self):
            return ("centred",)

        def values(self, table):
            return table.numbers("sound")[:, None] - self.mean

    frame = trials()
    data = made(frame, lambda: Design(Centred()))
    expected = frame["sound"] - frame["sound"][frame.day == "c"].mean()
    again = data.refit_design(["c"])
    np.testing.assert_allclose(again.covariates[:, 0], expected, atol=1e-12)


def test_sessions_that_cannot_teach_are_refused_by_name():
    frame = trials()
    frame.loc[frame.day == "a", "sound"] = 1.0
    data = made(frame)
    with pytest.raises(ValueError, match="must vary in the data.*'heard_lag0'"):
        data.refit_design(["a"])
    plain = data.subset(["a"]).replace(
        covariates=data["a"].covariates, covariate_names=data.covariate_names
    )
    for parts in ([data["b"], plain], [plain, data["b"]]):
        joined = gh.Sequences.concatenate(parts)
        with pytest.raises(ValueError, match="made by one design.*'a' beside"):
            joined.refit_design(["b"])


def ridge(strength):
    return gh.GLMHMM(1, gh.Bernoulli(prior=gh.priors.Ridge(strength**-0.5)))


def bits_by_hand(models, method):
    """Held-out bits per step, the design learnt anew for every day that is left out."""
    frame, found, steps = trials(), np.zeros(len(models)), 0
    for test in DAYS:
        recipe = design().fit(frame[frame.day != test], session="day")
        told = {"session": "day", "emissions": "right"}
        train, held_out = (
            recipe.sequences(part, **told)
            for part in (frame[frame.day != test], frame[frame.day == test])
        )
        for place, model in enumerate(models):
            fit = gh.fit(model, train, method, num_restarts=1, progress=False)
            found[place] += fit.score(held_out, units="bits") * held_out.num_steps
        steps += held_out.num_steps
    return found / steps


def test_folds_are_scored_by_designs_of_their_own(data):
    options = {"num_restarts": 1, "progress": False}
    found = cross_validate(ridge, data, [0.5, 50.0], folds=4, **options)
    expected = bits_by_hand([ridge(0.5), ridge(50.0)], "map")
    scores = found.table["held_out_bits_per_step"]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    lent = cross_validate(
        ridge, data, [0.5, 50.0], folds=4, refit_design=False, **options
    )
    assert (lent.table["held_out_bits_per_step"] - scores).abs().max() > 1e-3
    # The fit of all sessions has the covariates of all sessions.
    whole = gh.fit(ridge(found.best), data, "map", **options)
    assert found.fit.log_joint == pytest.approx(whole.log_joint, abs=1e-6)


def test_numbers_of_states_are_scored_by_designs_of_their_own(data):
    options = {"folds": 4, "num_restarts": 1, "progress": False}
    found = choose_num_states(lambda number: ridge(0.5), data, [1], **options)
    bits = found.table["held_out_bits_per_step"]
    np.testing.assert_allclose(bits, bits_by_hand([ridge(0.5)], "em"), atol=1e-6)
    options["refit_design"] = False
    lent = choose_num_states(lambda number: ridge(0.5), data, [1], **options)
    assert abs(lent.table["held_out_bits_per_step"][1] - bits[1]) > 1e-5


def test_sessions_held_out_of_a_comparison_lend_it_nothing_either(data):
    found = gh.compare_methods(
        ridge(1.0), data, ["map"], held_out=0.5, num_restarts=1, progress=False
    )
    names = list(found.train.session_names)
    again = data.refit_design(names).subset(names)
    assert torch.equal(found.train.covariates, again.covariates)
    assert abs(float(found.train.covariates[:, 0].mean())) < 1e-12
    assert abs(float(found.test.covariates[:, 0].mean())) > 1e-3


def test_replicates_of_the_bootstrap_keep_the_units_of_the_fit(data):
    fit = gh.fit(ridge(1.0), data, "map", num_restarts=1, progress=False)
    plain = data._derive(design_source=None)
    one, other = (bootstrap(fit, d, 3, progress=False) for d in (data, plain))
    name = "emissions.weights"
    np.testing.assert_array_equal(one.replicates[name], other.replicates[name])
