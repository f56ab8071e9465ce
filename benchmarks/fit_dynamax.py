"""dynamax 1.0.3's EM on a workload (an environment of its own; equal lengths only).

Its release has no input-driven transitions: the small class below adds a weight for
every pair of states on its own interface. Its M-step is its own, 50 steps of Adam.
"""

import os
import sys
import warnings
from functools import partial
from typing import Any, NamedTuple

warnings.filterwarnings("ignore")
if "--x64" in sys.argv:
    sys.argv.remove("--x64")
    os.environ["JAX_ENABLE_X64"] = "1"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow_probability.substrates.jax.distributions as tfd  # noqa: E402
from dynamax.hidden_markov_model import CategoricalRegressionHMM  # noqa: E402
from dynamax.hidden_markov_model.models.abstractions import (  # noqa: E402
    HMM,
    HMMTransitions,
)
from dynamax.hidden_markov_model.models.categorical_glm_hmm import (  # noqa: E402
    CategoricalRegressionHMMEmissions,
)
from dynamax.hidden_markov_model.models.initial import (  # noqa: E402
    StandardHMMInitialState,
)
from dynamax.parameters import ParameterProperties  # noqa: E402
from record import Recorder, arguments  # noqa: E402


class PairParams(NamedTuple):
    """Weights of every pair of states."""

    weights: Any
    biases: Any


class PairTransitions(HMMTransitions):
    """Softmax of linear predictors, one for every pair of states."""

    def __init__(self, num_states, **options):
        super().__init__(**options)
        self.num_states = num_states

    def distribution(self, params, state, inputs=None):
        """Distribution of the next state."""
        scores = params.weights[state] @ inputs + params.biases[state]
        return tfd.Categorical(logits=scores)

    def _compute_transition_matrices(self, params, inputs=None):
        scores = jnp.einsum("ijm,tm->tij", params.weights, inputs[1:]) + params.biases
        return jax.nn.softmax(scores, axis=-1)

    def initialize(self, key=None, method="prior", weights=None, biases=None):
        """The weights given."""
        properties = PairParams(ParameterProperties(), ParameterProperties())
        return PairParams(weights, biases), properties

    def log_prior(self, params):
        """Flat."""
        return 0.0


class Params(NamedTuple):
    """Parameters of the three parts."""

    initial: Any
    transitions: Any
    emissions: Any


class InputDrivenHMM(HMM):
    """dynamax's categorical emissions with the transitions above."""

    def __init__(self, num_states, num_classes, num_inputs):
        self.num_inputs = num_inputs
        super().__init__(
            num_states,
            StandardHMMInitialState(num_states, initial_probs_concentration=1.1),
            PairTransitions(num_states),
            CategoricalRegressionHMMEmissions(num_states, num_classes, num_inputs),
        )

    @property
    def inputs_shape(self):
        """Shape of one step's inputs."""
        return (self.num_inputs,)

    def initialize(self, initial, emissions, transitions):
        """The weights given, biases last."""
        key = jax.random.PRNGKey(0)
        parts = (
            self.initial_component.initialize(
                key, method="prior", initial_probs=initial
            ),
            self.transition_component.initialize(
                weights=transitions[..., :-1], biases=transitions[..., -1]
            ),
            self.emission_component.initialize(
                key,
                emission_weights=emissions[..., :-1],
                emission_biases=emissions[..., -1],
            ),
        )
        return Params(*(p for p, _ in parts)), Params(*(q for _, q in parts))


def build(w, dtype):
    """Model, parameters and properties at the workload's start."""
    states, classes, inputs = int(w["K"]), int(w["C"]), int(w["D"]) - 1
    emissions, initial = (jnp.asarray(w[k], dtype) for k in ("init_W_em", "init_pi0"))
    transitions = jnp.asarray(w["init_W_tr"], dtype)
    if not w["stationary"]:
        model = InputDrivenHMM(states, classes, inputs)
        return model, *model.initialize(initial, emissions, transitions)
    model = CategoricalRegressionHMM(
        states,
        classes,
        inputs,
        initial_probs_concentration=1.1,
        transition_matrix_concentration=1.1,
    )
    return model, *model.initialize(
        jax.random.PRNGKey(0),
        initial_probs=initial,
        transition_matrix=jax.nn.softmax(transitions[..., -1], -1),
        emission_weights=emissions[..., :-1],
        emission_biases=emissions[..., -1],
    )


def canonical(params, stationary, features):
    """dynamax's parameters as the recorder's weights."""
    emissions = np.concatenate(
        [params.emissions.weights, params.emissions.biases[..., None]], -1
    )
    states = len(emissions)
    transitions = np.zeros((states, states, features))
    if stationary:
        transitions[..., -1] = np.log(params.transitions.transition_matrix)
    else:
        transitions[..., :-1] = params.transitions.weights
        transitions[..., -1] = params.transitions.biases
    return emissions, transitions, params.initial.probs


def main():
    """Fit, note every iteration, write."""
    args = arguments()
    w = dict(np.load(args.workload))
    sessions, steps = len(w["lengths"]), int(w["lengths"][0])
    if len(set(w["lengths"].tolist())) > 1:
        raise SystemExit("dynamax fits sessions of equal lengths only")
    dtype = jnp.float64 if jax.config.jax_enable_x64 else jnp.float32
    x = jnp.asarray(w["X"][:, :-1].reshape(sessions, steps, -1), dtype)
    y = jnp.asarray(w["y"].reshape(sessions, steps))
    model, params, properties = build(w, dtype)
    state = model.initialize_m_step_state(params, properties)

    @jax.jit
    def em_step(params, state):
        stats, likelihoods = jax.vmap(partial(model.e_step, params))(y, x)
        joint = model.log_prior(params) + likelihoods.sum()
        params, state = model.m_step(params, properties, stats, state)
        return params, state, joint

    jax.block_until_ready(em_step(params, state))  # compiles
    recorder = Recorder("dynamax", args)
    done = False
    while not done:
        params, state, _ = em_step(params, state)
        jax.block_until_ready(params)
        done = recorder.snap(*canonical(params, w["stationary"], int(w["D"])))
    recorder.write(status="stopped at the cap")


if __name__ == "__main__":
    main()
