"""The conformance kit: what a user runs on an emission family of their own.

A family is one class and one method. :func:`check_emission` draws a small data set from
it and compares every use of the family with its definition.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from pyro.nn import pyro_method
from torch import Tensor
from torch.distributions import Distribution, biject_to

from glmhmm_pyro.components import Emission, InputDriven
from glmhmm_pyro.distributions import HiddenMarkov, typed_by_support
from glmhmm_pyro.inference import EM
from glmhmm_pyro.inference.status import FallingLikelihoodError
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences

# Differences in nats up to which two ways to one number agree.
_ROUNDING = 1e-7


def check_emission(
    make: Callable[[], Emission],
    covariates_dim: int = 2,
    num_states: int = 2,
    lengths: tuple[int, ...] = (4, 1, 3),
    seed: int = 0,
) -> None:
    """Check that an emission family keeps the contract of :class:`Emission`.

    The table of likelihoods is the definition at every state; draws have log densities;
    masked steps are ignored; summing the states out agrees with enumerating them; the
    gradient is finite; blocks that are declared separate do; EM does not fall.

    Args:
        make: makes a fresh component, e.g. the class itself.
        covariates_dim: number of covariates of the random data.
        num_states: number of hidden states.
        lengths: steps of the random sessions; the sum must be at least 2.
        seed: of all random numbers.

    Raises:
        AssertionError: the first thing that is wrong, and how to mend it.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from glmhmm_pyro.testing import check_emission
        >>> check_emission(gh.Bernoulli, covariates_dim=3)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        case = _make_case(make, covariates_dim, num_states, lengths)
        for check in (
            _check_table,
            _check_masked_steps,
            _check_enumeration,
            _check_gradient,
            _check_blocks,
            _check_em,
        ):
            check(case)


@dataclass(frozen=True)
class _Case:
    """A model with the family, data drawn from it, and parameters."""

    name: str
    model: GLMHMM
    data: Sequences
    params: dict[str, Tensor]

    def call(
        self, function: Callable[[Emission], Any], data: dict[str, Tensor] | None = None
    ) -> Any:
        """Result of a function of the component inside a model call."""
        params = self.params if data is None else data
        body = pyro_method(lambda model: function(model.emissions))
        return poutine.condition(lambda: body(self.model), data=params)()

    def hidden_markov(self, data: Sequences) -> HiddenMarkov:
        """The distribution of the emissions of ``data``."""
        return poutine.condition(self.model.hidden_markov, data=self.params)(data)


def _make_case(
    make: Callable[[], Emission],
    covariates_dim: int,
    num_states: int,
    lengths: tuple[int, ...],
) -> _Case:
    component, steps = make(), sum(lengths)
    _require(
        isinstance(component, Emission),
        f"make must return an Emission, got {type(component).__name__}; derive the "
        "family from Emission or GLMEmission and pass the class or a function",
    )
    name = type(component).__name__
    _require(
        bool(component.sites),
        f"{name} declares no parameters; assign Sites to attributes in __init__, after "
        "super().__init__()",
    )
    design = torch.randn(steps, covariates_dim, dtype=torch.float64)
    blank = Sequences(np.zeros(steps), design, lengths=list(lengths))
    model = GLMHMM(num_states, make(), InputDriven())
    params = _random_params(name, model, blank)
    case = _Case(name, model, blank, params)
    values = _draw(case, design)
    data = blank.replace(emissions=values, emission_names=None)
    model.bind(data)
    return _Case(name, model, data, params)


def _random_params(name: str, model: GLMHMM, data: Sequences) -> dict[str, Tensor]:
    """Values of all sites, half a standard normal in unconstrained coordinates."""
    for component in model.components.values():
        # Not the family's own bind: it may look at emissions, and there are none yet.
        component.num_features = data.num_features
    trace = poutine.trace(_priors).get_trace(model)
    params = {}
    for site, node in trace.nodes.items():
        if node["type"] != "sample":
            continue
        transform = biject_to(node["fn"].support)
        free = 0.5 * torch.randn_like(transform.inv(node["value"]))
        params[site] = transform(free)
    own = [site for site in params if site.startswith("emissions.")]
    _require(bool(own), f"{name} has no sample sites: declare its parameters as Sites")
    return params


@pyro_method
def _priors(model: GLMHMM) -> None:
    """Visit every parameter of a model."""
    for _, component, attribute in model.site_names():
        getattr(component, attribute)


def _draw(case: _Case, design: Tensor) -> Tensor:
    """Emissions of random states, whose shapes and log densities are checked."""
    steps = len(design)
    states = torch.randint(case.model.num_states, (steps,))
    drawn: Distribution = case.call(lambda family: family(states, design))
    _require(
        isinstance(drawn, Distribution),
        f"{case.name}.forward must return a distribution, got {type(drawn).__name__}",
    )
    _require(
        drawn.batch_shape == (steps,),
        f"{case.name}.forward(state, covariates) must return batch shape {(steps,)} "
        f"for {steps} states, got {tuple(drawn.batch_shape)}; index the weights by "
        "weights[..., state, :] and sum over the covariates only",
    )
    values = drawn.sample()
    log_probs = drawn.log_prob(values.to(torch.float64))
    _require(
        log_probs.shape == (steps,) and bool(torch.isfinite(log_probs).all()),
        f"{case.name}: log densities of its own draws must be finite, of shape "
        f"{(steps,)}, got {log_probs.tolist()}; check the distribution's parameters",
    )
    return typed_by_support(values, drawn)


