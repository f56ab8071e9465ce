"""Emissions and what is missing of them, turned into numbers and a mask.

A missing value is a mask, never a sentinel: NaN and None become ``mask=False``, and
whatever stood there is overwritten, so that it can change no number anywhere.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import described, plain_array, remedy
from .naming import Names, given_or_numbered
from .validation import Labels, close_matches, column_names, unique_names

if TYPE_CHECKING:
    import pandas as pd


class Emissions(NamedTuple):
    """Checked emissions, of shape (steps,) or (steps, outputs).

    ``mask`` is None where everything was observed.
    """

    values: np.ndarray
    mask: np.ndarray | None
    class_names: tuple[str, ...] | None


def listed_classes(class_names: Labels) -> tuple[str, ...]:
    """Names of classes as strings, refused where they are no list."""
    if (
        isinstance(class_names, str | bytes | Mapping)
        or np.asarray(class_names).ndim != 1
    ):
        raise TypeError(
            f"class_names must be a list of strings, got {class_names!r:.80}; give a "
            "list, in order"
        )
    return tuple(map(str, class_names))


def read_emissions(
    values: ArrayLike, mask: ArrayLike | None, class_names: Labels | None
) -> Emissions:
    """Check emissions against their mask and fill in what was not observed.

    Args:
        values: numbers (steps,) or (steps, outputs), or labels (steps,).
        mask: True = observed, of shape (steps,) or that of ``values``; None observes
            everything that is not NaN or None.
        class_names: names of classes 0, 1, ...; labels must be among them.
    """
    if class_names is not None:
        class_names = unique_names("class_names", listed_classes(class_names))
    array, missing, class_names = as_numbers(values, class_names)
    array, missing = _one_output_is_a_vector(array), _one_output_is_a_vector(missing)
    if array.ndim not in (1, 2) or not array.size:
        raise ValueError(
            "emissions must have shape (steps,) or (steps, outputs) and at least one "
            f"step, got {array.shape}; give one array of all sessions end to end, or a "
            "list with an array for each to Sequences.from_lists"
        )
    observed = _check_mask(mask, missing)
    full = observed_entries(observed, array.shape)
    array = fill_missing(array, full)
    _check_values(array, class_names)
    return Emissions(array, None if full.all() else observed, class_names)


def as_numbers(
    values: ArrayLike, class_names: tuple[str, ...] | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...] | None]:
    """Emissions as int64 or float, where they are missing, and the class names.

    Whole-number and boolean types become int64, labels their codes; floats stay floats.
    """
    hidden: Any = False
    if isinstance(values, np.ma.MaskedArray):
        hidden, values = np.ma.getmaskarray(values), values.data
        if values.dtype.kind not in "biuf":
            values = values.astype(object)
            values[hidden] = None
    if not (hasattr(values, "dtype") and hasattr(values, "ndim")):
        values = plain_array("emissions", values)
    if values.ndim == 1 and _needs_pandas(values.dtype):
        return _from_objects(values, class_names)
    array = plain_array("emissions", values)
    if array.dtype.kind not in "biuf":
        raise _no_emissions(described(values, array), remedy(array))
    if array.dtype.kind == "u" and array.size and array.max() > _LARGEST:
        raise ValueError(
            f"emissions must be below 2**63, got {array.max()}; give floats"
        )
    if array.dtype.kind != "f":
        array = array.astype(np.int64)
    return array, np.isnan(array) | hidden, class_names


_LARGEST = np.iinfo(np.int64).max


def _no_emissions(got: str, fix: str) -> TypeError:
    return TypeError(
        "emissions must be classes (whole numbers or strings) or real numbers, "
        f"got {got}; {fix}"
    )


def _needs_pandas(dtype: np.dtype) -> bool:
    """Whether values are labels, objects, or of one of pandas' nullable types."""
    if isinstance(dtype, np.dtype):
        return dtype.kind in "OU"
    return hasattr(dtype, "kind")


def _from_objects(
    values: ArrayLike, class_names: tuple[str, ...] | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...] | None]:
    """Numbers from strings, a categorical, or a mixture of values and None."""
    import pandas as pd

    series = pd.Series(values)
    if isinstance(series.dtype, pd.CategoricalDtype):
        names = tuple(map(str, series.cat.categories))
        series = pd.Series(series.cat.rename_categories(names), dtype=object)
        return _encode(series, class_names or names)
    kind = pd.api.types.infer_dtype(series, skipna=True)
    missing = series.isna().to_numpy()
    if kind == "string":
        return _encode(series, class_names or tuple(sorted(series.dropna().unique())))
    if kind in ("boolean", "integer"):
        codes = series.astype(object).where(~missing, 0)
        if codes.max() > _LARGEST:
            raise ValueError(
                f"emissions must be below 2**63, got {codes.max()}; give floats"
            )
        return codes.to_numpy(dtype=np.int64), missing, class_names
    if kind in ("floating", "mixed-integer-float", "empty"):
        return series.to_numpy(dtype=float, na_value=np.nan), missing, class_names
    raise _no_emissions(
        f"objects of kind {kind!r}", "give labels as strings alone, or numbers alone"
    )


