"""What components of two levels have in common: a part by level, and what both say."""

from typing import Any

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.levels.level_tables import Level
from glmhmm_pyro.components.levels.levels import Levels
from glmhmm_pyro.components.own_states import OwnStates
from glmhmm_pyro.components.varying.varies import Varies
from glmhmm_pyro.sequences import Sequences


class BothLevels(Component):
    """A component of a part by level, of which mostly the fast one has an axis more.

    Attributes:
        slow: the part of slow states.
        fast: the part of fast states.
        levels: numbers of states, told by the model.
        fast_depends_on_slow: whether the latter has parameters for each slow state.
        slow_depends_on_fast: whether the former has some for each fast state.
    """

    slow: Any
    fast: Any
    levels: Levels | None
    fast_depends_on_slow: bool = True
    slow_depends_on_fast: bool = False

    @property
    def parts(self) -> dict[str, Component]:
        """The parts of both levels."""
        return {"slow": self.slow, "fast": self.fast}

    @property
    def reads_covariates(self) -> bool:
        """Whether a part does."""
        return any(part.reads_covariates for part in self.parts.values())

    @property
    def is_made_here(self) -> bool:
        """Whether both levels are put together as here."""
        raise NotImplementedError

    @property
    def is_linear(self) -> bool:
        """Whether all parts are, put together as here."""
        return self.is_made_here and all(p.is_linear for p in self.parts.values())

    @property
    def has_own_units(self) -> bool:
        """Whether all parts may have them, put together as here."""
        return self.is_made_here and all(p.has_own_units for p in self.parts.values())

    @property
    def varies(self) -> bool:
        """Whether a level's parameters vary over units."""
        return any(isinstance(part, Varies) for part in self.parts.values())

    def takes_sets(self) -> bool:
        """Whether parameters may carry a leading axis of parameter sets."""
        return all(part.takes_sets() for part in self.parts.values())

    def bind_states(self, num_states: int) -> None:
        """Record the numbers of states of both levels."""
        super().bind_states(num_states)
        levels = known_levels(self, num_states)
        self.slow.bind_states(levels.slow)
        self.fast.bind_states(levels.fast)
        self.slow.own_states, self.fast.own_states = self.states_of(levels)
        if self.fast_depends_on_slow:
            self.fast.widen("slow", levels.slow)
        if self.slow_depends_on_fast:
            self.slow.widen("fast", levels.fast)

    def states_of(self, levels: Levels) -> tuple[OwnStates, OwnStates]:
        """What the slow part and the fast one know of pairs of states."""
        raise NotImplementedError

    def tables(self, data: Sequences) -> list[Level] | None:
        """Tables of all parts, if all have some.

        Args:
            data: the data set.
        """
        found = [self._tables_of(name, data) for name in self.parts]
        levels = [level for level in found if level is not None]
        return levels if self.is_made_here and len(levels) == len(found) else None

    def _tables_of(self, name: str, data: Sequences) -> Level | None:
        """Those of a part, one for each state of the other level that it goes by."""
        part = self.parts[name]
        axis = "fast" if name == "slow" else "slow"
        axes = {
            n: site.axes.index(axis)
            for n, site in part.sites.items()
            if axis in site.axes
        }
        number = part.own_states.sizes[axis] if axes else 1  # type: ignore[union-attr]
        tables = [part.log_table(data) for _ in range(number)]
        known = [table for table in tables if table is not None]
        return Level(name, known, axes) if len(known) == number else None


def may_be_part(part: Any, has_axis: bool) -> bool:
    """Whether transitions or a first state can be a level's.

    Args:
        part: of which parameters vary over sessions by Varying alone.
        has_axis: whether it has parameters for each state of the other level.
    """
    if isinstance(part, Varies):
        return True
    return not part.varies_over and (part.batched or not has_axis)


def known_levels(component: Component, num_states: int | None) -> Levels:
    """The levels of a component's model.

    Raises:
        ValueError: the model has a single level.
    """
    levels: Levels | None = component.levels
    if levels is None:
        raise ValueError(
            f"num_states must be Levels for {type(component).__name__}, got "
            f"{num_states}; write GLMHMM(Levels(slow=2, fast=2), ...)"
        )
    return levels
