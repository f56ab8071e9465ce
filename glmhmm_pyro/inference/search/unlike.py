"""Starts that differ in kind, since no single kind finds every optimum, and kicks.

Starts around one GLM miss states that differ by more than their noise; wide noise
misses optima whose states a stretch of the data shows at once; and states that all
tend to stay never become ones that alternate.

Kicks are starts made from where another one ended, with one state put elsewhere. EM is
caught where one state stands for two and two for one (Ueda, Nakano, Ghahramani & Hinton
2000, "SMEM algorithm for mixture models"): no small step leads out.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from glmhmm_pyro.components.base import STATE_AXES
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

    Attributes:
        steps: number of steps of all ranks.
        here: where those of this rank stand among them.
    """

    def __init__(self, maker: StartMaker, noise: float, rng: np.random.Generator):
        self.maker, self.noise, self.rng = maker, noise, rng
        own, ranks = maker.data.num_steps, maker.data.ranks
        self.steps, self.states = ranks.total(own), maker.model.num_states
        self.here = ranks.here(own)
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
        own = torch.from_numpy(counts[self.here])
        fitted = self.zeros | self.maker.fitted_emissions(own)
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


# Least expected count of a state at a step, so that none is lost for ever.
_LEAST = 1e-3

# Powers of 2 of the noise on a kick.
_NOISE = (-3.0, 0.0)
_WIDE = (0.0, 3.0)

# Kicks in turn, for two states and for more.
_OF_TWO = ("anew", "smooth", "window", "split")
_OF_MORE = ("split", "smooth", "split", "anew", "smooth", "split", "window")


class Kicks:
    """Makes kicks out of one end.

    Args:
        unlike: of the model and its data.
        params: values of the sites at the end.
        probs: of the states there (steps, states), of all ranks.
    """

    def __init__(self, unlike: Unlike, params: Params, probs: np.ndarray):
        self.unlike, self.params, self.probs = unlike, params, probs
        self.maker, self.rng = unlike.maker, unlike.rng

    def shrunk(self) -> Iterator[tuple[str, Params]]:
        """Every state in turn moved halfway to the one GLM: out of saturation."""
        for state in range(self.unlike.states):
            halfway = self.maker.between(self.params, self.unlike.glm)
            yield "shrink", self.with_state(halfway, state)

    def made(self, number: int) -> Iterator[tuple[str, Params]]:
        """That many random kicks."""
        names = _OF_TWO if self.unlike.states == 2 else _OF_MORE
        for i in range(number):
            name = names[i % len(names)]
            yield name, getattr(self, name)()

    def shaken(self, number: int) -> Iterator[tuple[str, Params]]:
        """That many times a little noise on all values: to the optima next to this."""
        for _ in range(number):
            noise = float(2.0 ** self.rng.uniform(*_NOISE))
            yield "shake", self.maker.perturbed(self.params, noise)

    def split(self) -> Params:
        """One state joined to another, its place taken by a part of a third."""
        rng, probs = self.rng, self.probs.copy()
        moved, kept, divided = self._three()
        probs[:, kept] += probs[:, moved]
        length = self.unlike.length(len(probs) / 10)
        part = np.repeat(rng.uniform(size=len(probs) // length + 1) < 0.5, length)
        part = part[: len(probs)]
        probs[:, moved] = probs[:, divided] * part
        probs[:, divided] *= ~part
        noise = float(2.0 ** rng.uniform(*_NOISE))
        return self.maker.perturbed(self._fitted(probs), noise)

    def smooth(self) -> Params:
        """States taken from the steps around every step: brief ones are forgotten.

        Where covariates are many EM is sure of every step early, and keeps to it.
        """
        states = self.unlike.states
        reach = self.unlike.length(min(len(self.probs) / states / 2, LONGEST))
        width = 2 * reach + 1
        sums = np.pad(self.probs.cumsum(0), ((reach + 1, reach), (0, 0)), "edge")
        sums[: reach + 1] = 0.0
        return self._fitted((sums[width:] - sums[:-width]) / width)

    def window(self) -> Params:
        """One state fitted to a window, its steps left to the others."""
        unlike, state = self.unlike, int(self.rng.integers(self.unlike.states))
        probs = self.probs.copy()
        probs[:, state] = 1e-9
        probs /= probs.sum(1, keepdims=True)
        probs[:, state] = unlike.background
        probs[unlike.window(unlike.length(len(probs) / unlike.states / 2)), state] += 1
        fitted = self._fitted(probs)
        return fitted | unlike.moves() if self.rng.uniform() < 0.5 else fitted

    def anew(self) -> Params:
        """One state far from the one GLM, or from where it was."""
        unlike, state = self.unlike, int(self.rng.integers(self.unlike.states))
        centre = unlike.glm if self.rng.uniform() < 0.5 else self.params
        noise = unlike.noise * float(2.0 ** self.rng.uniform(*_WIDE))
        kicked = self.with_state(self.maker.perturbed(centre, noise), state)
        return kicked | unlike.moves() if self.rng.uniform() < 0.5 else kicked

    def with_state(self, others: Params, state: int) -> Params:
        """The end, with the emissions of one state taken from other values."""
        kicked = dict(self.params)
        for name, value in self.params.items():
            prefix, component = self.maker.model.component_of(name)
            site = component.sites.get(name.removeprefix(f"{prefix}."))
            if prefix not in self.maker.emissions or site is None:
                continue
            for axis, called in enumerate(site.axes):
                if called in STATE_AXES:
                    kicked[name] = value.clone()
                    known = component.own_states
                    own = state if known is None else known.state(state)
                    source = others[name].select(axis, own)
                    kicked[name].select(axis, own).copy_(source)
        return kicked

    def _three(self) -> tuple[int, int, int]:
        """A state, another one to take it in, and one of the others to be divided."""
        states = self.unlike.states
        moved = int(self.rng.integers(states))
        others = [state for state in range(states) if state != moved]
        kept, divided = self.rng.choice(others, 2)
        return moved, int(kept), int(divided)

    def _fitted(self, probs: np.ndarray) -> Params:
        """Emissions and transitions fitted to states of these probabilities."""
        maker, states = self.maker, self.unlike.states
        probs = np.maximum(probs[self.unlike.here], _LEAST / states)
        emissions = maker.fitted_emissions(torch.from_numpy(probs))
        even = probs / probs.sum(1, keepdims=True)
        pairs = np.zeros((len(probs), states, states))
        pairs[1:] = even[:-1, :, None] * even[1:, None, :]
        firsts = maker.model.transitions.first_steps(maker.data)
        pairs[firsts.cpu().numpy()] = 0.0
        staying = np.full((states, states), 0.1 / states) + 0.9 * np.eye(states)
        share = self.rng.uniform()
        pairs = (1 - share) * pairs + share * staying / states
        return self.params | emissions | maker.fitted_moves(torch.from_numpy(pairs))
