"""The estimator's weights as arrays, for all rows of X."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Weights:
    """Weights of all parts; those of rows of X that are not read are 0.

    Attributes:
        emissions: of labels, shape (state, label - 1, feature); no labels make an axis
            of size 0.
        transitions: shape (origin, destination, feature).
        analog: of analog outputs, shape (state, output, feature).
        scale: standard deviations of their noise, shape (state, output).
    """

    emissions: np.ndarray
    transitions: np.ndarray
    analog: np.ndarray
    scale: np.ndarray

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of states, of labels but the reference, and of analog outputs."""
        return self.emissions.shape[0], self.emissions.shape[1], self.analog.shape[1]


def spread_over(
    columns: tuple[int, ...], num_features: int, weights: np.ndarray
) -> np.ndarray:
    """Weights (..., columns) as a copy over all rows of X, 0 elsewhere."""
    whole = np.zeros(weights.shape[:-1] + (num_features,))
    whole[..., list(columns)] = weights
    return whole
