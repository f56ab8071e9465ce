"""Time series with epochs, such as those of pynapple, as sessions.

Nothing is imported of pynapple: what has times ``t`` and values ``d`` is a time series,
what has ``start`` and ``end`` are epochs.
"""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from .arrays import as_array
from .validation import column_names

if TYPE_CHECKING:
    from .data import Sequences

# Part of a time by which times of the same step may differ: rounding.
_ROUNDING = 1e-9

_DESIGNS = ("covariates", "transition_covariates")


class TimeSeries(Protocol):
    """What is read of a time series; some have ``values`` in the place of ``d``."""

    t: np.ndarray
    d: np.ndarray
    values: np.ndarray


class Epochs(Protocol):
    """Stretches of time, both ends included."""

    start: np.ndarray
    end: np.ndarray


def from_time_series(
    cls: type["Sequences"],
    emissions: TimeSeries,
    covariates: TimeSeries | None = None,
    *,
    epochs: Epochs | ArrayLike | None = None,
    transition_covariates: TimeSeries | None = None,
    mask: TimeSeries | ArrayLike | None = None,
    **options: Any,
) -> "Sequences":
    """A data set from time series, one session an epoch.

    Args:
        emissions: a time series of (steps,) or (steps, outputs), such as a ``Tsd`` or a
            ``TsdFrame`` of pynapple (of spike times, ``spikes.count(bin_size)``).
        covariates: the same at the same times, (steps,) or (steps, features).
        epochs: an ``IntervalSet``, or starts and ends (sessions, 2) in the units of the
            times; both ends belong to an epoch. The default is the ``time_support`` of
            the emissions. Steps outside are left out.
        transition_covariates: as ``covariates``.
        mask: as for :class:`Sequences`, an entry for every step of the emissions, or a
            time series of these.
        options: the other arguments of :class:`Sequences` but ``lengths``.

    Raises:
        ValueError: times differ, go back, or an epoch has no step or overlaps another.
        TypeError: something is no time series, or no epochs.

    Example:
        >>> import numpy as np
        >>> from types import SimpleNamespace
        >>> from glmhmm_pyro import Sequences
        >>> counts = SimpleNamespace(t=np.arange(5.0), d=np.array([0, 2, 1, 4, 3]))
        >>> data = Sequences.from_time_series(counts, epochs=[[0, 1], [3, 4]])
        >>> data.lengths.tolist(), data.emissions.tolist()
        ([2, 2], [0, 2, 4, 3])
    """
    if "lengths" in options:
        raise ValueError(
            "lengths must be left out, for sessions are epochs, got "
            f"{options['lengths']!r:.60}; give epochs, or arrays to Sequences"
        )
    times = _sorted_times("emissions", emissions)
    rows, lengths = _rows_of_epochs(times, _epochs(emissions, epochs))
    arguments = {
        "emissions": _chosen_values("emissions", emissions, rows),
        "lengths": lengths,
    }
    if mask is not None:
        arguments["mask"] = _chosen_mask(mask, times, rows)
    options.setdefault("emission_names", _column_names(emissions))
    for name, series in zip(_DESIGNS, (covariates, transition_covariates)):
        if series is None:
            continue
        _check_same_times(name, _sorted_times(name, series), times)
        arguments[name] = _chosen_values(name, series, rows)
        options.setdefault(f"{name[:-1]}_names", _column_names(series))
    return cls(**arguments, **options)


def _sorted_times(name: str, series: TimeSeries) -> np.ndarray:
    """Times of the steps, in order."""
    if not hasattr(series, "t") or not (hasattr(series, "d") or _has_values(series)):
        raise TypeError(
            f"{name} must be a time series with times t and values d, got a "
            f"{type(series).__name__}; give such as pynapple.Tsd(t, d), or arrays to "
            "Sequences"
        )
    times = as_array("times", series.t, float)
    if times.ndim != 1 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise ValueError(
            f"{name} must have times that go up from step to step, got others; sort "
            "the time series, and leave out what comes twice"
        )
    return times


def _has_values(series: TimeSeries) -> bool:
    return hasattr(series, "values") and not callable(series.values)


