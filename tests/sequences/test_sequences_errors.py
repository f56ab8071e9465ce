"""Bad data meet a sentence: what argument, what it must be, what came, what to do."""

import numpy as np
import pytest
import torch

from glmhmm_pyro.sequences import Sequences

Y = np.array([0, 1, 1, 0, 1, 1])
X = np.arange(12.0).reshape(6, 2)
NAN = np.where(np.arange(12).reshape(6, 2) == 7, np.nan, X)


def build(**arguments):
    return Sequences(**({"emissions": Y, "covariates": X} | arguments))


VALUE_ERRORS = {
    "transposed covariates": (
        {"covariates": X.T},
        r"covariates must have shape \(steps, features\), got \(2, 6\).*covariates\.T",
    ),
    "transposed transition covariates": (
        {"transition_covariates": X.T},
        r"transition_covariates .*\(features, steps\).*transition_covariates\.T",
    ),
    "transposed emissions": (
        {"emissions": np.zeros((2, 6))},
        r"emissions must have shape \(steps, outputs\), got \(2, 6\).*emissions\.T",
    ),
    "transposed emissions beside lengths": (
        {"emissions": np.zeros((2, 6)), "covariates": None, "lengths": [2, 4]},
        r"emissions must have shape \(steps, outputs\).*emissions\.T",
    ),
    "covariates of other steps": (
        {"covariates": X[:5]},
        r"covariates must have shape \(6, features\).*got \(5, 2\)",
    ),
    "no features": ({"covariates": X[:, :0]}, r"covariates must .*got \(6, 0\)"),
    "three axes": ({"emissions": np.zeros((6, 1, 2))}, r"emissions .*\(6, 1, 2\)"),
    "no steps": ({"emissions": [], "covariates": None}, "at least one step"),
    "ragged": (
        {"emissions": [[0, 1], [1]], "covariates": None},
        "rectangular.*from_lists",
    ),
    "NaN in a covariate": (
        {"covariates": NAN, "covariate_names": ["speed", "angle"]},
        r"covariates must be finite, got 1 .* column 'angle' \(row 3\)",
    ),
    "infinite covariate": (
        {"covariates": np.where(NAN != NAN, -np.inf, X)},
        r"got 1 NaN or infinite values in column 'x1' \(row 3\)",
    ),
    "beyond float32": (
        {"covariates": X * 1e300, "dtype": torch.float32},
        "covariates must be finite",
    ),
    "NaN in transition covariates": (
        {"transition_covariates": NAN},
        "transition_covariates must be finite.*'u1'",
    ),
    "NaN in initial covariates": (
        {"initial_covariates": [[np.nan]]},
        "initial_covariates must be finite.*'v0'",
    ),
    "lengths of another sum": (
        {"lengths": [2, 3]},
        "lengths must sum to the 6 steps of emissions, got a sum of 5 over 2 sessions",
    ),
    "an empty session": (
        {"lengths": [2, 0, 4]},
        "lengths must be at least 1 .*got 0 for session 1",
    ),
    "no session": ({"lengths": []}, "lengths must be"),
    "fractional lengths": ({"lengths": [2.5, 3.5]}, "lengths must be .*whole numbers"),
    "lengths of two axes": ({"lengths": [[2, 4]]}, r"lengths must be .*\(1, 2\)"),
    "everything masked": (
        {"mask": np.zeros(6, bool)},
        "mask must leave at least one emission observed.*True means observed",
    ),
    "one output masked": (
        {"emissions": np.ones((6, 2)), "mask": np.tile([True, False], (6, 1))},
        "at least one emission of output 1",
    ),
    "everything missing": (
        {"emissions": np.full(6, np.nan)},
        "emissions must have a value in every output, got NaN .* in output 0",
    ),
    "one output missing": (
        {"emissions": np.tile([1.0, np.nan], (6, 1))},
        "NaN or None alone in output 1; leave that column out",
    ),
    "mask of another shape": (
        {"mask": np.ones(5, bool)},
        r"mask must have shape \(6,\), got \(5,\)",
    ),
    "mask over other outputs": (
        {"emissions": np.ones((6, 2)), "mask": np.ones((6, 3), bool)},
        r"mask must have shape \(6,\) or \(6, 2\), got \(6, 3\)",
    ),
    "NaN where the mask says observed": (
        {"emissions": np.where(Y, 1.0, np.nan), "mask": np.ones(6, bool)},
        "emissions must have a value wherever mask is True, got 2 .* row 0",
    ),
    "a negative class": (
        {"emissions": [0, 1, -1, 0, 1, 1]},
        r"classes 0, 1, ... .*, got -1 \(first in row 2\); mark missing values by mask",
    ),
    "an infinite emission": ({"emissions": [0, 1, np.inf, 0, 1, 1]}, "finite.*row 2"),
    "an emission beyond float32": (
        {"emissions": Y * 1e300, "dtype": torch.float32},
        "emissions must be finite in torch.float32, got values up to 1e.300",
    ),
    "too few class names": (
        {"class_names": ["left"]},
        "class_names must name every class.*got 1 names for values from 0 to 1",
    ),
    "a class twice": ({"class_names": ["a", "a"]}, "class_names must differ.*'a'"),
    "a label that is no class": (
        {"emissions": ["left", "rihgt"] * 3, "class_names": ["left", "right"]},
        "class_names .*'rihgt'; did you mean 'right'",
    ),
    "class names of several outputs": (
        {"emissions": np.ones((6, 2)), "class_names": ["a", "b"]},
        "class_names must be None",
    ),
    "too few names": (
        {"covariate_names": ["speed"]},
        "covariate_names must have 2 entries.*got 1: speed",
    ),
    "a name twice": (
        {"covariate_names": ["speed", "speed"]},
        "covariate_names must differ from each other, got 'speed' twice",
    ),
    "a session name twice": (
        {"lengths": [2, 4], "session_names": ["a", "a"]},
        "session_names must differ",
    ),
    "initial covariates of other sessions": (
        {"initial_covariates": [[1.0, 2.0], [3.0, 4.0]]},
        r"initial_covariates must have shape \(1, features\), .*sessions",
    ),
    "names of what is not there": (
        {"initial_covariate_names": ["v"]},
        "initial_covariate_names must be None",
    ),
}

