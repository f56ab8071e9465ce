"""Records as plain containers beside named arrays, and back: what files are made of.

Everything in a file is one of the kinds below, so that reading one executes nothing.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor

# What JSON holds.
Plain = None | bool | int | float | str | list[Any] | tuple[Any, ...] | dict[str, Any]
Arrays = dict[str, np.ndarray]
Types = Mapping[str, type]


def encoded(value: Any, name: str, arrays: Arrays, types: Types) -> Plain:
    """What JSON can hold of a value; its arrays are put into ``arrays``.

    Args:
        value: numbers, names, tensors, arrays, and tuples, lists, mappings, enums and
            records of these.
        name: of the value, with which the names of its arrays begin.
        arrays: filled.
        types: the records (dataclasses) and enums that a value may be, by their names.

    Raises:
        TypeError: the value is of no such kind.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic | int | float):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, Tensor | np.ndarray):
        return {_put(value, name, arrays): name}
    kind = type(value).__name__
    if types.get(kind) is type(value):
        return {kind: _record_fields(value, name, arrays, types)}

    def inner(key: str | int, item: Any) -> Plain:
        return encoded(item, f"{name}:{key}", arrays, types)

    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": {key: inner(key, item) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        if _can_stack(value):
            return {"stacked": inner("", _stacked_tensors(value)), "length": len(value)}
        items = [inner(number, item) for number, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    raise TypeError(
        f"{name} must be plain data to be written to a file, got a {kind}"
        "; give numbers, strings, lists or mappings of these"
    )


def _put(value: Tensor | np.ndarray, name: str, arrays: Arrays) -> str:
    """Put an array aside; the kind that it is."""
    if isinstance(value, Tensor):
        arrays[name] = value.detach().cpu().numpy()
        return "tensor"
    arrays[name] = value
    return "array"


def _record_fields(value: Any, name: str, arrays: Arrays, types: Types) -> Any:
    """The fields of a record, or the name of an enum's member."""
    if isinstance(value, Enum):
        return value.name
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {
        key: encoded(item, f"{name}:{key}", arrays, types)
        for key, item in fields.items()
    }


def _can_stack(items: Sequence[Any]) -> bool:
    """Whether items are mappings to tensors of the same names, shapes and types."""
    if len(items) < 2 or not isinstance(items, tuple):
        return False
    if not all(isinstance(item, Mapping) and item for item in items):
        return False
    kinds = [
        [(key, v.shape, v.dtype) if isinstance(v, Tensor) else None for key, v in pairs]
        for pairs in (item.items() for item in items)
    ]
    return None not in kinds[0] and all(kind == kinds[0] for kind in kinds)


def _stacked_tensors(items: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


def decoded(plain: Plain, arrays: Arrays, types: Types) -> Any:
    """The value of which :func:`encoded` made ``plain`` and ``arrays``.

    Raises:
        ValueError: a kind is asked for that is not among ``types``.
        KeyError: an array is missing.
    """
    if isinstance(plain, list):
        return [decoded(item, arrays, types) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if "stacked" in plain:
        rows = decoded(plain["stacked"], arrays, types)
        return tuple(
            {key: value[i] for key, value in rows.items()}
            for i in range(plain["length"])
        )
    ((kind, content),) = plain.items()
    if kind in ("tensor", "array"):
        return torch.as_tensor(arrays[content]) if kind == "tensor" else arrays[content]
    if kind == "tuple":
        return tuple(decoded(item, arrays, types) for item in content)
    if kind != "dict" and kind not in types:
        raise ValueError(f"it asks for {kind!r}")
    made: Any = dict if kind == "dict" else types[kind]
    if issubclass(made, Enum):
        return made[content]
    return made(**{key: decoded(item, arrays, types) for key, item in content.items()})
