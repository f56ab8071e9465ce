"""Weights integrated out: against PsyTrack, dense algebra and quadrature."""

import numpy as np
import pytest
import torch
from families import random_params
from marginal_cases import CASES
from scipy.special import logsumexp
from varying_cases import drifting, problem_of, rat, sticking

import glmhmm_pyro as gh
from glmhmm_pyro.components import (
    Levels,
    TwoLevels,
    Varying,
)
from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.marginal import ascent
from glmhmm_pyro.inference.marginal.curvatures import ByUnit
from glmhmm_pyro.inference.marginal.law_evidence import (
    NoModeError,
    expand_at_units_mode,
    gradient,
    parameter_bends,
    positive_factor,
)
from glmhmm_pyro.inference.marginal.unit_layout import layout_of

Walk = gh.priors.RandomWalk


def quiet(model, data, method="map", **options):
    return gh.fit(model, data, method, progress=False, **options)


@pytest.mark.parametrize(
    "number, evidence", [(2000, -1324.2549727), (20_000, -12654.69983)]
)
def test_weights_over_steps_are_psytracks(shared, number, evidence):
    """The log-evidence that PsyTrack 2.0.2 has at these hyperparameters."""
    law = Walk(2.0**-4, start_scale=16.0, border_scale=2.0**-2)
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), "step", law))
    fit = quiet(model, rat(shared, number))
    assert fit.log_likelihood == pytest.approx(evidence, abs=1e-5)
    assert fit.params["emissions.weights"].shape == (number, 1, 6)
    assert fit.num_parameters == 0


def test_twelve_scales_are_learnt_from_the_rat(shared):
    law = Walk("learnt", 16.0, per=("covariate",), border_scale="learnt")
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), "step", law))
    names = ("emissions.weights_step_scale", "emissions.weights_border_scale")
    start = {name: np.full(6, size) for name, size in zip(names, (2.0**-6, 2.0**-2))}
    fit = quiet(model, rat(shared, 2000), init=start)
    assert fit.log_likelihood > -1276.95 and fit.num_parameters == 12
    said = "emissions.weights_step_scale of s2 runs to 0: the evidence is largest"
    assert any(note.startswith(said) for note in fit.notes)


@pytest.fixture(params=CASES)
def expansion(request):
    """A problem, parameters, and the units expanded there."""
    problem = problem_of(*CASES[request.param])
    v = 0.3 * torch.arange(1.0, problem.theta.size + 1).double().cos() - 0.5
    w = torch.arange(problem.number * problem.size).double().reshape(problem.number, -1)
    return problem, v, expand_at_units_mode(problem, v, w.sin() / 2)


def test_the_evidence_is_laplaces(expansion):
    """By all second derivatives of the log-joint at the mode, as a dense matrix."""
    problem, v, at = expansion
    program = problem.program
    with torch.no_grad():
        point = program.coordinates.pack(problem.params(at.w, v))
        joint = float(program.log_density(point, jacobian=False))
    place = torch.cat(
        [
            torch.arange(s.start, s.stop)
            for n, s in slices(problem)
            if n in problem.names
        ]
    )
    matrix = -hessian(program, point)[place][:, place]
    expected = (
        joint + (len(place) * np.log(2 * np.pi) - float(torch.logdet(matrix))) / 2
    )
    prior = float(problem.prior(v).log_density)
    assert at.evidence + prior == pytest.approx(expected, abs=1e-8)
    leaf = point.clone().requires_grad_()
    (slope,) = torch.autograd.grad(program.log_density(leaf, jacobian=False), leaf)
    assert slope[place].abs().max() < 1e-6


def test_slopes_by_tables_are_those_of_automatic_differentiation(expansion):
    problem, v, at = expansion
    by_unit = ByUnit(problem)
    found = by_unit.slopes(at.w, v)
    parts = problem.program.components.values()
    by_step = any(getattr(part, "over", None) == "step" for part in parts)
    has_tables = not by_step and not any(
        name.startswith("initial") for name in problem.names
    )
    assert (by_unit.direct is not None) == has_tables
    by_unit.direct = None
    for one, other in zip(found, by_unit.slopes(at.w, v)):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def slices(problem):
    return problem.program.coordinates.slices.items()


def test_its_gradient_is_that_of_differences(expansion):
    problem, v, at = expansion

    def height(point):
        found = expand_at_units_mode(problem, point, at.w)
        return found.evidence + float(found.prior.log_density)

    steps = 1e-4 * torch.eye(len(v)).double()
    differences = [(height(v + s) - height(v - s)) / 2e-4 for s in steps]
    found = gradient(problem, v, at)
    np.testing.assert_allclose(found, differences, rtol=1e-4, atol=1e-4)


