"""Parameters of a component as rows of unconstrained numbers, and how searches end.

A component whose M-step separates gives one problem for every state of every parameter
set; any other gives one for every set.

An L-BFGS search that leaves the parameters as they were has either nothing to gain or
has failed: its objective was not finite, or it found no lower value although the
gradient is large. EM that ends with a failed M-step has not converged.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pyro import poutine
from pyro.nn import pyro_method
from torch import Tensor
from torch.distributions import biject_to
from torch.distributions.transforms import (
    ComposeTransform,
    IndependentTransform,
    Transform,
)

from glmhmm_pyro.broadcasting import unconstrained_shape
from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.limits import bounds_of
from glmhmm_pyro.components.site import block_axes
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.status import Status
from glmhmm_pyro.optim import MinimizeResult, Termination
from glmhmm_pyro.optim.preconditioning import Evaluation
from glmhmm_pyro.priors.answers import (
    curvature,
    innermost,
    is_flat,
    majoriser,
    normal_precision,
    slope_of_sum,
)
from glmhmm_pyro.priors.filling import elementwise_log_prob
from glmhmm_pyro.sequences import Sequences


def log_probs_and_sites(
    component: Component, data: Sequences, params: Params
) -> tuple[Tensor, dict]:
    """The component's log-probabilities at ``params``, and its sample sites by name."""
    body = poutine.condition(component.log_probs, data=params)
    trace = poutine.trace(body).get_trace(data)
    return trace.nodes["_RETURN"]["value"], sample_sites(trace)


def prior_sites(component: Component, params: Params) -> dict:
    """The component's sample sites at ``params``, nothing computed from the data."""
    body = poutine.condition(pyro_method(_read_parameters), data=params)
    return sample_sites(poutine.trace(body).get_trace(component))


def as_taken(component: Component, params: Params) -> Params:
    """Parameters with an axis of sets if the component takes one, else without."""
    if component.takes_sets():
        return params
    return {name: value.squeeze(0) for name, value in params.items()}


def _read_parameters(component: Component) -> None:
    for name in component.sites:
        getattr(component, name)


def sample_sites(trace: poutine.Trace) -> dict:
    """Sample sites of a trace, by name."""
    return {n: s for n, s in trace.nodes.items() if s["type"] == "sample"}


class PackedRows:
    """Packs the parameters of a component into rows, and back.

    Args:
        component: bound to the data.
        sites: its sample sites in a trace, of those that are packed.
        separates: whether they are independent by block; by default what the
            component says.
    """

    def __init__(
        self, component: Component, sites: dict, separates: bool | None = None
    ):
        self.component, self.sites = component, sites
        self.separates = component.separates() if separates is None else separates
        self.event_dims = {n: len(s["fn"].shape()) for n, s in sites.items()}
        self.supports = {n: s["fn"].support for n, s in sites.items()}
        self.transforms = {n: biject_to(s["fn"].support) for n, s in sites.items()}
        self.shapes = {
            name: unconstrained_shape(self.transforms[name], site["fn"].shape())
            for name, site in sites.items()
        }
        # The outermost axes of a separable prior are those of its blocks.
        self.depth = len(block_axes(component.blocks)) if self.separates else 0
        first = next(iter(self.shapes.values()), torch.Size())
        self.num_blocks = first[: self.depth].numel()
        self.is_flat = all(is_flat(site["fn"]) for site in sites.values())

    def without(self, names: Collection[str]) -> "PackedRows":
        """Those of the parameters that are left where some are known."""
        if not names:
            return self
        left = {name: site for name, site in self.sites.items() if name not in names}
        return PackedRows(self.component, left, self.separates)

    def pack(self, params: Params) -> Tensor:
        """Rows (sets * blocks, numbers) from values (sets, *shape)."""
        rows = []
        for name, transform in self.transforms.items():
            free = transform.inv(params[name])
            width = self.shapes[name].numel() // self.num_blocks
            rows.append(free.reshape(len(free) * self.num_blocks, width))
        return torch.cat(rows, -1)

    def unpack(self, rows: Tensor) -> Params:
        """Values (sets, *shape) from rows (sets * blocks, numbers)."""
        params, start = {}, 0
        for name, transform in self.transforms.items():
            size = self.shapes[name].numel() // self.num_blocks
            free = rows[:, start : start + size]
            sets = len(rows) // self.num_blocks
            params[name] = transform(free.reshape((sets, *self.shapes[name])))
            start += size
        return params

    def free_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest numbers of one set's rows, each (blocks, numbers)."""
        pieces: list[tuple[Tensor, Tensor]] = []
        for name, transform in self.transforms.items():
            ends = torch.full((2,) + tuple(self.shapes[name]), torch.inf).double()
            ends[0] = -torch.inf
            bounds = bounds_of(transform)
            if bounds is not None:
                ends[0] = transform.inv(bounds.low.expand(self.shapes[name]))
                ends[1] = transform.inv(bounds.high.expand(self.shapes[name]))
            pieces.append(tuple(ends.reshape(2, self.num_blocks, -1)))
        low, high = (torch.cat(piece, -1).numpy() for piece in zip(*pieces))
        return low, high

    def zeros(self) -> Params:
        """One set of values in the middle of their supports: unconstrained zeros."""
        size = sum(shape.numel() for shape in self.shapes.values())
        rows = torch.zeros(
            self.num_blocks, size // self.num_blocks, dtype=torch.float64
        )
        return self.unpack(rows)

    def log_prior(self, sites: dict) -> Tensor:
        """Log prior density of every problem, shape (sets * blocks,).

        Args:
            sites: sample sites of a trace at values (sets, *shape); others than those
                packed do not count.
        """
        total: Tensor | float = 0.0
        for name in self.transforms:
            site = sites[name]
            event_dim = self.event_dims[name] - self.depth
            total = total + elementwise_log_prob(site["fn"], site["value"], event_dim)
        return torch.as_tensor(total).reshape(-1)

    def sum_counts(self, counts: Tensor, log_probs: Tensor) -> Tensor:
        """Expected log-probability of every problem, shape (sets * blocks,)."""
        terms = torch.where(counts > 0, counts * log_probs, 0.0)
        if not self.separates:
            return terms.reshape(len(terms), -1).sum(-1)
        axes = block_axes(self.component.blocks)
        if "origin" in axes:
            terms = terms.sum(-1)
        if {"origin", "state"} & {*axes}:
            return terms.sum(-2).reshape(-1)
        return terms.flatten(1 + len(axes)).sum(-1).reshape(-1)


