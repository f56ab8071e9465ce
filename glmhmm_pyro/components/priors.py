"""Priors of a component's parameters: the flat one, and how any of them fills a shape.

A penalty is declared once, as a prior, and serves every inference method: ridge is a
Normal, no penalty is :class:`Flat`, stickiness is a Dirichlet.
"""

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from pyro.distributions import Independent, TorchDistribution
from torch.distributions import constraints

Prior: TypeAlias = (
    torch.distributions.Distribution
    | Callable[[torch.Size], torch.distributions.Distribution]
    | None
)


class Flat(TorchDistribution):
    """Improper prior whose log density is 0 on all of its support.

    It makes a maximum of the posterior a maximum of the likelihood. It has no draws:
    ``sample`` returns a start value near 0 (near the uniform distribution for
    probabilities). Engines that need a proper prior ask ``is_proper``.

    Args:
        shape: shape of one value, the event axes of ``support`` included.
        support: a ``torch.distributions.constraints`` object.
    """

    arg_constraints: dict = {}
    is_proper = False
    has_rsample = False

    def __init__(
        self,
        shape: torch.Size,
        support: constraints.Constraint = constraints.real,
        dtype: torch.dtype = torch.float64,
    ):
        self._support = support
        self._dtype = dtype
        shape = torch.Size(shape)
        split = len(shape) - support.event_dim
        super().__init__(shape[:split], shape[split:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return self._support

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "Flat":
        """The same prior over more values."""
        shape = torch.Size(batch_shape) + self.event_shape
        return Flat(shape, self._support, self._dtype)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Zeros of the shape of ``value`` without its event axes."""
        split = value.dim() - self.event_dim
        return torch.zeros(value.shape[:split], dtype=value.dtype, device=value.device)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> torch.Tensor:
        """Start values: a tenth of a standard normal, mapped into the support."""
        transform = torch.distributions.biject_to(self._support)
        shape = transform.inverse_shape(self.shape(sample_shape))
        return transform(0.1 * torch.randn(shape, dtype=self._dtype))


def fill(prior: Prior, shape: torch.Size, support: constraints.Constraint) -> Any:
    """``prior`` over a value of ``shape``, all its axes event axes.

    Args:
        prior: ``None`` for flat; a distribution whose shape broadcasts to ``shape``;
            or a function from the shape to a distribution of exactly that shape, in
            which hyperparameters may be sampled.
    """
    shape = torch.Size(shape)
    filled: Any
    if prior is None:
        filled = Flat(shape, support)
    elif isinstance(prior, torch.distributions.Distribution):
        filled = _expand(_double(prior), shape)
    elif callable(prior):
        filled = prior(shape)
        _check_filled(filled, shape)
        filled = _double(filled)
    else:
        raise TypeError(
            "prior must be a distribution, a function from a shape to one, or None for "
            f"flat, got {prior!r}; Normal(0, {prior!r}) is a penalty of that width"
        )
    # Pyro's wrapper, because a distribution of torch alone is no Pyro site.
    return Independent(filled, len(filled.batch_shape))


def _check_filled(filled: Any, shape: torch.Size) -> None:
    """Refuse what a prior function returned if it is not over the shape given."""
    if not isinstance(filled, torch.distributions.Distribution):
        raise TypeError(
            "a prior function must return a distribution, got "
            f"{type(filled).__name__}"
        )
    found = filled.batch_shape + filled.event_shape
    if found != shape:
        raise ValueError(
            f"a prior function must return a distribution of shape {tuple(shape)}, "
            f"got {tuple(found)}; expand it to the shape it is given"
        )


def _expand(prior: Any, shape: torch.Size) -> TorchDistribution:
    """``prior`` broadcast to ``shape``; its event axes must be the last ones of it."""
    own = prior.batch_shape + prior.event_shape
    split = len(shape) - len(prior.event_shape)
    try:
        fits = torch.broadcast_shapes(own, shape) == shape
    except RuntimeError:
        fits = False
    if not fits or shape[split:] != prior.event_shape:
        raise ValueError(
            f"prior must have a shape that broadcasts to {tuple(shape)}, the shape of "
            f"the parameter, got {tuple(own)} ({type(prior).__name__})"
        )
    return prior.expand(shape[:split])


def _double(distribution: Any) -> Any:
    """A copy in float64, whatever the precision its parameters were written in."""
    double = copy.copy(distribution)
    for name, value in vars(distribution).items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            double.__dict__[name] = value.double()
        elif isinstance(value, torch.distributions.Distribution):
            double.__dict__[name] = _double(value)
    return double


def elementwise_log_prob(
    prior: TorchDistribution, value: torch.Tensor, event_dim: int
) -> torch.Tensor:
    """Log density with the last ``event_dim`` axes of ``value`` summed, no others.

    ``prior`` is what :func:`fill` returned; its outer event axes are peeled off, so
    that a prior that is a product over states gives one number for each.
    """
    while hasattr(prior, "base_dist") and hasattr(prior, "reinterpreted_batch_ndims"):
        prior = prior.base_dist
    log_prob = prior.log_prob(value)
    keep = value.dim() - event_dim
    return log_prob.reshape(log_prob.shape[:keep] + (-1,)).sum(-1)
