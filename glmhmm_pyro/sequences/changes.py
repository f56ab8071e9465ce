"""What changes where an argument of a data set is exchanged or a column added."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.arguments import has_items
from glmhmm_pyro.designs import DesignMatrix, as_design

from .construction import (
    DESIGNS,
    INTERCEPT,
    check_device,
    check_dtype,
    check_range,
    names_of,
    simplified_mask,
)
from .operators import are_shared, kept, operators_at
from .sessions import distinct_names, regrouped
from .validation import close_matches

if TYPE_CHECKING:
    from .data import Sequences

ARGUMENTS = (
    "emissions",
    "lengths",
    "mask",
    "session_names",
    "groups",
    "class_names",
    "emission_names",
    *DESIGNS,
    *map(names_of, DESIGNS),
)


def replaced_arguments(data: "Sequences", changes: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that make the same data set but for these changes."""
    arguments = {
        name: kept(data, name) if name in DESIGNS else getattr(data, name)
        for name in ARGUMENTS
    }
    arguments |= {"dtype": data.dtype, "device": data.device}
    unknown = changes.keys() - arguments.keys()
    if unknown:
        name = min(unknown)
        raise TypeError(
            f"changes must be arguments of Sequences, got {', '.join(sorted(unknown))}"
            f"{close_matches(name, arguments) or '; they are ' + ', '.join(ARGUMENTS)}"
        )
    if "mask" in changes and "emissions" not in changes:
        raise ValueError(
            "mask must come together with emissions, got a mask alone; with_mask hides "
            "more, and what was masked cannot be uncovered"
        )
    if are_shared(data):
        arguments["transition_covariates"] = None
        arguments["transition_covariate_names"] = None
    # Names belong to what they named.
    for name in DESIGNS:
        if name in changes:
            arguments[names_of(name)] = None
    if "lengths" in changes:
        arguments["session_names"] = arguments["groups"] = None
    return arguments | dict(changes)


