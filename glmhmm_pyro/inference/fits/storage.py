"""A fit in one open file: netCDF 4 arrays beside a JSON description of the model.

Loading builds components and recipes of this package from their names and arguments,
and priors from the names below; it never executes anything that stands in the file.
"""

import copy
import dataclasses
import inspect
import json
from os import PathLike
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor

from glmhmm_pyro import components, priors
from glmhmm_pyro.inference.fits.labels import Labels
from glmhmm_pyro.inference.fits.posterior import Posterior
from glmhmm_pyro.inference.runs import Restart, Solution
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.version import __version__

FORMAT = "glmhmm_pyro fit"
FORMAT_VERSION = 1

# Priors that a file can describe, with the arguments that define them.
_PRIORS = {
    "Cauchy": ("loc", "scale"),
    "Dirichlet": ("concentration",),
    "Exponential": ("rate",),
    "Gamma": ("concentration", "rate"),
    "HalfCauchy": ("scale",),
    "HalfNormal": ("scale",),
    "InverseGamma": ("concentration", "rate"),
    "Laplace": ("loc", "scale"),
    "LogNormal": ("loc", "scale"),
    "MultivariateNormal": ("loc", "covariance_matrix"),
    "Normal": ("loc", "scale"),
    "StudentT": ("df", "loc", "scale"),
    "Uniform": ("low", "high"),
}

# Recipes that a file can describe: those of a few fields.
_RECIPES = {
    name: getattr(priors, name)
    for name in priors.__all__
    if dataclasses.is_dataclass(getattr(priors, name))
}

_PARTS = ("initial", "transitions", "emissions")
_BOUND = ("num_states", "num_features", "num_sessions", "covariate_names")


def write_fit(path: str | PathLike, fit: Any) -> None:
    """Write a :class:`Fit`, which :func:`read_fit` reads."""
    arrays: dict[str, Any] = {f"param:{n}": value for n, value in fit.params.items()}
    for name in fit.params if fit.weights else ():
        arrays[f"weights:{name}"] = torch.stack([w[name] for w in fit.weights])
    for i, restart in enumerate(fit.restarts):
        arrays[f"restart:{i}:log_likelihoods"] = restart.log_likelihoods
        arrays[f"restart:{i}:log_joints"] = restart.log_joints
    for i, solution in enumerate(fit.solutions):
        arrays |= {f"solution:{i}:{n}": value for n, value in solution.params.items()}
    facts = {
        "model": describe(fit.model),
        "labels": fit.labels.to_dict(),
        "restarts": [restart.status.name for restart in fit.restarts],
        "kinds": [restart.kind for restart in fit.restarts],
        "solutions": [_facts_of(solution) for solution in fit.solutions],
        "rounds_without_gain": fit.rounds_without_gain,
        "status": fit.status.name,
        "unbounded": list(fit.unbounded),
        "notes": list(fit.notes),
        "best": fit.best,
        "method": fit.method,
        "log_likelihood": fit.log_likelihood,
        "log_joint": fit.log_joint,
        "num_parameters": fit.num_parameters,
    }
    posterior: Posterior | None = fit.posterior
    if posterior is not None:
        arrays |= {f"draws:{n}": value for n, value in posterior.draws.items()}
        arrays |= {f"stats:{n}": value for n, value in posterior.stats.items()}
        arrays |= {} if posterior.elbo is None else {"elbo": posterior.elbo}
        facts["num_relabelled"] = posterior.num_relabelled
    write(path, arrays, facts)


def read_fit(path: str | PathLike, model: Any) -> dict[str, Any]:
    """The fields of the :class:`Fit` that :func:`write_fit` wrote.

    Args:
        path: the file.
        model: the model that was fitted, where a file cannot hold all of it.
    """
    arrays, facts = read(path)
    # Files of older versions know neither how starts were made nor the solutions.
    kinds = facts.get("kinds", [Restart.kind] * len(facts["restarts"]))
    restarts = tuple(
        Restart(
            arrays[f"restart:{i}:log_likelihoods"],
            arrays[f"restart:{i}:log_joints"],
            Status[name],
            kind,
        )
        for i, (name, kind) in enumerate(zip(facts["restarts"], kinds))
    )
    histories = tensors(arrays, "weights:")
    length = len(next(iter(histories.values()))) if histories else 0
    return {
        "model": rebuild(facts["model"], model),
        "params": tensors(arrays, "param:"),
        "log_likelihood": facts["log_likelihood"],
        "log_joint": facts["log_joint"],
        "status": Status[facts["status"]],
        "restarts": restarts,
        "best": facts["best"],
        "labels": Labels.from_dict(facts["labels"]),
        "method": facts["method"],
        "weights": tuple(
            {name: value[i] for name, value in histories.items()} for i in range(length)
        ),
        "unbounded": tuple(facts["unbounded"]),
        "notes": tuple(facts["notes"]),
        "num_parameters": facts["num_parameters"],
        "posterior": _posterior(arrays, facts),
        "solutions": tuple(
            _solution(arrays, i, solution)
            for i, solution in enumerate(facts.get("solutions", ()))
        ),
        "rounds_without_gain": facts.get("rounds_without_gain", 0),
    }


def _facts_of(solution: Solution) -> dict[str, Any]:
    """All of a solution but its parameters."""
    return {
        "log_likelihood": solution.log_likelihood,
        "log_joint": solution.log_joint,
        "status": solution.status.name,
        "starts": list(solution.starts),
        "kicks": list(solution.kicks),
    }


