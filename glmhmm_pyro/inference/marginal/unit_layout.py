"""Latents of all units as one matrix w, a row for what hangs together.

Those over the same units stand side by side, a row a unit, but all in one row where
units are states: which of them a step belongs to is open, and so they all hang
together. Those over groups and over sessions make a row a group: its own numbers, then
those of its sessions in their order.
Of a walk over sessions these are the steps, which are independent, so that what links
sessions stands within a row; the Jacobian of that is 1. Groups of fewer sessions than
others have numbers more, which nothing reads, of standard normal laws. Those over
states, beside others, stand below these, in rows that are no unit's.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from glmhmm_pyro.components.varying.units import SLOW, Units
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.sequences import Sequences

Laws = Mapping[str, Any]


class Links(NamedTuple):
    """Normal laws of all rows.

    Attributes:
        centre: where walks begin, or the mean, broadcasts to (rows, size).
        scale: standard deviations, shape (rows, size).
        follows: whether a number goes on from the row before, broadcasts likewise.
    """

    centre: Tensor
    scale: Tensor
    follows: Tensor


class UnitLayout(Protocol):
    """Where every latent's numbers stand in w (rows, size).

    Attributes:
        number: of rows.
        shared: how many of these, the last ones, are of what all units share.
        size: of a row.
        is_read: which numbers are some latent's, broadcasts to (rows, size).
    """

    number: int
    shared: int
    size: int
    is_read: Tensor

    def latents(self, w: Tensor) -> Params:
        """Values (*batch, units, *unit) of the latents, from (*batch, rows, size)."""

    def packed(self, params: Params) -> Tensor:
        """The rows of values of the latents."""

    def slopes(self, by_latent: Params) -> Tensor:
        """Slopes by the rows, from those by the latents."""

    def links(self, laws: Laws) -> Links:
        """The laws of the latents, as those of the rows."""

    def of_rows(self, by_latent: Mapping[str, Tensor]) -> Tensor:
        """What is known of every number of a unit, broadcasts to (rows, size)."""


class UnitsInRows:
    """Latents over the same units, a row a unit.

    Args:
        laws: those of the latents, by name.
    """

    shared = 0

    def __init__(self, laws: Laws):
        self.units = {name: law.unit for name, law in laws.items()}
        self.sizes = [unit.numel() for unit in self.units.values()]
        self.number = len(next(iter(laws.values())).follows)
        self.size = sum(self.sizes)
        self.is_read = torch.ones(1, 1, dtype=torch.bool)

    def latents(self, w: Tensor) -> Params:
        """Values (*batch, units, *unit) of the latents."""
        pieces = w.split(self.sizes, -1)
        return {
            name: piece.unflatten(-1, unit) if unit else piece[..., 0]
            for (name, unit), piece in zip(self.units.items(), pieces)
        }

    def packed(self, params: Params) -> Tensor:
        """The rows of values of the latents."""
        pieces = [params[name].reshape(self.number, -1) for name in self.units]
        return torch.cat(pieces, -1)

    def slopes(self, by_latent: Params) -> Tensor:
        """Slopes by the rows, which are those by the latents."""
        return self.packed(by_latent)

    def links(self, laws: Laws) -> Links:
        """The laws, some of which may be walks and others not."""
        own = [laws[name] for name in self.units]
        shapes = zip(own, self.sizes)
        return Links(
            torch.cat([law.centre.reshape(-1) for law in own]),
            torch.cat([law.scale.reshape(self.number, -1) for law in own], -1),
            torch.cat([law.follows[:, None].expand(-1, n) for law, n in shapes], -1),
        )

    def of_rows(self, by_latent: Mapping[str, Tensor]) -> Tensor:
        """Those of all latents."""
        return torch.cat([by_latent[name].reshape(-1) for name in self.units])


class InOneRow:
    """Latents over slow states, which hang together: a single row.

    Args:
        laws: those of the latents, by name, which have no order.
    """

    shared = 0

    def __init__(self, laws: Laws):
        self.shapes = {name: law.event_shape for name, law in laws.items()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        self.number, self.size = 1, sum(self.sizes)
        self.is_read = torch.ones(1, 1, dtype=torch.bool)

    def latents(self, w: Tensor) -> Params:
        """Values (*batch, states, *unit) of the latents."""
        pieces = w[..., 0, :].split(self.sizes, -1)
        return {
            name: piece.unflatten(-1, shape)
            for (name, shape), piece in zip(self.shapes.items(), pieces)
        }

    def packed(self, params: Params) -> Tensor:
        """The row of values of the latents."""
        return torch.cat([params[name].reshape(1, -1) for name in self.shapes], 1)

    def slopes(self, by_latent: Params) -> Tensor:
        """Slopes by the row, which are those by the latents."""
        return self.packed(by_latent)

    def links(self, laws: Laws) -> Links:
        """The laws, of numbers that are independent of one another."""
        centre = self.packed({name: laws[name].mean for name in self.shapes})
        scale = self.packed({name: laws[name].scale for name in self.shapes})
        return Links(centre, scale, torch.zeros(1, 1, dtype=torch.bool))

    def of_rows(self, by_latent: Mapping[str, Tensor]) -> Tensor:
        """Those of all latents, repeated for the states."""
        states = [shape[0] for shape in self.shapes.values()]
        own = zip((by_latent[name] for name in self.shapes), states)
        return torch.cat([value.reshape(-1).repeat(number) for value, number in own])


class _Block(NamedTuple):
    """A latent's part of the rows.

    Attributes:
        columns: of w.
        row: that of every unit.
        slot: the place of every unit in its row.
        slots: number of places.
        unit: shape of the numbers of a unit.
        walks: whether these are steps of a walk from slot to slot.
    """

    columns: slice
    row: Tensor
    slot: Tensor
    slots: int
    unit: torch.Size
    walks: bool


class ByGroup:
    """Latents over groups, and over their sessions, a row a group.

    Args:
        laws: those of the latents, by name.
        over: what each varies over.
        data: the data set.
    """

    shared = 0

    def __init__(self, laws: Laws, over: Mapping[str, str], data: Sequences):
        row = Units.of(data, "group").of_session.cpu()
        self.number = int(row.max()) + 1
        before = row[:, None] == row
        slot = before.tril(-1).sum(1)
        every = torch.arange(self.number)
        self.blocks: dict[str, _Block] = {}
        self.size = 0
        for name, law in laws.items():
            is_group = over[name] == "group"
            where = (every, 0 * every) if is_group else (row, slot)
            slots = int(where[1].max()) + 1
            end = self.size + slots * law.unit.numel()
            columns = slice(self.size, end)
            self.blocks[name] = _Block(columns, *where, slots, law.unit, law.walks)
            self.size = end
        read = torch.zeros(self.number, self.size)
        for block in self.blocks.values():
            self._slots(read, block)[block.row, block.slot] = 1.0
        self.is_read = read > 0

    def _slots(self, w: Tensor, block: _Block) -> Tensor:
        """A latent's part of rows, (*batch, rows, slots, numbers of a unit)."""
        return w[..., block.columns].unflatten(-1, (block.slots, -1))

    def latents(self, w: Tensor) -> Params:
        """Values (*batch, units, *unit) of the latents."""
        found = {}
        for name, block in self.blocks.items():
            own = self._slots(w, block)
            own = own.cumsum(-2) if block.walks else own
            found[name] = own[..., block.row, block.slot, :].unflatten(
                -1, block.unit or (1,)
            )
            found[name] = found[name] if block.unit else found[name][..., 0]
        return found

    def packed(self, params: Params) -> Tensor:
        """The rows of values of the latents, 0 where these have none."""
        found = []
        for name, block in self.blocks.items():
            own = self._spread(params[name], block)
            if block.walks:
                own = torch.cat([own[:, :1], own.diff(dim=1)], 1)
            found.append(own.flatten(1))
        w = torch.cat(found, 1)
        return torch.where(self.is_read, w, 0.0)

    def slopes(self, by_latent: Params) -> Tensor:
        """Slopes by the rows: a step of a walk moves all sessions from there on."""
        found = []
        for name, block in self.blocks.items():
            own = self._spread(by_latent[name], block)
            own = own.flip(1).cumsum(1).flip(1) if block.walks else own
            found.append(own.flatten(1))
        return torch.cat(found, 1)

    def links(self, laws: Laws) -> Links:
        """The laws, of numbers that are independent of one another."""
        centres, scales = [], []
        for name, block in self.blocks.items():
            law, size = laws[name], block.unit.numel()
            scales.append(self._spread(law.scale, block, 1.0).flatten(1))
            centre = law.centre.reshape(1, size).expand(block.slots, size)
            first = torch.arange(block.slots)[:, None] == 0
            centre = torch.where(first, centre, 0.0) if block.walks else centre
            centres.append(centre.flatten())
        scale = torch.cat(scales, 1)
        return Links(
            torch.where(self.is_read, torch.cat(centres), 0.0),
            scale,
            torch.zeros(self.number, 1, dtype=torch.bool),
        )

    def of_rows(self, by_latent: Mapping[str, Tensor]) -> Tensor:
        """Those of all latents, repeated for their sessions."""
        blocks = self.blocks.items()
        return torch.cat([by_latent[n].reshape(-1).repeat(b.slots) for n, b in blocks])

    def _spread(self, values: Tensor, block: _Block, missing: float = 0.0) -> Tensor:
        """Values by unit as (rows, slots, numbers), others where there is no unit."""
        shape = (self.number, block.slots, block.unit.numel())
        found = torch.full(shape, missing, dtype=values.dtype)
        by_unit = values.reshape(len(block.row), -1)
        return found.index_put((block.row, block.slot), by_unit)


