"""Forbidden moves of transitions with parameters for every pair of states."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from glmhmm_pyro.arguments import has_items
from glmhmm_pyro.priors.answers import mode_given
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.priors.fixed import Fixed
from glmhmm_pyro.priors.recipe import Place, PriorRecipe
from glmhmm_pyro.priors.wording import in_words

if TYPE_CHECKING:
    from glmhmm_pyro.components.base import Component

# Pairs of states, from where to where.
Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class WhereAllowed(PriorRecipe):
    """The prior of parameters of allowed moves; those of forbidden moves are held at 0.

    Args:
        pairs: forbidden moves (from, to).
        rest: prior of all other moves.
        trailing: number of axes after those of origins and destinations, which are all
            where they are as many as origins, else all but staying.
    """

    pairs: Pairs
    rest: Prior
    trailing: int

    event_dim = Fixed.event_dim

    def __str__(self) -> str:
        rest = "flat" if self.rest is None else in_words(self.rest)
        return f"{rest}, of the moves that can be"

    def __call__(self, shape: torch.Size, place: Place = Place()) -> Distribution:
        """Distribution over a parameter of this shape."""
        origins, ends = shape[len(shape) - self.trailing - 2 :][:2]
        never = all_places if ends == origins else free_places
        held = torch.full((origins, ends), torch.nan, dtype=torch.float64)
        held[never(self.pairs, origins)] = 0.0
        held = held.reshape(origins, ends, *[1] * self.trailing)
        return Fixed(held.expand(shape), rest=self.rest)(shape, place)


@mode_given.register
def _shares_of_allowed(
    prior: WhereAllowed, counts: Tensor, shape: torch.Size
) -> Tensor | None:
    """The most probable probabilities of allowed moves; others are 0."""
    held = prior(shape, Place(support=constraints.simplex))
    found: Tensor | None = mode_given(held, counts, shape)
    return found


def all_places(pairs: Pairs, num_states: int) -> np.ndarray:
    """Whether moves cannot be: (origins, destinations)."""
    never = np.zeros((num_states, num_states), dtype=bool)
    for pair in pairs:
        never[pair] = True
    return never


def free_places(pairs: Pairs, num_states: int) -> np.ndarray:
    """Whether moves cannot be, staying left out: (origins, destinations - 1)."""
    never = np.zeros((num_states, num_states - 1), dtype=bool)
    for origin, end in pairs:
        never[origin, end - (end > origin)] = True
    return never


class Forbidding:
    """Mixin of transitions some of whose moves are forbidden.

    Attributes:
        forbidden: pairs of different states, from where to where.
    """

    forbidden: Pairs = ()
    num_states: int | None

    def forbid(self, forbidden: Sequence[tuple[int, int]]) -> None:
        """Declare the forbidden moves, pairs of states (from, to)."""
        self.forbidden = _sorted_pairs(forbidden)

    def where_allowed(self, prior: Prior, trailing: int) -> Prior:
        """The prior of a parameter of all pairs; see :class:`WhereAllowed`."""
        if not self.forbidden:
            return prior
        return WhereAllowed(self.forbidden, prior, trailing)

    def bind_states(self, num_states: int) -> None:
        """Record the number of hidden states; refuse moves between others."""
        super().bind_states(num_states)  # type: ignore[misc]
        highest = max(map(max, self.forbidden), default=0)
        if highest >= num_states:
            raise ValueError(
                f"forbidden must be pairs of states below {num_states}, the number of "
                f"states, got {highest}; number them from 0"
            )

    def right_side(self) -> str:
        """Which moves cannot be, after what it is otherwise."""
        moves = [f"{origin} to {end}" for origin, end in self.forbidden]
        never = f", never from {' or '.join(moves)}" if moves else ""
        return f"{super().right_side()}{never}"  # type: ignore[misc]

    @property
    def never(self) -> np.ndarray:
        """Whether moves cannot be, staying left out: (origins, destinations - 1)."""
        return free_places(self.forbidden, self.num_states or 1)

    @property
    def _cannot(self) -> Tensor:
        """Whether moves cannot be, of all pairs of states."""
        return torch.from_numpy(all_places(self.forbidden, self.num_states or 1))

    def shown(self, numbers: Tensor) -> Tensor:
        """Numbers of all pairs (..., origins, destinations), NaN for forbidden ones."""
        if not self.forbidden:
            return numbers
        return numbers.masked_fill(self._cannot.to(numbers.device), torch.nan)

    def possible(self, scores: Tensor, state: Tensor | None = None) -> Tensor:
        """Log-odds (..., origins, destinations) with -inf where a move cannot be.

        Args:
            scores: log-odds of all moves; those from ``state`` alone, if it is given.
            state: where the moves start, as it broadcasts to all axes but the last.
        """
        if not self.forbidden:
            return scores
        cannot = self._cannot.to(scores.device)
        rows = cannot if state is None else cannot[state]
        return scores.masked_fill(rows, -torch.inf)

    def keeps(self, order: Sequence[int]) -> bool:
        """Whether renumbering the states leaves the forbidden moves as they are."""
        moved = {(order[i], order[j]) for i, j in self.forbidden}
        return moved == set(self.forbidden)

    @property
    def is_numbered(self) -> bool:
        """Whether it knows any states by their numbers."""
        return bool(self.forbidden)

    def renumber(self, order: Sequence[int]) -> None:
        """Forbid the same moves where state k is what was ``order[k]``."""
        place = {int(old): new for new, old in enumerate(order)}
        self.forbidden = tuple(sorted((place[i], place[j]) for i, j in self.forbidden))
        for site in self.sites.values():  # type: ignore[attr-defined]
            if isinstance(site.prior, WhereAllowed):
                recipe = site.prior
                site.prior = replace(recipe, pairs=self.forbidden)


def _sorted_pairs(forbidden: Sequence[tuple[int, int]]) -> Pairs:
    """The forbidden moves as sorted pairs, each once; a ValueError for others."""
    listed = list(forbidden) if has_items(forbidden) else [forbidden]
    pairs = [tuple(pair) if has_items(pair) else (pair,) for pair in listed]
    for pair in pairs:
        whole = all(isinstance(n, int | np.integer) and n >= 0 for n in pair)
        if len(pair) != 2 or not whole or pair[0] == pair[1]:
            raise ValueError(
                "forbidden must be pairs of different states, from where to where, got "
                f"{forbidden!r:.60}; write forbidden=[(0, 2), (2, 0)], staying always "
                "can be"
            )
    return tuple(sorted({(int(i), int(j)) for i, j in pairs}))


def refuse_forbidden(argument: str, transitions: "Component") -> None:
    """Raise a ValueError for transitions with forbidden moves, ignored here."""
    if getattr(transitions, "forbidden", ()):
        raise ValueError(
            f"{argument} must be transitions of which all moves can be, got "
            f"forbidden={list(transitions.forbidden)}; leave forbidden out here"
        )
