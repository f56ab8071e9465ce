"""A fit in one open file: its fields as arrays and a JSON description.

Every field is written, whatever a method puts there, if it is made of the kinds that
``encoding`` knows; a record of a kind of its own is to be named in ``TYPES`` below.
"""

import dataclasses
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.fits.baseline import Baseline
from glmhmm_pyro.inference.fits.descriptions import (
    bound_copy,
    describe,
    make_model,
    own_parts,
)
from glmhmm_pyro.inference.fits.encoding import Arrays, decoded, encoded
from glmhmm_pyro.inference.fits.files import (
    checked_path,
    intact,
    read_record,
    write_record,
)
from glmhmm_pyro.inference.program.labels import Labels
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.runs import Restart, Solution
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.sequences.layout import Layout
from glmhmm_pyro.sequences.naming import Names
from glmhmm_pyro.sequences.sessions import Session

if TYPE_CHECKING:
    from glmhmm_pyro.inference.fits.fit import Fit

# The records and enums that fields of a fit are made of.
_KINDS = (
    Baseline,
    Labels,
    Layout,
    Names,
    Posterior,
    Restart,
    Session,
    Solution,
    Status,
)
TYPES = {kind.__name__: kind for kind in _KINDS}

# What the arrays of a field are called, where not as the field.
_NAMES = {"params": "param"}


def save(fit: "Fit", path: str | PathLike) -> None:
    """Write an open file (netCDF 4), which :func:`glmhmm_pyro.load` reads.

    It is written whole or not at all: where saving fails (``OSError``) or is
    killed, a file that stood there before stays as it was.
    """
    checked_path(path, "the file to write")
    write_record(path, *recorded(fit))


def recorded(fit: "Fit") -> tuple[Arrays, dict[str, Any]]:
    """The arrays and the facts of a file of a fit."""
    arrays: Arrays = {}
    fields = {
        field.name: encoded(
            getattr(fit, field.name), _NAMES.get(field.name, field.name), arrays, TYPES
        )
        for field in dataclasses.fields(fit)
        if field.name != "model"
    }
    return arrays, fields | {"model": describe(fit.model)}


def read_fit(path: str | PathLike, model: Callable[..., Any] | None) -> dict[str, Any]:
    """The fields of the :class:`Fit` that :func:`save` wrote.

    Args:
        path: the file.
        model: the model that was fitted, where a file cannot hold all of it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no intact file of a fit, or the model is another one.
    """
    arrays, facts, version = read_record(path)
    made: Callable[..., Any] | None
    with intact(str(path)):
        fields = _format_1(arrays, facts) if version == 1 else _fields(arrays, facts)
        made, missing = make_model(facts["model"]), own_parts(facts["model"])
    if model is not None:
        made = bound_copy(model, facts["model"])
    elif made is None:
        raise ValueError(f"model must be given to load this fit: {missing[0]}")
    with intact(str(path)):
        fields["labels"].restore_layout(made)
        _check_fields(fields, made)
    return fields | {"model": made}


def _fields(arrays: Arrays, facts: dict[str, Any]) -> dict[str, Any]:
    """Fields from the arrays and facts of a file; those it lacks have defaults.

    The model is made apart, and the call that a checkpoint belongs to is no field.
    """
    plain = {n: value for n, value in facts.items() if n not in ("model", "call")}
    return {name: decoded(value, arrays, TYPES) for name, value in plain.items()}


def _check_fields(fields: dict[str, Any], model: Callable[..., Any]) -> None:
    """Raise a ValueError if fields contradict each other or the model."""
    params, restarts = fields["params"], fields["restarts"]
    restarts[fields["best"]], float(fields["log_joint"])
    posterior = fields.get("posterior")
    if posterior is not None:
        sites = {name: tuple(value.shape) for name, value in params.items()}
        drawn = {name: tuple(v.shape[2:]) for name, v in posterior.draws.items()}
        if sites != drawn:
            raise ValueError(f"its draws are of {drawn}, its parameters {sites}")
    components = Program.kind_of(model).components_of(model)
    for name, component in components.items():
        for site in component.sites:
            value = params.get(f"{name}.{site}")
            if value is None and component.num_states != 1:
                raise ValueError(f"it has no values of {name}.{site}")
            if value is None or component.sites[site].latent:
                continue
            if value.shape != component.shape(site):
                raise ValueError(
                    f"its {name}.{site} have shape {tuple(value.shape)} where the "
                    f"model has {tuple(component.shape(site))}"
                )
            support = component.sites[site].support
            if not support.check(value).all():
                raise ValueError(f"its {name}.{site} are not all in {support}")


def _format_1(arrays: Arrays, facts: dict[str, Any]) -> dict[str, Any]:
    """Fields of a file of format 1, which named its arrays by what they were for."""
    restarts = tuple(
        Restart(
            arrays[f"restart:{i}:log_likelihoods"],
            arrays[f"restart:{i}:log_joints"],
            Status[name],
        )
        for i, name in enumerate(facts["restarts"])
    )
    histories = _tensors(arrays, "weights:")
    length = len(next(iter(histories.values()))) if histories else 0
    plain = ("log_likelihood", "log_joint", "best", "method", "num_parameters")
    return {name: facts[name] for name in plain} | {
        "params": _tensors(arrays, "param:"),
        "status": Status[facts["status"]],
        "restarts": restarts,
        "labels": _labels_1(facts["labels"]),
        "weights": tuple(
            {name: value[i] for name, value in histories.items()} for i in range(length)
        ),
        "unbounded": tuple(facts["unbounded"]),
        "notes": tuple(facts["notes"]),
        "posterior": _posterior_1(arrays, facts),
    }


def _labels_1(fields: dict[str, Any]) -> Labels:
    """Labels from plain containers, lists for tuples."""
    classes = fields["classes"]
    return Labels(
        covariates={k: tuple(v) for k, v in fields["covariates"].items()},
        classes=None if classes is None else tuple(classes),
        sessions=tuple(fields["sessions"]),
        num_steps=fields["num_steps"],
        num_observed=fields["num_observed"],
    )


def _posterior_1(arrays: Arrays, facts: dict[str, Any]) -> Posterior | None:
    """The draws in the file, if the fit had any."""
    if "num_relabelled" not in facts:
        return None
    stats = _tensors(arrays, "stats:")
    return Posterior(
        draws=_tensors(arrays, "draws:"),
        stats={name: value.numpy() for name, value in stats.items()},
        num_relabelled=facts["num_relabelled"],
        elbo=arrays.get("elbo"),
    )


def _tensors(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    """The arrays whose names begin with ``prefix``, which is taken off."""
    return {
        name[len(prefix) :]: torch.as_tensor(array)
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
