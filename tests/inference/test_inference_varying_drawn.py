"""Draws of weights that vary, by NUTS and SVI: against closed forms, weighted priors.

Means may be off by half a standard deviation, and these by 35 %: five standard errors
of 100 independent draws, of which chains have more. The worst of SVI, whose gradients
are stochastic, is half of that. Seeds fix all draws on every machine.
"""

import functools

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import Normal

import glmhmm_pyro as gh
from glmhmm_pyro.components import Varying

METHODS = {
    "nuts": gh.NUTS(num_samples=120, num_warmup=60, num_chains=1, max_tree_depth=4),
    "svi": gh.SVI(
        guide="multivariate_normal",
        num_samples=500,
        learning_rate=0.1,
        num_particles=10,
        window=10,
        patience=1,
        num_decays=1,
    ),
}
UNFINISHED = pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
POOLED, WALK = gh.priors.Ridge(0.5), gh.priors.RandomWalk(0.5, start_scale=1.0)
LAWS = {"group": POOLED, "session": WALK, "step": WALK}
GROUPS = ["ann", "ann", "bob", "bob"]


class KnownNoise(gh.GLMEmission):
    """A linear regression whose noise is standard normal."""

    def distribution(self, predictor):
        """A normal of standard deviation 1."""
        return dist.Normal(predictor, torch.ones((), dtype=torch.float64))


def units_of(over, lengths, groups):
    """The unit of every step, and whether each unit goes on from the one before."""
    sessions = np.arange(len(lengths)).repeat(lengths)
    by_session = np.array(groups)
    if over == "group":
        names = list(dict.fromkeys(groups))
        return np.array([names.index(g) for g in by_session[sessions]]), None
    owners = by_session if over == "session" else by_session[sessions]
    follows = np.r_[False, owners[1:] == owners[:-1]]
    return (sessions if over == "session" else np.arange(len(sessions))), follows


def prior_covariance(over, number, follows):
    """Of a mean, for pooled units, and all units: what is added up in each of them."""
    if over == "group":
        parts = np.c_[np.ones(number + 1), np.r_[np.zeros((1, number)), np.eye(number)]]
        return parts @ np.diag([1.0] + [0.25] * number) @ parts.T
    starts = np.maximum.accumulate(np.where(follows, 0, np.arange(number)))
    numbers = np.arange(number)
    parts = (numbers <= numbers[:, None]) & (numbers >= starts[:, None])
    return parts @ np.diag(np.where(follows, 0.25, 1.0)) @ parts.T


def latents_of(fit, name):
    """Draws (draws, numbers) of the mean, where there is one, and of all units."""
    parts = [
        fit.draws[f"{name}.{end}"]
        for end in ("weights_mean", "weights")
        if f"{name}.{end}" in fit.draws
    ]
    return torch.cat([p[0].flatten(1) for p in parts], 1).numpy()


def check(fit, name, mean, deviation):
    """Means and standard deviations are those of the posterior."""
    found = latents_of(fit, name)
    assert found.shape[1] == len(mean)
    assert (np.abs(found.mean(0) - mean) / deviation).max() < 0.5
    assert np.abs(found.std(0) / deviation - 1).max() < 0.35


@UNFINISHED
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("over", LAWS)
def test_weights_of_a_regression_have_the_posterior_in_closed_form(over, method):
    rng, lengths = np.random.default_rng(2), [3, 4, 3, 2]
    x, unit = rng.normal(size=12), units_of(over, lengths, GROUPS)
    y = x * rng.normal(size=unit[0].max() + 1)[unit[0]] * 2 + rng.normal(size=12)
    data = gh.Sequences(y, x[:, None], lengths=lengths, groups=GROUPS)
    family = KnownNoise(prior=Normal(0.0, 1.0))
    model = gh.GLMHMM(1, Varying(family, over, LAWS[over]))
    fit = gh.fit(model, data, METHODS[method], num_restarts=1, progress=False)
    number = unit[0].max() + 1
    covariance = prior_covariance(over, number, unit[1])
    design = np.zeros((12, len(covariance)))
    design[np.arange(12), unit[0] + (over == "group")] = x
    posterior = np.linalg.inv(np.linalg.inv(covariance) + design.T @ design)
    deviation = np.sqrt(np.diag(posterior))
    check(fit, "emissions", posterior @ design.T @ y, deviation)


