"""The line searches, driven by scripted replies and by functions of one variable."""

import math

import numpy as np
import pytest

from glmhmm_pyro.optim import LBFGSOptions
from glmhmm_pyro.optim.armijo import armijo_search
from glmhmm_pyro.optim.interpolation import Known, cubic_minimizer
from glmhmm_pyro.optim.trial import Line, Trial
from glmhmm_pyro.optim.wolfe import extrapolate, wolfe_search
from glmhmm_pyro.optim.zoom import Zoom, lower_of, mixed_step


def line_of(polynomial):
    """A line along the first axis, starting at 0."""
    slope = float(polynomial.deriv()(0.0))
    value = float(polynomial(0.0))
    return Line(np.zeros(1), np.ones(1), value, np.array([slope]), slope)


def drive(search, reply):
    """Run a search; the steps it tried and what it found."""
    steps = []
    point = next(search)
    try:
        while True:
            steps.append(float(point[0]))
            value, slope = reply(steps[-1])
            point = search.send((float(value), np.array([slope], dtype=float)))
    except StopIteration as end:
        return steps, end.value


def answers(polynomial):
    return lambda step: (polynomial(step), polynomial.deriv()(step))


def trial_of(polynomial, step):
    grad = np.array([polynomial.deriv()(step)])
    return Trial(step, np.array([step]), float(polynomial(step)), grad, float(grad[0]))


# Armijo

QUARTIC = (
    10 * np.poly1d([1, -0.1]) * np.poly1d([-0.9, 1]) * np.poly1d([0.2, 1])
).integ()
PARABOLA = np.poly1d([5.0, -1.0, 0.0])


def armijo(polynomial, **options):
    options = LBFGSOptions(**{"armijo_constant": 0.45, **options})
    return armijo_search(line_of(polynomial), 1.0, float(polynomial(0.0)), options)


def test_armijo_bisects():
    steps, found = drive(armijo(PARABOLA, interpolation="bisection"), answers(PARABOLA))
    assert steps == [1.0, 0.5, 0.25, 0.125, 0.0625]
    assert found.trial.step == 0.0625 and found.num_evals == 5


@pytest.mark.parametrize("interpolation", ["quadratic", "cubic", "mixed"])
def test_armijo_finds_the_minimum_of_a_parabola_in_one_step(interpolation):
    search = armijo(PARABOLA, interpolation=interpolation)
    steps, found = drive(search, answers(PARABOLA))
    assert steps == pytest.approx([1.0, 0.1])


def test_armijo_with_two_values_ignores_slopes():
    wrong_slope = lambda step: (PARABOLA(step), 1e3)  # noqa: E731
    steps, _ = drive(armijo(PARABOLA, interpolation="quadratic"), wrong_slope)
    assert steps == pytest.approx([1.0, 0.1])


def test_armijo_with_three_values_is_exact_for_a_cubic():
    cubic = (10 * np.poly1d([1, -0.1]) * np.poly1d([-0.9, 1])).integ()
    search = armijo(cubic, interpolation="quadratic", three_points=True)
    steps, found = drive(search, answers(cubic))
    assert len(steps) == 3 and found.trial.step == pytest.approx(0.1)


def test_armijo_falls_back_to_a_quartic_when_one_gradient_was_illegal():
    # Known: value and slope at 0 and at the second trial, the value alone at the first.
    def reply(step):
        return QUARTIC(step), math.nan if step == 1.0 else QUARTIC.deriv()(step)

    steps, found = drive(armijo(QUARTIC, three_points=True), reply)
    by_two_values = 1 / (2 * (QUARTIC(1.0) + 1))
    assert steps[:2] == pytest.approx([1.0, by_two_values])
    assert found.trial.step == pytest.approx(0.1) and len(steps) == 3


def test_armijo_quintic_is_exact_for_a_quintic():
    slope = 10 * np.poly1d([1, -0.1]) * np.poly1d([3, -1, 1, 1])
    quintic = slope.integ()
    steps, found = drive(armijo(quintic, three_points=True), answers(quintic))
    assert len(steps) == 3 and found.trial.step == pytest.approx(0.1)


def test_armijo_forgets_a_trial_whose_value_was_illegal():
    # After the halving, one legal trial only: a cubic from two points.
    def reply(step):
        return (math.inf, math.nan) if step == 1.0 else answers(PARABOLA)(step)

    steps, _ = drive(armijo(PARABOLA, three_points=True), reply)
    assert steps == pytest.approx([1.0, 0.5, 0.1])


@pytest.mark.parametrize("scale, shorter", [(1e6, 1e-3), (0.51, 0.6)])
def test_armijo_steps_shrink_neither_too_fast_nor_too_slowly(scale, shorter):
    steep = np.poly1d([scale, -1.0, 0.0])
    steps, _ = drive(armijo(steep, armijo_constant=0.5), answers(steep))
    assert steps[1] == pytest.approx(shorter)