class WithShared:
    """Latents over units, and below their rows those over states, which all share.

    The latter take as many rows as their numbers fill.

    Args:
        units: where those over units stand.
        states: those over slow states.
    """

    def __init__(self, units: UnitLayout, states: InOneRow):
        self.units, self.states = units, states
        self.shared = -(-states.size // units.size)
        self.number, self.size = units.number + self.shared, units.size
        every = torch.ones(1, states.size, dtype=torch.bool)
        self.is_read = self._above(units.is_read, every)

    def _above(self, units: Tensor, states: Tensor, missing: float = 0) -> Tensor:
        """Rows of units, then those that one of states (1, numbers) fills."""
        left = self.shared * self.size - self.states.size
        filled = torch.nn.functional.pad(states, (0, left), value=missing)
        own = units.expand(self.units.number, self.size)
        return torch.cat([own, filled.reshape(self.shared, self.size)])

    def latents(self, w: Tensor) -> Params:
        """Values of the latents over units, and of those over states."""
        own, shared = w.split([self.units.number, self.shared], -2)
        row = shared.flatten(-2)[..., None, : self.states.size]
        return self.units.latents(own) | self.states.latents(row)

    def packed(self, params: Params) -> Tensor:
        """The rows of values of the latents, 0 where these have none."""
        return self._above(self.units.packed(params), self.states.packed(params))

    def slopes(self, by_latent: Params) -> Tensor:
        """Slopes by the rows."""
        return self._above(self.units.slopes(by_latent), self.states.slopes(by_latent))

    def links(self, laws: Laws) -> Links:
        """The laws of both."""
        of_units, of_states = self.units.links(laws), self.states.links(laws)
        no_order = of_states.follows.expand(1, self.states.size)
        return Links(
            self._above(of_units.centre, of_states.centre),
            self._above(of_units.scale, of_states.scale, 1.0),
            self._above(of_units.follows, no_order),
        )

    def of_rows(self, by_latent: Mapping[str, Tensor]) -> Tensor:
        """Those of all latents, 1 where there is none."""
        row = self.states.of_rows(by_latent)
        return self._above(self.units.of_rows(by_latent), row[None], 1.0)


def layout_of(laws: Laws, over: Mapping[str, str], data: Sequences) -> UnitLayout:
    """Where the numbers of all latents stand.

    Args:
        laws: those of the latents, by name, at any values of the parameters.
        over: what each varies over.
        data: the data set.

    Raises:
        ValueError: some vary over steps, and others do not.
    """
    kinds = {over[name] for name in laws}
    if len(kinds) == 1:
        return InOneRow(laws) if SLOW in kinds else UnitsInRows(laws)
    if "step" in kinds:
        mine = next(name for name, own in over.items() if own == "step")
        other = next(name for name, own in over.items() if own != "step")
        raise ValueError(
            "latents over steps must be integrated out without others, got "
            f"{mine} over steps and {other} over {over[other]}s; let one of them be "
            "the same in all units, or fit by method='nuts' or 'svi'"
        )
    if SLOW not in kinds:
        return ByGroup(laws, over, data)
    of_states = {name: law for name, law in laws.items() if over[name] == SLOW}
    of_units = {name: law for name, law in laws.items() if name not in of_states}
    return WithShared(layout_of(of_units, over, data), InOneRow(of_states))
