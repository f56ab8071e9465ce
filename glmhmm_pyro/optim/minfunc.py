"""minFunc's option structure, as a dictionary, turned into :class:`LBFGSOptions`."""

from collections.abc import Callable, Mapping
from typing import Any

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.optim.options import (
    INITIAL_STEPS,
    INTERPOLATIONS,
    LINE_SEARCHES,
    LBFGSOptions,
)

# Value of an option of minFunc: a number, or a word such as "off".
Setting = float | str

# minFunc looks these up by their exact spelling, the others in any case.
_EXACT = ("LS_type", "LS_interp", "LS_multi")
_SILENT = ("DISPLAY", "USEMEX")
_OFF = ("DERIVATIVECHECK", "NUMDIFF", "USECOMPLEX")
_RENAMED = {"TOLFUN": "optTol", "TOLX": "progTol"}


@suggests_names
def minfunc_options(options: Mapping[str, Setting]) -> LBFGSOptions:
    """Turn the dictionary of a minFunc user into :class:`LBFGSOptions`.

    ``Method`` must be ``"lbfgs"``, minFunc's default. Keys are read in any case but
    ``LS_type``, ``LS_interp`` and ``LS_multi``, which minFunc finds in exactly this
    spelling: another one, which it would ignore, is an error here. ``Display`` and
    ``useMex`` change no number and are accepted.

    Args:
        options: minFunc's names and values, such as ``{"optTol": 1e-9, "Corr": 5}``.

    Raises:
        ValueError: naming a key that is unknown, misspelt, given twice, belongs to
            another method, or whose value is out of range.

    Example:
        >>> minfunc_options({"LS_type": 0, "MAXITER": 50}).line_search
        'armijo'
    """
    named: dict[str, Any] = {}
    seen: dict[str, str] = {}
    for key, value in options.items():
        if not isinstance(key, str):
            raise TypeError(
                f"minFunc option names must be strings, got {key!r}"
                "; give a mapping from names to values"
            )
        upper = key.upper()
        if upper in seen:
            raise ValueError(
                f"options must differ, got {seen[upper]!r} and {key!r}; leave one out"
            )
        seen[upper] = key
        named.update(_translate(key, upper, value))
    return LBFGSOptions(**named)


def _translate(key: str, upper: str, value: Setting) -> dict[str, Any]:
    """The keyword of :class:`LBFGSOptions` that one minFunc option stands for."""
    for exact in _EXACT:
        if upper == exact.upper() and key != exact:
            raise ValueError(
                f"options must be spelt as in minFunc, got {key!r}; write {exact!r}"
            )
    if upper in _TRANSLATIONS:
        name, convert = _TRANSLATIONS[upper]
        return {name: convert(key, value)}
    if upper in _SILENT or (upper in _OFF and value in (0, "off")):
        return {}
    if upper == "METHOD":
        if str(value).lower() != "lbfgs":
            raise ValueError(
                f"Method must be 'lbfgs', the only one here, got {value!r}"
                "; leave it out"
            )
        return {}
    if upper in _RENAMED:
        new = _RENAMED[upper]
        raise ValueError(f"options must be of minFunc 2012, got {key!r}; use {new!r}")
    known = sorted([name for name in _SPELLINGS.values()] + ["Method", "Display"])
    raise ValueError(f"options must be among {known}, got {key!r}; leave it out")


def _integer(key: str, value: Setting) -> int:
    """A MATLAB number as an int: 5 and 5.0 are the same there."""
    if isinstance(value, str) or int(value) != value:
        raise ValueError(
            f"option {key!r} must be a whole number, got {value!r}"
            "; give one such as 100"
        )
    return int(value)


def _matlab_number(key: str, value: Setting) -> float:
    """A MATLAB number as a float."""
    if isinstance(value, str):
        raise ValueError(
            f"option {key!r} must be a number, got {value!r}" "; give a finite one"
        )
    return float(value)


def _switch(key: str, value: Setting) -> bool:
    """A MATLAB 0 or 1 as a bool."""
    if value not in (0, 1):
        raise ValueError(
            f"option {key!r} must be 0 or 1, got {value!r}" "; give one of the two"
        )
    return bool(value)


def _choice(words: tuple[str, ...], missing: str) -> Callable[[str, Setting], str]:
    """A converter from MATLAB's 0, 1, ... to the words."""

    def convert(key: str, value: Setting) -> str:
        if value not in range(len(words)):
            allowed = f"0 to {len(words) - 1}"
            raise ValueError(
                f"option {key!r} must be {allowed}{missing}, got {value!r}"
                "; leave it out"
            )
        return words[int(value)]

    return convert


_CONVERTERS: dict[str, tuple[str, Callable[[str, Setting], Any]]] = {
    "MaxIter": ("max_iters", _integer),
    "MaxFunEvals": ("max_evals", _integer),
    "optTol": ("gradient_tol", _matlab_number),
    "progTol": ("progress_tol", _matlab_number),
    "Corr": ("history_size", _integer),
    "c1": ("armijo_constant", _matlab_number),
    "c2": ("wolfe_constant", _matlab_number),
    "Fref": ("nonmonotone_window", _integer),
    "Damped": ("damped", _switch),
    "LS_multi": ("three_points", _switch),
    "LS_type": (
        "line_search",
        _choice(LINE_SEARCHES, " (2 is a MATLAB toolbox's line search)"),
    ),
    "LS_interp": ("interpolation", _choice(INTERPOLATIONS, "")),
    "LS_init": (
        "initial_step",
        _choice(INITIAL_STEPS, " (4 needs autoHv, Hessian-vector products)"),
    ),
}
_SPELLINGS = {name.upper(): name for name in _CONVERTERS}
_TRANSLATIONS = {name.upper(): entry for name, entry in _CONVERTERS.items()}
