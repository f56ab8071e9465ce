"""Arguments that callers pass, checked: numbers, choices, names that are nearly right.

numpy's numbers and tensors without axes are numbers too; booleans are none.
"""

import difflib
import functools
import inspect
import math
import numbers
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from types import NoneType
from typing import Any, TypeAlias, TypeGuard, TypeVar, get_args, get_origin

import numpy as np
from torch import Tensor
from torch.distributions import constraints

Named = TypeVar("Named", bound=Callable[..., Any])
Kind = TypeVar("Kind")
Reader: TypeAlias = Callable[[str, Any], Any]

# What others call the arguments of this package.
_ELSEWHERE = {
    "n_restarts": "num_restarts",
    "n_init": "num_restarts",
    "restarts": "num_restarts",
    "n_iter": "num_iters",
    "max_iter": "num_iters",
    "max_iters": "num_iters",
    "num_epochs": "num_steps",
    "iterations": "num_iters",
    "random_state": "seed",
    "rng": "seed",
    "verbose": "progress",
    "disable_progress": "progress",
    "start": "init",
    "init_params": "init",
    "initial": "init",
    "draws": "num_samples",
    "num_draws": "num_samples",
    "n_samples": "num_samples",
    "chains": "num_chains",
    "n_chains": "num_chains",
    "tune": "num_warmup",
    "warmup": "num_warmup",
    "burn_in": "num_warmup",
    "lr": "learning_rate",
    "tolerance": "tol",
    "n_jobs": "num_jobs",
    "cores": "num_jobs",
    "n_states": "num_states",
    "n_components": "num_states",
    "k": "num_states",
    "cv": "folds",
    "n_splits": "folds",
}


def whole_number(
    name: str, value: Any, least: int = 0, fix: str = "", most: int = 2**31 - 1
) -> int:
    """A whole number of at least ``least``, as an int.

    Args:
        name: of the argument.
        value: what came.
        least: the smallest number that is allowed.
        fix: what to do about another one; by default a number to give.
        most: the largest number that is allowed.

    Raises:
        ValueError: it is none.
    """
    value_given, value = value, _single(value)
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or value < least:
        number = float(value) if isinstance(value, numbers.Real) else least
        near = round(number) if math.isfinite(number) else least
        near = near if near <= most else least
        need = f"at least {least}" if is_whole else f"a whole number from {least}"
        raise ValueError(
            f"{name} must be {need}, got {value_given!r:.80}; "
            f"{fix or f'give a number such as {max(near, least, 1)}'}"
        )
    if value > most:
        raise ValueError(
            f"{name} must be below 2**{most.bit_length()}, got {value_given!r:.80}; "
            f"{fix or 'give a number such as 100'}"
        )
    return int(value)


def _single(value: Any) -> Any:
    """The number that an array or a tensor without axes holds, else the value."""
    is_array = isinstance(value, np.ndarray | Tensor)
    is_single = is_array and value.ndim == 0 and not getattr(value, "is_meta", False)
    return value.item() if is_single else value


def real_number(
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    ends: bool = False,
    fix: str = "",
) -> float:
    """A finite number between two others, as a float.

    Args:
        name: of the argument.
        value: what came.
        low: it must be above.
        high: it must be below.
        ends: whether it may be ``low`` or ``high`` itself.
        fix: what to do about another one.

    Raises:
        ValueError: it is none.
    """
    number = _single(value)
    is_real = isinstance(number, numbers.Real) and not isinstance(number, bool)
    number = float(number) if is_real else math.nan
    inside = low <= number <= high if ends else low < number < high
    if not (inside and math.isfinite(number)):
        raise ValueError(
            f"{name} must be {_range(low, high, ends)}, got {value!r:.80}; "
            f"{fix or 'give a finite number in that range'}"
        )
    return number


def _range(low: float, high: float, ends: bool) -> str:
    """A range of numbers in words."""
    if math.isinf(low) and math.isinf(high):
        return "a finite number"
    if math.isinf(high):
        return f"at least {low:g}" if ends else f"above {low:g}"
    return f"from {low:g} to {high:g}" if ends else f"between {low:g} and {high:g}"


def seed_number(value: Any) -> int:
    """A seed that both torch and numpy take."""
    return whole_number("seed", value, fix="give a number such as 0", most=2**63 - 1)


