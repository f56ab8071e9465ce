"""What a fitted estimator says of trials, new ones as well."""

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.estimator.original import at_weights, without_emissions
from glmhmm_pyro.estimator.trials import Trials
from glmhmm_pyro.sequences import Sequences


class Predictions:
    """Labels, states and scores at the fitted weights; first states are uniform."""

    emit_w_: np.ndarray
    trans_w_: np.ndarray

    def predict(self, X: Any, y: Any = None) -> list[np.ndarray]:
        """The most probable label at every bin, as :meth:`predict_proba` gives it.

        Args:
            X: list of arrays (features, bins).
            y: labels of the same bins, of which each prediction reads the earlier ones;
                ``None`` predicts from the covariates alone.

        Returns:
            A list of integer arrays (bins,).
        """
        return [probs.argmax(-1) for probs in self.predict_proba(X, y)]

    def predict_proba(self, X: Any, y: Any = None) -> list[np.ndarray]:
        """Probabilities of the labels at every bin, one step ahead.

        They are p(y_t | y_0..t-1, X). Where ``y`` is ``None`` no label is known (open
        loop): the states follow from the covariates alone, p(y_t | X). First states are
        uniform, as at the original's first E-step.

        Args:
            X: list of arrays (features, bins).
            y: list of labels (bins,), NaN where there is none, or ``None``.

        Returns:
            A list of arrays (bins, labels).
        """
        data, hidden = self._on(X, y)
        states = hidden.predicted_probs(data.emissions)
        return self._split(data, hidden.expected_emission(states))

    def predict_states(self, X: Any, y: Any = None) -> list[np.ndarray]:
        """The most probable path of hidden states (Viterbi); uniform first states.

        Args:
            X: list of arrays (features, bins).
            y: list of labels (bins,), or ``None`` to go by the covariates alone.

        Returns:
            A list of integer arrays (bins,).
        """
        data, hidden = self._on(X, y)
        return self._split(data, hidden.viterbi_states(data.emissions))

    def predict_states_proba(self, X: Any, y: Any = None) -> list[np.ndarray]:
        """Probabilities p(z_t | y, X) of the hidden states given all labels of a trial.

        Args:
            X: list of arrays (features, bins).
            y: list of labels (bins,), or ``None`` to go by the covariates alone.

        Returns:
            A list of arrays (bins, states).
        """
        data, hidden = self._on(X, y)
        return self._split(data, hidden.smoothed_probs(data.emissions))

    def score(self, X: Any, y: Any) -> float:
        """Marginal log-likelihood per labelled bin, nats; uniform first states.

        Args:
            X: list of arrays (features, bins).
            y: list of labels (bins,), NaN where there is none.
        """
        if y is None:
            raise ValueError("y must be a list of labels to score against, got None")
        data, hidden = self._on(X, y)
        observed = data.num_steps if data.mask is None else int(data.mask.sum())
        with torch.no_grad():
            return float(hidden.log_prob(data.emissions).sum()) / observed

    def _on(self, X: Any, y: Any) -> tuple[Sequences, HiddenMarkov]:
        """New trials, and their distribution at the fitted weights."""
        check_is_fitted(self)
        _, free, features = self.emit_w_.shape
        trials = Trials.checked(X, y, free + 1, features, "as in fit")
        data = trials.sequences(None, None)
        hidden = at_weights(self.emit_w_, self.trans_w_, data)
        return data, hidden if y is not None else without_emissions(hidden)

    @staticmethod
    def _split(data: Sequences, values: torch.Tensor) -> list[np.ndarray]:
        """An array of its own for every trial."""
        return [part.numpy().copy() for part in data.split(values)]
