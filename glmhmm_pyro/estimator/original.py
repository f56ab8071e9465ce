"""The model of the original program of Calhoun, Pillow & Murthy (2019)."""

from typing import Any

import numpy as np
from pyro.distributions import Categorical
from torch import Tensor

from glmhmm_pyro.components import Categorical as CategoricalEmission
from glmhmm_pyro.components import Emission, Gaussian, Initial, Outputs, Transitions
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.soft_labels import TransitionObjective
from glmhmm_pyro.estimator.trials import analog_names
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
        """Sizes of the axes; destinations include staying."""
        return {**super().sizes(), "destination": self.num_states}

    def forward(self, state: Tensor, covariates: Tensor) -> Categorical:
        """Softmax of the linear predictors of the state's row, 0 for staying."""
        scores = (self.weights[..., state, :, :] * covariates.unsqueeze(-2)).sum(-1)
        staying = state.unsqueeze(-1) == self.all_states(state.device)
        return Categorical(logits=scores.masked_fill(staying, 0.0), validate_args=False)

    def logits(self, data: Sequences) -> Tensor:
        """The linear predictors, by one product, 0 for staying."""
        weights, states = self.weights, self.all_states(data.device)
        scores = self.operator(data) @ weights.flatten(-3, -2).transpose(-1, -2)
        scores = scores.reshape(scores.shape[:-1] + weights.shape[-3:-1])
        return scores.masked_fill(states[:, None] == states, 0.0)

    def block_objective(self, data: Sequences) -> "SquareObjective":
        """All rows' softmax regressions evaluated together."""
        states = len(self.all_states(data.device))
        return SquareObjective(self.operator(data), states)


class SquareObjective(TransitionObjective):
    """Block objective of :class:`SquareInputDriven`: rows of staying change nothing."""

    def __call__(
        self,
        points: np.ndarray,
        which: np.ndarray,
        counts: tuple[np.ndarray, np.ndarray],
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


def weight_sites(sizes: tuple[int, int, int]) -> dict[str, str]:
    """Sites of the model by the names of the weights that they hold."""
    states, free, outputs = sizes
    found = {"trans_w": TRANSITIONS} if states > 1 else {}
    part = "emissions.{}." if free and outputs else "emissions."
    if free:
        found["emit_w"] = part.format("symb") + "weights"
    if outputs:
        found["analog_emit_w"] = part.format("analog") + "weights"
        found["analog_emit_scale"] = part.format("analog") + "scale"
    return found


def output_of(kind: str, sizes: tuple[int, int, int]) -> str:
    """Name of an output of the model: that of its kind, where there are both."""
    return kind if sizes[1] and sizes[2] else ""
