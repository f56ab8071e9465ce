"""Second derivatives of families that torch differentiates, against torch's graph."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.components import Levels, NegativeBinomial, StudentT
from glmhmm_pyro.inference.curvature.curvature import (
    OnceDifferentiableError,
    hessian,
)
from glmhmm_pyro.inference.kinds import emitted
from glmhmm_pyro.inference.program.program import Program

STEPS = 60
NORMAL = dist.Normal(0.2, 1.5)


def recorded(kind="counts", **options):
    """Three sessions with two covariates and a constant."""
    rng = np.random.default_rng(5)
    covariates = np.column_stack([rng.normal(size=(STEPS, 2)), np.ones(STEPS)])
    values = {
        "counts": rng.poisson(2.0, STEPS),
        "reals": rng.normal(size=STEPS),
        "both": np.column_stack([rng.integers(0, 2, STEPS), rng.normal(size=STEPS)]),
    }[kind]
    return gh.Sequences(values, covariates, lengths=[30, 20, 10], **options)


def choice_and_time():
    return gh.Outputs(choice=gh.Bernoulli(NORMAL), time=gh.Gaussian(prior=NORMAL))


MASK = np.arange(STEPS) % 7 > 0
CASES = {
    "driven counts": (
        gh.GLMHMM(3, gh.Poisson(NORMAL), gh.InputDriven(NORMAL)),
        recorded(),
    ),
    "stationary, a scale by state": (gh.GLMHMM(2, NegativeBinomial()), recorded()),
    "masked, shared": (
        gh.GLMHMM(
            2,
            StudentT(prior=NORMAL),
            gh.SharedInputDriven(NORMAL),
            gh.Initial(dist.Dirichlet(torch.tensor([2.0, 1.0]))),
        ),
        recorded(
            "reals",
            mask=MASK,
            transition_covariates=np.arange(STEPS)[:, None] % 5 - 2.0,
        ),
    ),
    "weighed sessions": (
        gh.GLMHMM(2, gh.Gaussian(), gh.InputDriven(NORMAL)),
        recorded("reals").weighted([1.0, 0.5, 2.5]),
    ),
    "two outputs": (
        gh.GLMHMM(2, choice_and_time(), gh.InputDriven(NORMAL)),
        recorded(
            "both",
            emission_names=["choice", "time"],
            mask=np.column_stack([MASK, MASK[::-1]]),
        ),
    ),
    "one state": (gh.GLMHMM(1, gh.Poisson(NORMAL)), recorded()),
}


def points(size):
    """Points near the middle and away from it."""
    generator = torch.Generator().manual_seed(2)
    draws = torch.randn(2, size, generator=generator, dtype=torch.float64)
    return draws * torch.tensor([[0.3], [1.0]])


@pytest.mark.parametrize("jacobian", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_second_derivatives_are_those_of_the_whole_graph(name, jacobian, monkeypatch):
    program = Program.of(*CASES[name])
    for point in points(program.coordinates.size):
        assert program.known_curvature(point) is not None
        ours = hessian(program, point, jacobian)
        with monkeypatch.context() as patch:
            patch.setattr(type(program), "known_curvature", lambda *_: None)
            graph = hessian(program, point, jacobian)
        root = graph.diagonal().abs().sqrt()
        size = 1e-9 * root[:, None] * root + 1e-10
        assert ((ours - graph).abs() <= size).all()


class Exponential(torch.autograd.Function):
    """An exponential whose slope torch may not differentiate."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0].exp()


class Lasting(gh.GLMEmission):
    """Counts whose rates are such exponentials."""

    def distribution(self, predictor):
        return dist.Poisson(Exponential.apply(predictor), validate_args=False)


def test_what_torch_cannot_differentiate_twice_is_said_as_of_a_graph():
    program = Program.of(gh.GLMHMM(2, Lasting(prior=NORMAL)), recorded())
    point = points(program.coordinates.size)[0]
    assert program.known_curvature(point) is None
    with pytest.raises(OnceDifferentiableError, match="differentiate the log density"):
        hessian(program, point)


def test_chains_of_other_kinds_and_long_data_are_left_to_the_graph(monkeypatch):
    levels = gh.GLMHMM(Levels(2, 2), gh.Poisson(NORMAL))
    program = Program.of(levels, recorded())
    assert program.known_curvature(points(program.coordinates.size)[0]) is None
    monkeypatch.setattr(emitted, "_MOST", 100)
    program = Program.of(*CASES["driven counts"])
    assert program.known_curvature(points(program.coordinates.size)[0]) is None