TYPE_ERRORS = {
    "complex covariates": ({"covariates": X * 1j}, "covariates .*real.*complex128"),
    "complex emissions": ({"emissions": Y * 1j}, "emissions .*complex128"),
    "complex tensor": ({"covariates": torch.ones(6, 2) * 1j}, "covariates .*complex"),
    "labels as covariates": ({"covariates": [["a", "b"]] * 6}, "covariates .*real"),
    "objects": ({"emissions": [{}, 1, 1, 0, 1, 1]}, "emissions must be classes"),
    "numbers among labels": ({"emissions": ["a", 1, None] * 2}, "emissions .*mixed"),
    "a mask of numbers": ({"mask": Y}, r"mask must be boolean.*astype\(bool\)"),
    "one string of names": ({"covariate_names": "ab"}, "covariate_names .*list"),
    "one string of classes": ({"class_names": "ab"}, "class_names .*list"),
    "an integer dtype": ({"dtype": torch.int64}, "dtype must be a floating"),
}


@pytest.mark.parametrize("case", VALUE_ERRORS)
def test_bad_values_are_refused_by_a_sentence(case):
    arguments, message = VALUE_ERRORS[case]
    with pytest.raises(ValueError, match=message):
        build(**arguments)


@pytest.mark.parametrize("case", TYPE_ERRORS)
def test_bad_types_are_refused_by_a_sentence(case):
    arguments, message = TYPE_ERRORS[case]
    with pytest.raises(TypeError, match=message):
        build(**arguments)


def test_a_square_transposed_array_cannot_be_told_and_is_taken_as_it_is():
    assert Sequences([0, 1], [[1.0, 2.0], [3.0, 4.0]]).covariates[0, 1] == 2.0


