"""Emissions of a model on two levels: by fast states, by slow ones, or by both."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from pyro.nn import pyro_method
from torch import Tensor, nn
from torch.distributions import Distribution

from glmhmm_pyro.arguments import one_of, suggests_names, with_article
from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.emissions import Emission
from glmhmm_pyro.components.levels.both_levels import known_levels
from glmhmm_pyro.components.levels.first_levels import first_levels
from glmhmm_pyro.components.levels.level_tables import SharedTable
from glmhmm_pyro.components.levels.levels import Levels
from glmhmm_pyro.components.levels.of_levels import ByFast, BySlow, PooledByFast
from glmhmm_pyro.components.levels.two_levels import TwoLevels
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.tables import LogTable
from glmhmm_pyro.components.transitions import Transitions
from glmhmm_pyro.components.varying.over_slow import VaryingOverSlow
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.distributions.shared import Shared
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.zeros import zeros_allowed

_KNOWN = {"fast": ByFast, "slow": BySlow, "both": None}


@suggests_names
class ByLevel(Emission):
    r"""A family whose parameters go with the states of one level, or of both.

    .. math:: y_t \mid s_t = j, f_t = b \sim \text{family}(b), \text{family}(j)
        \text{ or family}(j, b)

    With :class:`Levels` in the place of ``num_states`` a family is taken to go with
    fast states, so that all slow ones share its parameters. Their names are those of
    the family, ``emissions.weights``.

    Args:
        family: of the emissions. The weights of one by fast state may be pooled over
            slow states, :func:`Varying`: every pair has its own, near the fast state's.
        over: states that have parameters of their own: ``"fast"``, ``"slow"``, or
            ``"both"`` for every pair. With the last a fast state need not mean the same
            in all slow ones, and the two levels are hard to tell apart from data.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from glmhmm_pyro.components import ByLevel, Levels
        >>> data = gh.Sequences([0, 1, 1, 0])
        >>> for over in ("fast", "both"):
        ...     family = ByLevel(gh.Bernoulli(), over=over)
        ...     model = gh.GLMHMM(Levels(slow=2, fast=3), family)
        ...     model.bind(data)
        ...     print(model.components["emissions"].shape("weights"))
        torch.Size([3, 1])
        torch.Size([6, 1])
    """

    def __init__(self, family: Emission, over: str = "fast"):
        super().__init__()
        one_of("over", over, _KNOWN)
        if not isinstance(family, Emission) or isinstance(family, ByLevel):
            what = with_article(type(family))
            if isinstance(family, type):
                what = f"the class {getattr(family, '__name__', family)}"
            raise TypeError(
                f"family must be a family of emissions, got {what}; give one such as "
                "Bernoulli()"
            )
        if isinstance(family, VaryingOverSlow) and over != "fast":
            raise ValueError(
                "over must be 'fast' for a family whose weights vary over slow states, "
                f"which has means by fast state, got {over!r}; leave it out"
            )
        self.levels: Levels | None = None
        self.over = over
        self.family = copy.deepcopy(family)

    def _pyro_set_supermodule(self, name: str, context: nn.Module) -> None:
        """Parameters are named as those of the family alone would be."""
        super()._pyro_set_supermodule(name, context)
        self.family._pyro_set_supermodule(name, context)

    @property
    def parts(self) -> dict[str, Component]:
        """The components of which it is made: the family."""
        return self.family.parts

    def equations(self) -> list[str]:
        """Those of the family, of states of its level."""
        return self.family.equations()

    @property
    def chosen(self) -> tuple[str, ...] | None:  # type: ignore[override]
        """Covariates that the family was told to read."""
        return self.family.chosen

    @property
    def is_pooled(self) -> bool:
        """Whether weights are those of pairs, pooled over slow states."""
        return isinstance(self.family, VaryingOverSlow)

    @property
    def emits_by_pair(self) -> bool:
        """Whether every pair has a law of its own."""
        return self.over == "both" or self.is_pooled

    @property
    def is_made_here(self) -> bool:
        """Whether the family is spread over pairs as here."""
        return is_as_defined(self, ByLevel, "forward", "table", "design")

    @property
    def is_linear(self) -> bool:
        """Whether the family is."""
        return self.is_made_here and self.family.is_linear

    def covariate_free(self) -> Any:
        """The family alone, without covariates."""
        return self.family.covariate_free()

    def takes_sets(self) -> bool:
        """Whether parameters may carry a leading axis of parameter sets."""
        return self.family.takes_sets()

    def bind_states(self, num_states: int) -> None:
        """Record the number of pairs; the family has the states that it knows."""
        super().bind_states(num_states)
        levels = known_levels(self, num_states)
        known = PooledByFast if self.is_pooled else _KNOWN[self.over]
        own = {"fast": levels.fast, "slow": levels.slow, "both": levels.size}
        self.family.bind_states(own[self.over])
        if known is not None:
            for part in self.family.parts.values():
                part.own_states = known(levels)

    def bind(self, data: Sequences) -> None:
        """Record or check the covariates of the family."""
        self.family.bind(data)
        self.num_features = self.family.num_features
        self.covariate_names = self.family.covariate_names

    def nested(self) -> "ByLevel":
        """The same of the family without latents."""
        return ByLevel(self.family.nested(), self.over)

    def unlinked(
        self, data: Sequences, params: Mapping[str, Tensor]
    ) -> "ByLevel | None":
        """By pair, where weights are pooled over slow states."""
        family = self.family.unlinked(self.family.view(data), params)
        return None if family is None else ByLevel(family, "both")

    def inputs(self, data: Sequences) -> Tensor:
        """What the family reads of every step."""
        return self.family.inputs(data)

    def factors(self, data: Sequences) -> DesignMatrix | Tensor:
        """What a table of all steps reads: the family's."""
        return self.family.factors(data)

    def entries(self, data: Sequences) -> Tensor:
        """The entries of every step, where parameters vary over sessions or groups."""
        return self.family.entries(data)

    def laws(self, device: torch.device | str = "cpu") -> Tensor:
        """The family's state of every pair, shape (pairs,)."""
        levels = known_levels(self, self.num_states)
        pairs = torch.arange(levels.size, device=device)
        return pairs if self.emits_by_pair else levels.of(pairs, self.over)

    def forward(self, state: Tensor, covariates: Tensor) -> Distribution:
        """The family's distribution at the states that it knows."""
        return self.family(self.laws(state.device)[state], covariates)

    def log_table(self, data: Sequences) -> LogTable | None:
        """The family's, spread over pairs."""
        table = self.family.log_table(data) if self.is_made_here else None
        if table is None or self.is_pooled:
            return table
        return SharedTable(table, self.laws())

    @pyro_method
    def table(self, design: DesignMatrix | Tensor) -> Distribution:
        """Batch of distributions, batch shape (*batch, steps, pairs)."""
        with zeros_allowed(self.family):
            table = self.family.table(design)
        if self.emits_by_pair:
            return table
        return Shared(table, self.laws(design.device))


def on_levels(
    levels: Levels, emissions: Any, transitions: Any, initial: Any
) -> tuple[Any, Any, Any]:
    """Copies of a model's components that know its two levels.

    A plain family gets parameters by fast state, ``ByLevel(family)``.
    """
    if isinstance(emissions, Emission) and not isinstance(emissions, ByLevel):
        emissions = ByLevel(emissions)
    if isinstance(transitions, Transitions) and not isinstance(transitions, TwoLevels):
        raise ValueError(
            "transitions must be TwoLevels for Levels, got "
            f"{type(transitions).__name__}; write TwoLevels(slow=..., fast=...)"
        )
    transitions = TwoLevels() if transitions is None else transitions
    emissions, transitions = copy.deepcopy(emissions), copy.deepcopy(transitions)
    for component in (emissions, transitions):
        if isinstance(component, ByLevel | TwoLevels):
            component.levels = levels
    if isinstance(transitions, TwoLevels):
        initial = first_levels(levels, initial, transitions)
    return emissions, transitions, initial
