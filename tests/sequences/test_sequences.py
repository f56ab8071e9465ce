"""Sequences holds what it was given, whatever it was given in, and changes nothing."""

import copy
import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_pyro.sequences import Sequences

LENGTHS = (3, 1, 4)
STEPS = sum(LENGTHS)


@pytest.fixture
def rng():
    return np.random.default_rng(8)


@pytest.fixture
def data(rng):
    """Three sessions of 3, 1 and 4 steps with everything that can be given."""
    return Sequences(
        rng.integers(0, 3, STEPS),
        rng.normal(size=(STEPS, 2)),
        lengths=LENGTHS,
        transition_covariates=rng.normal(size=(STEPS, 1)),
        initial_covariates=rng.normal(size=(3, 2)),
        mask=np.arange(STEPS) != 5,
        session_names=["a", "b", "c"],
        class_names=["left", "middle", "right"],
    )


def assert_same(actual, expected):
    """Every field is equal, types included."""
    for field in dataclasses.fields(Sequences):
        left, right = (getattr(data, field.name) for data in (actual, expected))
        if isinstance(right, torch.Tensor):
            torch.testing.assert_close(left, right, rtol=0, atol=0)
        else:
            assert left == right, field.name


def test_names_and_sizes_default_to_something_readable():
    data = Sequences(torch.zeros(4), np.ones((4, 2)), lengths=[1, 3])
    assert data.covariate_names == data.transition_covariate_names == ("x0", "x1")
    assert data.session_names == ("0", "1")
    assert data.emission_names == ("y",)
    assert (data.class_names, data.initial_covariates, data.mask) == (None, None, None)
    assert (data.num_steps, data.num_sessions, len(data)) == (4, 2, 2)
    assert data.num_features == data.num_transition_features == 2
    assert data.starts.tolist() == [0, 1]
    assert data.covariates.dtype == data.emissions.dtype == torch.float64


def test_designs_of_their_own_are_numbered_by_their_own_letters(data):
    assert data.transition_covariate_names == ("u0",)
    assert data.initial_covariate_names == ("v0", "v1")


def test_transitions_share_the_very_tensor_of_the_covariates():
    data = Sequences([0, 1, 1], [[1.0], [2.0], [3.0]], lengths=[2, 1])
    for derived in (
        data,
        data[1],
        data.to(torch.float32),
        data.add_intercept(),
        data.replace(emissions=[1, 1, 0]),
        data.with_mask([True, False, True]),
        Sequences.concatenate([data, data]),
    ):
        assert derived.transition_covariates is derived.covariates


def test_without_covariates_there_is_one_constant_column():
    data = Sequences([0, 1, 0])
    assert data.covariates.tolist() == [[1.0]] * 3
    assert data.covariate_names == ("intercept",)


@pytest.mark.parametrize(
    "emissions",
    [
        [0, 2, 1],
        (0, 2, 1),
        np.array([0, 2, 1], dtype=np.uint8),
        torch.tensor([0, 2, 1], dtype=torch.int32),
        pd.Series([0, 2, 1], index=[7, 8, 9]),
        pd.Series([0, 2, 1], dtype="Int64"),
        ["a", "c", "b"],
        np.array(["a", "c", "b"]),
        pd.Series(["a", "c", "b"], dtype="category"),
        [[0], [2], [1]],
    ],
    ids=repr,
)
def test_whole_numbers_and_labels_become_int64_classes(emissions):
    data = Sequences(emissions)
    assert data.emissions.dtype == torch.int64
    assert data.emissions.tolist() == [0, 2, 1]
    assert data.is_integer


def test_booleans_become_classes_zero_and_one():
    assert Sequences([True, False, True]).emissions.tolist() == [1, 0, 1]


def test_floats_stay_floats_and_tell_whether_they_are_whole():
    whole, measured = Sequences([0.0, 2.0]), Sequences([0.0, 2.5])
    assert whole.emissions.dtype == measured.emissions.dtype == torch.float64
    assert whole.is_integer and not measured.is_integer


