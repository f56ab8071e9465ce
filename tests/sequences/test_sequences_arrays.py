"""What holds numbers is read as it is meant, whatever holds it."""

import numpy as np
import pandas as pd
import pytest
import torch

import glmhmm_pyro as gh

S = gh.Sequences
T, F = True, False


class Frame:
    """What a data frame of another library offers: columns, and arrays of them."""

    columns = ["a", "b"]
    shape = (3, 2)

    def get_columns(self):
        """Two columns, the second with a gap."""
        return [Column([1, 2, 3]), Column([1.5, np.nan, 2.5])]


class Column:
    """A column of such a frame."""

    dtype = "a type of its own"

    def __init__(self, values):
        self.values = values

    def to_numpy(self):
        """Its values."""
        return np.array(self.values)


class Recording:
    """Like a time series with a frame's columns: an array by numpy's protocol."""

    columns = ["a", "b"]
    shape = (3, 2)

    def __array__(self, dtype=None, copy=None):
        return np.array([[1.0, 1.5], [2.0, 1.25], [3.0, 2.5]])


VALUES = {
    "big-endian whole numbers": (np.array([0, 1, 1], ">i4"), [0, 1, 1], torch.int64),
    "big-endian numbers": (np.array([0.5, 1, 2], ">f8"), [0.5, 1, 2], torch.float64),
    "long double": (np.array([0.5, 1, 2], np.longdouble), [0.5, 1, 2], torch.float64),
    "half precision": (np.array([0.5, 1, 2], np.float16), [0.5, 1, 2], torch.float64),
    "unsigned": (np.array([0, 1, 200], np.uint8), [0, 1, 200], torch.int64),
    "large and unsigned": (np.array([0, 2**40], np.uint64), [0, 2**40], torch.int64),
    "a generator": ((i for i in [0, 1, 1]), [0, 1, 1], torch.int64),
    "a map": (map(float, "012"), [0.0, 1.0, 2.0], torch.float64),
    "a range": (range(3), [0, 1, 2], torch.int64),
    "a view backwards": (np.arange(3)[::-1], [2, 1, 0], torch.int64),
    "a sparse column": (
        pd.Series(pd.arrays.SparseArray([0.0, 0.5, 0.0])),
        [0, 0.5, 0],
        torch.float64,
    ),
    "numpy numbers": ([np.int64(1), np.int8(0)], [1, 0], torch.int64),
    "tensors of one number": (
        [torch.tensor(1.5), torch.tensor(0.0)],
        [1.5, 0],
        torch.float64,
    ),
    "a tensor of half precision": (
        torch.tensor([1.5, 0], dtype=torch.bfloat16),
        [1.5, 0],
        torch.float64,
    ),
    "objects": (np.array([0, 1], dtype=object), [0, 1], torch.int64),
}


@pytest.mark.parametrize("name", VALUES)
def test_emissions_of_any_type_are_the_same_numbers(name):
    values, wanted, dtype = VALUES[name]
    data = S(values)
    assert data.emissions.tolist() == wanted and data.emissions.dtype == dtype


@pytest.mark.parametrize(
    "values, mask, dtype",
    [
        (np.ma.masked_array([0, 7, 1], mask=[F, T, F]), [T, F, T], torch.int64),
        (
            np.ma.masked_array([0.0, np.inf, 1], mask=[F, T, F]),
            [T, F, T],
            torch.float64,
        ),
        (
            np.ma.masked_array([0.5, 9, np.nan], mask=[F, T, F]),
            [T, F, F],
            torch.float64,
        ),
        (np.ma.masked_array(["a", "?", "b"], mask=[F, T, F]), [T, F, T], torch.int64),
        (np.ma.masked_array([T, F, F], mask=[F, T, F]), [T, F, T], torch.int64),
        (pd.Series([0, None, 1], dtype="Int64"), [T, F, T], torch.int64),
        (pd.Series([0.5, None, 1], dtype="Float64"), [T, F, T], torch.float64),
        (pd.Series(["a", None, "b"], dtype="string"), [T, F, T], torch.int64),
    ],
)
def test_what_is_masked_in_its_array_is_masked(values, mask, dtype):
    before = values.copy()
    for data in (S(values), S.from_lists([values[:2], values[2:]])):
        assert data.mask.tolist() == mask and data.emissions.dtype == dtype
        if data.class_names:
            assert data.class_names == ("a", "b")
    # What stands below the mask changes no number.
    assert data.emissions[1] == data.emissions[0]
    assert (
        values.equals(before)
        if hasattr(values, "equals")
        else (
            values.tobytes() == before.tobytes() and (values.mask == before.mask).all()
        )
    )


