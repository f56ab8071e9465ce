"""Where chains begin: around the distinct modes of the posterior that are found.

They are those that the search has led to, and those near the priors' centre.

Chains that all begin around one mode agree with each other whatever they miss. Every
mode of comparable mass gets chains, which see the density from there, whitened by its
own curvature. Copies of a mode under renumberings that keep the prior are one mode.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from glmhmm_pyro.inference.draws.alignment import (
    best_orders,
    renumber_draws,
    state_probs,
)
from glmhmm_pyro.inference.nuts.potential import Potential
from glmhmm_pyro.inference.nuts.prior_ends import is_maximum, prior_ends
from glmhmm_pyro.inference.nuts.whitening import AnyWhitening, Whitening, whitened
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.program.renumbering import Renumbering
from glmhmm_pyro.inference.program.symmetry import Symmetry, symmetry_of
from glmhmm_pyro.inference.search.runs import Findings
from glmhmm_pyro.inference.search.search import Search
from glmhmm_pyro.inference.status import Status

_log = logging.getLogger(__name__)

UNIT_SCALE = (
    "coordinates are not whitened, for the log density has no mode with a curvature "
    "to go by; chains began at the starts of the search"
)

# How a run ends that found no mode.
_NO_MODE = (
    Status.UNBOUNDED,
    Status.COLLAPSED,
    Status.NON_FINITE,
    Status.PRUNED,
    Status.INTERRUPTED,
)

# Nats below the best log-joint from which an end of the search is not looked at.
_NEAR = 20.0

# Nats of posterior mass, by Laplace's approximation, that a mode may have less than the
# largest: one in a hundred. A smaller one would be told of by too many draws.
_LEAST = 4.6

# Distance, in standard deviations of a mode, of what counts as the same mode.
_SAME = 1.0

# Halvings of a chain's distance from the mode until its density is finite.
_HALVINGS = 20


class Mode(NamedTuple):
    """A mode of the density of the unconstrained vector.

    Attributes:
        params: values of the sites there.
        whitening: the coordinates in which it is round.
        log_mass: of the posterior, by Laplace's approximation, up to a constant.
        log_joint: as the user wrote the densities, nats.
    """

    params: Params
    whitening: AnyWhitening
    log_mass: float
    log_joint: float


class Begun(NamedTuple):
    """What chains sample, and where they begin.

    Attributes:
        potentials: one a chain.
        points: in the coordinates of the chain's own potential (chains, size).
        modes: around which chains begin; none where coordinates are not whitened.
    """

    potentials: list[Potential]
    points: Tensor
    modes: list[Mode]

    @property
    def is_whitened(self) -> bool:
        """Whether chains see a mode as round."""
        return bool(self.modes)


def chain_starts(
    program: Program,
    found: Findings,
    search: Search,
    num_chains: int,
    renumbering: Renumbering,
    generator: torch.Generator,
) -> Begun:
    """Coordinates, and a point of them for every chain.

    Args:
        program: the model with its data.
        found: the fit at the best mode, with the other solutions of the search.
        search: what the modes were found by.
        num_chains: number of chains; the modes take them in turn.
        renumbering: how parameters follow the numbers of states.
        generator: source of all randomness.
    """
    # A single start that is given says where to draw.
    chosen = isinstance(search.init, Mapping) and search.num_restarts == 1
    ends = [] if chosen else prior_ends(program, found.params, search.seed)
    modes = modes_of(program, found, renumbering, max(num_chains, 2), ends)
    shape = (num_chains, program.coordinates.size)
    if modes:
        points = torch.randn(shape, generator=generator, dtype=torch.float64)
        used = modes[:num_chains]
        potentials = [
            Potential(program, used[number % len(used)].whitening)
            for number in range(num_chains)
        ]
        pairs = zip(potentials, points)
        points = torch.stack(
            [_towards_mode(potential, point) for potential, point in pairs]
        )
        return Begun(potentials, points, modes)
    _log.info("%s", UNIT_SCALE)
    starts = replace(search, num_restarts=num_chains).starts(program)
    points = torch.stack([program.coordinates.pack(start) for start in starts])
    potentials = [Potential(program, Whitening.none(shape[-1]))] * num_chains
    return Begun(potentials, points, [])


def modes_of(
    program: Program,
    found: Findings,
    renumbering: Renumbering,
    most: int,
    ends: Sequence[Params] = (),
) -> list[Mode]:
    """The distinct modes of comparable mass, the most massive first.

    None, where the density at the best has no mode, or no curvature to go by. The best
    of the search is always one of them: Laplace's approximation says little of how
    much mass the tails hold of a mode elsewhere.

    Args:
        program: the model with its data.
        found: the fit at the best mode, with the other solutions of the search.
        renumbering: how parameters follow the numbers of states.
        most: number of modes of the search that are looked at.
        ends: of climbs that the search did not make, which may be saddles.
    """
    best = _mode_near(program, found.params)
    if best is None:
        return []
    modes = [best]
    others = [
        solution.params
        for solution in found.solutions[1:]
        if solution.status not in _NO_MODE
        and found.log_joint - solution.log_joint < _NEAR
    ]
    symmetry = _symmetry(program, found.params, renumbering)

    def is_new(params: Params) -> bool:
        away = (_distance(program, params, m, renumbering, symmetry) for m in modes)
        return all(distance > _SAME for distance in away)

    for params in others:
        mode = _mode_near(program, params) if len(modes) < most else None
        if mode is not None and is_new(mode.params):
            modes.append(mode)
    for params in filter(is_new, ends):
        mode = _mode_near(program, params)
        if mode is not None and is_new(mode.params):
            if is_maximum(program, mode.whitening.centre):
                modes.append(mode)
    least = max(mode.log_mass for mode in modes) - _LEAST
    modes.sort(key=lambda mode: -mode.log_mass)
    return [mode for mode in modes if mode is best or mode.log_mass > least]


def _mode_near(program: Program, params: Params) -> Mode | None:
    whitening = whitened(program, params)
    if whitening is None:
        return None
    with torch.no_grad():
        density = program.log_density(whitening.centre, jacobian=True)
        there = program.coordinates.unpack(whitening.centre)
        joint = float(program.log_joint(there))
    return Mode(there, whitening, float(density) + whitening.log_volume, joint)


def _symmetry(program: Program, params: Params, renumbering: Renumbering) -> Symmetry:
    """Renumberings that keep the density; none where sites differ in their states."""
    sites = program.observed(params).values()
    sizes = {site.hidden.num_states for site in sites}
    if len(sizes) > 1:
        return Symmetry.none(1)
    return symmetry_of(program, params, renumbering, sizes.pop())


def _distance(
    program: Program,
    params: Params,
    other: Mode,
    renumbering: Renumbering,
    symmetry: Symmetry,
) -> float:
    """Distance of values from a mode, in the mode's standard deviations."""
    one_draw = {name: value[None, None] for name, value in params.items()}
    return float(
        _in_mode_coordinates(program, other, one_draw, renumbering, symmetry).norm()
    )