def kept_identity(
    before: "Sequences", after: "Sequences", changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Fields that say which names nobody gave, and which session is which.

    Names that are handed on as they were are no more given than they were.
    """
    generated = dict(after.generated_names)
    for name in generated:
        if getattr(before, name) == getattr(after, name):
            generated[name] = before.generated_names[name]
    fields: dict[str, Any] = {"generated_names": generated}
    source = before.design_source
    if "lengths" not in changes and before.session_weights is not None:
        fields["session_weights"] = before.session_weights.to(after.device, after.dtype)
    if source is not None and "lengths" not in changes:
        fields["design_source"] = source.without([n for n in DESIGNS if n in changes])
    if "lengths" not in changes and "session_names" not in changes:
        fields["session_origins"] = before.session_origins
        if "groups" in changes:
            origins = regrouped(before.session_origins, after.groups)
            fields["session_origins"] = origins
    return fields


def subset_fields(data: "Sequences", chosen: Sequence[int]) -> dict[str, Any]:
    """Fields of the sessions of these numbers, in their order."""
    index = torch.tensor(chosen, device=data.device)
    lengths = data.lengths[index]
    starts = lengths.cumsum(0) - lengths
    shift = (data.starts[index] - starts).repeat_interleave(lengths)
    rows = torch.arange(int(lengths.sum()), device=data.device) + shift
    made = operators_at(data, rows, index)

    def at(name: str, places: Tensor) -> Any:
        return made[name] if name in made else kept(data, name)[places]

    fields: dict[str, Any] = {
        "emissions": data.emissions[rows],
        "covariates": at("covariates", rows),
        "mask": None if data.mask is None else simplified_mask(data.mask[rows]),
        "lengths": lengths,
        "starts": starts,
        "session_names": distinct_names([data.session_names[i] for i in chosen]),
        "session_origins": tuple(data.session_origins[i] for i in chosen),
    }
    if data.session_weights is not None:
        fields["session_weights"] = data.session_weights[index]
    if data.design_source is not None:
        fields["design_source"] = data.design_source.subset(chosen)
    if not are_shared(data):
        fields["transition_covariates"] = at("transition_covariates", rows)
    if kept(data, "initial_covariates") is not None:
        fields["initial_covariates"] = at("initial_covariates", index)
    return fields | {"_operators": made}


def moved_fields(
    data: "Sequences", dtype: torch.dtype | None, device: torch.device | str | None
) -> dict[str, Any]:
    """Every field in another floating type, on another device, or both."""
    if dtype is not None:
        check_dtype(dtype)
    check_device(device)

    def moved(name: str, value: Tensor | None) -> Any:
        if not isinstance(value, Tensor):
            return value
        floating = dtype if value.is_floating_point() else None
        found = value.to(dtype=floating, device=device)
        if floating is not None:
            check_range(name, found, value)
        return found

    fields = {name: moved(name, value) for name, value in data.__dict__.items()}
    fields["_operators"] = {}
    for name, design in data.__dict__["_operators"].items():
        if design.is_streamed:
            fields[name] = design.to(dtype or design.dtype).to(device or design.device)
    if are_shared(data):
        fields["transition_covariates"] = fields["covariates"]
    return fields


def intercept_fields(data: "Sequences", designs: Sequence[str]) -> dict[str, Any]:
    """Fields of the designs named, with an intercept."""
    fields: dict[str, Any] = {}
    if isinstance(designs, str) or not has_items(designs):
        raise TypeError(
            f"designs must be a list of names, got {designs!r:.80}; give such as "
            "['covariates']"
        )
    for name in designs:
        if not isinstance(name, str) or name not in DESIGNS:
            raise ValueError(
                f"designs must be among {', '.join(DESIGNS)}, got {name!r:.80}"
                f"{close_matches(str(name), DESIGNS)}; name some of these"
            )
        design, names = kept(data, name), getattr(data, names_of(name))
        if design is not None:
            fields[name] = intercept_added(name, design, names)
            fields[names_of(name)] = (*names, INTERCEPT)
    if are_shared(data) and "covariates" in fields:
        names = (*data.transition_covariate_names, INTERCEPT)
        fields["transition_covariates"] = fields["covariates"]
        fields["transition_covariate_names"] = names
    return fields


def intercept_added(
    name: str, design: Tensor | DesignMatrix, names: Sequence[str]
) -> Any:
    """A design with a last column of ones, refused where it has a constant one."""
    # In a single row every column is constant; there the name alone can tell.
    low, high = as_design(design).extent()
    constant = (low == high) & (low != 0)
    for column, found in zip(names, (constant & (len(design) > 1)).tolist()):
        if found or column == INTERCEPT:
            raise ValueError(
                f"{name} must not be given a second intercept, got the constant column "
                f"{column!r} already; leave it out, or add no intercept"
            )
    if isinstance(design, DesignMatrix):
        return design.with_constant()
    return torch.cat([design, torch.ones_like(design[:, :1])], dim=1)


class Selection(NamedTuple):
    """Which of a data set's columns something reads.

    Attributes:
        outputs: names of emissions.
        covariates: names of covariates, or ``None`` for all.
    """

    outputs: tuple[str, ...]
    covariates: tuple[str, ...] | None

    def of(self, data: "Sequences") -> "Sequences":
        """A data set of these columns alone, on the same steps."""
        changes: dict[str, Any] = {
            "emission_names": self.outputs,
            "transition_covariates": kept(data, "transition_covariates"),
        }
        if data.emissions.dim() > 1:
            places = _column_numbers("emissions", data.emission_names, self.outputs)
            changes["emissions"] = _one_is_a_vector(data.emissions[:, places])
            if data.mask is not None and data.mask.dim() > 1:
                mask = _one_is_a_vector(data.mask[:, places])
                changes["mask"] = simplified_mask(mask)
        if self.covariates is not None:
            places = _column_numbers(
                "covariates", data.covariate_names, self.covariates
            )
            changes["covariates"] = chosen_columns(kept(data, "covariates"), places)
            changes["covariate_names"] = self.covariates
        return data._derive(**changes)


def chosen_columns(design: Tensor | DesignMatrix, places: list[int]) -> Any:
    """Some columns of a design, in whichever form it is kept."""
    if isinstance(design, DesignMatrix):
        return design.columns(places)
    return design[:, places]


def _one_is_a_vector(columns: Tensor) -> Tensor:
    return columns[:, 0] if columns.shape[1] == 1 else columns


def _column_numbers(
    what: str, names: Sequence[str], wanted: Sequence[str]
) -> list[int]:
    """Numbers of the columns named."""
    for name in wanted:
        if name not in names:
            raise ValueError(
                f"{what} must have a column {name!r}, got {', '.join(names)}"
                "; add it to the data"
            )
    return [names.index(name) for name in wanted]
