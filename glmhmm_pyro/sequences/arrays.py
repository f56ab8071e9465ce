"""Whatever holds numbers, as a numpy array: or a sentence on what it is instead.

Nothing here changes its input: arrays are copied before anything is written.
"""

from collections.abc import Iterator, Mapping, Set
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch
from numpy.typing import ArrayLike, DTypeLike
from torch import Tensor

from glmhmm_pyro.arguments import with_article

if TYPE_CHECKING:
    import pandas as pd

# What to do about values that are no real numbers, by the kind of numpy's dtype.
_REMEDIES = {
    "c": "give real and imaginary parts as two columns",
    "M": "subtract a time and divide by a unit, such as (t - t[0]) / np.timedelta64(1, "
    "'s')",
    "m": "divide by a unit, such as np.timedelta64(1, 's')",
    "U": "code each category as a 0/1 column, for example by pandas.get_dummies, or "
    "convert numbers that were read as text by astype(float)",
    "S": "turn bytes into text or numbers by astype(str) or astype(float)",
    "V": "give the fields of a structured array as columns, by "
    "numpy.lib.recfunctions.structured_to_unstructured",
    "O": "convert it by astype(float); missing values are NaN, and no covariate may be "
    "missing",
}


def plain_array(name: str, values: ArrayLike) -> np.ndarray:
    """A numpy copy of a tensor, array, list, Series or frame, whatever its type.

    What is missing (a masked array's, pandas' NA) is NaN among numbers, else None.

    Args:
        name: of the argument, for messages.
        values: anything that holds values in an order.

    Raises:
        TypeError: it holds none, or is sparse.
        ValueError: rows are of different lengths.
    """
    if isinstance(values, Iterator):
        values = list(values)
    _refuse_others(name, values)
    if isinstance(values, Tensor):
        return _of_tensor(name, values)
    if isinstance(values, np.ma.MaskedArray):
        return _of_masked(values)
    if type(values).__module__.startswith("pyarrow") and hasattr(values, "to_pandas"):
        values = values.to_pandas()
    if _is_frame(values):
        columns = [plain_array(name, column) for column in _frame_columns(values)]
        return np.stack(columns, axis=1) if columns else np.empty(values.shape)
    if hasattr(values, "to_numpy") and hasattr(values, "dtype"):
        return _native(_of_series(values))
    return _of_others(name, values)


def as_array(
    name: str, values: ArrayLike, dtype: DTypeLike | None = None
) -> np.ndarray:
    """An array of what numpy or torch can read, for callers that refuse what is wrong.

    What holds no values, such as rows of different lengths, is an array of objects
    without axes.
    """
    if isinstance(values, Tensor):
        return _of_tensor(name, values)
    try:
        return np.asarray(values, dtype)
    except (RuntimeError, TypeError, ValueError):
        return np.empty((), object)


def _of_others(name: str, values: ArrayLike) -> np.ndarray:
    """Whatever numpy can read: arrays and lists, and what calls itself an array."""
    if isinstance(values, (list, tuple)):
        values = [v.tolist() if isinstance(v, Tensor) else v for v in values]
    try:
        return _native(np.array(values))
    except OverflowError as error:
        raise ValueError(
            f"{name} must fit into 64 bits, got larger whole numbers; give floats"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{name} must be a rectangular array, got rows of different lengths; "
            "give sessions of different lengths to Sequences.from_lists"
        ) from error


