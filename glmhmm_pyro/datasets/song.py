"""Song of a courting fly: four modes, three states, seventeen cues with memory."""

import numpy as np

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.validation import check_count

from .sampling import Simulated, generator, sample_categorical, simulated

MODES = ("no song", "Pfast", "Pslow", "sine")
STATES = ("close", "chasing", "whatever")
# First letter: who moves (m male, f female, or one towards the other); then forward
# velocity, lateral or rotational speed, their accelerations, distance and angles.
CUES = (
    *("mFV", "mLS", "mRS", "mFA", "mLA", "mRA"),
    *("fFV", "fLS", "fRS", "fFA", "fLA", "fRA"),
    *("mfDist", "mfAngle", "fmAngle", "mfFV", "mfLS"),
)
# Per state and mode: the intercept, and the weight of each cue's most recent filter.
EMISSIONS: dict[tuple[str, str], tuple[float, dict[str, float]]] = {
    ("close", "Pfast"): (-1.4, {"mfDist": 0.7, "fFV": 0.5, "mFV": 0.4}),
    ("close", "Pslow"): (0.1, {"mfDist": -0.6, "fLS": 0.5, "mFV": -0.5}),
    ("close", "sine"): (0.8, {"mfDist": -0.9, "fFV": -0.6, "mLS": 0.5}),
    ("chasing", "Pfast"): (0.9, {"mFV": 0.8, "mfDist": 0.6, "fFV": -0.4}),
    ("chasing", "Pslow"): (0.0, {"mfAngle": -0.8, "fRS": 0.6, "mFA": 0.4}),
    ("chasing", "sine"): (-1.2, {"fmAngle": 0.6, "mRS": -0.7, "mfFV": 0.5}),
    ("whatever", "Pfast"): (-2.0, {"fFA": 0.6, "mfDist": -0.4}),
    ("whatever", "Pslow"): (-1.5, {"mfLS": 0.6, "fLA": -0.5}),
    ("whatever", "sine"): (-1.8, {"mLA": 0.5, "fRA": 0.6}),
}
TRANSITIONS: dict[tuple[str, str], dict[str, float]] = {
    ("close", "chasing"): {"mfDist": 0.8, "fFV": 0.6},
    ("close", "whatever"): {"mfAngle": 0.7, "mRA": 0.5},
    ("chasing", "close"): {"mfDist": -0.8, "mFV": -0.5},
    ("chasing", "whatever"): {"fmAngle": 0.7, "mfFV": -0.6},
    ("whatever", "close"): {"mfDist": -0.7, "fLS": -0.5},
    ("whatever", "chasing"): {"fFV": 0.8, "mfLS": 0.4},
}
SWITCH_INTERCEPT = -5.0
INITIAL_PROBS = (0.3, 0.3, 0.4)
DECAY = 2.5
BURN_IN = 100