def _encode(
    labels: "pd.Series", class_names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Position of each label among the class names; missing labels get class 0."""
    missing = labels.isna().to_numpy()
    codes = {name: code for code, name in enumerate(class_names)}
    for label in labels[~missing].unique():
        if label not in codes:
            raise ValueError(
                f"emissions must be among class_names ({', '.join(class_names)}), got "
                f"{label!r}{close_matches(label, class_names)}; correct the label, or "
                "add it to class_names"
            )
    array = labels.map(codes).fillna(0).to_numpy(dtype=np.int64)
    return array, missing, class_names


def _one_output_is_a_vector(array: np.ndarray) -> np.ndarray:
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _check_mask(mask: ArrayLike | None, missing: np.ndarray) -> np.ndarray:
    """The mask as given, or inferred from what is missing; never without effect."""
    if mask is None:
        observed = ~missing
        empty = np.flatnonzero(missing.reshape(len(missing), -1).all(0))
        if len(empty):
            several = missing.ndim > 1
            raise ValueError(
                "emissions must have a value in every output, got NaN or None alone in "
                f"output {empty[0]}; "
                f"{'leave that column out' if several else 'give one value at least'}"
            )
    else:
        observed = read_mask(mask, missing.shape)
        unexplained = observed_entries(observed, missing.shape) & missing
        if unexplained.any():
            raise ValueError(
                "emissions must have a value wherever mask is True, got "
                f"{unexplained.sum()} NaN or None, the first in row "
                f"{np.argwhere(unexplained)[0, 0]}; set mask to False there, or leave "
                "mask out and every missing value is masked"
            )
    check_something_observed(observed, missing.shape)
    return observed


def read_mask(mask: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """A boolean array of shape (steps,) or that of the emissions."""
    array = _one_output_is_a_vector(plain_array("mask", mask))
    if array.dtype.kind != "b":
        raise TypeError(
            f"mask must be boolean, True = observed, got dtype {array.dtype}; "
            "convert it with mask.astype(bool)"
        )
    if array.shape not in (shape, shape[:1]):
        allowed = " or ".join(map(str, dict.fromkeys([shape[:1], shape])))
        raise ValueError(
            f"mask must have shape {allowed}, got {array.shape}; give one entry for "
            "each step, or for each output of each step"
        )
    return array


def check_something_observed(observed: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise a ValueError for emissions of which a whole output is missing."""
    never = ~observed_entries(observed, shape).any(axis=0)
    if never.any():
        output = f" of output {int(never.argmax())}" if len(shape) == 2 else ""
        raise ValueError(
            f"mask must leave at least one emission{output} observed, got none; "
            "True means observed (a mask of missing values is ~mask)"
        )


def observed_entries(mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """The mask over every entry of emissions of this shape."""
    if mask is None:
        return np.ones(shape, dtype=bool)
    wide = mask[:, None] if len(shape) > mask.ndim else mask
    return np.broadcast_to(wide, shape)


def fill_missing(array: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Overwrite what is not observed by the first observed value of its column."""
    first = np.take_along_axis(array, observed.argmax(axis=0, keepdims=True), axis=0)
    return np.where(observed, array, first)


def _check_values(array: np.ndarray, class_names: Sequence[str] | None) -> None:
    """Raise an error for infinite numbers, negative or nameless classes."""
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            row = np.argwhere(~np.isfinite(array))[0, 0]
            raise ValueError(
                f"emissions must be finite, got {array[row]} in row {row}; mark "
                "missing values by NaN or by mask"
            )
    elif array.min() < 0:
        row = np.argwhere(array < 0)[0, 0]
        raise ValueError(
            "emissions must be classes 0, 1, ... where they are whole numbers, got "
            f"{array.min()} (first in row {row}); mark missing values by mask=False, "
            "and give measurements that may be negative as floats"
        )
    if class_names is None:
        return
    if array.ndim == 2:
        raise ValueError(
            "class_names must be None where emissions have several outputs, got "
            f"{len(class_names)} names; emission_names names the outputs"
        )
    codes = array.astype(np.int64)
    if (codes != array).any() or codes.max() >= len(class_names) or codes.min() < 0:
        raise ValueError(
            f"class_names must name every class of emissions, got {len(class_names)} "
            f"names for values from {array.min()} to {array.max()}; give a name for "
            "each of the classes 0, 1, ..., or leave class_names out for numbers"
        )


def output_names(
    names: Labels | None, shape: tuple[int, ...], values: ArrayLike
) -> Names:
    """One name per output: as given, or a data frame's own, or 'y', or 'y0', 'y1'."""
    numbered = ["y"] if len(shape) == 1 else [f"y{i}" for i in range(shape[1])]
    own = column_names(values)
    return given_or_numbered("emission_names", names, own, numbered)


def narrowed(
    values: np.ndarray, before: np.ndarray | None, mask: ArrayLike
) -> Emissions:
    """Emissions under a second mask; what the first one hides stays hidden."""
    observed = read_mask(mask, values.shape)
    if before is not None:
        shape = values.shape if before.ndim + observed.ndim > 2 else values.shape[:1]
        observed = observed_entries(before, shape) & observed_entries(observed, shape)
    check_something_observed(observed, values.shape)
    full = observed_entries(observed, values.shape)
    return Emissions(fill_missing(values, full), None if full.all() else observed, None)
