"""Probabilities of exactly 0, which a user's own component may have by its structure.

A state that cannot follow another, or a label that a state never shows, has log
probability -inf. It is never expected to happen, so that it adds 0 times log 0, which
is 0 in value and in gradient. Automatic differentiation makes 0 / 0 of that gradient,
and torch's distributions take a probability of 0 for a tiny one.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution
from torch.overrides import TorchFunctionMode


def log_or_zero_slope(x: Tensor) -> Tensor:
    """Logarithm whose derivative at 0, where it is -inf, is 0."""
    is_zero = x == 0
    return torch.log(torch.where(is_zero, 1.0, x)).masked_fill(is_zero, -torch.inf)


class StructuralZeros(TorchFunctionMode):
    """Inside, ``torch.log`` has derivative 0 where it is -inf; all else is as it was.

    For the code of a user, whose logarithms are written as usual.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _LOGARITHMS and len(args) == 1 and not kwargs:
            return log_or_zero_slope(args[0])
        return func(*args, **(kwargs or {}))


_LOGARITHMS = (torch.log, torch.Tensor.log)

# Whose logarithms are never of a structural 0, or heed it themselves.
_KNOWN = ("glmhmm_pyro", "torch", "pyro")


def zeros_allowed(
    part: Distribution | Callable[..., Any],
) -> AbstractContextManager[Any]:
    """Where code of this part may run: :class:`StructuralZeros` if a user wrote it.

    Every call of torch costs a little more there, which known parts are spared.
    """
    room = type(part).__module__.partition(".")[0]
    return nullcontext() if room in _KNOWN else StructuralZeros()


def exact_logits(categorical: Distribution) -> Tensor:
    """Logits of labels with those of exactly 0 at -inf, where probabilities are given.

    Args:
        categorical: a ``Categorical`` of torch or Pyro.
    """
    probs = vars(categorical).get("probs")
    if probs is None or "logits" in vars(categorical):
        logits: Tensor = categorical.logits  # type: ignore[attr-defined]
        return logits
    return log_or_zero_slope(probs)


def exact_log_prob(given: Distribution, value: Tensor) -> Tensor:
    """Log density, -inf where a probability that was given is exactly 0.

    torch's ``Bernoulli`` and ``Categorical`` of ``probs`` take 0 for 2e-16.

    Args:
        given: a distribution of torch or Pyro.
        value: what it is the density of.
    """
    by_probs = "probs" in vars(given) and "logits" not in vars(given)
    if by_probs and isinstance(given, Categorical):
        labels, logits = torch.broadcast_tensors(
            value.long().unsqueeze(-1), log_or_zero_slope(given.probs)
        )
        return logits.gather(-1, labels[..., :1]).squeeze(-1)
    if by_probs and isinstance(given, Bernoulli):
        one, none = log_or_zero_slope(given.probs), log_or_zero_slope(1 - given.probs)
        return torch.where(value == 1, one, none)
    log_prob: Tensor = given.log_prob(value)
    return log_prob
