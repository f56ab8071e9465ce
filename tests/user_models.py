"""Models as a user writes them: plain Pyro functions with HiddenMarkov sites."""

import pyro
import pyro.distributions as dist
import torch
from families import seeded_generator

import glmhmm_pyro as gh


def animals(num_steps=150, seed=0):
    """Two animals whose states are easy to tell, with weights that differ a little."""
    generator = seeded_generator(seed)
    data = []
    for shift in (-0.3, 0.3):
        uniform = torch.rand((2, num_steps), generator=generator).double()
        states = (uniform[0] < 0.1).cumsum(0) % 2
        x = torch.randn(num_steps, generator=generator, dtype=torch.float64)
        drive = torch.where(states == 1, (2.5 + shift) * x + 2.0, -2.0 * x - 2.0)
        design = torch.stack([x, torch.ones_like(x)], -1)
        labels = (uniform[1] < drive.sigmoid()).long()
        lengths = [num_steps // 2, num_steps - num_steps // 2]
        data.append(gh.Sequences(labels, design, lengths=lengths))
    return data


def double(*values):
    """Numbers in double precision."""
    return torch.tensor(values, dtype=torch.float64)


def partial_pooling(data):
    """Animals whose weights scatter about those of the group, by an unknown spread."""
    states, features = 2, data[0].num_features
    zero, one = double(0.0, 1.0)
    group = dist.Normal(zero, 2 * one).expand([states, features]).to_event(2)
    mean = pyro.sample("mean", group)
    spread = pyro.sample("spread", dist.HalfNormal(one))
    rows = dist.Dirichlet(double([9.0, 1.0], [1.0, 9.0])).to_event(1)
    stay = pyro.sample("stay", rows)
    each = dist.Normal(zero, one).expand([states, features]).to_event(2)
    for number, animal in enumerate(data):
        weights = mean + spread * pyro.sample(f"offset_{number}", each)
        hidden = gh.HiddenMarkov(
            torch.zeros(1, states, dtype=torch.float64),
            stay.log().unsqueeze(-3),
            dist.Bernoulli(logits=animal.covariates @ weights.T),
            animal.lengths,
            animal.mask,
        )
        pyro.sample(f"y_{number}", hidden, obs=animal.emissions)


def horseshoe(data):
    """Transition weights most of which are near 0 (Carvalho, Polson & Scott 2010)."""
    zero, one = double(0.0, 1.0)
    shape = [2, data.num_transition_features]
    scale = pyro.sample("global_scale", dist.HalfCauchy(one))
    local = pyro.sample("local_scale", dist.HalfCauchy(one).expand(shape).to_event(2))
    raw = pyro.sample("raw", dist.Normal(zero, one).expand(shape).to_event(2))
    leave = data.transition_covariates @ (scale * local * raw).T - 2.0
    stay = torch.zeros_like(leave[:, 0])
    moves = torch.stack([stay, leave[:, 0], leave[:, 1], stay], -1)
    emitting = dist.Normal(zero, 2 * one).expand([2, data.num_features]).to_event(2)
    weights = pyro.sample("weights", emitting)
    hidden = gh.HiddenMarkov(
        torch.zeros(1, 2, dtype=torch.float64),
        moves.unflatten(-1, (2, 2)),
        dist.Bernoulli(logits=data.covariates @ weights.T),
        data.lengths,
        data.mask,
    )
    pyro.sample("y", hidden, obs=data.emissions)
