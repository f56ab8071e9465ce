"""What a chain reads of one step, at all parameters of a fit at once, in numpy.

Covariates act on transitions and predictors by a product, or not at all, in every
component of the package. So what torch makes of a few rows, all 0 but for one column,
says what it would make of any, and a step takes a product in numpy. Components of the
user's own are asked at every step.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.components.reader import CovariateReader
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.step_laws import EmissionLaw, TorchLaw
from glmhmm_pyro.components.transitions import InputDriven, SharedInputDriven
from glmhmm_pyro.concurrency import usual_modes
from glmhmm_pyro.distributions import normalised
from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.model import GLMHMM
from glmhmm_pyro.sequences import Sequences


class FitPotentials:
    """First states, moves and laws of emissions, step by step.

    Args:
        model: the model, bound.
        params: values of the sites, (sets, *shape) each.
        blank: one step, with the columns of the data fitted.
    """

    def __init__(self, model: GLMHMM, params: Params, blank: Sequences):
        self.model, self.session = model, blank
        self.expansion = model.transitions.expansion
        self.num_sets = len(next(iter(params.values())))
        sets = range(self.num_sets)
        self.alone = [{n: v[i] for n, v in params.items()} for i in sets]
        together = all(c.batched for c in model.components.values())
        self.sets = [params] if together else self.alone
        refuse_own_designs(model)
        self.read = model.emissions.places_among(blank.covariate_names)
        self.laws = [self._at(s, model.emissions.step_law) for s in self.sets]
        self.make_moves = self._moves_made()

    def first(self, session: Sequences) -> np.ndarray:
        """Begin a session: probabilities of its first chain states (sets, states).

        Args:
            session: one step of it.
        """
        self.session = session
        initial, transitions = self.model.initial, self.model.transitions

        def entered() -> Tensor:
            within = transitions.enter(normalised(initial.logits(session)))
            return self.expansion.enter(within).exp()[..., 0, :]

        return self._stacked(entered, 1)

    def moves(self, inputs: np.ndarray) -> np.ndarray:
        """Transition probabilities INTO a step (sets, states, states).

        Args:
            inputs: transition covariates (features,).
        """
        return self.make_moves(inputs)

    def crossed(self, session: Sequences, inputs: np.ndarray) -> np.ndarray:
        """Probabilities of moves INTO a session that goes on (sets, states, states).

        Args:
            session: one step of it.
            inputs: transition covariates of its first step (features,).
        """
        data = session._derive(transition_covariates=torch.from_numpy(inputs)[None])
        transitions, initial = self.model.transitions, self.model.initial

        def found() -> Tensor:
            states = transitions.all_states(data.device)
            entered: Tensor = initial.entered(data)
            return transitions.cross(states, transitions.inputs(data), entered).exp()

        tables = [self._at(params, found) for params in self.alone]
        return torch.stack(tables).double().numpy()

    def emitted(self, inputs: np.ndarray) -> list[EmissionLaw]:
        """Laws of the emission of a step, of some of the sets each.

        Args:
            inputs: covariates (features,).
        """
        read = inputs[self.read]
        return [
            self._law_by_table(params, inputs) if law is None else law(read)
            for law, params in zip(self.laws, self.sets)
        ]

    def _law_by_table(self, params: Params, inputs: np.ndarray) -> EmissionLaw:
        row = self.session._derive(covariates=torch.from_numpy(inputs)[None])
        emissions = self.model.emissions
        table = self._at(params, lambda: emissions.table(emissions.factors(row)))
        return TorchLaw(table)

    def _moves_made(self) -> Callable[[np.ndarray], np.ndarray]:
        """What gives the moves of any step."""
        transitions = self.model.transitions
        if transitions.varies_over:
            return self._moves_by_row
        width = self.session.num_transition_features
        probe = np.concatenate([np.zeros((1, width)), np.eye(width)])
        logits = self._logits(probe)
        if logits.shape[1] == 1:
            same = np.exp(logits[:, 0])
            return lambda inputs: same
        has_linear_logits = isinstance(transitions, (InputDriven, SharedInputDriven))
        if not (transitions.is_linear and has_linear_logits):
            return self._moves_by_row
        base = logits[:, 0]
        # What cannot be has log-odds of -inf, whatever the covariates.
        rises = logits[:, 1:] - np.where(np.isfinite(base), base, 0.0)[:, None]
        rises = np.where(np.isfinite(rises), rises, 0.0)
        flat = np.moveaxis(rises, 1, -1).reshape(-1, width)

        def moves(inputs: np.ndarray) -> np.ndarray:
            scores = base + (flat @ inputs).reshape(base.shape)
            probs = np.exp(scores - scores.max(-1, keepdims=True))
            return probs / probs.sum(-1, keepdims=True)

        return moves

    def _moves_by_row(self, inputs: np.ndarray) -> np.ndarray:
        logits = self._logits(inputs[None])[:, 0]
        return np.exp(logits - np.logaddexp.reduce(logits, -1, keepdims=True))

    def _logits(self, rows: np.ndarray) -> np.ndarray:
        """Log-odds of moves INTO rows, not normalised, (sets, rows or 1, ...)."""
        data = self.session._derive(transition_covariates=torch.from_numpy(rows))
        return self._stacked(lambda: self.model.transitions.logits(data), 3)

    def _stacked(self, function: Callable[[], Tensor], axes: int) -> np.ndarray:
        """A tensor of so many axes at all sets, (sets, ...)."""
        found = [self._at(params, function) for params in self.sets]
        parts = [f.reshape((-1,) + f.shape[f.dim() - axes :]) for f in found]
        return torch.cat(parts).double().numpy()

    @usual_modes()
    def _at(self, params: Params, function: Callable[[], Any]) -> Any:
        with self.model.at(params), torch.no_grad():
            return function()


def refuse_own_designs(model: GLMHMM) -> None:
    """Raise an error for components that make covariates from all data at once."""
    for name, component in model.components.items():
        if not is_as_defined(component, CovariateReader, "design"):
            raise ValueError(
                "model must read the covariates of a step as they are to follow an "
                f"experiment, got {type(component).__name__} for {name}, which makes "
                "its own by design(data); make them by a Design"
            )
