"""Lagged signals, and what else is made as it is read, against their definitions."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.covariates import (
    BSpline,
    Design,
    Intercept,
    Lags,
    PreviousChoice,
    RaisedCosine,
    Standardised,
)
from glmhmm_pyro.designs import (
    Blocks,
    Dense,
    Joined,
    Lagged,
    Repeated,
    Stacked,
    lagged,
    on_disk,
    streamed,
)
from glmhmm_pyro.sequences.leaks import LeakageWarning

LENGTHS = [7, 1, 12, 3]


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch):
    """Small designs stream like large ones; pieces are shorter than sessions."""
    monkeypatch.setattr(streamed, "_KEPT_NUMBERS", 0)
    monkeypatch.setattr(lagged, "_PIECE", 5)


def rng():
    return np.random.default_rng(0)


def by_definition(signals, first_lag, filters):
    """Signals at lags within their sessions, step by step."""
    rows, start = [], 0
    for length in LENGTHS:
        for t in range(length):
            row = []
            for signal in signals.T:
                lags = range(first_lag, first_lag + len(filters))
                past = [signal[start + t - lag] if t >= lag else 0.0 for lag in lags]
                row.extend(filters.T @ np.array(past))
            rows.append(row)
        start += length
    return np.array(rows)


@pytest.mark.parametrize("many_lags", (1, 1000), ids=("fourier", "shifts"))
@pytest.mark.parametrize("first_lag", (0, 2))
@pytest.mark.parametrize("bases", (None, 2))
def test_lagged_signals_are_those_of_their_definition(
    monkeypatch, many_lags, first_lag, bases
):
    monkeypatch.setattr(lagged, "_MANY_LAGS", many_lags)
    draw, lags = rng(), 4
    signals = draw.normal(size=(sum(LENGTHS), 3))
    filters = np.eye(lags) if bases is None else draw.normal(size=(lags, bases))
    design = Lagged(
        torch.from_numpy(signals),
        LENGTHS,
        lags,
        first_lag,
        None if bases is None else torch.from_numpy(filters),
    )
    matrix = by_definition(signals, first_lag, filters)
    assert design.shape == matrix.shape
    np.testing.assert_allclose(design.dense(), matrix, atol=1e-13)
    steps = torch.tensor([3, 22, 0, 8])
    np.testing.assert_allclose(design.read(steps), matrix[steps], atol=1e-13)
    weights = torch.from_numpy(draw.normal(size=(2, matrix.shape[1], 3)))
    residuals = torch.from_numpy(draw.normal(size=(2, 2, len(matrix))))
    np.testing.assert_allclose(design @ weights, matrix @ weights.numpy(), atol=1e-12)
    np.testing.assert_allclose(
        residuals @ design, residuals.numpy() @ matrix, atol=1e-12
    )
    moments = np.einsum("abt,tf,tg->abfg", residuals, matrix, matrix)
    np.testing.assert_allclose(design.gram(residuals), moments, atol=1e-11)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_products_of_a_stream_are_mapped_and_differentiated_forwards():
    design = Lagged(torch.from_numpy(rng().normal(size=(23, 2))), LENGTHS, 3)
    weights = torch.from_numpy(rng().normal(size=(4, 6, 2)))
    rows = torch.func.vmap(lambda w: design @ w)(weights)
    np.testing.assert_allclose(rows, design.dense() @ weights, atol=1e-13)
    _, along = torch.func.jvp(lambda w: design @ w, (weights[0],), (weights[1],))
    np.testing.assert_allclose(along, design.dense() @ weights[1], atol=1e-13)
    residuals = torch.from_numpy(rng().normal(size=(4, 23)))
    sums = torch.func.vmap(lambda r: r @ design)(residuals)
    np.testing.assert_allclose(sums, residuals @ design.dense(), atol=1e-13)


SOURCES = {
    "array": lambda folder, rows: rows,
    "npy": lambda folder, rows: _saved(folder / "rows.npy", rows),
    "zarr": lambda folder, rows: _zarr(folder / "rows.zarr", rows),
    "parquet": lambda folder, rows: _parquet(folder / "rows.parquet", rows),
}


def _saved(path, rows):
    np.save(path, rows)
    return path


def _zarr(path, rows):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(str(path), shape=rows.shape, chunks=(7, 2), dtype="f8")
    array[:] = rows
    return path


def _parquet(path, rows):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(rows, columns=["a", "b", "c"])
    frame.to_parquet(path, row_group_size=6)
    return path


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_rows_on_disk_are_read_in_blocks(source, tmp_path, monkeypatch):
    monkeypatch.setattr(on_disk, "_BLOCK_NUMBERS", 15)
    rows = rng().normal(size=(sum(LENGTHS), 3))
    names = ("a", "b", "c")
    design = Blocks(source(tmp_path, rows), names)
    assert design.names == names and design.shape == rows.shape
    assert len(design.edges) > 3
    np.testing.assert_array_equal(design.dense(), rows)
    for part in (slice(0, 5), slice(4, 6), slice(5, 23), slice(22, 23), slice(3, 3)):
        np.testing.assert_array_equal(design.read(part), rows[part])
    steps = torch.tensor([22, 0, 5, 4, 5])
    np.testing.assert_array_equal(design.read(steps), rows[steps])
    residuals = torch.from_numpy(rng().normal(size=(2, len(rows))))
    np.testing.assert_allclose(residuals @ design, residuals.numpy() @ rows, atol=1e-13)
    again = pickle.loads(pickle.dumps(design))
    np.testing.assert_array_equal(again.dense(), rows)
    stack = Stacked([design, Dense(torch.ones(len(rows), 1).double(), ("one",))])
    data = gh.Sequences([0, 1] * 11 + [0], stack, lengths=LENGTHS)
    assert data.covariate_names == ("a", "b", "c", "one")
    np.testing.assert_array_equal(data[[2, 0]].covariates[:12, :3], rows[8:20])


def test_some_columns_of_a_table_are_read(tmp_path):
    path = _parquet(tmp_path / "rows.parquet", rng().normal(size=(9, 3)))
    whole = pd.read_parquet(path)
    np.testing.assert_array_equal(Blocks(path, ["c", "a"]).dense(), whole[["c", "a"]])
    assert Blocks(path).names == ("a", "b", "c")


def test_a_source_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="source must be a path that ends in .npy"):
        Blocks(tmp_path / "rows.csv")
    with pytest.raises(FileNotFoundError, match="source must be a path that there is"):
        Blocks(tmp_path / "rows.npy")
    with pytest.raises(ValueError, match="source must have shape .steps, features."):
        Blocks(np.zeros(3))


def test_steps_are_silenced_but_in_columns_that_are_nothing_elsewhere():
    rows = torch.tensor([[1.0, 5.0], [2.0, 0.0], [3.0, 0.0], [4.0, 6.0]]).double()
    steps = torch.tensor([0, 3])
    expected = [[0, 5], [2, 0], [3, 0], [0, 6]]
    weights, residuals = torch.randn(2, 3).double(), torch.randn(2, 4).double()
    for base in (
        Dense(rows),
        Repeated(rows, torch.arange(4)),
        streamed.Changed(Dense(rows), torch.clone, None),
    ):
        silent = base.silenced(steps)
        assert silent.dense().tolist() == expected
        dense = torch.tensor(expected).double()
        np.testing.assert_allclose(silent @ weights, dense @ weights, atol=1e-14)
        np.testing.assert_allclose(residuals @ silent, residuals @ dense, atol=1e-14)


def test_parts_that_do_not_fit_together_are_refused():
    parts = [Dense(torch.zeros(3, 1)), Dense(torch.zeros(4, 1))]
    with pytest.raises(ValueError, match="parts must all have 3 steps .* got 4"):
        Stacked(parts)


def trials():
    draw, steps = rng(), sum(LENGTHS)
    days = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    return pd.DataFrame(
        {
            "day": days,
            "animal": days // 2,
            "a": draw.normal(size=steps),
            "b": draw.normal(size=steps),
            "y": draw.integers(2, size=steps),
        }
    )


def design():
    return Design(
        Lags("a", 3, first_lag=1),
        Lags("b", 3, first_lag=1),
        RaisedCosine("a", 2, 5, name="bump"),
        Standardised(BSpline("b", 4, 6, name="spline")),
        PreviousChoice("y"),
        Intercept(),
    )


def both(**options):
    """The same data with their covariates as an array, and streamed."""
    told = {"session": "day", "emissions": "y", "group": "animal"} | options
    return [design().sequences(trials(), **told, as_array=how) for how in (True, False)]


def test_a_design_is_lagged_where_that_is_asked_for_or_the_array_is_large(monkeypatch):
    array, lazy = both()
    assert "covariates" not in vars(lazy) and lazy._transitions_share_covariates
    assert lazy.covariate_names == array.covariate_names
    assert lazy.operator("covariates").is_streamed
    np.testing.assert_allclose(lazy.covariates, array.covariates, atol=1e-13)
    np.testing.assert_allclose(lazy.transition_covariates, array.covariates, atol=1e-13)
    assert (lazy.num_features, lazy.dtype) == (array.num_features, array.dtype)
    told = {"session": "day", "emissions": "y"}
    by_default = design().sequences(trials(), **told)
    assert not by_default.operator("covariates").is_streamed
    monkeypatch.setattr("glmhmm_pyro.covariates.lagging.LARGEST_ARRAY", 100)
    large = gh.Sequences.from_dataframe(trials(), **told, covariates=design())
    assert large.operator("covariates").is_streamed


CHANGES = {
    "sessions": lambda data: data[[2, 0]],
    "one session": lambda data: data["1"],
    "type": lambda data: data.to(torch.float32),
    "emissions": lambda data: data.replace(emissions=1 - data.emissions),
    "names": lambda data: data.replace(
        covariates=data.covariates, covariate_names=list("abcdefghijklmn")
    ),
    "mask": lambda data: data.with_mask(data.emissions == 1),
    "raw": lambda data: data.with_raw({"a": 1.0}),
    "learnt anew": lambda data: data.refit_design([0, 2]),
    "end to end": lambda data: gh.Sequences.concatenate([data[[3]], data[[0, 1]]]),
    "weights": lambda data: data.weighted([1.0, 2.0, 3.0, 4.0]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_data_that_stream_change_as_others_do(change):
    array, lazy = map(change, both())
    assert array.covariate_names == lazy.covariate_names
    assert array.session_names == lazy.session_names
    for name in ("covariates", "transition_covariates"):
        one, other = getattr(array, name), getattr(lazy, name)
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, atol=1e-6 if one.itemsize < 8 else 1e-12)
        products = [
            d.operator(name) @ d.operator(name).dense().T for d in (array, lazy)
        ]
        np.testing.assert_allclose(*products, atol=1e-4 if one.itemsize < 8 else 1e-11)
    pd.testing.assert_frame_equal(array.to_dataframe(), lazy.to_dataframe())


def test_an_intercept_is_added_to_a_stream():
    told = {"session": "day", "emissions": "y"}
    lazy = Design(Lags("a", 2)).sequences(trials(), **told, as_array=False)
    added = lazy.add_intercept()
    assert added.operator("covariates").is_streamed
    assert added.covariate_names == ("a_lag0", "a_lag1", "intercept")
    assert added.covariates[:, 2].tolist() == [1.0] * sum(LENGTHS)
    with pytest.raises(ValueError, match="second intercept"):
        both()[1].add_intercept()


def test_an_operator_is_checked_as_an_array_is():
    signal = torch.tensor([[1.0], [2.0], [3.0]])
    data = gh.Sequences([0, 1, 1], Lagged(signal, [3], 2), lengths=[3])
    assert data.covariate_names == ("x0", "x1") and data.dtype == torch.float64
    named = Lagged(signal, [3], 2, names=("now", "before"))
    assert gh.Sequences([0, 1, 1], named).covariate_names == ("now", "before")
    with pytest.raises(ValueError, match="covariates must have one row for each of"):
        gh.Sequences([0, 1], Lagged(signal, [3], 2))
    with pytest.raises(ValueError, match="must be finite, got .* column 'before'"):
        signal[0] = torch.inf
        gh.Sequences([0, 1, 1], Lagged(signal, [3], 1, first_lag=1, names=("before",)))


def test_lags_of_other_sessions_are_refused():
    """Whatever is made of the design knows the sessions that it was made for."""
    signal = torch.tensor([[1.0], [2.0], [3.0]])
    made = Lagged(signal, [2, 1], 2)
    changed = {
        "as it is": made,
        "in units": made.moved(torch.zeros(2), torch.ones(2)),
        "some columns": made.columns([0]),
        "silenced": made.silenced(torch.tensor([0])),
        "beside others": Stacked([Dense(torch.ones(3, 1)), made]),
        "end to end": Joined([Lagged(signal[:2], [2], 2), Lagged(signal[2:], [1], 2)]),
    }
    for design in changed.values():
        assert gh.Sequences([0, 1, 1], design, lengths=[2, 1]).num_sessions == 2
        for wrong in ([1, 2], None):
            with pytest.raises(ValueError, match=r"lengths .*, got a design for .2, 1"):
                gh.Sequences([0, 1, 1], design, lengths=wrong)
    data = gh.Sequences([0, 1, 1], transition_covariates=made, lengths=[2, 1])
    with pytest.raises(ValueError, match="transition_covariates must be made for ses"):
        data.replace(lengths=[3])
    with pytest.raises(ValueError, match=r"parts must be made for the same .*1, 2"):
        Stacked([made, Lagged(signal, [1, 2], 2)])


def test_a_choice_that_leaks_is_seen_in_a_stream():
    frame = trials().assign(y=[0, 1] * 11 + [0], day=np.arange(23) // 3)
    leaky = frame["y"].shift(1).where(frame["day"].diff() == 0, frame["y"])
    frame = frame.assign(last=leaky)
    with pytest.warns(LeakageWarning, match="last"):
        Design(Lags("last", 1)).sequences(
            frame, session="day", emissions="y", as_array=False
        )


@pytest.mark.parametrize(
    "change, words",
    [
        ({"lengths": [3, 3]}, "lengths must be steps.*5 in all.*got .3, 3."),
        ({"lengths": [5, 0]}, "lengths must be steps of every session"),
        ({"num_lags": 0}, "num_lags must be at least 1, got 0"),
        ({"first_lag": -1}, "first_lag must be at least 0, got -1"),
        ({"signals": np.ones((5, 1))}, "signals must be a tensor.*got a ndarray"),
        ({"signals": torch.ones(5)}, r"signals must be a tensor.*\(5,\)"),
        ({"filters": torch.ones(3, 2)}, "filters must have shape.*2 lags.*3, 2"),
    ],
)
def test_what_cannot_be_lagged_is_named(change, words):
    given = {"signals": torch.ones(5, 1), "lengths": [3, 2], "num_lags": 2}
    with pytest.raises(ValueError, match=words):
        Lagged(**given | change)
