"""Checkpoints: what a long call has come to, in a file, so that it can go on.

A checkpoint belongs to one call: digests of its model, its data and its options stand
in the file, and another call is refused. It is replaced whole, or not at all. That of a
fit becomes the fit itself in the end, a file as ``fit.save`` writes it.
"""

import base64
import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from os import PathLike
from typing import Any

import numpy as np

from glmhmm_pyro.callers import warn_caller
from glmhmm_pyro.inference.fits.descriptions import describe, own_parts
from glmhmm_pyro.inference.fits.digests import digest
from glmhmm_pyro.inference.fits.encoding import Arrays, decoded, encoded
from glmhmm_pyro.inference.fits.files import (
    CHECKPOINT,
    SIGNATURE,
    checked_path,
    read_bytes,
    read_record,
    replace_file,
    sealed,
    unsealed,
    write_record,
)
from glmhmm_pyro.inference.fits.fit import Fit
from glmhmm_pyro.inference.fits.storage import TYPES, recorded
from glmhmm_pyro.inference.journal import Journal, journalled
from glmhmm_pyro.inference.status import ConvergenceWarning, Status
from glmhmm_pyro.version import __version__

FORMAT_VERSION = 1

# How a fit ends that goes on when it is called again.
_UNFINISHED = (Status.INTERRUPTED, Status.CUT_SHORT)


class Checkpoint:
    """Results of the parts of a call, kept in a file.

    Args:
        path: of the file; it is made if it does not exist.
        call: name of the function that is called.
        key: what the results follow from, by what it is called in a sentence, such as
            ``"data"``.

    Attributes:
        results: by the number, or name, of the part.

    Raises:
        ValueError: the file is of another call, or no checkpoint at all; or the key
            holds what cannot be told from others of its type.
        OSError: the file can be neither read nor written.
    """

    # Whether a new file is written before there is anything to keep.
    begins_at_once = True

    def __init__(self, path: str | PathLike, call: str, key: Mapping[str, Any]):
        self.path = checked_path(path, "the checkpoint", "checkpoint")
        digests = {name: digest(part) for name, part in key.items()}
        self.head: dict[str, Any] = {
            "format": CHECKPOINT,
            "format_version": FORMAT_VERSION,
            "glmhmm_pyro_version": __version__,
            "call": call,
            "key": digests,
        }
        self._lines: dict[int | str, str] = {}
        self.results: dict[Any, Any] = {}
        if os.path.exists(self.path):
            self._read(read_bytes(self.path, "a checkpoint", "checkpoint"))
        elif self.begins_at_once:
            self._write()

    def add(self, number: int, result: Any) -> None:
        """Keep the result of a part: what a file of a fit can hold."""
        self.results[number] = result
        self.keep({number: result})

    def keep(self, results: Mapping[Any, Any]) -> None:
        """Write results of parts, in the place of those that stood there."""
        for number, result in results.items():
            arrays: Arrays = {}
            plain = encoded(result, "", arrays, TYPES)
            packed = {name: _packed(array) for name, array in arrays.items()}
            self._lines[number] = json.dumps([number, plain, packed])
        self._write()

    def part(self, number: int) -> "PartFile":
        """Where the fits of a part note how far they are while it is made."""
        return PartFile(f"{self.path}.part{number}", {**self.head, "part": number})

    def clean(self, numbers: Iterable[int]) -> None:
        """Remove the files of parts whose results are kept."""
        for number in numbers:
            self.part(number).remove()

    def _write(self) -> None:
        text = "\n".join([json.dumps(self.head), *self._lines.values()])
        replace_file(self.path, sealed(text.encode()), "checkpoint")

    def _read(self, content: bytes) -> None:
        """The results in the file, if it is of this call."""
        try:
            inner, is_sealed = unsealed(content)
            first, *lines = inner.decode().split("\n")
            head = json.loads(first)
            known = is_sealed and head.get("format") == CHECKPOINT
        except (ValueError, AttributeError):
            known = False
        if not known:
            raise self._foreign()
        self._check(head)
        for line in lines:
            number, plain, packed = json.loads(line)
            arrays = {name: _unpacked(array) for name, array in packed.items()}
            self._lines[number] = line
            self.results[number] = decoded(plain, arrays, TYPES)
        if self.begins_at_once:
            self._write()

    def _check(self, head: Mapping[str, Any]) -> None:
        """Raise a ValueError that says what differs if a file is of another call."""
        for name in ("format_version", "call", "glmhmm_pyro_version"):
            if head[name] != self.head[name]:
                raise self._refusal(f"whose {name} is {head[name]!r}")
        others = [n for n, d in self.head["key"].items() if head["key"].get(n) != d]
        if others:
            raise self._refusal(f"a call with another {' and another '.join(others)}")

    def _foreign(self) -> ValueError:
        call = self.head["call"]
        return self._refusal(f"which is no intact file of {call}(checkpoint=...)")

    def _refusal(self, why: str) -> ValueError:
        return ValueError(
            f"checkpoint must be a new path, or the file of this very call of "
            f"{self.head['call']}, got {self.path}, {why}; give another path, or "
            "remove the file to begin anew"
        )


