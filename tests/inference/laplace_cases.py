"""Biases of animals around a mean, with their posterior by quadrature."""

import numpy as np
from scipy.special import expit, logsumexp
from torch.distributions import HalfNormal

import glmhmm_pyro as gh
from glmhmm_pyro.components import Varying

BIAS_NAMES = {
    "mean": "emissions.weights_mean",
    "scale": "emissions.weights_scale",
    "weights": "emissions.weights",
}


def biases(groups=12, trials=40, seed=1):
    """Choices by a bias that every animal has for itself."""
    rng = np.random.default_rng(seed)
    odds = (0.4 + 0.9 * rng.normal(size=groups)).repeat(trials)
    names = [str(group) for group in range(groups)]
    return gh.Sequences(
        (rng.random(len(odds)) < expit(odds)).astype(int),
        np.ones((len(odds), 1)),
        lengths=[trials] * groups,
        groups=names,
        session_names=names,
        covariate_names=["bias"],
    )


def pooled_biases(prior=HalfNormal(1.0)):
    law = gh.priors.Hierarchical(prior)
    return gh.GLMHMM(1, Varying(gh.Bernoulli(gh.priors.Ridge(2.0)), "group", law))


def by_quadrature(data):
    """Log evidence, and means and widths of the log scale and of the first weight.

    Of a grid of means and log scales, with 40 nodes for every weight.
    """
    ones = data.emissions.reshape(data.num_sessions, -1).sum(1).numpy()
    trials = int(data.lengths[0])
    nodes, shares = np.polynomial.hermite_e.hermegauss(40)
    mean, log_scale = np.linspace(-1.5, 2.5, 41), np.linspace(-5.0, 2.0, 71)
    scale = np.exp(log_scale)[:, None]
    w = mean[:, None, None] + scale * nodes
    each = ones[:, None, None, None] * w - trials * np.logaddexp(0, w)
    each = each + np.log(shares / shares.sum())
    by_unit = logsumexp(each, -1)
    heights = by_unit.sum(0) - (mean[:, None] / 2) ** 2 / 2 + log_scale
    heights = heights - np.log(2) - np.exp(2 * log_scale) / 2 - 0.5 * np.log(np.pi / 2)
    heights -= 0.5 * np.log(2 * np.pi)
    total = logsumexp(heights)
    share = np.exp(heights - total)
    own = share[..., None] * np.exp(each[0] - by_unit[0][..., None])
    found = [moments(np.broadcast_to(log_scale, share.shape), share), moments(w, own)]
    return total + np.log((mean[1] - mean[0]) * (log_scale[1] - log_scale[0])), found


def moments(values, shares):
    mean = (values * shares).sum()
    return mean, np.sqrt(((values - mean) ** 2 * shares).sum())
