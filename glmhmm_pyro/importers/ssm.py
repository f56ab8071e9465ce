"""From ssm (lindermanlab), and forks that keep its attributes."""

from typing import Any

import numpy as np
from scipy.special import softmax

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.components import (
    InputDriven,
    SharedInputDriven,
    Stationary,
    Transitions,
)
from glmhmm_pyro.importers.imported import (
    Imported,
    array,
    has_part,
    imported,
    leaving,
    numbers,
    part,
    refuse_parts,
)


@suggests_names
def from_ssm(hmm: Any, intercept: int | None = None) -> Imported:
    r"""A GLM-HMM fitted by ssm: ``HMM(K, 1, M, observations="input_driven_obs")``.

    ssm's reference is the LAST class, the reference here is class 0:

    .. math:: w_{kc} = W_{kc} - W_{k0}, \quad W_{k,C-1} = 0

    With two classes every weight thus changes its sign, and speaks of class 1. Its
    input-driven transitions have a row of weights for every destination, to which any
    row may be added; here those of state 0, and the log-odds of staying, are 0:

    .. math:: P(z_t = j \mid z_{t-1} = i, u_t) \propto
        \exp(\log P_{ij} - \log P_{ii} + (W_j - W_0)^\top u_t)

    In both programs covariates of t drive the step from t-1 INTO t.

    Args:
        hmm: an object, or dictionaries, with ``init_state_distn.log_pi0`` (K,),
            ``transitions.log_Ps`` (K, K), ``transitions.Ws`` (K, M) if they are
            input-driven, and ``observations.Wk`` (K, C - 1, M).
        intercept: number of the column of ones among the inputs, if the transitions
            are input-driven and there is one.

    Returns:
        A model with ``Stationary`` transitions, or with ``SharedInputDriven`` ones. If
        there is an intercept, which those must not be given, it has the ``InputDriven``
        ones that are the same, :math:`w_{ij} = W_j - W_i`.

    Raises:
        ValueError: an attribute is missing, or has another shape; or the transitions
            are recurrent.

    Example:
        >>> import numpy as np
        >>> import glmhmm_pyro as gh
        >>> hmm = {
        ...     "init_state_distn": {"log_pi0": np.log([0.5, 0.5])},
        ...     "transitions": {"log_Ps": np.log([[0.9, 0.1], [0.2, 0.8]])},
        ...     "observations": {"Wk": np.array([[[2.0, -1.0]], [[0.0, 1.0]]])},
        ... }
        >>> gh.importers.from_ssm(hmm).params["emissions.weights"][0]
        tensor([[-2.,  1.]], dtype=torch.float64)
    """
    observations = part("hmm", hmm, "observations")
    weights = array(
        "observations.Wk", part("observations", observations, "Wk"), (None, None, None)
    )
    states, _, features = weights.shape
    start = part("hmm", hmm, "init_state_distn")
    log_start = _log_weights("init_state_distn", start, "log_pi0", (states,))
    transitions = part("hmm", hmm, "transitions")
    refuse_parts(
        "transitions",
        transitions,
        ("Rs", "weights"),
        "which recurrent transitions have: they read past emissions, and are not "
        "imported",
    )
    log_probs = _log_weights("transitions", transitions, "log_Ps", (states, states))
    component: Transitions = Stationary()
    values = {"probs": softmax(log_probs, axis=-1)}
    if has_part(transitions, "Ws"):
        driven = array("transitions.Ws", part("", transitions, "Ws"), (states, None))
        component, values = _driven(log_probs, driven, intercept)
    elif intercept is not None:
        raise ValueError(
            f"intercept must be None where transitions have no Ws, got {intercept!r}"
            "; leave it out"
        )
    return imported(
        "ssm",
        np.pad(weights, ((0, 0), (0, 1), (0, 0))),
        softmax(log_start),
        component,
        values,
    )


def _log_weights(name: str, whole: Any, attribute: str, shape: tuple) -> np.ndarray:
    """Logarithms of probabilities, up to a constant; that of 0 is minus infinity."""
    found = numbers(f"{name}.{attribute}", part(name, whole, attribute))
    never = np.isneginf(found)
    found = array(f"{name}.{attribute}", np.where(never, 0.0, found), shape)
    return np.where(never, -np.inf, found)


def _driven(
    log_probs: np.ndarray, weights: np.ndarray, intercept: int | None
) -> tuple[Transitions, dict[str, np.ndarray]]:
    """Input-driven transitions, and values of their parameters."""
    if not np.isfinite(log_probs).all():
        raise ValueError(
            "transitions.log_Ps must be finite where transitions have Ws, got a "
            "probability of 0, which has no finite log-odds"
            "; fit with transition_kwargs=dict(alpha=...) above 1, or replace it"
        )
    baseline = log_probs - np.diagonal(log_probs)[:, None]
    if intercept is None:
        values = {"baseline": leaving(baseline), "weights": weights[1:] - weights[:1]}
        return SharedInputDriven(), values
    features = weights.shape[1]
    is_whole = isinstance(intercept, int) and not isinstance(intercept, bool)
    if not is_whole or not 0 <= intercept < features:
        raise ValueError(
            f"intercept must be the number of a column of Ws, from 0 and below "
            f"{features}, got {intercept!r:.80}; give one of these"
        )
    pairs = weights[None, :] - weights[:, None]
    pairs[..., intercept] += baseline
    return InputDriven(), {"weights": leaving(pairs)}
