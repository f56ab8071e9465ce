"""Starting parameters of EM: a GLM plus noise, k-means, random, or given weights.

Every start is made the same way: expected counts that say what the states might be, an
M-step from them, and noise on the result so that states and restarts differ.
"""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.components.limits import bounds_of
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.steps.blocks import as_taken, log_probs_and_sites
from glmhmm_pyro.inference.steps.m_step import MStep
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.optim import LBFGSOptions
from glmhmm_pyro.priors.partly import of_free
from glmhmm_pyro.ranks import ALONE
from glmhmm_pyro.sequences import Sequences

INITS = ("glm", "kmeans", "random")

# Probability of staying in a state before anything has been learnt.
STAYING = 0.95

# How many times longer a slow state lasts then than a fast one.
SLOWER = 10.0

# Of a step's count, the part that k-means gives to its cluster; the rest is shared.
CLUSTER_SHARE = 0.8

# Where a value at the end of its support stands, in unconstrained numbers.
_FARTHEST = 20.0

# A start need not be a maximum, and must not run away where the data are separable.
_ROUGHLY = LBFGSOptions(max_iters=20, gradient_tol=1e-4)


def make_starts(
    model: GLMHMM,
    data: Sequences,
    num_starts: int,
    init: str | Mapping[str, Any] = "glm",
    noise: float = 0.5,
    generator: torch.Generator | None = None,
) -> list[Params]:
    """Starting values of all sites, for every start.

    Args:
        model: bound to the data.
        num_starts: how many.
        init: ``"glm"``, the weights of one GLM for all steps plus noise; ``"kmeans"``,
            GLMs fitted to clusters of pairs of covariates and behaviour; ``"random"``,
            noise around 0; or a mapping from site names to values. Given values are the
            first start as they stand, and further ones add noise.
        noise: standard deviation of the noise on a weight, in units of 1 over the root
            mean square of its covariate.
        generator: source of all randomness.
    """
    if isinstance(init, str) and init not in INITS:
        raise ValueError(
            f"init must be one of {', '.join(INITS)}, or a mapping from site names to "
            f"values, got {init!r}; give one of these"
        )
    maker = StartMaker(model, data, generator)
    if isinstance(init, Mapping):
        first = maker.given(init)
        return [first] + [maker.perturbed(first, noise) for _ in range(num_starts - 1)]
    if init == "kmeans":
        return [maker.clustered(0.1 * noise) for _ in range(num_starts)]
    centre = maker.glm() if init == "glm" else maker.zeros()
    return [maker.perturbed(centre, noise) for _ in range(num_starts)]


