"""The model of the original program of Calhoun, Pillow & Murthy (2019)."""

from typing import Any

import numpy as np
import torch
from pyro.distributions import Categorical
from torch import Tensor

from glmhmm_pyro.components import Categorical as CategoricalEmission
from glmhmm_pyro.components import Emission, Gaussian, Initial, Outputs, Transitions
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.transitions import TransitionObjective
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.estimator.trials import analog_names
from glmhmm_pyro.estimator.weights import Weights
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.sequences import Sequences

TRANSITIONS, INITIAL = "transitions.weights", "initial.probs"


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
    sizes: tuple[int, int, int],
    emit_prior: Prior = None,
    trans_prior: Prior = None,
    analog_prior: Prior = None,
) -> GLMHMM:
    """The original's model; its penalties as priors of rows of weights.

    Args:
        sizes: numbers of states, of labels but the reference, and of analog outputs.
        emit_prior: of the weights of labels.
        trans_prior: of the weights of transitions.
        analog_prior: of the weights of analog outputs.
    """
    states, free, outputs = sizes
    families: dict[str, Emission] = {}
    if free:
        families["symb"] = CategoricalEmission(free + 1, emit_prior)
    if outputs:
        several = outputs if outputs > 1 else None
        families["analog"] = Gaussian(several, prior=analog_prior)
    emissions: Emission
    if len(families) > 1:
        columns = {"analog": analog_names(outputs)}
        emissions = Outputs(columns=columns, **families)
    else:
        (emissions,) = families.values()
    transitions, initial = SquareInputDriven(trans_prior), Initial(per_session=True)
    return GLMHMM(states, emissions, transitions, initial)


def original_params(weights: Weights, num_trials: int) -> Params:
    """Values of the sites; uniform first states."""
    states, free, outputs = weights.sizes
    params: Params = {}
    if free:
        params[site_of("symb.weights", weights.sizes)] = torch.tensor(weights.emissions)
    if outputs:
        # A single output has no axis of its own.
        which: Any = slice(None) if outputs > 1 else 0
        for name, value in (("weights", weights.analog), ("scale", weights.scale)):
            site = site_of(f"analog.{name}", weights.sizes)
            params[site] = torch.tensor(value[:, which])
    if states > 1:
        shape = (num_trials, states)
        params[TRANSITIONS] = torch.tensor(weights.transitions)
        params[INITIAL] = torch.full(shape, 1 / states, dtype=torch.float64)
    return params


def weights_of(params: Params, start: Weights) -> Weights:
    """The weights among values of the sites; those without a site as they started."""
    states, free, outputs = start.sizes
    found: dict[str, np.ndarray] = {n: v.numpy() for n, v in params.items()}
    analog, scale = start.analog, start.scale
    if outputs:
        analog = found[site_of("analog.weights", start.sizes)].reshape(analog.shape)
        scale = found[site_of("analog.scale", start.sizes)].reshape(scale.shape)
    return Weights(
        found[site_of("symb.weights", start.sizes)] if free else start.emissions,
        found.get(TRANSITIONS, start.transitions),
        analog,
        scale,
    )


def site_of(parameter: str, sizes: tuple[int, int, int]) -> str:
    """Name of the site of a parameter of emissions, ``"symb."`` or ``"analog."``.

    Labels without analog outputs, and these without labels, have no name.
    """
    kind, _, attribute = parameter.partition(".")
    name = output_of(kind, sizes)
    return f"emissions.{name}.{attribute}" if name else f"emissions.{attribute}"


def output_of(kind: str, sizes: tuple[int, int, int]) -> str:
    """Name of an output of the model: that of its kind, where there are both."""
    return kind if sizes[1] and sizes[2] else ""


def at_weights(weights: Weights, data: Sequences) -> HiddenMarkov:
    """Distribution of the emissions of any trials; uniform first states."""
    params = original_params(weights, data.num_sessions)
    model = original_model(weights.sizes)
    model.bind(data)
    with torch.no_grad():
        return model.hidden_markov_at(params, data)
