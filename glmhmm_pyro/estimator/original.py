"""EM with the choices of the original program of Calhoun, Pillow & Murthy (2019).

They are: an initial distribution for every trial, uniform at first and then the
posterior of the E-step; one run of minFunc's L-BFGS for every state, its objective
divided by the number of bins while the penalty is not; and a stopping rule on the
expected complete-data log-likelihood instead of the marginal one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro import poutine
from pyro.distributions import Categorical
from torch import Tensor

from glmhmm_pyro.chain import ExpectedCounts
from glmhmm_pyro.components import Categorical as CategoricalEmission
from glmhmm_pyro.components import Initial, Transitions
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.transitions import TransitionObjective
from glmhmm_pyro.distributions import HiddenMarkov, weighted_sum
from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.inference.m_step import MStep
from glmhmm_pyro.inference.status import FallingLikelihoodError
from glmhmm_pyro.inference.steps import check_possible, e_step, m_step
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.optim import LBFGSOptions
from glmhmm_pyro.priors import prior_from_lambda
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.sequences import Sequences

EMISSIONS, TRANSITIONS, INITIAL = (
    "emissions.weights",
    "transitions.weights",
    "initial.probs",
)

# A fall of the log-joint below this, relative to its size, is rounding.
_ROUNDING = 1e-9


class SquareInputDriven(Transitions):
    """Input-driven transitions whose weights hold the ignored rows of staying too.

    The original keeps a weight for every pair of states and reads the log-odds of
    staying as 0 all the same. A penalty acts on those rows, and through the length of
    the vector on the path of the optimiser, so a faithful run needs them.

    Args:
        prior: distribution that broadcasts to the weights (origins, destinations,
            features), or ``None`` for flat.
    """

    blocks = "origin"
    batched = True
    weights: Any

    def __init__(self, prior: Prior = None):
        super().__init__()
        self.prior = prior
        self.weights = Site("origin", "destination", "covariate", prior=prior)

    def sizes(self) -> dict[str, int | None]:
        """As for every component, and all destinations."""
        return {**super().sizes(), "destination": self.num_states}

    def forward(self, state: Tensor, covariates: Tensor) -> Categorical:
        """Softmax of the linear predictors of the state's row, 0 for staying."""
        scores = (self.weights[..., state, :, :] * covariates.unsqueeze(-2)).sum(-1)
        staying = state.unsqueeze(-1) == self.all_states(state.device)
        return Categorical(logits=scores.masked_fill(staying, 0.0), validate_args=False)

    def logits(self, data: Any) -> Tensor:
        """The linear predictors, by one product, 0 for staying."""
        weights, states = self.weights, self.all_states(data.device)
        scores = self.design(data) @ weights.flatten(-3, -2).transpose(-1, -2)
        scores = scores.reshape(scores.shape[:-1] + weights.shape[-3:-1])
        return scores.masked_fill(states[:, None] == states, 0.0)

    def block_objective(self, data: Any) -> "SquareObjective":
        """All rows' softmax regressions evaluated together."""
        states = len(self.all_states(data.device))
        return SquareObjective(self.design(data).numpy(), states)


