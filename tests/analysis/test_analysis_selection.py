"""The number of states and models chosen: against loops by hand, resumed, shared."""

import math

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from inference_cases import clear_data
from joblib.parallel import ThreadingBackend, register_parallel_backend
from sklearn.model_selection import GroupKFold, PredefinedSplit, ShuffleSplit

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import choose_num_states, compare_models
from glmhmm_pyro.analysis.folds import splits_of
from glmhmm_pyro.analysis.selection.choice import _baselines

QUICK = {"num_restarts": 1, "progress": False}
ANIMALS = ("a", "b", "a", "b", "c", "c")


def ridge(num_states):
    """A model whose maximum is inside and easy to find."""
    even = torch.distributions.Dirichlet(torch.full((num_states,), 2.0))
    emissions = gh.Bernoulli(prior=gh.priors.Ridge(1.0))
    return gh.GLMHMM(num_states, emissions, gh.Stationary(even), gh.Initial(even))


@pytest.fixture(scope="module")
def sessions():
    return clear_data(lengths=(30, 25, 40, 20, 35, 30))


@pytest.fixture(scope="module")
def animals(sessions):
    return sessions.replace(groups=ANIMALS)


@pytest.fixture(scope="module")
def study(animals):
    return choose_num_states(ridge, animals, [2, 1], folds=[0, 0, 1, 1, 2, 2], **QUICK)


def by_hand(data, splits):
    """Log-likelihoods (sessions, K), hits, and the frequencies' log-likelihoods."""
    found, hits = np.zeros((2, data.num_sessions, 2))
    base = np.zeros(data.num_sessions)
    for train, test in splits:
        share = data.subset(train).emissions.double().mean().item()
        for column, states in enumerate((1, 2)):
            fit = gh.fit(ridge(states), data.subset(train), **QUICK)
            for session in test:
                one = data.subset([session])
                y = one.emissions.numpy()
                found[session, column] = fit.score(one) * len(y)
                expected = fit.predict(one).values.argmax(1)
                hits[session, column] = (expected == y).sum()
                base[session] = np.log(np.where(y, share, 1 - share)).sum()
    return found, hits, base


def test_the_table_is_that_of_a_loop_over_folds_with_errors_over_animals(
    animals, study
):
    splits = [([2, 3, 4, 5], [0, 1]), ([0, 1, 4, 5], [2, 3]), ([0, 1, 2, 3], [4, 5])]
    found, hits, base = by_hand(animals, splits)
    steps = animals.lengths.numpy()
    gains = (found - base[:, None]) / math.log(2)
    table = study.table
    assert table.index.tolist() == [1, 2] and table.index.name == "num_states"
    bits = gains.sum(0) / steps.sum()
    np.testing.assert_allclose(table["held_out_bits_per_step"], bits, atol=1e-6)
    np.testing.assert_allclose(table["accuracy"], hits.sum(0) / steps.sum())
    pair = gains[:, 0] - gains[:, 1]
    rests = pair - steps * pair.sum() / steps.sum()
    by_animal = [rests[np.array(ANIMALS) == name].sum() for name in "abc"]
    error = math.sqrt(3 / 2 * np.square(by_animal).sum()) / steps.sum()
    expected = [pair.sum() / steps.sum(), error]
    pairs = table[["difference", "difference_error"]]
    np.testing.assert_allclose(pairs, [expected, [0.0, 0.0]], atol=1e-6)
    assert study.best == 2 and study.fit is study.fits[2]
    by_fold = study.folds["log_likelihood"]
    assert by_fold.index.names == ["num_states", "fold", "session"]
    assert by_fold.index.droplevel("session").is_monotonic_increasing
    assert by_fold[2, 1, "2"] == pytest.approx(found[2, 1], abs=1e-5)


def test_fits_to_all_data_have_their_criteria_and_say_that_they_are_penalised(
    animals, study
):
    for states, fit in study.fits.items():
        row = study.table.loc[states]
        alone = gh.fit(ridge(states), animals, **QUICK)
        assert fit.log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-6)
        assert (row["aic"], row["bic"]) == (fit.aic, fit.bic)
        assert row["icl"] == fit.icl(animals)
        assert row["num_parameters"] == fit.num_parameters
        assert row["num_solutions"] == len(fit.solutions)
        assert "penalised by priors of" in row["note"]
        assert fit.score(animals, units="bits") == pytest.approx(
            alone.score(animals, units="bits"), abs=1e-6
        )
    alone = {"free": gh.GLMHMM(1, gh.Bernoulli())}
    free = compare_models(alone, animals, baselines=False, folds=2, **QUICK)
    assert free.table["note"].item() == ""


