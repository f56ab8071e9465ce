"""Data frames of other kinds than pandas, read through narwhals."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import narwhals as nw
    from narwhals.typing import IntoDataFrame


def as_pandas(df: "IntoDataFrame | Sequence[Any]") -> Any:
    """A data frame of polars, pyarrow or another kind that narwhals knows, as pandas'.

    A frame of pandas is given back itself, and so is whatever is no data frame, or one
    that is yet to be computed.
    """
    if hasattr(df, "iloc") or isinstance(df, (list, tuple, dict)):
        return df
    import narwhals as nw
    import pandas as pd

    frame = nw.from_native(df, eager_only=True, pass_through=True)
    if not isinstance(frame, nw.DataFrame):
        return df
    return pd.DataFrame({name: _column(frame[name]) for name in frame.columns})


def _column(series: "nw.Series[Any]") -> Any:
    """Values of a column; whole numbers and booleans stay so where some are missing."""
    import narwhals as nw
    import pandas as pd

    dtype, missing = series.dtype, series.null_count() > 0
    if dtype == nw.Enum:
        return pd.Categorical(series.to_list(), list(dtype.categories))
    if dtype == nw.Categorical and series.implementation.is_pyarrow():
        return series.to_native().to_pandas()
    if missing and dtype.is_integer():
        return pd.array(series.to_list(), dtype="Int64")
    if missing and dtype == nw.Boolean:
        return pd.array(series.to_list(), dtype="boolean")
    if dtype.is_numeric() or dtype in (nw.Boolean, nw.Datetime, nw.Duration):
        return series.to_numpy()
    return series.to_list()
