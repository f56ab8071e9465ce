"""Sessions to fit and to hold out, fold by fold."""

import copy
from typing import Any

import numpy as np

from glmhmm_pyro.arguments import whole_number
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.masking import steps_observed
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.arrays import as_array


def splits_of(data: Sequences, folds: Any, groups: Any, seed: int) -> list[Any]:
    """Numbers of the sessions to fit and to hold out, for every fold."""
    from sklearn.model_selection import GroupKFold, KFold

    groups = None if groups is None else _numbered(groups, data.num_sessions)
    units = data.num_sessions if groups is None else len(set(groups))
    if isinstance(folds, int | float | np.number | np.bool_):
        folds = whole_number("folds", folds, 1)
        if not 2 <= folds <= units:
            what = "sessions" if groups is None else "groups"
            raise ValueError(
                f"folds must be from 2 to the {units} {what} there are, got {folds}"
                "; give a number in that range"
            )
        shuffled = KFold(folds, shuffle=True, random_state=seed)
        folds = shuffled if groups is None else GroupKFold(folds)
    elif not hasattr(folds, "get_n_splits"):
        raise TypeError(
            "folds must be a number, or a splitter of scikit-learn such as "
            f"LeaveOneGroupOut(), got {folds!r}; give a number such as 5"
        )
    sessions = np.arange(data.num_sessions)
    splits = list(folds.split(sessions, groups=groups))
    if len(splits) < 2:
        raise ValueError(
            f"folds must make at least 2 splits, whose spread is the standard error, "
            f"got {len(splits)}; give a splitter of more, or a number"
        )
    for _, test in splits:
        _check_observed(data, test)
    return [(train.tolist(), test.tolist()) for train, test in splits]


def held_out(
    data: Sequences, train: list[int], test: list[int], refit_design: bool
) -> tuple[Sequences, Sequences]:
    """The sessions to fit and those held out, covariates learnt from the former."""
    if refit_design:
        data = data.refit_design(train)
    # Raw columns are not sent to other processes.
    data = data._derive(design_source=None)
    return data.subset(train), data.subset(test)


def check_folds(jobs: list[tuple[Sequences, Sequences]], model: GLMHMM) -> None:
    """Refuse folds of which one could not be fitted, before any is.

    Such as one without the only session in which a column varies.
    """
    for number, (train, test) in enumerate(jobs, start=1):
        try:
            Program.of(copy.deepcopy(model), train).check()
        except ValueError as error:
            raise ValueError(
                "folds must each leave data that can be fitted, got fold "
                f"{number} of {len(jobs)}, without session "
                f"{', '.join(test.session_names)}, of which: {error}; or take other "
                "folds, seed or groups"
            ) from error


def _numbered(groups: Any, num_sessions: int) -> np.ndarray:
    """A number for the group of every session."""
    import pandas as pd

    given = as_array("groups", groups, object)
    if given.shape != (num_sessions,):
        raise ValueError(
            f"groups must have an entry for each of the {num_sessions} sessions, got "
            f"{groups!r:.80}; give one for each session"
        )
    numbers, _ = pd.factorize(given.astype(object))
    if (numbers < 0).any():
        raise ValueError(
            "groups must name the group of every session, got none for session "
            f"{int(numbers.argmin())}; give every session one"
        )
    return numbers


def _check_observed(data: Sequences, sessions: np.ndarray) -> None:
    """Refuse to hold out sessions that have nothing to score."""
    seen = steps_observed(data.subset(sessions.tolist()).mask)
    if seen is not None and not seen.any():
        raise ValueError(
            "folds must each hold out an observed step, got none in sessions "
            f"{sessions.tolist()}; use fewer folds, or data without these sessions"
        )
