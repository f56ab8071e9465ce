"""Checkpoints: the finished parts of a long call in a file, so that it can go on.

A checkpoint belongs to one call: digests of its model, its data and its options stand
in the file, and another call is refused. It is replaced whole after every part.
"""

import base64
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from glmhmm_pyro.inference.fits.descriptions import describe
from glmhmm_pyro.inference.fits.encoding import Arrays, decoded, encoded
from glmhmm_pyro.inference.fits.files import (
    checked_path,
    read_bytes,
    replace_file,
    sealed,
    unsealed,
)
from glmhmm_pyro.inference.fits.storage import TYPES
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.version import __version__

FORMAT = "glmhmm_pyro checkpoint"
FORMAT_VERSION = 1


class Checkpoint:
    """Results of the numbered parts of a call, kept in a file.

    Args:
        path: of the file; it is made if it does not exist.
        call: name of the function that is called.
        key: what the results follow from, by what it is called in a sentence, such as
            ``"data"``.

    Raises:
        ValueError: the file is of another call, or no checkpoint at all.
        OSError: the file can be neither read nor written.
    """

    def __init__(self, path: str | PathLike, call: str, key: Mapping[str, Any]):
        self.path = checked_path(path, "the checkpoint", "checkpoint")
        digests = {name: digest(part) for name, part in key.items()}
        self._head: dict[str, Any] = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "glmhmm_pyro_version": __version__,
            "call": call,
            "key": digests,
        }
        self._lines: list[str] = []
        self.results: dict[int, Any] = {}
        if os.path.exists(self.path):
            self._read()
        self._write()

    def add(self, number: int, result: Any) -> None:
        """Keep the result of a part: what a file of a fit can hold."""
        arrays: Arrays = {}
        plain = encoded(result, "", arrays, TYPES)
        packed = {name: _packed(array) for name, array in arrays.items()}
        self._lines.append(json.dumps([number, plain, packed]))
        self.results[number] = result
        self._write()

    def _write(self) -> None:
        text = "\n".join([json.dumps(self._head), *self._lines])
        replace_file(self.path, sealed(text.encode()), "checkpoint")

    def _read(self) -> None:
        """The results in the file, if it is of this call."""
        content = read_bytes(self.path, "a checkpoint", "checkpoint")
        try:
            inner, is_sealed = unsealed(content)
            first, *lines = inner.decode().split("\n")
            head = json.loads(first)
            known = is_sealed and head.get("format") == FORMAT
        except (ValueError, AttributeError):
            known = False
        if not known:
            raise self._refusal(
                f"which is no intact file of {self._head['call']}(checkpoint=...)"
            )
        for name in ("format_version", "call"):
            if head[name] != self._head[name]:
                raise self._refusal(f"whose {name} is {head[name]!r}")
        others = [n for n, d in self._head["key"].items() if head["key"].get(n) != d]
        if others:
            raise self._refusal(f"a call with another {' and another '.join(others)}")
        self._lines = lines
        for number, plain, packed in map(json.loads, lines):
            arrays = {name: _unpacked(array) for name, array in packed.items()}
            self.results[number] = decoded(plain, arrays, TYPES)

    def _refusal(self, why: str) -> ValueError:
        return ValueError(
            f"checkpoint must be a new path, or the file of this very call of "
            f"{self._head['call']}, got {self.path}, {why}; give another path, or "
            "remove the file to begin anew"
        )


def _packed(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON holds it, to the last bit."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "type": little.dtype.str,
        "shape": list(array.shape),
        "base64": base64.b64encode(little.tobytes()).decode(),
    }


def _unpacked(packed: dict[str, Any]) -> np.ndarray:
    content = base64.b64decode(packed["base64"])
    # A copy, for what is read from bytes cannot be written to.
    return np.frombuffer(content, packed["type"]).reshape(packed["shape"]).copy()


def digest(value: Any) -> str:
    """SHA-256 of what a value consists of, the same in every process.

    Models of this package count by their descriptions, functions by name and code,
    other objects by class and attributes.
    """
    found = hashlib.sha256()
    _feed(found, value, frozenset())
    return found.hexdigest()


def _feed(found: "hashlib._Hash", value: Any, above: frozenset[int]) -> None:
    """Add a value to a digest; ``above`` are the objects that it is part of."""
    found.update(f"<{type(value).__qualname__}".encode())
    if id(value) not in above:
        for part in _parts(value):
            if isinstance(part, bytes | str):
                found.update(part.encode() if isinstance(part, str) else part)
                found.update(b";")
            else:
                _feed(found, part, above | {id(value)})
    found.update(b">")


def _parts(value: Any) -> list[Any]:
    """What a value consists of; strings and bytes are ends."""
    if value is None or isinstance(value, int | float | str | bytes | np.generic):
        return [repr(value)]
    if isinstance(value, Tensor | np.ndarray):
        array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
        return [str(array.dtype), str(array.shape), array.tobytes()]
    if isinstance(value, Mapping):
        return [part for item in value.items() for part in item]
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, GLMHMM):
        return [_description(value)]
    if isinstance(value, Distribution):
        names = sorted(value.arg_constraints)
        known = [name for name in names if name in value.__dict__]
        return [str(value.batch_shape), *[getattr(value, name) for name in known]]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = [f for f in dataclasses.fields(value) if f.compare]
        return [part for f in shown for part in (f.name, getattr(value, f.name))]
    return _parts_of_object(value)


def _description(model: GLMHMM) -> list[Any]:
    """A model's description, and the functions among its priors."""
    plain = re.sub(r" at 0x[0-9a-f]+", "", json.dumps(describe(model)))
    sites = [
        site.prior
        for component in model.components.values()
        for site in component.sites.values()
    ]
    return [plain, *[prior for prior in sites if hasattr(prior, "__code__")]]


def _parts_of_object(value: Any) -> list[Any]:
    """A function's code and what it encloses; an object's attributes."""
    code = getattr(value, "__code__", None)
    if code is not None:
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        plain = [c for c in code.co_consts if isinstance(c, int | float | str | None)]
        names = [*code.co_names, *code.co_varnames]
        return [value.__qualname__, code.co_code, plain, names, cells]
    if isinstance(value, type | torch.dtype | torch.device):
        return [str(value)]
    attributes = getattr(value, "__dict__", {})
    return [part for name in sorted(attributes) for part in (name, attributes[name])]