def test_models_are_held_against_one_state_and_lapses(sessions):
    found = compare_models({"two": ridge(2)}, sessions, folds=2, **QUICK)
    assert found.table.index.tolist() == ["one state", "lapses", "two"]
    ridged = gh.Bernoulli(prior=gh.priors.Ridge(1.0))
    lapsing = gh.components.Lapsing(ridged)
    for name, family in (("one state", ridged), ("lapses", lapsing)):
        alone = gh.fit(gh.GLMHMM(1, family), sessions, **QUICK)
        score = found.fits[name].score(sessions)
        assert score == pytest.approx(alone.score(sessions), abs=1e-6)
    own = compare_models({"lapses": ridge(1)}, sessions, folds=2, **QUICK)
    assert own.fits["lapses"].model.emissions.sites.keys() == {"weights"}
    assert own.table.index.tolist() == ["one state", "lapses"]


def test_folds_share_out_groups_or_hold_them_out(animals, sessions):
    many = clear_data(lengths=(4,) * 23)
    names = ["abc"[i % 3 if i < 15 else 0] for i in range(23)]
    many = many.replace(groups=names)
    splits = splits_of(many, 4, None, 0)
    held = [test for _, test in splits]
    assert sorted(sum(held, [])) == list(range(23))
    for name in "abc":
        counts = [sum(names[i] == name for i in test) for test in held]
        assert max(counts) - min(counts) <= 1
    assert max(map(len, held)) - min(map(len, held)) <= 1
    assert splits_of(many, 4, None, 1) != splits
    assert [test for _, test in splits_of(animals, "group", None, 0)] == [
        [0, 2],
        [1, 3],
        [4, 5],
    ]
    given = splits_of(sessions, ["x", "y", "y", "x", "x", "y"], None, 0)
    assert given == [([1, 2, 5], [0, 3, 4]), ([0, 3, 4], [1, 2, 5])]
    own = [
        (a.tolist(), b.tolist())
        for a, b in GroupKFold(3).split(ANIMALS, groups=ANIMALS)
    ]
    assert splits_of(animals, GroupKFold(3), None, 0) == own
    # Of groups that a splitter does not ask for it says nothing either.
    given = splits_of(animals, PredefinedSplit([0, 1, 0, 1, 0, 1]), None, 0)
    assert given == splits_of(animals, [0, 1, 0, 1, 0, 1], None, 0)


def test_a_session_held_out_twice_counts_once(sessions):
    twice = ShuffleSplit(n_splits=3, test_size=0.5, random_state=0)
    found = choose_num_states(ridge, sessions, [1, 2], folds=twice, **QUICK)
    splits = [(a.tolist(), b.tolist()) for a, b in twice.split(range(6))]
    number = np.bincount(sum((test for _, test in splits), []), minlength=6)
    assert number.max() > 1
    totals = np.zeros((6, 2))
    for split in splits:
        log_likelihoods, _, base = by_hand(sessions, [split])
        totals[split[1]] += (log_likelihoods - base[:, None])[split[1]]
    seen = number > 0
    gains = totals[seen] / number[seen][:, None] / math.log(2)
    bits = gains.sum(0) / sessions.lengths.numpy()[seen].sum()
    np.testing.assert_allclose(found.table["held_out_bits_per_step"], bits, atol=1e-6)


def test_an_interrupted_study_goes_on_from_its_file(sessions, tmp_path, monkeypatch):
    module, calls = gh.analysis.selection.work, []
    original = module.whole_fit

    def watched(*args, **options):
        calls.append(args)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(*args, **options)

    def call(num_states=(1, 2)):
        path = tmp_path / "study.json"
        return choose_num_states(
            ridge, sessions, num_states, folds=2, checkpoint=path, **QUICK
        )

    monkeypatch.setattr(module, "whole_fit", watched)
    with pytest.warns(gh.ConvergenceWarning, match="interrupted after 5 of 6 fits"):
        part = call()
    assert not part.complete and list(part.fits) == [1]
    assert part.fit is None and "not fitted to all data" in part.table["note"][2]
    whole = call()
    assert len(calls) == 7 and whole.complete
    again = call()
    assert len(calls) == 7
    monkeypatch.undo()
    fresh = choose_num_states(ridge, sessions, (1, 2), folds=2, **QUICK)
    for found in (whole, again):
        pd.testing.assert_frame_equal(found.table, fresh.table)
        pd.testing.assert_frame_equal(found.folds, fresh.folds)
        for states, fit in found.fits.items():
            assert fit.score(sessions) == fresh.fits[states].score(sessions)
            assert fit.status is gh.Status.CONVERGED
            pd.testing.assert_frame_equal(fit.summary(), fresh.fits[states].summary())
    with pytest.raises(ValueError, match="a call with another make_model"):
        call((1, 3))


class Counting(ThreadingBackend):
    """A user's backend, which counts what it is given to do."""

    number = 0

    def submit(self, func, callback=None):
        Counting.number += 1
        return super().submit(func, callback)

    apply_async = submit


