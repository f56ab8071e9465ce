"""Choices of a mouse that is engaged, or biased to one side, in closed loop."""

from collections.abc import Sequence

import numpy as np

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.validation import check_count

from .sampling import Simulated, generator, sample_states, simulated

CONTRASTS = (-1.0, -0.25, -0.125, -0.0625, 0.0, 0.0625, 0.125, 0.25, 1.0)
COVARIATES = ("stimulus", "prev_choice", "wsls", "intercept")
STATES = ("engaged", "biased left", "biased right")
WEIGHTS = ((5.5, 0.3, 0.1, 0.1), (0.8, 0.7, 0.3, -2.0), (0.9, 0.6, 0.3, 1.8))
TRANSITION_PROBS = ((0.98, 0.01, 0.01), (0.04, 0.95, 0.01), (0.03, 0.01, 0.96))
INITIAL_PROBS = (0.6, 0.2, 0.2)


@suggests_names
def simulate_choices(
    num_sessions: int = 40,
    num_steps: int | Sequence[int] = 500,
    seed: int | np.random.Generator = 0,
) -> Simulated:
    """Left and right choices of three states, in the manner of Ashwood et al. 2022.

    Each trial shows a contrast on the left (negative) or on the right; the choice
    depends on it, on the previous choice (-1 left, 1 right) and on win-stay-lose-switch
    (the previous choice times its outcome, -1 or 1), both 0 on a session's first trial.
    These come from the simulated choices themselves. At contrast 0 either side is
    rewarded at random. The transitions are stationary: their covariate is the constant.

    Args:
        num_sessions: sessions.
        num_steps: trials of every session, or one number for each session.
        seed: a number, or a numpy generator.

    Example:
        >>> simulate_choices(num_sessions=2, num_steps=[90, 50]).data.lengths
        tensor([90, 50])
    """
    lengths = _lengths(num_sessions, num_steps)
    rng = generator(seed)
    probs = np.array(TRANSITION_PROBS)
    states = sample_states(rng, np.array(INITIAL_PROBS), probs[None], lengths)
    design = np.ones((len(states), len(COVARIATES)))
    design[:, 0] = rng.choice(CONTRASTS, len(states))
    choices = np.empty(len(states), dtype=np.int64)
    for stop, length in zip(np.cumsum(lengths), lengths):
        rows = slice(stop - length, stop)
        choices[rows] = _choose(rng, design[rows], states[rows])
    emission = np.zeros((3, 2, len(COVARIATES)))
    emission[:, 1] = WEIGHTS
    transition = np.log(probs / probs.diagonal()[:, None])[..., None]
    data = Sequences(
        choices,
        design,
        lengths=lengths,
        transition_covariates=np.ones((len(states), 1)),
        covariate_names=COVARIATES,
        transition_covariate_names=["intercept"],
        class_names=("left", "right"),
        emission_names=["choice"],
    )
    parameters = {
        "emission_weights": emission,
        "transition_weights": transition,
        "initial_probs": np.array(INITIAL_PROBS),
    }
    return simulated(data, states, parameters, STATES)


def _lengths(num_sessions: int, num_steps: int | Sequence[int]) -> np.ndarray:
    """Trials of every session."""
    check_count("num_sessions", num_sessions, 1)
    lengths = [num_steps] * num_sessions if np.ndim(num_steps) == 0 else num_steps
    counts: list[int] = list(lengths)  # type: ignore[arg-type]
    if len(counts) != num_sessions:
        raise ValueError(
            f"num_steps must be one number, or one for each of {num_sessions} "
            f"sessions, got {len(counts)}; give as many"
        )
    for count in counts:
        check_count("num_steps", count, 1)
    return np.array(counts)


def _choose(
    rng: np.random.Generator, design: np.ndarray, states: np.ndarray
) -> np.ndarray:
    """Choices of one session; writes their history into the design."""
    weights = np.array(WEIGHTS)[states]
    fixed = weights[:, 0] * design[:, 0] + weights[:, 3]
    thresholds = rng.logistic(size=len(states))
    rewarded = np.where(design[:, 0] != 0, design[:, 0], rng.random(len(states)) - 0.5)
    choices = np.empty(len(states), dtype=np.int64)
    previous = outcome = 0.0
    for trial in range(len(states)):
        design[trial, 1:3] = previous, previous * outcome
        drive = fixed[trial] + weights[trial, 1:3] @ design[trial, 1:3]
        # A logistic threshold is passed with the logistic function's probability.
        choices[trial] = drive > thresholds[trial]
        previous = 2.0 * choices[trial] - 1.0
        outcome = 1.0 if previous * rewarded[trial] > 0 else -1.0
    return choices
