"""Options of the L-BFGS minimiser, in words, with minFunc's names beside them."""

import math
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

from glmhmm_pyro.arguments import suggests_names

LINE_SEARCHES = ("armijo", "wolfe")
INTERPOLATIONS = ("bisection", "quadratic", "cubic", "mixed")
INITIAL_STEPS = ("unit", "slope", "quadratic", "double")


@suggests_names
@dataclass(frozen=True, kw_only=True)
class LBFGSOptions:
    """What :func:`minimize` is told; the defaults are those of minFunc (2012).

    Args:
        max_iters: number of descent steps at most (``MaxIter``).
        max_evals: no further step is begun once the objective has been evaluated
            this often (``MaxFunEvals``); the last line search may run past it.
        gradient_tol: stop when no gradient entry is larger than this (``optTol``).
        progress_tol: stop when the largest coordinate of a step, the change of the
            value or the slope along the direction is below this (``progTol``).
            All are absolute: scale the objective accordingly.
        history_size: number of (step, gradient change) pairs kept (``Corr``).
        line_search: ``"wolfe"`` for the strong Wolfe conditions, ``"armijo"`` for
            backtracking to a sufficient decrease (``LS_type`` 1 and 0).
        interpolation: how a line search picks its next trial (``LS_interp`` 0 to 3).
            ``"bisection"``: halve, or grow tenfold. ``"quadratic"``: Armijo uses the
            trial values alone, Wolfe bisects. ``"cubic"``: values and slopes.
            ``"mixed"``: Wolfe picks among cubic, quadratic and secant steps by the
            rules of Moré and Thuente (1994); Armijo treats it as ``"cubic"``.
        three_points: Armijo interpolates through the last two trials and the start
            instead of one trial and the start (``LS_multi``).
        initial_step: first trial of a line search after the first iteration
            (``LS_init`` 0 to 3). ``"unit"``: 1. ``"slope"``: the last step times the
            ratio of slopes, at most doubled. ``"quadratic"``: from the last decrease.
            ``"double"``: twice the last step, at most 1.
        armijo_constant: part of the predicted decrease that is sufficient (``c1``).
        wolfe_constant: part of the initial slope that may remain (``c2``).
        nonmonotone_window: Armijo compares with the largest of this many last values
            (``Fref``); 1 asks every step to decrease.
        damped: damp updates of negative curvature (Powell 1978; ``Damped``) instead
            of skipping them.

    Raises:
        ValueError: if a number is out of range or a choice is unknown.
        TypeError: if an argument has the wrong type.

    Example:
        >>> LBFGSOptions(max_iters=20).history_size
        100
    """

    max_iters: int = 500
    max_evals: int = 1000
    gradient_tol: float = 1e-5
    progress_tol: float = 1e-9
    history_size: int = 100
    line_search: str = "wolfe"
    interpolation: str = "cubic"
    three_points: bool = False
    initial_step: str = "unit"
    armijo_constant: float = 1e-4
    wolfe_constant: float = 0.9
    nonmonotone_window: int = 1
    damped: bool = False

    def __post_init__(self) -> None:
        for name in ("max_iters", "max_evals", "history_size", "nonmonotone_window"):
            object.__setattr__(self, name, _positive_int(name, getattr(self, name)))
        for name in ("gradient_tol", "progress_tol"):
            _check_range(name, getattr(self, name), 0.0, math.inf)
        for name in ("armijo_constant", "wolfe_constant"):
            _check_range(name, getattr(self, name), 0.0, 1.0)
        _check_choice("line_search", self.line_search, LINE_SEARCHES)
        if self.line_search == "wolfe" and self.armijo_constant >= self.wolfe_constant:
            raise ValueError(
                "armijo_constant must be below wolfe_constant, or no step may meet both"
                f" of Wolfe's conditions, got {self.armijo_constant!r} and "
                f"{self.wolfe_constant!r}; give such as 1e-4 and 0.9"
            )
        _check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        _check_choice("initial_step", self.initial_step, INITIAL_STEPS)
        for name in ("three_points", "damped"):
            if not isinstance(getattr(self, name), bool):
                value = getattr(self, name)
                raise TypeError(
                    f"{name} must be True or False, got {value!r}; give one of the two"
                )


def resolve_options(
    options: LBFGSOptions | None, named: dict[str, Any]
) -> LBFGSOptions:
    """Merge an options object with options given by name, which take precedence."""
    if options is not None and not isinstance(options, LBFGSOptions):
        hint = "; minfunc_options turns a minFunc dictionary into one"
        kind = type(options).__name__
        raise TypeError(
            f"options must be an LBFGSOptions, got {kind}{hint}"
            "; write LBFGSOptions(...)"
        )
    known = LBFGSOptions.__dataclass_fields__
    unknown = sorted(set(named) - set(known))
    if unknown:
        raise TypeError(
            f"options must be among {sorted(known)}, got {unknown}; leave them out"
        )
    return replace(options or LBFGSOptions(), **named)


def _positive_int(name: str, value: int) -> int:
    """The value as an int, which must be whole and at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(
            f"{name} must be an integer, got {value!r}" "; give a whole number"
        )
    if int(value) < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}" "; give 1 or more")
    return int(value)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise unless the value is a finite number in [low, high)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"{name} must be a number, got {value!r}" "; give a finite number"
        )
    if not low <= float(value) < high:
        raise ValueError(
            f"{name} must be in [{low:g}, {high:g}), got {value!r}"
            "; give a number in that range"
        )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise unless the value is one of the choices."""
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {choices}, got {value!r}" "; give one of these"
        )
