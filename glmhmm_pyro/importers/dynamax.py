"""From dynamax (probml)."""

from typing import Any

import numpy as np

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.components import Stationary
from glmhmm_pyro.importers.imported import (
    Imported,
    array,
    imported,
    numbers,
    part,
    probabilities,
    refuse_parts,
)


@suggests_names
def from_dynamax(params: Any) -> Imported:
    r"""A ``CategoricalRegressionHMM`` or ``LogisticRegressionHMM`` fitted by dynamax.

    Its softmax has weights and a bias for all classes, to which any row may be added;
    here those of class 0 are taken off:

    .. math:: w_{kc} = W_{kc} - W_{k0}, \quad
        p(y_t = c \mid z_t = k, x_t) \propto \exp(w_{kc}^\top (x_t, 1))

    A logistic regression already speaks of class 1, and keeps its signs. The bias is
    the weight of a last column of ones, which ``data.add_intercept(["covariates"])``
    appends.

    Args:
        params: an object, or dictionaries, with ``initial.probs`` (K,),
            ``transitions.transition_matrix`` (K, K), and ``emissions.weights`` and
            ``emissions.biases``: (K, C, M) and (K, C), or (K, M) and (K,).

    Returns:
        A model with ``Stationary`` transitions.

    Raises:
        ValueError: an attribute is missing, or has another shape; or the model is a
            linear regression.

    Example:
        >>> import numpy as np
        >>> import glmhmm_pyro as gh
        >>> params = {
        ...     "initial": {"probs": np.array([0.5, 0.5])},
        ...     "transitions": {"transition_matrix": np.full((2, 2), 0.5)},
        ...     "emissions": {"weights": np.ones((2, 3)), "biases": np.zeros(2)},
        ... }
        >>> gh.importers.from_dynamax(params).params["emissions.weights"][0]
        tensor([[1., 1., 1., 0.]], dtype=torch.float64)
    """
    emissions = part("params", params, "emissions")
    refuse_parts(
        "emissions",
        emissions,
        ("covs",),
        "which a linear regression has: its outputs are no classes",
    )
    weights = numbers("emissions.weights", part("emissions", emissions, "weights"))
    biases = numbers("emissions.biases", part("emissions", emissions, "biases"))
    if weights.ndim == 2:
        # Log-odds of class 1: the weights of class 0 are 0.
        weights, biases = weights[:, None], biases.reshape(-1, 1)
        weights = np.pad(weights, ((0, 0), (1, 0), (0, 0)))
        biases = np.pad(biases, ((0, 0), (1, 0)))
    weights = array("emissions.weights", weights, (None, None, None))
    states, classes, _ = weights.shape
    biases = array("emissions.biases", biases, (states, classes))
    transitions = part("params", params, "transitions")
    matrix = probabilities(
        "transitions.transition_matrix",
        part("transitions", transitions, "transition_matrix"),
        (states, states),
    )
    initial = part("params", params, "initial")
    start = probabilities("initial.probs", part("initial", initial, "probs"), (states,))
    return imported(
        "dynamax",
        np.concatenate([weights, biases[..., None]], axis=-1),
        start,
        Stationary(),
        {"probs": matrix},
    )
