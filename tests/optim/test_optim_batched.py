"""Problems solved in lockstep take the paths that they take alone."""

import numpy as np
import pytest
from optim_problems import barrier, rosenbrock, solve, wood

from glmhmm_pyro.optim import LBFGSOptions, Termination, lbfgs, minimize_batched

OPTIONS = [
    LBFGSOptions(),
    LBFGSOptions(line_search="armijo", three_points=True, nonmonotone_window=3),
    LBFGSOptions(interpolation="mixed", wolfe_constant=0.1, history_size=3),
    LBFGSOptions(damped=True, max_iters=9),
]


def alone(objective, x0, options):
    return solve(objective, lbfgs(x0, options, keep_trace=True))


def assert_same(batched, single, rtol=0.0):
    assert batched.status is single.status and batched.message == single.message
    assert batched.num_iters == single.num_iters
    for column, expected in zip(batched.trace, single.trace):
        np.testing.assert_allclose(column, expected, rtol=rtol)
    np.testing.assert_allclose(batched.x, single.x, rtol=rtol)
    np.testing.assert_allclose(batched.grad, single.grad, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("options", OPTIONS)
def test_looping_objective_gives_each_problem_its_own_trace(options):
    bumpy = barrier({"a": [1, 10, 100, 3], "c": [2, -1.5, 0.9, 0], "mu": 0.01})

    def walled(x):
        value, grad = bumpy(x / 8) if np.abs(x).max() < 8 else (np.inf, x * np.inf)
        return value, grad / 8

    objectives = [wood, rosenbrock, walled, lambda x: (x @ x, 2 * x), wood, rosenbrock]
    objectives += [lambda x: (np.nan, x), lambda x: (x @ x, -2 * x)]
    starts = np.random.default_rng(0).normal(size=(len(objectives), 4)) * 2
    starts[3] = 0.0
    rounds = []

    def fun(points, running):
        assert points.shape == (len(running), 4)
        rounds.append(running.tolist())
        replies = [objectives[i](x) for i, x in zip(running, points)]
        grads = np.array([np.nan_to_num(grad, nan=np.inf) for _, grad in replies])
        return [value for value, _ in replies], grads

    before = starts.copy()
    results = minimize_batched(fun, starts, options, keep_trace=True)
    np.testing.assert_array_equal(starts, before)
    assert rounds[0] == list(range(8)) and all(r == sorted(r) for r in rounds)
    assert len(rounds) == max(result.num_evals for result in results)
    assert results[6].status is Termination.NON_FINITE_START
    for result, objective, start in zip(results, objectives, starts):
        assert_same(result, alone(objective, start, options))
        assert sum(result is other for other in results) == 1


@pytest.mark.parametrize("options", OPTIONS)
def test_batched_matrix_product_gives_the_same_traces_to_rounding(options):
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(12, 40, 6))
    labels = rng.integers(0, 2, size=(12, 40)).astype(float)

    def logistic(points, running):
        chosen = inputs[running]
        logits = np.einsum("rtn,rn->rt", chosen, points, optimize=True)
        rest = 1 / (1 + np.exp(-logits)) - labels[running]
        values = np.logaddexp(0, logits) - labels[running] * logits
        grads = (rest[:, None] @ chosen)[:, 0] / 40 + 0.01 * points
        return values.mean(1) + 0.005 * (points**2).sum(1), grads

    def one(index):
        def objective(x):
            value, grad = logistic(x[None], np.array([index]))
            return value[0], grad[0]

        return objective

    starts = rng.normal(size=(12, 6))
    results = minimize_batched(logistic, starts, options, keep_trace=True)
    for index, result in enumerate(results):
        assert_same(result, alone(one(index), starts[index], options), rtol=1e-6)


def test_gradients_may_come_in_memory_that_is_used_again():
    memory = np.empty((2, 4))

    def fun(points, running):
        replies = [wood(x) for x in points]
        memory[: len(points)] = [grad for _, grad in replies]
        return np.array([value for value, _ in replies]), memory[: len(points)]

    starts = np.array([[-3.0, -1.0, -3.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    for result, start in zip(minimize_batched(fun, starts, keep_trace=True), starts):
        assert_same(result, alone(wood, start, LBFGSOptions()))


def test_each_problem_may_have_options_of_its_own():
    def fun(points, running):
        values, grads = zip(*map(wood, points))
        return np.array(values), np.stack(grads)

    starts = np.array([[-3.0, -1.0, -3.0, -1.0]] * 2)
    own = [LBFGSOptions(), LBFGSOptions(gradient_tol=1.0)]
    results = minimize_batched(fun, starts, own, keep_trace=True)
    assert results[1].num_iters < results[0].num_iters
    for result, start, options in zip(results, starts, own):
        assert_same(result, alone(wood, start, options))


def test_no_problems_are_no_results():
    assert minimize_batched(lambda points, running: (0, 0), np.empty((0, 3))) == []


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"x0 must have shape \(problems, n\)"):
        minimize_batched(lambda points, running: (0, 0), np.zeros(3))
    with pytest.raises(ValueError, match="x0 must be finite"):
        minimize_batched(lambda points, running: (0, 0), np.full((1, 2), np.inf))
    with pytest.raises(ValueError, match=r"values of shape \(2,\) and gradients"):
        minimize_batched(lambda p, r: (np.zeros(2), np.zeros(2)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="one for each of the 2 rows of x0, got 1"):
        minimize_batched(wood, np.zeros((2, 4)), [LBFGSOptions()])
