"""The minimiser's border, its statuses, and what it never returns."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optim_problems import linear_unbounded, rosenbrock, solve

from glmhmm_pyro import optim
from glmhmm_pyro.optim import (
    LBFGSOptions,
    Termination,
    lbfgs,
    minfunc_options,
    minimize,
    value_and_grad,
)

SEARCHES = [
    {"line_search": search, "interpolation": interpolation}
    for search in ("wolfe", "armijo")
    for interpolation in ("bisection", "quadratic", "cubic", "mixed")
]


# A gradient tolerance that never ends a run.
TINY = {"gradient_tol": 0.0}


def bowl(x):
    return (x**2).sum(), 2 * x


def solve_numpy(objective, x0, **options):
    problem = lbfgs(np.array(x0, dtype=float), LBFGSOptions(**options), keep_trace=True)
    return solve(objective, problem)


def assert_finite(result):
    assert np.isfinite(result.x).all() and np.isfinite(result.grad).all()
    assert not math.isnan(result.fun) and not math.isnan(result.optimality)
    assert result.status.sentence.endswith(".") and result.message


# Shapes and types


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_end_point_has_the_shape_and_dtype_of_the_start(shape, dtype):
    x0 = torch.ones(shape, dtype=dtype)
    seen = []

    def fun(x):
        seen.append((x.shape, x.dtype))
        return bowl(x)

    result = minimize(fun, x0)
    assert result.x.shape == result.grad.shape == shape
    assert result.x.dtype == result.grad.dtype == dtype
    assert set(seen) == {(shape, torch.float64)}
    assert torch.equal(x0, torch.ones(shape, dtype=dtype))
    assert result.converged and isinstance(result.fun, float)


def test_integer_start_gives_a_float64_end_point():
    assert minimize(bowl, torch.tensor([3, 4])).x.dtype == torch.float64


def test_start_that_requires_grad_and_objective_that_writes_its_argument_are_fine():
    def fun(x):
        value, grad = bowl(x)
        x.fill_(7.0)
        return value, grad

    x0 = torch.tensor([1.0, 2.0], requires_grad=True)
    result = minimize(fun, x0)
    assert not result.x.requires_grad
    torch.testing.assert_close(result.x, torch.zeros(2), atol=1e-6, rtol=0)


def test_objective_may_reuse_the_memory_of_its_gradient():
    memory = torch.empty(2, dtype=torch.float64)

    def reusing(x):
        value, grad = rosenbrock(x.numpy())
        return value, memory.copy_(torch.from_numpy(grad))

    x0 = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    result = minimize(reusing, x0)
    assert result.num_evals == solve_numpy(rosenbrock, x0.numpy()).num_evals


def test_autograd_gives_the_run_of_the_written_gradient():
    x0 = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    traced = minimize(
        value_and_grad(lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2), x0
    )
    written = solve_numpy(rosenbrock, x0.numpy())
    assert traced.num_evals == written.num_evals
    np.testing.assert_allclose(traced.x, written.x, rtol=1e-6)


def test_value_and_grad_of_a_constant_is_zero():
    constant = torch.ones(1, requires_grad=True)
    value, grad = value_and_grad(lambda x: 2 * constant.sum())(torch.ones(3))
    assert value == 2 and torch.equal(grad, torch.zeros(3))


@pytest.mark.parametrize(
    "x0, message",
    [
        (torch.tensor([1.0, math.nan]), "x0 must be finite, got nan at entry 1"),
        (torch.empty(0), "x0 must have at least one entry"),
    ],
)
def test_start_that_is_no_point_is_refused(x0, message):
    with pytest.raises(ValueError, match=message):
        minimize(bowl, x0)


def test_wrong_types_and_shapes_are_refused_by_name():
    with pytest.raises(TypeError, match="x0 must be a tensor, got list"):
        minimize(bowl, [1.0])
    with pytest.raises(TypeError, match="gradient as a tensor, got NoneType"):
        minimize(lambda x: (x.sum(), None), torch.ones(2))
    with pytest.raises(ValueError, match="gradient of x0's shape"):
        minimize(lambda x: (x.sum(), x[:1]), torch.ones(2))
    with pytest.raises(ValueError, match="scalar value"):
        minimize(lambda x: (x, x), torch.ones(2))


# Statuses


def test_each_status_has_a_sentence_of_its_own():
    assert len({status.sentence for status in Termination}) == len(Termination) == 13
    assert all(status.exit_flag in (-1, 0, 1, 2) for status in Termination)


def test_the_name_of_before_means_the_same():
    assert optim.Status is Termination


@pytest.mark.parametrize("options", SEARCHES)
def test_zero_gradient_at_the_start_ends_at_once(options):
    result = solve_numpy(bowl, [0.0, 0.0], **options)
    assert result.status is Termination.STATIONARY_START and result.converged
    assert (result.num_iters, result.num_evals, result.exit_flag) == (0, 1, 1)
    assert result.message == "Optimality Condition below optTol"
    assert len(result.trace.step) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("options", SEARCHES)
def test_value_that_is_not_finite_at_the_start_is_a_status(options, value):
    result = solve_numpy(lambda x: (value, x), [1.0, 2.0], **options)
    assert result.status is Termination.NON_FINITE_START and not result.converged
    np.testing.assert_array_equal(result.x, [1.0, 2.0])
    assert result.fun == math.inf and result.num_evals == 1
    assert_finite(result)


def test_gradient_that_is_not_finite_at_the_start_is_a_status():
    result = solve_numpy(lambda x: (1.0, np.array([1.0, np.nan])), [1.0, 2.0])
    assert result.status is Termination.NON_FINITE_START
    assert_finite(result)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("options", SEARCHES)
def test_objective_that_is_finite_at_the_start_alone_is_a_status(options, value):
    def lonely(x):
        return (1.0 if x[0] == 1 else value), np.ones_like(x)

    result = solve_numpy(lonely, [1.0, 2.0], **options)
    assert result.status is Termination.NON_FINITE
    assert result.message == "Step Size below progTol" and result.fun == 1.0
    np.testing.assert_array_equal(result.x, [1.0, 2.0])


@pytest.mark.parametrize("options", SEARCHES)
def test_gradient_that_ceases_to_be_finite_is_a_status(options):
    def torn(x):
        return float(x[0]), np.array([1.0 if x[0] == 1 else np.nan])

    result = solve_numpy(torn, [1.0], **options)
    assert result.status is Termination.NON_FINITE
    np.testing.assert_array_equal(result.x, [1.0])
    assert_finite(result)


@pytest.mark.parametrize("options", SEARCHES)
def test_wrong_sign_of_the_gradient_is_a_failed_line_search(options):
    result = solve_numpy(lambda x: (float(x @ x), -2 * x), [1.0, 2.0], **options)
    assert result.status is Termination.LINE_SEARCH_FAILED and not result.converged
    assert (result.exit_flag, result.num_iters) == (2, 1)
    np.testing.assert_array_equal(result.x, [1.0, 2.0])


def test_direction_that_does_not_descend_ends_the_run(monkeypatch):
    from glmhmm_pyro.optim.memory import SkippingHistory

    monkeypatch.setattr(SkippingHistory, "direction", lambda self, grad: grad)
    result = solve_numpy(bowl, [1.0, 2.0])
    assert result.status is Termination.ASCENT_DIRECTION and result.exit_flag == 2
    assert not result.converged
    assert result.message == "Directional Derivative below progTol"
    assert (result.num_iters, len(result.trace.step)) == (1, 1)


def test_flat_direction_ends_the_run_as_converged():
    result = solve_numpy(lambda x: (1e-12 * float(x @ x), 2e-12 * x), [1.0], **TINY)
    assert result.status is Termination.CONVERGED_SLOPE and result.converged
    assert (result.exit_flag, result.num_iters, result.num_evals) == (2, 1, 1)


def test_direction_that_overflows_is_a_status(monkeypatch):
    from glmhmm_pyro.optim.memory import SkippingHistory

    monkeypatch.setattr(SkippingHistory, "direction", lambda self, g: g * np.nan)
    result = solve_numpy(bowl, [1.0, 2.0])
    assert result.status is Termination.NON_FINITE_DIRECTION
    assert_finite(result)


def falling_parabola(x):
    with np.errstate(all="ignore"):
        return -float(x @ x), -2 * x


def falling_exponential(x):
    with np.errstate(all="ignore"):
        return -float(np.exp(x).sum()), -np.exp(x)


@pytest.mark.parametrize("fall", [falling_parabola, falling_exponential])
@pytest.mark.parametrize("options", SEARCHES)
def test_function_unbounded_below_is_a_status(fall, options):
    result = solve_numpy(fall, [1.0, 1.5], max_evals=3000, **options)
    assert result.status in {Termination.UNBOUNDED, Termination.MAX_ITERS}
    if options["line_search"] == "wolfe" or fall is falling_exponential:
        assert result.status is Termination.UNBOUNDED
    assert result.fun < -1e3
    assert_finite(result)


def test_line_that_falls_forever_is_unbounded_in_minfuncs_words():
    result = solve_numpy(linear_unbounded, [0.0, 0.0])
    assert result.status is Termination.UNBOUNDED and not result.converged
    assert result.message == "Function Value changing by less than progTol"
    assert result.exit_flag == 2


def test_limits_end_a_run():
    few = solve_numpy(rosenbrock, [-1.2, 1.0], max_iters=3)
    assert (few.status, few.num_iters, few.exit_flag) == (Termination.MAX_ITERS, 3, 0)
    short = solve_numpy(rosenbrock, [-1.2, 1.0], max_evals=10)
    assert (short.status, short.exit_flag) == (Termination.MAX_EVALS, 0)
    assert short.num_evals >= 10
    assert short.trace.evaluations[-2] < 10


def test_tests_of_convergence_come_in_minfuncs_order():
    at_once = solve_numpy(bowl, [1.0], gradient_tol=2.5)
    assert at_once.status is Termination.STATIONARY_START
    # Step 1/2 with change 1: the step test comes before the one of the value.
    both = solve_numpy(bowl, [1.0], progress_tol=1.5, gradient_tol=0.0)
    assert both.status is Termination.CONVERGED_GRADIENT
    step = solve_numpy(
        lambda x: (float(np.cosh(x)[0]), np.sinh(x)),
        [2.0],
        **{"progress_tol": 3.0, "gradient_tol": 0.0, "max_iters": 1},
    )
    assert step.status is Termination.CONVERGED_STEP


@pytest.mark.parametrize(
    "rule, steps",
    [
        ("unit", [0.05, 1, 1, 1, 1, 1, 1]),
        ("slope", [0.05] * 7),
        ("quadratic", [0.05, 0.1, 0.2, 0.4, 0.8, 1, 1]),
        ("double", [0.05, 0.1, 0.2, 0.4, 0.8, 1, 1]),
    ],
)
def test_initial_steps_along_a_straight_line(rule, steps):
    def line(x):
        return -10 * float(x.sum()), np.full(2, -10.0)

    result = solve_numpy(
        line, [0.0, 0.0], line_search="armijo", initial_step=rule, max_iters=7
    )
    np.testing.assert_allclose(result.trace.step[1:], steps)


def test_quadratic_initial_step_after_a_rise_is_one():
    values = iter([0.0, -1.0, -0.5, -9.0])
    result = solve_numpy(
        lambda x: (next(values), np.full(2, -1.0)),
        [0.0, 0.0],
        line_search="armijo",
        initial_step="quadratic",
        nonmonotone_window=3,
        max_iters=3,
    )
    assert result.trace.step.tolist() == [0.0, 0.5, 1.0, 1.0]


def test_nonmonotone_window_forgets_the_value_before_it():
    # The window holds -1 and -2: after them -0.5 is too high, and -1.5 is not.
    values = iter([0.0, -1.0, -2.0, -0.5, -1.5])
    result = solve_numpy(
        lambda x: (next(values), np.full(2, -1.0)),
        [0.0, 0.0],
        line_search="armijo",
        nonmonotone_window=2,
        max_iters=3,
    )
    assert result.trace.fun.tolist() == [0.0, -1.0, -2.0, -1.5]
    assert result.num_evals == 5


def test_trace_is_kept_only_when_asked_for():
    assert minimize(bowl, torch.ones(2)).trace is None
    trace = minimize(bowl, torch.ones(2), keep_trace=True).trace
    assert trace.iteration[0] == 0 and trace.step[0] == 0 and trace.fun[0] == 2
    assert trace.evaluations[0] == 1 and trace.optimality[0] == 2


@settings(max_examples=150)
@given(
    st.integers(0, 10**6),
    st.sampled_from(SEARCHES),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["unit", "slope", "quadratic", "double"]),
    st.sampled_from([1e-9, 0.0]),
)
def test_hostile_objectives_never_raise_and_never_give_nan(
    seed, search, three_points, damped, initial_step, progress_tol
):
    rng = np.random.default_rng(seed)
    harsh = [math.nan, math.inf, -math.inf, 1e300, -1e300, 1e-300, 0.0]

    def hostile(x):
        value = float(np.nan_to_num(x) @ np.ones(3))
        grad = rng.normal(size=3) * 10.0 ** rng.integers(-8, 9)
        if rng.random() < 0.3:
            value = harsh[rng.integers(len(harsh))]
        if rng.random() < 0.2:
            grad[rng.integers(3)] = harsh[rng.integers(len(harsh))]
        return value, grad

    result = solve_numpy(
        hostile,
        rng.normal(size=3),
        three_points=three_points,
        damped=damped,
        initial_step=initial_step,
        progress_tol=progress_tol,
        max_iters=30,
        history_size=4,
        nonmonotone_window=3,
        **search,
    )
    assert_finite(result)
    for column in result.trace:
        assert np.isfinite(column).all()


# Options


@pytest.mark.parametrize(
    "field, value, error",
    [
        ("max_iters", 0, ValueError),
        ("max_iters", 1.5, TypeError),
        ("max_evals", True, TypeError),
        ("history_size", -1, ValueError),
        ("gradient_tol", -1e-9, ValueError),
        ("gradient_tol", math.nan, ValueError),
        ("progress_tol", "small", TypeError),
        ("armijo_constant", 1.0, ValueError),
        ("wolfe_constant", 2, ValueError),
        ("line_search", "strong_wolfe", ValueError),
        ("interpolation", 2, TypeError),
        ("initial_step", "newton", ValueError),
        ("nonmonotone_window", 0, ValueError),
        ("damped", 1, ValueError),
    ],
)
def test_illegal_options_are_refused_by_name(field, value, error):
    with pytest.raises(error, match=f"{field} must be .*got"):
        minimize(bowl, torch.ones(1), **{field: value})


def test_named_options_override_an_options_object():
    options = LBFGSOptions(max_iters=2, gradient_tol=1e-3)
    objective = value_and_grad(lambda x: (x**4).sum())
    result = minimize(objective, torch.ones(3), options, max_iters=1)
    assert result.num_iters == 1
    with pytest.raises(TypeError, match="options must be among .*'maxiter'"):
        minimize(bowl, torch.ones(1), maxiter=3)
    with pytest.raises(TypeError, match="minfunc_options turns"):
        minimize(bowl, torch.ones(1), {"MaxIter": 3})


def test_matlab_dictionary_becomes_options():
    options = minfunc_options(
        {
            "Method": "LBFGS",
            "Display": "iter",
            "useMex": 0,
            "maxiter": 20.0,
            "MAXFUNEVALS": 30,
            "opttol": 1e-6,
            "progTol": 1e-8,
            "Corr": 7,
            "C1": 1e-3,
            "c2": 0.2,
            "fref": 4,
            "damped": 1,
            "ls_init": 3,
            "LS_type": 0,
            "LS_interp": 3,
            "LS_multi": 1,
            "numDiff": 0,
        }
    )
    assert options == LBFGSOptions(
        max_iters=20,
        max_evals=30,
        gradient_tol=1e-6,
        progress_tol=1e-8,
        history_size=7,
        armijo_constant=1e-3,
        wolfe_constant=0.2,
        nonmonotone_window=4,
        damped=True,
        initial_step="double",
        line_search="armijo",
        interpolation="mixed",
        three_points=True,
    )
    assert minfunc_options({}) == LBFGSOptions()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"ls_type": 0}, "spelt as in minFunc, got 'ls_type'; write 'LS_type'"),
        ({"LS_INTERP": 0}, "got 'LS_INTERP'; write 'LS_interp'"),
        ({"Ls_multi": 0}, "write 'LS_multi'"),
        ({"Method": "newton"}, "Method must be 'lbfgs'"),
        ({"LS_init": 4}, "'LS_init' must be 0 to 3 .*autoHv"),
        ({"LS_type": 2}, "'LS_type' must be 0 to 1"),
        ({"LS_interp": 1.5}, "'LS_interp' must be 0 to 3"),
        ({"TolX": 1e-9}, "use 'progTol'"),
        ({"cgSolve": 1}, "must be among .*, got 'cgSolve'"),
        ({"numDiff": 1}, "must be among .*, got 'numDiff'"),
        ({"Corr": 2.5}, "'Corr' must be a whole number"),
        ({"optTol": "small"}, "'optTol' must be a number"),
        ({"Damped": 2}, "'Damped' must be 0 or 1"),
        ({"MaxIter": 5, "maxiter": 6}, "differ, got 'MaxIter' and 'maxiter'"),
        ({"c2": 1.5}, "wolfe_constant must be"),
    ],
)
def test_matlab_options_that_mean_nothing_here_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        minfunc_options(options)