class NormalRows(NamedTuple):
    """A normal prior of weights, and nothing else: no graph is needed for its slopes.

    Attributes:
        mean: of every problem's weights, (problems, rows, features).
        precision: their inverse covariance, (problems, rows, features, features).
    """

    mean: np.ndarray
    precision: np.ndarray

    @classmethod
    def of(cls, blocks: PackedRows, sites: dict, sets: int) -> "NormalRows | None":
        """That of all that is packed, where it is so."""
        if len(blocks.transforms) != 1:
            return None
        ((name, transform),) = blocks.transforms.items()
        prior, shape = sites[name]["fn"], (sets, *blocks.shapes[name])
        precision = normal_precision(prior) if is_identity(transform) else None
        if precision is None:
            return None
        whole = precision.expand(*shape, shape[-1]).double().numpy()
        mean = innermost(prior).mean.expand(shape).double().numpy()
        problems, size = sets * blocks.num_blocks, shape[-1]
        return cls(
            mean.reshape(problems, -1, size), whole.reshape(problems, -1, size, size)
        )

    def __call__(self, points: np.ndarray, which: np.ndarray) -> Evaluation:
        """Log densities but for a constant, and gradients, as of :class:`LogPrior`."""
        away = points.reshape(len(points), *self.mean.shape[1:]) - self.mean[which]
        pull = np.matmul(self.precision[which], away[..., None])[..., 0]
        return -0.5 * (pull * away).sum((1, 2)), -pull.reshape(points.shape)


def is_identity(transform: Transform) -> bool:
    """Whether unconstrained numbers are the values themselves."""
    while isinstance(transform, IndependentTransform):
        transform = transform.base_transform
    return isinstance(transform, ComposeTransform) and not transform.parts


