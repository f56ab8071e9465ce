"""Sessions that count more or less than once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .arrays import real_array
from .indexed import rows_in_order

if TYPE_CHECKING:
    from .data import Sequences


def weighted(data: "Sequences", weights: ArrayLike) -> "Sequences":
    r"""The same data, the log-likelihood of every session multiplied by its weight.

    .. math:: \sum_s w_s \log p(y_s)

    A whole number is as good as that many copies of the session: for what is fitted and
    its standard errors; for scores, baselines, and scores of sessions held out, which
    are sums over sessions, each times its weight; and for means over steps, such as
    occupancy, tables by state, response curves and marginal effects.

    What is drawn stays a session, whatever its weight: folds divide sessions, the
    bootstrap draws them, and errors over sessions count each as one that has more or
    less to say, so that they are wider than those of copies. A session left out is left
    out with all its copies. Weights are not read by what tests a model step by step:
    checks, forecasts against what came, residuals, predictive checks, simulations.

    Args:
        weights: above 0, one for each session, such as 1 over the number of sessions of
            its animal; a Series may be labelled by their names. ``None`` for once each.

    Raises:
        ValueError: there are fewer or more, or one is not above 0.

    Example:
        >>> from glmhmm_pyro import Sequences
        >>> data = Sequences([1, 0, 1], lengths=[1, 2])
        >>> data.weighted([2, 0.5]).session_weights.tolist()
        [2.0, 0.5]
    """
    if weights is None:
        return data._derive(session_weights=None)
    weights = rows_in_order(weights, data.session_names)
    array = real_array("weights", weights).astype(float)
    bad = array.shape != (data.num_sessions,)
    if bad or not ((array > 0) & (array < float("inf"))).all():
        raise ValueError(
            f"weights must be {data.num_sessions} finite numbers above 0, one for each "
            f"session, got {array.tolist()!r:.80}; leave sessions out by subset"
        )
    values = torch.as_tensor(array, dtype=data.dtype, device=data.device)
    return data._derive(session_weights=values)


def by_session(data: "Sequences") -> Tensor:
    """How often every session counts, 1 where nothing else is said, (sessions,)."""
    if data.session_weights is None:
        return torch.ones(data.num_sessions, dtype=data.dtype, device=data.device)
    return data.session_weights


def by_step(data: "Sequences") -> Tensor:
    """How often every step counts, (steps,)."""
    return by_session(data).repeat_interleave(data.lengths)


def joined_weights(parts: Sequence["Sequences"]) -> Tensor | None:
    """Weights of several data sets end to end, where any of them has some."""
    if all(part.session_weights is None for part in parts):
        return None
    return torch.cat([by_session(part) for part in parts])
