"""First states on two levels: a slow one, and a fast one given it."""

import copy
from typing import Any

import torch
from torch import Tensor

from glmhmm_pyro.arguments import suggests_names, with_article
from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.initial import Initial, InitialState
from glmhmm_pyro.components.levels.both_levels import BothLevels, may_be_part
from glmhmm_pyro.components.levels.level_tables import FirstTable
from glmhmm_pyro.components.levels.levels import Levels
from glmhmm_pyro.components.levels.of_levels import FastFirst, SlowFirst
from glmhmm_pyro.components.levels.two_levels import TwoLevels
from glmhmm_pyro.components.own_states import OwnStates
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.tables import LogTable
from glmhmm_pyro.distributions import normalised
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.zeros import zeros_allowed


@suggests_names
class TwoLevelsInitial(BothLevels, InitialState):
    r"""The first slow state, and the first fast one given it.

    .. math::

        s_0 &\sim \text{slow}(v) \\
        f_0 \mid s_0 = j &\sim \text{fast}_j(v)

    Where slow states go on from one session of a group to the next
    (``TwoLevels(across_sessions=True)``), for which it is the default, the first slow
    state is that of the group, and the second line that of every session. Parameters
    are ``initial.slow...`` and ``initial.fast...``; the latter have an axis more,
    ``slow``.

    Args:
        slow: distribution of the first slow state; ``Initial()`` by default. The
            weights of either level may vary over sessions or groups, :func:`Varying`.
        fast: of the first fast state in each slow one; ``Initial()`` by default.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from glmhmm_pyro.components import Levels, TwoLevels, TwoLevelsInitial
        >>> first = TwoLevelsInitial(fast=gh.Initial(gh.priors.Fixed([1, 0, 0])))
        >>> model = gh.GLMHMM(Levels(2, 3), gh.Bernoulli(), initial=first)
        >>> model.bind(gh.Sequences([0, 1, 1, 0]))
        >>> [name for name, *_ in model.site_names()][:2]
        ['initial.slow.probs', 'initial.fast.probs']
    """

    def __init__(
        self, slow: InitialState | None = None, fast: InitialState | None = None
    ):
        super().__init__()
        self.levels: Levels | None = None
        self.slow = _copied("slow", Initial() if slow is None else slow)
        self.fast = _copied("fast", Initial() if fast is None else fast)

    def equations(self) -> list[str]:
        """That of the slow state, then that of the fast one."""
        (slow,), (fast,) = self.slow.equations(), self.fast.equations()
        across = self.transitions.across_sessions
        if across:
            slow += ", in the first session of a group"
        return [slow, f"{fast}, one for every s[0]{', in every session' * across}"]

    @property
    def is_made_here(self) -> bool:
        """Whether both levels are put together as here."""
        return is_as_defined(
            self, TwoLevelsInitial, "forward", "logits", "log_probs", "design"
        )

    def follow(self, transitions: Component) -> None:
        """Hook: receives the transitions, which tell what sessions go on."""
        # Not as a part of its own: they stay the model's.
        self.__dict__["transitions"] = transitions

    def goes_on(self, data: Sequences) -> Tensor | None:
        """Which sessions go on from the one before, if any does."""
        found: Tensor | None = self.transitions.goes_on(data)
        return found

    def states_of(self, levels: Levels) -> tuple[OwnStates, OwnStates]:
        """First slow states, where chains begin, and fast ones of all sessions."""
        return SlowFirst(levels, self.goes_on), FastFirst(levels)

    def bind(self, data: Sequences) -> None:
        """Record or check the covariates of both levels."""
        for part in (self.slow, self.fast):
            part.bind(data)
        if self.slow.reads_covariates or self.fast.reads_covariates:
            Component.bind(self, data)

    def nested(self) -> "TwoLevelsInitial":
        """The same of levels whose weights do not vary."""
        if not self.varies:
            return self
        return TwoLevelsInitial(self.slow.nested(), self.fast.nested())

    def logits(self, data: Sequences) -> Tensor:
        """Log-probabilities (*batch, sessions or 1, pairs).

        Those of a session that goes on are of the fast state, given the slow one.
        """
        slow, goes_on = self.slow.log_probs(data), self.goes_on(data)
        if goes_on is not None:
            slow = torch.where(goes_on.unsqueeze(-1), 0.0, slow)
        fast = self.fast.log_probs(data).movedim(-3, -2)
        pairs: Tensor = slow.unsqueeze(-1) + fast
        return pairs.flatten(-2)

    def entered(self, data: Sequences) -> Tensor:
        """Log-probabilities of the fast state given the slow one (*batch, ..., pairs).

        They are those of sessions that go on from others, of all sessions.
        """
        fast: Tensor = self.fast.log_probs(data)
        return fast.movedim(-3, -2).flatten(-2)

    def log_probs(self, data: Sequences) -> Tensor:
        """Log-probabilities, as :meth:`logits` has them."""
        with zeros_allowed(self):
            logits = self.logits(data)
        return logits if self.goes_on(data) is not None else normalised(logits)

    def log_table(self, data: Sequences) -> LogTable | None:
        """Both levels' tables put together, if each level has one."""
        levels = self.tables(data)
        if levels is None:
            return None
        slow, fast = levels
        return FirstTable(slow, fast, self.goes_on(data))


def first_levels(
    levels: Levels, initial: Any, transitions: TwoLevels
) -> InitialState | None:
    """The initial distribution of a model on two levels, a copy that knows them.

    Raises:
        ValueError: slow states go on from session to session, and the first fast state
            given the slow one has no distribution of its own.
    """
    if initial is None and transitions.across_sessions:
        initial = TwoLevelsInitial()
    if isinstance(initial, TwoLevelsInitial):
        initial = copy.deepcopy(initial)
        initial.levels = levels
    elif transitions.across_sessions and isinstance(initial, InitialState):
        raise ValueError(
            "initial must be a TwoLevelsInitial where slow states go on from session "
            f"to session and fast ones begin anew, got {type(initial).__name__}; leave "
            "it out, or write TwoLevelsInitial(slow=..., fast=...)"
        )
    found: InitialState | None = initial
    return found


def _copied(name: str, part: Any) -> InitialState:
    if not isinstance(part, InitialState) or isinstance(part, TwoLevelsInitial):
        what = with_article(type(part))
        if isinstance(part, type):
            what = f"the class {part.__name__}"
        raise TypeError(
            f"{name} must be a distribution of a first state of one level, got {what}; "
            "give one such as Initial()"
        )
    if not part.parts or not may_be_part(part, has_axis=name == "fast"):
        raise ValueError(
            f"{name} must be a distribution with parameters of its own, the same in "
            f"all sessions, got {part!r:.80}; take Initial() or InitialGLM(), or "
            "Varying(...) of one"
        )
    return copy.deepcopy(part)
