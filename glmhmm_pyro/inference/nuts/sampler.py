"""What a sampler of one chain is told, and what it gives.

There are two: one on plain vectors, for densities whose slope comes with their value
(``vector_sampler.py``), and Pyro's, for models of a user's own (``pyro_sampler.py``).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor

# Numbers that are noted of every draw.
STATS = (
    "potential",
    "energy",
    "accept_prob",
    "step_size",
    "num_leapfrogs",
    "diverging",
)


@dataclass(frozen=True)
class Settings:
    """What a chain has to know of the sampler; see ``NUTS``."""

    num_samples: int
    num_warmup: int
    target_accept: float
    max_tree_depth: int
    dense_mass: bool

    @property
    def num_iterations(self) -> int:
        """Draws of one chain, those of the warm-up included."""
        return self.num_warmup + self.num_samples


class Draw(NamedTuple):
    """A draw, and what is noted of it.

    Attributes:
        vector: in the coordinates of the potential, shape (size,).
        stats: numbers in the order of ``STATS``.
    """

    vector: Tensor
    stats: tuple[float, float, float, float, int, bool]


class Sampler(Protocol):
    """Draws of one chain, one after another."""

    @property
    def iteration(self) -> int:
        """Number of draws so far, those of the warm-up included."""

    def draw(self) -> Draw:
        """The next draw."""

    def state(self) -> dict[str, Any]:
        """All that further draws follow from, in plain containers."""

    def restore(self, state: dict[str, Any]) -> None:
        """Bring a new sampler of the same chain to where another one was."""