class StartMaker:
    """Makes starts for one model and data set.

    Args:
        model: bound to the data.
        data: the data set.
        generator: source of all randomness.
    """

    def __init__(
        self, model: GLMHMM, data: Sequences, generator: torch.Generator | None
    ):
        self.model, self.data, self.generator = model, data, generator
        self.m_steps = {
            name: MStep(component, component.view(data), _ROUGHLY)
            for name, component in model.components.items()
        }
        self._begun: dict[str, tuple[Params, torch.Size, Tensor]] = {}

    @property
    def emissions(self) -> list[str]:
        """Names of the components that are emissions."""
        return [
            n for n, s in self.m_steps.items() if s.component.counts_of == "emission"
        ]

    def _fitted(self, counts: Tensor | float) -> Params:
        """Emissions fitted to expected counts; transitions favour staying."""
        params = self.zeros()
        for name in self.emissions:
            params |= self._maximised(name, counts)
        return params

    def zeros(self) -> Params:
        """Unconstrained zeros for the emissions; transitions favour staying."""
        return dict(self._zeros)

    @cached_property
    def _zeros(self) -> Params:
        counts: dict[str, Any] = {"initial": 1.0, "transition": self._sticky()}
        params: Params = {}
        for name, step in self.m_steps.items():
            if step.component.counted_from in counts:
                params |= self._maximised(name, counts[step.component.counted_from])
        for name in self.emissions:
            params |= _only_set(self.m_steps[name].start())
        return params

    def glm(self) -> Params:
        """The same emission GLM in every state."""
        return self._fitted(1 / self.model.num_states)

    def clustered(self, noise: float) -> Params:
        """Emission GLMs of the clusters of k-means, plus a little noise."""
        labels = torch.from_numpy(self._clusters()).long()
        states = self.model.num_states
        counts = torch.nn.functional.one_hot(labels, states).double() * CLUSTER_SHARE
        counts = counts + (1 - CLUSTER_SHARE) / states
        return self.perturbed(self._fitted(counts), noise)

    def fitted_emissions(self, counts: Tensor) -> Params:
        """Emissions fitted to expected counts (steps, states)."""
        params: Params = {}
        for name in self.emissions:
            params |= self._maximised(name, counts)
        return params

    def fitted_moves(self, counts: Tensor) -> Params:
        """Transitions fitted to expected counts of moves (steps or 1, states, states).

        A single row stands for all steps.
        """
        params: Params = {}
        for name, step in self.m_steps.items():
            if step.component.counted_from == "transition":
                params |= self._maximised(name, counts)
        return params

    def given(self, values: Mapping[str, Any]) -> Params:
        """The user's values, checked; others are those of :meth:`glm`."""
        sites: dict[str, tuple[torch.Size, Any]] = {}
        transforms: dict[str, Any] = {}
        for step in self.m_steps.values():
            transforms |= step.transforms
            for name, transform in step.transforms.items():
                shape = transform.forward_shape(step.shapes[name])
                sites[name] = shape, step.supports[name]
        checked = given_values(values, sites)
        params = {} if set(values) == set(sites) else self.glm()
        for name, value in checked.items():
            bounds = bounds_of(transforms[name])
            value = value if bounds is None else bounds.clamp(value)
            params[name] = value.to(self.data.device)
        return params

    def between(self, params: Params, others: Params) -> Params:
        """Halfway between two sets of values, in unconstrained numbers."""
        middle = {}
        for name, value in params.items():
            transform = self._transform(name)
            free = _finite_unconstrained(transform.inv(value)) + _finite_unconstrained(
                transform.inv(others[name])
            )
            middle[name] = transform(free / 2)
        return middle

    def _transform(self, name: str) -> Any:
        """From the unconstrained numbers of a site to its value."""
        prefix, _ = self.model.component_of(name)
        return self.m_steps[prefix].transforms[name]

    def perturbed(self, params: Params, noise: float, most: float = math.inf) -> Params:
        """``params`` plus noise on their unconstrained numbers.

        Args:
            params: values of all sites.
            noise: standard deviation, on a weight in units of 1 over the root mean
                square of its covariate.
            most: standard deviation on numbers that are no weights, if less.
        """
        noisy = {}
        for name, value in params.items():
            prefix, component = self.model.component_of(name)
            attribute = name.removeprefix(f"{prefix}.")
            transform = self._transform(name)
            free = _finite_unconstrained(transform.inv(value))
            draws = torch.randn(
                free.shape, generator=self.generator, dtype=torch.float64
            ).to(free.device)
            reach = component.start_noise(attribute, self.m_steps[prefix].data)
            if isinstance(reach, Tensor):
                reach = of_free(transform, reach)
            size = noise if isinstance(reach, Tensor) else min(noise, most)
            noisy[name] = transform(free + size * draws * reach)
        return noisy

    def _sticky(self) -> Tensor:
        """Expected counts of one step: states tend to stay, slow ones for longer."""
        levels = self.model.levels
        if levels is None:
            return _staying(self.model.num_states, STAYING)
        slow = _staying(levels.slow, 1 - (1 - STAYING) / SLOWER)
        return torch.kron(slow, _staying(levels.fast, STAYING))

    def _maximised(self, name: str, counts: Tensor | float) -> Params:
        """An M-step of one component, from expected counts that broadcast to all."""
        component, step = self.model.components[name], self.m_steps[name]
        if not step.blocks.transforms:
            return {}
        start, shape, probs = self._beginning(name)
        axes = 3 if component.counts_of == "transition" else 2
        given = 3 if component.counted_from == "transition" else 2
        whole = torch.as_tensor(counts, dtype=torch.float64).to(self.data.device)
        by_step = given == 3 and whole.dim() == 3 and len(whole) > 1
        if step.is_same and not by_step:
            # All ranks have the whole of it, and the M-step sums over them.
            whole = whole / self.data.ranks.size
        if component.own_states is not None:
            own = shape[-axes : 1 - axes]
            shape = own + torch.Size([self.model.num_states] * (given - 1))
            whole = whole.expand(broadcast_shape(whole.shape, shape))
            return _only_set(step(whole[None], start))
        if axes == 3 and whole.dim() == 3 and len(whole) > shape[-3]:
            whole = whole.sum(0)
        if axes == 3:
            whole = self.model.transitions.expansion.spread(whole, probs)
        return _only_set(step(whole.expand((1,) + shape[-axes:]), start))

    def _beginning(self, name: str) -> tuple[Params, torch.Size, Tensor]:
        """Start values of a component; shape of its log-probabilities; those of moves.

        They are the same for every start, and found once.
        """
        if name not in self._begun:
            component, step = self.model.components[name], self.m_steps[name]
            start = step.start()
            with torch.no_grad():
                log_probs, _ = log_probs_and_sites(
                    component, step.data, as_taken(component, start)
                )
            spreads = self.model.transitions.expansion.emits is not None
            # Others are not read, and may be many.
            is_read = spreads and component.counts_of == "transition"
            probs = log_probs.exp() if is_read else log_probs.new_zeros(())
            self._begun[name] = start, log_probs.shape, probs
        return self._begun[name]

    def _clusters(self) -> np.ndarray:
        """k-means labels of every step's covariates and behaviour, standardised."""
        if self.data.ranks is not ALONE:
            raise ValueError(
                "init must not be 'kmeans' over a process_group, for clusters are of "
                "all steps; give 'glm', 'random' or values"
            )
        from sklearn.cluster import KMeans

        y = self.data.emissions.reshape(self.data.num_steps, -1).cpu()
        if not y.is_floating_point() and y.max() < 100:
            y = torch.nn.functional.one_hot(y.clamp(min=0)).flatten(1)
        pairs = torch.cat([self.data.covariates.cpu(), y.double()], -1)
        spread = pairs.std(0, correction=0)
        pairs = (pairs - pairs.mean(0)) / torch.where(spread > 0, spread, 1.0)
        seed = int(torch.randint(2**31 - 1, (), generator=self.generator))
        means = KMeans(self.model.num_states, n_init=1, random_state=seed)
        return means.fit_predict(pairs.numpy())