def test_labels_follow_class_names_then_categories_then_the_alphabet():
    labels = ["stay", "go", "go"]
    categorical = pd.Categorical(labels, categories=["stay", "go"])
    assert Sequences(labels).class_names == ("go", "stay")
    for data in (
        Sequences(labels, class_names=["stay", "go"]),
        Sequences(pd.Series(categorical)),
        Sequences(categorical),
        Sequences.from_lists([pd.Series(categorical), pd.Series(categorical)])[0],
    ):
        assert data.class_names == ("stay", "go")
        assert data.emissions.tolist() == [0, 1, 1]


def test_labels_among_more_class_names_than_seen_keep_their_numbers():
    data = Sequences(["b", "b"], class_names=["a", "b", "c"])
    assert data.emissions.tolist() == [1, 1]


@pytest.mark.parametrize(
    "emissions",
    [
        [np.nan, 1.0, 0.0],
        [None, 1, 0],
        [None, "b", "a"],
        [None, True, False],
        pd.Series([None, 1, 0], dtype="Int64"),
        pd.Series([None, "b", "a"], dtype="category"),
        torch.tensor([np.nan, 1.0, 0.0]),
    ],
    ids=repr,
)
def test_missing_emissions_are_masked_and_filled_by_the_first_observed_one(emissions):
    data = Sequences(emissions)
    assert data.mask.tolist() == [False, True, True]
    assert data.emissions.tolist() == [1, 1, 0]


def test_each_output_has_its_own_mask_and_filler():
    data = Sequences([[np.nan, 5.0], [1.0, np.nan], [2.0, 6.0]])
    assert data.mask.tolist() == [[False, True], [True, False], [True, True]]
    assert data.emissions.tolist() == [[1.0, 5.0], [1.0, 5.0], [2.0, 6.0]]
    assert data.num_outputs == 2 and data.emission_names == ("y0", "y1")


@pytest.mark.parametrize("hidden", [-1, 99, 0])
def test_what_stands_under_the_mask_changes_nothing(hidden):
    mask = [True, False, True]
    assert_same(
        Sequences([1, hidden, 0], mask=mask, class_names=["no", "yes"]),
        Sequences([1, 1, 0], mask=mask, class_names=["no", "yes"]),
    )


@pytest.mark.parametrize("hidden", [np.nan, np.inf, -1e300])
def test_what_stands_under_a_float_mask_changes_nothing(hidden):
    mask = np.array([[True, True], [True, False]])
    emissions = np.array([[1.0, 2.0], [3.0, hidden]])
    data = Sequences(emissions, mask=mask)
    assert data.emissions.tolist() == [[1.0, 2.0], [3.0, 2.0]]


def test_a_mask_that_hides_nothing_is_none():
    assert Sequences([0, 1], mask=[True, True]).mask is None
    assert Sequences([0.0, 1.0, np.nan], lengths=[2, 1])[0].mask is None


def test_nothing_that_was_passed_is_changed_or_shared():
    emissions = np.array([np.nan, 1.0])
    covariates = torch.ones(2, 1, dtype=torch.float64)
    mask = np.array([False, True])
    lengths = np.array([1, 1])
    data = Sequences(emissions, covariates, mask=mask, lengths=lengths)
    assert np.isnan(emissions[0]) and mask.tolist() == [False, True]
    emissions[:], mask[:], lengths[:] = 9.0, True, 5
    covariates[:] = 9.0
    assert data.emissions.tolist() == [1.0, 1.0]
    assert data.covariates.tolist() == [[1.0], [1.0]]
    assert data.mask.tolist() == [False, True] and data.lengths.tolist() == [1, 1]


def test_covariates_that_require_a_gradient_are_taken_as_numbers():
    data = Sequences([0, 1], torch.ones(2, 1, requires_grad=True))
    assert not data.covariates.requires_grad


def test_a_data_set_is_frozen(data):
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.emissions = None


def test_a_data_set_survives_copying_and_pickling(data):
    assert_same(copy.deepcopy(data), data)
    assert_same(pickle.loads(pickle.dumps(data)), data)


