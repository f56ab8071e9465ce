"""How a model knows its data: the names by which later data are laid out alike."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .changes import chosen_columns
from .construction import DESIGNS, simplified_mask
from .naming import Names, brief, matched, names_of
from .operators import are_shared, kept
from .sessions import Known, sessions_of
from .validation import close_matches

if TYPE_CHECKING:
    from .data import Sequences


@dataclass(frozen=True)
class Layout:
    """Names of the columns, outputs, classes and sessions of a data set, in its order.

    Attributes:
        names: of outputs (``emission_names``) and of the columns of every design, by
            the argument of :class:`Sequences`.
        classes: names of classes 0, 1, ..., or ``None``.
        sessions: present name and identity of every session.
    """

    names: dict[str, Names]
    classes: tuple[str, ...] | None = None
    sessions: tuple[Known, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, data: "Sequences") -> "Layout":
        """Layout of a data set."""
        names = {}
        for argument in ("emission_names", *map(names_of, DESIGNS)):
            found = getattr(data, argument)
            if found is not None:
                made_up = data.generated_names.get(argument, ())
                names[argument] = Names(found, tuple(n for n in found if n in made_up))
        return cls(
            names,
            data.class_names,
            sessions_of(data),
        )

    def lay_out(
        self,
        data: "Sequences",
        designs: Mapping[str, Collection[str] | None] = dict.fromkeys(DESIGNS),
    ) -> tuple["Sequences", tuple[str, ...]]:
        """A data set with its columns, outputs and classes in the order of this one.

        Args:
            data: the data set; given back itself where it is laid out so already.
            designs: arguments of the designs that are read, each with the names of the
                columns read, or None for all; others stay as they are.

        Returns:
            The data set, and sentences on what has no name and was matched by place.

        Raises:
            ValueError: a name that is read is lacking.
        """
        found = Layout.of(data)
        changes: dict[str, Any] = {}
        notes = [*self._outputs(data, found, changes)]
        notes += self._classes(data, changes)
        for design in DESIGNS:
            if design in designs:
                notes += self._columns(design, designs[design], data, found, changes)
        if changes and are_shared(data):
            _keep_shared(data, changes, "transition_covariates" in designs)
        return (data._derive(**changes) if changes else data), tuple(notes)

    def _outputs(
        self, data: "Sequences", found: "Layout", changes: dict
    ) -> tuple[str, ...]:
        argument = "emission_names"
        wanted = self.names.get(argument)
        if wanted is None:
            return ()
        places, notes = matched("emissions", wanted, found.names[argument])
        if places != list(range(data.num_outputs)):
            changes["emissions"] = _chosen_columns(data.emissions, places)
            if data.mask is not None and data.mask.ndim > 1:
                changes["mask"] = simplified_mask(_chosen_columns(data.mask, places))
        if wanted != found.names[argument]:
            _rename(argument, wanted, data, changes)
        return notes

    def _classes(self, data: "Sequences", changes: dict) -> tuple[str, ...]:
        """The classes renumbered; those without a name keep their number."""
        wanted, found = self.classes, data.class_names
        if wanted == found:
            return ()
        if wanted is None:
            return (
                "classes are matched by place, for those of the fit have no names: "
                f"{brief([f'{n} as {i}' for i, n in enumerate(found or ())])}",
            )
        emissions = changes.get("emissions", data.emissions)
        if found is None:
            if emissions.ndim > 1 or bool((emissions >= len(wanted)).any()):
                raise ValueError(
                    f"emissions must be of the classes that the model knows by name, "
                    f"{brief(wanted)}, got numbers up to {emissions.max().item()} "
                    "without class_names; give the data class_names"
                )
            changes["class_names"] = wanted
            return (
                "classes are matched by place, for those of data have no names: "
                f"{brief([f'{i} as {n}' for i, n in enumerate(wanted)])}; give the "
                "data class_names",
            )
        changes["emissions"] = _renumbered_codes(emissions, found, wanted)
        changes["class_names"] = wanted
        return ()

    def _columns(
        self,
        design: str,
        read: Collection[str] | None,
        data: "Sequences",
        found: "Layout",
        changes: dict,
    ) -> tuple[str, ...]:
        argument = names_of(design)
        wanted = self.names.get(argument)
        if wanted is None:
            return ()
        if argument not in found.names:
            # Its reader says what it lacks.
            return ()
        wanted = _without_unread(wanted, read, found.names[argument])
        places, notes = matched(design, wanted, found.names[argument])
        if places != list(range(len(found.names[argument].names))):
            changes[design] = chosen_columns(kept(data, design), places)
        if wanted != found.names[argument]:
            _rename(argument, wanted, data, changes)
        return notes


def _without_unread(wanted: Names, read: Collection[str] | None, found: Names) -> Names:
    """The names wanted, without those lacking among the found that nothing reads."""
    if read is None or found.generated:
        return wanted
    kept = [
        name
        for i, name in enumerate(wanted.names)
        if name in read or name in found.names or not wanted.are_given(i)
    ]
    return Names(tuple(kept), wanted.generated)


def _rename(argument: str, wanted: Names, data: "Sequences", changes: dict) -> None:
    """Give what was matched the names under which it is read."""
    generated = dict(changes.get("generated_names", data.generated_names))
    generated[argument] = frozenset(wanted.generated)
    changes |= {argument: wanted.names, "generated_names": generated}


def _chosen_columns(values: Tensor, places: list[int]) -> Tensor:
    """Columns of emissions or of their mask; a single one is a vector."""
    columns = values if values.ndim > 1 else values[:, None]
    columns = columns[:, places]
    return columns[:, 0] if len(places) == 1 else columns


def _renumbered_codes(
    codes: Tensor, found: tuple[str, ...], wanted: tuple[str, ...]
) -> Tensor:
    """Codes of classes by their places among other names."""
    places = torch.full((len(found),), -1, dtype=torch.int64, device=codes.device)
    for code, name in enumerate(found):
        if name in wanted:
            places[code] = wanted.index(name)
    renumbered = places[codes.long()]
    if bool((renumbered < 0).any()):
        name = found[int(codes[renumbered < 0][0])]
        raise ValueError(
            f"emissions must be of the classes that the model knows, {brief(wanted)}, "
            f"got {name!r}{close_matches(name, wanted)}; mask those steps"
        )
    return renumbered.to(codes.dtype)


def _keep_shared(data: "Sequences", changes: dict, are_read: bool) -> None:
    """Transitions go on sharing the covariates, unless they read other ones."""
    own, names = "covariates", "covariate_names"
    shared = {
        f"transition_{own}": changes.get(own, kept(data, own)),
        f"transition_{names}": changes.get(names, data.covariate_names),
    }
    other = changes.get("transition_covariate_names", data.transition_covariate_names)
    if are_read and other != shared["transition_covariate_names"]:
        changes.setdefault("transition_covariates", kept(data, own))
        return
    generated = dict(changes.get("generated_names", data.generated_names))
    generated["transition_covariate_names"] = generated.get(names, frozenset())
    changes |= {**shared, "generated_names": generated}
