"""The search: unlike starts, pruned by what they decode, and kicks out of an end."""

import re
from functools import partial

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from inference_cases import clear_data, penalised, two_animals
from tqdm import tqdm

import glmhmm_pyro as gh
from glmhmm_pyro.inference import progress_bar
from glmhmm_pyro.inference.em.em import EM
from glmhmm_pyro.inference.kinds import easier_problem
from glmhmm_pyro.inference.kinds.diverse_starts import KINDS, DiverseStarts, Kicks
from glmhmm_pyro.inference.kinds.starts import make_starts
from glmhmm_pyro.inference.program import batches
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.progress_bar import ProgressBar, iterations_left
from glmhmm_pyro.inference.search.runs import Run
from glmhmm_pyro.inference.search.search import STARTS, MultistartSearch, Search, Stage

pytestmark = pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")

QUIET = {"progress": False, "tol": 1e-7}


def alternating():
    """Choices that alternate, with a tenth of slips."""
    rng = np.random.default_rng(0)
    y = np.array([0, 1] * 100)
    return gh.Sequences(np.where(rng.uniform(size=200) < 0.1, 1 - y, y))


def three_levels(seed=0):
    """A Gaussian around three levels, of which each stays for a while."""
    rng = np.random.default_rng(seed)
    states = np.repeat(rng.integers(0, 3, 40), 10)
    y = np.array([0.0, 4.0, 8.0])[states] + rng.normal(size=400)
    return gh.Sequences(y, lengths=[200, 200])


def search_of(program):
    """A search that has not begun."""
    unlike = DiverseStarts.of(program, noise=0.5, seed=0)
    return MultistartSearch(EM(), program, unlike, ProgressBar("EM", False))


@pytest.mark.parametrize("method", ["em", "map"])
def test_states_that_alternate_are_found_by_the_default_call(method):
    data, model = alternating(), gh.GLMHMM(2, gh.Bernoulli())
    start = {
        "transitions.probs": [[0.1, 0.9], [0.9, 0.1]],
        "emissions.weights": [[-2.0], [2.0]],
    }
    right = gh.fit(model, data, num_restarts=1, init=start, progress=False)
    found = gh.fit(model, data, method, progress=False)
    assert found.log_likelihood == pytest.approx(right.log_likelihood, abs=1e-4)
    # Starts around one GLM in states that stay all agree on far less.
    plain = {"num_restarts": 2, "init": "glm", "tol": 1e-5}
    alike = gh.fit(model, data, method, progress=False, **plain)
    assert alike.log_likelihood < -138.0


@pytest.mark.parametrize("method", ["em", "map"])
def test_a_stationary_first_state_is_searched_for_as_a_free_one_is(method):
    # EM takes all parameters together there, which is slow: the search runs with a free
    # first state, and what it found is led on in the model itself.
    data = alternating()
    emissions = gh.Bernoulli(prior=gh.priors.Ridge(2.0))
    moves = gh.Stationary(prior=dist.Dirichlet(torch.full((2,), 2.0)))
    model = gh.GLMHMM(2, emissions, moves, gh.StationaryInitial())
    start = {
        "transitions.probs": [[0.1, 0.9], [0.9, 0.1]],
        "emissions.weights": [[-2.0], [2.0]],
    }
    right = gh.fit(model, data, "map", num_restarts=1, init=start, progress=False)
    fit = gh.fit(model, data, method, num_restarts=5, progress=False)
    assert fit.log_joint == pytest.approx(right.log_joint, abs=1e-5)
    assert fit.num_starts == 5 and fit.rounds_without_gain >= 0
    assert {restart.kind for restart in fit.restarts} >= set(KINDS)
    program = Program.of(fit.model, data)
    for solution in fit.solutions:
        assert set(solution.params) == set(start)
        joint = float(program.log_joint(solution.params))
        assert solution.log_joint == pytest.approx(joint, abs=1e-8)
    assert max(r.log_joints[-1] for r in fit.restarts) <= fit.log_joint + 1e-9


def test_a_run_that_pauses_goes_on_as_if_it_had_not():
    program = Program.of(penalised(), clear_data())
    (start,) = make_starts(program.model, program.data, 1)
    em = EM(num_iters=40)
    (whole,) = em.run(program.model, program.data, [start])
    parts, steps = Run(start), program.em_steps(em.m_step)
    for most in (1, 2, 5, 9, None):
        before = len(parts.log_joints)
        em.advance(steps, [parts], most)
        assert most is None or len(parts.log_joints) == before + most
    assert parts.log_joints == whole.log_joints
    torch.testing.assert_close(parts.params, whole.params, rtol=0, atol=0)


