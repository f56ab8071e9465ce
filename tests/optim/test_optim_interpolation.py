"""Minimisers of interpolating polynomials against the polynomials themselves."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmhmm_pyro.optim.interpolation import (
    Known,
    clamp,
    cubic_minimizer,
    divide,
    polynomial_minimizer,
)

numbers = st.floats(-10, 10).map(lambda number: round(number, 3))


def known(polynomial, at, value=True, slope=True):
    """What a polynomial gives an interpolation to know at a place."""
    derivative = polynomial.deriv()
    return Known(
        at, polynomial(at) if value else None, derivative(at) if slope else None
    )


def smallest_on(polynomial, low, high):
    """Value of a polynomial's minimum on an interval, on a fine grid."""
    return polynomial(np.linspace(low, high, 20001)).min()


@given(numbers, numbers, numbers, numbers)
def test_cubic_does_not_depend_on_the_order_of_its_points(f0, g0, f1, g1):
    a, b = Known(0.3, f0, g0), Known(1.7, f1, g1)
    assert cubic_minimizer(a, b, 0.3, 1.7) == cubic_minimizer(b, a, 0.3, 1.7)


@given(numbers, numbers, st.floats(0.1, 5))
def test_cubic_finds_the_local_minimum(place, offset, curvature):
    # p' = 3 (x - place)(x - place + 2 curvature): the minimum is the right root.
    slope = np.poly1d([3.0, 0.0, 0.0]) * 0 + 3 * np.poly1d(
        [place, place - 2 * curvature], r=True
    )
    polynomial = slope.integ(k=offset)
    a, b = known(polynomial, place - 1.5), known(polynomial, place + 2.0)
    found = cubic_minimizer(a, b, place - 1.5, place + 2.0)
    assert found == pytest.approx(place, abs=1e-6)


def test_cubic_without_a_minimum_gives_the_middle():
    rising = np.poly1d([1.0, 0.0, 1.0, 0.0])
    assert cubic_minimizer(known(rising, 0.0), known(rising, 2.0), -1.0, 4.0) == 1.5


def test_cubic_minimum_beyond_a_bound_is_moved_to_it():
    parabola = np.poly1d([1.0, -8.0, 0.0])
    points = [known(parabola, 0.0), known(parabola, 1.0)]
    assert polynomial_minimizer(points) == 1.0
    assert polynomial_minimizer(points, 0.0, 3.0) == 3.0
    assert polynomial_minimizer(points, 0.0, 9.0) == pytest.approx(4.0)


def test_straight_line_runs_to_the_upper_bound():
    line = np.poly1d([-1.0, 0.0])
    assert cubic_minimizer(known(line, 0.0), known(line, 1.0), 1.01, 10.0) == 10.0


def test_cubic_of_unknown_slope_is_refused():
    with pytest.raises(ValueError, match="both values and slopes"):
        cubic_minimizer(Known(0.0, 1.0, None), Known(1.0, 0.0, 1.0), 0.0, 1.0)


LAYOUTS = {
    "quadratic from two values and a slope": [(0.0, True, True), (1.0, True, False)],
    "secant from two slopes": [(0.0, False, True), (1.0, True, True)],
    "cubic from three values and a slope": [
        (0.0, True, True),
        (0.4, True, False),
        (1.0, True, False),
    ],
    "quartic": [(0.0, True, True), (0.4, True, True), (1.0, True, False)],
    "quintic": [(0.0, True, True), (0.4, True, True), (1.0, True, True)],
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("seed", range(8))
def test_minimizer_is_the_smallest_point_of_the_polynomial(layout, seed):
    degree = sum(value + slope for _, value, slope in layout) - 1
    coefficients = np.random.default_rng(seed).normal(size=degree + 1)
    polynomial = np.poly1d(coefficients)
    points = [known(polynomial, *entry) for entry in layout]
    found = polynomial_minimizer(points, 0.0, 0.9)
    assert 0.0 <= found <= 0.9
    assert polynomial(found) <= smallest_on(polynomial, 0.0, 0.9) + 1e-9


def test_polynomial_of_equal_places_gives_the_middle():
    twice = [Known(1.0, 0.0, -1.0), Known(1.0, 2.0, None)]
    assert polynomial_minimizer(twice, 0.0, 4.0) == 2.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_polynomial_of_a_value_that_is_not_finite_gives_the_middle(value):
    assert polynomial_minimizer([Known(0.0, 0.0, -1.0), Known(2.0, value, None)]) == 1.0


def test_division_and_clamp_follow_ieee_and_matlab():
    assert divide(1.0, -0.0) == -math.inf
    assert math.isnan(divide(0.0, 0.0)) and math.isnan(divide(math.nan, 0.0))
    assert divide(3.0, 2.0) == 1.5
    assert clamp(math.nan, 1.0, 2.0) == 1.0
    assert clamp(math.inf, 1.0, 2.0) == 2.0