def one_of(name: str, value: Any, known: Collection[str]) -> str:
    """One of a few names; an error that suggests the one meant."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(
            f"{name} must be one of {', '.join(known)}, got {value!r:.80}"
            f"{suggestion(str(value), known) or '; give one of these'}"
        )
    return value


def with_article(kind: type) -> str:
    """Name of a class after 'a' or 'an'."""
    return f"{'an' if kind.__name__[0] in 'AEIOaeio' else 'a'} {kind.__name__}"


def suggestion(wrong: str, known: Iterable[str], like: float = 0.6) -> str:
    """'; did you mean ...?' for a name that is not known, or nothing."""
    names = {name.lower(): name for name in known}
    meant = names.get(_ELSEWHERE.get(wrong.lower(), wrong).lower())
    close = difflib.get_close_matches(wrong.lower(), list(names), n=1, cutoff=like)
    matches = [meant] if meant else [names[match] for match in close]
    return f"; did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def flag(name: str, value: Any) -> bool:
    """True or False; a string such as 'no' would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(
            f"{name} must be True or False, got {value!r:.80}; give one of the two"
        )
    return bool(value)


def has_items(value: Any) -> TypeGuard[Iterable[Any]]:
    """Whether it can be gone through, as no number and no array without axes can."""
    try:
        iter(value)
    except TypeError:
        return False
    return True


def plain_item(item: Any) -> Any:
    """An item of a list: a scalar of numpy or torch as Python has it, others as are."""
    single = getattr(item, "ndim", None) == 0 and hasattr(item, "item")
    return item.item() if single and not getattr(item, "is_meta", False) else item


def is_missing(item: Any) -> bool:
    """Whether an item says that there is none: None, NaN, pandas' NA and NaT."""
    unknown = item is None or type(item).__name__ in ("NAType", "NaTType")
    return unknown or (isinstance(item, numbers.Real) and math.isnan(item))


def keep_whole(record: Any, **least: int) -> None:
    """Check that fields of a record are whole numbers from ``least``; keep them so."""
    for name, smallest in least.items():
        number = whole_number(name, getattr(record, name), smallest)
        object.__setattr__(record, name, number)


def keep_real(record: Any, **ranges: tuple[float, float, bool]) -> None:
    """Check that fields are real numbers: (lowest, highest, are these allowed)."""
    for name, (low, high, ends) in ranges.items():
        number = real_number(name, getattr(record, name), low, high, ends=ends)
        object.__setattr__(record, name, number)


def keep_flags(record: Any, *names: str) -> None:
    """Check that fields are True or False; keep them as bool."""
    for name in names:
        object.__setattr__(record, name, flag(name, getattr(record, name)))


def suggests_names(function: Named) -> Named:
    """A function or class whose errors name the arguments that it lacks or has not.

    For an unknown argument they suggest the one that was meant.
    """
    if isinstance(function, type):
        init: Any = function.__init__  # type: ignore[misc]
        named = _naming(init, function.__qualname__, is_method=True)
        function.__init__ = named  # type: ignore[misc]
        return function
    return _naming(function, function.__qualname__)


def suggests_all_names(kind: type[Kind]) -> type[Kind]:
    """A class which does so, with all its public methods.

    A method may be a function from elsewhere, whose first argument is the object.
    """
    for name, member in list(vars(kind).items()):
        if name[0] == "_":
            continue
        title = f"{kind.__qualname__}.{name}"
        if isinstance(member, classmethod | staticmethod):
            is_method = isinstance(member, classmethod)
            named = _naming(member.__func__, title, is_method)
            setattr(kind, name, type(member)(named))
        elif inspect.isfunction(member):
            setattr(kind, name, _naming(member, title, is_method=True))
    return suggests_names(kind)


def _naming(function: Callable[..., Any], title: str, is_method: bool = False) -> Any:
    """The function, its arguments checked by name; ``title`` is what was called."""
    parameters = dict(inspect.signature(function).parameters)
    own = list(parameters)[:1] if is_method else []
    by_place = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    call = f"{title}({', '.join(_needed(parameters, own))})"
    readers = {n: _reader_of(p.annotation, call) for n, p in parameters.items()}

    @functools.wraps(function)
    def checked(*args: Any, **options: Any) -> Any:
        _check_given(title, parameters, own, args, options)
        placed = [readers[name](name, value) for name, value in zip(by_place, args)]
        named = {
            name: readers[name](name, value) if name in readers else value
            for name, value in options.items()
        }
        return function(*placed, *args[len(placed) :], **named)

    return checked


def read_annotated(annotation: Any, reader: Reader) -> None:
    """Have arguments annotated so read, of functions that are decorated from now on.

    Args:
        annotation: of the arguments.
        reader: from name and value of one to what the function is given instead.
    """
    _READERS[annotation] = reader


