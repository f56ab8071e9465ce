"""Log densities that gamma functions normalise, exact also far out.

Differences of logarithms of gamma functions lose all digits where their arguments are
large. What is left of them by Stirling's formula loses none.
"""

import math
from typing import TypeVar

import numpy as np
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from scipy.special import digamma, gammaln
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all

# From here on four terms of the series are exact to double precision.
_LARGE = 50.0

HALF_LOG_2_PI = math.log(2 * math.pi) / 2

Numbers = TypeVar("Numbers", Tensor, np.ndarray)


def stirling_rest(x: Tensor) -> Tensor:
    r"""What Stirling's formula leaves of a log gamma function, for x > 0.

    .. math:: \log \Gamma(x) - (x - 1/2) \log x + x - \log(2 \pi) / 2

    (Abramowitz & Stegun 1964, 6.1.41.)
    """
    series = _rest_of_large(x.clamp(min=_LARGE))
    small = x.clamp(max=_LARGE)
    exact = small.lgamma() - (small - 0.5) * small.log() + small
    return torch.where(x > _LARGE, series, exact - HALF_LOG_2_PI)


def stirling_rest_in_numpy(x: np.ndarray) -> np.ndarray:
    """:func:`stirling_rest` of numpy's numbers."""
    series = _rest_of_large(np.maximum(x, _LARGE))
    small = np.minimum(x, _LARGE)
    exact = gammaln(small) - (small - 0.5) * np.log(small) + small
    return np.where(x > _LARGE, series, exact - HALF_LOG_2_PI)


def _rest_of_large(x: Numbers) -> Numbers:
    """What Stirling's formula leaves, by the first terms of its series."""
    square = 1 / x**2
    series = 1 / 1260 - square / 1680
    return (1 / 12 - square * (1 / 360 - square * series)) / x


def stirling_rest_and_slope(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:func:`stirling_rest` of numpy's numbers, and its derivative."""
    large, small = np.maximum(x, _LARGE), np.minimum(x, _LARGE)
    inverse = 1 / large**2
    slope = 1 / 120 - inverse * (1 / 252 - inverse / 240)
    exact = digamma(small) - np.log(small) + 0.5 / small
    slope = np.where(x > _LARGE, -inverse * (1 / 12 - inverse * slope), exact)
    return stirling_rest_in_numpy(x), slope


class NegativeBinomialByMean(TorchDistribution):
    r"""Counts with mean m and variance m + a m squared.

    Args:
        log_mean: log m.
        dispersion: a; at 0 it would be a Poisson distribution.
    """

    arg_constraints: dict = {}
    support = constraints.nonnegative_integer

    def __init__(self, log_mean: Tensor, dispersion: Tensor):
        self.log_mean, self.dispersion = broadcast_all(log_mean, dispersion)
        super().__init__(self.log_mean.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean m."""
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        """The variance m + a m squared."""
        return self.mean + self.dispersion * self.mean**2

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Poisson counts whose rates are of a gamma distribution."""
        shape = 1 / self.dispersion
        rates = dist.Gamma(shape, shape / self.mean, validate_args=False)
        return torch.poisson(rates.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of counts."""
        shape = 1 / self.dispersion
        ways = (shape + value - 0.5) * (self.dispersion * value).log1p() - value
        ways = ways + stirling_rest(shape + value) - stirling_rest(shape)
        missed = (shape + value) * (self.dispersion * self.mean).log1p()
        return ways - (value + 1).lgamma() + value * self.log_mean - missed


class PreciseStudentT(dist.StudentT):
    """Student's t, whose density comes near to the normal one as ``df`` grows.

    Args:
        df: degrees of freedom.
        loc: location.
        scale: of the deviations from it.
    """

    def __init__(self, df: Tensor, loc: Tensor, scale: Tensor):
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        # An optimiser may ask for what is no number: torch's own would raise there.
        self._chi2 = dist.Chi2(self.df, validate_args=False)
        shape = self.df.shape
        torch.distributions.Distribution.__init__(self, shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        half, deviation = self.df / 2, (value - self.loc) / self.scale
        normaliser = half * (0.5 / half).log1p() - 0.5
        normaliser = normaliser + stirling_rest(half + 0.5) - stirling_rest(half)
        tails = (half + 0.5) * (deviation.square() / self.df).log1p()
        return normaliser - HALF_LOG_2_PI - self.scale.log() - tails


class GammaByMean(dist.Gamma):
    r"""Positive numbers with mean m and variance m squared over the shape.

    Args:
        log_mean: log m.
        shape: 1 is exponential.
    """

    def __init__(self, log_mean: Tensor, shape: Tensor):
        self.log_mean, self.form = broadcast_all(log_mean, shape)
        rate = self.form * (-self.log_mean).exp()
        super().__init__(self.form, rate, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density."""
        log_ratio = value.log() - self.log_mean
        misfit = self.form * (log_ratio - log_ratio.expm1())
        width = self.form.log() / 2 - HALF_LOG_2_PI
        return misfit + width - stirling_rest(self.form) - value.log()
