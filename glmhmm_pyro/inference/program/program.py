"""A Pyro model with its data: the one definition that every inference method reads.

A model is a ``GLMHMM``, or any function or ``PyroModule`` of the data with a
:class:`HiddenMarkov` site (or several) that is observed. Its other sites are the
parameters. What differs between kinds of models is known to the kinds of programs alone
(:mod:`~glmhmm_pyro.inference.kinds.glmhmm_program`,
:mod:`~glmhmm_pyro.inference.kinds.pyro_program`); a further kind is a class like these.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.program.coordinates import Coordinates, Params
from glmhmm_pyro.inference.program.densities import (
    Densities,
    Drawable,
    is_variable,
    trace_at,
    without_site_shapes,
)
from glmhmm_pyro.inference.program.evaluated import Curvature, Evaluated, differentiated
from glmhmm_pyro.inference.program.own_units import OwnUnits
from glmhmm_pyro.inference.program.random_sites import latents_of, random_effects_of
from glmhmm_pyro.inference.program.refusals import check_sites
from glmhmm_pyro.optim import LBFGSOptions
from glmhmm_pyro.priors.answers import is_proper, log_mass
from glmhmm_pyro.ranks import ALONE, Ranks
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.layout import Layout
from glmhmm_pyro.zeros import zeros_allowed

# A model, and what it is called with: a ``Sequences``, or what the user's own takes.
Model = TypeVar("Model", bound=Callable[..., Any])
Data = TypeVar("Data")

# Where a fit begins: the name of a way to make starts, or values by site.
Init = str | Mapping[str, Any] | None

# Bytes of the tables that parameter sets evaluated together may take.
_TABLE_BYTES = 1 << 29


class Observed(NamedTuple):
    """A site whose states are summed out: its distribution and the emissions."""

    hidden: HiddenMarkov
    value: Tensor


class Program(ABC, Generic[Model, Data]):
    """A model conditioned on data, as a density over its parameters.

    :meth:`of` makes one of the kind that reads the model.

    Args:
        model: called with ``data`` alone.
        data: whatever the model takes.

    Attributes:
        priors: distributions of the parameters at one draw of the prior, by name.
        latents: names of those whose shape follows the data, which are no parameters
            of the model: ``Site(..., latent=True)``, or ``infer={"latent": True}``.
        random_effects: names of those that a law gives: latents, and weights pooled
            over states.
        coordinates: the parameters and latents as one unconstrained vector.
        units: how values become those of the user's model, for a program of
            :meth:`in_own_units`; else they are.
        users_model: that model.
        num_together: of parameter sets or directions whose tables memory holds.

    Raises:
        ValueError: the model has no observed ``HiddenMarkov`` site, or parameters that
            are not continuous, or the data do not fit it.
    """

    _kinds: ClassVar[dict[type, type["Program"]]] = {}

    model: Model
    data: Data

    def __init_subclass__(cls, reads: type | None = None, **options: Any):
        super().__init_subclass__(**options)
        if reads is not None:
            Program._kinds[reads] = cls

    @staticmethod
    def kind_of(model: Callable[..., Any]) -> type["Program"]:
        """The kind of program that reads models of this class, or of one above it."""
        return next(
            Program._kinds[known]
            for known in type(model).__mro__
            if known in Program._kinds
        )

    @staticmethod
    def of(model: Model, data: Data) -> "Program[Model, Data]":
        """The program of a model with its data."""
        return Program.kind_of(model)(model, data)

    def __init__(self, model: Model, data: Data):
        self.model = self.users_model = model
        self.units = OwnUnits()
        # The user's generator must not notice.
        with exclusively(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            self.data = self._taken(model, data)
            with Drawable(), without_site_shapes():
                told = self._telling(model, self.data)
                nodes = poutine.trace(model).get_trace(told).nodes
        sites = {n: s for n, s in nodes.items() if is_variable(s)}
        self.priors: dict[str, TorchDistribution] = {
            n: s["fn"] for n, s in sites.items() if not s["is_observed"]
        }
        hidden = [s for s in sites.values() if isinstance(s["fn"], HiddenMarkov)]
        check_sites(self.priors, any(site["is_observed"] for site in hidden))
        self.latents = latents_of(self.components, sites, self.data)
        self.random_effects = random_effects_of(self.components, sites)
        self.coordinates = Coordinates(self.priors)
        chains = [site["fn"] for site in hidden]
        together = sets_together(
            (self._num_steps(chain), chain.num_chain_states) for chain in chains
        )
        self.num_together = int(self.ranks.least(torch.tensor(float(together))))

    # What a kind knows of a model without its data.

    @staticmethod
    def components_of(model: Model) -> dict[str, Component]:
        """Components of a model by name, of which its sites are the parameters."""
        return {}

    @staticmethod
    def most_sets(model: Model, data: Data) -> int:
        """Number of parameter sets that memory allows together; 1 if unbatched."""
        return 1

    @staticmethod
    def visit_known_priors(model: Model) -> None:
        """Sample the sites whose priors are known without any data; here none."""

    @staticmethod
    def restore_layout(model: Model, layout: Layout) -> None:
        """Restore the layout of the fitted data in a model read from a file."""

    @staticmethod
    @abstractmethod
    def laid_out(model: Model, data: Data, layout: Layout | None) -> Data:
        """Later data, laid out as the data that the model was fitted to.

        Args:
            layout: of the data fitted, if they were a ``Sequences``.
        """

    @staticmethod
    @abstractmethod
    def observed_sites(model: Model, data: Data, params: Params) -> dict[str, Observed]:
        """Every ``HiddenMarkov`` site of a model at these values, by name."""

    # What a kind knows of a model with its data.

    @property
    def components(self) -> dict[str, Component]:
        """Components of the model, by name."""
        return self.components_of(self.model)

    @property
    def layout(self) -> Layout | None:
        """Layout of the data, for later data; ``None`` if they are no ``Sequences``."""
        return Layout.of(self.data) if isinstance(self.data, Sequences) else None

    @property
    def ranks(self) -> Ranks:
        """The processes over which the data are spread."""
        return self.data.ranks if isinstance(self.data, Sequences) else ALONE

    @property
    def sampled(self) -> Callable[[Data], Any]:
        """The Pyro model whose trace has the log density of all ranks' data."""
        return self.model

    @property
    def is_batched(self) -> bool:
        """Whether :meth:`log_parts` takes values with a leading axis of sets."""
        return False

    @property
    def is_direct(self) -> bool:
        """Whether :meth:`evaluated` has its slope without a graph."""
        return False

    @abstractmethod
    def log_parts(self, params: Params) -> tuple[Tensor, Tensor]:
        """Log-likelihood of all that is observed, and log density of the priors."""

    @abstractmethod
    def log_prior(self, params: Params) -> Tensor:
        """Log density of the priors alone."""

    def visit_priors(self) -> None:
        """Sample every site; runs the whole model if only that visits its priors."""
        self.model(self.data)

    @abstractmethod
    def starts(
        self, number: int, init: Init, noise: float, generator: torch.Generator
    ) -> Sequence[Params]:
        """Starting values of all sites, for every start; see :class:`Search`."""

    @abstractmethod
    def em_steps(self, options: LBFGSOptions | None) -> Any:
        """E-steps and M-steps of EM.

        Args:
            options: of the M-step's L-BFGS, if the user gave any.
        """

    def in_own_units(self) -> "Program":
        """An equivalent program whose numbers do not depend on the user's units.

        Its ``units`` map values to the user's. Sites of unknown units keep theirs.
        """
        return self

    def check(self) -> None:
        """Raise a ValueError for data or priors that no fit can work with."""

    def collapsed(self, params: Params) -> tuple[str, ...]:
        """Sentences about parameters near an end with an infinite density."""
        return ()

    def undetermined(self) -> tuple[str, ...]:
        """Sentences about parameters that neither data nor priors determine."""
        return ()

    def unbounded(self, params: Params) -> tuple[str, ...]:
        """Sentences about parameters without a finite maximum, or nearly so."""
        return ()

    @property
    def dtype(self) -> torch.dtype:
        """The type that log-likelihoods are computed in."""
        return torch.float64

    @property
    def separates(self) -> bool:
        """Whether M-steps separate by component, which makes them cheap."""
        return False

    # What is the same for all.

    @property
    def num_parameters(self) -> int:
        """Number of free parameters, which random effects are not."""
        shapes = self.coordinates.shapes
        return sum(s.numel() for n, s in shapes.items() if n not in self.random_effects)

    def users_values(self, vector: Tensor) -> Params:
        """Values of the user's model (*batch, *shape) from vectors (*batch, size)."""
        return self.units.outward(self.coordinates.unpack(vector))

    def packed(self, params: Params) -> Tensor:
        """The vector of values of the user's model."""
        return self.coordinates.pack(self.units.inward(params))

    @property
    def improper(self) -> list[str]:
        """Names of the sites whose prior cannot be normalised."""
        return [n for n, prior in self.priors.items() if not is_proper(prior)]

    @property
    def unnormalised(self) -> list[str]:
        """Names of the sites whose prior has an unknown normalising constant."""
        return [n for n, prior in self.priors.items() if math.isnan(log_mass(prior))]

    def trace(self, params: Params) -> Any:
        """Pyro's trace of the model at these values of the parameters."""
        return trace_at(self.model, self.data, params)

    def observed(self, params: Params) -> dict[str, Observed]:
        """Every ``HiddenMarkov`` site at these values, by name."""
        return self.observed_sites(self.model, self.data, params)

    def densities(self, params: Params) -> Densities:
        """Log density of every site at these values, by one run of the model."""
        with exclusively(), Densities(params, self.priors) as densities:
            with zeros_allowed(self.model):
                self.model(self.data)
        return densities

    def check_finite(self, params: Params) -> None:
        """Raise a ValueError if a log density is not finite at a fit's start."""
        with torch.no_grad():
            by_site = self.densities(params).by_site
        broken = [name for name, value in by_site.items() if not torch.isfinite(value)]
        if broken:
            raise ValueError(
                "log densities must be finite where the fit starts, got "
                f"{by_site[broken[0]].item()} at site {broken[0]!r}; check its "
                "distribution, or give another start by init"
            )

    def log_joint(self, params: Params) -> Tensor:
        """Log-likelihood plus log prior density, as the user wrote the densities."""
        return sum(self.log_parts(params), torch.zeros((), dtype=torch.float64))

    def log_density(self, vector: Tensor, jacobian: bool) -> Tensor:
        """Log-joint at a point of the unconstrained coordinates.

        Args:
            vector: shape (size,).
            jacobian: whether to add the log volume of the transform, which makes it a
                density of ``vector``. Without, its maximum is the mode of the density
                as the user wrote it.
        """
        if not jacobian:
            return self.log_joint(self.coordinates.unpack(vector))
        params, gain = self.coordinates.unpack_with_jacobian(vector)
        return self.log_joint(params) + gain

    def evaluated(self, vector: Tensor, jacobian: bool) -> Evaluated:
        """:meth:`log_density` and its slope at a point.

        Args:
            vector: shape (size,).
            jacobian: whether the log volume of the transform is added.
        """
        return differentiated(self.coordinates, self.log_parts, vector, jacobian)

    def known_posterior(self, params: Params) -> np.ndarray | None:
        """Posterior probabilities of states (steps, states), at values of all sites.

        ``None`` where only the distribution of an observed site tells them.
        """
        return None

    def known_curvature(self, vector: Tensor) -> Curvature | None:
        """Second derivatives not taken from :meth:`log_density`, if any are known."""
        return None

    @property
    def knows_curvature(self) -> bool:
        """Whether :meth:`known_curvature` has most of it, and cheaply."""
        return False

    def loss(self, vector: Tensor, jacobian: bool, steps: int) -> tuple[Tensor, Tensor]:
        """Minus the log density per step, and its slope, for a minimiser."""
        found = self.evaluated(vector, jacobian)
        value = torch.tensor(-found.log_density / steps, dtype=torch.float64)
        return value, -found.slope / steps

    def slopes(self, points: Tensor) -> Tensor:
        """Slopes of the log-joint at points (points, size), batched where possible."""
        if not self.is_batched:
            return torch.stack([self.evaluated(p, False).slope for p in points])
        found: list[Tensor] = []
        for some in points.split(self.num_together):
            leaf = some.detach().clone().requires_grad_()
            with torch.enable_grad():
                total = self.log_density(leaf, jacobian=False).sum()
                found += torch.autograd.grad(total, leaf, materialize_grads=True)
        return torch.cat(found)

    @staticmethod
    def _taken(model: Model, data: Data) -> Data:
        """The data as the model reads them."""
        return data

    @staticmethod
    def _telling(model: Model, data: Data) -> Data:
        """Those of the data that tell the sites of a model as all of them do."""
        return data

    def _num_steps(self, chain: HiddenMarkov) -> int:
        """Number of steps of one of the chains that the sites were read with."""
        return chain.event_shape[0]


def sets_together(sizes: Iterable[tuple[int, int]]) -> int:
    """Number of parameter sets whose tables fit into memory together.

    Args:
        sizes: numbers of steps and of states of every chain.
    """
    size = sum(steps * (states + 1) ** 2 * 8 * 4 for steps, states in sizes)
    return max(1, _TABLE_BYTES // size)