def _refuse_others(name: str, values: ArrayLike) -> None:
    """Raise a TypeError for what is no dense array: sets, mappings, sparse, lazy."""
    if values is None or isinstance(values, (str, bytes, Mapping, Set)):
        fix = f"give list({name})"
        if values is None:
            fix = "give the values of all steps"
        elif isinstance(values, Mapping):
            fix = "give one of its values, or a data frame to Sequences.from_dataframe"
        elif isinstance(values, Set):
            fix = "a set has no order: give a list"
        got = "None" if values is None else with_article(type(values))
        raise TypeError(f"{name} must be an array or a list, got {got}; {fix}")
    if hasattr(values, "todense") or hasattr(values, "tocsr"):
        raise TypeError(
            f"{name} must be a dense array, got a sparse {type(values).__name__}; give "
            f"{name}.toarray()"
        )
    if hasattr(values, "collect") and hasattr(values, "collect_schema"):
        if not hasattr(values, "to_numpy"):
            raise TypeError(
                f"{name} must hold its values, got {with_article(type(values))}, which "
                f"is yet to be computed; give {name}.collect()"
            )


def _of_tensor(name: str, values: Tensor) -> np.ndarray:
    if values.layout is not torch.strided or values.is_nested:
        raise TypeError(
            f"{name} must be a dense tensor, got one of layout {values.layout}; give "
            f"{name}.to_dense()"
        )
    if values.is_meta:
        raise TypeError(
            f"{name} must be a tensor that holds values, got one on the device 'meta'; "
            "make it on the CPU"
        )
    values = values.detach().cpu()
    values = values.double() if values.is_floating_point() else values
    return values.resolve_conj().numpy().copy()


def _of_masked(values: np.ma.MaskedArray) -> np.ndarray:
    """ArrayLike of a masked array, the masked ones missing."""
    hidden = np.ma.getmaskarray(values)
    if not hidden.any():
        return _native(np.array(values.data))
    if values.dtype.kind in "biuf":
        return np.where(hidden, np.nan, values.data.astype(float))
    objects = values.data.astype(object)
    objects[hidden] = None
    return objects


def _is_frame(values: ArrayLike) -> TypeGuard["pd.DataFrame"]:
    """Whether it is a data frame: of pandas, of polars, or of a kind like these."""
    return hasattr(values, "columns") and len(getattr(values, "shape", ())) == 2


def _frame_columns(frame: "pd.DataFrame") -> list[Any]:
    """The columns of a data frame, in their order."""
    if hasattr(frame, "iloc"):
        return [frame.iloc[:, i] for i in range(frame.shape[1])]
    if hasattr(frame, "get_columns"):
        return list(frame.get_columns())
    return list(np.asarray(frame).T)


def _of_series(series: "pd.Series") -> np.ndarray:
    """ArrayLike of a Series; the missing ones of a nullable number type are NaN."""
    kind = getattr(series.dtype, "kind", "")
    if isinstance(series.dtype, np.dtype) or kind not in tuple("biuf"):
        return np.array(series.to_numpy())
    if series.isna().any():
        return series.to_numpy(dtype=float, na_value=np.nan)
    return np.array(series.to_numpy(dtype=getattr(series.dtype, "numpy_dtype", float)))


def _native(array: np.ndarray) -> np.ndarray:
    """Numbers in the machine's own order of bytes, and of at most 64 bits."""
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    if array.dtype.kind in "iufc" and not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    return array


def real_array(name: str, values: ArrayLike) -> np.ndarray:
    """A numpy copy of real numbers.

    Raises:
        TypeError: for complex numbers, times, strings and mixtures of types.
    """
    array = plain_array(name, values)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} must hold real numbers, got {described(values, array)}; "
            f"{remedy(array)}"
        )
    return array


def described(values: ArrayLike, array: np.ndarray) -> str:
    """What came, for messages: a type of ours, or that of the entries."""
    if array.ndim == 0 and array.dtype.kind == "O":
        return with_article(type(values))
    if array.dtype.kind == "O" and None in array.ravel().tolist():
        return "None among its entries"
    return f"dtype {array.dtype}"


def remedy(array: np.ndarray) -> str:
    """What to do about values that are no real numbers."""
    if array.ndim == 0 and array.dtype.kind == "O":
        return "give an array or a list of numbers"
    return _REMEDIES.get(array.dtype.kind, "convert it by astype(float)")
