"""Starts that differ in kind, since no single kind finds every optimum.

Starts around one GLM miss states that differ by more than their noise; wide noise
misses optima whose states a stretch of the data shows at once; and states that all
tend to stay never become ones that alternate.
"""

from collections.abc import Callable

import numpy as np
import torch

from glmhmm_pyro.inference.kinds.starts import StartMaker
from glmhmm_pyro.inference.program.coordinates import Params

# Powers of 2 that widen the noise of a start, and log-odds of staying in a state.
_WIDER = (0.0, 3.5)
_STAYING = (-3.0, 5.0)

# Noise on a start whose states the data tell apart already.
_LITTLE = 0.1

# Longest stretch of one state in a start made from random segments, steps.
LONGEST = 500


class Unlike:
    """Makes starts of several kinds in turn; the first is noise around one GLM.

    Args:
        maker: of the model and its data.
        noise: standard deviation of the noise that tells starts apart.
        rng: source of all further choices.
    """

    def __init__(self, maker: StartMaker, noise: float, rng: np.random.Generator):
        self.maker, self.noise, self.rng = maker, noise, rng
        self.steps, self.states = maker.data.num_steps, maker.model.num_states
        self.glm, self.zeros = maker.glm(), maker.zeros()
        # What every state sees of all steps, so that few steps do not run away.
        self.background = maker.data.num_features / self.steps

    def make(self, number: int) -> Params:
        """The start of this number."""
        kind = KINDS[kind_of(number)]
        return kind(self)

    def near(self) -> Params:
        """A little noise around one GLM, in states that stay."""
        return self.maker.perturbed(self.glm, self.noise)

    def around(self, centre: Params) -> Params:
        """Wide noise around some values."""
        wider = 2.0 ** self.rng.uniform(*_WIDER)
        noisy = self.maker.perturbed(centre, self.noise * wider, most=2 * self.noise)
        return noisy | self.moves()

    def windows(self) -> Params:
        """Every state fitted to a window of its own."""
        counts = np.full((self.steps, self.states), self.background)
        length = self.length(self.steps / self.states / 2)
        for state in range(self.states):
            counts[self.window(length), state] += 1
        return self._fitted(counts)

    def segments(self) -> Params:
        """Every state fitted to segments that random borders make."""
        length = self.length(min(self.steps / self.states, LONGEST))
        labels = self.rng.integers(0, self.states, self.steps // length + 1)
        labels = np.repeat(labels, length)[: self.steps]
        counts = np.eye(self.states)[labels] * 0.8 + 0.2 / self.states
        return self._fitted(counts)

    def length(self, longest: float) -> int:
        """A number of steps, all orders of magnitude alike."""
        return int(np.exp(self.rng.uniform(0, np.log(max(2.0, longest)))))

    def window(self, length: int) -> slice:
        """That many steps, anywhere."""
        first = int(self.rng.integers(0, self.steps - length + 1))
        return slice(first, first + length)

    def moves(self) -> Params:
        """Transitions of a random chain, that may stay for long or never."""
        return self.maker.fitted_moves(torch.from_numpy(self._chain())[None])

    def _chain(self) -> np.ndarray:
        """Expected moves (states, states) of a random chain."""
        rng, states = self.rng, self.states
        alone = states if rng.uniform() < 0.5 else 1
        staying = 1 / (1 + np.exp(-rng.uniform(*_STAYING, (alone, 1))))
        others = rng.dirichlet(np.ones(states), states) * (1 - np.eye(states))
        others /= np.maximum(others.sum(1, keepdims=True), 1e-12)
        chain = np.maximum((1 - staying) * others + staying * np.eye(states), 1e-4)
        return chain / chain.sum(1, keepdims=True) * self.steps / states

    def _fitted(self, counts: np.ndarray) -> Params:
        fitted = self.zeros | self.maker.fitted_emissions(torch.from_numpy(counts))
        return self.maker.perturbed(fitted, _LITTLE) | self.moves()


KINDS: dict[str, Callable[[Unlike], Params]] = {
    "glm": Unlike.near,
    "wide glm": lambda unlike: unlike.around(unlike.glm),
    "windows": Unlike.windows,
    "wide zeros": lambda unlike: unlike.around(unlike.zeros),
    "segments": Unlike.segments,
}


def kind_of(number: int) -> str:
    """How the start of this number is made."""
    return list(KINDS)[number % len(KINDS)]
