"""The prior that is none: its density is the same everywhere on the support."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch.distributions import constraints

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.broadcasting import unconstrained_shape

# Supports on which a constant density has a finite integral.
_SIMPLEX = type(constraints.simplex)
_BOUNDED = (_SIMPLEX, constraints.interval)


@suggests_names
class Flat(TorchDistribution):
    """Prior whose log density is 0 on all of its support, whatever its normaliser.

    It makes a maximum of the posterior a maximum of the likelihood. On a bounded
    support, such as the simplex, it is the uniform distribution but for that constant,
    and ``sample`` draws from it. Elsewhere it is improper and has no draws: ``sample``
    returns a start value near the middle. Engines that need a proper prior ask
    ``is_proper``.

    Args:
        shape: shape of one value, the event axes of ``support`` included.
        support: a ``torch.distributions.constraints`` object.

    Example:
        >>> import torch
        >>> Flat(torch.Size([2])).log_prob(torch.tensor([3.0, -1.0]).double())
        tensor([0., 0.], dtype=torch.float64)
    """

    arg_constraints: dict = {}
    has_rsample = False

    def __init__(
        self,
        shape: torch.Size,
        support: constraints.Constraint = constraints.real,
        dtype: torch.dtype = torch.float64,
    ):
        self._support: Any = support
        self._dtype = dtype
        shape = _checked_shape(shape, support)
        split = len(shape) - support.event_dim
        super().__init__(shape[:split], shape[split:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return self._support

    @property
    def is_proper(self) -> bool:
        """Whether the density has a finite integral: on a bounded support."""
        return isinstance(self._support, _BOUNDED)

    @property
    def log_volume(self) -> float:
        """Logarithm of the volume of the support, infinite where it is unbounded.

        A simplex is measured by all its probabilities but the last, as densities of a
        Dirichlet are.
        """
        if isinstance(self._support, _SIMPLEX):
            return -self.batch_shape.numel() * math.lgamma(self.event_shape[-1])
        if not self.is_proper:
            return math.inf
        lowest, highest = self._support.lower_bound, self._support.upper_bound
        width = torch.as_tensor(highest - lowest, dtype=self._dtype)
        return float(width.log().expand(self.shape()).sum())

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "Flat":
        """This prior over a batch of values."""
        shape = torch.Size(batch_shape) + self.event_shape
        return Flat(shape, self._support, self._dtype)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        """Zeros of the shape of ``value`` without its event axes."""
        split = value.dim() - self.event_dim
        return torch.zeros(value.shape[:split], dtype=value.dtype, device=value.device)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> torch.Tensor:
        """Uniform draws; start values near the middle of an unbounded support."""
        shape = self.shape(sample_shape)
        if isinstance(self._support, _SIMPLEX):
            spacings = torch.empty(shape, dtype=self._dtype).exponential_()
            return spacings / spacings.sum(-1, keepdim=True)
        if self.is_proper:
            lowest, highest = self._support.lower_bound, self._support.upper_bound
            return lowest + (highest - lowest) * torch.rand(shape, dtype=self._dtype)
        transform = torch.distributions.biject_to(self._support)
        free = torch.randn(unconstrained_shape(transform, shape), dtype=self._dtype)
        return transform(0.1 * free)


def _checked_shape(shape: Sequence[int], support: constraints.Constraint) -> torch.Size:
    """The shape of one value, if it is one."""
    try:
        sizes = torch.Size(shape)
    except TypeError:
        sizes = torch.Size([-1])
    if len(sizes) < support.event_dim or any(size < 0 for size in sizes):
        raise ValueError(
            f"shape must be a tuple of sizes, {support.event_dim} at least on this "
            f"support, got {shape!r:.80}; give such as (2, 3)"
        )
    return sizes