def _in_mode_coordinates(
    program: Program,
    mode: Mode,
    draws: Params,
    renumbering: Renumbering,
    symmetry: Symmetry,
) -> Tensor:
    """Draws in whitened coordinates of a mode, renumbered to match it if allowed."""
    if symmetry.size > 1:
        reference = state_probs(program.model, program.data, mode.params)
        arguments = (program.model, program.data, draws, reference, symmetry)
        draws = renumber_draws(draws, best_orders(*arguments)[0], renumbering)
    return mode.whitening.inverse(program.coordinates.pack(draws))


def _towards_mode(potential: Potential, point: Tensor) -> Tensor:
    """The point, moved towards the mode until its density is finite."""
    with torch.no_grad():
        for _ in range(_HALVINGS):
            if math.isfinite(potential.evaluated(point)[0]):
                break
            point = point / 2
    return point


def modes_visited(
    program: Program, modes: Sequence[Mode], draws: Params, renumbering: Renumbering
) -> Tensor:
    """Number of the mode that every draw belongs to, shape (chains, draws).

    It is the one under whose normal approximation the draw is most probable.
    """
    symmetry = _symmetry(program, modes[0].params, renumbering)
    densities = []
    for mode in modes:
        away = _in_mode_coordinates(program, mode, draws, renumbering, symmetry)
        volume = mode.whitening.log_volume + mode.whitening.growth(away)
        densities.append(-away.square().sum(-1) / 2 - volume)
    return torch.stack(densities).argmax(0)


def separate_modes_warning(
    modes: Sequence[Mode], where: Tensor, numbers: Sequence[int]
) -> str | None:
    """A sentence about chains of which two never met in a mode, if there are any.

    Args:
        modes: all modes.
        where: number of every draw's mode (chains, draws).
        numbers: of the chains.
    """
    seen = [set(chain.tolist()) for chain in where]
    if not any(one.isdisjoint(other) for one in seen for other in seen):
        return None
    homes: dict[int, list[int]] = {}
    for number, chain in zip(numbers, where):
        homes.setdefault(int(chain.mode().values), []).append(number)
    listed = "; ".join(
        f"log-joint {modes[home].log_joint:.2f}: chains {', '.join(map(str, chains))}"
        for home, chains in sorted(homes.items())
    )
    return (
        f"chains stayed in different modes ({listed}): the share of each mode in the "
        "draws is that of its chains, which is arbitrary and no posterior mass; "
        "posterior.stats['mode'] tells them apart, and init at the values of one, such "
        "as fit.solutions[i].params, with num_restarts=1 draws from it alone"
    )