def _staying(states: int, staying: float) -> Tensor:
    """Expected counts of one step (states, states), of which so many stay."""
    leaving = (1 - staying) / max(states - 1, 1)
    return torch.full((states, states), leaving).fill_diagonal_(staying).double()


def _only_set(params: Params) -> Params:
    """Values without their axis of sets, which has a single one."""
    return {name: value.squeeze(0) for name, value in params.items()}


def _finite_unconstrained(free: Tensor) -> Tensor:
    """Unconstrained numbers, those of values at the end of their support finite."""
    return free.clamp(-_FARTHEST, _FARTHEST) if not free.isfinite().all() else free


def given_values(
    values: Mapping[str, Any], sites: Mapping[str, tuple[torch.Size, Any]]
) -> Params:
    """The user's values by site as float64, checked.

    Args:
        values: what the user gave, by site.
        sites: shape and support of every site.

    Raises:
        ValueError: there is no such site, or its value is not valid.
    """
    unknown = sorted(set(values) - set(sites))
    if unknown:
        raise ValueError(
            f"init must name sites of the model, {', '.join(sites)}, got "
            f"{unknown[0]!r}; name some of these"
        )
    return {n: given_value(n, value, *sites[n]) for n, value in values.items()}


def sites_of_priors(
    priors: Mapping[str, TorchDistribution],
) -> dict[str, tuple[torch.Size, Any]]:
    """Shape and support of every site, for :func:`given_values`."""
    return {name: (prior.shape(), prior.support) for name, prior in priors.items()}


def given_value(
    name: str, given: ArrayLike, shape: torch.Size, support: constraints.Constraint
) -> Tensor:
    """A user's value as float64, if it is one that the parameter can have."""
    try:
        value = torch.as_tensor(np.asarray(given), dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"init[{name!r}] must be numbers of shape {tuple(shape)}, got "
            f"{given!r:.80}; give a nested list, an array or a tensor of them"
        ) from error
    if value.shape != shape or not torch.isfinite(value).all():
        raise ValueError(
            f"init[{name!r}] must be finite, of shape {tuple(shape)}, got shape "
            f"{tuple(value.shape)}; reference rows are left out"
        )
    single: Any = support
    while isinstance(single, constraints.independent):
        single = single.base_constraint
    # The ends of an interval are infinitely far away for an optimiser.
    inside = value > getattr(single, "lower_bound", -torch.inf)
    inside &= value < getattr(single, "upper_bound", torch.inf)
    if not (inside.all() and support.check(value).all()):
        what = "probabilities that sum to 1" if single.event_dim else f"inside {single}"
        raise ValueError(
            f"init[{name!r}] must be {what}, got {value.tolist()}"
            "; give values inside the support"
        )
    return value
