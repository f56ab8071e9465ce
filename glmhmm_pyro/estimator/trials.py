"""The predecessor's lists of trials, covariates in rows, turned into Sequences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.arrays import plain_array, real_array

# One array for every trial.
PerTrial: TypeAlias = Sequence[ArrayLike] | np.ndarray


@dataclass(frozen=True)
class Trials:
    """Checked trials, as the user numbers them.

    Attributes:
        designs: covariates of every trial, shape (features, bins).
        outputs: labels, if there are any, and analog outputs of every trial, NaN where
            there is none, shape (columns, bins).
        has_labels: whether labels are emissions at all.
    """

    designs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    has_labels: bool = True

    @classmethod
    def checked(
        cls,
        X: PerTrial,
        y: PerTrial | None,
        y_analog: PerTrial | None,
        sizes: tuple[int, int, int],
        why: str,
    ) -> "Trials":
        """Trials from the user's lists.

        Args:
            X: list of arrays (features, bins).
            y: list of labels (bins,), (1, bins) or (bins, 1), NaN or None where there
                is none; or ``None`` if nothing is known of them.
            y_analog: list of arrays (outputs, bins), NaN where there is none; or
                ``None`` if nothing is known of them.
            sizes: numbers of rows of X, of labels, which are whole numbers below it or
                no emissions if it is 1, and of analog outputs.
            why: where the number of rows comes from, for the message.

        Raises:
            ValueError: naming the trial, what it must be and what came.
            TypeError: for arrays that do not hold real numbers.
        """
        num_features, num_classes, num_outputs = sizes
        X = _list_of_trials("X", X)
        given = {"y": y if num_classes > 1 else None, "y_analog": y_analog}
        lists = {n: _as_many(n, v, len(X)) for n, v in given.items()}
        designs, emissions = [], []
        for i, trial in enumerate(X):
            label, outputs = lists["y"][i], lists["y_analog"][i]
            label = None if label is None else _labels(i, label, num_classes)
            designs.append(_design(i, trial, label, num_features, why))
            bins = designs[-1].shape[1]
            label = np.full(bins, np.nan) if label is None else label
            if len(label) != bins:
                raise ValueError(
                    f"y[{i}] must have {bins} labels, one for each bin of X[{i}], "
                    f"got {len(label)}; give one label for each bin"
                )
            analog = np.full((num_outputs, bins), np.nan)
            if outputs is not None:
                analog = _analog(i, outputs, analog.shape)
            emissions.append(np.vstack([label, analog][num_classes == 1 :]))
        if given["y"] is not None and all(np.isnan(one[0]).all() for one in emissions):
            raise ValueError(
                "y must have a label somewhere, got NaN at every bin"
                "; leave NaN to bins without a label"
            )
        return cls(tuple(designs), tuple(emissions), num_classes > 1)

    def __len__(self) -> int:
        return len(self.designs)

    def check_analog(self) -> None:
        """Raise a ValueError for an analog output that does not vary."""
        for i, values in enumerate(self.analog):
            seen = values[~np.isnan(values)]
            if len(seen) < 2 or np.ptp(seen) == 0:
                raise ValueError(
                    f"y_analog must have different values in every output, got "
                    f"{len(seen)} of one size in output {i}; leave that output out"
                )

    @property
    def emissions(self) -> np.ndarray:
        """Labels, if there are any, and analog outputs, (bins, columns), or NaN."""
        return np.hstack(self.outputs).T

    @property
    def analog(self) -> np.ndarray:
        """Analog outputs of all trials, NaN where there is none, (outputs, bins)."""
        return self.emissions.T[int(self.has_labels) :]

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of every analog output, shape (outputs,)."""
        return np.nanstd(self.analog, axis=1)

    def residual_scale(self, analog_w: np.ndarray) -> np.ndarray:
        """Standard deviations of what weights leave of all bins, (states, outputs).

        All bins count for every state, as at the original's first E-step.
        """
        if not analog_w.shape[1]:
            return np.zeros(analog_w.shape[:2])
        residuals = self.analog - analog_w @ np.hstack(self.designs)
        return np.maximum(np.nanstd(residuals, axis=-1, ddof=1), 1e-9 * self.spread)

    @property
    def mask(self) -> np.ndarray:
        """What was observed, in the shape of the emissions of :meth:`sequences`."""
        seen = ~np.isnan(self.emissions)
        return seen if seen.shape[1] > 1 else seen[:, 0]

    @property
    def num_observed(self) -> int:
        """Number of bins of which something was observed."""
        return int((~np.isnan(self.emissions)).any(1).sum())

    def subset(self, numbers: Sequence[int]) -> "Trials":
        """Some of the trials."""
        designs, outputs = (
            tuple(part[i] for i in numbers) for part in (self.designs, self.outputs)
        )
        return Trials(designs, outputs, self.has_labels)

    def sequences(
        self, emissions: Sequence[int], transitions: Sequence[int]
    ) -> Sequences:
        """One data set, a session for every trial; what is missing is masked.

        With analog outputs, emissions are columns ``symb``, if there are labels, and
        ``analog0``, ``analog1``, ...; without, they are the labels. A column of which
        nothing is known holds what means nothing; :attr:`mask` tells.

        Args:
            emissions: rows of the covariates that the emissions read.
            transitions: the same of the transitions.
        """
        design = np.hstack(self.designs).T
        own, other = list(emissions), list(transitions)
        values, names = self.emissions, analog_names(len(self.analog))
        seen = ~np.isnan(values)
        values, seen = np.where(seen, values, 0.0), seen | ~seen.any(0)
        are_labels = self.has_labels and not names
        return Sequences(
            values[:, 0].astype(np.int64) if are_labels else values,
            design[:, own],
            transition_covariates=None if own == other else design[:, other],
            mask=seen[:, 0] if are_labels else seen,
            lengths=[design.shape[1] for design in self.designs],
            emission_names=None if are_labels else ["symb"] * self.has_labels + names,
        )


