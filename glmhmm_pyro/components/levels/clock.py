"""When slow states may be left, and whether they go on from session to session."""

import torch
from torch import Tensor

from glmhmm_pyro.components.going_on import GoesOn
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.continuing import go_on
from glmhmm_pyro.sequences.validation import close_matches


class HasClock(GoesOn):
    """Mixin of transitions on two levels: the steps of their slow states.

    Attributes:
        clock: ``"step"``, ``"session"`` or the name of a column of ones and zeros.
    """

    clock: str

    def check_moves(self, data: Sequences) -> None:
        """Raise a ValueError for data of a fit in which no session goes on."""
        if self.clock == "session" and not data.ranks.any(
            self.goes_on(data) is not None
        ):
            raise ValueError(
                "clock must not be 'session' for data in which every group has a "
                f"single session, got {data.num_sessions} of them, from which slow "
                "states never move on: give the sessions of an animal one group, or "
                "take clock='step'"
            )

    def goes_on(self, data: Sequences) -> Tensor | None:
        """Which sessions go on from the one before, (sessions,), if any does."""
        found = go_on(data) if self.across_sessions else None
        return None if found is None or not found.any() else found

    @property
    def has_clock(self) -> bool:
        """Whether slow states may not be left at every step."""
        return self.clock != "step"

    @property
    def has_column(self) -> bool:
        """Whether the clock is a column of the data."""
        return self.clock not in ("step", "session")

    @property
    def kept_columns(self) -> tuple[str, ...]:
        """Columns that are read as they are, whatever their units."""
        return (self.clock,) if self.has_column else ()

    def ticks(self, data: Sequences) -> Tensor | None:
        """Steps at which slow states may be left, (steps,); ``None`` for all."""
        if not self.has_clock:
            return None
        if not self.has_column:
            ticks = torch.zeros(data.num_steps, dtype=torch.bool, device=data.device)
            goes_on = self.goes_on(data)
            if goes_on is not None:
                ticks[data.starts[goes_on]] = True
            return ticks
        place = self.clock_of(data.transition_covariate_names)
        return data.transition_covariates[:, place] != 0

    def clock_of(self, names: tuple[str, ...]) -> int:
        """The clock's place among names of columns, a ValueError if it has none."""
        if self.clock not in names:
            raise ValueError(
                "clock must be 'step', 'session' or one of the transition covariates, "
                f"{', '.join(names)}, got {self.clock!r}"
                f"{close_matches(self.clock, names)}; name one of these"
            )
        return names.index(self.clock)


def check_ticks(clock: str, first_steps: Tensor, data: Sequences) -> None:
    """Raise a ValueError for a clock that is not 0 and 1, or that is never 1.

    Args:
        clock: name of the column.
        first_steps: steps into which no transition leads.
        data: the data set.
    """
    place = data.transition_covariate_names.index(clock)
    column = data.transition_covariates[:, place]
    inside = torch.ones_like(column, dtype=torch.bool)
    inside[first_steps] = False
    other = column[inside & (column != 0) & (column != 1)]
    if len(other):
        raise ValueError(
            f"clock must be a column of ones and zeros, got {other[0].item():.6g} in "
            f"{clock!r}; give 1 at the steps where slow states may be left, else 0"
        )
    if inside.any() and not column[inside].any():
        raise ValueError(
            f"clock must tick, got {clock!r}, which is 0 at every step inside a "
            "session, so that slow states are never left; give 1 at the steps where "
            "they may be, or take one level"
        )