LIST_ERRORS = {
    "wrong number of sessions": (
        {"covariates": [X[:2]]},
        "covariates must have 2 sessions, as many as emissions, got 1",
    ),
    "other feature counts": (
        {"covariates": [X[:2], X[2:, :1]]},
        "as many features in every session, got 2 in session 0 and 1 in session 1",
    ),
    "other steps": (
        {"covariates": [X[:3], X[3:]]},
        r"covariates\[0\] must have shape \(steps, features\) with the 2 steps of "
        r"emissions\[0\], got \(3, 2\)",
    ),
    "transposed sessions": (
        {"transition_covariates": [X[:2], X[2:].T]},
        r"transition_covariates\[1\].*\(features, steps\); pass .*\[1\]\.T",
    ),
    "a flat list": ({"emissions": [0, 1, 1]}, r"single values.*\[emissions\]"),
    "no sessions": ({"emissions": []}, "an empty list"),
    "an empty session": (
        {"emissions": [[0], []]},
        r"emissions\[1\] must have at least one step",
    ),
    "masks of other lengths": (
        {"masks": [np.ones(3, bool), np.ones(3, bool)]},
        r"masks must have the lengths of emissions \(2, 4\), got 3, 3",
    ),
    "masks of other outputs": (
        {"masks": [np.ones((2, 2), bool), np.ones((4, 2), bool)]},
        "masks must each have shape",
    ),
    "different outputs": (
        {"emissions": [np.zeros(2), np.zeros((4, 2))]},
        r"got arrays of shape \(2,\) and \(4, 2\)",
    ),
}


@pytest.mark.parametrize("case", LIST_ERRORS)
def test_bad_lists_are_refused_by_a_sentence(case):
    arguments, message = LIST_ERRORS[case]
    with pytest.raises(ValueError, match=message):
        Sequences.from_lists(**({"emissions": [Y[:2], Y[2:]]} | arguments))


@pytest.mark.parametrize(
    "selection, error, message",
    [
        (3, IndexError, "from 0 to 1, got 3"),
        ([0, -3], IndexError, "from 0 to 1, got -3"),
        ("first", KeyError, "did you mean 'fist'"),
        ([], ValueError, "one at least, got none"),
        ([False, False], ValueError, "one at least, got none"),
        ([True], ValueError, "each of the 2 sessions, got 1"),
        (1.5, TypeError, "by number, name"),
        ([[0]], TypeError, "by number, name"),
    ],
)
def test_sessions_that_are_not_there_are_refused(selection, error, message):
    data = Sequences(Y, lengths=[2, 4], session_names=["fist", "second"])
    with pytest.raises(error, match=message):
        data.subset(selection)


def test_a_split_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="values must have 6 rows.*got 5"):
        Sequences(Y).split(X[:5])


def test_a_second_mask_must_leave_something():
    with pytest.raises(ValueError, match="at least one emission"):
        Sequences([0.0, np.nan]).with_mask([False, True])


def test_an_unknown_argument_of_replace_is_refused():
    with pytest.raises(TypeError, match="got emission; did you mean 'emissions'"):
        Sequences(Y).replace(emission=Y)


@pytest.mark.parametrize(
    "other, attribute",
    [
        ({"covariate_names": ["a", "b"]}, "covariate_names"),
        ({"class_names": ["a", "b"]}, "class_names"),
        ({"dtype": torch.float32}, "dtype"),
        ({"emissions": Y + 0.5}, "type of emissions"),
        ({"initial_covariates": [[1.0]]}, "initial_covariate_names"),
    ],
)
def test_data_sets_of_other_columns_are_not_concatenated(other, attribute):
    with pytest.raises(ValueError, match=f"same {attribute}"):
        Sequences.concatenate([build(), build(**other)])


def test_nothing_is_not_concatenated():
    with pytest.raises(ValueError, match="at least one data set"):
        Sequences.concatenate([])


def test_a_mask_alone_is_not_replaced_for_it_would_uncover_fillers():
    data = Sequences([0.0, np.nan])
    with pytest.raises(ValueError, match="with_mask"):
        data.replace(mask=None)
    assert data.replace(emissions=[2.0, 3.0], mask=None).mask is None


def test_an_unknown_design_gets_no_intercept():
    with pytest.raises(ValueError, match="designs must be among.*'emissions'"):
        build().add_intercept(["emissions"])


def test_another_type_must_be_a_floating_one():
    with pytest.raises(TypeError, match="dtype must be a floating"):
        build().to(torch.int64)


def test_what_is_no_data_frame_is_refused():
    with pytest.raises(TypeError, match="df must be a data frame.*got a dict"):
        Sequences.from_dataframe({}, session=None, emissions="y")
