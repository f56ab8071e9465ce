"""What components of two levels have in common: a part by level, and what both say."""

from typing import Any

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.levels.levels import Levels
from glmhmm_pyro.components.own_states import OwnStates
from glmhmm_pyro.components.tables import LogTable
from glmhmm_pyro.components.varying.varies import Varies
from glmhmm_pyro.sequences import Sequences


class BothLevels(Component):
    """A component of a part by level, of which the fast one has an axis more.

    Attributes:
        slow: the part of slow states.
        fast: the part of fast states, with parameters for each slow one.
        levels: numbers of states, told by the model.
    """

    slow: Any
    fast: Any
    levels: Levels | None

    @property
    def parts(self) -> dict[str, Component]:
        """The parts of both levels."""
        return {"slow": self.slow, "fast": self.fast}

    @property
    def reads_covariates(self) -> bool:
        """Whether a level does."""
        return self.slow.reads_covariates or self.fast.reads_covariates

    @property
    def is_made_here(self) -> bool:
        """Whether both levels are put together as here."""
        raise NotImplementedError

    @property
    def is_linear(self) -> bool:
        """Whether both levels are, put together as here."""
        return self.is_made_here and self.slow.is_linear and self.fast.is_linear

    @property
    def varies(self) -> bool:
        """Whether a level's parameters vary over units."""
        return any(isinstance(part, Varies) for part in self.parts.values())

    def takes_sets(self) -> bool:
        """Whether parameters may carry a leading axis of parameter sets."""
        return self.slow.takes_sets() and self.fast.takes_sets()

    def bind_states(self, num_states: int) -> None:
        """Record the numbers of states of both levels."""
        super().bind_states(num_states)
        levels = known_levels(self, num_states)
        self.slow.bind_states(levels.slow)
        self.fast.bind_states(levels.fast)
        self.slow.own_states, self.fast.own_states = self.states_of(levels)
        self.fast.widen("slow", levels.slow)

    def states_of(self, levels: Levels) -> tuple[OwnStates, OwnStates]:
        """What the slow part and the fast one know of pairs of states."""
        raise NotImplementedError

    def tables(
        self, data: Sequences
    ) -> tuple[LogTable, list[LogTable], dict[str, int]] | None:
        """Tables of the slow level, and of the fast one by slow state, if all have one.

        With them come the axes of slow states in values of the fast level.

        Args:
            data: the data set.
        """
        number = known_levels(self, self.num_states).slow
        slow = self.slow.log_table(data)
        fast = [self.fast.log_table(data) for _ in range(number)]
        tables = [table for table in fast if table is not None]
        if not self.is_made_here or slow is None or len(tables) < number:
            return None
        sites = self.fast.sites.items()
        axes = {n: s.axes.index("slow") for n, s in sites if "slow" in s.axes}
        return slow, tables, axes


def may_be_part(name: str, part: Any) -> bool:
    """Whether transitions or a first state can be a level's.

    Args:
        name: of the level.
        part: of which parameters vary over sessions by Varying alone, and which may
            have an axis more if it is the fast level's.
    """
    if isinstance(part, Varies):
        return True
    return not part.varies_over and (part.batched or name == "slow")


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
