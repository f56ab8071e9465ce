"""Names at the border of a data set: which are given, and what is joined by them."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import glmhmm_pyro as gh
from glmhmm_pyro.sequences import MatchingWarning
from glmhmm_pyro.sequences.naming import Names, matched

Y = [0, 1, 1, 0]
X = pd.DataFrame({"a": [1.0, 2, 3, 4], "b": [5.0, 6, 7, 8], "c": [9.0, 8, 7, 6]})


def given(*names, generated=()):
    return Names(names, tuple(generated))


@pytest.mark.parametrize(
    "wanted, found, places",
    [
        (given("a", "b"), given("b", "a"), [1, 0]),
        (given("a", "b"), given("c", "b", "d", "a"), [3, 1]),
        (given("a", "b"), given("x0", "x1", generated=["x0", "x1"]), [0, 1]),
        (given("x0", "x1", generated=["x0", "x1"]), given("b", "a"), [0, 1]),
        # The intercept is known by name, and the rest by place.
        (
            given("x0", "x1", "intercept", generated=["x0", "x1"]),
            given("intercept", "b", "a"),
            [1, 2, 0],
        ),
        (
            given("b", "intercept", "a"),
            given("x0", "x1", "intercept", generated=["x0", "x1"]),
            [0, 2, 1],
        ),
    ],
)
def test_names_are_matched_by_name_then_by_place(wanted, found, places):
    match = matched("covariates", wanted, found)
    assert match.places == places
    by_place = any(
        wanted.names[i] in wanted.generated or found.names[j] in found.generated
        for i, j in enumerate(places)
    )
    assert bool(match.notes) == by_place


@pytest.mark.parametrize(
    "wanted, found, words",
    [
        (given("a", "b"), given("a", "c"), "'b'.*got 'a', 'c'"),
        (given("a", "b"), given("a"), "'b', which"),
        (given("a"), given("x0", "x1", generated=["x0", "x1"]), "1 column, as.*got 2"),
        (given("x0", generated=["x0"]), given("a", "b"), "1 column, as.*got 2"),
        (
            given("a", "intercept"),
            given("x0", "bias", generated=["x0"]),
            "'intercept'.*'x0', 'bias'",
        ),
        # Either order could be meant.
        (given("x1", "x0"), given("x0", "x1", generated=["x0", "x1"]), "made up"),
        (given("x0", "x1", generated=["x0", "x1"]), given("x1", "x0"), "made up"),
    ],
)
def test_what_is_lacking_is_named(wanted, found, words):
    with pytest.raises(ValueError, match="covariates must .*" + words):
        matched("covariates", wanted, found)


def generated(data):
    return {k: sorted(v) for k, v in data.generated_names.items() if v}


def test_a_data_set_knows_which_names_nobody_gave():
    bare = gh.Sequences(Y, np.ones((4, 2)), transition_covariates=np.ones((4, 1)))
    wanted = {
        "emission_names": ["y"],
        "covariate_names": ["x0", "x1"],
        "transition_covariate_names": ["u0"],
    }
    assert generated(bare) == wanted
    shared = gh.Sequences(Y, np.ones((4, 2)))
    assert generated(shared)["transition_covariate_names"] == ["x0", "x1"]
    framed = gh.Sequences(pd.Series(Y, name="choice"), X)
    assert generated(framed) == {} and framed.emission_names == ("choice",)
    # The one column of a data set without covariates is what it is called.
    assert generated(gh.Sequences(Y, emission_names=["y"])) == {}
    for same in (
        bare.subset([0, 0]),
        bare.replace(emissions=[1, 1, 0, 0]),
        bare.replace(covariates=np.zeros((4, 2))),
        bare.replace(covariates=bare.covariates, covariate_names=bare.covariate_names),
        bare.with_mask([True, True, False, True]),
        bare.to(torch.float32),
        gh.Sequences.concatenate([bare, bare]),
    ):
        assert generated(same) == wanted
    named = bare.replace(covariates=X[["a", "b"]])
    assert "covariate_names" not in generated(named)


@pytest.mark.parametrize(
    "values",
    [
        X[["a", "b"]],
        X[["b", "a"]][["a", "b"]],
        xr.DataArray(
            X[["a", "b"]].to_numpy(), coords=[range(4), ["a", "b"]], dims=("t", "c")
        ),
    ],
    ids=["frame", "reordered frame", "xarray"],
)
def test_columns_carry_their_names(values):
    data = gh.Sequences(Y, values)
    assert data.covariate_names == ("a", "b")
    assert torch.equal(data.covariates, torch.tensor(X[["a", "b"]].to_numpy()))
    emitted = gh.Sequences(values)
    assert emitted.emission_names == ("a", "b")


def test_a_frame_is_put_in_the_order_of_the_names_asked_for():
    data = gh.Sequences(Y, X, covariate_names=["c", "a", "b"])
    assert torch.equal(data.covariates, torch.tensor(X[["c", "a", "b"]].to_numpy()))
    renamed = gh.Sequences(Y, X, covariate_names=["a", "b", "z"])
    assert torch.equal(renamed.covariates, torch.tensor(X.to_numpy()))
    with pytest.raises(ValueError, match="covariates must have.*'b' stands elsewhere"):
        gh.Sequences(Y, X, covariate_names=["b", "z", "c"])
    both = gh.Sequences(X[["b", "a"]], emission_names=["a", "b"])
    assert torch.equal(both.emissions, torch.tensor(X[["a", "b"]].to_numpy()))


def test_a_mask_with_names_is_put_in_the_order_of_the_outputs():
    mask = pd.DataFrame({"b": [True, True, False, True], "a": [True] * 4})
    data = gh.Sequences(X[["a", "b"]], mask=mask)
    assert (~data.mask).nonzero().tolist() == [[2, 1]]
    named = gh.Sequences(X[["a", "b"]].to_numpy(), mask=mask, emission_names=["a", "b"])
    assert torch.equal(named.mask, data.mask)


def test_rows_with_the_same_labels_in_another_order_are_refused():
    y = pd.Series(Y, index=list("stuv"))
    x = X.set_axis(list("stuv"))
    assert gh.Sequences(y, x).num_steps == 4
    with pytest.raises(ValueError, match="covariates must have its rows.*row 0 is 'v'"):
        gh.Sequences(y, x[::-1])
    # Rows that were numbered anew are joined by their place.
    assert gh.Sequences(y.reset_index(drop=True), x[::-1]).covariates[0, 0] == 4
    assert gh.Sequences(y, x[::-1].to_numpy()).covariates[0, 0] == 4


def test_initial_covariates_go_by_the_names_of_the_sessions():
    v = pd.DataFrame({"age": [3.0, 1.0, 2.0]}, index=["c", "a", "b"])
    options = {"lengths": [2, 1, 1], "session_names": ["a", "b", "c"]}
    data = gh.Sequences(Y, initial_covariates=v, **options)
    assert data.initial_covariates.flatten().tolist() == [1, 2, 3]
    numbered = v.reset_index(drop=True)
    data = gh.Sequences(Y, initial_covariates=numbered, **options)
    assert data.initial_covariates.flatten().tolist() == [3, 1, 2]
    days = pd.DataFrame({"day": [2, 0, 1], "age": [5.0, 6.0, 7.0], "y": [0, 1, 1]})
    data = gh.Sequences.from_dataframe(
        days, session="day", emissions="y", initial_covariates="age"
    )
    assert data.initial_covariates.flatten().tolist() == [5, 6, 7]


def frames():
    first = X[:3]
    second = pd.DataFrame({"c": [1.0, 2], "a": [3.0, 4], "b": [5.0, 6]})
    return [first, second]


def test_lists_of_frames_are_joined_by_name():
    ys = [[0, 1, 1], [0, 1]]
    data = gh.Sequences.from_lists(ys, frames(), transition_covariates=frames()[::1])
    joined = np.concatenate([f[["a", "b", "c"]] for f in frames()])
    np.testing.assert_array_equal(data.covariates, joined)
    np.testing.assert_array_equal(data.transition_covariates, joined)
    assert data.covariate_names == ("a", "b", "c")
    order = ["b", "c", "a"]
    asked = gh.Sequences.from_lists(ys, frames(), covariate_names=order)
    np.testing.assert_array_equal(
        asked.covariates, np.concatenate([f[order] for f in frames()])
    )
    emitted = gh.Sequences.from_lists(frames())
    np.testing.assert_array_equal(emitted.emissions, joined)
    assert emitted.emission_names == ("a", "b", "c")
    masks = [f > f.mean() for f in frames()]
    hidden = gh.Sequences.from_lists(
        frames(), masks=masks[:1] + [masks[1][["b", "a", "c"]]]
    )
    np.testing.assert_array_equal(
        hidden.mask, np.concatenate([m[["a", "b", "c"]] for m in masks])
    )


def test_lists_of_frames_with_other_columns_are_refused():
    first, second = frames()
    with pytest.raises(
        ValueError, match=r"covariates\[1\] must have.*a, b, c, got c, z"
    ):
        gh.Sequences.from_lists(
            [[0, 1, 1], [0, 1]], [first, second.rename(columns={"a": "z"})]
        )
    with pytest.raises(ValueError, match=r"emissions\[1\] must have the columns"):
        gh.Sequences.from_lists([first[["a"]], second[["b"]]])


def test_a_session_without_names_is_taken_by_place_with_a_note():
    first, second = frames()
    with pytest.warns(MatchingWarning, match=r"covariates\[0\] have no names.*\[1\]"):
        data = gh.Sequences.from_lists([[0, 1, 1], [0, 1]], [first.to_numpy(), second])
    assert data.covariate_names == ("c", "a", "b")
    assert data.covariates[0].tolist() == first.to_numpy()[0].tolist()


def test_series_of_sessions_have_no_common_name():
    named = [pd.Series([0, 1], name="mon"), pd.Series([1], name="tue")]
    assert gh.Sequences.from_lists(named).emission_names == ("y",)
    assert gh.Sequences.from_lists(
        [s.rename("side") for s in named]
    ).emission_names == ("side",)


def test_lengths_of_lists_are_those_of_the_lists():
    for lengths in ([3], [2, 1]):
        with pytest.raises(ValueError, match=r"lengths must be left out.*2, 1.*got \["):
            gh.Sequences.from_lists([[0, 1], [1]], lengths=lengths)
    with pytest.raises(ValueError, match="got a list of 1 arrays; give one.*as masks"):
        gh.Sequences.from_lists([[0, 1]], mask=[[True, False]])
    hidden = gh.Sequences.from_lists([[0, 1], [1]], mask=[True, False, True])
    assert hidden.mask.tolist() == [True, False, True]


def test_data_sets_are_joined_by_name():
    first = gh.Sequences(["l", "r", "r", "l"], X)
    other = gh.Sequences(
        ["r", "l", "r", "r"], X[["c", "a", "b"]], class_names=["r", "l"]
    )
    joined = gh.Sequences.concatenate([first, other])
    assert joined.emissions.tolist() == [0, 1, 1, 0, 1, 0, 1, 1]
    np.testing.assert_array_equal(joined.covariates, np.concatenate([X, X]))
    assert joined.transition_covariates is joined.covariates
    fewer = first.replace(covariates=X[["a", "b"]])
    with pytest.raises(ValueError, match="covariate_names.*'a', 'b'"):
        gh.Sequences.concatenate([first, fewer])