def test_lists_of_sessions_are_the_same_as_arrays_end_to_end(data):
    lists = Sequences.from_lists(
        emissions=data.split(data.emissions),
        covariates=data.split(data.covariates),
        transition_covariates=data.split(data.transition_covariates),
        masks=data.split(data.mask),
        initial_covariates=data.initial_covariates,
        session_names=data.session_names,
        class_names=data.class_names,
    )
    assert_same(lists, data)


def test_lists_of_frames_lend_their_column_names():
    frame = pd.DataFrame({"speed": [1.0, 2.0]})
    data = Sequences.from_lists([[0, 1], [1, 1]], [frame, frame])
    assert data.covariate_names == ("speed",)
    assert Sequences([0, 1], frame).covariate_names == ("speed",)


def test_numbers_among_labels_of_another_session_are_not_turned_into_labels():
    with pytest.raises(TypeError, match="emissions must be classes"):
        Sequences.from_lists([[0, 1], ["a", "b"]])


def test_masks_of_steps_and_of_outputs_may_stand_side_by_side():
    emissions = [np.zeros((2, 2)), np.ones((1, 2))]
    masks = [np.array([True, False]), np.array([[False, True]])]
    data = Sequences.from_lists(emissions, masks=masks)
    assert data.mask.tolist() == [[True, True], [False, False], [False, True]]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.data())
def test_a_subset_is_the_sessions_one_after_the_other(lengths, draw):
    steps = sum(lengths)
    chosen = draw.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1))
    data = Sequences(
        np.arange(steps),
        np.arange(steps)[:, None] / 2,
        lengths=lengths,
        transition_covariates=-np.arange(steps),
        initial_covariates=np.arange(len(lengths)),
        mask=np.arange(steps) % 3 < 2,
    )
    first = np.cumsum([0, *lengths])
    rows = np.concatenate([np.arange(first[i], first[i + 1]) for i in chosen])
    subset = data.subset(chosen)
    assert subset.lengths.tolist() == [lengths[i] for i in chosen]
    assert subset.starts.tolist() == np.cumsum([0, *subset.lengths])[:-1].tolist()
    assert torch.equal(subset.emissions, data.emissions[rows])
    assert torch.equal(subset.covariates, data.covariates[rows])
    assert torch.equal(subset.transition_covariates, data.transition_covariates[rows])
    assert torch.equal(subset.initial_covariates, data.initial_covariates[chosen])
    mask = torch.ones(len(rows)) if subset.mask is None else subset.mask
    assert torch.equal(mask.bool(), torch.as_tensor(rows % 3 < 2))
    assert len(set(subset.session_names)) == len(chosen)


@pytest.mark.parametrize(
    "selection",
    [
        [0, 2],
        np.array([0, 2]),
        torch.tensor([0, -1]),
        slice(None, None, 2),
        [True, False, True],
        torch.tensor([True, False, True]),
        ["a", "c"],
        ("a", "c"),
    ],
    ids=repr,
)
def test_sessions_are_selected_by_number_slice_boolean_or_name(data, selection):
    subset = data[selection]
    assert subset.session_names == ("a", "c")
    assert subset.lengths.tolist() == [3, 4]


@pytest.mark.parametrize("selection", [1, -2, "b", np.int64(1), torch.tensor(1)])
def test_one_session_is_a_data_set_of_one_session(data, selection):
    session = data[selection]
    assert session.session_names == ("b",)
    assert session.emissions.tolist() == data.emissions[3:4].tolist()


def test_iteration_gives_the_sessions_which_concatenate_to_the_whole(data):
    sessions = list(data)
    assert [len(session) for session in sessions] == [1, 1, 1]
    assert_same(Sequences.concatenate(sessions), data)


def test_a_session_of_which_nothing_was_observed_may_be_taken_alone():
    data = Sequences([1.0, np.nan, np.nan], lengths=[1, 2])
    assert data[1].mask.tolist() == [False, False]
    assert_same(Sequences.concatenate([data[0], data[1]]), data)


def test_repeated_sessions_get_names_of_their_own(data):
    assert data.subset([1, 1, 1]).session_names == ("b", "b (2)", "b (3)")
    both = Sequences.concatenate([data, data.subset(["a", "b"])])
    assert both.session_names == ("a", "b", "c", "a (2)", "b (2)")


