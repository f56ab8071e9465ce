"""The M-step's priors: curvature by finite differences, bounds that touch."""

import numpy as np
import pytest
import torch
from families import normals, random_data
from oracles import finite_differences
from torch.distributions import MultivariateNormal, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.inference.kinds.glmhmm_program import GLMHMMProgram
from glmhmm_pyro.inference.steps.blocks import (
    LogPrior,
    PackedRows,
    majorised,
    prior_sites,
)
from glmhmm_pyro.priors.answers import curvature, innermost

p = gh.priors
FEATURES, SETS, STATES, FREE = 3, 2, 2, 2
SHAPE = (SETS * STATES, FREE, FEATURES, FEATURES)
CORRELATED = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 1.0]]).double()


class Correlated(torch.distributions.MultivariateNormal):
    """A normal that the M-step does not know as one."""

    def __init__(self):
        super().__init__(torch.zeros(FEATURES).double(), CORRELATED)

    def expand(self, shape, _instance=None):
        """Itself: it broadcasts."""
        self._batch_shape = torch.Size(shape)
        return self


PRIORS = {
    "ridge": p.Ridge(0.7),
    "by column": Normal(torch.zeros(3), torch.tensor([0.5, 1.0, 2.0])),
    "multivariate": MultivariateNormal(torch.zeros(3), CORRELATED.float()),
    "walk": p.RandomWalk(0.3, 1.2),
    "process": p.GaussianProcess(1.5, 0.8, 1e-2),
    "student near 0": p.StudentT(20.0, 3.0),
    "groups": p.Grouped({(2, 0): p.RandomWalk(0.3)}, rest=p.StudentT(20.0, 3.0)),
    "partly flat": p.Grouped({0: p.Ridge(0.5)}),
}


def log_prior(prior, seed=0):
    """Of emission weights, at random points, and the points."""
    model, data = gh.GLMHMM(STATES, gh.Categorical(FREE + 1, prior)), random_data(
        "categorical", features=FEATURES
    )
    model.bind(data)
    weights = 0.5 * normals(SETS, STATES, FREE, FEATURES, seed=seed)
    sites = prior_sites(model.emissions, {"emissions.weights": weights})
    blocks = PackedRows(model.emissions, sites)
    return LogPrior(blocks, sites, SETS), blocks.pack({"emissions.weights": weights})


def hessians(objective, points):
    """Minus the second derivatives within rows, by differences of the gradient."""
    every = np.arange(len(points))
    found = np.zeros(SHAPE)
    for row in range(FREE):
        for feature in range(FEATURES):
            step = np.zeros(points.shape)
            step[:, row * FEATURES + feature] = 1e-5
            change = objective(points + step, every)[1]
            change = (change - objective(points - step, every)[1]) / 2e-5
            rows = change.reshape(len(points), FREE, FEATURES)
            found[:, row, :, feature] = -rows[:, row]
    return found


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_curvature_of_a_prior_is_that_of_finite_differences(prior):
    objective, points = log_prior(prior)
    points = points.numpy()
    found = objective.curvature(points, SHAPE)
    np.testing.assert_allclose(found, hessians(objective, points), atol=1e-6)
    assert np.abs(found).max() > 0.01


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_gradient_of_a_prior_is_that_of_finite_differences(prior):
    objective, points = log_prior(prior)
    values, gradient = objective(points.numpy(), np.arange(len(points)))

    def total(rows):
        return torch.tensor(objective(rows.numpy(), np.arange(len(rows)))[0].sum())

    slope = finite_differences(total, points)
    np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-7)
    some = np.array([2, 0])
    np.testing.assert_allclose(objective(points.numpy()[some], some)[0], values[some])


