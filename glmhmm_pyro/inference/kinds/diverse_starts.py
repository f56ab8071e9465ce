"""Starts that differ in kind, since no single kind finds every optimum, and kicks.

Starts around one GLM miss states that differ by more than their noise; wide noise
misses optima whose states a stretch of the data shows at once; and states that all
tend to stay never become ones that alternate.

Kicks are starts made from where another one ended, with one state put elsewhere. EM is
caught where one state stands for two and two for one (Ueda, Nakano, Ghahramani & Hinton
2000, "SMEM algorithm for mixture models"): no small step leads out.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import combinations, islice

import numpy as np
import torch

from glmhmm_pyro.components.base import STATE_AXES
from glmhmm_pyro.inference.kinds.starts import StartMaker
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.symmetry import Order, possible_orders
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

# Powers of 2 that widen the noise of a start, and log-odds of staying in a state.
_WIDER = (0.0, 3.5)
_STAYING = (-3.0, 5.0)

# Noise on a start whose states the data tell apart already.
_LITTLE = 0.1

# Renumberings by which exchanges of states are told apart at most.
_MOST_ORDERS = 2000

# Longest stretch of one state in a start made from random segments, steps.
LONGEST = 500

# How often a start without a finite log-joint is moved halfway to one GLM.
_HALVINGS = 8


class DiverseStarts:
    """Starting values of several kinds in turn; the first is noise around one GLM.

    Args:
        maker: makes starting values for the model and its data.
        noise: standard deviation of the noise added to starts.
        rng: source of all further random choices.

    Attributes:
        steps: number of steps of all ranks.
        here: slice of the steps that this rank holds.
    """

    def __init__(self, maker: StartMaker, noise: float, rng: np.random.Generator):
        self.maker, self.noise, self.rng = maker, noise, rng
        own, ranks = maker.data.num_steps, maker.data.ranks
        self.steps, self.states = ranks.total(own), maker.model.num_states
        self.here = ranks.here(own)
        self.glm, self.zeros = maker.glm(), maker.zeros()
        # What every state sees of all steps, so that few steps do not run away.
        self.background = maker.data.num_features / self.steps

    @classmethod
    def of(
        cls, program: Program[GLMHMM, Sequences], noise: float, seed: int
    ) -> "DiverseStarts":
        """Those for a model with its data, which follow from a seed."""
        generator = torch.Generator().manual_seed(seed)
        choices = torch.Generator().manual_seed(seed)
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=choices)))
        return cls(StartMaker(program.model, program.data, generator), noise, rng)

    def make(self, number: int) -> Params:
        """Starting values of all sites for start ``number``."""
        kind = KINDS[kind_of(number)]
        return kind(self)

    def possible(self, params: Params, program: Program) -> Params:
        """Values, moved towards one GLM as long as the log-joint is not finite."""
        for _ in range(_HALVINGS):
            with torch.no_grad():
                if torch.isfinite(program.log_joint(params)):
                    break
            params = self.maker.between(params, self.glm)
        return params

    def near(self) -> Params:
        """A little noise around one GLM; transitions favour staying."""
        return self.maker.perturbed(self.glm, self.noise)

    def around(self, centre: Params) -> Params:
        """Wide noise around ``centre``, with random transitions."""
        wider = 2.0 ** self.rng.uniform(*_WIDER)
        noisy = self.maker.perturbed(centre, self.noise * wider, most=2 * self.noise)
        return noisy | self.moves()

    @cached_property
    def exchanges(self) -> list[Order]:
        """Exchanges of two states that no renumbering makes up for, each kind once.

        There are some on two levels whose emissions go by pair: states that are found
        may be put together to other slow states.
        """
        model = self.maker.model
        if model.levels is None or model.emissions.over != "both":
            return []
        group = possible_orders(model, self.states)
        known = torch.stack([*islice(group.orders(), _MOST_ORDERS)])
        found = {}
        for pair in combinations(range(self.states), 2):
            order = torch.arange(self.states)
            order[list(pair)] = order[list(pair[::-1])]
            found[min(map(tuple, order[known].tolist()))] = tuple(order.tolist())
        found.pop(min(map(tuple, known.tolist())), None)
        return list(found.values())

    def windows(self) -> Params:
        """Every state fitted to its own random window of steps."""
        counts = np.full((self.steps, self.states), self.background)
        length = self.length(self.steps / self.states / 2)
        for state in range(self.states):
            counts[self.window(length), state] += 1
        return self._fitted(counts)

    def segments(self) -> Params:
        """Every state fitted to segments of equal length, assigned at random."""
        length = self.length(min(self.steps / self.states, LONGEST))
        labels = self.rng.integers(0, self.states, self.steps // length + 1)
        labels = np.repeat(labels, length)[: self.steps]
        counts = np.eye(self.states)[labels] * 0.8 + 0.2 / self.states
        return self._fitted(counts)

    def length(self, longest: float) -> int:
        """A random number of steps up to ``longest``, log-uniform."""
        return int(np.exp(self.rng.uniform(0, np.log(max(2.0, longest)))))

    def window(self, length: int) -> slice:
        """A random window of ``length`` steps."""
        first = int(self.rng.integers(0, self.steps - length + 1))
        return slice(first, first + length)

    def moves(self) -> Params:
        """Transition parameters of a random chain, from sticky to alternating."""
        return self.maker.fitted_moves(torch.from_numpy(self._chain())[None])

    def _chain(self) -> np.ndarray:
        """Expected transition counts (states, states) of a random chain."""
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


KINDS: dict[str, Callable[[DiverseStarts], Params]] = {
    "glm": DiverseStarts.near,
    "wide glm": lambda starts: starts.around(starts.glm),
    "windows": DiverseStarts.windows,
    "wide zeros": lambda starts: starts.around(starts.zeros),
    "segments": DiverseStarts.segments,
}


def kind_of(number: int) -> str:
    """Name of the kind of start ``number``."""
    return list(KINDS)[number % len(KINDS)]


# Least expected count of a state at a step, so that none is lost for ever.
_LEAST = 1e-3

# Powers of 2 of the noise on a kick, on one that looks for nearby optima, and on a
# state made anew.
_NOISE = (-3.0, 0.0)
_SMALL = (-3.0, -1.0)
_WIDE = (0.0, 3.0)

# Kicks in turn, for two states and for more.
_OF_TWO = ("anew", "smooth", "window", "split")
_OF_MORE = ("split", "smooth", "split", "anew", "smooth", "split", "window")


class Kicks:
    """Perturbed starts from the end of a run.

    Args:
        starts: makes starts for the model and its data.
        params: values of the sites at the end of the run.
        probs: posterior of the states there, all ranks, (steps, states).
    """

    def __init__(self, starts: DiverseStarts, params: Params, probs: np.ndarray):
        self.starts, self.params, self.probs = starts, params, probs
        self.maker, self.rng = starts.maker, starts.rng

    def shrunk(self) -> Iterator[tuple[str, Params]]:
        """Move every state in turn halfway to the one GLM, out of saturation."""
        for state in range(self.starts.states):
            halfway = self.maker.between(self.params, self.starts.glm)
            yield "shrink", self.with_state(halfway, state)

    def exchanged(self, number: int) -> Iterator[tuple[str, Params]]:
        """Refit to the posteriors of states that change places, ``number`` at most."""
        orders = self.starts.exchanges
        for i in self.rng.permutation(len(orders))[:number]:
            yield "exchange", self._fitted(self.probs[:, orders[i]])

    def made(self, number: int) -> Iterator[tuple[str, Params]]:
        """``number`` random kicks, each with its name."""
        names = _OF_TWO if self.starts.states == 2 else _OF_MORE
        for i in range(number):
            name = names[i % len(names)]
            yield name, getattr(self, name)()

    def shaken(self, number: int) -> Iterator[tuple[str, Params]]:
        """``number`` starts with a little noise on all values, for nearby optima."""
        for _ in range(number):
            noise = float(2.0 ** self.rng.uniform(*_SMALL))
            yield "shake", self.maker.perturbed(self.params, noise)

    def split(self) -> Params:
        """Merge one state into another, and split a third in its place."""
        rng, probs = self.rng, self.probs.copy()
        moved, kept, divided = self._three()
        probs[:, kept] += probs[:, moved]
        length = self.starts.length(len(probs) / 10)
        part = np.repeat(rng.uniform(size=len(probs) // length + 1) < 0.5, length)
        part = part[: len(probs)]
        probs[:, moved] = probs[:, divided] * part
        probs[:, divided] *= ~part
        noise = float(2.0 ** rng.uniform(*_NOISE))
        return self.maker.perturbed(self._fitted(probs), noise)

    def smooth(self) -> Params:
        """Refit to posteriors smoothed over time, which removes brief states.

        With many covariates EM becomes certain of every step early, and stays so.
        """
        states = self.starts.states
        reach = self.starts.length(min(len(self.probs) / states / 2, LONGEST))
        width = 2 * reach + 1
        sums = np.pad(self.probs.cumsum(0), ((reach + 1, reach), (0, 0)), "edge")
        sums[: reach + 1] = 0.0
        return self._fitted((sums[width:] - sums[:-width]) / width)

    def window(self) -> Params:
        """Refit one state to a random window; the others share its former steps."""
        starts, state = self.starts, int(self.rng.integers(self.starts.states))
        probs = self.probs.copy()
        probs[:, state] = 1e-9
        probs /= probs.sum(1, keepdims=True)
        probs[:, state] = starts.background
        probs[starts.window(starts.length(len(probs) / starts.states / 2)), state] += 1
        fitted = self._fitted(probs)
        return fitted | starts.moves() if self.rng.uniform() < 0.5 else fitted

    def anew(self) -> Params:
        """Redraw one state with wide noise around the one GLM or its own values."""
        starts, state = self.starts, int(self.rng.integers(self.starts.states))
        centre = starts.glm if self.rng.uniform() < 0.5 else self.params
        noise = starts.noise * float(2.0 ** self.rng.uniform(*_WIDE))
        kicked = self.with_state(self.maker.perturbed(centre, noise), state)
        return kicked | starts.moves() if self.rng.uniform() < 0.5 else kicked

    def with_state(self, others: Params, state: int) -> Params:
        """The values at the end, with one state's emissions taken from ``others``."""
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
        """A state to move, the one it is merged into, and the one to be split."""
        states = self.starts.states
        moved = int(self.rng.integers(states))
        others = [state for state in range(states) if state != moved]
        kept, divided = self.rng.choice(others, 2)
        return moved, int(kept), int(divided)

    def _fitted(self, probs: np.ndarray) -> Params:
        """Emissions and transitions fitted to these state probabilities."""
        maker, states = self.maker, self.starts.states
        probs = np.maximum(probs[self.starts.here], _LEAST / states)
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
