"""What is fitted: trials as each part reads them, a start, and penalties in time."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch.distributions import Distribution

from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.estimator.original import INITIAL, original_model
from glmhmm_pyro.estimator.penalties import Penalties
from glmhmm_pyro.estimator.penalty_schedule import Schedule
from glmhmm_pyro.estimator.rows import Layout
from glmhmm_pyro.estimator.trials import Trials
from glmhmm_pyro.estimator.weight_arrays import Weights
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences


@dataclass(frozen=True)
class Iteration:
    """What one EM iteration arrived at.

    Attributes:
        params: values of the sites.
        nats: minus the expected log-probability of every part: "initial", "trans",
            "symb", and "analog" where there are analog outputs.
        log_likelihood: marginal log-likelihood at ``params``, nats.
        log_joint: the same plus the log density of all priors.
        penalties: those in force.
    """

    params: Params
    nats: Mapping[str, float]
    log_likelihood: float
    log_joint: float
    penalties: Penalties

    @property
    def loglik(self) -> float:
        """The figure that the original reports: minus the sum of the expectations."""
        return sum(self.nats.values())


@dataclass(frozen=True)
class Problem:
    """A fit that is to be made.

    Attributes:
        trials: what is fitted.
        layout: which rows of X each part reads.
        start: starting weights of all rows.
        schedule: the penalties of every iteration.
        analog: prior of the analog outputs' weights; ``None`` for flat.
    """

    trials: Trials
    layout: Layout
    start: Weights
    schedule: Schedule
    analog: Distribution | None = None

    @cached_property
    def data(self) -> Sequences:
        """The trials, as each part reads them."""
        return self.trials.sequences(self.layout.emissions, self.layout.transitions)

    @property
    def params(self) -> Params:
        """Values of the sites at the start."""
        return self.layout.params(self.start, self.data.num_sessions)

    def model(self, penalties: Penalties) -> GLMHMM:
        """The model with these penalties as its priors, bound to the data."""
        bins, layout = self.data.num_steps, self.layout
        model = original_model(
            self.start.sizes,
            penalties.prior(penalties.emit_lambda, layout.emissions, bins),
            penalties.prior(penalties.trans_lambda, layout.transitions, bins),
            self.analog,
        )
        model.bind(self.data)
        return model

    def distribution(self, iteration: Iteration) -> HiddenMarkov:
        """Distribution of the labels of these trials after an iteration."""
        model = self.model(iteration.penalties)
        return model.hidden_markov_at(iteration.params, self.data)

    def weights(self, iteration: Iteration) -> Weights:
        """Weights of all rows of X after an iteration, as copies."""
        return self.layout.weights(iteration.params, self.start)

    def entry(self, iteration: Iteration) -> dict[str, Any]:
        """What users get of an iteration; every array a copy."""
        first = iteration.params.get(INITIAL)
        alone = np.ones((self.data.num_sessions, 1))
        penalties = iteration.penalties
        parts = {f"{name}_likelihood": nats for name, nats in iteration.nats.items()}
        # Penalties are 0 where the weights are; a normal density has its normaliser.
        level = 0.0
        if self.analog is not None:
            level = float(self.analog.log_prob(self.analog.mean).sum())
        return {
            **self.weights(iteration).shown,
            "prior": alone if first is None else first.numpy().copy(),
            "loglik": iteration.loglik,
            **parts,
            "marginal_log_likelihood": iteration.log_likelihood,
            "penalised_log_likelihood": iteration.log_joint - level,
            "emit_lambda": penalties.emit_lambda,
            "trans_lambda": penalties.trans_lambda,
            "smooth_lambda": penalties.smooth_lambda,
        }
