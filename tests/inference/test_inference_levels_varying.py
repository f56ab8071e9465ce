"""Weights that vary, on two levels: the sum over all paths, and what limits are."""

import pytest
import torch
from families import enumerated_log_joint, random_params
from level_cases import short_sessions
from pyro.distributions import Dirichlet
from varying_cases import drifting, problem_of

import glmhmm_pyro as gh
from glmhmm_pyro.components import ByLevel, Levels, TwoLevels, TwoLevelsInitial, Varying
from glmhmm_pyro.inference.fits.given import fit_at
from glmhmm_pyro.inference.marginal.law_evidence import expand_at_units_mode, gradient
from glmhmm_pyro.inference.program.program import Program

EXACT = {"rtol": 0, "atol": 1e-10}
LENGTHS, GROUPS = (3, 2, 1, 2), ("a", "a", "a", "b")
OBSERVED = (True, False, True, True, True, True, True, True)
TICKS = torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 1], dtype=torch.float64)
WALK = gh.priors.RandomWalk(0.5, start_scale=1.0)
POOLED = gh.priors.Ridge(0.5)
EVEN = Dirichlet(torch.full((2,), 2.0))


def short_data():
    """Sessions of a few steps in two groups, with a clock."""
    return short_sessions(LENGTHS, OBSERVED, TICKS, groups=GROUPS)


def emitting(law=WALK, over="session", level="fast", read=None, **moves):
    """Emissions whose weights vary."""
    family = Varying(gh.Bernoulli(covariates=read), over, law)
    return gh.GLMHMM(Levels(2, 2), ByLevel(family, over=level), TwoLevels(**moves))


def moving(slow, law=WALK, over="session", **moves):
    """Slow states whose moves vary."""
    moves = TwoLevels(Varying(slow, over, law), gh.InputDriven(), **moves)
    return gh.GLMHMM(Levels(2, 2), gh.Bernoulli(), moves)


DRIVEN = gh.InputDriven(covariates=["satiety"])
MODELS = {
    "emissions": emitting(),
    "emissions by slow state and group": emitting(POOLED, "group", "slow"),
    "emissions of one column": emitting(read=["x1"]),
    "emissions across sessions": emitting(across_sessions=True),
    "moves": moving(gh.Stationary()),
    "driven moves": moving(DRIVEN, clock="poke"),
    "moves by group": moving(DRIVEN, POOLED, "group", across_sessions=True),
    "moves across sessions": moving(gh.InputDriven(), across_sessions=True),
    "moves between sessions": moving(gh.Stationary(), clock="session"),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_density_and_its_slope_are_those_of_all_paths(name):
    data = short_data()
    program = Program.of(MODELS[name], data)
    params = random_params(program.model, program.data)
    vector = program.coordinates.pack(params).requires_grad_()
    values = program.coordinates.unpack(vector)
    found = program.log_density(vector, jacobian=False)
    expected = enumerated_log_joint(program.model, program.data, values)
    torch.testing.assert_close(found, expected, **EXACT)
    slopes = (torch.autograd.grad(total, vector)[0] for total in (found, expected))
    torch.testing.assert_close(*slopes, **EXACT)


@pytest.mark.parametrize("name", MODELS)
def test_units_that_are_alike_are_the_model_without_them(name):
    data = short_data()
    program = Program.of(MODELS[name], data)
    model = program.model
    parts = model.emissions, model.transitions, model.initial
    plain = Program.of(
        gh.GLMHMM(model.levels, *(part.nested() for part in parts)), data
    )
    values = random_params(plain.model, plain.data)
    alike = {}
    for prefix, component in program.components.items():
        own = {
            n.removeprefix(f"{prefix}."): v
            for n, v in values.items()
            if n.startswith(f"{prefix}.")
        }
        spread = component.spread_out(own)
        alike |= {f"{prefix}.{n}": v for n, v in spread.items()}
    found, expected = (
        one.model.hidden_markov_at(params, one.data).log_prob(one.data.emissions)
        for one, params in ((program, alike), (plain, values))
    )
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("across", [False, True])
def test_simulated_slow_states_move_as_the_weights_of_their_session_say(across):
    """Weights of one session lead to slow state 1, those of the next to 0."""
    data = short_data()
    model = moving(gh.Stationary(), across_sessions=across)
    model = Program.of(model, data).model
    params = random_params(model, data)
    towards = torch.tensor([1, 0, 1, 0])
    away = torch.tensor([[30.0], [-30.0]], dtype=torch.float64)[:, None]
    signs = 2.0 * towards[:, None, None, None] - 1
    params["transitions.slow.weights"] = signs * away
    fit = fit_at(model, data, params, "by hand")
    inside = torch.ones(data.num_steps, dtype=torch.bool)
    inside[model.transitions.first_steps(data)] = False
    expected = towards.repeat_interleave(data.lengths)[inside]
    again = {"x0": lambda past, rows: data.covariates[rows, 0]}
    for more in ({}, {"history": again}):
        _, path = fit.simulate(data, num_samples=20, **more)
        slow = torch.tensor(path).reshape(20, -1)[:, inside] // 2
        assert (slow == expected).all()


def test_a_fit_across_sessions_ends_where_the_evidence_is_level():
    data = drifting(5, 30, groups=["a", "a", "a", "b", "b"])
    law = gh.priors.Ridge(0.5)
    slow = Varying(gh.InputDriven(gh.priors.Ridge(1.0)), law=law)
    moves = TwoLevels(slow, gh.Stationary(EVEN), across_sessions=True)
    first = TwoLevelsInitial(gh.Initial(EVEN), gh.Initial(EVEN))
    model = gh.GLMHMM(Levels(2, 2), gh.Bernoulli(gh.priors.Ridge(1.0)), moves, first)
    fit = gh.fit(model, data, num_restarts=1, progress=False)
    assert fit.status is gh.Status.CONVERGED
    problem = problem_of(fit.model, data)
    w, v = problem.packed(fit.params)
    at = expand_at_units_mode(problem, v, w)
    assert at.evidence == pytest.approx(fit.log_likelihood, abs=1e-6)
    assert gradient(problem, v, at).abs().max() < 1e-2
    assert fit.decode(data).smoothed_probs.shape == (150, 4)