def test_bends_by_parameters_are_those_of_the_highest_log_joint(expansion):
    """By second differences along one direction, the units' mode found anew."""
    problem, v, at = expansion

    def height(point):
        found = expand_at_units_mode(problem, point, at.w)
        half = float(found.factor.log_det) / 2
        return found.evidence + half + float(found.prior.log_density)

    along = torch.arange(1.0, len(v) + 1).double().sin()
    ends = (height(v + 1e-3 * sign * along) for sign in (1, -1))
    expected = (2 * height(v) - sum(ends)) / 1e-6
    found = along @ parameter_bends(problem, v, at) @ along
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_climb_goes_on_while_several_steps_together_rise(monkeypatch):
    """The first of them alone gains next to nothing here, and 0.5 nats come after."""
    data = sticking(20, 60, seed=3)
    family = Varying(gh.Bernoulli(gh.priors.Ridge(2.0)), "group", "pooled")
    fit = quiet(gh.GLMHMM(2, family), data, num_restarts=1)
    assert fit.status is gh.Status.CONVERGED
    problem = problem_of(fit.model, data)
    w, v = problem.packed(fit.params)
    further = ascent.Ascent(problem, most=100)
    further.visit(v, w)
    monkeypatch.setattr(ascent, "_ENOUGH_IF_DEAR", 1e-3)
    assert further.climb()
    assert further.best.height < fit.log_joint + 0.05


def test_two_states_over_days_are_the_dense_laplace(shared):
    """On 16 days, at numbers for all scales and a sticky matrix."""
    data = rat(shared, 5000)
    assert data.num_sessions == 16
    law = Walk(0.15, start_scale=4.0)
    fixed = gh.priors.Fixed([[0.95, 0.05], [0.05, 0.95]])
    first = gh.Initial(gh.priors.Fixed([0.5, 0.5]))
    model = gh.GLMHMM(2, Varying(gh.Bernoulli(), law=law), gh.Stationary(fixed), first)
    fit = quiet(model, data, num_restarts=2)
    program = problem_of(model, data).program
    point = program.coordinates.pack(fit.params)
    joint = float(program.log_density(point, jacobian=False))
    size = 16 * 12
    place = program.coordinates.slices["emissions.weights"]
    matrix = -hessian(program, point)[place, place]
    expected = joint + (size * np.log(2 * np.pi) - float(torch.logdet(matrix))) / 2
    assert fit.log_likelihood == pytest.approx(expected, abs=0.01)


def test_a_pooled_bias_is_integrated_as_quadrature_does():
    """Where a group has many trials Laplace's error is small: 0.01 nats for three."""
    data = drifting(3, 200, groups=["a", "b", "c"])
    data = data.replace(covariates=np.ones((600, 1)), covariate_names=["bias"])
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), "group", "pooled"))
    problem = problem_of(model, data)
    names = ["emissions.weights_mean", "emissions.weights_scale"]
    mean, scale = 0.3, 0.7
    values = {names[0]: torch.tensor([[mean]]), names[1]: torch.tensor([[scale]])}
    v = problem.theta.pack({n: x.double() for n, x in values.items()})
    found = expand_at_units_mode(problem, v, torch.zeros(3, 1).double()).evidence
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    odds, expected = mean + scale * nodes, 0.0
    for session in data:
        ones = float(session.emissions.sum())
        log = ones * odds - 200 * np.logaddexp(0, odds)
        expected += logsumexp(log, b=weights / weights.sum())
    assert found == pytest.approx(expected, abs=0.02)


def test_methods_agree_and_are_above_what_does_not_vary():
    data = drifting(6, 40)
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), law="walk"))
    fits = [quiet(model, data, method) for method in ("map", "em")]
    assert fits[0].log_likelihood == fits[1].log_likelihood
    problem = problem_of(model, data)
    v = problem.theta.pack(fits[0].params)
    least = expand_at_units_mode(
        problem, torch.full_like(v, -12.0), torch.zeros(6, 2).double()
    )
    assert fits[0].log_likelihood >= least.evidence
    # Where nothing moves, that is what is found, and said.
    still = drifting(6, 40, seed=2, step=(0.0, 0.0))
    fit = quiet(model, still)
    least = expand_at_units_mode(
        problem_of(model, still), torch.full_like(v, -12.0), torch.zeros(6, 2).double()
    )
    assert fit.log_likelihood >= least.evidence - 1e-3
    assert any("runs to 0" in note for note in fit.notes)


