"""Sessions to fit and to hold out, fold by fold."""

import copy
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.arguments import has_items, whole_number
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.refusals import check_kept_together
from glmhmm_pyro.masking import steps_observed
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.arrays import as_array


class Splitter(Protocol):
    """What makes folds: a splitter of scikit-learn, such as ``LeaveOneGroupOut()``."""

    def get_n_splits(self) -> int:
        """Number of folds."""

    def split(
        self, X: np.ndarray, y: None = None, groups: np.ndarray | None = None
    ) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """Places to fit and to hold out, for every fold."""


# A number of folds, "group", a fold for every session, or a splitter.
Folds = int | Splitter | ArrayLike

# Numbers of the sessions to fit and of those held out, for every fold.
Places = list[tuple[np.ndarray, np.ndarray]]
Splits = list[tuple[list[int], list[int]]]


def splits_of(
    data: Sequences, folds: Folds, groups: ArrayLike | None, seed: int
) -> Splits:
    """Numbers of the sessions to fit and to hold out, for every fold.

    Args:
        data: the sessions.
        folds: a number, ``"group"``, a fold for every session, or a splitter.
        groups: of every session, to be held out as wholes; ``None`` leaves groups to
            the data, whose sessions are shared out evenly by a number of folds.
        seed: of what is drawn.
    """
    known = data.groups if groups is None else groups
    numbers = None if known is None else _numbered(known, data.num_sessions)
    sessions = np.arange(data.num_sessions)
    if isinstance(folds, int | float | np.number | np.bool_):
        whole = numbers if groups is not None else None
        number = _checked_number(folds, data.num_sessions, whole)
        splits = _drawn(number, numbers, groups is not None, sessions, seed)
    elif _is_splitter(folds):
        with warnings.catch_warnings():
            # Splitters that do not ask for groups need not say so.
            warnings.filterwarnings("ignore", "The groups parameter is ignored")
            splits = list(folds.split(sessions, groups=numbers))
    else:
        splits = _as_given(folds, numbers, data.num_sessions)
    if len(splits) < 2:
        raise ValueError(
            f"folds must make at least 2 splits, whose spread is the standard error, "
            f"got {len(splits)}; give a splitter of more, or a number"
        )
    for _, test in splits:
        _check_observed(data, test)
    return [(train.tolist(), test.tolist()) for train, test in splits]


def _is_splitter(folds: Folds) -> TypeGuard[Splitter]:
    """Whether folds are given as a splitter."""
    return hasattr(folds, "get_n_splits")


def _checked_number(
    folds: float | np.number | np.bool_, num_sessions: int, groups: np.ndarray | None
) -> int:
    """A number of folds, if there are as many sessions, or groups, to hold out."""
    folds = whole_number("folds", folds, 1)
    units = num_sessions if groups is None else len(set(groups))
    if not 2 <= folds <= units:
        what = "sessions" if groups is None else "groups"
        raise ValueError(
            f"folds must be from 2 to the {units} {what} there are, got {folds}"
            "; give a number in that range"
        )
    return folds


def _drawn(
    number: int,
    groups: np.ndarray | None,
    is_whole: bool,
    sessions: np.ndarray,
    seed: int,
) -> Places:
    """Splits at random: groups held out whole, or shared out evenly, if there are."""
    from sklearn.model_selection import KFold

    if groups is None:
        return list(KFold(number, shuffle=True, random_state=seed).split(sessions))
    rng = np.random.default_rng(seed)
    if is_whole:
        # As many groups for every fold, or one more.
        return _splits_by((rng.permutation(groups.max() + 1) % number)[groups])
    # Shuffled, then by group, and dealt out as cards are.
    order = rng.permutation(len(sessions))
    order = order[np.argsort(groups[order], kind="stable")]
    folds = np.empty(len(sessions), dtype=int)
    folds[order] = np.arange(len(sessions)) % number
    return _splits_by(folds)


