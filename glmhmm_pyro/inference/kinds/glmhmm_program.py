"""The program of a GLMHMM: a density made of its components."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyro
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.definitions import check_definition
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.distributions.hidden_markov import HiddenMarkov
from glmhmm_pyro.inference.kinds.chained import curvature_by_vector
from glmhmm_pyro.inference.kinds.direct import DirectDensity, direct_density
from glmhmm_pyro.inference.kinds.emitted import EmittedCurvature, emitted_curvature
from glmhmm_pyro.inference.kinds.starts import make_starts
from glmhmm_pyro.inference.kinds.unbounded import unbounded_weights
from glmhmm_pyro.inference.kinds.undetermined import (
    refuse_two_constants,
    undetermined_columns,
)
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.inference.program.densities import Densities
from glmhmm_pyro.inference.program.evaluated import Curvature, Evaluated
from glmhmm_pyro.inference.program.own_units import own_units
from glmhmm_pyro.inference.program.program import (
    Init,
    Observed,
    Program,
    sets_together,
)
from glmhmm_pyro.inference.steps.collapse import Collapse, at_bounds, telling
from glmhmm_pyro.inference.steps.joint_steps import JointSteps
from glmhmm_pyro.inference.steps.steps import ComponentSteps
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.optim import LBFGSOptions
from glmhmm_pyro.ranks import ALONE
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.layout import Layout
from glmhmm_pyro.sequences.members import Members

# As many states are always allowed, and a state for every step.
_MANY_STATES = 100


class GLMHMMProgram(Program[GLMHMM, Sequences], reads=GLMHMM):
    """A ``GLMHMM`` conditioned on a ``Sequences``.

    It is evaluated without Pyro's handlers, at many parameter sets at once, and has
    EM's M-steps by component. Its arguments are those of :class:`Program`.
    """

    @staticmethod
    def _taken(model: GLMHMM, data: Sequences) -> Sequences:
        # What is no Sequences is refused as it is laid out.
        if isinstance(data, Sequences):
            _check_number_of_states(model, data)
        data = model.laid_out(data)
        model.limit(data)
        return data

    @staticmethod
    def _telling(model: GLMHMM, data: Sequences) -> Sequences:
        return telling(model, data)

    def _num_steps(self, chain: HiddenMarkov) -> int:
        return self.data.num_steps

    @staticmethod
    def components_of(model: GLMHMM) -> dict[str, Component]:
        """All components, by the names that their sites begin with."""
        return model.components

    @staticmethod
    def most_sets(model: GLMHMM, data: Sequences) -> int:
        """As many as fit into memory, where all components take several sets."""
        if not _takes_sets(model):
            return 1
        states = model.transitions.expansion.num_chain_states
        steps = int(data.ranks.most(torch.tensor(float(data.num_steps))))
        return sets_together([(steps, states)])

    @staticmethod
    def visit_known_priors(model: GLMHMM) -> None:
        """Sample the parameters of all components."""
        model.draw()

    @staticmethod
    def restore_layout(model: GLMHMM, layout: Layout) -> None:
        """The model's own layout, and the members of the axes that follow from it."""
        model.layout = layout
        for component in model.components.values():
            if component.varies_over:
                component.members = Members(layout.sessions)

    @staticmethod
    def laid_out(model: GLMHMM, data: Sequences, layout: Layout | None) -> Sequences:
        """The data as the components read them; the model knows its layout itself."""
        return model.laid_out(data)

    @staticmethod
    def observed_sites(
        model: GLMHMM, data: Sequences, params: Params
    ) -> dict[str, Observed]:
        """The one site ``y`` at these values."""
        data = model.laid_out(data)
        return {"y": Observed(model.hidden_markov_at(params, data), data.emissions)}

    @property
    def layout(self) -> Layout | None:
        """Layout of the first data set that the model was bound to."""
        return self.model.layout

    @property
    def sampled(self) -> Callable[[Sequences], Any]:
        """The model; over ranks, with the log-likelihood of all of them as one term."""
        return self.model if self.ranks is ALONE else self._over_ranks

    def _over_ranks(self, data: Sequences) -> None:
        params = self.model.draw()
        pyro.factor("y", self._log_likelihood(params))

    def _log_likelihood(self, params: Params) -> Tensor:
        """Of all ranks, with slopes by values that are the same on all."""
        shared = dict(zip(params, self.ranks.shared(*params.values())))
        hidden = self.model.hidden_markov_at(shared, self.data)
        return self.ranks.summed(hidden.log_prob(self.data.emissions))

    @property
    def is_batched(self) -> bool:
        """Whether components take sets, and no hyperparameter is drawn beside them."""
        return _takes_sets(self.model) and self._has_fixed_priors

    @property
    def is_direct(self) -> bool:
        """Whether all parts are the package's own, with priors that stand fixed."""
        return self._direct is not None

    def log_parts(self, params: Params) -> tuple[Tensor, Tensor]:
        """Log-likelihood and log prior, without Pyro's handlers."""
        return self._log_likelihood(params), self.log_prior(params)

    def evaluated(self, vector: Tensor, jacobian: bool) -> Evaluated:
        """By :class:`DirectDensity` if all parts are the package's own."""
        if self._direct is None:
            return super().evaluated(vector, jacobian)
        with exclusively():
            return self._direct(vector, jacobian)

    def slopes(self, points: Tensor) -> Tensor:
        """As the base class; one by one by :class:`DirectDensity`, which is faster."""
        if self._direct is None:
            return super().slopes(points)
        return torch.stack([self.evaluated(p, jacobian=False).slope for p in points])

    def known_posterior(self, params: Params) -> np.ndarray | None:
        """By the tables of :class:`DirectDensity`, where each state is the chain's."""
        if self._direct is None or self.model.transitions.emits is not None:
            return None
        values = {name: value.numpy() for name, value in params.items()}
        with exclusively():
            return self._direct.chain.posterior(values)

    def known_curvature(self, vector: Tensor) -> Curvature | None:
        """That of the log-likelihood, if transitions have tables; not over ranks."""
        if self.ranks is not ALONE:
            return None
        with exclusively():
            scores = None if self._direct is None else self._direct.scores(vector)
            if scores is None:
                return None if self._emitted is None else self._emitted(vector)
        return curvature_by_vector(self.coordinates, self.log_prior, scores, vector)

    @property
    def knows_curvature(self) -> bool:
        """Whether all parts are softmaxes of the package's own."""
        direct = self._direct if self.ranks is ALONE else None
        return direct is not None and direct.is_soft

    def __getstate__(self) -> dict[str, Any]:
        """State for pickling, without what is made of the model and the data."""
        made = ("_direct", "_emitted")
        return {name: v for name, v in vars(self).items() if name not in made}

    @cached_property
    def _direct(self) -> DirectDensity | None:
        if not self._has_fixed_priors or self.random_effects:
            return None
        parts = self.model, self.data, self.coordinates, self.priors
        return direct_density(*parts)

    @cached_property
    def _emitted(self) -> EmittedCurvature | None:
        if not self._has_fixed_priors or self.random_effects:
            return None
        parts = self.model, self.data, self.coordinates, self.log_prior
        return emitted_curvature(*parts)

    def log_prior(self, params: Params) -> Tensor:
        """Log density of the priors, which are fixed unless a site of them is drawn."""
        if not self._has_fixed_priors:
            with exclusively(), Densities(params, self.priors) as densities:
                self.model.draw()
            return densities.of_parameters + densities.of_the_rest
        total = torch.zeros((), dtype=torch.float64)
        for name, prior in self.priors.items():
            total = total + prior.log_prob(params[name])
        return total

    @property
    def _has_fixed_priors(self) -> bool:
        """Whether no prior reads or samples another site."""
        fixed = all(c.has_fixed_priors for c in self.model.components.values())
        return fixed and self.priors.keys() == {n for n, *_ in self.model.site_names()}

    def visit_priors(self) -> None:
        """The priors alone, without the tables of all steps."""
        self.visit_known_priors(self.model)

    def starts(
        self, number: int, init: Init, noise: float, generator: torch.Generator
    ) -> Sequence[Params]:
        """Start values by GLMs, clusters or chance; see :func:`make_starts`."""
        init = self._own_start("glm" if init is None else init)
        return make_starts(self.model, self.data, number, init, noise, generator)

    def em_steps(self, options: LBFGSOptions | None) -> ComponentSteps | JointSteps:
        """M-steps component by component, where these do not read one another."""
        if self.separates:
            return ComponentSteps(self.model, self.data, options)
        return JointSteps(self, options)

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the covariates."""
        return self.data.dtype

    @property
    def separates(self) -> bool:
        """Whether no component reads the parameters of another."""
        return self.model.separates

    def in_own_units(self) -> Program:
        """Covariates and outputs scaled, and centred where that can be undone."""
        if not is_as_defined(self.model, GLMHMM, "forward", "hidden_markov"):
            return self
        model, data, units = own_units(self.model, self.data, self.priors)
        if not units.maps:
            return self
        found = GLMHMMProgram(model, data)
        found.users_model, found.units = self.model, units
        return found

    def check(self) -> None:
        """Raise a ValueError for constant outputs or undetermined weights.

        Or for a component of which the chain reads another law than its own.
        """
        for component in self.model.components.values():
            check_definition(component, component.view(self.data))
        self.model.check_varies(self.data)
        refuse_two_constants(self)

    def collapsed(self, params: Params) -> tuple[str, ...]:
        """States that predict their emissions without error; scales at their floors."""
        found = Collapse(self.model, self.data)(params)
        return found + at_bounds(self.components, params)

    def undetermined(self) -> tuple[str, ...]:
        """Weights of columns of which one follows from the others."""
        return undetermined_columns(self)

    def unbounded(self, params: Params) -> tuple[str, ...]:
        """Weights that grow for ever, of emissions and transitions."""
        with torch.no_grad():
            hidden = self.model.hidden_markov_at(params, self.data)
        return unbounded_weights(self.model, self.data, hidden, params)

    def _own_start(self, init: str | Mapping[str, Any]) -> str | Mapping[str, Any]:
        """The user's start values, mapped to own units.

        Invalid values stay as they are, for the later error to show them.
        """
        if not isinstance(init, Mapping):
            return init
        given = {name: self._given(name, value) for name, value in init.items()}
        users = {name: value for name, value in given.items() if value is not None}
        return {**init, **self.units.inward(users)}

    def _given(self, name: str, given: ArrayLike) -> Tensor | None:
        """The user's value of a site whose units differ, if it is valid."""
        if name not in self.units.maps and name not in self.units.gains:
            return None
        try:
            value = torch.as_tensor(np.asarray(given), dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):
            return None
        prior = self.priors[name]
        if value.shape != prior.shape() or not prior.support.check(value).all():
            return None
        return value


def _takes_sets(model: GLMHMM) -> bool:
    """Whether all components take values with a leading axis of parameter sets."""
    return all(component.takes_sets() for component in model.components.values())


def _check_number_of_states(model: GLMHMM, data: Sequences) -> None:
    """Raise a ValueError if there are far more states than steps."""
    most = max(_MANY_STATES, data.num_steps)
    if model.num_states > most:
        raise ValueError(
            f"num_states must be at most {most} for these data of {data.num_steps} "
            f"steps, got {model.num_states}; most of so many states would never be "
            "visited: give a number such as 3"
        )
