"""Data sets made by designs: one path for data frames and for lists of arrays."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from glmhmm_pyro.arguments import has_items
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.frames import Columns, arrays_from_dataframe, given_designs
from glmhmm_pyro.sequences.joining import joined_arguments
from glmhmm_pyro.sequences.recipes import Recipe

from .lagging import operator_of_terms, streams
from .relearning import DesignSource, rows_read
from .replay import refuse_leaks
from .table import Classes, Lists, Raw, is_frame, output_names

if TYPE_CHECKING:
    from .design import Design


def data_set(
    data: Raw,
    designs: Mapping[str, Any],
    *,
    session: Columns | None,
    emissions: Columns | Lists,
    columns: Sequence[str] | None = None,
    group: Columns | None = None,
    mask: Columns | Lists | None = None,
    time: str | None = None,
    class_names: Sequence[str] | None = None,
    as_array: bool | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Sequences:
    """A data set with the covariates of these designs.

    Args:
        designs: by the argument of ``Sequences``, designs, or what names columns.
        columns: names of the columns of lists of arrays.

    The other arguments are those of :meth:`Design.sequences`.
    """
    recipes: dict[str, Any] = {
        argument: d for argument, d in designs.items() if isinstance(d, Recipe)
    }
    plain = {a: d for a, d in designs.items() if a not in recipes}
    keys = _session_columns(session, group) if is_frame(data) else session
    sources = (keys, columns, None if is_frame(data) else emissions)
    hidden = _hidden_emissions(data, keys, emissions, mask)
    known = _given_classes(emissions, class_names)
    made: dict[str, Any] = {}
    for argument, design in recipes.items():
        table = design.learnt_from(data, sources, hidden, known)
        of_steps = argument != "initial_covariates"
        if of_steps and streams(design.terms, table.num_steps, as_array):
            made[argument] = operator_of_terms(
                design.terms, design.reading(table), dtype, device or "cpu"
            )
            continue
        frame = design.frame_of(table).iloc[rows_read(argument, table)]
        made[argument] = frame if of_steps else frame.reset_index(drop=True)
    first: Any = next(iter(recipes.values()))
    options: dict[str, Any] = {"emissions": emissions, "group": group, "mask": mask}
    if is_frame(data):
        options |= {"session": session, "time": time, "class_names": class_names}
        if class_names is None:
            options["class_names"] = _learnt_classes(first, data, keys, emissions)
        arguments = arrays_from_dataframe(data, given_designs(**plain), **options)
    else:
        options["class_names"] = class_names
        arguments = _of_lists(options, plain.get("initial_covariates"))
    arguments |= made
    sequences = Sequences(**arguments, dtype=dtype, device=device)
    for design in recipes.values():
        refuse_leaks(design.terms, sequences.emission_names)
    return sequences._derive(design_source=DesignSource.of(recipes, table))


def _session_columns(session: Columns | None, group: Columns | None) -> Columns | None:
    """The columns that tell sessions apart, of which two groups may have the same."""
    if session is None or group is None:
        return session
    listed = [[c] if isinstance(c, str) else list(c) for c in (session, group)]
    return list(dict.fromkeys([*listed[0], *listed[1]]))


def _given_classes(
    emissions: Columns | Lists, class_names: Sequence[str] | None
) -> dict[str, Classes]:
    """Classes of a single output of labels, in the order that was asked for."""
    single = emissions if isinstance(emissions, str) else None
    if class_names is None or single is None:
        return {}
    return {single: tuple(map(str, class_names))}


def _learnt_classes(
    design: "Design", data: Raw, session: Columns | None, emissions: Columns | Lists
) -> Classes:
    """Classes of a single output of labels, learnt where they are not known yet."""
    single = isinstance(emissions, str) or not has_items(emissions)
    names = [emissions] if single else list(emissions)
    known = getattr(data, "columns", ())
    if len(names) != 1 or not isinstance(names[0], str) or names[0] not in known:
        return None
    if names[0] not in design._classes:
        table = design._table(data, session, None, None)
        table.numbers(names[0])
        design._classes = dict(table.classes)
    found: Classes = design._classes.get(names[0])
    return found


def _of_lists(given: Mapping[str, Any], initial: ArrayLike | None) -> dict[str, Any]:
    """Arguments of :class:`Sequences` from lists, besides those of the designs."""
    options = {
        "initial_covariates": initial,
        "groups": given["group"],
        "class_names": given["class_names"],
    }
    arguments = joined_arguments(given["emissions"], {}, given["mask"], options)
    # Terms call the emissions of lists 'y', or 'y0', 'y1', whatever names they carry.
    return arguments | {"emission_names": None}


def _hidden_emissions(
    data: Raw,
    session: Columns | None,
    emissions: Columns | Lists,
    mask: Columns | Lists | None,
) -> dict[str, np.ndarray]:
    """Rows (steps,) that a mask hides of every emission, by name."""
    if mask is None:
        return {}
    if is_frame(data):
        options: dict[str, Any] = {
            "session": session,
            "emissions": emissions,
            "mask": mask,
        }
        found = arrays_from_dataframe(data, {}, **options)
    else:
        found = joined_arguments(emissions, {}, mask, {})
    names = found["emission_names"] if is_frame(data) else None
    values, seen = found["emissions"], found["mask"]
    if seen is None:
        return {}
    number = 1 if np.ndim(values) == 1 else np.shape(values)[1]
    seen = np.asarray(seen, dtype=bool).reshape(len(values), -1)
    wide = np.broadcast_to(seen, (len(values), number))
    return dict(zip(names or output_names(number), ~wide.T))