def test_masked_outputs_are_masked_one_by_one():
    values = np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], mask=[[F, T], [F, F]])
    assert S(values).mask.tolist() == [[T, F], [T, T]]
    assert S(values, mask=np.array([[T, F], [F, T]])).mask.tolist() == [[T, F], [F, T]]
    with pytest.raises(ValueError, match="a value wherever mask is True, got 1"):
        S(values, mask=np.ones((2, 2), bool))


def test_a_masked_array_that_masks_nothing_is_an_array():
    bare = np.ma.masked_array([0, 1, 1])
    data = S(bare, np.ma.masked_array([[1.0], [2.0], [3.0]]))
    assert data.mask is None and data.emissions.dtype == torch.int64
    assert data.covariates.flatten().tolist() == [1, 2, 3]


def test_a_fit_does_not_read_what_an_array_masks():
    """The likelihood is that of the observed emissions, as with a mask given."""
    y = np.array([0, 1, 1, 0, 1, 1, 0, 0])
    hidden = np.arange(8) % 3 == 1
    spoilt = np.ma.masked_array(np.where(hidden, 1 - y, y), mask=hidden)
    options = {"num_restarts": 1, "progress": False}
    model = gh.GLMHMM(1, gh.Bernoulli())
    found = gh.fit(model, S(spoilt), **options)
    rate = y[~hidden].mean()
    observed = y[~hidden]
    wanted = np.log(np.where(observed, rate, 1 - rate)).sum()
    assert found.log_likelihood == pytest.approx(wanted, abs=1e-8)


def test_frames_of_other_libraries_are_read_by_their_columns():
    data = S([0, 1, 1], Recording())
    assert data.covariate_names == ("a", "b")
    assert data.covariates.tolist() == [[1.0, 1.5], [2.0, 1.25], [3.0, 2.5]]
    several = S(Frame())
    assert several.emission_names == ("a", "b")
    assert several.mask.tolist() == [[T, T], [T, F], [T, T]]
    with pytest.raises(ValueError, match="covariates must be finite.*'b'.*row 1"):
        S([0, 1, 1], Frame())


def test_frames_and_columns_of_polars():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1, 2, 3], "b": [1.5, None, 2.5]})
    assert S(frame).mask.tolist() == [[T, T], [T, F], [T, T]]
    data = S(polars.Series("side", ["l", None, "r"]), frame[["a"]])
    assert data.emission_names == ("side",) and data.covariate_names == ("a",)
    assert data.mask.tolist() == [T, F, T] and data.class_names == ("l", "r")
    with pytest.raises(TypeError, match="must hold its values.*LazyFrame.*collect"):
        S([0, 1, 1], frame.lazy())


def test_sessions_are_chosen_by_any_whole_numbers_and_by_names():
    data = S(
        [0, 1, 1], lengths=np.array([1, 1, 1], np.uint8), session_names=list("abc")
    )
    for chosen in (
        [np.int8(2), "a"],
        (i for i in (2, 0)),
        torch.tensor([2, 0]),
        np.array([2, 0], np.uint16),
        pd.Series([2, 0]),
        [-1, -3],
        ["c", 0],
    ):
        assert data.subset(chosen).session_names == ("c", "a")
    assert data.subset(torch.tensor(1)).session_names == ("b",)
    assert data.subset([np.True_, np.False_, True]).session_names == ("a", "c")


def test_data_made_while_torch_infers_can_be_fitted():
    with torch.inference_mode():
        data = S([0, 1, 1, 0], [[1.0], [2.0], [1.0], [0.5]])
    assert not data.covariates.is_inference()


def test_times_in_their_order_pass():
    frame = pd.DataFrame(
        {"s": [1, 1, 2], "t": pd.to_datetime(["2020", "2021", "2019"]), "y": [0, 1, 1]}
    )
    data = S.from_dataframe(frame, session="s", emissions="y", time="t")
    assert data.lengths.tolist() == [2, 1]
    whole = frame.sort_values("t")
    assert S.from_dataframe(whole, session=None, emissions="y", time="t").num_steps == 3
