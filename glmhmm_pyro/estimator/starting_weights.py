"""Starting weights of the estimator: drawn, or given by the caller and checked."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.estimator.rows import Layout
from glmhmm_pyro.estimator.trials import Trials
from glmhmm_pyro.estimator.weight_arrays import Weights
from glmhmm_pyro.sequences.arrays import real_array


class Start:
    """The starting weights: given, drawn, or those of a smaller model grown.

    Args:
        options: the estimator's parameters.
        layout: of X.
        num_outputs: number of analog outputs.
        given: weights that the user gave by the names of ``fit``, or ``None``.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        layout: Layout,
        num_outputs: int,
        given: Mapping[str, Any],
    ):
        self.options, self.layout = options, layout
        states = int(options["num_states"])
        free = int(options["num_emissions"]) - 1 if options["symb_exists"] else 0
        self.rows = {
            "emit_w_init": (states, free),
            "trans_w_init": (states, states),
            "analog_emit_w_init": (states, num_outputs),
        }
        for name in self.rows:
            if given[name] is not None and 0 in self.rows[name]:
                raise ValueError(
                    f"{name} must be None where there are no such emissions, got "
                    f"weights of shape {np.shape(given[name])}; leave them out"
                )
        if options["add_filters"] and all(w is None for w in given.values()):
            raise ValueError(
                "add_filters must be False where no starting weights of a smaller model"
                " are given to fit (emit_w_init, trans_w_init), got True"
                "; give these to fit, or leave it out"
            )
        self.given = {n: self._given(n, given[n]) for n in self.rows}

    def __call__(self, trials: Trials, generator: np.random.Generator) -> Weights:
        """Starting weights of all rows, those not given drawn for these trials."""
        lacking = any(weights is None for weights in self.given.values())
        drawn = self._drawn(trials, generator) if lacking else {}
        found = {n: drawn[n] if w is None else w for n, w in self.given.items()}
        scale = trials.residual_scale(found["analog_emit_w_init"])
        emit_w, trans_w, analog_w = found.values()
        return Weights(emit_w, trans_w, analog_w, scale)

    def _drawn(
        self, trials: Trials, generator: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Weights of all parts, in the rows that are read."""
        draw = ExponentialStart(
            np.hstack(trials.designs),
            int(self.options["num_feedbacks"]),
            int(self.options["num_filter_bins"]),
            generator,
        )
        states, free = self.rows["emit_w_init"]
        outputs = self.rows["analog_emit_w_init"][1]
        drawn = {
            "emit_w_init": draw(states, free),
            "trans_w_init": draw.transitions(states),
        }
        if outputs:
            sizes = trials.spread[:, None]
            drawn["analog_emit_w_init"] = draw(states, outputs) * sizes
        for name, whole in drawn.items():
            whole[..., self._unread(name)] = 0.0
        return drawn

    def _unread(self, name: str) -> np.ndarray:
        """Numbers of the rows of X that a part does not read."""
        read = self.layout.columns(name.removesuffix("_init"))
        return np.delete(np.arange(self.layout.num_features), read)

    def _given(self, name: str, weights: ArrayLike | None) -> np.ndarray | None:
        """A checked copy, which has weights in the rows that are read alone."""
        if 0 in self.rows[name]:
            return np.zeros((*self.rows[name], self.layout.num_features))
        if weights is None:
            return None
        if self.options["add_filters"]:
            whole = self._grown(name, weights)
        else:
            features = self.layout.num_features
            whole = given_weights(name, weights, (*self.rows[name], features))
        unread = self._unread(name)
        if whole[..., unread].any():
            raise ValueError(
                f"{name} must be 0 in the rows of X that are not read (see "
                f"GLM_emissions, GLM_transitions, train_bins), got weights other than "
                f"0 in some of rows {unread.tolist()}; set them to 0"
            )
        return whole

    def _grown(self, name: str, weights: ArrayLike) -> np.ndarray:
        """Weights of fewer cues, with zeros for those that come after them."""
        small = given_weights(name, weights, (*self.rows[name], None))
        offsets = int(self.options["filter_offset"])
        new = self.layout.num_features - small.shape[-1]
        if new < 0 or new % int(self.options["num_filter_bins"]):
            raise ValueError(
                f"{name} must have weights of num_filter_bins bins of at most "
                f"num_feedbacks cues, and filter_offset offsets, for add_filters, got "
                f"{small.shape[-1]} features where X has {self.layout.num_features}"
                "; give the weights of the smaller model's fit"
            )
        cues = small.shape[-1] - offsets
        zeros = np.zeros(small.shape[:-1] + (new,))
        return np.concatenate([small[..., :cues], zeros, small[..., cues:]], axis=-1)


def given_weights(
    name: str, weights: ArrayLike, shape: tuple[int | None, ...]
) -> np.ndarray:
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
