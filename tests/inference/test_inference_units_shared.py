"""Transitions whose baseline takes up what their covariates' offsets add.

A covariate a (u + b) has the weights w / a, and the baseline of every pair of states is
less by what the weights of its destination, over those of its origin, make of b.
"""

import warnings

import numpy as np
import pytest
import torch
from families import normals, seeded_generator
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.program.program import Program

ONCE = {"num_restarts": 1, "progress": False}
CLOSE = {"rtol": 1e-6, "atol": 1e-6}
PLAIN = (torch.ones(2).double(), torch.zeros(2).double())
FAR = (torch.tensor([1e-8, 1e8]).double(), torch.tensor([1e7, -1e6]).double())
NEAR = (torch.tensor([2.0, 0.5]).double(), torch.tensor([3.0, -2.0]).double())


def problem(scale, shift):
    """Three clear states, and a model whose penalties are the same in all units."""
    uniform = torch.rand(2, 160, generator=seeded_generator()).double()
    last = torch.where(uniform[0] < 0.3, 1, 0).cumsum(0)
    states = (3 * uniform[1, last]).long()
    data = gh.Sequences(
        4.0 * states + normals(160, seed=1),
        torch.ones(160, 1),
        transition_covariates=scale * (normals(160, 2, seed=2) + shift),
        lengths=[60, 100],
    )
    model = gh.GLMHMM(
        3,
        gh.Gaussian(),
        gh.SharedInputDriven(prior=Normal(0.0, 1.0 / scale)),
        gh.Initial(prior=Dirichlet(torch.full((3,), 2.0).double())),
    )
    return model, data


def back(params, scale, shift):
    """Weights and the whole baseline for the covariates u, by definition."""
    weights = torch.cat([torch.zeros(1, 2), params["transitions.weights"]]) * scale
    moves = gh.SharedInputDriven()
    shown, _ = moves.display("baseline", params["transitions.baseline"])
    gains = weights @ shift
    return weights, shown + gains - gains[:, None]


@pytest.fixture(scope="module")
def plain():
    model, data = problem(*PLAIN)
    return gh.fit(model, data, **ONCE)


@pytest.mark.parametrize("method", ["em", "map"])
def test_any_offset_gives_the_same_maximum_and_errors(plain, method):
    model, data = problem(*FAR)
    fit = gh.fit(model, data, method, **ONCE)
    assert fit.status is gh.Status.CONVERGED
    assert fit.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-6)
    for found, expected in zip(back(fit.params, *FAR), back(plain.params, *PLAIN)):
        torch.testing.assert_close(found, expected, **CLOSE)
    errors = [
        one.standard_errors(problem(*units)[1])["transitions.weights"].values
        for one, units in ((fit, FAR), (plain, PLAIN))
    ]
    np.testing.assert_allclose(errors[0] * FAR[0].numpy(), errors[1], rtol=1e-6)


def test_errors_of_the_baseline_are_by_the_curvature_in_the_users_units():
    model, data = problem(*NEAR)
    fit = gh.fit(model, data, **ONCE)
    users = Program.of(model, data)
    vector = users.coordinates.pack(fit.params)
    inside = hessian(users, vector).diagonal().abs() > 1e-2
    inverse = torch.linalg.inv(-hessian(users, vector)[inside][:, inside])
    errors = torch.full((len(vector),), torch.nan).double()
    errors[inside] = inverse.diagonal().sqrt()
    expected = errors[users.coordinates.slices["transitions.baseline"]]
    found = fit.standard_errors(data)["transitions.baseline"].values
    leaving = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(found[leaving], expected, rtol=1e-6)


def test_a_program_in_its_own_units_has_the_density_of_the_users():
    users = Program.of(*problem(*NEAR))
    own = users.in_own_units()
    assert own.data.transition_covariates[users.data.starts + 1].abs().max() < 5
    params = own.coordinates.unpack(0.3 * normals(own.coordinates.size, seed=3))
    outward = own.units.outward(params)
    for name, value in own.units.inward(outward).items():
        torch.testing.assert_close(value, params[name])
    joint = own.log_joint(params) + own.units.log_joint
    torch.testing.assert_close(joint, users.log_joint(outward))


def test_draws_are_the_same_and_starts_are_where_the_user_put_them():
    found = []
    for units in (PLAIN, FAR):
        model, data = problem(*units)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", gh.ConvergenceWarning)
            fit = gh.fit(model, data, gh.Laplace(4), **ONCE)
        draws = [{n: v[0, i] for n, v in fit.posterior.draws.items()} for i in range(4)]
        found.append([back(draw, *units) for draw in draws])
        with pytest.warns(gh.ConvergenceWarning):
            again = gh.fit(model, data, init=draws[0], num_iters=1, **ONCE)
        joint = fit.posterior.stats["log_joint"][0, 0]
        assert again.history["log_joint"][0] == pytest.approx(joint, abs=1e-6)
    for first, second in zip(*found):
        for one, other in zip(first, second):
            torch.testing.assert_close(one, other, **CLOSE)


def test_a_penalty_on_the_baseline_leaves_covariates_where_they_are():
    """Where one is to be small, how large offsets are does matter."""
    model, data = problem(*NEAR)
    moves = gh.SharedInputDriven(baseline_prior=Normal(0.0, 1.0))
    own = Program.of(gh.GLMHMM(3, gh.Gaussian(), moves), data).in_own_units()
    rows = own.data.transition_covariates[1:50]
    ratio = rows / data.transition_covariates[1:50]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
