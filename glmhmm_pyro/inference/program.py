"""A Pyro model with its data: the one definition that every inference method reads.

A model is a ``GLMHMM``, or any function or ``PyroModule`` of the data with a
:class:`HiddenMarkov` site (or several) that is observed. Its other sites are the
parameters.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from pyro import poutine
from pyro.distributions import ImproperUniform
from pyro.poutine.messenger import Messenger
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.units import is_as_defined
from glmhmm_pyro.concurrency import exclusively
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.coordinates import Coordinates, Params
from glmhmm_pyro.inference.densities import Densities
from glmhmm_pyro.inference.units import Units, own_units
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.priors.filling import is_proper
from glmhmm_pyro.zeros import zeros_allowed

# Bytes of the tables that parameter sets evaluated together may take.
_TABLE_BYTES = 1 << 29


class Observed(NamedTuple):
    """A site whose states are summed out: its distribution and the emissions."""

    hidden: HiddenMarkov
    value: Tensor


class _Drawable(Messenger):
    """Names a site that starts cannot be drawn from, before Pyro fails to."""

    def _pyro_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], ImproperUniform) and msg["value"] is None:
            raise ValueError(
                f"site {msg['name']!r} must have a prior that starts can be drawn "
                "from, got ImproperUniform; gh.priors.Flat(shape, support) is flat, "
                "and has start values"
            )


@contextmanager
def _in_its_own_words() -> Iterator[None]:
    """A ValueError as it was raised, without the shapes of all sites Pyro adds."""
    try:
        yield
    except ValueError as error:
        raised = error.__cause__
        if isinstance(raised, ValueError) and str(raised) in str(error):
            raise raised from None
        raise


class Program:
    """A model conditioned on data, as a density over its parameters.

    Args:
        model: called with ``data`` alone.
        data: whatever the model takes; a ``Sequences`` for a ``GLMHMM``.

    Attributes:
        priors: distributions of the parameters at one draw of the prior, by name.
        coordinates: the parameters as one unconstrained vector.
        units: how values become those of the user's model, for a program of
            :meth:`in_own_units`; else they are.
        users_model: that model.
        num_together: number of parameter sets, or of directions of a derivative, whose
            tables memory holds side by side.

    Raises:
        ValueError: the model has no observed ``HiddenMarkov`` site, or parameters that
            are not continuous, or a ``GLMHMM`` does not fit the data.
    """

    def __init__(self, model: Callable[[Any], Any], data: Any):
        self.model, self.data = model, data
        self.users_model, self.units = model, Units()
        if isinstance(model, GLMHMM):
            self.data = data = model.laid_out(data)
        # The user's generator must not notice.
        with exclusively(), torch.no_grad(), torch.random.fork_rng(devices=[]):
            if isinstance(model, GLMHMM):
                model.limit(data)
            with _Drawable(), _in_its_own_words():
                nodes = poutine.trace(model).get_trace(data).nodes
        sites = {n: s for n, s in nodes.items() if _is_variable(s)}
        self.priors = {n: s["fn"] for n, s in sites.items() if not s["is_observed"]}
        hidden = [s for s in sites.values() if isinstance(s["fn"], HiddenMarkov)]
        _check(self.priors, any(site["is_observed"] for site in hidden))
        self.coordinates = Coordinates(self.priors)
        chains = [site["fn"] for site in hidden]
        self.num_together = sets_together(
            (chain.event_shape[0], chain.num_states) for chain in chains
        )

    def in_own_units(self) -> "Program":
        """An equivalent program whose numbers do not depend on the user's units.

        Its parameters, log-likelihoods and densities are own ones, which its ``units``
        map to those of the user's model. A model of the user's own stays as it is.
        """
        model, as_here = self.model, ("forward", "hidden_markov")
        if not isinstance(model, GLMHMM) or not is_as_defined(model, GLMHMM, *as_here):
            return self
        own_model, own_data, units = own_units(model, self.data, self.priors)
        if not units.maps:
            return self
        found = Program(own_model, own_data)
        found.users_model, found.units = model, units
        return found

    def users_values(self, vector: Tensor) -> Params:
        """Values of the user's model (*batch, *shape) from vectors (*batch, size)."""
        return self.units.outward(self.coordinates.unpack(vector))

    def packed(self, params: Params) -> Tensor:
        """The vector of values of the user's model."""
        return self.coordinates.pack(self.units.inward(params))

    def own_start(self, init: Any) -> Any:
        """Values that the user gave to begin with, mapped to own ones.

        What is no value of a site is left to be refused as it was written.
        """
        if not isinstance(init, Mapping):
            return init
        given = {name: self._given(name, value) for name, value in init.items()}
        users = {name: value for name, value in given.items() if value is not None}
        return {**init, **self.units.inward(users)}

    def _given(self, name: str, given: Any) -> Tensor | None:
        """The user's value of a site that is not the same in both, if it is one."""
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

    @property
    def is_batched(self) -> bool:
        """Whether :meth:`log_parts` takes values with a leading axis of sets."""
        return takes_sets(self.model) and self._has_fixed_priors(self.model)

    @property
    def components(self) -> dict[str, Component]:
        """Components of a ``GLMHMM`` by name; none of a model of the user's own."""
        return self.model.components if isinstance(self.model, GLMHMM) else {}

    @property
    def improper(self) -> list[str]:
        """Names of the sites whose prior cannot be normalised."""
        return [n for n, prior in self.priors.items() if not is_proper(prior)]

    def trace(self, params: Params) -> Any:
        """Pyro's trace of the model at these values of the parameters."""
        return _trace(self.model, self.data, params)

    def observed(self, params: Params) -> dict[str, Observed]:
        """Every ``HiddenMarkov`` site at these values, by name."""
        return observed_sites(self.model, self.data, params)

    def log_parts(self, params: Params) -> tuple[Tensor, Tensor]:
        """Log-likelihood of all that is observed, and log density of the priors.

        A ``GLMHMM`` is evaluated without Pyro's handlers; any other model under one.
        """
        if not isinstance(self.model, GLMHMM):
            densities = self.densities(params)
            return densities.of_the_rest, densities.of_parameters
        hidden = self.model.hidden_markov_at(params, self.data)
        likelihood = hidden.log_prob(self.data.emissions)
        return likelihood, self._log_prior(self.model, params)

    def densities(self, params: Params) -> Densities:
        """Log density of every site at these values, by one run of the model."""
        with exclusively(), Densities(params, self.priors) as densities:
            with zeros_allowed(self.model):
                self.model(self.data)
        return densities

    def check_finite(self, params: Params) -> None:
        """Refuse a model whose density is no number even where a fit starts."""
        with torch.no_grad():
            by_site = self.densities(params).by_site
        broken = [name for name, value in by_site.items() if not torch.isfinite(value)]
        if broken:
            raise ValueError(
                "log densities must be finite where the fit starts, got "
                f"{by_site[broken[0]].item()} at site {broken[0]!r}; check its "
                "distribution, or give another start by init"
            )

    def check_varies(self) -> None:
        """Refuse outputs of a ``GLMHMM`` that would ruin any fit; see there."""
        if isinstance(self.model, GLMHMM):
            self.model.check_varies(self.data)

    def log_joint(self, params: Params) -> Tensor:
        """Log-likelihood plus log prior density, as the user wrote the densities."""
        return sum(self.log_parts(params), torch.zeros((), dtype=torch.float64))

    def log_prior(self, params: Params) -> Tensor:
        """Log density of the priors alone; a model of the user's own is run for it."""
        if isinstance(self.model, GLMHMM):
            return self._log_prior(self.model, params)
        return self.densities(params).of_parameters

    def _log_prior(self, model: GLMHMM, params: Params) -> Tensor:
        """Log density of the priors, which are fixed unless a site of them is drawn."""
        if not self._has_fixed_priors(model):
            with exclusively(), Densities(params, self.priors) as densities:
                model.draw()
            return densities.of_parameters + densities.of_the_rest
        total = torch.zeros((), dtype=torch.float64)
        for name, prior in self.priors.items():
            total = total + prior.log_prob(params[name])
        return total

    def _has_fixed_priors(self, model: Any) -> bool:
        """Whether no hyperparameter is drawn beside the declared sites."""
        return self.priors.keys() == {name for name, *_ in model.site_names()}

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