def test_runs_that_decode_alike_are_pruned_whatever_their_height():
    program = Program.of(gh.GLMHMM(3, gh.Gaussian()), three_levels())
    found = search_of(program)

    def run_at(levels, height):
        base = found.starts.zeros
        weights = torch.tensor(levels, dtype=torch.float64)[:, None]
        run = Run(dict(base) | {"emissions.weights": weights})
        run.record(height, height, keep=False)
        return run

    high = run_at([0.0, 4.0, 8.0], -800.0)
    renumbered = run_at([8.0, 0.0, 4.0], -801.0)
    low = run_at([2.0, 8.0, 30.0], -9000.0)
    stage = Stage(10, 0.8, keep=2)
    kept = found._pruned([low, renumbered, high], stage, ())
    assert [run is other for run, other in zip(kept, (high, low))] == [True, True]
    assert renumbered.merged_into is high and renumbered.status is gh.Status.PRUNED
    assert low.status is None and high.status is None


def test_kicks_lead_out_of_an_optimum_where_one_state_stands_for_two():
    program = Program.of(gh.GLMHMM(3, gh.Gaussian()), three_levels())
    found = search_of(program)
    caught = dict(found.starts.zeros)
    # The first state stands for the two lower levels, the others share the third.
    caught["emissions.weights"] = torch.tensor([[2.0], [7.5], [8.5]]).double()
    caught["emissions.scale"] = torch.tensor([2.2, 0.7, 0.7]).double()
    found.runs = [Run(caught)]
    found.run_stages(found.runs, STARTS[-1:])
    before = found.best.log_joints[-1]
    found.add_kicks(found.run_stages(*found.kicks(10)))
    assert found.best.kind.startswith("kick: ")
    assert found.best.log_joints[-1] > before + 50 and found.rounds_without_gain == 0
    levels = found.best.params["emissions.weights"].flatten().sort().values
    torch.testing.assert_close(
        levels, torch.tensor([0.0, 4.0, 8.0]).double(), atol=0.5, rtol=0
    )
    found.add_kicks(found.run_stages(*found.kicks(10)))
    assert found.rounds_without_gain == 1


def test_kicks_to_the_optima_next_to_the_best_change_weights_a_little():
    program = Program.of(gh.GLMHMM(3, gh.Gaussian()), three_levels())
    found = search_of(program)
    found.runs = [Run(dict(found.starts.glm))]
    found.run_stages(found.runs, STARTS[-1:])
    best = found.best
    found.is_near = True
    found.add_kicks(found.run_stages(*found.kicks(4)))
    shaken = found.runs[1:]
    assert shaken and {run.kind for run in shaken} == {"kick: shake"}
    for run in shaken:
        moved = run.first["emissions.weights"] - best.params["emissions.weights"]
        # Noise of at most 0.5 in units of 1 over the root mean square of the covariate.
        assert (0 < moved.abs()).all() and (moved.abs() < 3).all()


@pytest.mark.parametrize("agreeing, rounds", [(1, 2), (2, 2), (3, 1), (4, 1), (5, 0)])
def test_the_more_starts_agree_the_fewer_rounds_of_kicks_without_gain_are_made(
    agreeing, rounds
):
    program = Program.of(gh.GLMHMM(3, gh.Gaussian()), three_levels())
    found = search_of(program)
    found.runs = [Run(dict(found.starts.zeros)) for _ in range(10)]
    for number, run in enumerate(found.runs):
        run.record(-800.0, -800.0 - 20.0 * (number >= agreeing), keep=False)
        run.status = gh.Status.CONVERGED if number == 0 else gh.Status.PRUNED
        run.merged_into = found.runs[0] if 0 < number < agreeing else None
    while not found.is_over():
        found.rounds_without_gain += 1
    assert found.rounds_without_gain == rounds


def test_a_smooth_kick_takes_states_from_the_steps_around(monkeypatch):
    program = Program.of(gh.GLMHMM(3, gh.Gaussian()), three_levels())
    unlike = search_of(program).starts
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 400)
    kicks = Kicks(unlike, dict(unlike.zeros), probs)
    monkeypatch.setattr(unlike, "length", lambda longest: 4)
    monkeypatch.setattr(kicks, "_fitted", lambda counts: counts)
    around = [probs[max(t - 4, 0) : t + 5].sum(0) / 9 for t in range(400)]
    np.testing.assert_allclose(kicks.smooth(), around, rtol=1e-12)