class SquareObjective(TransitionObjective):
    """Block objective of :class:`SquareInputDriven`: rows of staying change nothing."""

    def __call__(
        self, points: np.ndarray, which: np.ndarray, counts: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Value and gradient of the running problems, numbered sets times origins."""
        rows = points.reshape(len(points), self.num_states, -1)
        leaving = np.arange(self.num_states) != (which % self.num_states)[:, None]
        free = rows[leaving].reshape(len(points), -1)
        values, slopes = super().__call__(free, which, counts)
        gradient = np.zeros_like(rows)
        gradient[leaving] = slopes.reshape(-1, rows.shape[-1])
        return values, gradient.reshape(points.shape)


@dataclass(frozen=True)
class Iteration:
    """What one EM iteration arrived at.

    Attributes:
        params: values of the sites.
        initial_nats: minus the expected log-probability of the first states.
        transition_nats: the same of the transitions.
        emission_nats: the same of the emissions.
        log_likelihood: marginal log-likelihood at ``params``, nats.
    """

    params: Params
    initial_nats: float
    transition_nats: float
    emission_nats: float
    log_likelihood: float

    @property
    def loglik(self) -> float:
        """The figure that the original reports: minus the sum of the expectations."""
        return self.initial_nats + self.transition_nats + self.emission_nats


@dataclass(frozen=True)
class OriginalEM:
    """The original's EM and its options.

    Args:
        max_iter: largest number of iterations.
        tol: an iteration stalls if ``loglik`` changes by less than this, relative to
            its size; two such iterations in a row end the run.
        init_loglik: what the first ``loglik`` is compared with.
        fit_emissions: whether the emissions are fitted, or stay as they start.
    """

    max_iter: int
    tol: float
    init_loglik: float
    fit_emissions: bool = True

    def run(
        self, model: GLMHMM, data: Sequences, params: Params
    ) -> tuple[list[Iteration], bool]:
        """All iterations from these parameters, and whether the last two stalled.

        Args:
            model: bound to the data.
            params: values of the sites, with a leading axis of size 1.
        """
        m_steps = {
            name: MStep(component, data, LBFGSOptions())
            for name, component in model.components.items()
            if self.fit_emissions or name != "emissions"
        }
        iterations: list[Iteration] = []
        counts, _, joints = e_step(model, data, params)
        check_possible(joints[0])
        before, stalled = self.init_loglik, False
        while len(iterations) < self.max_iter:
            params = params | m_step(m_steps, counts, params)
            hidden, expected = distribution(model, data, params), counts
            counts, likelihoods, new_joints = e_step(model, data, params)
            _check_rise(joints[0], new_joints[0], len(iterations) + 1)
            iterations.append(_iteration(params, hidden, data, expected, likelihoods))
            stalled_before, joints = stalled, new_joints
            stalled = abs(iterations[-1].loglik - before) < self.tol * abs(before)
            before = iterations[-1].loglik
            if stalled and stalled_before:
                return iterations, True
        return iterations, False


def original_model(
    num_states: int,
    num_emissions: int,
    emit_lambda: float = 0.0,
    trans_lambda: float = 0.0,
    num_steps: int = 1,
) -> GLMHMM:
    """The original's model; its penalties as priors.

    Args:
        emit_lambda: the penalty lambda / 2 times the sum of squares, which the original
            adds to an objective divided by ``num_steps``.
        trans_lambda: the same for the transitions.
        num_steps: number of bins of all trials.
    """
    return GLMHMM(
        num_states,
        CategoricalEmission(num_emissions, prior_from_lambda(emit_lambda, num_steps)),
        SquareInputDriven(prior_from_lambda(trans_lambda, num_steps)),
        Initial(per_session=True),
    )


def original_params(emit_w: np.ndarray, trans_w: np.ndarray, num_trials: int) -> Params:
    """Values of the sites, with a leading axis of size 1; uniform first states."""
    params = {EMISSIONS: torch.tensor(emit_w).unsqueeze(0)}
    states = len(emit_w)
    if states > 1:
        shape = (1, num_trials, states)
        params[TRANSITIONS] = torch.tensor(trans_w).unsqueeze(0)
        params[INITIAL] = torch.full(shape, 1 / states, dtype=torch.float64)
    return params


def history_entry(
    iteration: Iteration,
    data: Sequences,
    trans_w: np.ndarray,
    emit_lambda: float,
    trans_lambda: float,
) -> dict[str, Any]:
    """What users get of an iteration; every array a copy.

    Args:
        trans_w: the starting weights, which those of a single state remain.
    """
    params = {name: value[0].numpy().copy() for name, value in iteration.params.items()}
    penalty = emit_lambda * np.square(params[EMISSIONS]).sum()
    if TRANSITIONS in params:
        penalty += trans_lambda * np.square(params[TRANSITIONS]).sum()
    likelihood = iteration.log_likelihood
    return {
        "emit_w": params[EMISSIONS],
        "trans_w": params.get(TRANSITIONS, trans_w.copy()),
        "prior": params.get(INITIAL, np.ones((data.num_sessions, 1))),
        "loglik": iteration.loglik,
        "initial_likelihood": iteration.initial_nats,
        "symb_likelihood": iteration.emission_nats,
        "trans_likelihood": iteration.transition_nats,
        "marginal_log_likelihood": likelihood,
        "penalised_log_likelihood": likelihood - float(penalty) * data.num_steps / 2,
    }


def distribution(model: GLMHMM, data: Sequences, params: Params) -> HiddenMarkov:
    """Distribution of the emissions at these parameters."""
    with torch.no_grad():
        return poutine.condition(model.hidden_markov, data=params)(data)


def without_emissions(hidden: HiddenMarkov) -> HiddenMarkov:
    """The same chain with no step observed, whatever emissions it is given."""
    steps = hidden.emission_dist.batch_shape[-2]
    return HiddenMarkov(
        hidden.initial_logits,
        hidden.transition_logits,
        hidden.emission_dist,
        hidden.lengths,
        torch.zeros(steps, dtype=torch.bool),
    )


def _iteration(
    params: Params,
    hidden: HiddenMarkov,
    data: Sequences,
    counts: ExpectedCounts,
    likelihoods: list[float],
) -> Iteration:
    initial, transition, emission, _ = hidden.potentials(data.emissions)
    return Iteration(
        params,
        -float(weighted_sum(counts.initial, initial, 2)),
        -float(weighted_sum(counts.transition, transition, 3)),
        -float(weighted_sum(counts.emission, emission, 2)),
        likelihoods[0],
    )


def _check_rise(before: float, now: float, iteration: int) -> None:
    if not now - before >= -_ROUNDING * max(abs(before), 1.0):
        raise FallingLikelihoodError(
            f"the log-joint fell from {before!r} to {now!r} in EM iteration "
            f"{iteration}; an EM step cannot do that: please report it, with the data"
        )
