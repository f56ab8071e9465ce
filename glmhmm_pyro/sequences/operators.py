"""The designs of a data set as what is multiplied with, each made once.

A design is kept as a tensor, a field of the data set, or, where rows are made as they
are read, as the operator alone; such a field is made anew whenever it is asked for.
"""

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from glmhmm_pyro.designs import DesignMatrix, design_of, spread_over

from .naming import names_of

if TYPE_CHECKING:
    from .data import Sequences
    from .facts import Facts


def kept(data: "Facts", design: str) -> Any:
    """A design as the data set keeps it: a tensor, an operator that streams, or None.

    Args:
        data: a data set.
        design: the argument of ``Sequences``.
    """
    fields = data.__dict__
    return fields[design] if design in fields else fields["_operators"][design]


def are_shared(data: "Facts") -> bool:
    """Whether the transitions read the covariates of the emissions."""
    return kept(data, "transition_covariates") is kept(data, "covariates")


def operator_of(data: "Sequences", design: str) -> DesignMatrix:
    """A design of a data set; transitions share that of the emissions if they can."""
    names = getattr(data, names_of(design))
    if design == "transition_covariates" and names == data.covariate_names:
        if are_shared(data):
            return operator_of(data, "covariates")
    made: dict[str, DesignMatrix] = data.__dict__.setdefault("_operators", {})
    if design not in made:
        made[design] = design_of(getattr(data, design), names)
    found = made[design]
    if found.is_streamed and found.names != names:
        found = copy.copy(found)
        found.names = names
    return spread_over(found, data.ranks)


def operators_at(
    data: "Sequences", steps: Tensor, sessions: Tensor
) -> dict[str, DesignMatrix]:
    """Those made already, at some steps or, of first states, at some sessions."""
    made: dict[str, DesignMatrix] = data.__dict__.get("_operators", {})
    own = {
        name: design.at(sessions if name == "initial_covariates" else steps)
        for name, design in made.items()
    }
    if made.keys() >= {"covariates", "transition_covariates"} and are_shared(data):
        own["transition_covariates"] = own["covariates"]
    return own


def with_fields(data: "Sequences", changes: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of a data set with some exchanged, and operators that still hold.

    Args:
        data: the data set.
        changes: values of fields; designs may be operators, of which those that
            stream are kept as they are.
    """
    fields = data.__dict__ | dict(changes)
    made = fields["_operators"] = {
        **kept_operators(data, changes),
        **changes.get("_operators", {}),
    }
    arrays: dict[DesignMatrix, Tensor] = {}
    for name, value in changes.items():
        if isinstance(value, DesignMatrix):
            made[name] = value
            if not value.is_streamed:
                fields[name] = arrays.setdefault(value, value.dense())
    for name, value in made.items():
        if value.is_streamed:
            fields.pop(name, None)
    return fields


def kept_operators(
    data: "Sequences", changed: Collection[str]
) -> dict[str, DesignMatrix]:
    """Those made already of designs that have not changed."""
    made: dict[str, DesignMatrix] = data.__dict__.get("_operators", {})

    def holds(name: str) -> bool:
        return name not in changed and (
            made[name].is_streamed or names_of(name) not in changed
        )

    return {name: made[name] for name in made if holds(name)}


def checked_operator(
    name: str,
    design: DesignMatrix,
    rows: tuple[int, str],
    dtype: torch.dtype,
    device: torch.device | str | None,
    lengths: Sequence[int] | None,
) -> DesignMatrix:
    """A design given as an operator, if it is what an array would have to be.

    Args:
        name: of the argument, for messages.
        design: as it came.
        rows: how many there are to be, and what one is called.
        dtype: floating type that it is to have.
        device: where it is to be; where it is by default.
        lengths: steps of the sessions whose rows these are, if they are of steps.

    Raises:
        ValueError: there are more rows or fewer, numbers that are not finite, or rows
            made for other sessions.
    """
    number, unit = rows
    if len(design) != number:
        raise ValueError(
            f"{name} must have one row for each of the {number} {unit}, got "
            f"{len(design)}; give one row for each of the {unit}"
        )
    made_for = design.session_lengths
    if made_for and lengths and made_for != tuple(lengths):
        raise ValueError(
            f"{name} must be made for sessions of lengths {list(lengths)!r:.80}, which "
            f"the data have, got a design for {list(made_for)!r:.80}; make it with "
            "these lengths, for its lags begin anew in every session"
        )
    design = design.to(dtype).to(device or design.device)
    low, high = design.extent()
    bad = (~(low.isfinite() & high.isfinite())).nonzero().flatten().tolist()
    if bad:
        names = design.names or tuple(map(str, range(design.shape[1])))
        raise ValueError(
            f"{name} must be finite, got NaN or infinite values in column "
            f"{names[bad[0]]!r}; fill them in, or leave those sessions out"
        )
    return design
