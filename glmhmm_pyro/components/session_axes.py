"""Parameters with an entry for every session or group of the data they are fitted to.

A :class:`Site` has them that declares an axis ``"session"`` or ``"group"`` and is no
latent; all else follows from the axis: its size, its names, and which entry is whose in
later data.
"""

from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.callers import warn_caller
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.sequences import MatchingWarning, Sequences
from glmhmm_pyro.sequences.members import MEMBER_AXES, Members


class HasMembers:
    """What a component does with axes ``"session"`` and ``"group"`` of its sites.

    Attributes:
        members: the sessions of the first data set, with their groups.
    """

    members: Members | None
    sites: Any

    @property
    def varies_over(self) -> tuple[str, ...]:
        """Which of ``"session"`` and ``"group"`` are axes of its parameters."""
        sites = [site for site in self.sites.values() if not site.latent]
        axes = {axis for site in sites for axis in site.axes}
        return tuple(axis for axis in MEMBER_AXES if axis in axes)

    @property
    def varying(self) -> str:
        """For messages: the parameters that vary over sessions or groups."""
        above: Any = getattr(self, "_pyro_name", "")
        varying = (n for n, s in self.sites.items() if {*s.axes} & {*self.varies_over})
        return ", ".join(f"{above}.{name}" if above else name for name in varying)

    @property
    def unvarying(self) -> str:
        """For messages: which component to use for sessions that were not fitted."""
        return f"a component without an axis {' or '.join(map(repr, self.varies_over))}"

    def bind_members(self, data: Sequences) -> None:
        """Record whose entries the parameters have, or check that they have these."""
        axes = self.varies_over
        if axes and self.members is None:
            self.members = Members.of(data)
        for axis in axes:
            for note in self._matched(axis, data).notes:
                warn_caller(note, MatchingWarning)

    def rows(self, axis: str, data: Sequences) -> list[int]:
        """The entry of every session of the data on axis ``"session"`` or ``"group"``.

        Raises:
            ValueError: the parameters were fitted to other sessions or groups.
        """
        return self._matched(axis, data).places

    def _matched(self, axis: str, data: Sequences) -> Any:
        members = self.members or Members.of(data)
        return members.rows(axis, data, self.varying, self.unvarying)

    def member_sizes(self) -> dict[str, int | None]:
        """Sizes of both axes, ``None`` where not bound yet."""
        if self.members is None:
            return dict.fromkeys(MEMBER_AXES)
        return {axis: len(self.members.names(axis)) for axis in MEMBER_AXES}

    @property
    def num_entries(self) -> int:
        """Number of columns of :meth:`entries`."""
        return len(self.varies_over)

    def entries(self, data: Sequences) -> Tensor:
        """The entries of every step, (steps, axes), one column for each axis."""
        columns = [self.rows(axis, data) for axis in self.varies_over]
        rows = torch.tensor(columns, dtype=torch.long, device=data.device)
        by_session = rows.reshape(len(columns), data.num_sessions).T
        return by_session.repeat_interleave(data.lengths, dim=0)

    def apart(self, inputs: DesignMatrix | Tensor) -> tuple[Any, dict[str, Tensor]]:
        """Split what :meth:`inputs` returns into the design and the entries by axis."""
        axes = self.varies_over
        if not axes or isinstance(inputs, DesignMatrix):
            return inputs, {}
        design, last = inputs[..., : -len(axes)], inputs[..., -len(axes) :].long()
        return design, dict(zip(axes, last.unbind(-1)))
