"""The last steps of a fit: to where the gradient is rounding, and nowhere else."""

import pytest
import torch
from inference_cases import clear_data, penalised, two_animals

import glmhmm_pyro as gh
from glmhmm_pyro.inference.curvature import polish as polishing
from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.curvature.polish import polish
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.runs import Run
from glmhmm_pyro.optim import LBFGSOptions, value_and_grad
from glmhmm_pyro.priors import Hierarchical, Lasso

ONCE = {"num_restarts": 1, "progress": False}


def run_at(program, params, status=gh.Status.CONVERGED):
    """A run that ended at these values."""
    run = Run(params)
    with torch.no_grad():
        likelihood, prior = (float(part) for part in program.log_parts(params))
    run.record(likelihood, likelihood + prior, keep=False)
    run.status = status
    return run


def shared():
    return penalised("categorical", "shared"), clear_data("categorical")


def hierarchy():
    prior = Hierarchical(torch.distributions.LogNormal(0.0, 1.0), per="state")
    return gh.GLMHMM(2, gh.Gaussian(prior=prior)), clear_data("normal")


def animals():
    return two_animals, [clear_data(seed=seed) for seed in (0, 10)]


def alone():
    """A single session, whose first state is known: a probability of 1."""
    return gh.GLMHMM(2, gh.Bernoulli()), clear_data(lengths=(120,))


PROBLEMS = {
    "driven": lambda: (penalised(), clear_data()),
    "shared": shared,
    "hierarchy": hierarchy,
    "the user's": animals,
    "at a border": alone,
}


def distance(program, params):
    """Standard deviations to the mode, by the gradient and the exact curvature.

    Coordinates without information, which are at a border, are left out.
    """
    vector = program.packed(params)
    slope = value_and_grad(lambda v: program.log_density(v, jacobian=False))(vector)[1]
    matrix = -hessian(program, vector)
    inside = matrix.diagonal() > 1e-2
    matrix, slope = matrix[inside][:, inside], slope[inside]
    return float(slope @ torch.linalg.solve(matrix, slope)) ** 0.5


@pytest.mark.parametrize("method", ["em", "map"])
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_a_fit_ends_where_the_gradient_is_rounding(problem, method):
    model, data = problem()
    options = {"keep_weights": True} if method == "em" else {}
    fit = gh.fit(model, data, method, **options, **ONCE)
    assert fit.status is gh.Status.CONVERGED
    program = Program.of(model, data)
    assert distance(program, fit.params) < 1e-9
    history = fit.history["log_joint"]
    assert history.iloc[-1] == fit.log_joint == fit.restarts[0].log_joints[-1]
    assert history.diff().min() > -1e-9
    joint = float(program.log_joint(fit.params))
    assert joint == pytest.approx(fit.log_joint, rel=1e-12)
    for name, value in fit.solutions[0].params.items():
        assert torch.equal(value, fit.params[name])
        if method == "em":
            assert torch.equal(value, fit.weights[-1][name])
    assert len(fit.weights) == (len(history) if method == "em" else 0)


def test_what_is_at_a_border_stays_exactly_there():
    program = Program.of(*alone()).in_own_units()
    fit = gh.fit(*alone(), tol=1e-7, m_step=LBFGSOptions(), **ONCE)
    run = run_at(program, program.units.inward(fit.params))
    probs = torch.tensor([0.0, 1.0]).double()
    is_first = run.params["initial.probs"][0] > 0.5
    run.params["initial.probs"] = probs.flip(0) if is_first else probs
    before = run.params
    polish(program, [run])
    assert len(run.log_joints) == 2
    assert torch.equal(run.params["initial.probs"], before["initial.probs"])
    assert not torch.equal(run.params["emissions.weights"], before["emissions.weights"])


@pytest.fixture(scope="module")
def ended():
    """A program of penalised weights, and where EM ends in it by default."""
    program = Program.of(penalised(), clear_data())
    start = gh.fit(program.model, program.data, tol=1e-3, **ONCE).params
    (run,) = gh.EM().run(program.model, program.data, [start])
    return program.in_own_units(), program.in_own_units().units.inward(run.params)


MAXIMA = (gh.Status.CONVERGED, gh.Status.STALLED, gh.Status.MAX_ITERS)


@pytest.mark.parametrize("status", [s for s in gh.Status if s not in MAXIMA])
def test_only_what_has_ended_at_a_mode_is_led_on(ended, status):
    run = run_at(*ended, status)
    polish(ended[0], [run])
    assert len(run.log_joints) == 1 and run.status is status


def test_only_the_best_run_is_led_on_and_a_stalled_one_has_converged(ended):
    program, params = ended
    lower = {n: v + 0.01 if "weights" in n else v for n, v in params.items()}
    runs = [run_at(program, lower), run_at(program, params, gh.Status.STALLED)]
    runs[1].reasons = ("the M-step of emissions found nothing higher",)
    polish(program, runs)
    assert runs[1].reasons == ()
    assert [len(run.log_joints) for run in runs] == [1, 2]
    assert runs[1].status is gh.Status.CONVERGED
    assert runs[1].log_joints[1] > runs[1].log_joints[0]


