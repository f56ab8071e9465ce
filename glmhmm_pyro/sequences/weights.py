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

    A whole number is as good as that many copies of the session, for what is fitted,
    for its standard errors and for scores in nats. Weights are not read by what counts
    sessions or steps as they are: folds of cross-validation, sessions left out, curves
    and effects of covariates, and shares of time in states.

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


def joined_weights(parts: Sequence["Sequences"]) -> Tensor | None:
    """Weights of several data sets end to end, where any of them has some."""
    if all(part.session_weights is None for part in parts):
        return None
    return torch.cat(
        [
            (
                torch.ones(part.num_sessions, dtype=part.dtype, device=part.device)
                if part.session_weights is None
                else part.session_weights
            )
            for part in parts
        ]
    )
