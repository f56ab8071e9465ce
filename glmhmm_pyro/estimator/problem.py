"""What is fitted: trials as each part reads them, a start, and penalties in time."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch.distributions import Distribution

from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.estimator.annealing import Schedule
from glmhmm_pyro.estimator.layout import Layout
from glmhmm_pyro.estimator.original import (
    INITIAL,
    TRANSITIONS,
    at_weights,
    distribution,
    original_model,
    original_params,
    site_of,
    weights_of,
)
from glmhmm_pyro.estimator.penalties import Penalties
from glmhmm_pyro.estimator.trials import Trials
from glmhmm_pyro.estimator.weights import Weights
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences


class AnalogPrior(Protocol):
    """A prior of the analog outputs' weights, in the rows that are read."""

    def prior(self) -> Distribution:
        """As the model takes it."""

    def penalty(self, weights: np.ndarray) -> float:
        """What it takes from the log-likelihood, nats."""


@dataclass(frozen=True)
class Iteration:
    """What one EM iteration arrived at.

    Attributes:
        params: values of the sites.
        initial_nats: minus the expected log-probability of the first states.
        transition_nats: the same of the transitions.
        emission_nats: the same of the labels.
        analog_nats: the same of the analog outputs.
        log_likelihood: marginal log-likelihood at ``params``, nats.
        penalties: those in force.
    """

    params: Params
    initial_nats: float
    transition_nats: float
    emission_nats: float
    analog_nats: float
    log_likelihood: float
    penalties: Penalties

    @property
    def loglik(self) -> float:
        """The figure that the original reports: minus the sum of the expectations."""
        parts = self.initial_nats + self.transition_nats + self.emission_nats
        return parts + self.analog_nats


@dataclass(frozen=True)
class Problem:
    """A fit that is to be made.

    Attributes:
        trials: what is fitted.
        data: the same, as each part reads it.
        layout: which rows of X those are.
        start: starting weights of all rows.
        schedule: the penalties of every iteration.
        analog: prior of the analog outputs' weights; ``None`` for flat.
    """

    trials: Trials
    data: Sequences
    layout: Layout
    start: Weights
    schedule: Schedule
    analog: AnalogPrior | None = None

    @classmethod
    def of(
        cls, trials: Trials, layout: Layout, start: Weights, schedule: Schedule
    ) -> "Problem":
        """From trials."""
        return cls(trials, layout.sequences(trials), layout, start, schedule)

    def under(self, penalties: Penalties, start: Weights) -> "Problem":
        """The same with other penalties, the same at every iteration."""
        return replace(self, schedule=Schedule(penalties), start=start)

    @property
    def params(self) -> Params:
        """Values of the sites at the start, with a leading axis of size 1."""
        return original_params(self.layout.read(self.start), self.data.num_sessions)

    def model(self, penalties: Penalties) -> GLMHMM:
        """The model with these penalties as its priors, bound to the data."""
        bins, layout = self.data.num_steps, self.layout
        model = original_model(
            self.start.sizes,
            penalties.prior(penalties.emit_lambda, layout.emissions, bins),
            penalties.prior(penalties.trans_lambda, layout.transitions, bins),
            None if self.analog is None else self.analog.prior(),
        )
        model.bind(self.data)
        return model

    def distribution(self, iteration: Iteration) -> HiddenMarkov:
        """Distribution of the labels of these trials after an iteration."""
        params = {name: value[0] for name, value in iteration.params.items()}
        return distribution(self.model(iteration.penalties), self.data, params)

    def penalty(self, penalties: Penalties, params: Params) -> float:
        """What the penalties take from the log-likelihood, nats."""
        emit_lambda, trans_lambda = penalties.emit_lambda, penalties.trans_lambda
        layout = self.layout
        parts = {TRANSITIONS: (trans_lambda, layout.transitions)}
        if self.start.sizes[1]:
            site = site_of("symb.weights", self.start.sizes)
            parts[site] = (emit_lambda, layout.emissions)
        total = 0.0
        for name, (ridge, columns) in parts.items():
            if name in params:
                rows = params[name].numpy()
                total += float((rows @ penalties.matrix(ridge, columns) * rows).sum())
        total *= self.data.num_steps / 2
        if self.analog is not None:
            weights = weights_of(params, self.layout.read(self.start))
            total += self.analog.penalty(weights.analog)
        return total

    def weights(self, iteration: Iteration) -> Weights:
        """Weights of all rows of X after an iteration, as copies."""
        start = self.layout.read(self.start)
        return self.layout.spread(weights_of(iteration.params, start))

    def held_out(self, weights: Weights, trials: Trials) -> float:
        """Log-likelihood of other trials, nats; uniform first states."""
        data = self.layout.sequences(trials)
        hidden = at_weights(self.layout.read(weights), data)
        with torch.no_grad():
            return float(hidden.log_prob(data.emissions))

    def entry(self, iteration: Iteration) -> dict[str, Any]:
        """What users get of an iteration; every array a copy."""
        weights, first = self.weights(iteration), iteration.params.get(INITIAL)
        alone = np.ones((self.data.num_sessions, 1))
        likelihood, penalties = iteration.log_likelihood, iteration.penalties
        penalty = self.penalty(penalties, iteration.params)
        analog = {
            "analog_emit_w": weights.analog,
            "analog_emit_scale": weights.scale,
            "analog_likelihood": iteration.analog_nats,
        }
        return (analog if weights.sizes[2] else {}) | {
            "emit_w": weights.emissions,
            "trans_w": weights.transitions,
            "prior": alone if first is None else first[0].numpy().copy(),
            "loglik": iteration.loglik,
            "initial_likelihood": iteration.initial_nats,
            "symb_likelihood": iteration.emission_nats,
            "trans_likelihood": iteration.transition_nats,
            "marginal_log_likelihood": likelihood,
            "penalised_log_likelihood": likelihood - penalty,
            "emit_lambda": penalties.emit_lambda,
            "trans_lambda": penalties.trans_lambda,
            "smooth_lambda": penalties.smooth_lambda,
        }
