"""The predecessor's lists of trials, covariates in rows, turned into Sequences."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike

from glmhmm_pyro.estimator.parameters import Options
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.arrays import plain_array, real_array

# One array for every trial, and None for nothing known of them.
PerTrial: TypeAlias = Sequence[ArrayLike] | np.ndarray
Known: TypeAlias = PerTrial | None


def num_outputs_to_fit(options: Options, y: Known, y_analog: Known) -> int:
    """Number of analog outputs; an error unless all is there that options want."""
    if options["symb_exists"] and y is None:
        raise ValueError(
            "y must be a list of labels to fit, got None; give symb_exists=False to "
            "fit y_analog alone"
        )
    if y_analog is not None and len(y_analog):
        first = np.shape(_list_of_trials("y_analog", y_analog)[0])
        return first[0] if len(first) == 2 else 1
    for name, wanted in (("symb_exists", False), ("analog_flag", True)):
        if options[name] is wanted:
            raise ValueError(
                f"y_analog must be a list of analog outputs where {name} is {wanted}, "
                "got none; give one array per trial"
            )
    return 0


def as_sequences(
    X: PerTrial, y: Known, y_analog: Known, sizes: tuple[int, int, int], why: str
) -> Sequences:
    """One data set, a session for every trial; what is missing is masked.

    Emissions are ``symb``, if there are labels, and ``analog0``, ``analog1``, ...

    Args:
        X, y, y_analog: as ``GLMHMMEstimator`` takes them; ``None`` if nothing is known.
        sizes: numbers of rows of X, of labels (1 for no such emissions), of outputs.
        why: where the number of rows comes from, for the message.
    """
    num_features, num_classes, num_outputs = sizes
    X = _list_of_trials("X", X)
    labels = _list_of_trials("y", y if num_classes > 1 else None, len(X))
    outputs = _list_of_trials("y_analog", y_analog, len(X))
    designs, emissions = [], []
    for i, (trial, label, analog) in enumerate(zip(X, labels, outputs)):
        designs.append(_design(i, trial, label, num_features, why))
        bins = len(designs[-1])
        columns = np.full((bins, 1 + num_outputs), np.nan)
        if label is not None:
            columns[:, 0] = _labels(i, label, num_classes, bins)
        if analog is not None:
            columns[:, 1:] = _analog(i, analog, (num_outputs, bins)).T
        emissions.append(columns[:, num_classes == 1 :])
    seen = ~np.isnan(np.concatenate(emissions))
    if num_classes > 1 and y is not None and not seen[:, 0].any():
        raise ValueError(
            "y must have a label somewhere, got NaN at every bin; give some labels"
        )
    # What is to be predicted need not have a value in every column.
    known, names = seen.any(0), ["symb"] * (num_classes > 1) + analog_names(num_outputs)
    filled = [np.where(known, values, 0.0) for values in emissions]
    data = Sequences.from_lists(filled, designs, emission_names=names)
    mask = torch.from_numpy(seen).reshape(data.emissions.shape)
    return data if known.all() else data._derive(mask=mask)


def check_fittable(data: Sequences, options: Options) -> None:
    """Raise a ValueError for trials that can be predicted, but not fitted."""
    parts = ("GLM_emissions", "GLM_transitions")
    constant = " and ".join(name for name in parts if not options[name])
    last = data.covariates[:, -1]
    if constant and (last.min() < last.max() or last[0] == 0):
        raise ValueError(
            f"X must have a constant last row, other than 0, where {constant} is False "
            f"and no other row is read, got values from {last.min():g} to "
            f"{last.max():g}; append a row of ones"
        )
    for i, values in enumerate(observed(data)[1]):
        seen = values[~np.isnan(values)]
        if len(seen) < 2 or np.ptp(seen) == 0:
            raise ValueError(
                f"y_analog must have different values in every output, got "
                f"{len(seen)} of one size in output {i}; leave that output out"
            )


def analog_names(number: int) -> list[str]:
    """Names of the columns of analog outputs."""
    return [f"analog{i}" for i in range(number)]


def observed(data: Sequences) -> tuple[np.ndarray, np.ndarray]:
    """Labels (bins,) and analog outputs (outputs, bins), NaN where there is none."""
    values = data.emissions.double()
    if data.mask is not None:
        values = values.masked_fill(~data.mask, torch.nan)
    rows = np.ascontiguousarray(values.reshape(data.num_steps, -1).numpy().T)
    if data.emission_names[0] == "symb":
        return rows[0], rows[1:]
    return np.full(data.num_steps, np.nan), rows


def _list_of_trials(name: str, trials: Known, number: int | None = None) -> list:
    """The trials as a list of this length, of ``None`` where nothing is known."""
    if trials is None:
        return [None] * (number or 0)
    if not hasattr(trials, "__len__") or isinstance(trials, (str, bytes, dict)):
        raise TypeError(
            f"{name} must be a list with one array per trial, got "
            f"{type(trials).__name__}; put the arrays of all trials into a list"
        )
    if len(trials) == 0:
        raise ValueError(
            f"{name} must have at least one trial, got an empty list; give some trials"
        )
    axes = np.ndim(trials[0])
    if axes == 0 or (name == "X" and axes == 1):
        raise ValueError(
            f"{name} must be a list with one array per trial, got arrays of {axes} axes"
            f" in it; write [{name}] for a single trial"
        )
    if number not in (None, len(trials)):
        raise ValueError(
            f"{name} must have {number} trials, as many as X, got {len(trials)}"
            "; give one array for each trial of X"
        )
    return list(trials)


def _design(
    i: int, trial: ArrayLike, labels: ArrayLike | None, num_features: int, why: str
) -> np.ndarray:
    """Covariates of one trial, checked, shape (bins, features)."""
    array = real_array(f"X[{i}]", trial).astype(np.float64)
    shape = array.shape
    if array.ndim != 2 or shape[0] != num_features or shape[1] == 0:
        fix = "; give a row for each feature"
        fits_labels = labels is not None and shape[:1] == (np.size(labels),)
        is_oblong = array.ndim == 2 and shape[0] != shape[1]
        if is_oblong and (shape[1] == num_features or fits_labels):
            fix = f", which is transposed, (bins, features); pass X[{i}].T"
        raise ValueError(
            f"X[{i}] must have shape ({num_features}, bins) with at least one bin, "
            f"{why}, got {shape}{fix}"
        )
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"X[{i}] must be finite, got {array[row, column]} in row {row}, bin "
            f"{column}; leave such bins out or fill them in"
        )
    return np.ascontiguousarray(array.T)


def _analog(i: int, outputs: ArrayLike, shape: tuple[int, int]) -> np.ndarray:
    """Analog outputs of one trial, NaN where missing, shape (outputs, bins)."""
    array = np.atleast_2d(real_array(f"y_analog[{i}]", outputs).astype(np.float64))
    if array.shape != shape:
        raise ValueError(
            f"y_analog[{i}] must have shape {shape}, (outputs, bins of X[{i}]), got "
            f"{np.shape(outputs)}; give a row for each output"
        )
    if np.isinf(array).any():
        raise ValueError(
            f"y_analog[{i}] must be finite, NaN where there is no value, got infinity"
            "; mark missing values by NaN"
        )
    return array


def _labels(i: int, labels: ArrayLike, num_classes: int, bins: int) -> np.ndarray:
    """Labels of one trial as floats, NaN where missing, shape (bins,)."""
    array = plain_array(f"y[{i}]", labels)
    if array.dtype == object:
        known = [np.nan if label is None else label for label in array.flat]
        array = np.array(known).reshape(array.shape)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"y[{i}] must hold whole numbers from 0, NaN or None where a bin has no "
            f"label, got dtype {array.dtype}; number the labels, for example by "
            "numpy.unique(labels, return_inverse=True)"
        )
    array = array.astype(np.float64)
    if array.ndim == 2 and 1 in array.shape:
        array = array.reshape(-1)
    if array.shape != (bins,):
        raise ValueError(
            f"y[{i}] must have {bins} labels, one for each bin of X[{i}], in shape "
            f"(bins,) or (1, bins), got {array.shape}; give one label for each bin"
        )
    wrong = np.flatnonzero(~np.isnan(array) & ~np.isin(array, range(num_classes)))
    if len(wrong):
        raise ValueError(
            f"y[{i}] must hold labels 0 to {num_classes - 1}, for num_emissions = "
            f"{num_classes}, got {array[wrong[0]]:g} at bin {wrong[0]}; number the "
            "labels from 0, and write NaN where there is none"
        )
    return array
