"""Directions of limited-memory BFGS against dense matrices."""

import numpy as np
import pytest

from glmhmm_pyro.optim.memory import DampedHistory, SkippingHistory


def random_pairs(count, num_variables, seed=0):
    """Steps and the gradient changes of a random convex quadratic over them."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(num_variables, num_variables))
    hessian = root @ root.T + np.eye(num_variables)
    steps = rng.normal(size=(count, num_variables))
    return steps, steps @ hessian


def dense_inverse(pairs):
    """Inverse Hessian of BFGS, by its rank-two updates (Nocedal and Wright, 6.17)."""
    step, change = pairs[-1]
    inverse = (step @ change) / (change @ change) * np.eye(len(step))
    for step, change in pairs:
        rho = 1 / (change @ step)
        left = np.eye(len(step)) - rho * np.outer(step, change)
        inverse = left @ inverse @ left.T + rho * np.outer(step, step)
    return inverse


def dense_hessian(pairs, scale):
    """Hessian of BFGS, by its rank-two updates (Nocedal and Wright, 6.19)."""
    hessian = np.eye(len(pairs[0][0])) / scale
    for step, change in pairs:
        product = hessian @ step
        hessian -= np.outer(product, product) / (step @ product)
        hessian += np.outer(change, change) / (change @ step)
    return hessian


@pytest.mark.parametrize("make", [SkippingHistory, DampedHistory])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("count", [1, 2, 4, 5, 11, 12])
def test_direction_is_the_dense_inverse_times_the_gradient(make, size, count):
    steps, changes = random_pairs(count, 6)
    grad = np.random.default_rng(1).normal(size=6)
    history = make(size, 6)
    for step, change in zip(steps, changes):
        history.add(step, change)
    kept = list(zip(steps, changes))[-size:]
    expected = -dense_inverse(kept) @ grad
    np.testing.assert_allclose(history.direction(grad), expected, rtol=1e-7)


@pytest.mark.parametrize("make", [SkippingHistory, DampedHistory])
def test_empty_history_gives_steepest_descent(make):
    np.testing.assert_array_equal(
        make(5, 2).direction(np.array([1.0, -2.0])), [-1.0, 2.0]
    )


def test_length_known_beforehand_changes_no_direction():
    steps, changes = random_pairs(9, 4)
    histories = [SkippingHistory(4, 4), SkippingHistory(4, 4, 9)]
    for step, change in zip(steps, changes):
        for history in histories:
            history.add(step, change)
        first, second = (history.direction(step) for history in histories)
        np.testing.assert_allclose(first, second, rtol=1e-12)


@pytest.mark.parametrize("curvature", [-1.0, 0.0, 1e-10, np.nan])
def test_pair_without_curvature_is_skipped(curvature):
    history = SkippingHistory(5, 1)
    history.add(np.array([1.0]), np.array([2.0]))
    history.add(np.array([1.0]), np.array([curvature]))
    np.testing.assert_array_equal(history.direction(np.array([1.0])), [-0.5])


def test_pair_just_above_the_limit_is_kept():
    history = SkippingHistory(5, 1)
    history.add(np.array([1.0]), np.array([1.1e-10]))
    np.testing.assert_allclose(history.direction(np.array([1.1e-10])), [-1.0])


def test_damped_update_leaves_a_fiftieth_of_the_modelled_curvature():
    steps, changes = random_pairs(4, 5)
    bent = -steps[3]
    history = DampedHistory(10, 5)
    damped = []
    for step, change in zip(steps, [*changes[:3], bent]):
        # The model that damps leaves the oldest of the remembered pairs out.
        scale = (
            damped[-1][0] @ damped[-1][1] / (damped[-1][1] ** 2).sum() if damped else 1
        )
        model = np.eye(5) / scale
        if len(damped) > 1:
            model = dense_hessian(damped[1:], scale)
        least = 0.02 * step @ model @ step
        if change @ step < least:
            mix = 0.98 * step @ model @ step / (step @ model @ step - change @ step)
            change = mix * change + (1 - mix) * model @ step
            assert change @ step == pytest.approx(least)
        history.add(step, change if len(damped) < 3 else bent)
        damped.append((step, change))
    assert steps[3] @ bent < damped[3][0] @ damped[3][1], "the last pair was damped"
    grad = np.arange(1.0, 6.0)
    expected = -dense_inverse(damped) @ grad
    np.testing.assert_allclose(history.direction(grad), expected, rtol=1e-8)
