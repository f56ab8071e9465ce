"""Emissions pooled over slow states, integrated out as quadrature does."""

import numpy as np
import pytest
import torch
from level_cases import RIDGE
from pooled_cases import EVEN, pooled, short_data
from varying_cases import problem_of

import glmhmm_pyro as gh
from glmhmm_pyro.chain import log_marginal
from glmhmm_pyro.components import Levels, TwoLevels, TwoLevelsInitial, Varying
from glmhmm_pyro.inference.marginal.law_evidence import expand_at_units_mode


def grid(scale, number, nodes):
    """Points (points, number) of a normal law of this scale, and their log weights."""
    places, shares = np.polynomial.hermite_e.hermegauss(nodes)
    points = np.stack(np.meshgrid(*[places] * number, indexing="ij"), -1)
    logs = sum(np.meshgrid(*[np.log(shares / shares.sum())] * number, indexing="ij"))
    return scale * torch.tensor(points.reshape(-1, number)), torch.tensor(logs).ravel()


def emitted_by(data, biases):
    """Log-probabilities (points, steps, pairs) of choices by biases (points, pairs)."""
    signs = torch.where(data.emissions > 0, 1.0, -1.0)[:, None].double()
    odds = signs * biases[:, None]
    return torch.where(data.mask[:, None], odds.sigmoid().log(), 0.0)


def biased(**options):
    data = short_data(**options)
    return data.replace(covariates=np.ones((9, 1)), covariate_names=["bias"])


def test_biases_of_all_pairs_are_integrated_as_quadrature_does():
    """Eight nodes for each of four biases; Laplace's error is below 0.01 nats."""
    data = biased()
    problem = problem_of(pooled(gh.priors.Ridge(0.4)), data)
    v = torch.linspace(-0.5, 0.5, problem.theta.size).double()
    at = expand_at_units_mode(problem, v, torch.zeros(1, 4).double())
    params = problem.params(at.w, v)
    points, logs = grid(0.4, 4, 8)
    biases = params["emissions.weights_mean"][:, 0].repeat(2) + points
    hidden = problem.program.model.hidden_markov_at(params, data)
    chain = (hidden.initial_logits, hidden.transition_logits)
    by_node = log_marginal(
        *(part.expand(len(biases), *part.shape) for part in chain),
        emitted_by(data, biases),
        hidden.lengths,
    ).sum(-1)
    assert at.evidence == pytest.approx(float((by_node + logs).logsumexp(0)), abs=0.01)


def test_sessions_beside_pairs_are_integrated_as_quadrature_does():
    """Six nodes for each of four biases, and for the first log-odds of each session.

    Laplace's error is 0.0014 nats; without what links both it would be 0.0067.
    """
    data = biased()
    emissions = Varying(gh.Bernoulli(RIDGE), "slow", gh.priors.Ridge(0.6))
    moves = TwoLevels(gh.Stationary(EVEN), gh.Stationary(EVEN))
    slow = Varying(gh.Initial(), law=gh.priors.Ridge(1.0))
    first = TwoLevelsInitial(slow, gh.Initial(EVEN))
    problem = problem_of(gh.GLMHMM(Levels(2, 2), emissions, moves, first), data)
    v = torch.linspace(-0.5, 0.5, problem.theta.size).double()
    w = torch.zeros(problem.number, problem.size).double()
    at = expand_at_units_mode(problem, v, w)
    params = problem.params(at.w, v)
    (points, logs), (odds, shares) = grid(0.6, 4, 6), grid(1.0, 1, 6)
    biases = params["emissions.weights_mean"][:, 0].repeat(2) + points
    emitted, by_session = emitted_by(data, biases), []
    name = "initial.slow.weights"
    for own in params[f"{name}_mean"].reshape(()) + odds:
        there = params | {name: own.expand(params[name].shape)}
        hidden = problem.program.model.hidden_markov_at(there, data)
        chain = (hidden.initial_logits, hidden.transition_logits)
        full = (part.expand(len(biases), *part.shape) for part in chain)
        by_session.append(log_marginal(*full, emitted, hidden.lengths))
    by_node = (torch.stack(by_session, -1) + shares).logsumexp(-1).sum(-1) + logs
    assert at.evidence == pytest.approx(float(by_node.logsumexp(0)), abs=0.003)
