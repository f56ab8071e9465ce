"""A program's density as one over units, linked by normal laws, and over parameters.

The numbers of units are w, (units, size), of all latents with such a law; see
``unit_layout``. The other sites are one unconstrained vector v.
"""

from typing import Any, NamedTuple

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor

from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.inference.marginal.curvatures import ByPredictor, ByUnit
from glmhmm_pyro.inference.marginal.linked import ByChain
from glmhmm_pyro.inference.marginal.shared_rows import SharedBesideUnits
from glmhmm_pyro.inference.marginal.unit_layout import layout_of
from glmhmm_pyro.inference.marginal.vector_parts import VectorParts
from glmhmm_pyro.inference.program.coordinates import Coordinates, Params
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.priors.markov import markov


class Prior(NamedTuple):
    """What the priors say of the units and of the parameters.

    Attributes:
        log_density: of the parameters, without the units'.
        centre: where walks begin, broadcasts to (units, size).
        scale: standard deviations, shape (units, size).
        follows: whether a number goes on from the unit before, broadcasts likewise.
    """

    log_density: Tensor
    centre: Tensor
    scale: Tensor
    follows: Tensor

    def steps(self, w: Tensor, centre: Tensor | float = 0.0) -> Tensor:
        """What each unit is away from the one before it, or from a centre."""
        return w - torch.where(self.follows, w.roll(1, 0), centre)

    def log_prob(self, w: Tensor) -> Tensor:
        """Log density of all units but for the constant."""
        steps = self.steps(w, self.centre) / self.scale
        return -steps.square().sum() / 2 - self.scale.log().sum()

    def slope(self, w: Tensor) -> Tensor:
        """Its derivative by the units."""
        pulls = self.steps(w, self.centre) / self.scale**2
        return self.follows.roll(-1, 0) * pulls.roll(-1, 0) - pulls

    def precision(self) -> tuple[Tensor, Tensor]:
        """Diagonals (units, size) of the precision's blocks, and of those below."""
        own = self.scale**-2
        below = -own * self.follows
        return own - below.roll(-1, 0), below


class MarginalProblem:
    """A program, its latents that have a law, and its other sites.

    Args:
        program: the model with its data.
        laws: those of the latents, by name, at any values of the parameters.

    Attributes:
        theta: coordinates of the other sites.
        parts: where units and these stand in the program's vector.
        units: shapes of the numbers of a unit, by latent.
        follows: whether units go on from those before, by latent.
        over: what each latent varies over.
        layout: where the latents' numbers stand in w.
        number: of the rows that w has.
        size: of the numbers of a row.
        curvature: second and third derivatives of the log-likelihood.
    """

    def __init__(self, program: Program, laws: dict[str, Any]):
        self.program = program
        self.names = tuple(laws)
        others = {n: p for n, p in program.priors.items() if n not in laws}
        self.theta = Coordinates(others)
        self.units = {name: law.unit for name, law in laws.items()}
        self.follows = {name: law.follows for name, law in laws.items()}
        self.over = {name: self._site(name).axes[0] for name in laws}
        self.layout = layout_of(laws, self.over, program.data)
        self.parts = VectorParts.of(program.coordinates, self.layout, self.names)
        self.number, self.size = self.layout.number, self.layout.size
        self.curvature = self._curvature()

    def _curvature(self) -> Any:
        by_predictor = ByPredictor.of(self)
        if by_predictor is not None:
            return by_predictor
        of_units = ByChain.of(self) or ByUnit(self)
        return SharedBesideUnits(of_units) if self.layout.shared else of_units

    @classmethod
    def of(cls, program: Program) -> "MarginalProblem | None":
        """The problem of a program; ``None`` where no latent has a normal law."""
        if not program.components:
            return None
        laws = {name: markov(program.priors[name]) for name in program.random_effects}
        found = {name: law for name, law in laws.items() if law is not None}
        return cls(program, found) if found else None

    def params(self, w: Tensor, v: Tensor) -> Params:
        """Values of all sites."""
        return {**self.theta.unpack(v), **self.latents(w)}

    def latents(self, w: Tensor) -> Params:
        """Values (*batch, own units, *unit) of latents, from (*batch, units, size)."""
        return self.layout.latents(w)

    def weight_units(self) -> Tensor:
        """One over the root mean square of the covariate of every number of a unit."""
        return self.layout.of_rows({name: self.units_of(name) for name in self.names})

    def units_of(self, name: str) -> Tensor:
        """The same of the numbers of a unit of one latent."""
        prefix, component = self.program.model.component_of(name)
        attribute = name.removeprefix(f"{prefix}.")
        size = component.start_noise(attribute, component.view(self.program.data))
        unit = self.units[name]
        return torch.as_tensor(size).double().expand(unit or (1,)).reshape(-1)

    def _site(self, name: str) -> Any:
        prefix, component = self.program.model.component_of(name)
        return component.sites[name.removeprefix(f"{prefix}.")]

    def packed(self, params: Params) -> tuple[Tensor, Tensor]:
        """Units and vector of values of all sites."""
        return self.layout.packed(params).double(), self.theta.pack(params)

    def prior(self, v: Tensor, jacobian: bool = False) -> Prior:
        """What the priors say at these parameters."""
        if jacobian:
            values, gain = self.theta.unpack_with_jacobian(v)
        else:
            values, gain = self.theta.unpack(v), v.new_zeros(())
        found = _Distributions(values)
        with exclusively(), found:
            self.program.visit_priors()
        total = gain
        for name, value in values.items():
            total = total + found.by_site[name].log_prob(value).sum()
        return Prior(total, *self.layout.links(found.by_site))


class _Distributions(Messenger):
    """Runs a model at given values and keeps the distributions of its sites."""

    def __init__(self, params: Params):
        super().__init__()
        self.params = params
        self.by_site: dict[str, Any] = {}

    def _pyro_sample(self, msg: Message) -> None:
        self.by_site[str(msg["name"])] = msg["fn"]
        value = self.params.get(str(msg["name"]))
        # What is not known is a latent, which no prior reads.
        msg["value"] = msg["fn"].mean if value is None else value
        msg["is_observed"] = True
