"""The model of the original program of Calhoun, Pillow & Murthy (2019)."""

from typing import Any

import numpy as np
import torch
from pyro import poutine
from pyro.distributions import Categorical
from torch import Tensor

from glmhmm_pyro.components import Categorical as CategoricalEmission
from glmhmm_pyro.components import Initial, Transitions
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.transitions import TransitionObjective
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.coordinates import Params
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.sequences import Sequences

EMISSIONS, TRANSITIONS, INITIAL = (
    "emissions.weights",
    "transitions.weights",
    "initial.probs",
)


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


def original_model(
    num_states: int,
    num_emissions: int,
    emit_prior: Prior = None,
    trans_prior: Prior = None,
) -> GLMHMM:
    """The original's model; its penalties as priors of rows of weights."""
    return GLMHMM(
        num_states,
        CategoricalEmission(num_emissions, emit_prior),
        SquareInputDriven(trans_prior),
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


def at_weights(
    emit_w: np.ndarray, trans_w: np.ndarray, data: Sequences
) -> HiddenMarkov:
    """Distribution of the labels of any trials; uniform first states."""
    states, free, _ = emit_w.shape
    params = original_params(emit_w, trans_w, data.num_sessions)
    params = {name: value[0] for name, value in params.items()}
    return distribution(original_model(states, free + 1), data, params)


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
