"""The states of a model on two levels: pairs of a slow and a fast one, numbered."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from glmhmm_pyro.arguments import suggests_names, whole_number


@suggests_names
@dataclass(frozen=True)
class Levels:
    """Numbers of slow and of fast states, in the place of ``num_states``.

    The states of the model are pairs: state ``s * fast + f`` is slow state s with fast
    state f.

    Args:
        slow: number of slow states, at least 2.
        fast: number of fast states, at least 2.

    Example:
        >>> from glmhmm_pyro.components import Levels
        >>> levels = Levels(slow=2, fast=3)
        >>> levels.size, levels.index(1, 0), levels.names
        (6, 3, ('0.0', '0.1', '0.2', '1.0', '1.1', '1.2'))
        >>> levels.marginal(torch.full((6,), 1 / 6), "slow")
        tensor([0.5000, 0.5000])
    """

    slow: int
    fast: int

    def __post_init__(self) -> None:
        for name in ("slow", "fast"):
            number = whole_number(name, getattr(self, name), 1)
            if number == 1:
                other = self.fast if name == "slow" else self.slow
                raise ValueError(
                    f"{name} must be at least 2, got 1: a level of one state is none; "
                    f"write GLMHMM({other}, ...) for one level"
                )
            object.__setattr__(self, name, number)

    def __str__(self) -> str:
        return f"{self.slow} x {self.fast}"

    @property
    def size(self) -> int:
        """Number of pairs."""
        return self.slow * self.fast

    @property
    def names(self) -> tuple[str, ...]:
        """Numbers of both states of every pair, 'slow.fast'."""
        return tuple(f"{s}.{z}" for s in range(self.slow) for z in range(self.fast))

    def index(self, slow: int, fast: int) -> int:
        """Number of a pair."""
        return slow * self.fast + fast

    def marginal(self, probs: Tensor, level: str) -> Tensor:
        """Sums over the other level of what is given by pair, along the last axis.

        Args:
            probs: shape (..., pairs).
            level: ``"slow"`` or ``"fast"``.
        """
        pairs = probs.unflatten(-1, (self.slow, self.fast))
        return pairs.sum(-1 if level == "slow" else -2)

    def of(self, states: Tensor, level: str) -> Tensor:
        """Slow or fast states of pairs given by their numbers, of the same shape."""
        return states // self.fast if level == "slow" else states % self.fast

    def orders(self) -> Iterator[Tensor]:
        """Every renumbering of pairs that renumbers levels, the one of nothing first.

        Fast states have the same numbers in all slow ones: where they move from while
        the slow state changes is counted in both.
        """
        for slow in itertools.permutations(range(self.slow)):
            for fast in itertools.permutations(range(self.fast)):
                yield torch.tensor([self.index(s, z) for s in slow for z in fast])

    def parts(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """Orders of the slow states (slow,) and of the fast ones (fast,).

        Args:
            order: of the pairs, shape (pairs,).

        Raises:
            ValueError: it takes a slow state apart, or numbers fast ones otherwise in
                one than in another.
        """
        slow, fast = self.parts_by_slow(order)
        if (fast != fast[:1]).any():
            raise ValueError(
                "order must renumber fast states alike in all slow ones, between which "
                f"they move, got {order.tolist()}; renumber them alike"
            )
        return slow, fast[0]

    def parts_by_slow(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """Orders of the slow states, and of the fast ones in each of them (slow, fast).

        Args:
            order: of the pairs, shape (pairs,).

        Raises:
            ValueError: it takes a slow state apart.
        """
        pairs = order.reshape(self.slow, self.fast)
        slow, fast = self.of(pairs, "slow"), self.of(pairs, "fast")
        if (slow != slow[:, :1]).any():
            raise ValueError(
                f"order must keep the pairs of every slow state together, state s * "
                f"{self.fast} + z being slow state s with fast state z, got "
                f"{order.tolist()}; renumber slow states, and fast ones within them"
            )
        return slow[:, 0], fast
