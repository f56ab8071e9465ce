"""Fits to few distinct rows are those to the same rows taken one by one."""

import numpy as np
import pytest
import torch
from families import normals
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.designs import Dense, Repeated
from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.steps.steps import ComponentSteps
from glmhmm_pyro.optim import LBFGSOptions
from glmhmm_pyro.sequences import operators

RIDGE, STEPS = Normal(0.0, 2.0), 1200

FAMILIES = {
    "bernoulli": lambda: gh.Bernoulli(prior=RIDGE),
    "categorical": lambda: gh.Categorical(3, prior=RIDGE),
    "gaussian": lambda: gh.Gaussian(),
    "student": lambda: gh.components.StudentT(prior=RIDGE),
    "poisson": lambda: gh.Poisson(prior=RIDGE),
    "outputs": lambda: gh.Outputs(
        left=gh.Bernoulli(prior=RIDGE),
        right=gh.Poisson(prior=RIDGE),
        covariates={"left": ["side", "one"]},
    ),
}
TRANSITIONS = {
    "input-driven": lambda: gh.InputDriven(prior=RIDGE),
    "shared": lambda: gh.SharedInputDriven(prior=RIDGE, baseline_prior=RIDGE),
}


def data_of(family, shared=True):
    """Sessions of two states with 18 distinct rows, and 6 that drive transitions."""
    rng = np.random.default_rng(7)
    contrast, side = rng.integers(-4, 5, STEPS) / 2, rng.choice([-1.0, 1.0], STEPS)
    states = (rng.random(STEPS) < 0.05).cumsum() % 2
    drive = np.where(states == 1, 1.5 * contrast + 0.5, -contrast + side)
    counts = rng.poisson(np.exp(0.4 * drive))
    choices = (rng.random(STEPS) < 1 / (1 + np.exp(-drive))).astype(int)
    values = {
        "bernoulli": choices,
        "categorical": counts.clip(max=2),
        "poisson": counts,
        "outputs": np.c_[choices, counts],
    }
    moves = np.c_[side, rng.integers(3, size=STEPS)]
    return gh.Sequences(
        values.get(family, drive + 0.5 * rng.normal(size=STEPS)),
        np.c_[contrast, side, np.ones(STEPS)],
        lengths=[500, 1, 699],
        transition_covariates=moves,
        covariate_names=["contrast", "side", "one"],
        emission_names=["left", "right"] if family == "outputs" else None,
        mask=rng.random(STEPS) < 0.9,
    )


def in_both_forms(monkeypatch, result):
    """What a function gives on rows found to repeat themselves, and on dense ones."""
    repeated = result()
    monkeypatch.setattr(operators, "design_of", Dense)
    return repeated, result()


def close(found, expected, atol):
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(
            torch.as_tensor(found[name]),
            torch.as_tensor(expected[name]),
            rtol=0,
            atol=atol,
        )


@pytest.mark.parametrize("transitions", TRANSITIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_densities_and_exact_m_steps_are_the_same(family, transitions, monkeypatch):
    def result():
        data = data_of(family)
        model = gh.GLMHMM(2, FAMILIES[family](), TRANSITIONS[transitions]())
        program = Program.of(model, data)
        vector = 0.4 * normals(program.coordinates.size, seed=3)
        point = vector.clone().requires_grad_()
        value = program.log_density(point, jacobian=True)
        (gradient,) = torch.autograd.grad(value, point)
        steps = ComponentSteps(program.model, data, LBFGSOptions(max_iters=5))
        params = program.coordinates.unpack(vector)
        steps.expect([params])
        found = {"value": value.detach(), "gradient": gradient}
        found["hessian"] = hessian(program, vector, jacobian=True)
        kind = type(data.operator("covariates")), type(program.data)
        return found | steps.maximise([params], [0])[0], kind

    (found, forms), (expected, dense) = in_both_forms(monkeypatch, result)
    assert forms[0] is Repeated and dense[0] is Dense
    close(found, expected, atol=1e-9)


@pytest.mark.parametrize("method", ["em", "map", "laplace"])
def test_fits_and_what_is_known_of_them_are_the_same(method, monkeypatch):
    options = {"num_samples": 20} if method == "laplace" else {}

    def result():
        row = gh.Initial(prior=Dirichlet(torch.full((2,), 2.0)))
        model = gh.GLMHMM(
            2, FAMILIES["bernoulli"](), TRANSITIONS["input-driven"](), row
        )
        data = data_of("bernoulli")
        fit = gh.fit(
            model, data, method, num_restarts=1, seed=1, progress=False, **options
        )
        assert fit.status.is_success
        if method == "laplace":
            return fit.posterior.draws
        errors = {
            f"error of {n}": e.values for n, e in fit.standard_errors(data).items()
        }
        return {**fit.params, **errors, "log_joint": fit.log_joint}

    found, expected = in_both_forms(monkeypatch, result)
    close(found, expected, atol=1e-6)