class LogPrior:
    """Log prior density of every problem of an M-step, hyperparameters being fixed.

    Args:
        blocks: packer of the weights.
        sites: the component's sample sites, made smooth, at the present parameters.
        sets: number of parameter sets.
    """

    def __init__(self, blocks: PackedRows, sites: dict, sets: int):
        self.blocks, self.sites, self.sets = blocks, dict(sites), sets
        self.normal = NormalRows.of(blocks, sites, sets)

    def __call__(self, points: np.ndarray, which: np.ndarray) -> Evaluation:
        """Values, but for a constant, and gradients of the problems numbered which."""
        if self.normal is not None:
            return self.normal(points, which)
        rows = np.zeros((self.sets * self.blocks.num_blocks, points.shape[1]))
        rows[which] = points
        leaf = torch.from_numpy(rows).requires_grad_()
        for name, value in self.blocks.unpack(leaf).items():
            self.sites[name] = {**self.sites[name], "value": value}
        values = self.blocks.log_prior(self.sites)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
        return values.detach().numpy()[which], gradient.numpy()[which]

    def curvature(self, points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Minus the second derivatives within rows of weights, made positive.

        Args:
            points: where, for all problems.
            shape: (problems, rows, numbers, numbers); the weights come first, those of
                several outputs one after the other, then single numbers.
        """
        if self.normal is not None:
            return self.normal.precision.reshape(shape)
        name, value = next(iter(self.blocks.unpack(torch.from_numpy(points)).items()))
        size = value.shape[-1]
        block = curvature(self.sites[name]["fn"], value).expand(value.shape + (size,))
        block = block.reshape(shape[:2] + (-1, size, size))
        found = np.zeros(shape)
        weights = block.shape[2] * size
        for number in range(block.shape[2]):
            own = slice(number * size, (number + 1) * size)
            found[..., own, own] = block[:, :, number].numpy()
        for number in range(weights, shape[-1]):
            found[..., number, number] = self._curvature_of(points, number)[:, None]
        return found

    def _curvature_of(self, points: np.ndarray, number: int) -> np.ndarray:
        """Curvature of one unconstrained number, 0 where the density is log-convex."""
        leaf = torch.from_numpy(points.copy()).requires_grad_()
        for name, value in self.blocks.unpack(leaf).items():
            self.sites[name] = {**self.sites[name], "value": value}
        total = self.blocks.log_prior(self.sites).sum()
        (slope,) = torch.autograd.grad(total, leaf, create_graph=True)
        if not slope.requires_grad:
            return np.zeros(len(points))
        return -slope_of_sum(slope[:, number], leaf)[:, number].clamp(max=0.0).numpy()


def majorised(sites: dict, params: Params) -> dict:
    """Sample sites with smooth minorants of their log priors that touch at ``params``.

    An M-step that raises this lower bound raises the log-joint.

    Args:
        sites: a component's sample sites.
        params: values as the component takes them, where the bound touches.
    """
    return {
        name: {**site, "fn": majoriser(site["fn"], params[name])}
        for name, site in sites.items()
    }


# Largest entry of the gradient of the log-joint per step at which a search without a
# lower value counts as converged: the rest is rounding.
ARRIVED = 1e-5

_NON_FINITE = (
    Termination.NON_FINITE,
    Termination.NON_FINITE_START,
    Termination.NON_FINITE_DIRECTION,
)
_STALLED = (
    Termination.LINE_SEARCH_FAILED,
    Termination.ASCENT_DIRECTION,
    Termination.CONVERGED_STEP,
)


class Failure(NamedTuple):
    """How an M-step failed.

    Attributes:
        status: status of a run of EM that ends with it.
        sentence: what happened, with the name of the component.
    """

    status: Status
    sentence: str


class Ends(NamedTuple):
    """Failures of an M-step by parameter set, ``None`` where it succeeded.

    Attributes:
        failures: as many as there are sets, or none if no search was needed.
    """

    failures: tuple[Failure | None, ...] = ()

    @classmethod
    def of(
        cls, name: str, results: Sequence[Any], num_blocks: int, plain: bool
    ) -> "Ends":
        """Failures of the searches of a component.

        Args:
            name: of the component.
            results: of all problems, sets times blocks.
            num_blocks: number of problems of a set.
            plain: whether their gradients are those of the objective per step.
        """
        found = [_failure(name, result, plain) for result in results]
        by_set = [
            next(filter(None, found[first : first + num_blocks]), None)
            for first in range(0, len(found), num_blocks)
        ]
        return cls(tuple(by_set))

    def __or__(self, other: "Ends") -> "Ends":
        """The first failure of each set in either."""
        if not self.failures or not other.failures:
            return self if self.failures else other
        pairs = zip(self.failures, other.failures)
        return Ends(tuple(one or another for one, another in pairs))

    def of_set(self, number: int) -> Failure | None:
        """How the M-step of a set failed, if it did."""
        return self.failures[number] if self.failures else None


def _failure(name: str, result: MinimizeResult, plain: bool) -> Failure | None:
    if result.optimality <= ARRIVED:
        return None
    if result.status in _NON_FINITE:
        return Failure(
            Status.M_STEP_FAILED,
            f"the M-step of {name}: its log density, or the gradient of it, was not "
            "finite where the search led",
        )
    if plain and result.status in _STALLED:
        return Failure(
            Status.STALLED,
            f"the M-step of {name} found nothing higher though its gradient is not 0: "
            "there is a kink in the density, or the gradient is not that of its value",
        )
    return None
