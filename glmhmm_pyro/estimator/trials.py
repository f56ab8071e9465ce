"""The predecessor's lists of trials, covariates in rows, turned into Sequences."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.validation import plain_array, real_array


@dataclass(frozen=True)
class Trials:
    """Checked trials, as the user numbers them.

    Attributes:
        designs: covariates of every trial, shape (features, bins).
        labels: labels of every trial as floats, NaN where there is none, shape (bins,).
    """

    designs: tuple[np.ndarray, ...]
    labels: tuple[np.ndarray, ...]

    @classmethod
    def checked(
        cls, X: Any, y: Any, num_classes: int, num_features: int, why: str
    ) -> "Trials":
        """Trials from the user's lists.

        Args:
            X: list of arrays (features, bins).
            y: list of labels (bins,), (1, bins) or (bins, 1), NaN or None where there
                is none; or ``None``, for data whose emissions mean nothing.
            num_classes: labels are whole numbers below this.
            num_features: number of rows that every array of X must have.
            why: where that number comes from, for the message.

        Raises:
            ValueError: naming the trial, what it must be and what came.
            TypeError: for arrays that do not hold real numbers.
        """
        X = _list_of_trials("X", X)
        labels = None if y is None else _list_of_trials("y", y)
        if labels is not None and len(labels) != len(X):
            raise ValueError(
                f"y must have {len(X)} trials, as many as X, got {len(labels)}"
            )
        designs, emissions = [], []
        for i, trial in enumerate(X):
            label = None if labels is None else _labels(i, labels[i], num_classes)
            designs.append(_design(i, trial, label, num_features, why))
            bins = designs[-1].shape[1]
            emissions.append(np.zeros(bins) if label is None else label)
            if len(emissions[-1]) != bins:
                raise ValueError(
                    f"y[{i}] must have {bins} labels, one for each bin of X[{i}], "
                    f"got {len(emissions[-1])}"
                )
        if all(np.isnan(label).all() for label in emissions):
            raise ValueError("y must have a label somewhere, got NaN at every bin")
        return cls(tuple(designs), tuple(emissions))

    def __len__(self) -> int:
        return len(self.designs)

    @property
    def num_bins(self) -> int:
        """Number of bins of all trials."""
        return sum(map(len, self.labels))

    def subset(self, numbers: Iterable[int]) -> "Trials":
        """Some of the trials."""
        numbers = list(numbers)
        return Trials(
            tuple(self.designs[i] for i in numbers),
            tuple(self.labels[i] for i in numbers),
        )

    def sequences(
        self, emissions: Sequence[int] | None, transitions: Sequence[int] | None
    ) -> Sequences:
        """One data set, a session for every trial; bins without a label are masked.

        Args:
            emissions: rows of the covariates that the emissions read; all for ``None``.
            transitions: the same of the transitions.
        """
        labels = np.concatenate(self.labels)
        design = np.concatenate([design.T for design in self.designs])
        every = list(range(design.shape[1]))
        own, other = list(emissions or every), list(transitions or every)
        observed = ~np.isnan(labels)
        return Sequences(
            np.where(observed, labels, 0).astype(np.int64),
            design[:, own],
            transition_covariates=None if own == other else design[:, other],
            lengths=[len(label) for label in self.labels],
            mask=observed,
        )


def _list_of_trials(name: str, trials: Any) -> list:
    """The trials as a list; a single array is no list of trials."""
    if not hasattr(trials, "__len__") or isinstance(trials, (str, bytes, dict)):
        kind = type(trials).__name__
        raise TypeError(f"{name} must be a list with one array per trial, got {kind}")
    if len(trials) == 0:
        raise ValueError(f"{name} must have at least one trial, got an empty list")
    first = np.ndim(trials[0])
    if first == 0 or (name == "X" and first == 1):
        raise ValueError(
            f"{name} must be a list with one array per trial, got arrays of "
            f"{first} axes in it; write [{name}] for a single trial"
        )
    return list(trials)


def _design(
    i: int, trial: Any, labels: np.ndarray | None, num_features: int, why: str
) -> np.ndarray:
    """Covariates of one trial, checked, shape (features, bins)."""
    array = real_array(f"X[{i}]", trial).astype(np.float64)
    if array.ndim != 2 or array.shape[0] != num_features or array.shape[1] == 0:
        message = (
            f"X[{i}] must have shape ({num_features}, bins) with at least one bin, "
            f"{why}, got {array.shape}"
        )
        if _is_transposed(array, labels, num_features):
            message += f", which is transposed, (bins, features): pass X[{i}].T"
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


def _labels(i: int, labels: Any, num_classes: int) -> np.ndarray:
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