def _solution(
    arrays: dict[str, np.ndarray], number: int, facts: dict[str, Any]
) -> Solution:
    """The solution that :func:`_facts_of` and the arrays of the file describe."""
    return Solution(
        tensors(arrays, f"solution:{number}:"),
        facts["log_likelihood"],
        facts["log_joint"],
        Status[facts["status"]],
        tuple(facts["starts"]),
        tuple(facts["kicks"]),
    )


def _posterior(
    arrays: dict[str, np.ndarray], facts: dict[str, Any]
) -> Posterior | None:
    """The draws in the file, if the fit had any."""
    if "num_relabelled" not in facts:
        return None
    stats = tensors(arrays, "stats:")
    return Posterior(
        draws=tensors(arrays, "draws:"),
        stats={name: value.numpy() for name, value in stats.items()},
        num_relabelled=facts["num_relabelled"],
        elbo=arrays.get("elbo"),
    )


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

    with open(path, "rb"):
        pass  # The system's own sentence where there is no such file.
    try:
        dataset = xr.load_dataset(path, engine="h5netcdf")
    except OSError as error:
        raise ValueError(
            f"path must name a file written by fit.save, got {path}, which is damaged "
            "or no netCDF 4 file"
        ) from error
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


def describe(model: Any) -> dict[str, Any]:
    """Plain containers from which :func:`rebuild` makes the model again."""
    if not isinstance(model, GLMHMM):
        return {"own": getattr(model, "__qualname__", type(model).__qualname__)}
    parts = {name: _describe(getattr(model, name)) for name in _PARTS}
    return {"num_states": model.num_states, "components": parts}


def rebuild(description: dict[str, Any], model: Any) -> Any:
    """The model described, or a copy of ``model`` where parts are the user's own."""
    own = description.get("own")
    if own is not None:
        if model is None or isinstance(model, GLMHMM):
            raise ValueError(
                f"model must be given to load this fit: {own!r} is a model of your "
                f"own, which a file cannot hold; got {type(model).__name__}"
            )
        return copy.deepcopy(model)
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
    states = getattr(model, "num_states", None)
    if states != description["num_states"]:
        raise ValueError(
            f"model must have {description['num_states']} states, as the saved one, "
            f"got {states}"
        )
    whole = {name: getattr(model, name) for name in _PARTS}
    for name, component in (whole | model.components).items():
        top, _, output = name.partition(".")
        part = parts[top]
        if output:
            part = part["arguments"]["families"]["components"][output]
        bound = part["bound"]
        for attribute in _BOUND:
            if attribute in bound:
                setattr(component, attribute, _plain(bound[attribute]))
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
    if isinstance(value, tuple):
        return {"items": [_describe_argument(item) for item in value]}
    if isinstance(value, dict):
        kind = "components" if _holds_components(value) else "items_by_name"
        describe_one = _describe if kind == "components" else _describe_argument
        return {kind: {name: describe_one(item) for name, item in value.items()}}
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    name = type(value).__name__
    if _RECIPES.get(name) is type(value):
        names = [field.name for field in dataclasses.fields(value)]
        fields = {n: _describe_argument(getattr(value, n)) for n in names}
        return {"recipe": name, "fields": fields}
    # A user's class may bear the name of one of these.
    homes = (torch.distributions, dist)
    own = type(value) in [getattr(home, name, None) for home in homes]
    if name not in _PRIORS or not own:
        return {"foreign": repr(value)}
    values = {a: getattr(value, a).double().tolist() for a in _PRIORS[name]}
    return {"prior": name, "arguments": values}


def _holds_components(value: dict[str, Any]) -> bool:
    return any(isinstance(item, components.Component) for item in value.values())


def _is_known(part: dict[str, Any]) -> bool:
    return part["known"] and not _has_foreign(part["arguments"])


def _has_foreign(value: Any) -> bool:
    """Whether something of the user's own stands in a description, however deep."""
    if isinstance(value, dict):
        is_own = "foreign" in value or value.get("known") is False
        return is_own or any(map(_has_foreign, value.values()))
    return isinstance(value, list) and any(map(_has_foreign, value))


def _make(part: dict[str, Any]) -> Any:
    arguments = {name: _make_argument(v) for name, v in part["arguments"].items()}
    # What a constructor takes as **families it keeps under that name.
    arguments |= arguments.pop("families", {})
    return getattr(components, _checked(part["class"], components.__all__))(**arguments)


def _make_argument(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "items" in value:
        return tuple(map(_make_argument, value["items"]))
    if "components" in value:
        return {name: _make(item) for name, item in value["components"].items()}
    if "items_by_name" in value:
        made = value["items_by_name"].items()
        return {name: _make_argument(item) for name, item in made}
    if "slice" in value:
        return slice(*value["slice"])
    if "recipe" in value:
        recipe = _RECIPES[_checked(value["recipe"], _RECIPES)]
        known = recipe.__dataclass_fields__
        fields = {_checked(name, known): v for name, v in value["fields"].items()}
        return recipe(**{name: _make_argument(v) for name, v in fields.items()})
    name = _checked(value["prior"], _PRIORS)
    arguments = {
        key: torch.tensor(value["arguments"][key], dtype=torch.float64)
        for key in _PRIORS[name]
    }
    return getattr(dist, name)(**arguments)


def _plain(bound: Any) -> Any:
    return tuple(bound) if isinstance(bound, list) else bound


def _checked(name: str, known: Any) -> str:
    """A name from the file, if it is one that may be looked up."""
    if name not in known:
        raise ValueError(f"path must name an intact file, it asks for {name!r}")
    return name
