"""Starting weights of the estimator: drawn, or given by the caller and checked."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from glmhmm_pyro.estimator.original import Original, Weights
from glmhmm_pyro.estimator.parameters import Options
from glmhmm_pyro.estimator.trials import observed
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.arrays import real_array


def starting_weights(
    options: Options,
    original: Original,
    given: Mapping[str, ArrayLike | None],
    data: Sequences,
    generator: np.random.Generator,
) -> Weights:
    """Weights of all rows of X: given, those of a smaller model grown, or drawn."""
    for name, weights in given.items():
        if weights is not None and 0 in original.rows.get(name, (0,)):
            raise ValueError(
                f"{name}_init must be None where there are no such emissions, got "
                f"weights of shape {np.shape(weights)}; leave them out"
            )
    if options["add_filters"] and all(w is None for w in given.values()):
        raise ValueError(
            "add_filters must be False where no starting weights of a smaller model are"
            " given, got True; give emit_w_init or trans_w_init to fit, or leave it out"
        )
    design = data.covariates.numpy().T
    found: Weights = {}
    for name in original.rows:
        weights = given[name]
        if weights is None:
            found[name] = _drawn(name, original, options, design, generator)
        else:
            found[name] = _checked(name, weights, original, options)
    if original.outputs:
        values = observed(data)[1]
        spread = np.nanstd(values, axis=1)
        if given["analog_emit_w"] is None:
            found["analog_emit_w"] *= spread[:, None]
        # All bins count for every state, as at the original's first E-step.
        residuals = values - found["analog_emit_w"] @ design
        scale = np.nanstd(residuals, axis=-1, ddof=1)
        found["analog_emit_scale"] = np.maximum(scale, 1e-9 * spread)
    return found


def _drawn(
    name: str,
    original: Original,
    options: Options,
    design: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Filters of random sign and between half and whole size, as Calhoun et al. 2019.

    That of a cue falls as exp(-bin / bins), and whole it adds to the log-odds what has
    a root mean square of 1: the scale of the covariates does not matter.
    """
    cues, bins = options["num_feedbacks"], options["num_filter_bins"]
    filters, decay = np.zeros((cues, len(design))), np.exp(-np.arange(bins) / bins)
    for cue in range(cues):
        rows = slice(cue * bins, (cue + 1) * bins)
        size = np.sqrt(np.square(decay @ design[rows]).mean())
        filters[cue, rows] = decay / (size if size > 0 else 1.0)
    shape = (*original.rows[name], cues)
    signs = generator.choice([-1.0, 1.0], shape)
    weights = (signs * generator.uniform(0.5, 1.0, shape)) @ filters
    weights[..., original.unread(name)] = 0.0
    if name == "trans_w":
        weights[np.diag_indices(original.states)] = 0.0
    return weights


def _checked(
    name: str, weights: ArrayLike, original: Original, options: Options
) -> np.ndarray:
    """Weights given, as a float64 copy; with ``add_filters``, 0 for filters added."""
    array = real_array(f"{name}_init", weights).astype(np.float64)
    rows, features = original.rows[name], original.num_features
    grows = options["add_filters"]
    fits = array.ndim == 3 and array.shape[:2] == rows
    fits = fits and (grows or array.shape[2] == features)
    if not fits or array.size == 0 or not np.isfinite(array).all():
        wanted = ", ".join(map(str, (*rows, "features" if grows else features)))
        raise ValueError(
            f"{name}_init must be finite, of shape ({wanted}), got shape {array.shape};"
            " its axes are (num_states, num_emissions - 1, features) for emissions and "
            "(num_states, num_states, features) for transitions"
        )
    new = features - array.shape[2]
    if new < 0 or new % options["num_filter_bins"]:
        raise ValueError(
            f"{name}_init must have weights of num_filter_bins bins of at most "
            f"num_feedbacks cues, and filter_offset offsets, for add_filters, got "
            f"{array.shape[2]} features where X has {features}"
            "; give the weights of the smaller model's fit"
        )
    cues = array.shape[2] - options["filter_offset"]
    array, unread = np.insert(array, [cues] * new, 0.0, axis=-1), original.unread(name)
    if array[..., unread].any():
        raise ValueError(
            f"{name}_init must be 0 in the rows of X that are not read (see "
            f"GLM_emissions, GLM_transitions, train_bins), got weights other than "
            f"0 in some of rows {unread}; set them to 0"
        )
    return array
