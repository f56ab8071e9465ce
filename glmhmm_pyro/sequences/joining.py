"""Lists with one array per session, laid end to end."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from glmhmm_pyro.arguments import has_items, with_article
from glmhmm_pyro.designs import DesignMatrix, Joined, as_design

from .arrays import plain_array, real_array
from .indexed import columns_in_order, in_one_column_order
from .layout import Layout
from .operators import are_shared, kept
from .recipes import joined_source
from .sessions import distinct_names, names_with_groups
from .validation import column_names
from .weights import joined_weights

if TYPE_CHECKING:
    import pandas as pd

    from .data import Sequences

Part = TypeVar("Part")


def joined_arguments(
    emissions: Iterable[ArrayLike],
    designs: Mapping[str, Iterable[ArrayLike] | None],
    masks: Iterable[ArrayLike] | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Arguments of :class:`Sequences` from lists, besides the options given.

    Args:
        designs: lists of covariates, or None, by the singular of the argument.
    """
    arguments = dict(options)
    joined, lengths, categories, names = join_emissions(emissions)
    _refuse_given(arguments, lengths)
    arguments |= {"emissions": joined, "lengths": lengths}
    if arguments.get("emission_names") is None:
        arguments["emission_names"] = names
    if arguments.get("class_names") is None:
        arguments["class_names"] = categories
    for name, sessions in designs.items():
        if sessions is not None:
            given = arguments.get(f"{name}_names")
            values, names = join_features(f"{name}s", sessions, lengths, given)
            arguments[f"{name}s"] = values
            arguments[f"{name}_names"] = names if given is None else given
    if masks is not None:
        outputs = arguments["emission_names"]
        arguments["mask"] = join_masks(masks, lengths, joined.shape, outputs)
    return arguments


def _refuse_given(options: Mapping[str, Any], lengths: Sequence[int]) -> None:
    """Raise a ValueError for options that the lists say themselves."""
    if options.get("lengths") is not None:
        raise ValueError(
            "lengths must be left out of from_lists, which takes them from its lists "
            f"({_brief(lengths)}), got {options['lengths']!r:.80}; give one array of "
            "all sessions and their lengths to Sequences"
        )
    mask = options.get("mask")
    if isinstance(mask, (list, tuple)) and any(np.ndim(part) for part in mask):
        raise ValueError(
            "mask must be a single array of all sessions end to end, got a list of "
            f"{len(mask)} arrays; give one array per session as masks"
        )


def join_emissions(
    sessions: Iterable[ArrayLike],
) -> tuple[Any, list[int], tuple[str, ...] | None, tuple[str, ...] | None]:
    """Emissions end to end, lengths, classes of categoricals, names of the outputs."""
    sessions = in_one_column_order("emissions", list_of_sessions("emissions", sessions))
    arrays = [_session_emissions(session) for session in sessions]
    widths = {array.shape[1:] for array in arrays}
    if arrays[0].ndim not in (1, 2) or len(widths) > 1:
        shapes = " and ".join(map(str, dict.fromkeys(a.shape for a in arrays)))
        raise ValueError(
            "emissions must be a list with one array per session, each (steps,) or "
            f"each (steps, outputs), got arrays of shape {shapes[:120]}; give every "
            "session the same outputs"
        )
    if any(array.dtype.kind in "OU" for array in arrays):
        # Joined as they are, numbers among strings would silently become strings.
        arrays = [array.astype(object) for array in arrays]
    categories = getattr(getattr(sessions[0], "dtype", None), "categories", None)
    classes = None if categories is None else tuple(map(str, categories))
    lengths = [len(array) for array in arrays]
    masked = any(isinstance(array, np.ma.MaskedArray) for array in arrays)
    joined: Any = (np.ma.concatenate if masked else np.concatenate)(arrays)
    return joined, lengths, classes, _common_names(sessions)


def _session_emissions(session: ArrayLike) -> np.ndarray:
    """Emissions of a session; masked whole numbers stay whole, and masked."""
    kind = getattr(getattr(session, "dtype", None), "kind", "")
    if isinstance(session, np.ma.MaskedArray) and kind in "biu":
        return session.copy()
    if _has_missing(session) and kind in tuple("biu") and session.isna().any():
        missing = session.isna().to_numpy()
        return np.ma.masked_array(session.fillna(0).to_numpy(dtype=np.int64), missing)
    return plain_array("emissions", session)


