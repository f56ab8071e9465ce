"""Transitions on two levels: slow states, and fast ones that each of them modulates."""

import copy
import math
from typing import Any

import torch
from pyro.distributions import Categorical
from torch import Tensor

from glmhmm_pyro.arguments import flag, suggests_names, with_article
from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.chain.half_steps import halved, renewing, whole
from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.forbidden import refuse_forbidden
from glmhmm_pyro.components.initial import Initial, InitialGLM, InitialState
from glmhmm_pyro.components.levels.both_levels import (
    BothLevels,
    known_levels,
    may_be_part,
)
from glmhmm_pyro.components.levels.clock import HasClock, check_ticks
from glmhmm_pyro.components.levels.level_tables import HalfStepsTable
from glmhmm_pyro.components.levels.levels import Levels
from glmhmm_pyro.components.levels.of_levels import Entries, FastMoves, SlowMoves
from glmhmm_pyro.components.own_states import OwnStates
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.tables import LogTable
from glmhmm_pyro.components.transitions import Stationary, Transitions
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.zeros import exact_logits


@suggests_names
class TwoLevels(HasClock, BothLevels, Transitions):
    r"""A slow chain, and a fast one whose moves depend on the slow state.

    .. math::

        s_t \mid s_{t-1} = i &\sim \text{slow}(i, u_t) \\
        f_t \mid f_{t-1} = a, s_t = j &\sim \text{fast}_j(a, u_t)

    Inside a step the slow state moves first, and the fast one as the slow state arrived
    at has it. Both levels are ordinary transitions, whose parameters are
    ``transitions.slow...`` and ``transitions.fast...``; the latter have an axis more,
    ``slow``. It goes with :class:`Levels` in the place of ``num_states``, and is then
    the default.

    What the levels have to do with each other is for three arguments to say. Without
    any dependence they are two chains side by side, which emissions alone connect: the
    factorial model of Ghahramani & Jordan (1997, Machine Learning 29, 245). With an
    entry law, and slow states that are left as the fast one has it, every slow state
    runs a chain of its own from its beginning to its end: the hierarchical model of
    Fine, Singer & Tishby (1998, Machine Learning 32, 41).

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
        entry: distribution of the fast state at a step into another slow state, an
            :class:`Initial`, or an :class:`InitialGLM` of the transition covariates of
            that step. By default the fast state moves on from where it was. Parameters
            are ``transitions.entry...``, with the axis ``slow``.
        fast_depends_on_slow: whether fast moves have parameters for each slow state.
        slow_depends_on_fast: whether slow moves have parameters for each fast state
            that is left, which are then an axis more of them, ``fast``.

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
        *,
        entry: InitialState | None = None,
        fast_depends_on_slow: bool = True,
        slow_depends_on_fast: bool = False,
    ):
        super().__init__()
        self.levels: Levels | None = None
        self.clock = clock
        flag("across_sessions", across_sessions)
        flag("fast_depends_on_slow", fast_depends_on_slow)
        flag("slow_depends_on_fast", slow_depends_on_fast)
        self.across_sessions = across_sessions or clock == "session"
        self.fast_depends_on_slow = fast_depends_on_slow
        self.slow_depends_on_fast = slow_depends_on_fast
        slow = Stationary() if slow is None else slow
        fast = Stationary() if fast is None else fast
        self.slow = _copied("slow", slow, slow_depends_on_fast)
        self.fast = _copied("fast", fast, fast_depends_on_slow)
        self.entry = None if entry is None else _copied_entry(entry)

    @property
    def parts(self) -> dict[str, Component]:
        """The parts of both levels, and the entry law if there is one."""
        entry = {} if self.entry is None else {"entry": self.entry}
        return super().parts | entry

    @property
    def renews(self) -> bool:
        """Whether the chain has room for fast states that begin anew."""
        return self.entry is not None or self.slow_depends_on_fast

    @property
    def has_chains_apart(self) -> bool:
        """Whether a fast state of one slow state is nothing to those of others."""
        return self.entry is not None and self.fast_depends_on_slow

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
        slow += ", one for every f[t-1]" * self.slow_depends_on_fast
        if self.entry is None:
            return [slow, fast + ", one for every s[t]" * self.fast_depends_on_slow]
        fast += ", one for every s[t]," * self.fast_depends_on_slow
        entry = (
            f"f[t] ~ {self.entry.right_side()}, one for every s[t], if it is another"
        )
        return [slow, f"{fast} if s[t] = s[t-1]", entry]

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
        return TwoLevels(
            self.slow.nested(),
            self.fast.nested(),
            self.clock,
            self.across_sessions,
            entry=self.entry,
            fast_depends_on_slow=self.fast_depends_on_slow,
            slow_depends_on_fast=self.slow_depends_on_fast,
        )

    def states_of(self, levels: Levels) -> tuple[OwnStates, OwnStates]:
        """Slow moves, where the clock lets them be, and fast ones."""
        renews = self.entry is not None if self.renews else None
        steps = self.ticks, self.first_steps
        slow = SlowMoves(levels, *steps, self.slow_depends_on_fast, renews)
        return slow, FastMoves(levels, self.fast_depends_on_slow, renews)

    def bind_states(self, num_states: int) -> None:
        """Record the numbers of states of both levels."""
        super().bind_states(num_states)
        if self.entry is not None:
            levels = known_levels(self, num_states)
            self.entry.bind_states(levels.fast)
            self.entry.own_states = Entries(levels)
            self.entry.widen("slow", levels.slow)

    def bind(self, data: Sequences) -> None:
        """Record or check the covariates of both levels, and the clock."""
        names = data.transition_covariate_names
        others = tuple(name for name in names if name != self.clock)
        for part in self.parts.values():
            if self.has_column and part.chosen is None:
                part.chosen = others
            part.bind(data)
        if self.has_column or any(p.num_features for p in self.parts.values()):
            super().bind(data)
        self.goes_on(data)
        self.ticks(data)
        if self.has_column:
            check_ticks(self.clock, self.first_steps(data), data)

    @property
    def num_entries(self) -> int:
        """Number of levels whose weights vary, which have a column each."""
        return sum(part.num_entries for part in self._levels.values())

    @property
    def _levels(self) -> dict[str, Any]:
        """The parts of both levels alone."""
        return {"slow": self.slow, "fast": self.fast}

    def entries(self, data: Sequences) -> Tensor:
        """The unit of every step, (steps, levels whose weights vary)."""
        return torch.cat([part.entries(data) for part in self._levels.values()], 1)

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
        # One after the other: parameters of a level may have an axis before these.
        state = state.expand(shape).flatten()
        covariates = covariates.expand(*shape, -1).reshape(len(state), -1)
        own = [part.num_entries for part in self._levels.values()]
        width = covariates.shape[-1] - sum(own)
        covariates, *units = covariates.split([width, *own], -1)
        slow, fast = (
            exact_logits(
                part(
                    levels.of(state, level),
                    torch.cat([covariates[:, part.places_among(names)], unit], -1),
                )
            ).log_softmax(-1)
            for (level, part), unit in zip(self._levels.items(), units)
        )
        if self.slow_depends_on_fast:
            slow = slow[levels.of(state, "fast"), torch.arange(len(state))]
        here = levels.of(state, "slow").unsqueeze(-1)
        stays = torch.arange(levels.slow, device=state.device) == here
        if self.has_clock:
            ticks = torch.full_like(slow[:, :1], entered is not None, dtype=torch.bool)
            if self.has_column:
                ticks = covariates[:, self.clock_of(names)].unsqueeze(-1) != 0
            slow = torch.where(ticks, slow, _certain(stays, slow))
        fast = fast.movedim(0, -2) if self.fast_depends_on_slow else fast.unsqueeze(-2)
        if entered is not None:
            fast = entered.expand(*shape, -1).reshape(len(state), levels.slow, -1)
        elif self.entry is not None:
            scores = self.entry.scores(covariates[:, self.entry.places_among(names)])
            begun = scores.log_softmax(-1).movedim(-3, -2)
            fast = torch.where(stays.unsqueeze(-1), fast, begun)
        pairs = slow.unsqueeze(-1) + fast
        return pairs.flatten(-2, -1).reshape(*shape, levels.size)

    def logits(self, data: Sequences) -> Tensor:
        """Log-probabilities (*batch, steps or 1, pairs, pairs)."""
        levels = known_levels(self, self.num_states)
        return whole(self.moves(data), levels.size)

    def moves(self, data: Sequences) -> Tensor:
        """Log-probabilities of the slow half-step, and of the fast one."""
        levels = known_levels(self, self.num_states)
        slow, ticks = self.slow.log_probs(data), self.ticks(data)
        stays = torch.eye(levels.slow, dtype=torch.bool, device=slow.device)
        if ticks is not None:
            slow = torch.where(ticks[:, None, None], slow, _certain(stays, slow))
        fast = self.fast.log_probs(data)
        fast = fast if self.fast_depends_on_slow else fast.unsqueeze(-4)
        if self.renews:
            slow = slow if self.slow_depends_on_fast else slow.unsqueeze(-4)
            moves = self._renewing(slow, fast, stays, data)
        else:
            moves = halved(slow, fast)
        if self.goes_on(data) is None:
            return moves
        return moves.expand(*moves.shape[:-3], data.num_steps, *moves.shape[-2:])

    def _renewing(
        self, slow: Tensor, fast: Tensor, stays: Tensor, data: Sequences
    ) -> Tensor:
        """Half-steps of slow moves by fast state (..., fast|1, steps, slow, slow)."""
        states = fast.shape[-1]
        slow = slow.expand(*slow.shape[:-4], states, *slow.shape[-3:])
        fast = fast.expand(*fast.shape[:-4], len(stays), *fast.shape[-3:])
        if self.entry is None:
            never = torch.full_like(slow, -torch.inf)
            share = torch.full_like(fast[..., 0], -math.log(states))
            return renewing(slow, never, fast, share)
        kept = slow.masked_fill(~stays, -torch.inf)
        anew = slow.masked_fill(stays, -torch.inf)
        return renewing(kept, anew, fast, self.entry.log_probs(data))

    def log_table(self, data: Sequences) -> LogTable | None:
        """Both half-steps, if each level has a table."""
        levels = self.tables(data)
        if levels is None:
            return None
        slow, fast, *entry = levels
        by_step = self.ticks(data) is not None or self.goes_on(data) is not None
        steps = data.num_steps if by_step else 1
        begun = entry[0] if entry else None
        return HalfStepsTable(slow, fast, begun, self.ticks(data), steps)


def _copied(name: str, part: Any, has_axis: bool) -> Transitions:
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
    if part.emits is not None or not may_be_part(part, has_axis):
        raise ValueError(
            f"{name} must be transitions whose parameters are the same in all sessions "
            "and may have axes before their own (batched), without chain states, got "
            f"{part!r:.80}; take Stationary() or InputDriven(), or Varying(...) of one"
        )
    refuse_forbidden(name, part)
    return copy.deepcopy(part)


def _copied_entry(entry: Any) -> Initial | InitialGLM:
    """A copy that reads the covariates of steps."""
    is_made = isinstance(entry, Initial | InitialGLM) and entry.is_linear
    if not is_made or entry.varies_over:
        what = with_article(type(entry))
        if isinstance(entry, type):
            what = f"the class {entry.__name__}"
        raise ValueError(
            "entry must be an Initial or an InitialGLM, the same in all sessions, got "
            f"{what}; write entry=Initial(), or entry=InitialGLM(covariates=[...]) of "
            "transition covariates"
        )
    entry = copy.deepcopy(entry)
    entry.covariates_of = Transitions.covariates_of
    return entry


def _certain(stays: Tensor, like: Tensor) -> Tensor:
    """Log-probabilities of events that are certain (0) or impossible (-inf)."""
    return torch.zeros_like(stays, dtype=like.dtype).masked_fill(~stays, -torch.inf)
