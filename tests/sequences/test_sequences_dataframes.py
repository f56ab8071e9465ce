"""Data frames of polars and pyarrow give what those of pandas give."""

import builtins

import numpy as np
import pandas as pd
import pytest
import torch

from glmhmm_pyro.covariates import Design, Intercept, PreviousChoice, Standardised
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.dataframes import as_pandas

pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")

COLUMNS = {
    "animal": ["m1", "m1", "m1", "m2", "m2"],
    "day": [1, 1, 2, 2, 2],
    "side": [None, "right", "left", "left", "right"],
    "count": [3, None, 0, 1, 2],
    "went": [True, None, False, True, True],
    "rt": [0.5, None, 0.25, 1.0, 2.0],
    "contrast": [0.0, 1.0, -1.0, 0.5, 0.0],
    "valid": [True, True, True, False, True],
}
FRAMES = [pl.DataFrame, pa.table]


def nullable():
    """The same in pandas, whole numbers and booleans kept where some are missing."""
    return pd.DataFrame(COLUMNS).astype({"count": "Int64", "went": "boolean"})


def same(one, other):
    for field in ("emissions", "covariates", "lengths", "mask", "initial_covariates"):
        found, expected = getattr(one, field), getattr(other, field)
        assert (found is None) == (expected is None), field
        if found is not None:
            assert found.dtype == expected.dtype and torch.equal(found, expected), field
    for field in ("session_names", "class_names", "covariate_names", "groups"):
        assert getattr(one, field) == getattr(other, field), field


@pytest.mark.parametrize("make", FRAMES)
@pytest.mark.parametrize("emissions", ["side", "count", "went", "rt", ["rt", "count"]])
def test_every_kind_of_column_is_read_alike(make, emissions):
    told = {
        "session": ["animal", "day"],
        "group": "animal",
        "emissions": emissions,
        "covariates": ["contrast", "valid"],
        "initial_covariates": "contrast",
        "mask": "valid",
        "time": "day",
    }
    same(
        Sequences.from_dataframe(make(COLUMNS), **told),
        Sequences.from_dataframe(nullable(), **told),
    )


@pytest.mark.parametrize("make", FRAMES)
def test_a_design_reads_and_transforms_them(make):
    def made(frame):
        design = Design(Standardised("contrast"), PreviousChoice("side"), Intercept())
        data = design.sequences(frame, session="day", emissions="side")
        return data, design.transform(frame)

    one, table = made(make(COLUMNS))
    other, expected = made(nullable())
    same(one, other)
    pd.testing.assert_frame_equal(table, expected)


def test_categories_keep_their_order_where_they_have_one():
    labels, order = ["b", "a", None, "b"], ["c", "b", "a"]
    enum = pl.Series(labels, dtype=pl.Enum(order))
    categorical = pa.array(pd.Categorical(labels, order))
    for frame in (pl.DataFrame({"y": enum}), pa.table({"y": categorical})):
        data = Sequences.from_dataframe(frame, session=None, emissions="y")
        assert data.class_names == ("c", "b", "a")
        assert data.emissions[data.mask].tolist() == [1, 2, 1]
    # Those of polars that are no Enum stand in the order of their coming.
    frame = pl.DataFrame({"y": pl.Series(labels, dtype=pl.Categorical)})
    data = Sequences.from_dataframe(frame, session=None, emissions="y")
    assert data.class_names == ("a", "b")


def test_large_whole_numbers_dates_and_times_are_kept():
    large = 2**60 + 1
    frame = pl.DataFrame({"n": [large, None]}).with_columns(
        day=pl.date(2026, 1, 2), at=pl.datetime(2026, 1, 2, 3)
    )
    read = as_pandas(frame)
    assert read["n"].tolist()[0] == large and pd.isna(read["n"][1])
    assert str(read["day"][0]) == "2026-01-02"
    assert read["at"].dtype.kind == "M"


def test_polars_is_read_without_pyarrow(monkeypatch):
    plain = builtins.__import__

    def refuses(name, *rest, **more):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError("no pyarrow here")
        return plain(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuses)
    read = as_pandas(pl.DataFrame(COLUMNS))
    assert read["count"].tolist()[0] == 3 and read["rt"].dtype == float


def test_what_is_no_table_of_values_is_refused_in_a_sentence():
    told = {"session": None, "emissions": "side"}
    with pytest.raises(TypeError, match="polars or pyarrow.*LazyFrame; give.*collect"):
        Sequences.from_dataframe(pl.DataFrame(COLUMNS).lazy(), **told)
    with pytest.raises(TypeError, match="got a ndarray; make one by pandas"):
        Sequences.from_dataframe(np.ones(3), **told)
    with pytest.raises(TypeError, match="got LazyFrame; give data.collect"):
        Design("contrast").fit(pl.DataFrame(COLUMNS).lazy(), session=None)
    frame = nullable()
    assert as_pandas(frame) is frame
