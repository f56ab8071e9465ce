"""Lists with one array per session, laid end to end."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .validation import column_names, plain_array, real_array


def joined_arguments(
    emissions: Any,
    designs: Mapping[str, Any],
    masks: Any,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Arguments of :class:`Sequences` from lists, besides the options given.

    Args:
        designs: lists of covariates, or None, by the singular of the argument.
    """
    arguments = dict(options)
    joined, lengths, categories = join_emissions(emissions)
    arguments |= {"emissions": joined, "lengths": lengths}
    if arguments.get("class_names") is None:
        arguments["class_names"] = categories
    for name, sessions in designs.items():
        if sessions is not None:
            values, names = join_features(f"{name}s", sessions, lengths)
            arguments[f"{name}s"] = values
            if arguments.get(f"{name}_names") is None:
                arguments[f"{name}_names"] = names
    if masks is not None:
        arguments["mask"] = join_masks(masks, lengths, joined.shape)
    return arguments


def join_emissions(sessions: Any) -> tuple[Any, list[int], tuple[str, ...] | None]:
    """Emissions end to end, their lengths, and the classes of categorical sessions."""
    sessions = list_of_sessions("emissions", sessions)
    arrays = [plain_array("emissions", session) for session in sessions]
    widths = {array.shape[1:] for array in arrays}
    if arrays[0].ndim not in (1, 2) or len(widths) > 1:
        shapes = " and ".join(map(str, dict.fromkeys(a.shape for a in arrays)))
        raise ValueError(
            "emissions must be a list with one array per session, each (steps,) or "
            f"each (steps, outputs), got arrays of shape {shapes[:120]}"
        )
    if any(array.dtype.kind in "OU" for array in arrays):
        # Joined as they are, numbers among strings would silently become strings.
        arrays = [array.astype(object) for array in arrays]
    categories = getattr(getattr(sessions[0], "dtype", None), "categories", None)
    names = None if categories is None else tuple(map(str, categories))
    return np.concatenate(arrays), [len(array) for array in arrays], names