def _as_given(folds: Folds, groups: np.ndarray | None, num_sessions: int) -> Places:
    """Splits by group, or by the fold that every session is said to be in."""
    if isinstance(folds, str) and folds == "group":
        if groups is None:
            raise ValueError(
                "folds must be a number for data without groups, got 'group'; give "
                "groups to Sequences, or group= to Sequences.from_dataframe"
            )
        return _splits_by(groups)
    if isinstance(folds, str) or not has_items(folds):
        raise TypeError(
            "folds must be a number, 'group', the fold of every session, or a splitter "
            f"of scikit-learn such as LeaveOneGroupOut(), got {folds!r}; give a number "
            "such as 5"
        )
    labels: Any = folds
    return _splits_by(_numbered(labels, num_sessions, "folds"))


def _splits_by(numbers: np.ndarray) -> Places:
    """A split for every number, which holds out the sessions that have it."""
    return [
        (np.where(numbers != n)[0], np.where(numbers == n)[0])
        for n in set(numbers.tolist())
    ]


def check_several(data: Sequences, fix: str) -> None:
    """Raise an error for data of which no session can be held out."""
    if data.num_sessions < 2:
        raise ValueError(
            "data must have at least 2 sessions, of which some are held out, got "
            f"{data.num_sessions}; {fix}"
        )


def held_out(
    data: Sequences, train: list[int], test: list[int], refit_design: bool
) -> tuple[Sequences, Sequences]:
    """The sessions to fit and those held out, covariates learnt from the former."""
    if refit_design:
        data = data.refit_design(train)
    # Raw columns are not sent to other processes.
    data = data._derive(design_source=None)
    return data.subset(train), data.subset(test)


def check_folds(
    data: Sequences, jobs: list[tuple[Sequences, Sequences]], model: GLMHMM
) -> None:
    """Raise a ValueError if some fold could not be fitted, before any is.

    Such as one without the only session in which a column varies, or with a part of a
    group whose sessions go on from one another.
    """
    for train, test in jobs:
        check_groups_whole(model, train, test, "folds", "folds='group'")
    for number, (train, test) in enumerate(jobs, start=1):
        error = _refusal(model, train)
        if error is not None:
            if str(_refusal(model, data)) == str(error):
                # Other folds would help nothing.
                raise error
            raise ValueError(
                "folds must each leave data that can be fitted, got fold "
                f"{number} of {len(jobs)}, without session "
                f"{', '.join(test.session_names)}, of which: {error}; or take other "
                "folds, seed or groups"
            ) from error


def _refusal(model: GLMHMM, data: Sequences) -> ValueError | None:
    """Why these data cannot be fitted, if they cannot."""
    try:
        Program.of(copy.deepcopy(model), data).check()
    except ValueError as error:
        return error
    return None


def check_groups_whole(
    model: Callable[..., Any],
    train: Sequences,
    test: Sequences,
    argument: str,
    fix: str,
) -> None:
    """Raise a ValueError if sessions held out go on from others that are fitted.

    Args:
        model: of the fits.
        train: sessions to fit.
        test: sessions held out.
        argument: that made them, for the message.
        fix: what to write instead.
    """
    both = [name for name in test.group_names if name in train.group_names]
    if test.groups is None:
        fix = f"give groups to Sequences, and write {fix}"
        check_kept_together(model, argument, "sessions without groups", fix)
    elif both:
        got = f"group {both[0]!r} on both sides"
        check_kept_together(model, argument, got, f"write {fix}")


def _numbered(
    labels: ArrayLike, num_sessions: int, argument: str = "groups"
) -> np.ndarray:
    """A number for the group, or fold, of every session, in their order."""
    import pandas as pd

    given = as_array(argument, labels, object)
    if given.shape != (num_sessions,):
        raise ValueError(
            f"{argument} must have an entry for each of the {num_sessions} sessions, "
            f"got {labels!r:.80}; give one for each session"
        )
    numbers, _ = pd.factorize(given.astype(object))
    if (numbers < 0).any():
        raise ValueError(
            f"{argument} must name the {argument[:-1]} of every session, got none for "
            f"session {int(numbers.argmin())}; give every session one"
        )
    return numbers


def _check_observed(data: Sequences, sessions: np.ndarray) -> None:
    """Raise a ValueError if sessions held out have no observed step."""
    seen = steps_observed(data.subset(sessions.tolist()).mask)
    if seen is not None and not seen.any():
        raise ValueError(
            "folds must each hold out an observed step, got none in sessions "
            f"{sessions.tolist()}; use fewer folds, or data without these sessions"
        )
