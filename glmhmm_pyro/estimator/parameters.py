"""The estimator's parameters: which values are legal, alone and together."""

import math
import numbers
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.arguments import plain_number, real_number, whole_number
from glmhmm_pyro.sequences.arrays import as_array

# What scikit-learn calls so: a seed, or a generator, or None for other numbers always.
RandomState = int | np.random.Generator | np.random.RandomState | None

# All parameters of the estimator, by name.
Options: TypeAlias = Mapping[str, Any]

# The predecessor's long defaults, which None stands for.
AR_ROWS = np.arange(510, 630)
STIMULUS_ROWS = np.setdiff1d(np.arange(631), AR_ROWS)
ANNEAL_VEC = [0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1]
ANNEAL_SCHEDULE = [1, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]

# Values that leave a parameter out; those of others are False.
_LEFT_OUT: dict[str, tuple[Any, ...]] = {
    "smooth_lambda": (0,),
    "AR_lambda": (-1,),
    "AR_vec": (None, AR_ROWS),
    "stim_vec": (None, STIMULUS_ROWS),
    "auto_anneal_vec": (None, ANNEAL_VEC),
    "auto_anneal_schedule": (None, ANNEAL_SCHEDULE),
    "train_bins": (None, []),
}

# What a parameter acts with: it must be left out unless one of these is given.
_ACTS_WITH = {
    "smooth_lambda": ("L2_smooth",),
    "L2_smooth": ("smooth_lambda", "AR_lambda", "CV_regularize"),
    "AR_vec": ("AR_lambda", "generate"),
    "stim_vec": ("AR_lambda",),
    "auto_anneal_vec": ("auto_anneal", "anneal_lambda"),
    "auto_anneal_schedule": ("auto_anneal", "anneal_lambda"),
    "train_bins": ("GLM_transitions",),
}

# Pairs that ask for two things at once, and why they cannot be had.
_CONTRADICTIONS = (
    ("auto_anneal", "anneal_lambda", "one replaces emit_lambda, the other goes to it"),
    ("CV_regularize", "auto_anneal", "both set the penalties"),
    ("CV_regularize", "anneal_lambda", "both set the penalties"),
    ("evaluate", "CV_regularize", "penalties do not act where nothing is fitted"),
    ("evaluate", "auto_anneal", "penalties do not act where nothing is fitted"),
    ("evaluate", "anneal_lambda", "penalties do not act where nothing is fitted"),
    ("evaluate", "cross_validate", "nothing is fitted that could be validated"),
)

# Smallest values, where they are not 1 of a count and 0 of another number.
_SMALLEST = {
    "num_emissions": 2,
    "num_feedbacks": 0,
    "filter_offset": 0,
    "init_loglik": -math.inf,
    "AR_lambda": -1,
}

# What a parameter annotated so must be.
_KINDS: dict[Any, tuple[type, str, str]] = {
    int: (numbers.Integral, "an integer", "a whole number"),
    float: (numbers.Real, "a number", "a finite number"),
    bool: (bool, "True or False", "one of the two"),
}


def checked(given: Options, kinds: Mapping[str, Any]) -> Options:
    """The parameters, numbers and switches as Python's own, ``AR_vec`` never ``None``.

    An error names one that is out of range, or at odds with another; it is a TypeError
    for a value of another type than ``kinds``, the annotations, say.
    """
    params = {name: _plain(name, given[name], kind) for name, kind in kinds.items()}
    if params["AR_vec"] is None:
        params["AR_vec"] = AR_ROWS
    if params["init_loglik"] == 0:
        raise ValueError(
            "init_loglik must not be 0, because the first change of loglik is taken "
            "relative to it, got 0; give a number such as -1e7"
        )
    if -1 < params["AR_lambda"] < 0:
        raise ValueError(
            "AR_lambda must be at least 0, or -1 for the penalties of all other "
            f"columns, got {params['AR_lambda']!r}; give one of these"
        )
    if params["num_steps"] > 1:
        raise ValueError(
            f"num_steps must be 1, got {params['num_steps']!r}: the original's "
            "objective of several steps adds the log-likelihood of labels drawn anew, "
            "and is no likelihood of anything; look further by generate=True"
        )
    _check_combinations(params)
    return params


def _plain(name: str, value: Any, kind: Any) -> Any:
    """A parameter as a number or switch of Python's; a list, or seed, as it is."""
    if name == "random_state":
        return value
    if kind not in _KINDS:
        array = np.empty(0) if value is None else as_array(name, value)
        if array.ndim > 1 or array.dtype.kind not in "biuf":
            raise TypeError(
                f"{name} must be a list of numbers, got {value!r}; give such as [1, 2]"
            )
        return value
    wanted, words, fix = _KINDS[kind]
    value = bool(value) if isinstance(value, np.bool_) else plain_number(name, value)
    if not isinstance(value, wanted) or isinstance(value, bool) != (kind is bool):
        raise TypeError(f"{name} must be {words}, got {value!r:.80}; give {fix}")
    if kind is int:
        return whole_number(name, value, int(_SMALLEST.get(name, 1)), most=2**63 - 1)
    if kind is float:
        return real_number(name, value, _SMALLEST.get(name, 0), ends=True)
    return value


def _check_combinations(params: Options) -> None:
    for name, partners in _ACTS_WITH.items():
        if is_given(params, name) and not any(is_given(params, p) for p in partners):
            raise ValueError(
                f"{name} must be left out where it does nothing, got "
                f"{params[name]!r}: it acts with {' or '.join(partners)}; leave it out"
            )
    if is_given(params, "AR_lambda") and not np.size(params["AR_vec"]):
        raise ValueError(
            "AR_vec must name rows of X for AR_lambda to act on, got an empty list; "
            "leave AR_lambda out if there are none"
        )
    for one, other, why in _CONTRADICTIONS:
        if params[one] and params[other]:
            raise ValueError(
                f"{one} must be False where {other} is True, got both; {why}"
            )


def is_given(params: Options, name: str) -> bool:
    """Whether a parameter has another value than those that leave it out."""
    left_out = _LEFT_OUT.get(name, (False,))
    return not any(np.array_equal(params[name], value) for value in left_out)


def generator_of(random_state: RandomState) -> np.random.Generator:
    """A generator of its own: numpy's global state is never touched."""
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(2**31 - 1)
    elif random_state is True or not isinstance(
        random_state, numbers.Integral | np.random.Generator | None
    ):
        raise TypeError(
            "random_state must be an integer, a numpy Generator or RandomState, or "
            f"None, got {random_state!r:.80}; give a number such as 0"
        )
    elif isinstance(random_state, numbers.Integral):
        random_state = whole_number("random_state", random_state, most=2**63 - 1)
    return np.random.default_rng(random_state)


def row_numbers(
    name: str, rows: ArrayLike | None, num_features: int
) -> tuple[int, ...]:
    """Numbers of rows of X, checked; none for ``None`` and an empty list."""
    found = np.atleast_1d([] if rows is None else rows)
    known = np.unique(found)
    whole = found.dtype.kind in "iu" and set(known) <= set(range(num_features))
    if found.size and not (whole and known.size == found.size):
        raise ValueError(
            f"{name} must hold numbers of rows of X, from 0 and below {num_features}, "
            f"each once, got {rows!r}; name each row once"
        )
    return tuple(map(int, found))
