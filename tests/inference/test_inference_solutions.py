"""Solutions of a fit: told apart by the states they decode, whatever their numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from inference_cases import clear_data

import glmhmm_pyro as gh
from glmhmm_pyro.inference.draws.alignment import similarity
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.runs import Run, best_of

pytestmark = pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")


def best_fit(program, runs):
    """The fit of the best of these runs."""
    return gh.Fit.of(program, best_of(program, runs, "em"))


def run_at(program, params, status=gh.Status.CONVERGED, kind="start", merged_into=None):
    """A run that ended at these values."""
    run = Run(params, kind=kind, merged_into=merged_into)
    with torch.no_grad():
        likelihood, prior = (float(part) for part in program.log_parts(params))
    run.record(likelihood, likelihood + prior, keep=False)
    run.status = status
    return run


def made(slopes, staying=0.9):
    """Parameters of a Bernoulli GLM-HMM of these states."""
    slopes = torch.tensor(slopes, dtype=torch.float64)
    states = len(slopes)
    moves = torch.full((states, states), (1 - staying) / (states - 1)).double()
    return {
        "initial.probs": torch.full((states,), 1 / states).double(),
        "transitions.probs": moves.fill_diagonal_(staying),
        "emissions.weights": slopes,
    }


@pytest.fixture(scope="module")
def program():
    return Program.of(gh.GLMHMM(2, gh.Bernoulli()), clear_data())


RIGHT = [[-2.0, -1.0], [2.0, 1.5]]


def test_states_with_other_numbers_are_the_same_solution(program):
    sets = [made(RIGHT), made(RIGHT[::-1])]
    fit = best_fit(program, [run_at(program, params) for params in sets])
    assert len(fit.solutions) == 1 and fit.solutions[0].starts == (0, 1)
    assert fit.num_agreeing == 2 and fit.unseen_share == 0.0


def test_two_mirror_images_with_one_log_joint_are_two_solutions():
    # A session of ones, an even one and a session of zeros: two states either give the
    # even one to the zeros or to the ones, and exchanging the labels makes one of these
    # the other.
    ones = (np.random.default_rng(1).uniform(size=60) < 0.9).astype(int)
    data = gh.Sequences(
        np.concatenate([ones, np.arange(60) % 2, 1 - ones]), lengths=[60, 60, 60]
    )
    program = Program.of(gh.GLMHMM(2, gh.Bernoulli()), data)
    sets = [made([[2.2], [-0.8]], 0.99), made([[0.8], [-2.2]], 0.99)]
    runs = [run_at(program, params) for params in sets]
    assert runs[0].log_joints[0] == pytest.approx(runs[1].log_joints[0], abs=1e-9)
    fit = best_fit(program, runs)
    assert [solution.starts for solution in fit.solutions] == [(0,), (1,)]
    assert fit.num_agreeing == 1 and fit.restart_report()["agrees"].sum() == 1
    assert fit.unseen_share == 1.0


def test_ends_that_decode_alike_at_other_heights_are_two_solutions(program):
    higher, lower = made(RIGHT), made(RIGHT, staying=0.95)
    runs = [run_at(program, lower), run_at(program, higher)]
    assert runs[1].log_joints[0] > runs[0].log_joints[0] + 0.2
    fit = best_fit(program, runs)
    assert fit.best == 1 and [s.starts for s in fit.solutions] == [(1,), (0,)]
    assert fit.solutions[0].log_joint == fit.log_joint
    torch.testing.assert_close(fit.solutions[1].params, lower)


def test_kicks_do_not_count_and_pruned_starts_count_with_those_they_joined(program):
    right, other = made(RIGHT), made([[0.3, 0.1], [0.3, 0.2]])
    ended = [run_at(program, right) for _ in range(2)]
    runs = [
        run_at(program, other, gh.Status.PRUNED, merged_into=ended[1]),
        run_at(program, other, gh.Status.PRUNED),
        *ended,
        run_at(program, right, kind="kick: merge and split"),
    ]
    fit = best_fit(program, runs)
    (solution,) = fit.solutions
    assert solution.starts == (0, 2, 3) and solution.kicks == (4,)
    assert (fit.num_starts, fit.num_agreeing, fit.unseen_share) == (4, 3, 0.25)
    report = fit.restart_report().set_index("start")
    assert report["solution"].to_dict() == {0: 0, 1: -1, 2: 0, 3: 0, 4: 0}
    assert report["agrees"].to_dict() == {0: True, 1: False, 2: True, 3: True, 4: False}
    table = fit.solution_report()
    assert table[["starts", "kicks", "kinds"]].values.tolist() == [[3, 1, "start"]]


@pytest.mark.parametrize("worse", [gh.Status.COLLAPSED, gh.Status.UNBOUNDED])
def test_an_end_without_a_maximum_never_wins(program, worse):
    high, low = made(RIGHT), made(RIGHT, staying=0.5)
    runs = [run_at(program, high, worse), run_at(program, low)]
    assert runs[0].log_joints[0] > runs[1].log_joints[0] + 1
    assert best_fit(program, runs).best == 1
    assert best_fit(program, runs[:1]).best == 0


def test_similarity_counts_a_rare_state_as_much_as_any():
    rng = np.random.default_rng(0)
    common = rng.uniform(size=(1000, 1)) < 0.5
    rare, other = (np.arange(1000)[:, None] % 100 == i for i in (0, 50))
    first, second = (
        np.concatenate([r, ~r & common, ~r & ~common], 1).astype(float)
        for r in (rare, other)
    )
    assert similarity((first,), (first[:, [2, 0, 1]],)) == pytest.approx(1.0)
    assert similarity((first,), (second,)) < 0.1


def test_states_that_never_change_are_alike():
    constant = np.tile([0.7, 0.3], (10, 1))
    assert similarity((constant,), (constant[:, ::-1],)) == 1.0


def test_solutions_are_saved_and_renumbered(program, tmp_path):
    runs = [run_at(program, made(RIGHT)), run_at(program, made(RIGHT, 0.7))]
    runs[1].kind = "window"
    fit = replace(best_fit(program, runs), rounds_without_gain=2)
    fit.save(tmp_path / "fit.nc")
    again = gh.load(tmp_path / "fit.nc")
    assert again.restarts[1].kind == "window" and again.rounds_without_gain == 2
    assert len(again.solutions) == 2 and repr(again) == repr(fit)
    for one, other in zip(again.solutions, fit.solutions):
        torch.testing.assert_close(one.params, other.params, rtol=0, atol=0)
        assert replace(one, params={}) == replace(other, params={})
    turned = fit.permuted([1, 0])
    weights = turned.solutions[1].params["emissions.weights"]
    torch.testing.assert_close(weights, made(RIGHT[::-1])["emissions.weights"])


def test_a_fit_says_how_many_starts_found_the_best_and_never_more_than_that(program):
    runs = [run_at(program, made(RIGHT)), run_at(program, made(RIGHT, 0.7))]
    fit = best_fit(program, runs)
    assert "1 of 2 starts end in the best of 2 solutions" in repr(fit)
    kicked = replace(fit, rounds_without_gain=2)
    assert "2 rounds of kicks did not improve" in repr(kicked)
    once = replace(fit, rounds_without_gain=1)
    assert "1 round of kicks did not improve" in repr(once)
    assert "global" not in repr(kicked)


def test_a_best_that_was_reached_once_is_doubted_with_advice(program):
    once = [run_at(program, made(RIGHT))]
    others = [run_at(program, made(RIGHT, 0.7)) for _ in range(4)]
    kick = run_at(program, made(RIGHT), kind="kick: anew")
    for runs, match in ((once, "only one led"), ([kick], "none but kicks led")):
        doubt = best_fit(program, runs + others).doubt
        assert match in doubt and "of starts" not in doubt
        assert "Raise num_restarts" in doubt and "prior such as" in doubt
    assert best_fit(program, once * 2 + others).doubt == ""
    assert best_fit(program, once).doubt == ""


def test_the_doubt_is_a_warning_of_the_fit(monkeypatch):
    monkeypatch.setattr(gh.Fit, "doubt", property(lambda _: "it was reached once"))
    with pytest.warns(gh.ConvergenceWarning, match="it was reached once"):
        gh.fit(gh.GLMHMM(1, gh.Bernoulli()), clear_data(), progress=False)
