"""Data with two clear states, and models whose log-joint has finite maxima."""

import pyro
import pyro.distributions as dist
import torch
from families import normals, seeded_generator
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh

LENGTHS = (40, 1, 25, 54)
RIDGE = Normal(0.0, 2.0)


def clear_data(family="bernoulli", lengths=LENGTHS, mask=False, seed=0):
    """Sessions of a sticky chain; a state's emissions differ much from the other's."""
    steps = sum(lengths)
    uniform = torch.rand((3, steps), generator=seeded_generator(seed)).double()
    states = (uniform[0] < 0.12).cumsum(0) % 2
    x = normals(steps, 1, seed=seed + 1)
    drive = torch.where(states == 1, 2.0 * x[:, 0] + 1.5, -2.0 * x[:, 0] - 1.0)
    y = (uniform[1] < drive.sigmoid()).long()
    if family == "categorical":
        y = torch.where((uniform[2] < 0.3) & (states == 1), 2, y)
    elif family == "heavy-tailed":
        noise = normals(3, steps, seed=seed + 2)
        y = drive + 0.3 * noise[0] / noise[1:].square().mean(0).sqrt()
    elif family == "positive":
        y = (0.7 * drive + 0.4 * normals(steps, seed=seed + 2)).exp()
    elif family == "overdispersed":
        rates = (0.7 * drive + 0.8 * normals(steps, seed=seed + 2)).exp()
        y = torch.poisson(rates, generator=seeded_generator(seed)).long()
    elif family in ("gaussian", "normal"):
        y = drive + 0.5 * normals(steps, seed=seed + 2)
    elif family == "normals":
        y = drive[:, None] + 0.5 * normals(steps, 2, seed=seed + 2)
    elif family in ("poisson", "counts"):
        y = torch.poisson((0.7 * drive).exp(), generator=seeded_generator(seed)).long()
    elif family not in ("bernoulli", "lapsing"):
        raise KeyError(f"clear_data must draw emissions for {family!r}; add a branch")
    return gh.Sequences(
        y,
        torch.cat([x, torch.ones_like(x)], -1),
        lengths=list(lengths),
        transition_covariates=normals(steps, 2, seed=seed + 3) + 1.0,
        initial_covariates=normals(len(lengths), 1, seed=seed + 4),
        mask=torch.arange(steps) % 7 != 3 if mask else None,
    )


def penalised(family="bernoulli", transitions="input-driven", states=2):
    """A model with proper priors on everything."""
    emissions = {
        "bernoulli": lambda: gh.Bernoulli(prior=RIDGE),
        "categorical": lambda: gh.Categorical(3, prior=RIDGE),
    }
    row = Dirichlet(torch.full((states,), 2.0))
    moves = {
        "stationary": lambda: gh.Stationary(prior=row),
        "input-driven": lambda: gh.InputDriven(prior=RIDGE),
        "shared": lambda: gh.SharedInputDriven(prior=RIDGE, baseline_prior=RIDGE),
    }
    initial = gh.Initial(prior=row)
    return gh.GLMHMM(states, emissions[family](), moves[transitions](), initial)


def two_animals(animals):
    """A model of a user's own: a GLM weight of each animal around a common one."""
    common = pyro.sample("common", dist.Normal(torch.zeros(2).double(), 1).to_event(1))
    for name, data in zip(("ann", "bob"), animals):
        own = pyro.sample(f"{name}.weights", dist.Normal(common, 0.5).to_event(1))
        scores = data.covariates[:, :1] * own
        stay = torch.eye(2).double()[None] * 2
        hidden = gh.HiddenMarkov(
            torch.zeros(1, 2).double(),
            stay,
            dist.Bernoulli(logits=scores, validate_args=False),
            data.lengths,
        )
        pyro.sample(name, hidden, obs=data.emissions.double())
