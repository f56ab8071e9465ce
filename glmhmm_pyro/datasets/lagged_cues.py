"""The demo recipe of pyGLMHMM: three cues with thirty lags, gamma-shaped filters."""

import numpy as np

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.validation import check_count

from .sampling import Simulated, generator, sample_categorical, simulated

NUM_CUES = 3
BIN_NOISE = 0.1
SAMPLED_GAIN = 12.0
SAMPLED_STAY = -2.5


@suggests_names
def simulate_demo(
    num_steps: int = 10_000,
    num_states: int = 2,
    num_classes: int = 2,
    num_lags: int = 30,
    seed: int | np.random.Generator = 0,
    sampled: bool = True,
) -> Simulated:
    """One session of the predecessor's demo: three noise cues, each with its lags.

    The cues are white noise smoothed by a Gaussian of one step over time and of one cue
    over cues; a covariate is one cue so many steps ago, with a little noise of its own.
    All filters have the shape of a gamma density (shape 4). Cues 0 and 1 drive the
    emissions: a state and a class weigh them along a direction in their plane, all
    directions equally far apart, so that two states of two classes have opposite signs.
    Cue 2 drives the transitions: up the states by its filter, down by its negative.

    The demo itself draws nothing: each state is the sign of cue 2's drive and each
    emission the more probable class (``sampled=False``, two states and classes). Such
    data are separable, so that no finite weights maximise their likelihood. By default
    states and emissions are drawn from the model instead, its filters 12 times as large
    and a switch without drive having logit -2.5.

    Args:
        num_steps: steps of the session.
        num_states: hidden states.
        num_classes: emission classes.
        num_lags: lags of each cue, the first of them 0; the filters stretch to fit.
        seed: a number, or a numpy generator.
        sampled: draws states and emissions; False thresholds them as the demo does.

    Example:
        >>> simulate_demo(num_steps=500).data.num_features
        91
    """
    check_count("num_steps", num_steps, 1)
    check_count("num_states", num_states, 1)
    check_count("num_classes", num_classes, 2)
    check_count("num_lags", num_lags, 2)
    if not sampled and (num_states, num_classes) != (2, 2):
        raise ValueError(
            "sampled=False must have 2 states and 2 classes, as the demo it repeats, "
            f"got {num_states} and {num_classes}; leave sampled=True"
        )
    rng = generator(seed)
    design = _lagged_cues(rng, num_steps, num_lags)
    parameters = _filters(num_states, num_classes, num_lags)
    if sampled:
        parameters["emission_weights"] *= SAMPLED_GAIN
        parameters["transition_weights"] *= SAMPLED_GAIN
        parameters["transition_weights"][..., -1] = SAMPLED_STAY
        parameters["transition_weights"][np.diag_indices(num_states)] = 0.0
        lengths = np.array([num_steps])
        states, classes = sample_categorical(rng, design, parameters, lengths)
    else:
        states, classes = _thresholded(design, parameters)
    lags = [f"cue{cue}_lag{lag}" for cue in range(NUM_CUES) for lag in range(num_lags)]
    data = Sequences(classes, design, covariate_names=[*lags, "intercept"])
    names = tuple(str(state) for state in range(num_states))
    return simulated(data, states, parameters, names)


def _lagged_cues(rng: np.random.Generator, num_steps: int, num_lags: int) -> np.ndarray:
    """(steps, cues * lags + 1): cue by cue, lag 0 first, and a constant at the end."""
    from scipy.ndimage import gaussian_filter1d

    cues = rng.standard_normal((num_steps + num_lags - 1, NUM_CUES))
    cues = gaussian_filter1d(gaussian_filter1d(cues, 1.0, axis=0), 1.0, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(cues, num_lags, axis=0)
    lagged = windows[:, :, ::-1] + BIN_NOISE * rng.standard_normal(windows.shape)
    flat = lagged.reshape(num_steps, NUM_CUES * num_lags)
    return np.concatenate([flat, np.ones((num_steps, 1))], axis=1)


def _filters(num_states: int, num_classes: int, num_lags: int) -> dict[str, np.ndarray]:
    """The true weights, before any gain."""
    # The demo samples the density at 30 of 50 points from 0 to 30.
    lag = np.arange(num_lags) * (30 / num_lags) * (30 / 49)
    shape = lag**3 * np.exp(-lag) / 6.0
    num_features = NUM_CUES * num_lags + 1
    emission = np.zeros((num_states, num_classes, num_features))
    transition = np.zeros((num_states, num_states, num_features))
    for state in range(num_states):
        for other in range(1, num_classes):
            turn = (state + (other - 1) / (num_classes - 1)) / num_states
            angle = 2 * np.pi * turn - np.pi / 4
            for cue, size in enumerate((np.cos(angle), np.sin(angle))):
                rows = slice(cue * num_lags, (cue + 1) * num_lags)
                emission[state, other, rows] = np.sqrt(2.0) * size * shape
        for destination in range(num_states):
            sign = np.sign(destination - state)
            transition[state, destination, 2 * num_lags : 3 * num_lags] = sign * shape
    return {
        "emission_weights": emission,
        "transition_weights": transition,
        "initial_probs": np.full(num_states, 1 / num_states),
    }


def _thresholded(
    design: np.ndarray, parameters: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """States and classes as in the demo: 1 where the drive is above 0."""
    states = (design @ parameters["transition_weights"][0, 1] > 0).astype(np.int64)
    drives = design @ parameters["emission_weights"][:, 1].T
    return states, (drives[np.arange(len(states)), states] > 0).astype(np.int64)
