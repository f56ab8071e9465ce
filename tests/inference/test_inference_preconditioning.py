"""Coordinates of the M-step: sampled curvature, unit scales, the same optimum."""

import numpy as np
import torch

from glmhmm_pyro.components.softmax import SoftmaxRegression
from glmhmm_pyro.inference.steps.expected_joint import Box, ExpectedJoint
from glmhmm_pyro.optim import minimize_batched
from glmhmm_pyro.optim.preconditioning import Preconditioned
from glmhmm_pyro.ranks import ALONE

STEPS, FEATURES, CLASSES, PROBLEMS = 80, 3, 3, 2


def regression(seed=0):
    """A softmax regression on soft labels, its targets, and random weights."""
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(STEPS, FEATURES)) * [1.0, 5.0, 0.2]
    counts = rng.dirichlet(np.ones(CLASSES), size=(PROBLEMS, STEPS)).swapaxes(1, 2)
    counts *= rng.uniform(0.5, 1.0, size=(PROBLEMS, 1, STEPS))
    total = counts.sum(1)

    def targets(which, time):
        return counts[which, 1:, time], total[which, time]

    points = 0.3 * rng.normal(size=(PROBLEMS, (CLASSES - 1) * FEATURES))
    return SoftmaxRegression(design, CLASSES), targets, points, counts, design


def test_curvature_is_the_hessian_of_each_class_plus_a_thousandth_of_the_moments():
    objective, targets, points, counts, design = regression()
    found = objective.begin(points, targets).curvature
    x = torch.from_numpy(design)
    for problem in range(PROBLEMS):
        n = torch.from_numpy(counts[problem])

        def loss(weights):
            scores = weights.reshape(CLASSES - 1, FEATURES) @ x.T
            scores = torch.cat([torch.zeros(1, STEPS, dtype=torch.float64), scores])
            return -(n * scores.log_softmax(0)).sum()

        at = torch.from_numpy(points[problem])
        hessian = torch.autograd.functional.hessian(loss, at).numpy()
        for row in range(CLASSES - 1):
            block = slice(row * FEATURES, (row + 1) * FEATURES)
            rest = found[problem, row] - hessian[block, block]
            scores = points[problem].reshape(CLASSES - 1, FEATURES) @ design.T
            probs = np.exp(scores) / (1 + np.exp(scores).sum(0))
            weight = counts[problem].sum(0) * probs[row] * (1 - probs[row])
            share = 1e-3 * weight.mean()
            np.testing.assert_allclose(rest, share * design.T @ design, atol=1e-10)


def test_coupling_is_the_hessian_between_classes_by_their_predictors():
    objective, targets, points, counts, design = regression()
    found = objective.begin(points, targets).coupling
    for problem in range(PROBLEMS):
        scores = points[problem].reshape(CLASSES - 1, FEATURES) @ design.T
        probs = np.exp(scores) / (1 + np.exp(scores).sum(0))
        n = counts[problem].sum(0)
        between = np.diag((n * probs).sum(1)) - (n * probs) @ probs.T
        np.testing.assert_allclose(found[problem], between, rtol=1e-12)


class ThreeTimesTheCurvature:
    """A prior, as an expected log-joint asks it, of which values do not matter."""

    def __init__(self, within):
        self.within = within

    def curvature(self, points, shape):
        return 3 * self.within.reshape(shape)

    def __call__(self, points, which):
        return np.zeros(len(which)), np.zeros_like(points)


def test_a_prior_adds_to_rows_and_not_between_them():
    regress, targets, points, _, _ = regression(4)

    class Objective:
        def begin(self, at, counts):
            return regress.begin(at, counts)

    plain = regress.begin(points, targets)
    prior = ThreeTimesTheCurvature(plain.curvature)
    box = Box(*(np.full(points.shape, end) for end in (-np.inf, np.inf)))
    joint = ExpectedJoint(Objective(), targets, prior, box, 1.0, ALONE)
    found = joint.begin(points)
    np.testing.assert_allclose(found.curvature, 4 * plain.curvature)
    own = np.eye(CLASSES - 1, dtype=bool)
    np.testing.assert_allclose(found.coupling, np.where(own, 4, 1) * plain.coupling)


