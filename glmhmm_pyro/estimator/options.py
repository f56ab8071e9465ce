"""The estimator's parameters: which values are legal, and which come later."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

# Parameters of pyGLMHMM whose features come in a later release: the values that leave
# them out, and what the feature is. None stands for the predecessor's long default.
_AR_BINS = np.arange(510, 630)
LATER: dict[str, tuple[tuple[Any, ...], str]] = {
    "num_steps": ((1,), "emissions fitted several steps ahead"),
    "smooth_lambda": ((0,), "a smoothness penalty"),
    "AR_lambda": ((-1,), "a penalty of its own for autoregressive covariates"),
    "AR_vec": ((None, _AR_BINS), "a penalty of its own for autoregressive covariates"),
    "stim_vec": (
        (None, np.setdiff1d(np.arange(631), _AR_BINS)),
        "a penalty of its own for autoregressive covariates",
    ),
    "auto_anneal_vec": (
        (None, [0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1]),
        "annealing of the penalties",
    ),
    "auto_anneal_schedule": (
        (None, [1, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
        "annealing of the penalties",
    ),
    "train_bins": ((None, []), "transitions fitted to some of the covariates"),
    "symb_exists": ((True,), "a fit to analog emissions alone"),
    "use_ASD": ((True,), "analog emissions, on which alone it acts,"),
    "add_filters": ((False,), "filters added to a fitted model"),
    "GLM_emissions": ((True,), "emissions that do not depend on the covariates"),
    "GLM_transitions": ((True,), "transitions that do not depend on the covariates"),
    "evaluate": ((False,), "a fit of one iteration (score(X, y) evaluates new data)"),
    "generate": ((False,), "simulation"),
    "L2_smooth": ((False,), "a smoothness penalty"),
    "analog_flag": ((False,), "analog emissions"),
    "auto_anneal": ((False,), "annealing of the penalties"),
    "anneal_lambda": ((False,), "annealing of the penalties"),
    "get_error_bars": ((False,), "error bars"),
    "CV_regularize": ((False,), "penalties chosen by cross-validation"),
    "cross_validate": ((False,), "cross-validation within a fit (cross_val_score can)"),
}

_SMALLEST_COUNTS = {
    "max_iter": 1,
    "num_samples": 1,
    "num_states": 1,
    "num_emissions": 2,
    "num_feedbacks": 0,
    "num_filter_bins": 1,
    "filter_offset": 0,
}


def check_parameters(params: Mapping[str, Any]) -> None:
    """Refuse parameters whose features come later, and values out of range.

    Args:
        params: all parameters of the estimator, by name.

    Raises:
        ValueError: naming the parameter, what it must be and what came.
        TypeError: for a count or a number of the wrong type.
    """
    for name, (defaults, feature) in LATER.items():
        if not any(np.array_equal(params[name], default) for default in defaults):
            raise ValueError(
                f"{name} must be left at its default {defaults[0]!r} in this release, "
                f"got {params[name]!r}: {feature} comes in a later one"
            )
    for name, smallest in _SMALLEST_COUNTS.items():
        _check_count(name, params[name], smallest)
    for name in ("tol", "emit_lambda", "trans_lambda"):
        _check_number(name, params[name])
        if params[name] < 0:
            raise ValueError(f"{name} must be at least 0, got {params[name]!r}")
    _check_number("init_loglik", params["init_loglik"])
    if params["init_loglik"] == 0:
        raise ValueError(
            "init_loglik must not be 0, because the first change of loglik is taken "
            f"relative to it, got {params['init_loglik']!r}"
        )
    if not isinstance(params["fit_emissions"], (bool, np.bool_)):
        kind = type(params["fit_emissions"]).__name__
        raise TypeError(f"fit_emissions must be True or False, got a {kind}")


def _check_count(name: str, value: Any, smallest: int) -> None:
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < smallest:
        raise ValueError(f"{name} must be at least {smallest}, got {value!r}")


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}")


def generator_of(random_state: Any) -> np.random.Generator:
    """A generator from what scikit-learn calls a random state.

    Args:
        random_state: a seed, a Generator or RandomState to draw from, or ``None`` for
            other numbers at every call. numpy's global state is never touched.
    """
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31 - 1))
    is_seed = hasattr(random_state, "__index__") and not isinstance(random_state, bool)
    if random_state is None or is_seed or isinstance(random_state, np.random.Generator):
        return np.random.default_rng(random_state)
    raise TypeError(
        "random_state must be an integer, a numpy Generator or RandomState, or None, "
        f"got {random_state!r}"
    )
