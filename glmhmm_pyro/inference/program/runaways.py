"""Positive numbers that run to an end of their support, where a density is infinite."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from glmhmm_pyro.inference.program.coordinates import Params
from glmhmm_pyro.priors.filling import elementwise_support

# A scale this many times its value at the start, or one over it, has run away.
_VANISHED = 1e-6


def scales(priors: Mapping[str, Any]) -> list[str]:
    """Names of the sites whose values are positive numbers, without an upper end."""
    return [n for n, prior in priors.items() if _from_zero(elementwise_support(prior))]


def _from_zero(support: constraints.Constraint) -> bool:
    """Whether the support begins at 0, as that of a scale does."""
    return bool((torch.as_tensor(getattr(support, "lower_bound", -1.0)) == 0).all())


def runaways(names: Iterable[str], first: Params, now: Params) -> tuple[str, ...]:
    """A sentence for every scale that diverges to 0 or to infinity.

    Args:
        names: of the scales.
        first: values at the start of a run.
        now: its present ones.
    """
    sentences = []
    for name in names:
        ratio = (now[name] / first[name]).reshape(-1)
        if (ratio < _VANISHED).any():
            sentences.append(f"{_entry(name, ratio, ratio.argmin())} runs to 0")
        elif (ratio > 1 / _VANISHED).any():
            entry = _entry(name, ratio, ratio.argmax())
            sentences.append(f"{entry} grows without end")
    return tuple(sentences)


def _entry(name: str, values: Tensor, number: Tensor) -> str:
    return name if len(values) == 1 else f"{name}[{int(number)}]"
