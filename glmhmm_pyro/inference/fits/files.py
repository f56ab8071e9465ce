"""Files that are written whole or not at all, and read only where they are intact.

A netCDF 4 file holds named arrays and a description in JSON. After its end, where HDF5
looks at nothing, stands a checksum of all of it, to be compared before HDF5 reads: it
may never come back from a damaged file.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterator
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.version import __version__

if TYPE_CHECKING:
    import h5py

FORMAT = "glmhmm_pyro fit"
FORMAT_VERSION = 2

# What a call has come to that has not ended.
CHECKPOINT = "glmhmm_pyro checkpoint"

# The first bytes of every netCDF 4 file, which is an HDF5 file.
SIGNATURE = b"\x89HDF\r\n\x1a\n"

# What stands after the end of the content, before the checksum.
_SEAL = b"\nglmhmm_pyro sha256 "

# By this netCDF marks a dimension that has no values.
_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"

# HDF5's compression makes nothing smaller than this.
_LARGEST_COMPRESSION = 1100


def checked_path(path: str | PathLike, what: str, argument: str = "path") -> str:
    """A path as a string, '~' resolved; an error where it is none.

    Args:
        path: a string or ``os.PathLike``.
        what: what it leads to, for the error.
        argument: the name under which the caller gave it, for the error.
    """
    name = os.fspath(path) if isinstance(path, str | PathLike) else None
    if not isinstance(name, str):
        raise TypeError(
            f"{argument} must be the path of {what}, such as 'fit.nc', got "
            f"{path!r:.80}, which is a {type(path).__name__}; give a string or a "
            "pathlib.Path"
        )
    if not name or "\0" in name:
        raise ValueError(
            f"{argument} must be the path of {what}, such as 'fit.nc', got {name!r}"
            "; add a name"
        )
    return os.path.expanduser(name)


def replace_file(
    path: str, content: bytes | memoryview, argument: str = "path"
) -> None:
    """Write a file whole: whoever reads it finds the old content or the new one.

    The content goes to a file of another name in the same folder, and from there in one
    step to ``path``. A link stays a link to a file of new content, and a file keeps its
    permissions.

    Args:
        path: from :func:`checked_path`.
        content: bytes, or a view of them.
        argument: as above.

    Raises:
        OSError: the folder is missing, closed or full; the old file is as it was.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    _check_target(argument, path, target, folder)
    # A name of its own, which no other writer has.
    beside = os.path.join(folder, f".glmhmm_pyro-{secrets.token_hex(8)}.tmp")
    try:
        with _new_file(beside) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _keep_permissions(target, beside)
        os.replace(beside, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        if not isinstance(error, OSError):
            raise
        raise _same_error(
            error,
            f"{argument} must be where a file can be written, got {path}: "
            f"{error.strerror or error}; what stood there is unchanged; give a path in "
            "a folder with room that you may write to",
        ) from error
    _sync_folder(folder)


def _new_file(path: str) -> io.BufferedWriter:
    """A file that did not exist, with the permissions that files get by default."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def _check_target(argument: str, path: str, target: str, folder: str) -> None:
    """Raise an OSError if no file can be written in the place of ``target``."""
    number = 0
    if os.path.isdir(target) or path.endswith(("/", os.sep)):
        number, why = errno.EISDIR, "which is a folder; add the name of a file"
    elif not os.path.isdir(folder):
        number = errno.ENOTDIR if os.path.exists(folder) else errno.ENOENT
        why = f"but there is no folder {folder}; make it first, by os.makedirs"
    elif os.path.exists(target) and not os.path.isfile(target):
        number, why = errno.EINVAL, "which is no ordinary file; give another path"
    elif os.path.exists(target) and not os.access(target, os.W_OK):
        number = errno.EACCES
        why = "a file that you may not write to; give another path, or change its mode"
    if number:
        message = f"{argument} must be where a file can be written, got {path}, {why}"
        raise OSError(number, message)


def _keep_permissions(target: str, beside: str) -> None:
    """Give the new file the mode of the old one, and its owner where that may be."""
    if not os.path.exists(target):
        return
    old, new = os.stat(target), os.stat(beside)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid) and hasattr(os, "chown"):
        with contextlib.suppress(OSError):
            os.chown(beside, old.st_uid, old.st_gid)
    os.chmod(beside, old.st_mode & 0o7777)


def _sync_folder(folder: str) -> None:
    """Have the folder's new entry on the disk, where the system knows how."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def read_bytes(path: str, what: str, argument: str = "path") -> bytes:
    """The content of a file; an error in the words of ``what`` if it cannot be read."""
    with readable(path, what, argument), open(path, "rb") as file:
        return file.read()


@contextlib.contextmanager
def readable(path: str, what: str, argument: str = "path") -> Iterator[None]:
    """An error in the words of ``what`` for one of the system inside."""
    try:
        yield
    except OSError as error:
        why = {
            errno.ENOENT: "but there is no such file; look at the folder and the name",
            errno.EISDIR: "which is a folder; add the name of the file",
        }.get(error.errno or 0, f"which cannot be read: {error.strerror or error}")
        message = f"{argument} must name {what}, got {path}, {why}"
        raise _same_error(error, message) from error


def _same_error(error: OSError, message: str) -> OSError:
    """An error of the same kind with a sentence of ours."""
    return OSError(error.errno or errno.EIO, message)


def write_record(
    path: str | PathLike, arrays: dict[str, Any], facts: dict[str, Any]
) -> None:
    """Write arrays and JSON facts to a netCDF 4 file, whole or not at all."""
    name = checked_path(path, "the file to write")
    plain = {key: np.asarray(value) for key, value in arrays.items()}
    attributes = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "glmhmm_pyro_version": __version__,
        "facts": json.dumps(facts),
    }
    replace_file(name, sealed(_netcdf(plain, attributes)))


