"""What a fitted estimator says of trials, new ones as well."""

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from glmhmm_pyro.distributions import HiddenMarkov, expected_emission
from glmhmm_pyro.estimator.original import WEIGHTS, Original, Weights
from glmhmm_pyro.estimator.trials import PerTrial, as_sequences
from glmhmm_pyro.sequences import Sequences


class Predictions:
    """Labels, states and scores at the fitted weights; first states are uniform.

    Everywhere ``y`` and ``y_analog`` are what is known of these trials, each ``None``
    for nothing.
    """

    def predict(
        self, X: PerTrial, y: PerTrial | None = None, y_analog: PerTrial | None = None
    ) -> list[np.ndarray]:
        """The most probable label at every bin, as :meth:`predict_proba` gives it.

        Arguments are as for :meth:`predict_proba`.

        Returns:
            A list of integer arrays (bins,).
        """
        return [probs.argmax(-1) for probs in self.predict_proba(X, y, y_analog)]

    def predict_proba(
        self, X: PerTrial, y: PerTrial | None = None, y_analog: PerTrial | None = None
    ) -> list[np.ndarray]:
        """Probabilities of the labels at every bin, one step ahead.

        They are p(y_t | y_0..t-1, X). Where nothing is known (open loop), the states
        follow from the covariates alone, p(y_t | X). First states are uniform, as at
        the original's first E-step.

        Args:
            X: list of arrays (features, bins).
            y: list of labels (bins,) of the same bins, NaN where there is none, of
                which each prediction reads the earlier ones; ``None`` if none is known.
            y_analog: list of arrays (outputs, bins), NaN where there is no value,
                likewise.

        Returns:
            A list of arrays (bins, labels).
        """
        return self._one_step(X, y, y_analog, "symb")

    def predict_analog(
        self, X: PerTrial, y: PerTrial | None = None, y_analog: PerTrial | None = None
    ) -> list[np.ndarray]:
        """Expected analog outputs at every bin, one step ahead, as for labels.

        Arguments are as for :meth:`predict_proba`.

        Returns:
            A list of arrays (outputs, bins).
        """
        found = self._one_step(X, y, y_analog, "analog")
        return [trial.reshape(len(trial), -1).T.copy() for trial in found]

    def predict_states(
        self, X: PerTrial, y: PerTrial | None = None, y_analog: PerTrial | None = None
    ) -> list[np.ndarray]:
        """The most probable path of hidden states (Viterbi); uniform first states.

        Arguments are as for :meth:`predict_proba`.

        Returns:
            A list of integer arrays (bins,).
        """
        data, hidden = self._on(X, y, y_analog)
        return self._split(data, hidden.viterbi_states(data.emissions))

    def predict_states_proba(
        self, X: PerTrial, y: PerTrial | None = None, y_analog: PerTrial | None = None
    ) -> list[np.ndarray]:
        """Probabilities p(z_t | y, X) of the hidden states given all of a trial.

        Arguments are as for :meth:`predict_proba`.

        Returns:
            A list of arrays (bins, states).
        """
        data, hidden = self._on(X, y, y_analog)
        return self._split(data, hidden.smoothed_probs(data.emissions))

    def score(
        self, X: PerTrial, y: PerTrial | None, y_analog: PerTrial | None = None
    ) -> float:
        """Marginal log-likelihood per observed bin, nats; uniform first states.

        Arguments are as for :meth:`predict_proba`; one of ``y`` and ``y_analog`` must
        be given.
        """
        if y is None and y_analog is None:
            raise ValueError(
                "y must be a list of labels to score against, got None"
                "; give the labels of X"
            )
        data, hidden = self._on(X, y, y_analog)
        return float(hidden.log_prob(data.emissions)) / max(hidden.num_observed, 1)

    def _one_step(
        self, X: PerTrial, y: PerTrial | None, y_analog: PerTrial | None, name: str
    ) -> list[np.ndarray]:
        """Expectations of one kind of emissions under the predicted states."""
        original = Original.fitted(self._weights)
        if not (original.free if name == "symb" else original.outputs):
            kind = "labels" if name == "symb" else "analog outputs"
            raise ValueError(
                f"fit must have {kind} to predict, got none; fit with them"
            )
        data, hidden = self._on(X, y, y_analog)
        output = hidden.outputs(data.emissions)[original.output(name)]
        states = hidden.predicted_probs(data.emissions)
        return self._split(data, expected_emission(output.emission_dist, states))

    @property
    def _weights(self) -> Weights:
        """The fitted weights, by name."""
        check_is_fitted(self)
        return {n: vars(self)[f"{n}_"] for n in WEIGHTS if f"{n}_" in vars(self)}

    def _on(
        self, X: PerTrial, y: PerTrial | None, y_analog: PerTrial | None
    ) -> tuple[Sequences, HiddenMarkov]:
        """Trials, and their distribution at the fitted weights."""
        weights = self._weights
        original = Original.fitted(weights)
        data = as_sequences(X, y, y_analog, original.sizes, original.why)
        return data, original.distribution(weights, data)

    @staticmethod
    def _split(data: Sequences, values: torch.Tensor) -> list[np.ndarray]:
        """An array of its own for every trial."""
        return [part.numpy().copy() for part in data.split(values)]
