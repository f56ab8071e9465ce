"""A fit in one open file: netCDF 4 arrays beside a JSON description of the model.

Loading builds components of this package from their names and arguments, and priors
from the names below; it never executes anything that stands in the file.
"""

import copy
import inspect
import json
from os import PathLike
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor

from glmhmm_pyro import components
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.version import __version__

FORMAT = "glmhmm_pyro fit"
FORMAT_VERSION = 1

# Priors that a file can describe, with the arguments that define them.
_PRIORS = {
    "Cauchy": ("loc", "scale"),
    "Dirichlet": ("concentration",),
    "Laplace": ("loc", "scale"),
    "MultivariateNormal": ("loc", "covariance_matrix"),
    "Normal": ("loc", "scale"),
    "StudentT": ("df", "loc", "scale"),
}

_BOUND = ("num_states", "num_features", "num_sessions")


def write(path: str | PathLike, arrays: dict[str, Any], facts: dict[str, Any]) -> None:
    """Write arrays and JSON facts to a netCDF 4 file."""
    import xarray as xr

    variables = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        variables[name] = ([f"{name}:{i}" for i in range(array.ndim)], array)
    attributes = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "glmhmm_pyro_version": __version__,
        "facts": json.dumps(facts),
    }
    dataset = xr.Dataset(variables, attrs=attributes)
    dataset.to_netcdf(path, engine="h5netcdf")


def read(path: str | PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and facts of a file that :func:`write` wrote."""
    import xarray as xr

    dataset = xr.load_dataset(path, engine="h5netcdf")
    if dataset.attrs.get("format") != FORMAT:
        raise ValueError(
            f"path must name a file written by fit.save, got {path}, which is another "
            "kind of netCDF file"
        )
    version = int(dataset.attrs["format_version"])
    if version > FORMAT_VERSION:
        raise ValueError(
            f"path must name a file of format {FORMAT_VERSION} or older, got format "
            f"{version}; install glmhmm_pyro "
            f"{dataset.attrs['glmhmm_pyro_version']} or newer"
        )
    arrays = {str(name): array.values for name, array in dataset.items()}
    return arrays, json.loads(dataset.attrs["facts"])


def tensors(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, Tensor]:
    """The arrays whose names begin with ``prefix``, which is taken off."""
    return {
        name[len(prefix) :]: torch.as_tensor(array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def describe(model: GLMHMM) -> dict[str, Any]:
    """Plain containers from which :func:`rebuild` makes the model again."""
    parts = {name: _describe(part) for name, part in model.components.items()}
    return {"num_states": model.num_states, "components": parts}


def rebuild(description: dict[str, Any], model: GLMHMM | None) -> GLMHMM:
    """The model described, or a copy of ``model`` where parts are the user's own."""
    parts = description["components"]
    foreign = [name for name, part in parts.items() if not _is_known(part)]
    if model is None and foreign:
        raise ValueError(
            f"model must be given to load this fit: its {foreign[0]} "
            f"({parts[foreign[0]]['class']}) or their prior are not glmhmm_pyro's own"
        )
    if model is None:
        made = {name: _make(part) for name, part in parts.items()}
        model = GLMHMM(description["num_states"], **made)
    model = copy.deepcopy(model)
    if model.num_states != description["num_states"]:
        raise ValueError(
            f"model must have {description['num_states']} states, as the saved one, "
            f"got {model.num_states}"
        )
    for name, component in model.components.items():
        bound = parts[name]["bound"]
        for attribute in _BOUND:
            if attribute in bound:
                setattr(component, attribute, bound[attribute])
    return model


def _describe(component: components.Component) -> dict[str, Any]:
    """Class, arguments and bound sizes; ``None`` stands for what a file cannot hold."""
    kind = type(component)
    known = getattr(components, kind.__name__, None) is kind
    arguments = {}
    for name in inspect.signature(kind).parameters if known else ():
        value = getattr(component, name)
        arguments[name] = _describe_argument(value)
    bound = {a: getattr(component, a) for a in _BOUND if hasattr(component, a)}
    name = kind.__name__ if known else f"{kind.__module__}.{kind.__name__}"
    return {"class": name, "known": known, "arguments": arguments, "bound": bound}


def _describe_argument(value: Any) -> Any:
    if value is None or isinstance(value, int | float | str | bool):
        return value
    name = type(value).__name__
    # A user's class may bear the name of one of these.
    homes = (torch.distributions, dist)
    own = type(value) in [getattr(home, name, None) for home in homes]
    if name not in _PRIORS or not own:
        return {"foreign": repr(value)}
    values = {a: getattr(value, a).double().tolist() for a in _PRIORS[name]}
    return {"prior": name, "arguments": values}


def _is_known(part: dict[str, Any]) -> bool:
    arguments = part["arguments"].values()
    return part["known"] and not any(
        isinstance(value, dict) and "foreign" in value for value in arguments
    )


def _make(part: dict[str, Any]) -> Any:
    arguments = {name: _make_argument(v) for name, v in part["arguments"].items()}
    return getattr(components, _checked(part["class"], components.__all__))(**arguments)


def _make_argument(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    name = _checked(value["prior"], _PRIORS)
    arguments = {
        key: torch.tensor(value["arguments"][key], dtype=torch.float64)
        for key in _PRIORS[name]
    }
    return getattr(dist, name)(**arguments)


def _checked(name: str, known: Any) -> str:
    """A name from the file, if it is one that may be looked up."""
    if name not in known:
        raise ValueError(f"path must name an intact file, it asks for {name!r}")
    return name
