"""Digests of models, data and options: whether two calls are the same.

Models of this package count by their descriptions, functions and classes of the user's
own by their code and all that it reads: what they enclose, their defaults, and the
functions and values that stand beside them in their module. Those of other packages,
such as ``pyro.sample``, count by their names; other objects by class and attributes.
"""

import dataclasses
import functools
import hashlib
import json
import pickle
import re
import sys
import sysconfig
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Transform
from torch.distributions.utils import lazy_property

from glmhmm_pyro.inference.fits.descriptions import describe
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.operators import kept

# Where packages are installed.
_INSTALLED = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib"))

# Where what stands around a function in a class has it.
_WRAPPED = ("fget", "func", "__func__")

# Kinds whose representation is all there is to them.
_PLAIN = (int, float, complex, str, bytes, slice, range, np.generic)
_NAMED = (torch.dtype, torch.device, np.dtype, ModuleType, BuiltinFunctionType)


def digest(value: Any) -> str:
    """SHA-256 of what a value consists of, the same in every process.

    Raises:
        ValueError: a part of it cannot be told from others of its type.
    """
    found = hashlib.sha256()
    _feed(found, value, frozenset(), set())
    return found.hexdigest()


def _feed(
    found: "hashlib._Hash", value: Any, above: frozenset[int], read: set[int]
) -> None:
    """Add a value to a digest.

    Args:
        above: objects that it is part of.
        read: functions and classes that are in the digest already.
    """
    found.update(f"<{type(value).__qualname__}".encode())
    known = above
    if isinstance(value, FunctionType | type):
        known = above | read
        read.add(id(value))
        found.update(value.__qualname__.encode())
    if id(value) not in known:
        for part in _contents(value):
            if isinstance(part, bytes | str):
                found.update(part.encode() if isinstance(part, str) else part)
                found.update(b";")
            else:
                _feed(found, part, above | {id(value)}, read)
    found.update(b">")


def _contents(value: Any) -> list[Any]:
    """What a value consists of; strings and bytes are ends."""
    if value is None or isinstance(value, _PLAIN):
        return [repr(value)]
    if isinstance(value, Tensor | np.ndarray):
        return _parts_of_array(value)
    if isinstance(value, Mapping):
        return [part for item in value.items() for part in item]
    if isinstance(value, set | frozenset):
        return sorted(map(digest, value))
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, GLMHMM):
        return _parts_of_model(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = [f.name for f in dataclasses.fields(value) if f.compare]
        read: Callable[..., Any] = kept if isinstance(value, Sequences) else getattr
        return [part for name in shown for part in (name, read(value, name))]
    return _parts_of_object(value)


def _parts_of_array(value: Tensor | np.ndarray) -> list[Any]:
    array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    content = array.tolist() if array.dtype.hasobject else array.tobytes()
    return [str(array.dtype), str(array.shape), content]


def _parts_of_model(model: GLMHMM) -> list[Any]:
    """A model's description, and what of the user's own is in it."""
    plain = re.sub(r" at 0x[0-9a-f]+", "", json.dumps(describe(model)))
    components = model.components.values()
    priors = [site.prior for part in components for site in part.sites.values()]
    own = [prior for prior in priors if hasattr(prior, "__code__")]
    return [plain, *own, *[part for part in components if _is_own(type(part))]]


def _parts_of_object(value: Any) -> list[Any]:
    """A function's code and what it reads; an object's class and attributes."""
    if isinstance(value, weakref.ref):
        return []
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, FunctionType):
        return _parts_of_function(value) if _is_own(value) else [value.__module__]
    if isinstance(value, type):
        return _parts_of_class(value) if _is_own(value) else [value.__module__]
    if isinstance(value, _NAMED):
        return [getattr(value, "__name__", str(value))]
    if isinstance(value, CodeType):
        return _parts_of_code(value)
    return [*filter(_is_own, type(value).__mro__), *_attributes(value)]


def _attributes(value: Any) -> list[Any]:
    """Names and values of an object's attributes; what pickle knows, if it has none."""
    if hasattr(value, "__dict__"):
        own = vars(value)
        made = _cached_attributes(value)
        return [part for n in sorted(own) if n not in made for part in (n, own[n])]
    if type(value).__module__ == "builtins" or not hasattr(type(value), "__slots__"):
        try:
            return [pickle.dumps(value)]
        except Exception as error:
            raise ValueError(
                "checkpoint must be None where model or options hold a "
                f"{type(value).__name__}, which cannot be told from another; leave it "
                "out, or let them make it when they are called"
            ) from error
    names = [name for kind in type(value).__mro__ for name in _slots(kind)]
    return [part for n in names if hasattr(value, n) for part in (n, getattr(value, n))]


def _cached_attributes(value: Any) -> set[str]:
    """Names of attributes that come with the use of distributions and transforms."""
    names = {"_cached_x_y", "_inv"} if isinstance(value, Transform) else set()
    if isinstance(value, Distribution):
        given = value.__dict__.get("_param")
        for kind in type(value).__mro__:
            lazy = {n for n, v in vars(kind).items() if isinstance(v, lazy_property)}
            names |= {n for n in lazy if value.__dict__.get(n) is not given}
    return names


def _slots(kind: type) -> tuple[str, ...]:
    names: str | tuple[str, ...] = kind.__dict__.get("__slots__", ())
    return (names,) if isinstance(names, str) else tuple(names)


def _parts_of_function(function: FunctionType) -> list[Any]:
    """Code, defaults, what is enclosed, and what is read beside the function."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    beside = function.__globals__
    names = sorted({name for name in _names_read(function.__code__) if name in beside})
    read = [part for name in names for part in (name, beside[name])]
    defaults = [function.__defaults__, function.__kwdefaults__]
    return [function.__code__, defaults, cells, *read]


def _parts_of_class(kind: type) -> list[Any]:
    """Methods and plain values that a class of the user's own is written with."""
    parts: list[Any] = [kind.__module__]
    for name, value in vars(kind).items():
        made_of = next(filter(None, (getattr(value, n, None) for n in _WRAPPED)), value)
        if isinstance(made_of, (FunctionType, Tensor, Distribution, *_PLAIN)):
            parts += [] if name in ("__module__", "__doc__") else [name, made_of]
    return parts


def _parts_of_code(code: CodeType) -> list[Any]:
    """Instructions, constants and names; code within code too, no lines of files."""
    names = (*code.co_names, *code.co_varnames, *code.co_freevars)
    return [code.co_code, list(code.co_consts), list(names)]


def _names_read(code: CodeType) -> Iterator[str]:
    """Names that code reads, and code within it."""
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names_read(const)


def _is_own(value: FunctionType | type) -> bool:
    """Whether a function or class is the user's: of no installed package."""
    module = getattr(value, "__module__", None) or "builtins"
    top = module.partition(".")[0]
    if top == "glmhmm_pyro" or top in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return not file.startswith(_INSTALLED)