class _PartCheckpoint(Checkpoint):
    begins_at_once = False


class PartFile:
    """A file beside a checkpoint for a part that is being made, in any process.

    It is no more than a help: where it cannot be read or written, or is something else,
    the part is made without.

    Args:
        path: of the file.
        belongs_to: what tells the part from those of other calls.
    """

    def __init__(self, path: str, belongs_to: Mapping[str, Any]):
        self.path, self.belongs_to = path, belongs_to

    def made(self, make: Callable[[], Any]) -> Any:
        """What a function gives, whose fits go on from where they were."""
        try:
            kept = _PartCheckpoint(self.path, "a part", self.belongs_to)
        except (OSError, ValueError):
            return make()
        with journalled(Journal(kept.results, kept.keep)):
            return make()

    def remove(self) -> None:
        """Remove the file, if it is one of these."""
        with contextlib.suppress(OSError):
            with open(self.path, "rb") as file:
                is_ours = CHECKPOINT.encode() in file.read(2 * len(CHECKPOINT))
            if is_ours:
                os.unlink(self.path)


class FitCheckpoint(Checkpoint):
    """That of a fit: what its loops have come to, and in the end the fit.

    Args:
        path: of the file.
        key: what the fit follows from: its ``"model"``, and all else.

    Attributes:
        made: the fit in the file, and sentences about it of which users are warned.
    """

    def __init__(self, path: str | PathLike, key: Mapping[str, Any]):
        self.made: tuple[Fit, tuple[str, ...]] | None = None
        self._model = key["model"]
        super().__init__(path, "fit", key)
        self._journal = Journal(self.results, self.keep)

    def noted(self) -> AbstractContextManager[None]:
        """Inside, the loops of the fit note how far they are."""
        return journalled(self._journal)

    def finish(self, fit: Fit, cautions: tuple[str, ...]) -> None:
        """Have the fit in the file, or how far it is if it has not ended.

        Args:
            fit: as it was made.
            cautions: sentences about it of which users are warned.

        Warns:
            ConvergenceWarning: the file could not be written.
        """
        try:
            if fit.status in _UNFINISHED:
                self._journal.write()
                if self._journal.problem is not None:
                    raise self._journal.problem
            else:
                arrays, facts = recorded(fit)
                write_record(self.path, arrays, facts | {"call": [self.head, cautions]})
        except OSError as error:
            said = f"{error}; the checkpoint is not up to date"
            warn_caller(said, ConvergenceWarning)

    def _read(self, content: bytes) -> None:
        if not content.startswith(SIGNATURE):
            super()._read(content)
            return
        try:
            _, facts, _ = read_record(self.path)
        except ValueError as error:
            raise self._foreign() from error
        if "call" not in facts:
            raise self._refusal("which fit.save wrote and no checkpoint")
        head, cautions = facts["call"]
        self._check(head)
        own = own_parts(describe(self._model))
        fit = Fit.load(self.path, self._model if own else None)
        self.made = fit, tuple(cautions)


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
