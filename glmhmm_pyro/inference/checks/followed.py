"""Whether a column was made of the labels of its own step."""

import numpy as np
from scipy.optimize import linprog

# Values that a column may have to be one of outcomes, such as rewards.
_MOST_VALUES = 20

# Rows of either outcome, and of those that the label decides, below which there is no
# saying; and rows that are looked at first.
_FEWEST, _SAMPLE = 8, 500

# Least share of the variance of an outcome that labels and context explain.
_SHARE = 0.05

# Share of the rows of either value of an outcome that have to be decided.
_DECIDED = 0.3

# What rounding leaves of 0.
_NOTHING = 1e-7


def follows(column: np.ndarray, context: np.ndarray, labels: np.ndarray) -> bool:
    """Whether a column follows from labels with its context, not from this alone.

    A column of more than two values is looked at as whether it is above its least, and
    whether it is its largest. It follows where in the rows of each class a sum of the
    context tells its values apart (quasi-completely, Albert & Anderson 1984, and three
    rows in ten strictly), these sums differ from class to class where both values are
    found, and no sum of the context, its squares and products does so in all rows.

    Args:
        column: shape (rows,).
        context: other columns, shape (rows, columns); what repeats the column is left
            out.
        labels: shape (rows,).
    """
    values = np.unique(column)
    if not 1 < len(values) <= _MOST_VALUES or not _differ(column, labels):
        return False
    context = context[:, ~repeats(context, column)]
    size = np.abs(context).max(0, initial=0.0)
    context = np.column_stack([context / size, np.ones(len(context))])
    levels = {float(values[0]), float(values[-2])}
    return any(_is_outcome(column > level, context, labels) for level in levels)


def _is_outcome(is_one: np.ndarray, context: np.ndarray, labels: np.ndarray) -> bool:
    """The same of a column of two values, in rows whose context has a constant."""
    if min(is_one.sum(), (~is_one).sum()) < _FEWEST:
        return False
    if _explained(is_one, context, labels) < _SHARE:
        return False
    first = slice(max(_SAMPLE, 10 * context.shape[1]))
    parts = [first, slice(None)] if len(labels) > first.stop else [slice(None)]
    return all(_decided(is_one[p], context[p], labels[p]) for p in parts)


def _explained(is_one: np.ndarray, context: np.ndarray, labels: np.ndarray) -> float:
    """Share of variance that sums of the context explain within the classes."""
    left = 0.0
    for label in np.unique(labels):
        rows, target = context[labels == label], 1.0 * is_one[labels == label]
        fitted = rows @ np.linalg.lstsq(rows, target, rcond=None)[0]
        left += ((target - fitted) ** 2).sum()
    return 1 - left / (len(is_one) * is_one.mean() * (1 - is_one.mean()))


def _decided(is_one: np.ndarray, context: np.ndarray, labels: np.ndarray) -> bool:
    """Whether classes and context decide a column of two values."""
    classes, which = np.unique(labels, return_inverse=True)
    scores = np.empty((len(classes), len(labels)))
    for number in range(len(classes)):
        rows = which == number
        weights = _telling(context[rows], is_one[rows])
        if weights is None:
            return False
        scores[number] = context @ weights
    own = scores[which, np.arange(len(labels))]
    against = ((scores * np.sign(own)).min(0) < 0) & (np.abs(own) > _NOTHING)
    if min((against & is_one).sum(), (against & ~is_one).sum()) < _FEWEST:
        return False
    if not _many(own, is_one):
        return False
    squares = _products(context)
    weights = _direction(squares, is_one)
    return weights is None or not _many(squares @ weights, is_one)


def _telling(rows: np.ndarray, is_one: np.ndarray) -> np.ndarray | None:
    """Weights by which rows of one class tell the values of the column apart.

    Of all columns where there are rows enough that none could do so by chance (Cover
    1965), else of one column beside the constant; None where there are none.
    """
    number, width = min(is_one.sum(), (~is_one).sum()), rows.shape[1]
    if number == 0:
        return np.eye(width)[-1] * (1.0 if is_one.all() else -1.0)
    if number >= max(_FEWEST, 2 * width):
        return _direction(rows, is_one)
    if number < 4:
        return None
    for place in range(width - 1):
        weights = _direction(rows[:, [place, -1]], is_one)
        if weights is not None and _many(rows[:, [place, -1]] @ weights, is_one):
            return np.eye(width)[[place, -1]].T @ weights
    return None


def _direction(rows: np.ndarray, is_one: np.ndarray) -> np.ndarray | None:
    """Weights that put no row on the wrong side of 0, and as many as may be off it.

    Each round of linear programming moves rows that none before has moved off 0.
    """
    share = np.where(is_one, 1 / is_one.sum(), 1 / (~is_one).sum())
    signed = rows * np.where(is_one, 1.0, -1.0)[:, None]
    signed, place = np.unique(signed, axis=0, return_inverse=True)
    share = np.bincount(place.ravel(), share)
    total, still = np.zeros(rows.shape[1]), np.ones(len(signed), bool)
    while still.any():
        goal, bounds = (share * still) @ signed, [(-1.0, 1.0)] * rows.shape[1]
        found = linprog(-goal, A_ub=-signed, b_ub=np.zeros(len(signed)), bounds=bounds)
        moved = still & (signed @ found.x > _NOTHING) if found.status == 0 else ~still
        if not moved.any() or found.status != 0:
            break
        total, still = total + found.x, still & ~moved
    return total if total.any() else None


def _many(score: np.ndarray, is_one: np.ndarray) -> bool:
    """Whether scores have the right sign in many rows of either value.

    They are 0 in others, such as errors without a stimulus, which are many of all.
    """
    is_right = score * np.where(is_one, 1, -1) > _NOTHING
    return bool(min(is_right[is_one].mean(), is_right[~is_one].mean()) > _DECIDED)


def _products(rows: np.ndarray) -> np.ndarray:
    """Squares and products of all columns, the last of which is constant."""
    first, second = np.triu_indices(rows.shape[1])
    products: np.ndarray = rows[:, first] * rows[:, second]
    return products


def _differ(column: np.ndarray, labels: np.ndarray) -> bool:
    """Whether both vary."""
    return bool(np.ptp(column) > 0 and np.ptp(labels) > 0)


def distinct(columns: np.ndarray) -> np.ndarray:
    """Columns that vary, each once."""
    varying = columns[:, np.ptp(columns, axis=0) > 0]
    return np.unique(varying, axis=1) if varying.size else varying


def repeats(columns: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Which columns that vary are another one that varies in units of their own."""
    centred, own = columns - columns.mean(0), column - column.mean()
    sizes = np.sqrt((centred**2).sum(0) * (own**2).sum())
    same: np.ndarray = np.abs(own @ centred) >= (1 - _NOTHING) * sizes
    return same