def test_armijo_compares_with_its_reference():
    options = LBFGSOptions(line_search="armijo")
    search = armijo_search(line_of(PARABOLA), 1.0, 10.0, options)
    steps, found = drive(search, answers(PARABOLA))
    assert steps == [1.0] and found.trial.fun == 4.0


def test_armijo_gives_up_at_the_start_when_nothing_is_lower():
    steps, found = drive(armijo(PARABOLA), lambda step: (1.0, -1.0))
    assert found.trial.step == 0.0 and found.trial.fun == 0.0
    assert steps[-1] <= 1e-9 < steps[-2]


@pytest.mark.parametrize("interpolation", ["bisection", "quadratic", "cubic"])
def test_armijo_ends_without_a_progress_tolerance(interpolation):
    search = armijo(PARABOLA, progress_tol=0.0, interpolation=interpolation)
    steps, found = drive(search, lambda step: (1.0, -1.0))
    assert found.trial.step == 0.0 and len(steps) < 2000


# Wolfe


@pytest.mark.parametrize("interpolation", ["bisection", "quadratic", "cubic", "mixed"])
@pytest.mark.parametrize("wolfe_constant", [0.9, 0.1])
@pytest.mark.parametrize("step", [1e-4, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("seed", range(6))
def test_wolfe_step_satisfies_both_conditions(
    interpolation, wolfe_constant, step, seed
):
    rng = np.random.default_rng(seed)
    roots = rng.uniform(0.1, 3.0, size=3)
    polynomial = np.poly1d(roots, r=True).integ() * rng.uniform(0.1, 10)
    options = LBFGSOptions(interpolation=interpolation, wolfe_constant=wolfe_constant)
    line = line_of(polynomial)
    steps, found = drive(wolfe_search(line, step, options), answers(polynomial))
    trial = found.trial
    assert trial.fun <= line.fun + 1e-4 * trial.step * line.slope
    assert abs(trial.slope) <= -wolfe_constant * line.slope
    assert found.num_evals == len(steps) and trial.step in steps


def test_wolfe_bisection_grows_tenfold_then_halves():
    far = np.poly1d([1.0, -100.0, 0.0])
    options = LBFGSOptions(interpolation="bisection", wolfe_constant=0.1)
    steps, _ = drive(wolfe_search(line_of(far), 1.0, options), answers(far))
    assert steps == [1.0, 10.0, 100.0, 55.0]


def test_wolfe_stops_after_25_trials_beyond_the_first():
    line = np.poly1d([-1.0, 0.0])
    options = LBFGSOptions(interpolation="bisection")
    steps, found = drive(wolfe_search(line_of(line), 1.0, options), answers(line))
    assert len(steps) == found.num_evals == 26
    assert found.trial.step == pytest.approx(1e25) and found.fell_without_end


def test_wolfe_retreats_from_an_illegal_region_to_half_way():
    far = np.poly1d([1.0, -100.0, 0.0])
    options = LBFGSOptions(interpolation="bisection", wolfe_constant=0.1)

    def reply(step):
        return (math.inf, math.inf) if step > 20 else answers(far)(step)

    steps, found = drive(wolfe_search(line_of(far), 1.0, options), reply)
    assert steps == [1.0, 10.0, 100.0, 55.0, 27.5, 13.75]
    assert found.trial.step == 13.75 and found.num_evals == 6


def test_wolfe_bisects_a_bracket_with_an_illegal_end():
    # The bracket is [0, 1]; the trial within it is illegal and becomes its upper end.
    polynomial = np.poly1d([5.0, -1.0, 0.0])
    replies = {1.0: answers(polynomial)(1.0), 0.1: (math.nan, math.nan)}
    options = LBFGSOptions(wolfe_constant=0.01)
    search = wolfe_search(line_of(polynomial), 1.0, options)
    steps, _ = drive(
        search, lambda step: replies.get(round(step, 9), answers(polynomial)(step))
    )
    assert steps[:3] == pytest.approx([1.0, 0.1, 0.05])


# The choice of the next step

FALLING = {
    "both the cubic and the secant step": ([1, 0], 2.0, 4.0, 2.0),
    "the cubic step, which is nearer": ([1, 3], 2.0, 4.0, 2.0),
    "the secant step, which is nearer": ([-1, 5], 5 / 3, 4.0, 5 / 3),
    "the secant step, the cubic one not inside": ([1, 3], 1.33, 1.5, 1.33),
    "two thirds of the way at most": ([1, 0], 2.0, 2.2, 1 + 0.66 * 1.2),
}


def valley(factor):
    """A polynomial with slope (t - 2) times a factor, descending at 0 and at 1."""
    factor = np.poly1d([1.0]) if factor == [1, 0] else np.poly1d(factor)
    return (np.poly1d([1, -2]) * factor).integ(k=3.0)


@pytest.mark.parametrize("case", FALLING.values(), ids=FALLING.keys())
def test_mixed_step_extrapolates_within_the_bracket(case):
    factor, _, other, expected = case
    f = valley(factor)
    step = mixed_step(trial_of(f, 1.0), trial_of(f, other), trial_of(f, 0.0))
    assert step == pytest.approx(expected)


@pytest.mark.parametrize("case", FALLING.values(), ids=FALLING.keys())
def test_mixed_step_is_the_same_seen_from_the_other_side(case):
    factor, _, other, expected = case
    # t -> 5 - t mirrors the bracket and keeps its steps positive.
    f = valley(factor)(np.poly1d([-1.0, 5.0]))
    step = mixed_step(trial_of(f, 4.0), trial_of(f, 5 - other), trial_of(f, 5.0))
    assert step == pytest.approx(5 - expected)


def test_mixed_step_between_a_low_and_a_higher_trial():
    # Slopes -1 at 0; value 1 at 1: the quadratic's minimum is at 1 / 4.
    low = Trial(0.0, np.zeros(1), 0.0, np.array([-1.0]), -1.0)

    def latest(slope):
        return Trial(1.0, np.ones(1), 1.0, np.array([slope]), slope)

    # p = -t + a t^2 + b t^3 through value 1 and slope s at 1: b = s - 3, a = 5 - s.
    def cubic_minimum(slope):
        critical = np.roots([3 * (slope - 3), 2 * (5 - slope), -1])
        return [t for t in critical if 6 * (slope - 3) * t + 2 * (5 - slope) > 0][0]

    nearer, farther = cubic_minimum(1.0), cubic_minimum(6.0)
    assert nearer < 0.25 < farther
    assert mixed_step(latest(1.0), latest(1.0), low) == pytest.approx(nearer)
    assert mixed_step(latest(6.0), latest(6.0), low) == pytest.approx(
        (farther + 0.25) / 2
    )


def test_mixed_step_between_slopes_of_opposite_sign_goes_farther_from_the_latest():
    # Slopes -1 and 3 at 0 and 1: the secant step is 1 / 4.
    low = Trial(0.0, np.zeros(1), 0.0, np.array([-1.0]), -1.0)

    def latest(value):
        return Trial(1.0, np.ones(1), value, np.array([3.0]), 3.0)

    def cubic_minimum(value):
        # p = -t + a t^2 + b t^3, p(1) = value, p'(1) = 3.
        b, a = 3.0 - 1 - 2 * value, 3 * value - 1.0
        critical = np.roots([3 * b, 2 * a, -1]) if b else np.roots([2 * a, -1])
        return [t for t in critical if 6 * b * t + 2 * a > 0][0]

    farther, nearer = cubic_minimum(-0.01), cubic_minimum(-0.5)
    steps = [farther, nearer]
    expected = [cubic if cubic <= 0.25 else 0.25 for cubic in steps]
    found = [mixed_step(latest(v), latest(v), low) for v in (-0.01, -0.5)]
    assert found == pytest.approx(expected)


def test_mixed_step_beyond_a_steeper_slope_looks_to_the_other_end():
    f = np.poly1d([1.0, -9.0, 15.0, -1.0, 30.0])
    low, latest, other = (trial_of(f, step) for step in (2.0, 3.0, 6.0))
    assert latest.fun < low.fun and latest.slope < low.slope < 0
    towards_other = Known(6.0, other.fun, other.slope)
    from_latest = Known(3.0, latest.fun, latest.slope)
    expected = cubic_minimizer(from_latest, towards_other, 3.0, 6.0)
    assert 3.0 < expected < 6.0
    assert mixed_step(latest, other, low) == expected


def test_mixed_step_leaves_a_cubic_minimum_behind_the_latest_trial():
    # The cubic's minimum, at 0.2, is moved to the latest trial: the secant step counts.
    low = Trial(0.0, np.zeros(1), 0.0, np.array([-1.0]), -1.0)
    latest = Trial(1.0, np.ones(1), -0.01, np.array([-0.9]), -0.9)
    other = Trial(4.0, np.ones(1), 1.0, np.array([1.0]), 1.0)
    assert mixed_step(latest, other, low) == pytest.approx(1 + 0.66 * 3)


def test_extrapolation_is_cubic_when_that_is_nearer_else_by_slopes():
    nearer, farther = valley([1, 3]), valley([-1, 5])
    for f, expected in [(nearer, 2.0), (farther, 5 / 3)]:
        step = extrapolate(trial_of(f, 0.0), trial_of(f, 1.0), "mixed")
        assert step == pytest.approx(expected)
        step = extrapolate(trial_of(f, 0.0), trial_of(f, 1.0), "cubic")
        assert step == pytest.approx(2.0)
    step = extrapolate(trial_of(nearer, 0.0), trial_of(nearer, 0.1), "bisection")
    assert step == pytest.approx(1.0)


def test_zoom_allows_one_step_near_an_end_then_keeps_off():
    f = np.poly1d([1.0, -0.1, 0.0])
    zoom = Zoom([trial_of(f, 0.0), trial_of(f, 1.0)], "cubic")
    assert zoom.propose() == pytest.approx(0.05)
    assert zoom.propose() == pytest.approx(0.1)
    assert zoom.propose() == pytest.approx(0.05)


def test_zoom_keeps_the_lower_end_of_a_descending_trial():
    f = np.poly1d([1.0, -2.0, 0.0])
    zoom = Zoom([trial_of(f, 0.0), trial_of(f, 3.0)], "bisection")
    assert not zoom.place(trial_of(f, 1.5), True, False)
    assert [trial.step for trial in zoom.bracket] == [1.5, 0.0]
    assert zoom.width == 1.5
    assert zoom.place(trial_of(f, 1.0), True, True)


def test_extrapolation_turns_from_a_cubic_minimum_behind_the_trial():
    before = Trial(0.0, np.zeros(1), 0.0, np.array([-1.0]), -1.0)
    trial = Trial(1.0, np.ones(1), -0.01, np.array([-0.8]), -0.8)
    assert extrapolate(before, trial, "cubic") == 1.01
    assert extrapolate(before, trial, "mixed") == pytest.approx(5.0)


def test_secant_extrapolation_knows_the_earlier_value_as_minfunc_does():
    # Beside 1e20 the bend of the parabola is lost: the first candidate wins, a bound.
    before = Trial(0.0, np.zeros(1), 1e20, np.array([-4.0]), -4.0)
    trial = Trial(1.0, np.ones(1), -1.0, np.array([-1.0]), -1.0)
    assert extrapolate(before, trial, "mixed") == 1.01


def test_wolfe_asks_for_sufficient_decrease_within_a_bracket():
    # At 1.8 the slope is flat enough and the value below the start, but too little so.
    f = np.poly1d([1.0, -2.0, 0.0])
    options = LBFGSOptions(interpolation="bisection", armijo_constant=0.4)
    steps, found = drive(wolfe_search(line_of(f), 3.6, options), answers(f))
    assert steps == [3.6, 1.8, 0.9] and found.trial.step == 0.9


def test_wolfe_ends_when_the_bracket_moves_no_coordinate():
    line = Line(np.zeros(1), np.array([1e-3]), 0.0, np.array([-1e3]), -1.0)
    search = wolfe_search(line, 1.0, LBFGSOptions(interpolation="bisection"))
    steps, found = drive(search, lambda x: (1.0, 1.0))
    # 20 halvings bring the bracket below 1e-6, which moves x by less than 1e-9.
    assert len(steps) == 21 and found.trial.step == 0.0


def test_zoom_keeps_off_an_end_at_once_when_the_step_is_on_it():
    f = np.poly1d([1.0, -10.0, 0.0])
    zoom = Zoom([trial_of(f, 0.0), trial_of(f, 1.0)], "cubic")
    assert zoom.propose() == pytest.approx(0.9)
    mirrored = np.poly1d([1.0, 10.0, 0.0])
    zoom = Zoom([trial_of(mirrored, 1.0), trial_of(mirrored, 0.0)], "cubic")
    assert zoom.propose() == pytest.approx(0.1)


def test_zoom_remembers_the_low_end_that_was_removed():
    f = np.poly1d([1.0, 0.0, 1.0, -4.0, 0.0])
    removed, low, high = (trial_of(f, step) for step in (0.0, 1.2, 0.5))
    zoom = Zoom([removed, trial_of(f, 3.0)], "mixed")
    zoom.place(low, True, False)
    zoom.place(high, False, False)
    expected = mixed_step(high, low, removed)
    assert zoom.propose() == expected != mixed_step(high, low, low)


def test_zoom_takes_a_trial_above_its_low_end_as_the_high_end():
    f = np.poly1d([1.0, -2.0, 0.0])
    zoom = Zoom([trial_of(f, 0.8), trial_of(f, 3.0)], "bisection")
    assert not zoom.place(trial_of(f, 1.5), True, True)
    assert [trial.step for trial in zoom.bracket] == [0.8, 1.5]


def test_lower_end_is_never_a_nan():
    f = np.poly1d([1.0, 0.0])
    low, high = trial_of(f, 0.0), trial_of(f, 1.0)
    illegal = low._replace(fun=math.nan)
    assert [lower_of([low, high]), lower_of([high, low])] == [0, 1]
    assert [lower_of([illegal, high]), lower_of([high, illegal])] == [1, 0]
    assert lower_of([low, low]) == 0