def want_kind(kind: type, source: str) -> None:
    """Have arguments checked that are annotated to be of a class; what makes one."""
    _WANTED[kind] = with_article(kind), source


def _reader_of(annotation: Any, call: str) -> Reader:
    """What reads an argument of this annotation; see :func:`read_annotated`."""
    if isinstance(annotation, Hashable) and annotation in _READERS:
        return _READERS[annotation]
    kinds = _kinds(annotation)
    if not kinds:
        return lambda name, value: value
    return functools.partial(_of_kind, kinds, call)


def plain_number(name: str, value: Any) -> Any:
    """A number of numpy or torch as one of Python's, anything else as it is."""
    number = _single(value)
    if isinstance(number, bool | int | float) or not isinstance(number, numbers.Real):
        return number
    return int(number) if isinstance(number, numbers.Integral) else float(number)


def _kinds(annotation: Any) -> tuple[type, ...]:
    """The kinds that an argument may be of, where its annotation has simple ones."""
    parts = get_args(annotation) if NoneType in get_args(annotation) else (annotation,)
    found = tuple(get_origin(part) or part for part in parts)
    return found if all(kind in _WANTED for kind in found) else ()


def _of_kind(kinds: tuple[type, ...], call: str, name: str, value: Any) -> Any:
    """The value, if it is of a kind that an argument is annotated to be of."""
    if kinds[0] is bool:
        return value if value is None and NoneType in kinds else flag(name, value)
    if not isinstance(value, kinds):
        wanted, fix = _WANTED[kinds[0]]
        got = type(value).__name__
        if kinds[0] not in _PLAIN:
            got, fix = with_article(type(value)), f"write {call}; {fix}"
        elif kinds[0] not in (Mapping, Tensor):
            got = f"{value!r:.80}"
        raise TypeError(f"{name} must be {wanted}, got {got}; {fix}")
    if isinstance(value, Tensor) and value.is_meta:
        raise TypeError(
            f"{name} must be a tensor that holds values, got one on the device 'meta'; "
            "make it on the CPU"
        )
    return value


_READERS: dict[Any, Reader] = {
    kind: plain_number for kind in (int, float, int | None, float | None)
}

# What an argument must be by its annotation, and what to do about another one.
_WANTED: dict[Any, tuple[str, str]] = {
    bool: ("True or False", "give one of the two"),
    str: ("a string", "give a name in quotes"),
    Tensor: ("a tensor", "convert it by torch.as_tensor"),
    Mapping: ("a Mapping", "give a dictionary, such as {'name': ...}"),
    Callable: ("a function", "give a function, without calling it"),
    constraints.Constraint: ("a constraint", "give such as constraints.positive"),
    NoneType: ("None", "leave it out"),
}
_PLAIN = tuple(_WANTED)


def _needed(parameters: dict[str, inspect.Parameter], own: Sequence[str]) -> list[str]:
    """Names of the arguments that must be given."""
    items = [(n, p) for n, p in parameters.items() if n not in own]
    return [n for n, p in items if p.kind not in _OPEN and p.default is p.empty]


def _check_given(
    title: str,
    parameters: dict[str, inspect.Parameter],
    own: list[str],
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> None:
    """Refuse arguments that are unknown, too many, given twice, or missing."""
    kinds = {parameter.kind for parameter in parameters.values()}
    by_place = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    public = [n for n, p in parameters.items() if n not in own and p.kind not in _OPEN]
    unknown = [name for name in options if name not in public]
    if unknown and inspect.Parameter.VAR_KEYWORD not in kinds:
        fix = suggestion(unknown[0], public, 0.72) or f"; it takes {', '.join(public)}"
        raise TypeError(
            f"{title} must be given arguments of its own, got {unknown[0]!r}{fix}"
        )
    if len(args) > len(by_place) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        most = len(by_place) - len(own)
        raise TypeError(
            f"{title} must be given at most {most} arguments by place, "
            f"got {len(args) - len(own)}; give the others by name"
        )
    first = set(by_place[: len(args)])
    twice = [name for name in options if name in first]
    if twice:
        raise TypeError(
            f"{twice[0]} must be given once, got it by its place and by its name; "
            "leave one of the two out"
        )
    needed = _needed(parameters, own)
    missing = [name for name in needed if name not in first and name not in options]
    if missing:
        kind = parameters[missing[0]].annotation
        known = isinstance(kind, type) and kind != inspect.Parameter.empty
        what = f" ({kind.__name__})" if known else ""
        raise TypeError(
            f"{missing[0]}{what} must be given to {title}, got nothing for it; "
            f"write {title}({', '.join(f'{name}=...' for name in needed)})"
        )


_OPEN = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