def _chosen_values(name: str, series: TimeSeries, rows: np.ndarray) -> Any:
    """Values of the steps chosen."""
    values = series.d if hasattr(series, "d") else series.values
    values = values if hasattr(values, "shape") else np.asarray(values)
    if len(values) != len(series.t):
        raise ValueError(
            f"{name} must have a value for each of its {len(series.t)} times, got "
            f"{len(values)}; give as many"
        )
    return values[rows]


def _chosen_mask(
    mask: TimeSeries | ArrayLike, times: np.ndarray, rows: np.ndarray
) -> Any:
    """Entries of the mask of the steps chosen."""
    given: Any = mask
    if hasattr(given, "t") and hasattr(given, "d"):
        _check_same_times("mask", _sorted_times("mask", given), times)
        given = given.d
    array = as_array("mask", given)
    if array.ndim < 1 or len(array) != len(times):
        raise ValueError(
            f"mask must have an entry for each of the {len(times)} steps of emissions, "
            f"also of those outside of all epochs, got shape {array.shape}; give all"
        )
    return array[rows]


def _column_names(series: TimeSeries) -> tuple[str, ...] | None:
    """Names of the columns of a time series, if it has any."""
    values = series.d if hasattr(series, "d") else series.values
    table: Any = series
    return column_names(table) if np.ndim(values) == 2 else None


def _epochs(emissions: TimeSeries, epochs: Epochs | ArrayLike | None) -> np.ndarray:
    """Starts and ends, (epochs, 2)."""
    epochs = getattr(emissions, "time_support", None) if epochs is None else epochs
    if epochs is None:
        return np.array([[-np.inf, np.inf]])
    if hasattr(epochs, "start") and hasattr(epochs, "end"):
        epochs = np.column_stack([np.ravel(epochs.start), np.ravel(epochs.end)])
    array = as_array("epochs", epochs)
    if array.dtype.kind not in "biuf" or array.ndim != 2 or array.shape[1:] != (2,):
        raise TypeError(
            "epochs must have start and end, or be an array (epochs, 2), got a "
            f"{type(epochs).__name__}; give such as pynapple.IntervalSet(start, end)"
        )
    return array.astype(float)


def _rows_of_epochs(
    times: np.ndarray, epochs: np.ndarray
) -> tuple[np.ndarray, list[int]]:
    """Rows of all epochs, in their order, and how many each has."""
    if not len(epochs):
        raise ValueError(
            "epochs must hold at least one, got none; give starts and ends, or leave "
            "them out for one session of all steps"
        )
    order = np.argsort(epochs[:, 0], kind="stable")
    ends = epochs[order, 1]
    if (epochs[:, 1] < epochs[:, 0]).any() or (epochs[order[1:], 0] < ends[:-1]).any():
        raise ValueError(
            "epochs must end after they start and not overlap, got "
            f"{epochs.tolist()!r:.120}; give each step one session"
        )
    first = np.searchsorted(times, epochs[:, 0], side="left")
    last = np.searchsorted(times, epochs[:, 1], side="right")
    # A step on the border of two epochs belongs to the first of them.
    for before, after in zip(order[:-1], order[1:]):
        first[after] = max(first[after], last[before])
    lengths = (last - first).tolist()
    if min(lengths, default=0) < 1:
        number = lengths.index(min(lengths)) if lengths else 0
        raise ValueError(
            f"epochs must each have a step, got none in epoch {number}; leave it out"
        )
    return np.concatenate([np.arange(a, b) for a, b in zip(first, last)]), lengths


def _check_same_times(name: str, found: np.ndarray, times: np.ndarray) -> None:
    """Raise a ValueError for a series at other times than the emissions."""
    near = len(found) == len(times) and np.allclose(
        found, times, rtol=_ROUNDING, atol=0.0
    )
    if not near:
        raise ValueError(
            f"{name} must have the times of emissions, {len(times)} of them, got "
            f"{len(found)} others; bring them there, such as by emissions.value_from("
            f"{name}) or {name}.interpolate(emissions) of pynapple"
        )