def sealed(content: bytes) -> bytes:
    """The content with its checksum after it."""
    return content + _SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n"


def unsealed(content: bytes) -> tuple[bytes, bool]:
    """The content before its checksum, and whether there was one.

    Raises:
        ValueError: the checksum is that of another content.
    """
    inner, seal, _ = content.rpartition(_SEAL)
    if not seal:
        if len(content) > _stated_end(content):
            raise ValueError("there is something after its end that is no checksum")
        return content, False
    if sealed(inner) != content:
        raise ValueError("its content does not have the checksum that it had")
    return inner, True


def _stated_end(content: bytes) -> int:
    """Where an HDF5 file says that it ends, as its first bytes tell.

    Some versions of the library abort the process where damage reaches beyond.
    """
    is_old = content[len(SIGNATURE) :][:1] < b"\2"
    place = 40 if is_old else 28
    return int.from_bytes(content[place : place + 8], "little")


def _netcdf(arrays: dict[str, np.ndarray], attributes: dict[str, Any]) -> bytes:
    """A netCDF 4 file with these variables, each with dimensions of its own."""
    import h5netcdf

    buffer = io.BytesIO()
    with h5netcdf.File(buffer, "w") as file:
        file.attrs.update(attributes)
        for name, array in arrays.items():
            dimensions = tuple(f"{name}:{axis}" for axis in range(array.ndim))
            for dimension, size in zip(dimensions, array.shape):
                file.dimensions[dimension] = size
            # netCDF has no booleans; xarray reads these as such by the attribute.
            flags = array.dtype == bool
            stored = array.astype(np.int8) if flags else array
            made = file.create_variable(name, dimensions, stored.dtype, data=stored)
            if flags:
                made.attrs["dtype"] = "bool"
    return buffer.getvalue()