def test_the_backend_of_the_user_does_the_work(sessions):
    threads = 2
    torch.set_num_threads(threads)
    register_parallel_backend("counting", Counting)
    with joblib.parallel_config("counting"):
        found = choose_num_states(ridge, sessions, [1], folds=2, num_jobs=2, **QUICK)
    alone = choose_num_states(ridge, sessions, [1], folds=2, **QUICK)
    pd.testing.assert_frame_equal(found.table, alone.table)
    assert Counting.number >= 2 and torch.get_num_threads() == threads


def test_models_of_other_families_are_held_against_one_baseline():
    data = clear_data("heavy-tailed", lengths=(20, 30))
    models = {
        "normal": gh.GLMHMM(1, gh.Gaussian()),
        "heavy": gh.GLMHMM(1, gh.components.StudentT()),
        "flat": gh.GLMHMM(1, gh.Gaussian(shared_scale=True)),
    }
    quick = {"folds": 2, "baselines": False, **QUICK}
    found = compare_models(models, data, **quick)
    assert (
        found.table.index.tolist() == list(models) and found.table.index.name == "model"
    )
    base = found.folds["baseline"]
    for name in ("heavy", "flat"):
        np.testing.assert_array_equal(base[name], base["normal"])
    total = found.folds["log_likelihood"].groupby(level="model").sum()
    assert found.best == total.idxmax()
    bits = (total - base["normal"].sum()) / data.num_steps / math.log(2)
    np.testing.assert_allclose(
        found.table["held_out_bits_per_step"], bits[list(models)]
    )
    assert found.table["accuracy"].isna().all()
    near = compare_models(models, data, rule="one_standard_error", **quick)
    order = near.table.sort_values("num_parameters")
    first = order.index[-order["difference"] <= order["difference_error"]][0]
    assert near.best == first


def test_wrong_arguments_are_named(sessions, animals):
    def call(make_model=ridge, data=sessions, num_states=(1, 2), **options):
        choose_num_states(make_model, data, num_states, **QUICK, **options)

    with pytest.raises(ValueError, match="num_states must be a list .* got 3; write"):
        call(num_states=3)
    with pytest.raises(ValueError, match="num_states must hold .* got none"):
        call(num_states=[])
    with pytest.raises(ValueError, match="num_states must be at least 1, got 0"):
        call(num_states=[0, 1])
    with pytest.raises(ValueError, match="a model of 1 states for 1, got one of 2"):
        call(lambda K: ridge(2))
    with pytest.raises(TypeError, match="make_model must be a function"):
        call(ridge(2))
    with pytest.raises(ValueError, match="folds must be a number for data without gr"):
        call(folds="group")
    with pytest.raises(ValueError, match="folds must have an entry for each of the 6"):
        call(folds=[0, 1])
    with pytest.raises(ValueError, match="folds must be from 2 to the 6 sessions"):
        call(folds=7)
    with pytest.raises(ValueError, match="at least 2 sessions.*divide it into sess"):
        call(data=sessions.subset([0]))
    with pytest.raises(
        ValueError, match="rule must be one of best, one_standard_error"
    ):
        call(rule="aic")
    with pytest.raises(TypeError, match="data must be a Sequences, got a list"):
        call(data=[1])
    with pytest.raises(ValueError, match="models must hold a model .* got none"):
        compare_models({}, sessions)


def test_baselines_of_two_levels_are_those_of_the_family(sessions):
    levels = gh.levels.Levels(2, 2)
    moves = gh.levels.TwoLevels()
    for family in (gh.Bernoulli(), gh.levels.ByLevel(gh.Bernoulli(), over="both")):
        model = gh.GLMHMM(levels, family, moves)
        found = _baselines({"two levels": model})
        assert list(found) == ["one state", "lapses"]
        one, lapses = (made.emissions for made in found.values())
        assert type(one) is gh.Bernoulli
        assert isinstance(lapses.family, gh.Bernoulli)
        for made in found.values():
            fit = gh.fit(made, sessions.subset([0, 1]), **QUICK)
            assert math.isfinite(fit.log_likelihood)


def test_groups_held_out_whole_are_drawn_by_the_seed():
    """15 ways to pair 6 groups: 8 seeds give one alone with probability 15 ** -7."""
    many = clear_data(lengths=(4,) * 12)
    groups = list("aabbccddeeff")
    splits = [splits_of(many, 3, groups, seed) for seed in range(8)]
    assert splits[0] == splits_of(many, 3, groups, 0)
    ways = set()
    for split in splits:
        held = [frozenset(groups[i] for i in test) for _, test in split]
        assert sorted("".join(map("".join, held))) == list("abcdef")
        for (train, test), names in zip(split, held):
            assert len(names) == 2 and len(test) == 4
            assert sorted(train + test) == list(range(12))
        ways.add(frozenset(held))
    assert len(ways) > 1
