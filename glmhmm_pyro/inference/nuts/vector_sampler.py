"""The No-U-Turn sampler on plain vectors: trajectories, and what the warm-up learns."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.chain.compiled import Array
from glmhmm_pyro.inference.nuts.potential import Potential, StretchedPotential
from glmhmm_pyro.inference.nuts.sampler import Draw, Settings
from glmhmm_pyro.inference.nuts.trajectories import (
    Chance,
    Point,
    Tree,
    build_tree,
    half_step,
    join_trees,
    leapfrog_end,
)
from glmhmm_pyro.inference.nuts.warmup import StepLength, scale_estimate, window_ends

# Acceptance of a first step that is neither too short nor too long, and what its length
# is multiplied by at most.
_FIRST, _DOUBLINGS = 0.8, 33


class VectorSampler:
    """Draws of a chain.

    Args:
        settings: of all chains.
        potential: what is sampled; it is called with vectors alone.
        start: where the chain begins, shape (size,).

    Randomness is that of torch's generator.
    """

    def __init__(self, settings: Settings, potential: Potential, start: Tensor):
        self.settings, self.potential = settings, potential
        self._stretched: StretchedPotential
        self._point: Point
        self.ends = window_ends(settings.num_warmup)
        self.iteration, self.window = 0, torch.zeros(0, len(start), dtype=start.dtype)
        self.steps = StepLength(1.0, settings.target_accept)
        self._go_on(*potential.stretched(torch.ones_like(start), start))
        self._begin_steps()

    def draw(self) -> Draw:
        """The next draw; during the warm-up the sampler learns from it."""
        energy, tree = self._stretched.at, Tree.at(self._begun())
        with np.errstate(all="ignore"):
            for depth in range(self.settings.max_tree_depth):
                chance = _chances(2**depth + 1)
                step = self.steps.length if chance() < 0.5 else -self.steps.length
                more = build_tree(tree, depth, step, energy, chance)
                log_odds = more.log_weight - tree.log_weight
                tree = join_trees(tree, more, step, log_odds, chance)
                if tree.has_ended:
                    break
        self._point = tree.proposal
        vector = self._stretched.vector(tree.proposal.position)
        accepted = tree.accepted / tree.num_steps
        self.iteration += 1
        if self.iteration <= self.settings.num_warmup:
            self._learn(vector, accepted)
            if self.iteration in self.ends[1:]:
                self._go_on(*self._rescaled(vector))
                self._begin_steps()
        stats = (accepted, self.steps.length, tree.num_steps, tree.has_diverged)
        return Draw(vector, (tree.proposal.potential, tree.proposal.energy, *stats))

    def state(self) -> dict[str, Any]:
        """All that further draws follow from."""
        return {
            "iteration": self.iteration,
            "position": torch.from_numpy(self._point.position.copy()),
            "scale": self._stretched.scale,
            "steps": self.steps.state(),
            "window": self.window,
            "random": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Bring this sampler to where another one was."""
        self.iteration, self.window = state["iteration"], state["window"]
        self.steps = StepLength(**state["steps"])
        stretched = StretchedPotential(self.potential, state["scale"])
        self._go_on(stretched, state["position"].numpy().copy())
        torch.set_rng_state(state["random"])

    def _learn(self, vector: Tensor, accepted: float) -> None:
        """What a draw of the warm-up says of steps and widths."""
        self.steps.learn(accepted)
        if self.iteration == self.settings.num_warmup:
            self.steps.end()
        if self.ends and self.ends[0] < self.iteration <= self.ends[-1]:
            self.window = torch.cat([self.window, vector[None]])

    def _rescaled(self, vector: Tensor) -> tuple[StretchedPotential, Array]:
        """Coordinates in which a window's draws spread by 1, and a vector in them."""
        scale = scale_estimate(self.window, self.settings.dense_mass)
        self.window = self.window[:0]
        return self.potential.stretched(scale, vector)

    def _go_on(self, stretched: StretchedPotential, position: Array) -> None:
        """Go on in these coordinates, from a position in them."""
        self._stretched = stretched
        with np.errstate(all="ignore"):
            found = stretched.at(position)
        self._point = Point.at(position, np.zeros_like(position), *found)

    def _begun(self) -> Point:
        """The last draw, with a fresh momentum."""
        last = self._point
        drawn = torch.randn(last.position.shape, dtype=torch.float64).numpy()
        return Point.at(last.position, drawn, last.potential, last.slope)

    def _begin_steps(self) -> None:
        """Double or halve the step until a first one is neither short nor long."""
        length, factor = self.steps.length, 0.0
        for _ in range(_DOUBLINGS):
            start = self._begun()
            with np.errstate(all="ignore"):
                half, position = half_step(start, length)
                found = self._stretched.at(position)
                end = leapfrog_end(half, position, length, *found)
            is_short = Tree.at(start).beside(end).accepted > _FIRST
            if factor and is_short != (factor > 1):
                break
            factor = 2.0 if is_short else 0.5
            length *= factor
        self.steps.begin(length)


def _chances(number: int) -> Chance:
    """A source of so many numbers, drawn at once."""
    return iter(torch.rand(number, dtype=torch.float64).tolist()).__next__
