"""Annealing: first EM iterations with tempered posteriors or stronger priors.

The posterior of the states at inverse temperature beta, proportional to p(y, z)^beta,
is flatter than the true one, and poor local optima are fewer (Ueda & Nakano 1998,
"Deterministic annealing EM algorithm").
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from glmhmm_pyro.inference.program.coordinates import Params

# Share of the start that an annealed iteration keeps.
_START = 0.01


class AnnealedIteration(NamedTuple):
    """Settings of one annealed EM iteration.

    Attributes:
        beta: inverse temperature of the E-step.
        multiplier: of the log prior in the M-step.
    """

    beta: float = 1.0
    multiplier: float = 1.0


def schedule(
    inverse_temperatures: Sequence[float], prior_multipliers: Sequence[float]
) -> list[AnnealedIteration]:
    """The annealed iterations; the shorter list is continued by ones."""
    pairs = zip_longest(inverse_temperatures, prior_multipliers, fillvalue=1.0)
    return [
        AnnealedIteration(float(beta), float(multiplier)) for beta, multiplier in pairs
    ]


def positive(
    name: str, values: Iterable[float], largest: float = math.inf
) -> tuple[float, ...]:
    """The numbers of a list, if all are positive, finite and at most ``largest``."""
    try:
        numbers = tuple(map(float, values))
    except (TypeError, ValueError, RuntimeError):
        bad: list[Any] = [values]
    else:
        bad = [n for n in numbers if not (0 < n <= largest and n < math.inf)]
    if bad:
        limit = "" if largest == math.inf else f" and at most {largest:g}"
        raise ValueError(
            f"{name} must be positive, finite numbers{limit}, one for each annealed EM "
            f"iteration, got {bad[0]!r}; give a list such as [0.5, 1.0]"
        )
    return numbers


def with_share_of_start(
    params: Params, start: Params, transforms: Mapping[str, Any], share: float = _START
) -> Params:
    """Parameters mixed with a small share of the start.

    At a high temperature all states become the same; the share of the start breaks this
    symmetry once the temperature falls.

    Args:
        params: after an annealed M-step.
        start: where the run began.
        transforms: from unconstrained numbers to values, by site.
        share: of the start, in unconstrained numbers.
    """
    mixed = dict(params)
    for name, transform in transforms.items():
        now, first = transform.inv(params[name]), transform.inv(start[name])
        between = now + share * (first - now)
        if between.isfinite().all():
            mixed[name] = transform(between)
    return mixed
