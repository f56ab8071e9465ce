"""Models whose posterior is known in closed form, and a user's hierarchy, for NUTS."""

import pyro
import pyro.distributions as dist
import torch
from families import normals
from inference_cases import clear_data
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh

SPREAD, RIDGE = 0.5, 2.0
ROW = torch.tensor([1.0, 2.0], dtype=torch.float64)


class KnownSpread(gh.GLMEmission):
    """A linear regression whose residuals have a known standard deviation."""

    def distribution(self, predictor):
        return dist.Normal(predictor, SPREAD, validate_args=False)


class Revealing(gh.Emission):
    """An emission that tells the state, and has nothing to learn."""

    def bind(self, data):
        """No covariates are read."""

    def forward(self, state, covariates):
        shape = torch.broadcast_shapes(state.shape, covariates.shape[:-1])
        logits = (60.0 * state - 30.0).double().expand(shape)
        return dist.Bernoulli(logits=logits, validate_args=False)


def regression(flat=False):
    """A single state and its data."""
    x = normals(30, 2)
    y = x @ torch.tensor([1.0, -0.5], dtype=torch.float64) + SPREAD * normals(30)
    prior = None if flat else Normal(0.0, RIDGE)
    return gh.GLMHMM(1, KnownSpread(prior=prior)), gh.Sequences(y, x)


def regression_posterior(data):
    """Mean and covariance of the weights: the normal equations with a ridge."""
    x, y = data.covariates, data.emissions
    precision = x.T @ x / SPREAD**2 + torch.eye(2).double() / RIDGE**2
    covariance = precision.inverse()
    return covariance @ x.T @ y / SPREAD**2, covariance


def known_states():
    """A chain whose states the emissions tell, and its data."""
    y = torch.tensor([0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 1])
    data = gh.Sequences(y, torch.ones(20, 1), lengths=[8, 12])
    moves = gh.Stationary(prior=Dirichlet(ROW))
    return gh.GLMHMM(2, Revealing(), moves, gh.Initial()), data


def known_states_posterior(data):
    """Concentrations of the transitions' rows, and of the flat initial one."""
    moves, first = ROW.repeat(2, 1), torch.ones(2, dtype=torch.float64)
    for session in data.emissions.split(data.lengths.tolist()):
        first[session[0]] += 1
        for origin, destination in zip(session, session[1:]):
            moves[origin, destination] += 1
    return moves, first


def pooled(animals):
    """Two animals whose weights share a mean: a model of a user's own."""
    mean = pyro.sample("mean", dist.Normal(torch.zeros(2, 2).double(), 2.0).to_event(2))
    spread = pyro.sample("spread", dist.HalfNormal(torch.ones(()).double()))
    sticky = torch.tensor([[8.0, 2.0], [2.0, 8.0]], dtype=torch.float64)
    stay = pyro.sample("stay", dist.Dirichlet(sticky).to_event(1))
    with pyro.plate("animals", len(animals)):
        unit = dist.Normal(torch.zeros(2, 2).double(), 1.0).to_event(2)
        own = pyro.sample("own", unit)
    for number, data in enumerate(animals):
        logits = data.covariates @ (mean + spread * own[number]).T
        hidden = gh.HiddenMarkov(
            torch.zeros(1, 2, dtype=torch.float64),
            stay.log()[None],
            dist.Bernoulli(logits=logits),
            data.lengths,
        )
        pyro.sample(f"y_{number}", hidden, obs=data.emissions)


POOLED_AXES = {"mean": (0,), "stay": (-2, -1), "own": (1,)}


def two_animals():
    """Short data of two animals that are alike."""
    return [clear_data(lengths=(40, 20), seed=seed) for seed in (0, 10)]