def test_the_first_of_the_unlike_starts_is_that_of_a_single_start():
    program = Program.of(gh.GLMHMM(2, gh.Bernoulli()), alternating())
    unlike = DiverseStarts.of(program, noise=0.5, seed=3)
    starts = [unlike.make(number) for number in range(2 * len(KINDS))]
    (single,) = Search(1, seed=3).starts(program)
    torch.testing.assert_close(starts[0], single, rtol=0, atol=0)
    staying = torch.stack([s["transitions.probs"].diagonal() for s in starts])
    assert staying.min() < 0.5 and staying.max() > 0.95
    for start in starts:
        assert torch.isfinite(program.log_joint(start))


def test_given_starts_and_a_single_one_are_run_as_they_are():
    data, model = clear_data(), penalised()
    program = Program.of(penalised(), data).in_own_units()
    for options in ({"num_restarts": 1}, {"init": "kmeans"}, {"init": "random"}):
        options = {"num_restarts": 3, **options}
        fit = gh.fit(model, data, seed=5, **QUIET, **options)
        starts = Search(seed=5, **options).starts(program)
        runs = EM(tol=1e-7).run(program.model, program.data, starts)
        assert len(runs) == len(fit.restarts) == options["num_restarts"]
        for number, (run, restart) in enumerate(zip(runs, fit.restarts)):
            expected = np.array(run.log_joints) + program.units.log_joint
            # The best is led on to the mode itself, its last evaluation.
            found = restart.log_joints[: -1 if number == fit.best else None]
            np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert all(r.status is not gh.Status.PRUNED for r in fit.restarts)
        assert fit.rounds_without_gain == 0


def test_a_fit_is_a_start():
    data, model = clear_data(), penalised()
    first = gh.fit(model, data, num_restarts=1, num_iters=5, progress=False)
    again = gh.fit(model, data, num_restarts=1, init=first, **QUIET)
    by_values = gh.fit(model, data, num_restarts=1, init=first.params, **QUIET)
    assert again.restarts[0].log_joints[0] == pytest.approx(first.log_joint, abs=1e-9)
    assert again.log_joint == by_values.log_joint > first.log_joint


@pytest.mark.parametrize("init", [3, 2.5, [1, 2], np.zeros(2), ("glm",), True])
@pytest.mark.parametrize("own", [False, True])
def test_what_is_no_start_is_refused(init, own):
    model = two_animals if own else penalised()
    with pytest.raises(ValueError, match="init must be.* mapping.*or a fit, got"):
        gh.fit(model, clear_data(), init=init, progress=False)


def test_the_same_seed_gives_the_same_search_however_many_run_together(monkeypatch):
    model, data = gh.GLMHMM(3, gh.Gaussian()), three_levels()
    fits = []
    for width in (100, 3):
        monkeypatch.setattr(batches, "num_together", lambda *_, width=width: width)
        fits.append(gh.fit(model, data, num_restarts=6, seed=2, **QUIET))
    one, other = fits
    assert one.log_joint == pytest.approx(other.log_joint, abs=1e-6)
    assert [r.kind for r in one.restarts] == [r.kind for r in other.restarts]
    firsts = [[r.log_joints[0] for r in fit.restarts] for fit in fits]
    np.testing.assert_allclose(*firsts, rtol=1e-9)
    assert [s.starts for s in one.solutions] == [s.starts for s in other.solutions]


def test_a_search_on_sampled_sessions_ends_on_all_data(monkeypatch):
    model = gh.GLMHMM(2, gh.Bernoulli(prior=gh.priors.Ridge(2.0)))
    data = clear_data(lengths=(40,) * 9)
    whole = gh.fit(model, data, num_restarts=5, **QUIET)
    read = []

    def sampled(program, seed):
        part = find_sampled(program, seed)
        read.append(part.data.num_steps)
        return part

    find_sampled = easier_problem.on_sampled_sessions
    monkeypatch.setattr(easier_problem, "MOST_STEPS", 160)
    monkeypatch.setattr(easier_problem, "on_sampled_sessions", sampled)
    fit = gh.fit(model, data, num_restarts=5, **QUIET)
    assert read == [160]
    assert fit.log_joint == pytest.approx(whole.log_joint, abs=1e-4)
    program = Program.of(fit.model, data)
    assert fit.log_joint == pytest.approx(
        float(program.log_joint(fit.params)), abs=1e-8
    )
    assert fit.log_likelihood == pytest.approx(fit.score(data) * 360, abs=1e-8)
    for solution in fit.solutions:
        joint = float(program.log_joint(solution.params))
        assert solution.log_joint == pytest.approx(joint, abs=1e-8)
    # No start ends above the best, as one read on fewer steps would seem to.
    assert fit.num_starts == 5
    assert max(r.log_joints[-1] for r in fit.restarts) <= fit.log_joint + 1e-9