def takes_sets(model: Any) -> bool:
    """Whether a model takes values with a leading axis of parameter sets."""
    return isinstance(model, GLMHMM) and all(
        component.takes_sets() for component in model.components.values()
    )


def sets_together(sizes: Iterable[tuple[int, int]]) -> int:
    """How many parameter sets' tables memory holds side by side.

    Args:
        sizes: numbers of steps and of states of every chain.
    """
    size = sum(steps * (states + 1) ** 2 * 8 * 4 for steps, states in sizes)
    return max(1, _TABLE_BYTES // size)


def _is_variable(site: dict[str, Any]) -> bool:
    """Whether a site of a trace is a sample statement that has a density."""
    return site["type"] == "sample" and not poutine.util.site_is_subsample(site)


def observed_sites(model: Any, data: Any, params: Params) -> dict[str, Observed]:
    """Every ``HiddenMarkov`` site of a model at these values, by name."""
    if isinstance(model, GLMHMM):
        data = model.laid_out(data)
        hidden = model.hidden_markov_at(params, data)
        return {"y": Observed(hidden, data.emissions)}
    nodes = _trace(model, data, params).nodes
    variables = [name for name, site in nodes.items() if _is_variable(site)]
    drawn = [name for name in variables if not nodes[name]["is_observed"]]
    if drawn:
        raise ValueError(
            f"model must be the one that was fitted, with the sites "
            f"{', '.join(params)}, got one that draws {', '.join(drawn)} anew"
            "; give the model of the fit"
        )
    return {
        name: Observed(nodes[name]["fn"], nodes[name]["value"])
        for name in variables
        if isinstance(nodes[name]["fn"], HiddenMarkov)
    }


def _trace(model: Any, data: Any, params: Params) -> Any:
    with exclusively(), zeros_allowed(model):
        return poutine.trace(poutine.condition(model, data=params)).get_trace(data)


def _check(priors: dict[str, Any], is_observed: bool) -> None:
    """Refuse models that no method could read."""
    if not is_observed:
        raise ValueError(
            "model must have an observed HiddenMarkov site, got none; write "
            'pyro.sample("y", HiddenMarkov(...), obs=data.emissions) in it'
        )
    if not priors:
        raise ValueError(
            "model must have parameters, got none; declare them by pyro.sample with "
            "a prior, pyro.param is not read"
        )
    for name, prior in priors.items():
        if prior.support.is_discrete:
            raise ValueError(
                f"model must have continuous parameters, got the discrete site "
                f"{name!r}; hidden states belong in a HiddenMarkov site, which sums "
                "them out"
            )