def join_features(
    name: str, sessions: Any, lengths: Sequence[int]
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Covariates end to end, and the column names if the sessions are DataFrames."""
    sessions = list_of_sessions(name, sessions)
    if len(sessions) != len(lengths):
        raise ValueError(
            f"{name} must have {len(lengths)} sessions, as many as emissions, "
            f"got {len(sessions)}"
        )
    arrays = [_session_features(name, i, s, lengths) for i, s in enumerate(sessions)]
    for i, array in enumerate(arrays):
        if array.shape[1] != arrays[0].shape[1]:
            raise ValueError(
                f"{name} must have as many features in every session, got "
                f"{arrays[0].shape[1]} in session 0 and {array.shape[1]} in session {i}"
            )
    return np.concatenate(arrays), column_names(sessions[0])


def _session_features(
    name: str, session: int, values: Any, lengths: Sequence[int]
) -> np.ndarray:
    array, num_steps = real_array(f"{name}[{session}]", values), lengths[session]
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim == 2 and len(array) == num_steps:
        return array
    message = (
        f"{name}[{session}] must have shape (steps, features) with the {num_steps} "
        f"steps of emissions[{session}], got {array.shape}"
    )
    if array.ndim == 2 and array.shape[1] == num_steps:
        message += f", which is (features, steps): pass {name}[{session}].T"
    raise ValueError(message)


def join_masks(
    sessions: Any, lengths: Sequence[int], shape: tuple[int, ...]
) -> np.ndarray:
    """Masks end to end; each as long as its session."""
    sessions = list_of_sessions("masks", sessions)
    arrays = [plain_array("masks", session) for session in sessions]
    if [len(array) for array in arrays] != list(lengths):
        raise ValueError(
            f"masks must have the lengths of emissions ({_brief(lengths)}), "
            f"got {_brief([len(array) for array in arrays])}"
        )
    if any(array.shape[1:] not in ((), shape[1:]) for array in arrays):
        raise ValueError(
            "masks must each have shape (steps,) or that of their emissions, "
            f"got {' and '.join({str(array.shape) for array in arrays})[:120]}"
        )
    if len({array.ndim for array in arrays}) > 1:
        arrays = [_widened(array, shape) for array in arrays]
    return np.concatenate(arrays)


def _widened(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    wide = mask if mask.ndim == len(shape) else mask[:, None]
    return np.broadcast_to(wide, (len(mask), *shape[1:]))


def _brief(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:6]))
    return shown if len(numbers) <= 6 else f"{shown}, ... {len(numbers)} in all"


def list_of_sessions(name: str, sessions: Any) -> list[Any]:
    """The sessions as a list, refused where they are not one array each."""
    if isinstance(sessions, (str, dict)) or hasattr(sessions, "columns"):
        raise TypeError(
            f"{name} must be a list with one array per session, "
            f"got {type(sessions).__name__}"
        )
    sessions = list(sessions)
    if not sessions or any(np.ndim(session) == 0 for session in sessions):
        got = "an empty list" if not sessions else "a list of single values"
        raise ValueError(
            f"{name} must be a list with one array per session, got {got}; "
            f"put a single session into a list: [{name}]"
        )
    return sessions


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """The same names, a repeated one told apart as 'name (2)', 'name (3)', ..."""
    used: set[str] = set(names) if len(set(names)) == len(names) else set()
    if used:
        return tuple(names)
    counts: dict[str, int] = {}
    distinct = []
    for name in names:
        candidate = name
        while candidate in used:
            counts[name] = counts.get(name, 1) + 1
            candidate = f"{name} ({counts[name]})"
        used.add(candidate)
        distinct.append(candidate)
    return tuple(distinct)


def joined_fields(parts: Sequence[Any]) -> dict[str, Any]:
    """Fields of several data sets end to end, where all have the same columns."""
    _refuse_different(parts)
    first = parts[0]
    lengths = torch.cat([part.lengths for part in parts])
    fields: dict[str, Any] = {
        "emissions": torch.cat([part.emissions for part in parts]),
        "covariates": torch.cat([part.covariates for part in parts]),
        "mask": _joined_mask(parts),
        "lengths": lengths,
        "starts": lengths.cumsum(0) - lengths,
        "session_names": distinct_names(
            [name for part in parts for name in part.session_names]
        ),
    }
    if any(part.transition_covariates is not part.covariates for part in parts):
        fields["transition_covariates"] = torch.cat(
            [part.transition_covariates for part in parts]
        )
    if first.initial_covariates is not None:
        fields["initial_covariates"] = torch.cat(
            [part.initial_covariates for part in parts]
        )
    return fields


def _refuse_different(parts: Sequence[Any]) -> None:
    if not parts:
        raise ValueError("concatenate takes at least one data set, got none")
    for attribute in (
        "emission_names",
        "class_names",
        "covariate_names",
        "transition_covariate_names",
        "initial_covariate_names",
        "dtype",
        "device",
    ):
        values = [getattr(part, attribute) for part in parts]
        for number, value in enumerate(values):
            if value != values[0]:
                raise ValueError(
                    f"data sets to concatenate must have the same {attribute}, got "
                    f"{values[0]} and, in data set {number}, {value}"
                )
    if len({part.emissions.dtype for part in parts}) > 1:
        raise ValueError(
            "data sets to concatenate must have the same type of emissions, got "
            f"{', '.join(str(part.emissions.dtype) for part in parts)}"
        )


def _joined_mask(parts: Sequence[Any]) -> Tensor | None:
    masks = [part.mask for part in parts]
    if all(mask is None for mask in masks):
        return None
    ndim = max(mask.ndim for mask in masks if mask is not None)
    joined = []
    for part, mask in zip(parts, masks):
        shape = part.emissions.shape[:ndim]
        if mask is None:
            mask = torch.ones(shape, dtype=torch.bool, device=part.device)
        joined.append((mask if mask.ndim == ndim else mask[:, None]).expand(shape))
    return torch.cat(joined)