def test_sessions_with_parameters_of_their_own_are_not_sampled(monkeypatch):
    monkeypatch.setattr(easier_problem, "MOST_STEPS", 60)
    data, initial = clear_data(), gh.Initial(per_session=True)
    program = Program.of(gh.GLMHMM(2, gh.Bernoulli(), initial=initial), data)
    assert easier_problem.on_sampled_sessions(program, 0) is None
    shared = Program.of(gh.GLMHMM(2, gh.Bernoulli()), data)
    assert easier_problem.on_sampled_sessions(shared, 0).data.num_steps < 120


def test_starts_of_a_users_own_model_are_unlike_and_possible():
    program = Program.of(two_animals, [clear_data(), clear_data(seed=5)])
    starts = Search(9, seed=0).starts(program)
    plain = Search(9, init="random", seed=0).starts(program)
    torch.testing.assert_close(starts[0], plain[0], rtol=0, atol=0)
    spread = [torch.cat([v.flatten() for v in s.values()]).norm() for s in starts]
    usual = [torch.cat([v.flatten() for v in s.values()]).norm() for s in plain]
    assert spread[2] == pytest.approx(4 * usual[2])
    fit = gh.fit(two_animals, program.data, "map", num_restarts=3, progress=False)
    assert [restart.kind for restart in fit.restarts] == ["start"] * 3


def test_the_report_of_a_search_names_solutions_starts_and_kicks():
    fit = gh.fit(gh.GLMHMM(3, gh.Gaussian()), three_levels(), **QUIET)
    assert fit.num_starts == 10
    assert fit.log_joint == max(s.log_joint for s in fit.solutions)
    assert [r.kind for r in fit.restarts[:5]] == list(KINDS)
    placed = [start for s in fit.solutions for start in s.starts]
    assert len(placed) == len(set(placed)) <= 10
    pruned = [r for r in fit.restarts if r.status is gh.Status.PRUNED]
    assert pruned and all(r.status.sentence and r.status.advice for r in pruned)


def test_the_bar_says_what_is_under_way_and_how_long_is_left(capsys, monkeypatch):
    monkeypatch.setattr(progress_bar, "tqdm", partial(tqdm, mininterval=0, miniters=1))
    with pytest.warns(gh.ConvergenceWarning):
        fit = gh.fit(gh.GLMHMM(3, gh.Bernoulli()), alternating(), num_restarts=4)
    assert any(run.is_kick for run in fit.restarts)
    shown = capsys.readouterr().err
    # The last of them is that of convergence: no part is made in silence.
    parts = re.findall(r"EM, ([a-z]+(?: by [a-z]+)?)", shown)
    assert list(dict.fromkeys(parts)) == ["search by starts", "search by kicks", "fit"]
    # Elapsed and left, as of so many iterations.
    assert re.search(r"\d+/\d+ \[\d+:\d+<\d+:\d+, [\d.]+it/s, log_joint=", shown)


def test_iterations_left_are_those_until_rises_are_below_the_tolerance():
    shrinking = -100.0 - 50.0 * 0.8 ** np.arange(200)
    rises = np.diff(shrinking) / np.abs(shrinking[:-1])
    for done in (20, 40, 80):
        left = np.flatnonzero(rises < 1e-9)[0] - done
        found = iterations_left(shrinking[: done + 1].tolist(), 1e-9)
        assert found == pytest.approx(left, abs=1)
    assert iterations_left(shrinking[:3].tolist(), 1e-9) == np.inf
    assert iterations_left(np.arange(-100.0, -50.0).tolist(), 1e-9) == np.inf
    assert iterations_left([-5.0] * 40, 1e-9) == 1.0
    assert iterations_left(shrinking[:40].tolist(), 0.0) == np.inf
    hardly = np.cumsum([1.0] * 20 + [1.0 - 1e-15] * 20) - 1e3
    assert iterations_left(hardly.tolist(), 1e-9) > 1e6


def test_the_time_left_counts_the_pieces_to_come():
    bar = ProgressBar("EM", False)
    bar.enter("fit", EM(num_iters=1000, tol=1e-6), 10, 3, 0.0)
    totals = []
    for iteration in (0, 1, 2, 0):
        run = Run({}, log_joints=[-9.0, -8.0])
        bar(iteration, [run])
        totals.append(bar.bar.total - bar.bar.n - 1)
    # After the first of ten iterations of three pieces: 9 + 10 + 10 are left.
    assert totals == [29, 28, 27, 19]
