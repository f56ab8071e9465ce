"""Starting weights of the estimator: drawn, or given by the caller and checked."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.estimator.rows import RowLayout, Weights
from glmhmm_pyro.estimator.trials import Trials
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
        layout: RowLayout,
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
        for name, rows in self.rows.items():
            if given[name] is not None and 0 in rows:
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
        emit_w, trans_w, analog_w = found.values()
        return Weights(emit_w, trans_w, analog_w, trials.residual_scale(analog_w))

    def _drawn(
        self, trials: Trials, generator: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Weights of all parts, in the rows that are read."""
        cues, bins = (
            int(self.options[f"num_{n}"]) for n in ("feedbacks", "filter_bins")
        )
        filters = exponential_filters(np.hstack(trials.designs), cues, bins)
        drawn = {n: _with_signs(filters, r, generator) for n, r in self.rows.items()}
        states = np.arange(self.rows["trans_w_init"][0])
        drawn["trans_w_init"][states, states] = 0.0
        drawn["analog_emit_w_init"] *= trials.spread[:, None]
        for name, whole in drawn.items():
            whole[..., self._unread(name)] = 0.0
        return drawn

    def _unread(self, name: str) -> np.ndarray:
        """Numbers of the rows of X that a part does not read."""
        read = self.layout.columns(name.removesuffix("_init"))
        return np.delete(np.arange(self.layout.num_features), read)

    def _given(self, name: str, weights: ArrayLike | None) -> np.ndarray | None:
        """A checked copy, which has weights in the rows that are read alone."""
        features = self.layout.num_features
        if 0 in self.rows[name]:
            return np.zeros((*self.rows[name], features))
        if weights is None:
            return None
        if self.options["add_filters"]:
            whole = self._grown(name, weights)
        else:
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
        new = self.layout.num_features - small.shape[-1]
        if new < 0 or new % int(self.options["num_filter_bins"]):
            raise ValueError(
                f"{name} must have weights of num_filter_bins bins of at most "
                f"num_feedbacks cues, and filter_offset offsets, for add_filters, got "
                f"{small.shape[-1]} features where X has {self.layout.num_features}"
                "; give the weights of the smaller model's fit"
            )
        cues = small.shape[-1] - int(self.options["filter_offset"])
        return np.insert(small, [cues] * new, 0.0, axis=-1)


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


def exponential_filters(design: np.ndarray, cues: int, bins: int) -> np.ndarray:
    """A filter for every cue, as Calhoun et al. 2019 had them, shape (cues, features).

    It falls as exp(-bin / bins), and is scaled so that what its cue adds to the
    log-odds has a root mean square of 1: the scale of the covariates does not matter.

    Args:
        design: covariates (features, bins of all trials), whose rows are the bins of
            cue 0, of cue 1, ..., offsets.
        cues: number of cues.
        bins: number of bins of a cue.
    """
    filters = np.zeros((cues, len(design)))
    decay = np.exp(-np.arange(bins) / bins)
    for cue in range(cues):
        rows = slice(cue * bins, (cue + 1) * bins)
        size = np.sqrt(np.square(decay @ design[rows]).mean())
        filters[cue, rows] = decay / (size if size > 0 else 1.0)
    return filters


def _with_signs(
    filters: np.ndarray, rows: tuple[int, int], generator: np.random.Generator
) -> np.ndarray:
    """Filters of random sign and between half and whole size, (*rows, features)."""
    shape = (*rows, len(filters))
    signs = generator.choice([-1.0, 1.0], shape)
    return (signs * generator.uniform(0.5, 1.0, shape)) @ filters
