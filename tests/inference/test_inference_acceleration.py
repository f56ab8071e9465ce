"""Jumps along the path of EM, and when a run has arrived."""

import math

import pytest
import torch
from inference_cases import clear_data, penalised
from torch.distributions import biject_to, constraints

import glmhmm_pyro as gh
from glmhmm_pyro.inference.em.acceleration import Extrapolation
from glmhmm_pyro.inference.search.runs import Run

REAL = {"w": biject_to(constraints.real)}


def point(*numbers):
    return {"w": torch.tensor(numbers, dtype=torch.float64)}


def test_a_path_that_shrinks_by_a_constant_factor_is_followed_to_its_end():
    way = Extrapolation(REAL)
    way.reach = math.inf
    torch.testing.assert_close(
        way.after(point(8.0, 4.0), point(4.0, 2.0)), point(4.0, 2.0)
    )
    jump = way.after(point(4.0, 2.0), point(2.0, 1.0))
    torch.testing.assert_close(jump, point(0.0, 0.0))


def test_a_jump_is_no_longer_than_its_reach_which_success_extends():
    way = Extrapolation(REAL)
    way.after(point(1000.0), point(999.0))
    jump = way.after(point(999.0), point(998.001))
    # length 4: first + 2 * 4 * step + 16 * bend
    torch.testing.assert_close(jump, point(1000.0 - 8.0 + 16 * 0.001))
    way.after(jump, point(990.0))
    assert way.reach == 8.0


def test_a_failed_jump_goes_back_to_the_em_step_and_shortens_the_next():
    way = Extrapolation(REAL)
    way.after(point(8.0), point(4.0))
    way.after(point(4.0), point(2.0))
    assert way.retreat() == point(2.0)
    assert way.reach < 4.0
    assert way.retreat() is None


def test_probabilities_at_the_border_stay_where_em_put_them():
    transforms = {"p": biject_to(constraints.simplex), **REAL}
    way = Extrapolation(transforms)
    vertex = {"p": torch.tensor([0.0, 1.0], dtype=torch.float64)}
    way.after(vertex | point(8.0), vertex | point(4.0))
    jump = way.after(vertex | point(4.0), vertex | point(2.0))
    torch.testing.assert_close(jump["p"], vertex["p"])
    assert jump["w"] < 2.0


def test_a_probability_on_its_way_to_0_hides_no_other_steps():
    # Every step divides it by 100, and halves the weight: so its log-odds move by as
    # much each time, but what there is to come is that of the weight.
    transforms = {"p": biject_to(constraints.independent(constraints.simplex, 1))}
    path = [
        {"p": torch.tensor([[p, 1 - p]]).double()} | point(8.0 * 0.5**n)
        for n, p in enumerate((1e-6, 1e-8, 1e-10))
    ]
    way = Extrapolation(transforms | REAL)
    way.reach = 100.0
    assert way.after(path[0], path[1]) == path[1]
    assert way.rate(path[1], path[2]) == pytest.approx(0.5, abs=1e-3)
    jump = way.after(path[1], path[2])
    torch.testing.assert_close(jump["w"], point(0.0)["w"], atol=1e-3, rtol=0)
    assert 0 < jump["p"][0, 0] < 1e-8


def test_a_jump_does_not_round_a_scale_to_0():
    way = Extrapolation({"s": biject_to(constraints.positive)})
    way.reach = 1e6
    path = [{"s": torch.tensor([size]).double()} for size in (1.0, 1e-3, 0.9e-6)]
    way.after(path[0], path[1])
    assert way.after(path[1], path[2])["s"] > 0


def test_the_rate_compares_two_em_steps_in_a_row():
    way = Extrapolation(REAL, jumps=False)
    assert way.rate(point(8.0), point(4.0)) == math.inf
    way.after(point(8.0), point(4.0))
    assert way.rate(point(4.0), point(3.0)) == pytest.approx(0.25)


