"""Which renumberings of the states leave a model's density as it is.

The likelihood is invariant to the numbering of states, a prior need not be: one with a
mean for each state, or on contrasts with a reference state, is not. The renumberings
that leave both unchanged form a group. All images of a mode under this group are one
mode, and renumbering draws within it does not change their distribution; any other
renumbering changes the posterior.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import factorial, prod
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from glmhmm_pyro.components.forbidden import Forbidding
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.renumbering import Renumbering

Order = tuple[int, ...]

# Points at which densities are compared: the symmetry of one may be chance.
_POINTS = 2

# Distance of these points from the given one, in unconstrained coordinates.
_AWAY = 1.0

# Halvings of that distance until the density is finite.
_HALVINGS = 20

# Renumberings of unlike states that are tried out; beyond, those of like states count.
_MOST = 720

# Renumberings of a group that are compared one by one, of many draws at once.
_FEW = 24


@dataclass(frozen=True)
class Symmetry:
    """A group of renumberings; ``order`` makes state k of what was ``order[k]``.

    Attributes:
        classes: sets of states that are exchangeable; every state is in one.
        moves: renumberings that map whole classes onto others, the identity first; with
            exchanges within classes they generate the group.
        is_complete: whether all renumberings were tried; if not, the group may be
            larger.

    Example:
        >>> twins = Symmetry(((0, 2), (1,)), ((0, 1, 2),))
        >>> twins.size, twins.is_full, [order.tolist() for order in twins.orders()]
        (2, False, [[0, 1, 2], [2, 1, 0]])
    """

    classes: tuple[Order, ...]
    moves: tuple[Order, ...]
    is_complete: bool = True

    @classmethod
    def none(cls, num_states: int, is_complete: bool = True) -> "Symmetry":
        """The trivial group: no states are exchangeable, as far as is known."""
        states = tuple(range(num_states))
        return cls(tuple((k,) for k in states), (states,), is_complete)

    @classmethod
    def full(cls, num_states: int) -> "Symmetry":
        """The full symmetric group: all states are exchangeable."""
        states = tuple(range(num_states))
        return cls((states,), (states,))

    @property
    def num_states(self) -> int:
        """Number of states."""
        return len(self.moves[0])

    @property
    def size(self) -> int:
        """Number of renumberings, the identity included."""
        return len(self.moves) * prod(factorial(len(group)) for group in self.classes)

    @property
    def is_full(self) -> bool:
        """Whether all states are exchangeable."""
        return self.size == factorial(self.num_states)

    @cached_property
    def _class_of(self) -> np.ndarray:
        """Number of every state's class."""
        found = np.zeros(self.num_states, dtype=int)
        for number, group in enumerate(self.classes):
            found[list(group)] = number
        return found

    def orders(self) -> Iterator[Tensor]:
        """Every renumbering of the group, the identity first."""
        for move in self.moves:
            for places in itertools.product(*map(itertools.permutations, self.classes)):
                within = dict(zip(sum(self.classes, ()), sum(places, ())))
                yield torch.tensor([within[state] for state in move])

    def best_order(self, agreement: Tensor) -> Tensor:
        """The renumbering of the group that agrees best.

        Args:
            agreement: how well new number k would suit old number j, shape (*batch,
                states, states).

        Returns:
            The order with the largest sum of ``agreement[k, order[k]]``, (*batch,
            states).
        """
        values = agreement.cpu()
        if self.size <= _FEW and bool(values.isfinite().all()):
            orders = torch.stack(list(self.orders()))
            sums = values[..., torch.arange(self.num_states), orders].sum(-1)
            return orders[sums.argmax(-1)]
        batch, last = values.shape[:-2], values.shape[-2:]
        found = [self._assigned(one) for one in values.reshape(-1, *last).numpy()]
        return torch.from_numpy(np.stack(found)).reshape(*batch, -1)

    def _assigned(self, values: np.ndarray) -> np.ndarray:
        """The best order of many, by an assignment for every move of classes."""
        rows, found = np.arange(self.num_states), []
        for move in self.moves:
            allowed = self._class_of[list(move)][:, None] == self._class_of
            masked = np.where(allowed, values, -np.inf)
            _, order = linear_sum_assignment(masked, maximize=True)
            found.append((values[rows, order].sum(), order))
        return max(found, key=lambda pair: pair[0])[1]

    def sorted_order(self, keys: Tensor) -> Tensor:
        """The renumbering of the group whose numbers come first when they are sorted.

        Args:
            keys: a number a state, shape (states,); it is a full sort where no state is
                told apart.
        """
        found = []
        for move in self.moves:
            order = torch.tensor(move)
            for group in range(len(self.classes)):
                (places,) = (self._class_of[list(move)] == group).nonzero()
                members = order[torch.from_numpy(places)]
                order[torch.from_numpy(places)] = members[keys[members].argsort()]
            found.append(order)
        return min(found, key=lambda order: keys[order].tolist())


