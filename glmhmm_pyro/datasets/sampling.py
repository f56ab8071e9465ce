"""The result type of all simulators, and the sampling functions that they share.

The model is that of the package: row t of the transition covariates drives the step
from t - 1 INTO t, and a session starts from the initial distribution.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glmhmm_pyro.sequences import Sequences


@dataclass(frozen=True)
class Simulated:
    """Simulated data, and the truth that made them.

    Attributes:
        data: the sessions.
        states: (steps,) int64, the hidden state of every step.
        parameters: 'emission_weights' (state, class, covariate), zeros for class 0;
            'transition_weights' (origin, destination, covariate), zeros on the
            diagonal; 'initial_probs' (state,). All float64.
        state_names: one name per state.

    Example:
        >>> import glmhmm_pyro as gh
        >>> simulated = gh.datasets.simulate_choices(num_sessions=2, num_steps=50)
        >>> simulated.data.num_steps, simulated.states.shape
        (100, torch.Size([100]))
    """

    data: Sequences
    states: Tensor
    parameters: dict[str, Tensor]
    state_names: tuple[str, ...]


def simulated(
    data: Sequences,
    states: np.ndarray,
    parameters: dict[str, np.ndarray],
    state_names: tuple[str, ...],
) -> Simulated:
    """The result of a simulator, its arrays as tensors."""
    tensors = {name: torch.tensor(array) for name, array in parameters.items()}
    return Simulated(data, torch.tensor(states), tensors, state_names)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def draw(rng: np.random.Generator, probs: np.ndarray) -> np.ndarray:
    """One draw from the last axis per leading index, with one uniform per first index.

    Args:
        probs: (steps, ..., outcomes). All draws of a step share its uniform number.
    """
    uniform = rng.random(len(probs)).reshape(-1, *[1] * (probs.ndim - 1))
    # Without the last one, whose rounding could leave a gap below one.
    return (uniform > probs.cumsum(axis=-1)[..., :-1]).sum(axis=-1)


def sample_states(
    rng: np.random.Generator,
    initial_probs: np.ndarray,
    transition_probs: np.ndarray,
    lengths: np.ndarray,
) -> np.ndarray:
    """States of all sessions end to end, (steps,).

    Args:
        initial_probs: (state,).
        transition_probs: (steps, origin, destination), row t for t - 1 -> t, or
            (1, origin, destination) for all steps alike.
        lengths: (sessions,).
    """
    num_states, num_steps = len(initial_probs), int(lengths.sum())
    probs = np.broadcast_to(transition_probs, (num_steps, num_states, num_states))
    probs = probs.copy()
    # A session starts by a transition that forgets where it came from.
    probs[np.cumsum(lengths) - lengths] = initial_probs
    destinations = draw(rng, probs).tolist()
    states = np.empty(num_steps, dtype=np.int64)
    state = 0
    for step, row in enumerate(destinations):
        states[step] = state = row[state]
    return states


def sample_categorical(
    rng: np.random.Generator,
    design: np.ndarray,
    parameters: dict[str, np.ndarray],
    lengths: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """States and classes, both (steps,), of the model with one design for both.

    Args:
        design: (steps, covariates), for the emissions and the transitions.
        parameters: as in :class:`Simulated`.
    """
    transition_logits = np.einsum(
        "tf,ijf->tij", design, parameters["transition_weights"]
    )
    states = sample_states(
        rng, parameters["initial_probs"], softmax(transition_logits), lengths
    )
    emission_logits = np.einsum("tf,kcf->tkc", design, parameters["emission_weights"])
    probs = softmax(emission_logits[np.arange(len(states)), states])
    return states, draw(rng, probs).astype(np.int64)


def generator(seed: int | np.random.Generator) -> np.random.Generator:
    """Random generator from a seed; a generator is returned as it is."""
    try:
        if seed is None or isinstance(seed, bool):
            raise TypeError
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise ValueError(
            "seed must be a whole number of at least 0, or a numpy Generator, got "
            f"{seed!r:.80}; give 0"
        ) from None
