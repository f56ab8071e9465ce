"""The model of the original program of Calhoun, Pillow & Murthy (2019)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from pyro.distributions import Categorical
from torch import Tensor

from glmhmm_pyro.components import Categorical as CategoricalEmission
from glmhmm_pyro.components import Emission, Gaussian, Initial, Outputs, Transitions
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.soft_labels import TransitionObjective
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.estimator.parameters import Options, row_numbers
from glmhmm_pyro.estimator.trials import analog_names
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.priors.filling import Prior
from glmhmm_pyro.sequences import Sequences

INITIAL = "initial.probs"

# Weights of all rows of X, 0 in rows that are not read, by the names that users read:
# emit_w (state, label - 1, feature), trans_w (origin, destination, feature); of analog
# outputs analog_emit_w (state, output, feature), analog_emit_scale (state, output).
Weights: TypeAlias = dict[str, np.ndarray]
WEIGHTS = ("emit_w", "trans_w", "analog_emit_w", "analog_emit_scale")


class SquareInputDriven(Transitions):
    """Input-driven transitions whose weights hold the ignored rows of staying too.

    The original reads the log-odds of staying as 0 all the same. A penalty acts on
    those rows, and through the length of the vector on the path of the optimiser, so a
    faithful run needs them. Arguments are those of ``InputDriven``.
    """

    blocks = "origin"
    batched = True
    weights: Any

    def __init__(self, prior: Prior = None, covariates: Sequence[str] | None = None):
        super().__init__()
        self.choose(covariates)
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

    def logits(self, data: Sequences) -> Tensor:
        """The linear predictors, by one product, 0 for staying."""
        weights, states = self.weights, self.all_states(data.device)
        scores = self.operator(data) @ weights.flatten(-3, -2).transpose(-1, -2)
        scores = scores.reshape(scores.shape[:-1] + weights.shape[-3:-1])
        return scores.masked_fill(states[:, None] == states, 0.0)

    def block_objective(self, data: Sequences) -> "SquareObjective":
        """All rows' softmax regressions evaluated together."""
        return SquareObjective(self.operator(data), len(self.all_states(data.device)))


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
class Original:
    """The original's model: how much of everything there is, and who reads what of X.

    Labels are counted without the reference; ``why`` says for messages where the number
    of rows of X comes from. Rows that parts read are ``None`` where they read all.
    """

    states: int
    free: int
    outputs: int
    num_features: int
    why: str
    emissions: tuple[int, ...] | None = None
    transitions: tuple[int, ...] | None = None

    @classmethod
    def of(cls, options: Options, outputs: int, given: Mapping[str, Any]) -> "Original":
        """From the estimator's parameters, and the starting weights as given."""
        number = options["num_feedbacks"] * options["num_filter_bins"]
        number += options["filter_offset"]
        why = "as num_feedbacks * num_filter_bins + filter_offset says"
        emit_w, trans_w = given["emit_w"], given["trans_w"]
        all_given = emit_w is not None and trans_w is not None
        if all_given and not options["add_filters"]:
            number = np.shape(emit_w)[-1] if np.ndim(emit_w) else 0
            why = "as many rows as emit_w_init has features"
        last = (number - 1,)
        read = row_numbers("train_bins", options["train_bins"], number) or None
        return cls(
            options["num_states"],
            options["num_emissions"] - 1 if options["symb_exists"] else 0,
            outputs,
            number,
            why,
            None if options["GLM_emissions"] else last,
            read if options["GLM_transitions"] else last,
        )

    @classmethod
    def fitted(cls, weights: Weights) -> "Original":
        """That of weights which were fitted, by all rows of X."""
        outputs = weights.get("analog_emit_w", np.zeros((0, 0))).shape[1]
        states, free, number = weights["emit_w"].shape
        return cls(states, free, outputs, number, "as in fit")

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of rows of X, of labels, and of analog outputs."""
        return self.num_features, self.free + 1, self.outputs

    @property
    def rows(self) -> dict[str, tuple[int, int]]:
        """Axes of the weights but the last one, which is that of the rows of X."""
        analog = {"analog_emit_w": (self.states, self.outputs)} if self.outputs else {}
        square = (self.states, self.states)
        return {"emit_w": (self.states, self.free), "trans_w": square, **analog}

    def columns(self, name: str) -> list[int]:
        """Rows of X that weights are read of."""
        read = self.transitions if name == "trans_w" else self.emissions
        return list(range(self.num_features) if read is None else read)

    def unread(self, name: str) -> list[int]:
        """The other rows of X."""
        return sorted({*range(self.num_features)} - {*self.columns(name)})

    def output(self, kind: str) -> str:
        """Name of an output of the model: that of its kind, where there are both."""
        return kind if self.free and self.outputs else ""

    @property
    def sites(self) -> dict[str, str]:
        """Sites of the model by the names of the weights that they hold."""
        found = {"trans_w": "transitions.weights"} if self.states > 1 else {}
        part = "emissions.{}." if self.free and self.outputs else "emissions."
        if self.free:
            found["emit_w"] = part.format("symb") + "weights"
        if self.outputs:
            found["analog_emit_w"] = part.format("analog") + "weights"
            found["analog_emit_scale"] = part.format("analog") + "scale"
        return found

    def model(
        self, emit_prior: Prior = None, trans_prior: Prior = None, analog: Prior = None
    ) -> GLMHMM:
        """The model; the original's penalties are priors of rows of weights."""
        read, moved_by = (
            None if rows is None else [f"x{row}" for row in rows]
            for rows in (self.emissions, self.transitions)
        )
        families: dict[str, Emission] = {}
        if self.free:
            families["symb"] = CategoricalEmission(self.free + 1, emit_prior, read)
        if self.outputs:
            several = self.outputs if self.outputs > 1 else None
            families["analog"] = Gaussian(several, prior=analog, covariates=read)
        emissions = next(iter(families.values()))
        if len(families) > 1:
            columns = {"analog": analog_names(self.outputs)}
            emissions = Outputs(columns=columns, **families)
        transitions = SquareInputDriven(trans_prior, moved_by)
        return GLMHMM(self.states, emissions, transitions, Initial(per_session=True))

    def params(self, weights: Mapping[str, Any], num_trials: int) -> Params:
        """Values of the sites; uniform first states."""
        params: Params = {}
        for name, site in self.sites.items():
            value = weights[name]
            if name in self.rows:
                value = value[..., self.columns(name)]
            # A single analog output has no axis of its own.
            single = name.startswith("analog") and self.outputs == 1
            params[site] = torch.tensor(value[:, 0] if single else value)
        if self.states > 1:
            shape = (num_trials, self.states)
            params[INITIAL] = torch.full(shape, 1 / self.states, dtype=torch.float64)
        return params

    def weights(self, params: Params, start: Weights) -> Weights:
        """Weights of all rows of X from values of the sites; others as they started."""
        found = {name: value.copy() for name, value in start.items()}
        for name, site in self.sites.items():
            read = self.columns(name) if name in self.rows else slice(None)
            whole = found[name]
            whole[..., read] = params[site].reshape(whole[..., read].shape)
        return found

    def distribution(self, weights: Mapping[str, Any], data: Sequences) -> HiddenMarkov:
        """Distribution of the emissions of any trials; uniform first states."""
        model = self.model()
        model.bind(data)
        with torch.no_grad():
            return model.hidden_markov_at(self.params(weights, len(data)), data)
