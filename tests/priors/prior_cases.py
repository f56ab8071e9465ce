"""Every recipe, and the density and variance it must have, by another library."""

import numpy as np
from pyro.distributions import HalfNormal, InverseGamma
from scipy import stats

import glmhmm_pyro as gh

priors = gh.priors
LAGS = 4


def walk_precision(step, start, lags=LAGS):
    """Precision of a random walk: the path's Laplacian, and a start."""
    differences = np.diff(np.eye(lags), axis=0)
    precision = differences.T @ differences / step**2
    precision[0, 0] += 1 / start**2
    return precision


def process_covariance(length, scale, jitter, lags=LAGS):
    """Squared-exponential covariance, entry by entry."""
    return np.array(
        [
            [
                scale**2 * (np.exp(-((i - j) ** 2) / 2 / length**2) + jitter * (i == j))
                for j in range(lags)
            ]
            for i in range(lags)
        ]
    )


def _normal(covariance):
    return lambda w: stats.multivariate_normal(cov=covariance).logpdf(w)


LASSO = 2 * 0.7**2
WALK = np.linalg.inv(walk_precision(0.3, 1.2)).diagonal()

# Recipe, its log density of one row of weights, and the variance of each of them.
ROWS = {
    "ridge": (
        priors.Ridge(1.5),
        lambda w: stats.norm(0, 1.5).logpdf(w).sum(),
        [1.5**2] * LAGS,
    ),
    "lasso": (
        priors.Lasso(0.7),
        lambda w: stats.laplace(0, 0.7).logpdf(w).sum(),
        [LASSO] * LAGS,
    ),
    "student": (
        priors.StudentT(3, 0.5),
        lambda w: stats.t(3, 0, 0.5).logpdf(w).sum(),
        [3 * 0.5**2] * LAGS,
    ),
    "walk": (
        priors.RandomWalk(0.3, 1.2),
        _normal(np.linalg.inv(walk_precision(0.3, 1.2))),
        WALK,
    ),
    "process": (
        priors.GaussianProcess(1.5, 0.8, 1e-3),
        _normal(process_covariance(1.5, 0.8, 1e-3)),
        [0.8**2 * 1.001] * LAGS,
    ),
    "grouped": (
        priors.Grouped({(3, 0): priors.RandomWalk(0.3, 1.2)}, rest=priors.Lasso(0.7)),
        lambda w: _normal(np.linalg.inv(walk_precision(0.3, 1.2, 2)))(w[[3, 0]])
        + stats.laplace(0, 0.7).logpdf(w[1:3]).sum(),
        [WALK[1], LASSO, LASSO, WALK[0]],
    ),
}

HIERARCHIES = {
    "one scale": priors.Hierarchical(InverseGamma(3.0, 2.0)),
    "by state": priors.Hierarchical(InverseGamma(3.0, 2.0), per="state"),
    "smooth": priors.Hierarchical(
        HalfNormal(1.0), base=priors.RandomWalk(0.5, 1.0), per=("state",)
    ),
    "horseshoe": priors.Hierarchical(
        HalfNormal(0.5),
        base=priors.Hierarchical(HalfNormal(1.0), per=("state", "covariate")),
    ),
    "in groups": priors.Grouped(
        {0: priors.Hierarchical(InverseGamma(3.0, 2.0), base=priors.Lasso(0.5))},
        rest=priors.Hierarchical(InverseGamma(2.0, 1.0), per="state"),
    ),
}