def symmetry_of(
    program: Program, params: Params, renumbering: Renumbering, num_states: int
) -> Symmetry:
    """Renumberings that leave log prior and log-likelihood unchanged, wherever one is.

    They are found by trying: values of both are compared at points away from
    ``params``, before and after. The states of any two that may be exchanged, and of
    those with a third, form classes; what is left to try is how classes can be carried
    onto each other, for the exchanges of a group are carried onto exchanges.

    Args:
        program: the model with its data.
        params: values of its sites with a finite density.
        renumbering: how parameters follow. Where it is not known for a site, nothing
            can be renumbered.
        num_states: number of states.
    """
    if renumbering.unknown or num_states == 1:
        return Symmetry.none(num_states, is_complete=num_states == 1)
    trial = _Trial(program, params, renumbering)
    states = tuple(range(num_states))
    possible = possible_orders(program.model, num_states)
    classes = sum((_alike(group, states, trial) for group in possible.classes), [])
    if not possible.is_full:
        kept = tuple(move for move in possible.moves[1:] if trial(move))
        is_complete = possible.is_complete and len(classes) == len(possible.classes)
        return Symmetry(tuple(map(tuple, classes)), (states, *kept), is_complete)
    moves = [states]
    sizes = sorted({len(group) for group in classes})
    by_size = [[group for group in classes if len(group) == size] for size in sizes]
    if prod(factorial(len(groups)) for groups in by_size) > _MOST:
        return Symmetry(tuple(map(tuple, classes)), (states,), is_complete=False)
    shuffles = itertools.product(*map(itertools.permutations, by_size))
    for images in itertools.islice(shuffles, 1, None):
        carried = dict(
            zip(sum(sum(by_size, []), []), sum(sum(map(list, images), []), []))
        )
        move = tuple(carried[state] for state in states)
        if trial(move):
            moves.append(move)
    return Symmetry(tuple(map(tuple, classes)), tuple(moves))


def possible_orders(model: Callable[..., Any], num_states: int) -> Symmetry:
    """All renumberings that a model allows, whatever they do to its densities.

    They are all that there are, but of pairs of states on two levels: there slow states
    change numbers, and fast ones within them, alike in all of these unless each has a
    chain of its own. Where moves are forbidden, they are those that forbid the same.
    """
    levels = getattr(model, "levels", None)
    transitions = getattr(model, "transitions", None)
    if isinstance(transitions, Forbidding) and transitions.forbidden:
        all_orders = itertools.permutations(range(num_states))
        tried = itertools.islice(all_orders, _MOST)
        kept = tuple(order for order in tried if transitions.keeps(order))
        is_complete = factorial(num_states) <= _MOST
        return Symmetry(tuple((k,) for k in range(num_states)), kept, is_complete)
    if levels is None or levels.size != num_states:
        return Symmetry.full(num_states)
    moves = tuple(tuple(order.tolist()) for order in levels.orders())
    alone = tuple((k,) for k in range(num_states))
    if not getattr(transitions, "has_chains_apart", False):
        return Symmetry(alone, moves)
    if getattr(getattr(model, "emissions", None), "over", None) != "both":
        return Symmetry(alone, moves)
    rows = torch.arange(num_states).reshape(levels.slow, levels.fast).tolist()
    slow = itertools.permutations(rows)
    return Symmetry(tuple(map(tuple, rows)), tuple(tuple(sum(r, [])) for r in slow))


def _alike(
    group: Sequence[int], states: Order, trial: Callable[[Order], bool]
) -> list[list[int]]:
    """The states of a class in classes whose states may really be exchanged."""
    classes: list[list[int]] = []
    for state in group:
        for known in classes:
            if trial(_exchanged(states, known[0], state)):
                known.append(state)
                break
        else:
            classes.append([state])
    return classes


def _exchanged(states: Order, one: int, other: int) -> Order:
    """The renumbering that exchanges two states."""
    order = list(states)
    order[one], order[other] = order[other], order[one]
    return tuple(order)


class _Trial:
    """Tests at a few points whether a renumbering changes the densities.

    Args:
        program: the model with its data.
        params: values around which the points lie.
        renumbering: how parameters follow.
    """

    def __init__(self, program: Program, params: Params, renumbering: Renumbering):
        self.program, self.renumbering = program, renumbering
        generator = torch.Generator().manual_seed(0)
        centre = program.coordinates.pack(params)
        self.points, self.before = [], []
        for _ in range(_POINTS):
            noise = torch.randn(centre.shape, generator=generator, dtype=centre.dtype)
            self.points.append(self._near(centre, _AWAY * noise))
            self.before.append(self._parts(self.points[-1]))

    def __call__(self, order: Order) -> bool:
        """Whether prior and likelihood are unchanged; the prior is tried first."""
        numbers = torch.tensor(order)
        turned = [self.renumbering(point, numbers) for point in self.points]
        with torch.no_grad():
            for point, (_, prior) in zip(turned, self.before):
                if not _are_equal(self.program.log_prior(point), prior):
                    return False
            return all(
                _are_equal(after, value)
                for point, before in zip(turned, self.before)
                for after, value in zip(self._parts(point), before)
            )

    def _parts(self, params: Params) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return self.program.log_parts(params)

    def _near(self, centre: Tensor, away: Tensor) -> Params:
        """A point with a finite density, in that direction."""
        for _ in range(_HALVINGS):
            params = self.program.coordinates.unpack(centre + away)
            try:
                if all(torch.isfinite(part) for part in self._parts(params)):
                    return params
            except ValueError:
                pass  # Far out a distribution may refuse its own parameters.
            away = away / 2
        return self.program.coordinates.unpack(centre)


def _are_equal(value: Tensor, other: Tensor) -> bool:
    """Whether two log densities are equal but for the rounding of their sums."""
    slack = torch.finfo(torch.result_type(value, other)).eps ** 0.6
    return bool((value - other).abs() <= slack * (1 + other.abs()))
