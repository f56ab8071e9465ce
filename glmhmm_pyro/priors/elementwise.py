"""Priors of weights that know nothing of one another."""

from dataclasses import dataclass

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import Distribution

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.priors.answers import storable
from glmhmm_pyro.priors.recipe import Place, ScaleFamily, full_shape, require_positive


@storable
@suggests_names
@dataclass(frozen=True)
class Ridge(ScaleFamily):
    r"""Independent normal weights: the penalty is a sum of squares.

    .. math:: -\log p(w) = \sum_i w_i^2 / (2 s^2) + \text{const}

    Args:
        scale: standard deviation s, in log-odds per unit of the covariate.

    Example:
        >>> import glmhmm_pyro as gh
        >>> emissions = gh.Bernoulli(prior=gh.priors.Ridge(2.0))
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        require_positive(self, "scale")

    def scaled(
        self, shape: torch.Size, factor: Tensor | float, place: Place = Place()
    ) -> Distribution:
        """Normal of mean 0."""
        scale = _in_double(self.scale * factor)
        return dist.Normal(torch.zeros_like(scale), scale).expand(
            full_shape(shape, factor)
        )


@storable
@suggests_names
@dataclass(frozen=True)
class Lasso(ScaleFamily):
    r"""Independent Laplace weights: the penalty is a sum of absolute values.

    .. math:: -\log p(w) = \sum_i |w_i| / b + \text{const}

    At the mode many weights are 0 (Tibshirani 1996); the mean and draws from the
    posterior are not.

    Args:
        scale: the Laplace distribution's b, in log-odds per unit of the covariate.

    Example:
        >>> import glmhmm_pyro as gh
        >>> transitions = gh.InputDriven(prior=gh.priors.Lasso(0.5))
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        require_positive(self, "scale")

    def scaled(
        self, shape: torch.Size, factor: Tensor | float, place: Place = Place()
    ) -> Distribution:
        """Laplace of mean 0."""
        scale = _in_double(self.scale * factor)
        return dist.Laplace(torch.zeros_like(scale), scale).expand(
            full_shape(shape, factor)
        )


@storable
@suggests_names
@dataclass(frozen=True)
class StudentT(ScaleFamily):
    r"""Independent Student-t weights: small ones are shrunk, large ones are let be.

    .. math:: -\log p(w) = \tfrac{\nu + 1}{2} \sum_i
        \log\big(1 + w_i^2 / (\nu s^2)\big) + \text{const}

    The penalty is not convex, so that a posterior may have several modes.

    Args:
        df: degrees of freedom; 1 is a Cauchy, many are a :class:`Ridge`.
        scale: the scale s, in log-odds per unit of the covariate.

    Example:
        >>> import glmhmm_pyro as gh
        >>> emissions = gh.Categorical(3, prior=gh.priors.StudentT(df=4, scale=2.5))
    """

    df: float = 4.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        require_positive(self, "df", "scale")

    def scaled(
        self, shape: torch.Size, factor: Tensor | float, place: Place = Place()
    ) -> Distribution:
        """Student-t of location 0."""
        scale = _in_double(self.scale * factor)
        df = torch.full_like(scale, self.df)
        return dist.StudentT(df, torch.zeros_like(scale), scale).expand(
            full_shape(shape, factor)
        )


def _in_double(scale: Tensor | float) -> Tensor:
    return torch.as_tensor(scale, dtype=torch.float64)