def test_rows_of_a_session_cut_any_array_with_a_row_per_step(data):
    assert data.session_rows(2) == slice(4, 8)
    assert data.session_rows("b") == slice(3, 4)
    assert data.split(list(range(STEPS))) == [[0, 1, 2], [3], [4, 5, 6, 7]]


def test_a_second_mask_hides_more_and_uncovers_nothing(data):
    masked = data.with_mask(np.arange(STEPS) != 0)
    assert masked.mask.tolist() == [t not in (0, 5) for t in range(STEPS)]
    assert masked.emissions[0] == masked.emissions[5] == data.emissions[1]
    assert data.with_mask(np.ones(STEPS, bool)).mask.tolist() == data.mask.tolist()


def test_a_mask_over_outputs_and_one_over_steps_meet():
    data = Sequences([[1.0, np.nan], [2.0, 3.0], [4.0, 5.0]])
    masked = data.with_mask([True, True, False])
    assert masked.mask.tolist() == [[True, False], [True, True], [False, False]]
    assert masked.emissions.tolist() == [[1.0, 3.0], [2.0, 3.0], [1.0, 3.0]]
    data = Sequences([[1.0, 2.0]] * 3, mask=[True, True, False])
    masked = data.with_mask([[True, True], [False, True], [True, True]])
    assert masked.mask.tolist() == [[True, True], [False, True], [False, False]]


def test_replaced_emissions_leave_all_else_and_what_was_masked(data):
    changed = data.replace(emissions=torch.zeros(STEPS, dtype=torch.int64))
    assert changed.emissions.tolist() == [0] * STEPS
    assert_same(changed.replace(emissions=data.emissions), data)


def test_replaced_covariates_are_named_anew(data):
    changed = data.replace(covariates=np.ones((STEPS, 3)))
    assert changed.covariate_names == ("x0", "x1", "x2")
    assert changed.transition_covariate_names == ("u0",)


def test_an_intercept_is_added_last_to_every_design(data):
    with_intercept = data.add_intercept()
    assert with_intercept.covariate_names == ("x0", "x1", "intercept")
    assert with_intercept.transition_covariate_names == ("u0", "intercept")
    assert with_intercept.initial_covariate_names == ("v0", "v1", "intercept")
    assert torch.equal(with_intercept.covariates[:, :2], data.covariates)
    assert (with_intercept.covariates[:, 2] == 1).all()


def test_an_intercept_may_be_added_to_one_of_two_shared_designs():
    data = Sequences([0, 1], [[1.0], [2.0]]).add_intercept(["transition_covariates"])
    assert data.covariates.tolist() == [[1.0], [2.0]]
    assert data.transition_covariates.tolist() == [[1.0, 1.0], [2.0, 1.0]]


def test_an_intercept_is_never_added_twice(data):
    with pytest.raises(ValueError, match="second intercept.*'intercept'"):
        data.add_intercept().add_intercept()
    with pytest.raises(ValueError, match="second intercept.*'bias'"):
        Sequences([0, 1], [[2.0], [2.0]], covariate_names=["bias"]).add_intercept()


def test_a_single_row_has_no_constant_column_unless_named_so():
    data = Sequences([0], [[2.0]]).add_intercept()
    assert data.covariates.tolist() == [[2.0, 1.0]]
    with pytest.raises(ValueError, match="second intercept"):
        data.add_intercept()


def test_another_floating_type_leaves_classes_and_masks_alone(data):
    single = data.to(torch.float32)
    assert single.dtype == single.initial_covariates.dtype == torch.float32
    assert single.emissions.dtype == single.lengths.dtype == torch.int64
    assert single.mask.dtype == torch.bool
    assert data.dtype == torch.float64


def test_the_summary_names_what_is_in_the_data(data):
    assert repr(data).splitlines() == [
        "Sequences: 3 sessions of 1 to 4 steps, 8 steps in all",
        "  emissions: y (classes left, middle, right)",
        "  masked: 1 of 8 entries",
        "  covariates: x0, x1",
        "  transition covariates: u0",
        "  initial covariates: v0, v1",
    ]
