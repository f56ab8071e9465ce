"""From the program of Calhoun, Pillow & Murthy (2019), in MATLAB and in Python."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.arguments import has_items, suggests_names
from glmhmm_pyro.components import InputDriven
from glmhmm_pyro.importers.imported import (
    Imported,
    array,
    imported,
    leaving,
    numbers,
)
from glmhmm_pyro.inference.fits.files import checked_path, readable

if TYPE_CHECKING:
    import h5py


@suggests_names
def from_matlab(path: str | PathLike, iteration: int = -1) -> Imported:
    """What the original MATLAB program saved in its output file.

    Its conventions are those of this package: class 0 and staying are the references,
    and covariates of t drive the step from t-1 INTO t. The weights that it keeps for
    staying are never read, and left out. It does not save the distributions of the
    first states, one for each trial: they are uniform here, as in its first iteration.

    Args:
        path: file with the variable ``outvars``, of any version (``-v7.3`` too).
        iteration: number of the EM iteration, counted as in Python; the last one by
            default.

    Returns:
        A model with ``InputDriven`` transitions. Its data are
        ``Sequences.from_lists(y, [x.T for x in X])``.

    Raises:
        ValueError: the file has no ``outvars`` with weights, or no such iteration.

    Example:
        >>> import os, tempfile
        >>> import numpy as np
        >>> from scipy.io import savemat
        >>> import glmhmm_pyro as gh
        >>> weights = {"emit_w": np.ones((2, 1, 3)), "trans_w": np.zeros((2, 2, 3))}
        >>> path = os.path.join(tempfile.mkdtemp(), "out.mat")
        >>> savemat(path, {"outvars": weights})
        >>> gh.importers.from_matlab(path).model.num_states
        2
    """
    entries = _read_iterations(checked_path(path, _FILE))
    return _from_weights("MATLAB", _entry(entries, iteration, f"outvars of {path}"))


@suggests_names
def from_pyglmhmm(
    output: Sequence[Mapping[str, Any]] | Mapping[str, Any], iteration: int = -1
) -> Imported:
    """What the ``fit`` of pyGLMHMM returned, or that of :class:`GLMHMMEstimator`.

    Conventions as for :func:`from_matlab`. All entries of pyGLMHMM's output share one
    array, so that each holds the weights of the last iteration.

    Args:
        output: the list of dictionaries with ``emit_w`` (state, class - 1, feature) and
            ``trans_w`` (origin, destination, feature), or one of them.
        iteration: which of them; the last by default.

    Returns:
        A model with ``InputDriven`` transitions and uniform first states.

    Raises:
        ValueError: weights are missing or do not fit each other.

    Example:
        >>> import numpy as np
        >>> import glmhmm_pyro as gh
        >>> output = [{"emit_w": np.ones((2, 1, 3)), "trans_w": np.zeros((2, 2, 3))}]
        >>> gh.importers.from_pyglmhmm(output).params["transitions.weights"].shape
        torch.Size([2, 1, 3])
    """
    is_single = isinstance(output, Mapping) or not has_items(output)
    entries: list[Any] = [output] if is_single else list(output)
    if not all(isinstance(entry, Mapping) for entry in entries):
        raise ValueError(
            "output must be dictionaries with emit_w and trans_w, a list of them or "
            f"one, got {output!r:.80}; give what fit returned"
        )
    return _from_weights("pyGLMHMM", _entry(entries, iteration, "output"))


def _entry(entries: Sequence[Any], iteration: int, name: str) -> Mapping[str, Any]:
    """The dictionary of one iteration."""
    is_whole = isinstance(iteration, int) and not isinstance(iteration, bool)
    if not is_whole or not -len(entries) <= iteration < len(entries):
        raise ValueError(
            f"iteration must be among the {len(entries)} of {name}, got "
            f"{iteration!r:.80}; give one of these, such as -1 for the last"
        )
    entry: Mapping[str, Any] = entries[iteration]
    missing = [key for key in ("emit_w", "trans_w") if key not in entry]
    if missing:
        raise ValueError(
            f"{name} must have emit_w and trans_w, got "
            f"{', '.join(sorted(map(str, entry))) or 'nothing'}"
            "; load a file of a finished fit"
        )
    return entry


def _from_weights(source: str, entry: Mapping[str, Any]) -> Imported:
    emit_w = _with_features("emit_w", entry["emit_w"])
    emit_w = array("emit_w", emit_w, (None, None, None))
    states, _, features = emit_w.shape
    trans_w = _with_features("trans_w", entry["trans_w"])
    trans_w = array("trans_w", trans_w, (states, states, features))
    if np.size(entry.get("analog_emit_w", ())):
        raise ValueError(
            "analog_emit_w must be empty, got weights of analog outputs, whose "
            "variances that program does not save; delete it to read the labels' alone"
        )
    return imported(
        source,
        np.pad(emit_w, ((0, 0), (1, 0), (0, 0))),
        np.full(states, 1 / states),
        InputDriven(),
        {"weights": leaving(trans_w)},
    )


def _with_features(name: str, weights: ArrayLike) -> np.ndarray:
    """The weights with the last axes of size 1 that MATLAB has dropped."""
    weights = numbers(name, weights)
    return weights.reshape(weights.shape + (1,) * (3 - weights.ndim))


def _read_iterations(path: str) -> list[dict[str, Any]]:
    """One dictionary of arrays for every iteration in a file."""
    from scipy.io import loadmat

    try:
        with readable(path, _FILE):
            found = loadmat(path, appendmat=False, variable_names=["outvars"])
    except OSError:
        raise
    except NotImplementedError:
        return _read_hdf5(path)
    except Exception as error:
        raise ValueError(
            f"path must name {_FILE}, got {path}, of which scipy says: {error}; "
            "give the file that holds outvars"
        ) from error
    outvars = found.get("outvars", np.empty(0))
    if outvars.dtype.names is None:
        raise ValueError(
            f"path must hold the struct outvars, got {path} without it; save outvars"
        )
    names = [name for name in _READ if name in outvars.dtype.names]
    return [{name: entry[name] for name in names} for entry in outvars.flat]


_FILE = "the output file of the MATLAB program"

# What is read of an iteration.
_READ = ("emit_w", "trans_w", "analog_emit_w")


def _read_hdf5(path: str) -> list[dict[str, Any]]:
    """One dictionary an iteration, of a file of version 7.3 (axes are reversed)."""
    import h5py

    with h5py.File(path, "r") as file:
        outvars = file.get("outvars")
        if not isinstance(outvars, h5py.Group):
            raise ValueError(
                f"path must hold the struct outvars, got {path} without it; save it"
            )
        columns = {name: outvars[name] for name in _READ if name in outvars}
        fields = {name: _field_values(file, column) for name, column in columns.items()}
    count = max(map(len, fields.values()), default=0)
    return [{name: field[i] for name, field in fields.items()} for i in range(count)]


def _field_values(file: "h5py.File", column: "h5py.Dataset") -> list[np.ndarray]:
    """A field's values: references to arrays, or the array of a single iteration."""
    if column.dtype != object:
        return [_matlab_array(column)]
    return [_matlab_array(file[reference]) for reference in column[()].flat]


def _matlab_array(dataset: "h5py.Dataset") -> np.ndarray:
    """An array as MATLAB had it; an empty one holds its shape instead of values."""
    if dataset.attrs.get("MATLAB_empty", 0):
        return np.empty(0)
    return np.asarray(dataset[()]).T