# What is known of the chain where a part of it varies.
LIKELY = np.array([[0.9, 0.1], [0.1, 0.9]])
SEEN = gh.Bernoulli(prior=gh.priors.Fixed([[-np.log(9)], [np.log(9)]]))
EVEN = gh.Initial(gh.priors.Fixed([0.5, 0.5]))
STAYING = gh.Stationary(gh.priors.Fixed([[0.8, 0.2], [0.2, 0.8]]))


def log_likelihoods(data, first, leaving):
    """Of all sessions by the forward recursion, for many values of the parameters.

    Args:
        first: probability of state 1 at first steps, (values, sessions).
        leaving: that of leaving either state into a step, (values, steps, states).
    """
    total, step, alpha = 0.0, 0, np.zeros((len(first), 2))
    for session, part in enumerate(data):
        for number, y in enumerate(part.emissions.tolist()):
            if number:
                away = alpha * leaving[:, step]
                alpha = alpha - away + away[:, ::-1]
            else:
                alpha = np.stack([1 - first[:, session], first[:, session]], 1)
            alpha = alpha * LIKELY[:, y]
            total = total + np.log(alpha.sum(1))
            alpha, step = alpha / alpha.sum(1, keepdims=True), step + 1
    return total


def weighted(values, log_weights):
    """Means and standard deviations of draws from a prior, by their likelihoods."""
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    # So many draws that they are as good as the posterior itself.
    assert 1 / (weights**2).sum() > 1000
    mean = weights @ values
    return mean, np.sqrt(weights @ (values - mean) ** 2)


def switching(lengths, groups, seed=4):
    """Choices that show a state, which bob leaves often and ann does not."""
    rng, states = np.random.default_rng(seed), []
    for length, group in zip(lengths, groups):
        state = int(rng.random() < (0.2 if group == "ann" else 0.9))
        for step in range(length):
            away = rng.random() < (0.1 if group == "ann" else 0.6)
            state = state ^ int(step > 0 and away)
            states.append(state)
    y = np.array(states) ^ (rng.random(len(states)) < 0.1)
    return gh.Sequences(
        y.astype(int),
        lengths=lengths,
        groups=groups,
        initial_covariates=np.ones((len(lengths), 1)),
    )


@functools.cache
def moves_that_vary(part, over):
    """A model, data, and means and deviations of draws from its prior, weighted."""
    of_moves = part == "transitions"
    lengths = [4, 3, 4, 3] if over == "step" else [10] * 4 if of_moves else [3] * 6
    groups = sorted(GROUPS) if of_moves else ["ann"] * 3 + ["bob"] * 3
    data = switching(lengths, groups)
    unit, follows = units_of(over, lengths, groups)
    number = unit.max() + 1
    covariance = prior_covariance(over, number, follows)
    rng, origins = np.random.default_rng(0), 2 if of_moves else 1
    shape = 60_000, origins, len(covariance)
    values = rng.normal(size=shape) @ np.linalg.cholesky(covariance).T
    probs = 1 / (1 + np.exp(-values[..., len(covariance) - number :]))
    family = (
        gh.InputDriven(Normal(0.0, 1.0))
        if of_moves
        else gh.InitialGLM(Normal(0.0, 1.0))
    )
    varying = Varying(family, over, LAWS[over])
    if of_moves:
        leaving = probs[:, :, unit].transpose(0, 2, 1)
        logs = log_likelihoods(data, np.full((len(probs), 4), 0.5), leaving)
        model = gh.GLMHMM(2, SEEN, varying, EVEN)
    else:
        starts = np.cumsum(lengths) - lengths
        first = probs[:, 0][:, unit[starts]]
        leaving = np.full((len(probs), sum(lengths), 2), 0.2)
        logs = log_likelihoods(data, first, leaving)
        model = gh.GLMHMM(2, SEEN, STAYING, varying)
    # Of every unit the numbers of all origins stand together.
    flat = values.transpose(0, 2, 1).reshape(len(values), -1)
    return model, data, weighted(flat, logs)


MOVES = [(p, o) for p in ("transitions", "initial") for o in ("group", "session")]


@UNFINISHED
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("part, over", MOVES)
def test_weights_of_moves_have_the_posterior_of_weighted_draws(part, over, method):
    """Most of the time goes to 60,000 weighted draws and to modes, where both begin."""
    model, data, expected = moves_that_vary(part, over)
    fit = gh.fit(model, data, METHODS[method], num_restarts=1, progress=False)
    check(fit, part, *expected)