@pytest.mark.parametrize("transitions", ["stationary", "input-driven"])
def test_acceleration_changes_the_path_and_not_the_maximum(transitions):
    model, data = penalised(transitions=transitions), clear_data()
    options = {"num_restarts": 2, "progress": False, "tol": 1e-11}
    plain = gh.fit(model, data, accelerate=False, **options)
    fast = gh.fit(model, data, **options)
    assert fast.log_joint == pytest.approx(plain.log_joint, abs=1e-7)
    assert len(fast.history) < len(plain.history)
    assert fast.history["log_joint"].diff().min() > -1e-9


def test_a_run_ends_when_what_is_still_to_come_is_below_the_tolerance():
    """Against the same run taken to the end."""
    model, data = penalised(), clear_data()
    for accelerate in (False, True):
        options = {"num_restarts": 1, "progress": False, "accelerate": accelerate}
        rough = gh.fit(model, data, tol=1e-6, **options)
        end = gh.fit(model, data, tol=1e-13, init=rough.params, **options)
        assert end.log_joint - rough.log_joint < 3e-6 * abs(end.log_joint)


def test_a_fit_without_error_ends_when_nothing_is_left_to_gain():
    x = torch.linspace(-3.0, 3.0, 60, dtype=torch.float64)[:, None]
    data = gh.Sequences((x[:, 0] > 0).long(), torch.cat([x, torch.ones_like(x)], 1))
    options = {"num_restarts": 1, "progress": False}
    with pytest.warns(gh.ConvergenceWarning, match="predicted without error"):
        fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, **options)
    assert fit.status is gh.Status.UNBOUNDED
    before, last = fit.history["log_likelihood"].iloc[-2:]
    assert before <= -1e-3 < last == fit.log_likelihood
    assert all(torch.isfinite(value).all() for value in fit.params.values())


class HalvingSteps:
    """EM on minus x squared, where every M-step takes x to a fixed part of itself."""

    transforms = REAL
    dtype = torch.float64
    is_discrete = False

    def __init__(self, part, vanishing=None):
        self.part, self.vanishing = part, vanishing
        if vanishing:
            self.transforms = REAL | {"p": biject_to(constraints.simplex)}

    def expect(self, sets, beta=1.0):
        values = [-float(params["w"].square()) for params in sets]
        return values, values

    def maximise(self, sets, rows, multiplier=1.0):
        return [self.step(sets[row]) for row in rows]

    def step(self, params):
        moved = {"w": self.part * params["w"]}
        if self.vanishing:
            small = self.vanishing * params["p"][0]
            moved["p"] = torch.stack([small, 1 - small])
        return moved

    def nothing(self, *values):
        return ()

    runaways = infinite = at_bounds = nothing

    def failure(self, number):
        return None


@pytest.mark.parametrize(
    "part, vanishing", [(0.5, None), (0.9, None), (0.97, None), (0.9, 0.1), (0.97, 0.1)]
)
def test_em_ends_as_soon_as_all_that_is_left_to_gain_is_within_the_tolerance(
    part, vanishing
):
    tol, start = 1e-6, {"w": torch.tensor(0.7, dtype=torch.float64)}
    if vanishing:
        # A probability that goes to the border matters to nothing.
        start["p"] = torch.tensor([0.5, 0.5], dtype=torch.float64)
    run = Run(start)
    gh.EM(tol=tol, accelerate=False).advance(HalvingSteps(part, vanishing), [run])
    assert run.status is gh.Status.CONVERGED
    # The last rise and all that would follow it are, by the definition of the steps,
    # what was missing one step before the end: the maximum is 0.
    missing = [-value for value in run.log_joints]
    assert missing[-2] <= tol * (1 + 1e-9) < missing[-3]


class AfterThree:
    """Ends a run at its third E-step, whatever there is still to gain."""

    def has_arrived(self, steps, run):
        return len(run.log_joints) == 3

    def has_converged(self, steps, run, updated):
        return False


def test_another_rule_than_its_own_ends_em():
    runs = [Run({"w": torch.tensor(0.7, dtype=torch.float64)}) for _ in range(2)]
    for run, rule in zip(runs, (AfterThree(), None)):
        gh.EM(tol=1e-6, accelerate=False).advance(HalvingSteps(0.5), [run], rule=rule)
        assert run.status is gh.Status.CONVERGED
    assert len(runs[0].log_joints) == 3 < len(runs[1].log_joints)
    assert runs[0].log_joints == runs[1].log_joints[:3]
