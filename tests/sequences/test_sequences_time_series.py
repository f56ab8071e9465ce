"""Time series with epochs become sessions; a stand-in has pynapple's interface."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from glmhmm_pyro.sequences import Sequences


@dataclass
class IntervalSet:
    """Epochs, as pynapple has them."""

    start: Any
    end: Any


@dataclass
class Tsd:
    """A time series of one column, as pynapple has it."""

    t: Any
    d: Any
    time_support: Any = None


@dataclass
class TsdFrame(Tsd):
    """A time series of several columns."""

    columns: Any = None


T = np.arange(10) / 10
SPIKES = TsdFrame(
    T, np.arange(20).reshape(10, 2), IntervalSet([0.0], [1.0]), ["a", "b"]
)
RUNS = IntervalSet(np.array([0.1, 0.55]), np.array([0.4, 0.8]))


def test_an_epoch_is_a_session_and_the_rest_is_left_out():
    speed = Tsd(T, T * 2)
    data = Sequences.from_time_series(
        SPIKES, speed, epochs=RUNS, session_names=["out", "back"]
    )
    rows = [1, 2, 3, 4, 6, 7, 8]
    assert data.lengths.tolist() == [4, 3]
    assert data.session_names == ("out", "back")
    assert data.emission_names == ("a", "b")
    np.testing.assert_array_equal(data.emissions, SPIKES.d[rows])
    np.testing.assert_array_equal(data.covariates[:, 0], 2 * T[rows])
    other = Sequences.from_time_series(SPIKES, speed, epochs=[[0.1, 0.4], [0.55, 0.8]])
    np.testing.assert_array_equal(other.emissions, data.emissions)


def test_the_time_support_is_the_default():
    support = IntervalSet([0.5, 0.0], [0.9, 0.2])
    data = Sequences.from_time_series(Tsd(T, np.arange(10), support))
    # In the order of the epochs, not of time.
    assert data.emissions.tolist() == [5, 6, 7, 8, 9, 0, 1, 2]
    assert data.lengths.tolist() == [5, 3]
    assert Sequences.from_time_series(Tsd(T, np.arange(10))).num_sessions == 1


class ArrayOfEpochs(np.ndarray):
    """Numbers that know their epochs, as pynapple's series do."""

    time_support = RUNS


def test_epochs_are_not_joined_to_one_session():
    series = np.arange(7.0).view(ArrayOfEpochs)
    with pytest.raises(ValueError, match="a time series of 2 epochs.*from_time_series"):
        Sequences(series)
    assert Sequences(series, lengths=[4, 3]).num_sessions == 2


def test_a_step_between_two_epochs_belongs_to_the_first():
    data = Sequences.from_time_series(
        Tsd(T, np.arange(10)), epochs=[[0.5, 0.9], [0.0, 0.5]]
    )
    assert data.emissions.tolist() == [6, 7, 8, 9, 0, 1, 2, 3, 4, 5]


def test_names_of_columns_are_those_of_the_series():
    covariates = TsdFrame(T, np.ones((10, 2)) * T[:, None], None, ["speed", "turn"])
    moves = TsdFrame(T, np.ones((10, 1)), None, ["one"])
    data = Sequences.from_time_series(
        Tsd(T, np.arange(10)), covariates, transition_covariates=moves
    )
    assert data.covariate_names == ("speed", "turn")
    assert data.transition_covariate_names == ("one",)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: ([1, 2, 3],), TypeError, "times t and values d, got a list"),
        (lambda: (Tsd([0, 0, 1], [1, 2, 3]),), ValueError, "go up from step to step"),
        (lambda: (Tsd(T, [1, 2]),), ValueError, "each of its 10 times, got 2"),
        (
            lambda: (SPIKES, Tsd(T + 0.05, T)),
            ValueError,
            "covariates must have the times of emissions.*value_from",
        ),
        (lambda: (SPIKES, Tsd(T[:4], T[:4])), ValueError, "10 of them, got 4 others"),
    ],
)
def test_what_is_no_series_at_these_times_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        Sequences.from_time_series(*call())


@pytest.mark.parametrize(
    "epochs, error, words",
    [
        ([[0.0, 0.5], [0.3, 0.9]], ValueError, "not overlap"),
        ([[0.5, 0.1]], ValueError, "end after they start"),
        ([[0.0, 0.5], [5.0, 6.0]], ValueError, "none in epoch 1; leave it out"),
        ("all", TypeError, "start and end, or be an array"),
    ],
)
def test_epochs_that_are_none_are_refused(epochs, error, words):
    with pytest.raises(error, match=words):
        Sequences.from_time_series(SPIKES, epochs=epochs)


def test_a_mask_has_an_entry_for_every_step_of_the_emissions():
    """Also where epochs stand in another order than times."""
    epochs, seen = [[0.5, 0.7], [0.0, 0.2]], np.ones(10, dtype=bool)
    seen[[1, 6, 9]] = False
    for mask in (seen, Tsd(T, seen)):
        data = Sequences.from_time_series(
            Tsd(T, np.arange(10)), epochs=epochs, mask=mask
        )
        assert data.mask.tolist() == [True, False, True, True, False, True]
        assert data.emissions[data.mask].tolist() == [5, 7, 0, 2]


@pytest.mark.parametrize(
    "options, words",
    [
        ({"lengths": [5, 5]}, "lengths must be left out.*got .5, 5.; give epochs"),
        ({"mask": [True] * 4}, "mask must have an entry for each of the 10 steps"),
        ({"mask": Tsd(T + 0.5, T > 0)}, "mask must have the times of emissions"),
        ({"epochs": IntervalSet([], [])}, "epochs must hold at least one, got none"),
    ],
)
def test_options_that_epochs_decide_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Sequences.from_time_series(Tsd(T, np.arange(10)), **options)