@pytest.mark.parametrize("scale", [1.0, 40.0])
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_values_of_a_prior_differ_as_its_log_density_does(prior, scale):
    # In a fit's own units, which differ from the user's by ``scale``, too.
    family, data = gh.Categorical(FREE + 1, prior), random_data(
        "categorical", features=FEATURES
    )
    data = gh.Sequences(data.emissions, data.covariates * scale)
    program = GLMHMMProgram(gh.GLMHMM(STATES, family), data)
    model = (program if scale == 1 else program.in_own_units()).model
    points = []
    for seed in range(2):
        weights = 0.5 * normals(SETS, STATES, FREE, FEATURES, seed=seed)
        values = {"emissions.weights": weights}
        sites = prior_sites(model.emissions, values)
        blocks = PackedRows(model.emissions, sites)
        density = sites["emissions.weights"]["fn"]
        exact = innermost(density).log_prob(weights).reshape(SETS * STATES, -1).sum(1)
        objective = LogPrior(blocks, sites, SETS)
        rows = blocks.pack(values).numpy()
        points.append((exact, objective(rows, np.arange(len(rows)))[0]))
    (first, found), (second, also) = points
    np.testing.assert_allclose(also - found, (second - first).numpy(), atol=1e-9)


def test_curvature_of_any_correlated_density_is_found_by_differentiating():
    value = normals(4, FEATURES)
    found = curvature(Correlated().expand((4,)), value)
    known = CORRELATED.inverse().expand(4, FEATURES, FEATURES)
    torch.testing.assert_close(found, known)


def test_directions_of_negative_curvature_count_as_flat():
    objective, points = log_prior(p.StudentT(1.0, 0.1))
    found = objective.curvature(10 * points.numpy(), SHAPE)
    assert (np.linalg.eigvalsh(found) >= 0).all() and np.abs(found).max() < 1e3


@pytest.mark.parametrize(
    "prior", [p.Lasso(0.4), p.Grouped({0: p.Lasso(0.4)}, rest=p.Ridge(1.0))]
)
def test_the_bound_of_a_laplace_prior_touches_it_and_is_below_it_elsewhere(prior):
    model, data = gh.GLMHMM(2, gh.Bernoulli(prior)), random_data()
    model.bind(data)
    start = {"emissions.weights": normals(2, 2, seed=1)}
    sites = prior_sites(model.emissions, start)
    (bound,) = majorised(sites, start).values()
    exact, below = innermost(sites["emissions.weights"]["fn"]), bound["fn"]

    def against_start(density, value):
        change = density.log_prob(value) - density.log_prob(start["emissions.weights"])
        return change.reshape(-1)

    for seed in range(20):
        value = 2 * normals(2, 2, seed=10 + seed)
        difference = against_start(exact, value) - against_start(below, value)
        assert (difference > -1e-12).all() and difference.max() > 1e-3
    slopes = [
        finite_differences(lambda v: d.log_prob(v).sum(), start["emissions.weights"])
        for d in (exact, below)
    ]
    torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weights", [None, p.RandomWalk(0.3, 1.2)])
def test_curvature_of_positive_numbers_is_that_of_their_logarithms(weights):
    prior = torch.distributions.Gamma(3.0, 2.0)
    family = gh.components.StudentT(weights, scale_prior=prior)
    model, data = gh.GLMHMM(STATES, family), random_data(
        "heavy-tailed", features=FEATURES
    )
    model.bind(data)
    values = {
        "emissions.weights": normals(SETS, STATES, FEATURES),
        "emissions.scale": normals(SETS, STATES, seed=1).exp(),
        "emissions.df": normals(SETS, STATES, seed=2).exp(),
    }
    sites = prior_sites(model.emissions, values)
    blocks = PackedRows(model.emissions, sites)
    points = blocks.pack(values).numpy()
    density, every = LogPrior(blocks, sites, SETS), np.arange(len(points))
    found = density.curvature(points, (4, 1, 5, 5))[:, 0]
    for i in range(5):
        step = 1e-6 * (np.arange(5) == i)
        up, down = (density(points + s * step, every)[1] for s in (1, -1))
        np.testing.assert_allclose(found[:, i], (down - up) / 2e-6, atol=1e-7)
