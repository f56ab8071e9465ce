"""Transitions on two levels: slow states, and fast ones that each of them modulates."""

import copy
from typing import Any

import torch
from pyro.distributions import Categorical
from torch import Tensor

from glmhmm_pyro.arguments import flag, suggests_names, with_article
from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.chain.half_steps import halved, whole
from glmhmm_pyro.components.forbidden import refuse_forbidden
from glmhmm_pyro.components.levels.both_levels import (
    BothLevels,
    known_levels,
    may_be_part,
)
from glmhmm_pyro.components.levels.level_tables import HalfStepsTable
from glmhmm_pyro.components.levels.levels import Levels
from glmhmm_pyro.components.levels.of_levels import FastMoves, SlowMoves
from glmhmm_pyro.components.own_states import OwnStates
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.tables import LogTable
from glmhmm_pyro.components.transitions import Stationary, Transitions
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.continuing import go_on
from glmhmm_pyro.sequences.validation import close_matches
from glmhmm_pyro.zeros import exact_logits


@suggests_names
class TwoLevels(BothLevels, Transitions):
    r"""A slow chain, and a fast one whose moves depend on the slow state.

    .. math::

        s_t \mid s_{t-1} = i &\sim \text{slow}(i, u_t) \\
        f_t \mid f_{t-1} = a, s_t = j &\sim \text{fast}_j(a, u_t)

    Inside a step the slow state moves first, and the fast one as the slow state arrived
    at has it. Both levels are ordinary transitions, whose parameters are
    ``transitions.slow...`` and ``transitions.fast...``; the latter have an axis more,
    ``slow``. It goes with :class:`Levels` in the place of ``num_states``, and is then
    the default.

    Args:
        slow: transitions of the slow states; ``Stationary()`` by default. The weights
            of either level may vary over sessions or groups, :func:`Varying`.
        fast: transitions of the fast states in each of them; ``Stationary()`` by
            default.
        clock: when slow states may be left: ``"step"``, at every step; ``"session"``,
            into the first step of every session but a group's first one, by the
            covariates of that step; or the name of a transition covariate of ones and
            zeros, at the steps where it is 1. The column is read by neither level,
            unless it is named there.
        across_sessions: whether slow states go on from a session to the next one of its
            group, the animal, while fast states begin anew (:class:`TwoLevelsInitial`).
            Without groups all sessions are of one. With the clock ``"session"`` they
            always do.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from glmhmm_pyro.components import Levels, TwoLevels
        >>> moves = TwoLevels(slow=gh.InputDriven(), fast=gh.Stationary())
        >>> model = gh.GLMHMM(Levels(slow=2, fast=2), gh.Bernoulli(), moves)
        >>> model.bind(gh.Sequences([0, 1, 1, 0]))
        >>> [name for name, *_ in model.site_names()][1:3]
        ['transitions.slow.weights', 'transitions.fast.probs']
    """

    def __init__(
        self,
        slow: Transitions | None = None,
        fast: Transitions | None = None,
        clock: str = "step",
        across_sessions: bool = False,
    ):
        super().__init__()
        self.levels: Levels | None = None
        self.clock = clock
        flag("across_sessions", across_sessions)
        self.across_sessions = across_sessions or clock == "session"
        self.slow = _copied("slow", Stationary() if slow is None else slow)
        self.fast = _copied("fast", Stationary() if fast is None else fast)

    @property
    def reads_covariates(self) -> bool:
        """Whether a level does, or the clock."""
        return super().reads_covariates or self.has_column

    def equations(self) -> list[str]:
        """That of the slow states, then that of the fast ones."""
        (slow,), (fast,) = self.slow.equations(), self.fast.equations()
        if self.has_column:
            slow += f" where {self.clock}[t] = 1, else s[t-1]"
        elif self.has_clock:
            slow += " at the first step of a session, else s[t-1]"
        return [slow, f"{fast}, one for every s[t]"]

    @property
    def is_made_here(self) -> bool:
        """Whether both levels are put together as here."""
        return is_as_defined(
            self, TwoLevels, "forward", "logits", "moves", "log_probs", "design"
        )

    def nested(self) -> "TwoLevels":
        """The same of levels whose weights do not vary."""
        if not self.varies:
            return self
        parts = self.slow.nested(), self.fast.nested()
        return TwoLevels(*parts, self.clock, self.across_sessions)

    def states_of(self, levels: Levels) -> tuple[OwnStates, OwnStates]:
        """Slow moves, where the clock lets them be, and fast ones."""
        return SlowMoves(levels, self.ticks, self.first_steps), FastMoves(levels)

    def bind(self, data: Sequences) -> None:
        """Record or check the covariates of both levels, and the clock."""
        names = data.transition_covariate_names
        others = tuple(name for name in names if name != self.clock)
        for part in (self.slow, self.fast):
            if self.has_column and part.chosen is None:
                part.chosen = others
            part.bind(data)
        if self.has_column or self.slow.num_features or self.fast.num_features:
            super().bind(data)
        self.goes_on(data)
        self.ticks(data)
        if self.has_column:
            check_ticks(self.clock, self.first_steps(data), data)

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
        place = self._clock_of(data.transition_covariate_names)
        return data.transition_covariates[:, place] != 0

    def _clock_of(self, names: tuple[str, ...]) -> int:
        if self.clock not in names:
            raise ValueError(
                "clock must be 'step', 'session' or one of the transition covariates, "
                f"{', '.join(names)}, got {self.clock!r}"
                f"{close_matches(self.clock, names)}; name one of these"
            )
        return names.index(self.clock)

    @property
    def num_entries(self) -> int:
        """Number of levels whose weights vary, which have a column each."""
        return self.slow.num_entries + self.fast.num_entries

    def entries(self, data: Sequences) -> Tensor:
        """The unit of every step, (steps, levels whose weights vary)."""
        return torch.cat([part.entries(data) for part in self.parts.values()], 1)

    def inputs(self, data: Sequences) -> Tensor:
        """What ``forward`` reads of every step: covariates, and last any units."""
        design = super().inputs(data)
        if not self.varies:
            return design
        return torch.cat([design, self.entries(data).to(design)], -1)

    def forward(self, state: Tensor, covariates: Tensor) -> Categorical:
        """The next pair: a slow state, then a fast one."""
        logits = self._stepped(state, covariates, None)
        return Categorical(logits=logits, validate_args=False)

    def cross(self, state: Tensor, covariates: Tensor, entered: Tensor) -> Tensor:
        """Log-probabilities of the first pair of a session that goes on.

        Args:
            state: the last pair of the session before, shape (*shape).
            covariates: shape (*shape, features), of the session's first step.
            entered: log-probabilities of the fast state given the slow one, (*shape,
                pairs).
        """
        return self._stepped(state, covariates, entered)

    def _stepped(
        self, state: Tensor, covariates: Tensor, entered: Tensor | None
    ) -> Tensor:
        levels, names = known_levels(self, self.num_states), self.covariate_names or ()
        shape = broadcast_shape(state.shape, covariates.shape[:-1])
        # One after the other: parameters of the fast level have an axis before these.
        state = state.expand(shape).flatten()
        covariates = covariates.expand(*shape, -1).reshape(len(state), -1)
        own = [part.num_entries for part in self.parts.values()]
        width = covariates.shape[-1] - sum(own)
        covariates, *units = covariates.split([width, *own], -1)
        slow, fast = (
            exact_logits(
                part(
                    levels.of(state, level),
                    torch.cat([covariates[:, part.places_among(names)], unit], -1),
                )
            ).log_softmax(-1)
            for (level, part), unit in zip(self.parts.items(), units)
        )
        if self.has_clock:
            ticks = torch.full_like(slow[:, :1], entered is not None, dtype=torch.bool)
            if self.has_column:
                ticks = covariates[:, self._clock_of(names)].unsqueeze(-1) != 0
            here = levels.of(state, "slow").unsqueeze(-1)
            stays = torch.arange(levels.slow, device=state.device) == here
            slow = torch.where(ticks, slow, _certain(stays, slow))
        fast = fast.movedim(0, -2)
        if entered is not None:
            fast = entered.expand(*shape, -1).reshape(fast.shape)
        pairs = slow.unsqueeze(-1) + fast
        return pairs.flatten(-2, -1).reshape(*shape, levels.size)

    def logits(self, data: Sequences) -> Tensor:
        """Log-probabilities (*batch, steps or 1, pairs, pairs)."""
        return whole(self.moves(data))

    def moves(self, data: Sequences) -> Tensor:
        """Log-probabilities of the slow half-step, and of the fast one."""
        levels = known_levels(self, self.num_states)
        slow, ticks = self.slow.log_probs(data), self.ticks(data)
        if ticks is not None:
            stays = torch.eye(levels.slow, dtype=torch.bool, device=slow.device)
            slow = torch.where(ticks[:, None, None], slow, _certain(stays, slow))
        moves = halved(slow, self.fast.log_probs(data))
        if self.goes_on(data) is None:
            return moves
        return moves.expand(*moves.shape[:-3], data.num_steps, *moves.shape[-2:])

    def log_table(self, data: Sequences) -> LogTable | None:
        """Both half-steps, if each level has a table."""
        tables = self.tables(data)
        if tables is None:
            return None
        by_step = self.ticks(data) is not None or self.goes_on(data) is not None
        steps = data.num_steps if by_step else 1
        return HalfStepsTable(*tables, self.ticks(data), steps)


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


def _copied(name: str, part: Any) -> Transitions:
    if not isinstance(part, Transitions) or isinstance(part, TwoLevels):
        what = (
            f"the class {part.__name__}"
            if isinstance(part, type)
            else (with_article(type(part)))
        )
        raise TypeError(
            f"{name} must be transitions of one level, got {what}; give one such as "
            "InputDriven()"
        )
    if part.emits is not None or not may_be_part(name, part):
        raise ValueError(
            f"{name} must be transitions whose parameters are the same in all sessions "
            "and may have axes before their own (batched), without chain states, got "
            f"{part!r:.80}; take Stationary() or InputDriven(), or Varying(...) of one"
        )
    refuse_forbidden(name, part)
    return copy.deepcopy(part)


def _certain(stays: Tensor, like: Tensor) -> Tensor:
    """Log-probabilities of events that are certain (0) or impossible (-inf)."""
    return torch.zeros_like(stays, dtype=like.dtype).masked_fill(~stays, -torch.inf)