def _has_missing(session: ArrayLike) -> "TypeGuard[pd.Series]":
    """Whether it knows of missing values, as a Series of pandas does."""
    return hasattr(session, "isna")


def _common_names(sessions: Sequence[Any]) -> tuple[str, ...] | None:
    """Names of the columns, where sessions have names and the same ones."""
    names = {column_names(session) for session in sessions} - {None}
    return names.pop() if len(names) == 1 else None


def join_features(
    name: str,
    sessions: Iterable[ArrayLike],
    lengths: Sequence[int],
    names: Sequence[str] | None,
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Covariates end to end, by the names of their columns, and these names.

    Args:
        names: of the columns wanted, where they are given.
    """
    sessions = in_one_column_order(name, list_of_sessions(name, sessions))
    sessions = [columns_in_order(name, session, names) for session in sessions]
    if len(sessions) != len(lengths):
        raise ValueError(
            f"{name} must have {len(lengths)} sessions, as many as emissions, "
            f"got {len(sessions)}; give one array for each session"
        )
    arrays = [_session_features(name, i, s, lengths) for i, s in enumerate(sessions)]
    for i, array in enumerate(arrays):
        if array.shape[1] != arrays[0].shape[1]:
            raise ValueError(
                f"{name} must have as many features in every session, got "
                f"{arrays[0].shape[1]} in session 0 and {array.shape[1]} in session "
                f"{i}; give all sessions the same columns"
            )
    return np.concatenate(arrays), _common_names(sessions)


def _session_features(
    name: str, session: int, values: ArrayLike, lengths: Sequence[int]
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
        message += f", which is (features, steps); pass {name}[{session}].T"
    raise ValueError(message)


def join_masks(
    sessions: Iterable[ArrayLike],
    lengths: Sequence[int],
    shape: tuple[int, ...],
    outputs: Sequence[str] | None,
) -> np.ndarray:
    """Masks end to end; each as long as its session, by the names of the outputs."""
    sessions = in_one_column_order("masks", list_of_sessions("masks", sessions))
    sessions = [columns_in_order("masks", session, outputs) for session in sessions]
    arrays = [plain_array("masks", session) for session in sessions]
    if [len(array) for array in arrays] != list(lengths):
        raise ValueError(
            f"masks must have the lengths of emissions ({_brief(lengths)}), "
            f"got {_brief([len(array) for array in arrays])}; give each session a mask "
            "of its steps"
        )
    if any(array.shape[1:] not in ((), shape[1:]) for array in arrays):
        raise ValueError(
            "masks must each have shape (steps,) or that of their emissions, "
            f"got {' and '.join({str(array.shape) for array in arrays})[:120]}; give "
            "one entry for each step, or for each output of each step"
        )
    if len({array.ndim for array in arrays}) > 1:
        arrays = [_broadcast_mask(array, shape) for array in arrays]
    return np.concatenate(arrays)


def _broadcast_mask(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    wide = mask if mask.ndim == len(shape) else mask[:, None]
    return np.broadcast_to(wide, (len(mask), *shape[1:]))


def _brief(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:6]))
    return shown if len(numbers) <= 6 else f"{shown}, ... {len(numbers)} in all"


def list_of_sessions(name: str, sessions: Iterable[ArrayLike]) -> list[Any]:
    """The sessions as a list, refused where they are not one array each."""
    if isinstance(sessions, (str, Mapping)) or hasattr(sessions, "columns"):
        fix = f"; give list({name}.values())"
        if isinstance(sessions, str):
            fix = "; give the labels of a session as a list of strings"
        if hasattr(sessions, "columns"):
            fix = "; give a data frame of all sessions to Sequences.from_dataframe"
        raise TypeError(
            f"{name} must be a list with one array per session, got a "
            f"{type(sessions).__name__}{fix}; put the arrays into a list"
        )
    if not has_items(sessions) or hasattr(sessions, "todense"):
        raise TypeError(
            f"{name} must be a list with one array per session, got {sessions!r:.80}; "
            "give a list of arrays"
        )
    sessions = list(sessions)
    if not sessions:
        raise ValueError(
            f"{name} must be a list with one array per session, got an empty list; "
            "give one session at least"
        )
    for number, session in enumerate(sessions):
        _check_session(name, number, session)
    return sessions


def _check_session(name: str, number: int, session: ArrayLike) -> None:
    """Raise an error if an item of a list is not the steps of a session."""
    if session is None or isinstance(session, (str, Mapping)):
        got = "None" if session is None else with_article(type(session))
        raise TypeError(
            f"{name}[{number}] must be an array or a list, the steps of session "
            f"{number}, got {got}; leave empty sessions out"
        )
    if not isinstance(session, (list, tuple)) and np.ndim(session) == 0:
        raise ValueError(
            f"{name} must be a list with one array per session, got a list of single "
            f"values; put a single session into a list: [{name}]"
        )
    if isinstance(session, Sized) and len(session) == 0:
        raise ValueError(
            f"{name}[{number}] must have at least one step, got none; leave empty "
            "sessions out"
        )


def listed_parts(parts: Iterable[Part] | Part, kind: type[Part]) -> list[Part]:
    """Data sets as a list, refused where something is none."""
    found: list[Any] = list(parts) if has_items(parts) else [parts]
    for number, part in enumerate(found):
        if not isinstance(part, kind):
            raise TypeError(
                f"parts must be a list of {kind.__name__}, got {type(part).__name__} "
                f"as number {number}; make it one first"
            )
    if not found:
        raise ValueError("parts must hold at least one data set, got none; give some")
    return found


def joined_fields(parts: Sequence["Sequences"]) -> dict[str, Any]:
    """Fields of several data sets end to end, where all have the same columns."""
    parts = [_ordered_as(parts[0], part) for part in parts]
    _refuse_different(parts)
    first = parts[0]
    lengths = torch.cat([part.lengths for part in parts])
    names = [name for part in parts for name in part.session_names]
    origins = tuple(s for part in parts for s in part.session_origins)
    fields: dict[str, Any] = {
        "emissions": torch.cat([part.emissions for part in parts]),
        "covariates": _joined_rows(parts, "covariates"),
        "mask": _joined_mask(parts),
        "lengths": lengths,
        "starts": lengths.cumsum(0) - lengths,
        "session_names": distinct_names(names_with_groups(names, origins)),
        "session_origins": origins,
        "design_source": joined_source(parts),
        "session_weights": joined_weights(parts),
    }
    if not all(are_shared(part) for part in parts):
        fields["transition_covariates"] = _joined_rows(parts, "transition_covariates")
    if kept(first, "initial_covariates") is not None:
        fields["initial_covariates"] = _joined_rows(parts, "initial_covariates")
    return fields


def _joined_rows(parts: Sequence["Sequences"], name: str) -> Any:
    """A design of several data sets end to end; streamed if one of them is."""
    designs = [kept(part, name) for part in parts]
    if any(isinstance(design, DesignMatrix) for design in designs):
        return Joined([as_design(design) for design in designs])
    return torch.cat(designs)


def _ordered_as(first: "Sequences", part: "Sequences") -> "Sequences":
    """A data set with whatever names it shares with the first in the same order."""
    layout, found = Layout.of(first), part.class_names
    names = {
        argument: wanted
        for argument, wanted in layout.names.items()
        if sorted(wanted.names) == sorted(getattr(part, argument) or ())
    }
    in_one_column_order = sorted(layout.classes or ()) == sorted(found or ())
    classes = layout.classes if in_one_column_order else found
    return Layout(names, classes).lay_out(part)[0]


def _refuse_different(parts: Sequence["Sequences"]) -> None:
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
                    f"{values[0]} and, in data set {number}, {value}; make them alike "
                    "by replace(...)"
                )
    if len({part.groups is None for part in parts}) > 1:
        number = [part.groups is None for part in parts].index(True)
        raise ValueError(
            "data sets to concatenate must all have groups or none, got none in data "
            f"set {number}; name those of its sessions by replace(groups=[...])"
        )
    if len({part.emissions.dtype for part in parts}) > 1:
        raise ValueError(
            "data sets to concatenate must have the same type of emissions, got "
            f"{', '.join(str(part.emissions.dtype) for part in parts)}"
            "; convert them by Sequences(..., dtype=...) or .replace(emissions=...)"
        )


def _joined_mask(parts: Sequence["Sequences"]) -> Tensor | None:
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
