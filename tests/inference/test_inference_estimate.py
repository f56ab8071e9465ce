"""The point that stands for draws: their mean where it is one, else the best draw."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from families import normals
from inference_cases import clear_data, penalised
from made_fits import with_posterior

import glmhmm_pyro as gh
from glmhmm_pyro.inference import Posterior
from glmhmm_pyro.inference.draws.estimate import BEST_DRAW, MEAN, point_estimate
from glmhmm_pyro.inference.program.program import Program

ONCE = {"num_restarts": 1, "progress": False}


def non_centred(data):
    """One weight, written as a scale times a number of either sign."""
    zero, one = torch.zeros(1).double(), torch.ones(1).double()
    scale = pyro.sample("scale", dist.Normal(zero, 2 * one).to_event(1))
    raw = pyro.sample("raw", dist.Normal(zero, one).to_event(1))
    logits = data.covariates[:, :1] * (scale * raw)
    single = torch.zeros(1, 1).double()
    hidden = gh.HiddenMarkov(
        single, single[None], dist.Bernoulli(logits=logits), data.lengths
    )
    pyro.sample("y", hidden, obs=data.emissions)


def drawn_of_both_signs(program):
    """Draws around two modes that are one weight."""
    half = {
        "scale": 1.5 + 0.1 * normals(1, 20, 1),
        "raw": 1.0 + 0.1 * normals(1, 20, 1),
    }
    draws = {name: torch.cat([v, -v], 1) for name, v in half.items()}
    joints = [
        float(program.log_joint({n: v[0, i] for n, v in draws.items()}))
        for i in range(40)
    ]
    return Posterior(draws, {"log_joint": torch.tensor([joints]).numpy()}), joints


def one_state_data():
    x = normals(60, 1)
    y = (1.5 * x[:, 0] + normals(60, seed=3) > 0).long()
    return gh.Sequences(y, x)


def test_a_mean_that_no_draw_tells_of_gives_way_to_the_best_draw():
    program = Program.of(non_centred, one_state_data())
    posterior, joints = drawn_of_both_signs(program)
    found = point_estimate(program, posterior)
    best = max(range(40), key=joints.__getitem__)
    assert found.what == BEST_DRAW and "mean of the sites is no" in found.notes[0]
    for name, value in posterior.draws.items():
        assert torch.equal(found.params[name], value[0, best])
    assert found.log_joint == pytest.approx(joints[best], abs=1e-9)


def test_the_mean_of_draws_around_a_mode_stands_for_them():
    data, model = clear_data(), penalised("bernoulli", "stationary")
    fit = gh.fit(model, data, "map", **ONCE)
    drawn = with_posterior(fit, data)
    program = Program.of(fit.model, data)
    found = point_estimate(program, drawn.posterior)
    assert found.what == MEAN and not found.notes
    for name, value in drawn.posterior.mean().items():
        assert torch.equal(found.params[name], value)
    assert found.log_likelihood == pytest.approx(
        float(program.log_parts(found.params)[0])
    )


def test_a_mean_outside_its_support_is_no_parameter():
    def model(data):
        root = dist.LKJCholesky(2, torch.ones(()).double())
        part = pyro.sample("root", root)[1, 0]
        single = torch.zeros(1, 1).double()
        emissions = dist.Normal(part.expand(data.num_steps, 1), 1.0)
        hidden = gh.HiddenMarkov(single, single[None], emissions, data.lengths)
        pyro.sample("y", hidden, obs=data.emissions)

    program = Program.of(model, gh.Sequences(normals(5)))
    angles = torch.tensor([[0.3, 1.2, 2.0]]).double()
    rows = torch.stack([angles.cos(), angles.sin()], -1)
    top = torch.tensor([1.0, 0.0]).double().expand(1, 3, 2)
    draws = {"root": torch.stack([top, rows], -2)}
    joints = [float(program.log_joint({"root": draws["root"][0, i]})) for i in range(3)]
    posterior = Posterior(draws, {"log_joint": torch.tensor([joints]).numpy()})
    assert point_estimate(program, posterior).what == BEST_DRAW
