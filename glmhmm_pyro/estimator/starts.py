"""Starting weights of the estimator: drawn, or given by the caller and checked."""

from typing import Any

import numpy as np

from glmhmm_pyro.sequences.arrays import real_array


def given_weights(name: str, weights: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """A float64 copy of starting weights, checked.

    Args:
        name: the argument.
        weights: what the caller passed.
        shape: its shape; ``None`` for a size that may be anything.
    """
    array = real_array(name, weights).astype(np.float64)
    fits = array.ndim == len(shape) and all(
        size is None or size == found for size, found in zip(shape, array.shape)
    )
    if not fits or array.size == 0 or not np.isfinite(array).all():
        wanted = ", ".join("features" if n is None else str(n) for n in shape)
        raise ValueError(
            f"{name} must be finite, of shape ({wanted}), got shape {array.shape}; its "
            "axes are (num_states, num_emissions - 1, features) for emissions and "
            "(num_states, num_states, features) for transitions"
        )
    return array


class ExponentialStart:
    """Draws exponential filters of random sign and size, as Calhoun et al. 2019 did.

    A filter falls as exp(-bin / num_filter_bins), and is scaled so that what its cue
    adds to the log-odds has a root mean square between 1/2 and 1: the scale of the
    covariates does not matter, and no two states are alike. Offsets start at 0.

    Args:
        design: covariates (features, bins of all trials), whose rows are the bins of
            cue 0, of cue 1, ..., offsets.
        num_feedbacks: number of cues.
        num_filter_bins: number of bins of a cue.
        generator: source of all randomness.
    """

    def __init__(
        self,
        design: np.ndarray,
        num_feedbacks: int,
        num_filter_bins: int,
        generator: np.random.Generator,
    ):
        self.generator = generator
        self.num_features = len(design)
        decay = np.exp(-np.arange(num_filter_bins) / num_filter_bins)
        cues = design[: num_feedbacks * num_filter_bins].T
        cues = cues.reshape(len(cues), num_feedbacks, num_filter_bins)
        size = np.sqrt(np.square(cues @ decay).mean(0))
        self.filters = decay / np.where(size > 0, size, 1.0)[:, None]

    def __call__(self, *rows: int) -> np.ndarray:
        """Weights of shape (*rows, features)."""
        shape = rows + (len(self.filters),)
        signs = self.generator.choice([-1.0, 1.0], shape)
        factors = signs * self.generator.uniform(0.5, 1.0, shape)
        cues = (factors[..., None] * self.filters).reshape(rows + (self.filters.size,))
        offsets = np.zeros(rows + (self.num_features - cues.shape[-1],))
        return np.concatenate([cues, offsets], axis=-1)

    def transitions(self, num_states: int) -> np.ndarray:
        """Weights (origin, destination, feature), those of staying 0."""
        weights = self(num_states, num_states)
        weights[np.arange(num_states), np.arange(num_states)] = 0.0
        return weights
