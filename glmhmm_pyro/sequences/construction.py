"""The fields of a data set, made and checked from what a caller passed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, SupportsAbs

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.displays import display, framed

from .arrays import plain_array
from .indexed import columns_in_order, refuse_other_order, rows_in_order
from .naming import Names, given_or_numbered, names_of
from .operators import are_shared, checked_operator, kept
from .reading import output_names, read_emissions
from .sessions import session_fields
from .validation import (
    Labels,
    check_lengths,
    check_names,
    column_names,
    read_features,
    refuse_bad_entries,
)

if TYPE_CHECKING:
    from .data import Sequences

INTERCEPT = "intercept"
DESIGNS = {
    "covariates": "x",
    "transition_covariates": "u",
    "initial_covariates": "v",
}


@usual_modes()
def checked_fields(
    emissions: ArrayLike,
    mask: ArrayLike | None,
    lengths: ArrayLike | None,
    *,
    class_names: Labels | None,
    emission_names: Labels | None,
    session_names: Labels | None,
    groups: Labels | None,
    designs: Mapping[str, tuple[ArrayLike | None, Labels | None]],
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> dict[str, Any]:
    """Every field of a data set by its name.

    Args:
        designs: (values, column names) of each of ``DESIGNS``; values may be None.
    """
    check_dtype(dtype)
    check_device(device)
    arrays = {
        n: None if isinstance(v, DesignMatrix) else v for n, (v, _) in designs.items()
    }
    _refuse_swapped(emissions, arrays["covariates"])
    if lengths is None:
        _refuse_epochs(emissions)
    refuse_other_order(
        {"emissions": emissions, "mask": mask}
        | {name: arrays[name] for name in ("covariates", "transition_covariates")}
    )
    emissions = columns_in_order("emissions", emissions, emission_names)
    known = column_names(emissions) if emission_names is None else emission_names
    mask = columns_in_order("mask", mask, known)
    read = read_emissions(emissions, mask, class_names)
    _refuse_transposed(read.values.shape, lengths, arrays["covariates"])
    num_steps = len(read.values)
    counts = check_lengths(lengths, num_steps)
    outputs = output_names(emission_names, read.values.shape, emissions)
    fields: dict[str, Any] = {
        "emissions": _emission_tensor(read.values, dtype, device),
        "mask": None if read.mask is None else torch.tensor(read.mask, device=device),
        "lengths": torch.as_tensor(counts, device=device),
        "starts": torch.as_tensor(np.cumsum(counts) - counts, device=device),
        "class_names": read.class_names,
    }
    fields |= session_fields(session_names, groups, counts, read.values)
    initial, initial_names = designs["initial_covariates"]
    if not isinstance(initial, DesignMatrix):
        initial = rows_in_order(initial, fields["session_names"])
    designs = {**designs, "initial_covariates": (initial, initial_names)}
    fields |= _read_designs(designs, [*map(int, counts)], dtype, device)
    return fields | _names_apart({"emission_names": outputs}, fields)


def _names_apart(names: dict[str, Names], fields: dict[str, Any]) -> dict[str, Any]:
    """Names as plain tuples, and those among them that were made up in a field."""
    names |= {name: value for name, value in fields.items() if type(value) is Names}
    apart: dict[str, Any] = {name: value.names for name, value in names.items()}
    generated = {name: frozenset(value.generated) for name, value in names.items()}
    return apart | {"generated_names": generated}


def _emission_tensor(
    values: np.ndarray, dtype: torch.dtype, device: torch.device | str | None
) -> Tensor:
    if values.dtype.kind != "f":
        return torch.as_tensor(values, device=device)
    return _tensor_in_range("emissions", values, dtype, device)


def _tensor_in_range(
    name: str,
    values: np.ndarray,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> Tensor:
    """A tensor of finite numbers, refused where the type cannot hold them."""
    tensor = torch.as_tensor(values, dtype=dtype, device=device)
    check_range(name, tensor, values)
    return tensor


def check_range(name: str, tensor: Tensor, values: SupportsAbs[Any]) -> None:
    """Raise a ValueError if a narrower type has made finite values infinite."""
    if not bool(tensor.isfinite().all()):
        raise ValueError(
            f"{name} must be finite in {tensor.dtype}, got values up to "
            f"{float(abs(values).max()):.3g}; rescale them or take a wider dtype"
        )


def check_dtype(dtype: torch.dtype) -> None:
    """Raise a TypeError if ``dtype`` is not a floating type of torch."""
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(
            f"dtype must be a floating torch.dtype, got {dtype!r}; give torch.float64"
        )


def check_device(device: torch.device | str | None) -> None:
    """Raise a ValueError if torch cannot use the device, or it holds no values."""
    try:
        found = torch.empty(1, device=device).device
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0].partition(" at start")[0]
        raise ValueError(
            f"device must be one that torch can use here, got {device!r}: "
            f"{reason:.200}; leave device out for the CPU"
        ) from error
    if found.type == "meta":
        raise ValueError(
            f"device must hold values, got {found}; give 'cpu', or leave torch's "
            "default device as it was"
        )


def _refuse_epochs(emissions: Any) -> None:
    """Raise a ValueError for a time series of several epochs, which are no one session.

    It is told by its ``time_support``, as pynapple's series have one.
    """
    epochs = getattr(getattr(emissions, "time_support", None), "start", ())
    if np.size(epochs) > 1:
        raise ValueError(
            "emissions must be one stretch of time where no lengths are given, got a "
            f"time series of {np.size(epochs)} epochs; write "
            "Sequences.from_time_series(emissions, ...), which takes each for a session"
        )


def _refuse_swapped(emissions: ArrayLike, covariates: ArrayLike | None) -> None:
    """Recognise covariates that stand in the place of the emissions."""
    shape: tuple[int, ...] = tuple(getattr(emissions, "shape", ()))
    if len(shape) != 2 or shape[1] < 2 or getattr(covariates, "ndim", 1) != 1:
        return
    if covariates is None:
        return
    values = plain_array("covariates", covariates)
    if values.ndim == 1 and len(values) == shape[0] and values.dtype.kind in "biuOU":
        raise ValueError(
            "covariates must have shape (steps, features), got a vector of labels or "
            f"whole numbers beside emissions of shape {shape}; emissions come "
            "first: swap the two, or give a single covariate as a column, (steps, 1)"
        )


def _refuse_transposed(
    shape: tuple[int, ...], lengths: ArrayLike | None, covariates: ArrayLike | None
) -> None:
    """Recognise emissions of shape (outputs, steps) by the steps of the others."""
    if len(shape) != 2:
        return
    if lengths is not None:
        num_steps = np.sum(plain_array("lengths", lengths))
    else:
        known = () if covariates is None else np.shape(covariates)
        num_steps = (*known, shape[0])[0]
    if shape[0] != num_steps and shape[1] == num_steps:
        raise ValueError(
            f"emissions must have shape (steps, outputs), got {shape}, which is "
            "(outputs, steps); pass the transposed array, emissions.T"
        )


def _read_designs(
    designs: Mapping[str, tuple[ArrayLike | None, Labels | None]],
    lengths: list[int],
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> dict[str, Any]:
    """The three designs and their names; the transitions share the covariates."""
    num_steps, num_sessions = sum(lengths), len(lengths)

    def read(
        name: str, values: ArrayLike, unit: str, num_rows: int
    ) -> tuple[Any, Names]:
        names = designs[name][1]
        if isinstance(values, DesignMatrix):
            rows = num_rows, unit
            made = lengths if unit == "steps" else None
            design = checked_operator(name, values, rows, dtype, device, made)
            return design, design_names(name, values, names, design.shape[1])
        values = columns_in_order(name, values, names)
        array = read_features(name, values, num_rows, unit)
        columns = design_names(name, values, names, array.shape[1])
        refuse_bad_entries(name, ~np.isfinite(array), columns.names)
        return _tensor_in_range(name, array, dtype, device), columns

    values, given = designs["covariates"]
    if values is None:
        emission = torch.ones(num_steps, 1, dtype=dtype, device=device)
        names = Names(check_names("covariate_names", given, [INTERCEPT]))
    else:
        emission, names = read("covariates", values, "steps", num_steps)
    fields: dict[str, Any] = {"covariates": emission, "covariate_names": names}

    values, given = designs["transition_covariates"]
    if values is None:
        transition = emission
        if given is not None:
            names = Names(check_names("transition_covariate_names", given, names.names))
    else:
        transition, names = read("transition_covariates", values, "steps", num_steps)
    fields |= {"transition_covariates": transition, "transition_covariate_names": names}

    values, given = designs["initial_covariates"]
    fields |= {"initial_covariates": None, "initial_covariate_names": None}
    if values is not None:
        initial, names = read("initial_covariates", values, "sessions", num_sessions)
        fields |= {"initial_covariates": initial, "initial_covariate_names": names}
    elif given is not None:
        raise ValueError(
            "initial_covariate_names must be None without initial_covariates, "
            f"got {given}; give the covariates too"
        )
    return fields


def design_names(
    name: str, values: ArrayLike | DesignMatrix, names: Labels | None, num_features: int
) -> Names:
    """Names of a design's columns: as given, a DataFrame's own, or numbered."""
    numbered = tuple(f"{DESIGNS[name]}{i}" for i in range(num_features))
    own = values.names if isinstance(values, DesignMatrix) else column_names(values)
    return given_or_numbered(names_of(name), names, own, numbered)


def simplified_mask(mask: Tensor) -> Tensor | None:
    """None in place of a mask that hides nothing."""
    return None if bool(mask.all()) else mask


def summary(data: "Sequences") -> str:
    """A few lines that tell a reader what is in a data set."""
    shortest, longest = int(data.lengths.min()), int(data.lengths.max())
    span = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
    lines = [
        f"Sequences: {data.num_sessions} session{'s' * (data.num_sessions > 1)} of "
        f"{span} steps, {data.num_steps} steps in all",
        *_group_summary(data.groups),
        f"emissions: {', '.join(data.emission_names)} ({_value_summary(data)})",
    ]
    if data.mask is not None:
        missing = int((~data.mask).sum())
        lines.append(f"masked: {missing} of {data.mask.numel()} entries")
    lines.append(f"covariates: {_brief(data.covariate_names)}")
    if not are_shared(data):
        names = _brief(data.transition_covariate_names)
        lines.append(f"transition covariates: {names}")
    if kept(data, "initial_covariates") is not None:
        lines.append(
            f"initial covariates: {_brief(data.initial_covariate_names or ())}"
        )
    return "\n  ".join(lines)


def summary_html(data: "Sequences") -> str:
    """The same in a notebook, with a table of the sessions."""
    import pandas as pd

    title, *lines = summary(data).splitlines()
    columns = {"session": data.session_names, "steps": data.lengths.tolist()}
    if data.groups is not None:
        columns["group"] = data.groups
    table = framed(pd.DataFrame(columns).set_index("session"))
    return display(title, "\n".join(lines), {"Sessions": table})


def _group_summary(groups: Sequence[str] | None) -> list[str]:
    """How many sessions every group has, where there are groups."""
    if groups is None:
        return []
    counted = [f"{group} ({number})" for group, number in Counter(groups).items()]
    return [f"sessions of groups: {_brief(counted)}"]


def _value_summary(data: "Sequences") -> str:
    if data.class_names is not None:
        return f"classes {_brief(data.class_names)}"
    seen = data.emissions if data.mask is None else data.emissions[data.mask]
    if not bool((seen == seen.round()).all()):
        return "real numbers"
    if not seen.numel():
        return "none observed"
    return f"whole numbers {int(seen.min())} to {int(seen.max())}"


def _brief(names: Sequence[str]) -> str:
    if len(names) <= 8:
        return ", ".join(names)
    return f"{', '.join(names[:4])}, ..., {names[-1]} ({len(names)} in all)"