def analog_names(number: int) -> list[str]:
    """Names of the columns of analog outputs."""
    return [f"analog{i}" for i in range(number)]


def num_outputs_of(y_analog: PerTrial | None) -> int:
    """Number of analog outputs of a user's list of trials, by its first one."""
    if y_analog is None or len(y_analog) == 0:
        return 0
    first = np.shape(_list_of_trials("y_analog", y_analog)[0])
    return first[0] if len(first) == 2 else 1


def _as_many(name: str, trials: PerTrial | None, number: int) -> list:
    """The trials as a list of this length, ``None`` for what is not known."""
    if trials is None:
        return [None] * number
    found = _list_of_trials(name, trials)
    if len(found) != number:
        raise ValueError(
            f"{name} must have {number} trials, as many as X, got {len(found)}"
            "; give one array for each trial of X"
        )
    return found


def _analog(i: int, outputs: ArrayLike, shape: tuple[int, int]) -> np.ndarray:
    """Analog outputs of one trial, NaN where missing, shape (outputs, bins)."""
    array = real_array(f"y_analog[{i}]", outputs).astype(np.float64)
    if array.ndim == 1:
        array = array[None]
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


def _list_of_trials(name: str, trials: PerTrial) -> list:
    """The trials as a list; a single array is no list of trials."""
    if not hasattr(trials, "__len__") or isinstance(trials, (str, bytes, dict)):
        kind = type(trials).__name__
        raise TypeError(
            f"{name} must be a list with one array per trial, got {kind}"
            "; put the arrays of all trials into a list"
        )
    if len(trials) == 0:
        raise ValueError(
            f"{name} must have at least one trial, got an empty list"
            "; give one array per trial"
        )
    first = np.ndim(trials[0])
    if first == 0 or (name == "X" and first == 1):
        raise ValueError(
            f"{name} must be a list with one array per trial, got arrays of "
            f"{first} axes in it; write [{name}] for a single trial"
        )
    return list(trials)


def _design(
    i: int, trial: ArrayLike, labels: np.ndarray | None, num_features: int, why: str
) -> np.ndarray:
    """Covariates of one trial, checked, shape (features, bins)."""
    array = real_array(f"X[{i}]", trial).astype(np.float64)
    if array.ndim != 2 or array.shape[0] != num_features or array.shape[1] == 0:
        message = (
            f"X[{i}] must have shape ({num_features}, bins) with at least one bin, "
            f"{why}, got {array.shape}"
        )
        if _is_transposed(array, labels, num_features):
            message += f", which is transposed, (bins, features); pass X[{i}].T"
        raise ValueError(message)
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"X[{i}] must be finite, got {array[row, column]} in row {row}, bin "
            f"{column}; leave such bins out or fill them in"
        )
    return array


def _is_transposed(
    array: np.ndarray, labels: np.ndarray | None, num_features: int
) -> bool:
    if array.ndim != 2 or array.shape[0] == array.shape[1]:
        return False
    fits_labels = labels is not None and array.shape[0] == len(labels)
    return array.shape[1] == num_features or fits_labels


def _labels(i: int, labels: ArrayLike, num_classes: int) -> np.ndarray:
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
    if array.ndim != 1:
        raise ValueError(
            f"y[{i}] must have shape (bins,) or (1, bins), got {array.shape}"
            "; give one label for each bin"
        )
    legal = np.isnan(array) | np.isin(array, np.arange(num_classes))
    if not legal.all():
        bin_ = int(np.argmin(legal))
        raise ValueError(
            f"y[{i}] must hold labels 0 to {num_classes - 1}, for num_emissions = "
            f"{num_classes}, got {array[bin_]:g} at bin {bin_}; number the labels from "
            "0, and write NaN where there is none"
        )
    return array