def _check_table(case: _Case) -> None:
    design, states = case.data.covariates, case.model.num_states
    table = case.call(lambda family: family.table(design))
    _require(
        table.batch_shape == (len(design), states),
        f"{case.name}.table must have batch shape (steps, states) = "
        f"{(len(design), states)}, got {tuple(table.batch_shape)}; make forward "
        "broadcast over the shape of state, or leave table out",
    )
    values = case.data.emissions.to(torch.float64)
    axis = -1 - len(table.event_shape)
    whole = table.log_prob(values.unsqueeze(axis))
    for state in range(states):
        one = torch.full((len(design),), state)
        alone = case.call(lambda family: family(one, design)).log_prob(values)
        error = (whole[:, state] - alone).abs().max().item()
        _require(
            error < _ROUNDING,
            f"{case.name}.table and {case.name}.forward differ by {error:g} nats in "
            f"state {state}; forward is the definition: correct table or leave it out",
        )


def _check_masked_steps(case: _Case) -> None:
    steps = case.data.num_steps
    observed = torch.arange(steps) != steps - 1
    masked = case.data.with_mask(observed)
    log_probs = [
        case.call(lambda family: family.log_probs(data))
        for data in (
            masked,
            masked._derive(emissions=_nan_where_masked(case.data, observed)),
        )
    ]
    _require(
        bool((log_probs[0][~observed] == 0).all())
        and torch.equal(log_probs[0], log_probs[1]),
        f"{case.name} reads emissions of masked steps; leave log_probs as it is: it "
        "replaces them before the distribution sees them",
    )


def _nan_where_masked(data: Sequences, observed: Tensor) -> Tensor:
    """The emissions, NaN where they are not observed."""
    values = data.emissions.to(torch.float64, copy=True)
    values[~observed] = torch.nan
    return values


def _check_enumeration(case: _Case) -> None:
    model, data = case.model, case.data
    summed = poutine.trace(poutine.condition(model, data=case.params)).get_trace(data)
    leaves = {
        name: value.clone().requires_grad_() for name, value in case.params.items()
    }
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    written_out = -elbo.differentiable_loss(
        poutine.condition(model.enumerated, data=leaves), _nothing, data
    )
    error = abs(summed.log_prob_sum().item() - written_out.item())
    _require(
        error < _ROUNDING,
        f"{case.name}: the states summed out and the states enumerated differ by "
        f"{error:g} nats; forward must broadcast over any shape of state",
    )


def _nothing(data: Sequences) -> None:
    """The guide of a model without latent continuous variables."""


def _check_gradient(case: _Case) -> None:
    leaves = {n: v.clone().requires_grad_() for n, v in case.params.items()}
    hidden = poutine.condition(case.model.hidden_markov, data=leaves)(case.data)
    value = hidden.log_prob(case.data.emissions)
    own = {n: v for n, v in leaves.items() if n.startswith("emissions.")}
    gradients = torch.autograd.grad(value, list(own.values()), allow_unused=True)
    for name, gradient in zip(own, gradients):
        _require(
            gradient is not None and bool(torch.isfinite(gradient).all()),
            f"{case.name}: the gradient with respect to {name} must exist and be "
            "finite; compute with torch operations on the parameter, without detach, "
            "item or numpy, and use it in forward",
        )


def _check_blocks(case: _Case) -> None:
    """A state's row of the parameters moves that state's likelihoods alone."""
    family = case.model.emissions
    if not family.separates():
        return
    before = case.call(lambda component: component.log_probs(case.data))
    for state in range(case.model.num_states):
        params = dict(case.params)
        for attribute in family.sites:
            moved = params[f"emissions.{attribute}"].clone()
            moved[state] = moved[state] * 1.1
            params[f"emissions.{attribute}"] = moved
        after = case.call(lambda component: component.log_probs(case.data), params)
        others = torch.arange(case.model.num_states) != state
        _require(
            torch.equal(before[:, others], after[:, others]),
            f"{case.name} declares blocks = {family.blocks!r}, but the parameters of "
            f"state {state} change the likelihood of other states; set blocks = None",
        )


def _check_em(case: _Case) -> None:
    try:
        EM(num_iters=2, tol=0.0).run(case.model, case.data, [case.params])
    except FallingLikelihoodError as error:
        raise AssertionError(
            f"{case.name}: {error.args[0].split(';')[0]}; a closed form or block "
            "objective of the family disagrees with its definition"
        ) from error


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise AssertionError(sentence)