def read_record(path: str | PathLike) -> tuple[dict[str, np.ndarray], dict, int]:
    """Arrays, facts and format version of a file that :func:`write_record` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is another kind of file, damaged, or of a newer format.
    """
    name = checked_path(path, "a file that fit.save wrote")
    content = read_bytes(name, "a file that fit.save wrote")
    _check_kind(name, content)
    with intact(name):
        inner, is_sealed = unsealed(content)
        arrays, attributes = _variables(inner)
    if attributes.get("format") != FORMAT:
        raise _refusal(
            name,
            "which is another kind of netCDF or HDF5 file; open it by the program that "
            "wrote it, xarray.open_dataset, or arviz.from_netcdf",
        )
    with intact(name):
        version = int(attributes["format_version"])
        _check_version(version, is_sealed)
    if version > FORMAT_VERSION:
        raise _refusal(
            name,
            f"which has format {version} where this version reads up to "
            f"{FORMAT_VERSION}; install glmhmm_pyro "
            f"{attributes.get('glmhmm_pyro_version', '')!s:.20} or newer",
        )
    with intact(name):
        facts = json.loads(attributes["facts"])
    return arrays, facts, version


def _refusal(path: str, why: str) -> ValueError:
    return ValueError(f"path must name a file that fit.save wrote, got {path}, {why}")


def _check_kind(path: str, content: bytes) -> None:
    """Raise a ValueError if the first bytes are not those of a netCDF 4 file."""
    if not content:
        raise _refusal(path, "which is empty; save the fit again, or load a copy")
    if CHECKPOINT.encode() in content[: 2 * len(CHECKPOINT)]:
        raise _refusal(
            path,
            "which is the checkpoint of a call that has not ended; make the same call "
            "again, which goes on from it",
        )
    if not content.startswith(SIGNATURE):
        raise _refusal(
            path,
            f"which is no netCDF 4 file (it begins with {content[:8]!r}); load the "
            "path that was given to fit.save",
        )


@contextlib.contextmanager
def intact(path: str) -> Iterator[None]:
    """Whatever fails in here says that the file is cut short or damaged."""
    try:
        yield
    except Exception as error:
        why = " ".join(str(error).split()) or "nothing more is known"
        if isinstance(error, KeyError):
            why = f"it lacks {why}"
        raise _refusal(
            path,
            f"which is not intact, but cut short, damaged or changed ({why:.160}); "
            "load another copy, or save the fit again",
        ) from error


def _variables(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and attributes of a netCDF 4 file, which h5py reads as it stands.

    The layers above it complain about a damaged file after they have given up.
    """
    import h5py

    with h5py.File(io.BytesIO(content), "r") as file:
        found = {name: item for name, item in file.items() if _is_variable(item)}
        size = sum(item.dtype.itemsize * item.size for item in found.values())
        if size > _LARGEST_COMPRESSION * len(content):
            raise ValueError(f"its arrays claim {size} bytes")
        arrays = {}
        for name, item in found.items():
            flags = item.attrs.get("dtype") == "bool"
            arrays[name] = np.asarray(item[()], dtype=bool if flags else None)
        return arrays, {
            name: _plain_attribute(value) for name, value in file.attrs.items()
        }


def _plain_attribute(attribute: ArrayLike) -> Any:
    """An attribute as a number or a string, in whichever form HDF5 kept it."""
    single = np.size(attribute) == 1
    value = np.asarray(attribute).item() if single else attribute
    return value.decode() if isinstance(value, bytes) else value


def _is_variable(item: "h5py.Dataset | h5py.Group") -> bool:
    """Whether an entry of a file is an array, and not the name of an axis alone."""
    mark = item.attrs.get("NAME", b"") if hasattr(item, "shape") else _NO_VARIABLE
    return not bytes(mark).startswith(_NO_VARIABLE)


def _check_version(version: int, is_sealed: bool) -> None:
    """Raise a ValueError for an impossible version, or a checksum that is missing."""
    if version < 1:
        raise ValueError(f"its format is {version}")
    if 1 < version <= FORMAT_VERSION and not is_sealed:
        raise ValueError("its checksum is missing, another program has written it")
