"""Priors of weights that are smooth over lags, the last axis of the parameter."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import Distribution

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.priors.answers import storable
from glmhmm_pyro.priors.learnt import axes_named, check_scale
from glmhmm_pyro.priors.recipe import Place, ScaleFamily, full_shape, require_positive


@storable
@suggests_names
@dataclass(frozen=True)
class RandomWalk(ScaleFamily):
    r"""Gaussian random walk over lags: the penalty is on differences of neighbours.

    .. math:: w_0 \sim N(0, s_0^2), \quad w_l \sim N(w_{l-1}, s^2), \qquad
        -\log p(w) = \tfrac{\lambda}{2} w^\top D w + \frac{w_0^2}{2 s_0^2}
        + \text{const}, \quad \lambda = s^{-2}

    D is the Laplacian of a path, so that w'Dw is the sum of squared differences of
    neighbouring lags, and the gradient of the penalty is lambda D w. D says nothing of
    the level; a normal on the first lag does, and makes the prior proper.

    All columns of the parameter must be lags of one covariate, in order; where they are
    not, :class:`Grouped` gives each covariate a walk of its own.

    As the law of :class:`gh.components.Varying` it is a walk over sessions or steps,
    and its step may be learnt.

    Args:
        step_scale: standard deviation s of a step from lag to lag. In a law also
            numbers that broadcast to the weights of a unit, a distribution of one that
            is learnt, or ``"learnt"`` for a flat one.
        start_scale: standard deviation of the weight at the first lag.
        per: in a law, axes of the weights that have learnt steps of their own.
        border_scale: in a law over steps, the same as ``step_scale`` of a step from one
            session to the next; ``None`` for steps like all others.

    Example:
        >>> import glmhmm_pyro as gh
        >>> prior = gh.priors.RandomWalk(step_scale=0.5, start_scale=2.0)
        >>> prior((2, 3)).covariance_matrix[0]
        tensor([[4.0000, 4.0000, 4.0000],
                [4.0000, 4.2500, 4.2500],
                [4.0000, 4.2500, 4.5000]], dtype=torch.float64)
    """

    step_scale: Any
    start_scale: float = 2.0
    per: tuple[str, ...] = ()
    border_scale: Any = None

    def __post_init__(self) -> None:
        require_positive(self, "start_scale")
        for field in ("step_scale", "border_scale"):
            if field == "step_scale" or self.border_scale is not None:
                check_scale(self, field)
        object.__setattr__(self, "per", axes_named(self))

    @property
    def event_dim(self) -> int:
        """Lags are correlated, rows of weights are not."""
        return 1

    def scaled(
        self, shape: torch.Size, factor: Tensor | float, place: Place = Place()
    ) -> Distribution:
        """Multivariate normal whose Cholesky factor holds the steps."""
        if not isinstance(self.step_scale, float) or self.border_scale is not None:
            raise ValueError(
                f"step_scale of RandomWalk must be one number for {place.title}, a "
                f"walk over lags, got {self.step_scale!r:.80}; steps are learnt, and "
                "borders known, of walks over sessions or steps: in Varying(law=...)"
            )
        root = _walk_root(self.step_scale, self.start_scale, shape[-1])
        return _normal(root, shape, factor)


@storable
@suggests_names
@dataclass(frozen=True)
class GaussianProcess(ScaleFamily):
    r"""Gaussian process over lags, of squared-exponential covariance: smooth weights.

    .. math:: \text{cov}(w_i, w_j) = s^2
        \Big( e^{-(i - j)^2 / (2 \ell^2)} + \epsilon \, \delta_{ij} \Big)

    Lags are one column apart (Sahani & Linden 2003). Columns as for
    :class:`RandomWalk`.

    Args:
        length_scale: length l over which weights vary, in lags.
        scale: standard deviation s of a weight.
        jitter: share epsilon of the variance that is independent from lag to lag. It
            keeps the covariance invertible: a process much longer than a lag needs it.

    Example:
        >>> import glmhmm_pyro as gh
        >>> prior = gh.priors.GaussianProcess(length_scale=2.0, scale=0.5)
        >>> prior((3, 10)).event_shape
        torch.Size([10])
    """

    length_scale: float
    scale: float = 1.0
    jitter: float = 1e-4

    def __post_init__(self) -> None:
        require_positive(self, "length_scale", "scale", "jitter")

    @property
    def event_dim(self) -> int:
        """Lags are correlated, rows of weights are not."""
        return 1

    def scaled(
        self, shape: torch.Size, factor: Tensor | float, place: Place = Place()
    ) -> Distribution:
        """Multivariate normal with the squared-exponential covariance."""
        root = _process_root(self.length_scale, self.jitter, shape[-1])
        return _normal(root, shape, self.scale * factor)


def _normal(root: Tensor, shape: torch.Size, factor: Tensor | float) -> Distribution:
    """Normal of covariance ``root @ root.T``, its draws multiplied by the factor."""
    factor = torch.as_tensor(factor, dtype=torch.float64)
    root = factor.unsqueeze(-1) * root if factor.dim() else factor * root
    full = full_shape(shape, factor)
    return dist.MultivariateNormal(
        torch.zeros(full[-1:], dtype=torch.float64), scale_tril=root
    ).expand(full[:-1])


@lru_cache(maxsize=64)
def _walk_root(step: float, start: float, lags: int) -> Tensor:
    """Lower triangle that sums a start and steps."""
    root = torch.full((lags, lags), step, dtype=torch.float64).tril()
    root[:, 0] = start
    return root


@lru_cache(maxsize=64)
def _process_root(length: float, jitter: float, lags: int) -> Tensor:
    """Cholesky factor of the correlations of lags."""
    return torch.linalg.cholesky(process_correlation(lags, length, jitter))


def process_correlation(lags: int, length: Tensor | float, jitter: float) -> Tensor:
    """Squared-exponential correlations of lags one column apart, (lags, lags)."""
    place = torch.arange(lags, dtype=torch.float64)
    distance = (place[:, None] - place) / length
    smooth = torch.exp(-distance.square() / 2)
    return smooth + jitter * torch.eye(lags, dtype=torch.float64)