def test_moves_that_mix_classes_have_the_curvature_that_rows_have_in_common():
    """Classes that share their covariates' moments: a Kronecker product."""
    rng = np.random.default_rng(3)
    roots = rng.normal(size=(4, 2)), rng.normal(size=(9, FEATURES))
    between, within = (root.T @ root for root in roots)
    hessian = np.kron(between, within)
    blocks = np.stack([between[c, c] * within for c in range(2)])[None]
    start = rng.normal(size=(1, 2 * FEATURES))

    def objective(at, which):
        return np.einsum("pi,ij,pj->p", at, hessian, at) / 2, at @ hessian

    first = objective(start, [0])
    problem = Preconditioned(objective, start, *first, blocks, 7 * between[None])
    at, every = np.eye(2 * FEATURES), np.zeros(2 * FEATURES, dtype=int)
    slopes = problem(at, every)[1] - problem(0 * at[:1], every[:1])[1]
    # A thousandth is added to the curvature of rows by themselves.
    np.testing.assert_allclose(slopes, np.eye(2 * FEATURES), atol=0.02)


def test_first_gradient_has_unit_length_and_the_optimum_is_the_same():
    regress, targets, points, _, _ = regression()

    def objective(at, which):
        values, gradient = regress(at, which, targets)
        return -values / STEPS, -gradient / STEPS

    every = np.arange(PROBLEMS)
    first, begun = objective(points, every), regress.begin(points, targets)
    curvature = begun.curvature / STEPS
    problem = Preconditioned(objective, points, *first, curvature, begun.coupling)
    values, gradient = problem(np.zeros_like(points), every)
    np.testing.assert_array_equal(values, 0.0)
    np.testing.assert_allclose(np.abs(gradient).sum(1), 1.0)

    tight = {"gradient_tol": 1e-9, "progress_tol": 1e-16}
    plain = minimize_batched(objective, points, **tight)
    fast = minimize_batched(problem, np.zeros_like(points), **tight)
    ends = problem.original(np.stack([result.x for result in fast]), every)
    np.testing.assert_allclose(ends, np.stack([r.x for r in plain]), atol=1e-5)
    assert max(r.num_evals for r in fast) < min(r.num_evals for r in plain)


def test_gradient_in_the_new_coordinates_is_that_of_finite_differences():
    regress, targets, points, _, _ = regression(1)

    def objective(at, which):
        return regress(at, which, targets)

    problem = Preconditioned(objective, points, *regress.begin(points, targets))
    every, rng = np.arange(PROBLEMS), np.random.default_rng(2)
    at = 0.1 * rng.normal(size=points.shape)
    _, gradient = problem(at, every)
    for number in range(points.shape[1]):
        step = np.zeros_like(at)
        step[:, number] = 1e-6
        slope = (problem(at + step, every)[0] - problem(at - step, every)[0]) / 2e-6
        np.testing.assert_allclose(gradient[:, number], slope, rtol=1e-5, atol=1e-6)


def test_a_problem_without_curvature_stays_finite():
    def objective(at, which):
        return np.zeros(len(which)), np.zeros_like(at)

    start, curvature = np.ones((1, 2)), np.zeros((1, 1, 2, 2))
    problem = Preconditioned(objective, start, *objective(start, [0]), curvature)
    _, gradient = problem(np.zeros((1, 2)), np.array([0]))
    assert np.isfinite(gradient).all()
    moved = problem.original(np.ones((1, 2)), np.array([0]))
    assert np.isfinite(moved).all()


def test_curvature_of_a_wide_design_is_known_from_few_steps_to_a_small_factor():
    """1000 of 9000 steps for 250 features; alone their moments are off 9 times."""
    rng = np.random.default_rng(5)
    design, labels = rng.normal(size=(9000, 250)), rng.integers(2, size=9000)
    points = 0.05 * rng.normal(size=(1, 250))

    def targets(which, time):
        total = np.ones((1, 9000))[which, time]
        return (total * labels[time])[:, None], total

    rough = SoftmaxRegression(design, 2).begin(points, targets).curvature[0, 0]
    probs = 1 / (1 + np.exp(-design @ points[0]))
    exact = (design * (probs * (1 - probs))[:, None]).T @ design
    root = np.linalg.inv(np.linalg.cholesky(rough))
    sizes = np.linalg.eigvalsh(root @ exact @ root.T)
    assert sizes.max() < 5 * sizes.min()