@suggests_names
def simulate_song(
    num_sessions: int = 10,
    num_steps: int = 3000,
    num_lags: int = 120,
    num_filters: int = 10,
    seed: int | np.random.Generator = 0,
) -> Simulated:
    """Sessions of song modes driven by social cues, after Calhoun et al. 2019.

    The model has the form of Nat. Neurosci. 22:2040: a multinomial GLM of the song mode
    for every state, and for every state a multinomial GLM of the next one, driven by
    the same cues. The cues here are noise (of unit variance and with memories from very
    short to ten steps), and the weights are chosen, not fitted: no fly's data are in
    it. Cue by cue the covariates are its recent past through log-spaced raised cosines,
    standardised, the most recent filter first; the last covariate is the constant. The
    true weights of a cue shrink from filter to filter; they do not depend on the seed.

    Args:
        num_sessions: pairs of flies.
        num_steps: steps of every session (1/30 s in the paper).
        num_lags: steps that the filters look back, the present one included.
        num_filters: raised cosines per cue.
        seed: a number, or a numpy generator.

    Example:
        >>> song = simulate_song(num_sessions=2, num_steps=200)
        >>> song.data.num_features, song.data.class_names
        (171, ('no song', 'Pfast', 'Pslow', 'sine'))
    """
    check_count("num_sessions", num_sessions, 1)
    check_count("num_steps", num_steps, 1)
    check_count("num_filters", num_filters, 2)
    check_count("num_lags", num_lags, num_filters)
    rng = generator(seed)
    basis = raised_cosines(num_lags, num_filters)
    sessions = [_cues(rng, num_steps + num_lags - 1) for _ in range(num_sessions)]
    design = np.concatenate([through_filters(cues, basis) for cues in sessions])
    # One step has no spread; it stays as it is.
    spread = design.std(axis=0)
    design = (design - design.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    design = np.concatenate([design, np.ones((len(design), 1))], axis=1)
    lengths = np.full(num_sessions, num_steps)
    parameters = _song_weights(num_filters)
    states, modes = sample_categorical(rng, design, parameters, lengths)
    columns = [f"{cue}_{number}" for cue in CUES for number in range(num_filters)]
    data = Sequences(
        modes,
        design,
        lengths=lengths,
        covariate_names=[*columns, "intercept"],
        class_names=MODES,
        emission_names=["song"],
    )
    return simulated(data, states, parameters, STATES)


def raised_cosines(num_lags: int, num_filters: int) -> np.ndarray:
    """Raised cosines in the logarithm of the lag, (lags, filters), each of norm 1.

    Pillow et al. 2008 (Nature 454:995) use the form; the peaks stand at even spacing in
    log(lag + 3), from lag 0 to three quarters of the window.
    """
    position = np.log(np.arange(num_lags) + 3.0)
    peaks = np.linspace(position[0], np.log(0.75 * num_lags + 3.0), num_filters)
    spacing = peaks[1] - peaks[0]
    distance = np.clip(np.abs(position[:, None] - peaks) / (2 * spacing), 0.0, 1.0)
    bumps = 0.5 * (1.0 + np.cos(np.pi * distance))
    return bumps / np.linalg.norm(bumps, axis=0)


def _cues(rng: np.random.Generator, num_steps: int) -> np.ndarray:
    """(steps, cues): autoregressive noise of unit variance, memory growing by cue."""
    from scipy.signal import lfilter

    noise = rng.standard_normal((BURN_IN + num_steps, len(CUES)))
    cues = np.empty_like(noise)
    for cue, memory in enumerate(np.linspace(0.2, 0.9, len(CUES))):
        gain = np.sqrt(1.0 - memory**2)
        cues[:, cue] = lfilter([gain], [1.0, -memory], noise[:, cue])
    return cues[BURN_IN:]


def through_filters(cues: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Every cue through every filter, cue by cue.

    Args:
        cues: (lags - 1 + steps, cues).
        basis: (lags, filters), lag 0 first.

    Returns:
        (steps, cues * filters): row t looks back from row lags - 1 + t of the cues.
    """
    from scipy.signal import fftconvolve

    filtered = fftconvolve(cues[:, :, None], basis[:, None, :], mode="valid", axes=0)
    return filtered.reshape(len(filtered), -1)


def _song_weights(num_filters: int) -> dict[str, np.ndarray]:
    """The true weights; those of each cue decay over its filters by one profile."""
    num_features = len(CUES) * num_filters + 1
    profile = np.exp(-np.arange(num_filters) / DECAY)
    emission = np.zeros((len(STATES), len(MODES), num_features))
    transition = np.zeros((len(STATES), len(STATES), num_features))

    def fill(row: np.ndarray, intercept: float, cues: dict[str, float]) -> None:
        row[-1] = intercept
        for cue, weight in cues.items():
            start = CUES.index(cue) * num_filters
            row[start : start + num_filters] = weight * profile

    for (state, mode), (intercept, cues) in EMISSIONS.items():
        fill(emission[STATES.index(state), MODES.index(mode)], intercept, cues)
    for (origin, destination), cues in TRANSITIONS.items():
        row = transition[STATES.index(origin), STATES.index(destination)]
        fill(row, SWITCH_INTERCEPT, cues)
    return {
        "emission_weights": emission,
        "transition_weights": transition,
        "initial_probs": np.array(INITIAL_PROBS),
    }