def test_steps_without_any_but_at_borders_are_sessions():
    """A walk over sessions is one over steps that stands still inside of them."""
    data = drifting(5, 30)
    by_session = quiet(gh.GLMHMM(1, Varying(gh.Bernoulli(), law=Walk(0.4))), data)
    law = Walk(1e-4, border_scale=0.4)
    by_step = quiet(gh.GLMHMM(1, Varying(gh.Bernoulli(), "step", law)), data)
    assert by_step.log_likelihood == pytest.approx(by_session.log_likelihood, abs=1e-5)


def test_a_law_as_wide_as_one_likes_leaves_units_alone():
    data = drifting(3, 80, step=(0.3, 0.1))
    wide = quiet(gh.GLMHMM(1, Varying(gh.Bernoulli(), law=Walk(1e3, 1e3))), data)
    for number, session in enumerate(data):
        alone = quiet(gh.GLMHMM(1, gh.Bernoulli()), session, num_restarts=1)
        found = wide.params["emissions.weights"][number]
        torch.testing.assert_close(
            found, alone.params["emissions.weights"], atol=1e-3, rtol=0
        )


@pytest.mark.parametrize("across", [False, True])
def test_groups_that_are_alike_are_those_without_a_law(across):
    """Of weights over sessions alone, others being at the mean of the groups."""
    groups = ["a", "a", "a", "b", "c", "c"]
    data, law = drifting(6, 30, groups=groups), Walk(0.5, start_scale=1.0)
    fast = Varying(gh.Stationary(), law=law)
    slow = Varying(gh.Stationary(), "group", gh.priors.Ridge(1e-5))
    parts = (slow, gh.Stationary())
    moves = (TwoLevels(part, fast, across_sessions=across) for part in parts)
    models = (gh.GLMHMM(Levels(2, 2), gh.Bernoulli(), move) for move in moves)
    vary, still = (problem_of(model, data) for model in models)
    params = random_params(still.program.model, data)
    probs = params["transitions.slow.probs"]
    odds = (probs / probs.diagonal()[:, None]).log()
    mean = torch.stack([odds[0, 1], odds[1, 0]]).reshape(2, 1, 1)
    params["transitions.slow.weights_mean"] = mean
    heights = []
    for problem in (vary, still):
        v = problem.theta.pack({name: params[name] for name in problem.theta.shapes})
        w = torch.zeros(problem.number, problem.size).double()
        heights.append(expand_at_units_mode(problem, v, w).evidence)
    assert heights[0] == pytest.approx(heights[1], abs=1e-6)


def test_weights_over_steps_are_integrated_out_alone():
    data = drifting(4, 20, groups=["a", "a", "b", "b"])
    over_steps = Varying(gh.Bernoulli(), "step", Walk(0.1))
    own = Varying(gh.Initial(), "group", gh.priors.Ridge())
    problem = problem_of(gh.GLMHMM(1, over_steps), data)
    laws = {"steps": problem.program.priors["emissions.weights"]}
    with pytest.raises(ValueError, match="latents over steps must be integrated out"):
        layout_of(laws | {"groups": own}, {"steps": "step", "groups": "group"}, data)


def test_starts_are_given_by_name():
    data = drifting(4, 20)
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), law="walk"))
    fit = quiet(model, data)
    again = quiet(model, data, init=fit)
    assert again.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-6)
    with pytest.raises(ValueError, match="init must name sites of the model"):
        quiet(model, data, init={"weights": 0.0})


def test_one_step_that_gains_little_ends_no_climb():
    rising = [0.0, 0.002, 0.004, 0.018, 0.04, 0.63, 0.631, 0.632, 0.633, 0.634]
    ends = [ascent.gained_little(rising[:n], 0.01) for n in range(1, 11)]
    assert ends == [False] * 10
    assert ascent.gained_little([*rising, 0.635], 0.01)


def test_second_derivatives_that_are_no_numbers_are_no_mode():
    """As those of nearly separated units are, whose predictors are in the hundreds."""
    lower, bends = torch.zeros(2, 2, 2).double(), torch.eye(2).double().expand(2, 2, 2)
    diag = torch.ones(2, 2).double()
    assert not positive_factor(diag, lower, 3 * bends)[1]
    with pytest.raises(NoModeError, match="no finite mode"):
        positive_factor(diag, lower, torch.nan * bends)