@pytest.mark.parametrize("move, arrives", [(0.0, True), (0.01, False)])
def test_a_run_that_was_cut_short_has_converged_where_nothing_was_left_to_gain(
    ended, move, arrives
):
    program, params = ended
    short = {n: v + move if "weights" in n else v for n, v in params.items()}
    run = run_at(program, short, gh.Status.MAX_ITERS)
    polish(program, [run])
    assert (run.status is gh.Status.CONVERGED) is arrives
    assert len(run.log_joints) == 1 + arrives


@pytest.mark.parametrize("gain, asked", [(1.0, False), (1e-8, True), (0.0, True)])
def test_no_curvature_is_taken_of_a_run_cut_short_on_its_way(
    ended, gain, asked, monkeypatch
):
    taken = []
    monkeypatch.setattr(polishing, "_information", lambda *given: taken.append(given))
    run = run_at(*ended, gh.Status.MAX_ITERS)
    run.log_joints.insert(0, run.log_joints[0] - gain)
    polish(ended[0], [run])
    assert bool(taken) is asked and run.status is gh.Status.MAX_ITERS


def test_a_run_far_from_any_mode_stays_where_it_is(ended):
    program, params = ended
    far = {n: v + 1.0 if "weights" in n else v for n, v in params.items()}
    run = run_at(program, far)
    polish(program, [run])
    assert len(run.log_joints) == 1 and run.params is far


def test_weights_without_a_finite_maximum_are_not_led_on():
    """Each Newton step would take them one further, and the slope would shrink."""
    y = torch.cat([torch.zeros(40), torch.ones(40)]).long()
    program = Program.of(
        gh.GLMHMM(1, gh.Bernoulli()), gh.Sequences(y, y[:, None] - 0.5)
    )
    run = run_at(
        program,
        {
            "initial.probs": torch.ones(1).double(),
            "transitions.probs": torch.ones(1, 1).double(),
            "emissions.weights": torch.tensor([[30.0]]).double(),
        },
    )
    polish(program, [run])
    assert len(run.log_joints) == 1


def test_a_kink_is_no_mode_to_lead_a_run_to():
    data = clear_data()
    prior = Lasso(0.02)
    program = Program.of(gh.GLMHMM(1, gh.Bernoulli(prior=prior)), data).in_own_units()
    start = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, **ONCE).params
    (run,) = gh.EM().run(program.model, data, [program.units.inward(start)])
    assert run.params["emissions.weights"].abs().min() < 1e-3
    before = run.params
    polish(program, [run])
    assert run.params is before


def test_iterates_of_the_original_program_are_left_as_they_are():
    model, data = penalised(), clear_data()
    method = gh.EM(tol=1e-6, m_step=LBFGSOptions(max_iters=20))
    start = gh.fit(model, data, tol=1e-3, **ONCE)
    fit = gh.fit(model, data, method, init=start.params, **ONCE)
    bound = Program.of(model, data)
    (run,) = method.run(bound.model, bound.data, [start.params])
    assert fit.status is gh.Status.CONVERGED
    assert fit.history["log_joint"].tolist() == run.log_joints


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt, gh.Status.INTERRUPTED),
        (RuntimeError, gh.Status.CONVERGED),
        (ValueError, gh.Status.CONVERGED),
    ],
)
def test_the_run_is_kept_whatever_becomes_of_its_last_steps(
    ended, monkeypatch, error, status
):
    def fails(*args, **options):
        raise error

    monkeypatch.setattr(polishing, "newton_mode", fails)
    run = run_at(*ended)
    polish(ended[0], [run])
    assert run.status is status and run.params is ended[1]


@pytest.mark.parametrize("status", [gh.Status.STALLED, gh.Status.MAX_ITERS])
def test_laplace_has_converged_where_its_search_ended_at_the_mode(monkeypatch, status):
    search = gh.MAP.density_mode

    def ended_so(*args):
        return search(*args)[0], status

    monkeypatch.setattr(gh.MAP, "density_mode", ended_so)
    fit = gh.fit(penalised(), clear_data(), gh.Laplace(4), **ONCE)
    assert fit.status is gh.Status.CONVERGED


@pytest.mark.parametrize("problem", [PROBLEMS["driven"], shared], ids=["own", "shared"])
@pytest.mark.parametrize("much, unused", [(0, "_differences"), (10**9, "hessian")])
def test_a_curvature_is_exact_where_that_is_sooner_at_hand(
    problem, much, unused, monkeypatch
):
    def refused(*_):
        pytest.fail(f"{unused} was asked for")

    monkeypatch.setattr(polishing, "_MUCH", much)
    monkeypatch.setattr(polishing, unused, refused)
    model, data = problem()
    fit = gh.fit(model, data, "map", **ONCE)
    assert distance(Program.of(model, data), fit.params) < 1e-9


def test_a_curvature_that_differences_do_not_tell_is_exact(monkeypatch):
    """Two columns that hardly differ: one direction has a millionth of the other's."""
    data = clear_data()
    x = data.covariates[:, :1].double()
    near = x + 3e-4 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    data = data.replace(covariates=torch.cat([x, near], 1), covariate_names=None)
    model, asked = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1e3))), []

    def watched(*given):
        asked.append(given)
        return hessian(*given)

    monkeypatch.setattr(polishing, "hessian", watched)
    fit = gh.fit(model, data, "map", **ONCE)
    assert asked and distance(Program.of(model, data), fit.params) < 1e-9
