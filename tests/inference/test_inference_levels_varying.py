"""Weights that vary, on two levels: the sum over all paths, and what limits are."""

import matplotlib
import numpy as np
import pytest
import torch
from families import enumerated_log_joint, random_params
from level_cases import RIDGE, check_mode, short_sessions
from made_fits import made_fit
from pyro.distributions import Dirichlet, HalfNormal, Normal
from varying_cases import drifting, problem_of

import glmhmm_pyro as gh
from glmhmm_pyro.components import ByLevel, Levels, TwoLevels, TwoLevelsInitial, Varying
from glmhmm_pyro.inference.fits.given import fit_at
from glmhmm_pyro.inference.marginal.law_evidence import expand_at_units_mode, gradient
from glmhmm_pyro.inference.program.program import Program

matplotlib.use("Agg")

EXACT = {"rtol": 0, "atol": 1e-10}
LENGTHS, GROUPS = (3, 2, 1, 2), ("a", "a", "a", "b")
OBSERVED = (True, False, True, True, True, True, True, True)
TICKS = torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 1], dtype=torch.float64)
WALK = gh.priors.RandomWalk(0.5, start_scale=1.0)
POOLED = gh.priors.Ridge(0.5)
BY_SLOW = gh.priors.Hierarchical(HalfNormal(1.0), per=("slow",))
EVEN = Dirichlet(torch.full((2,), 2.0))


def short_data():
    """Sessions of a few steps in two groups, with a clock."""
    return short_sessions(LENGTHS, OBSERVED, TICKS, groups=GROUPS)


def emitting(law=WALK, over="session", level="fast", read=None, **moves):
    """Emissions whose weights vary."""
    family = Varying(gh.Bernoulli(covariates=read), over, law)
    return gh.GLMHMM(Levels(2, 2), ByLevel(family, over=level), TwoLevels(**moves))


def moving(slow=None, fast=None, law=WALK, over="session", constant=(), **options):
    """States of a level, or of both, whose moves vary."""
    parts = (p and Varying(p, over, law, constant) for p in (slow, fast))
    moves = TwoLevels(*parts, **options)
    return gh.GLMHMM(Levels(2, 2), gh.Bernoulli(), moves)


def beginning(law, over="session", family=gh.Initial, **options):
    """First states of both levels that vary."""
    first = TwoLevelsInitial(*(Varying(family(), over, law) for _ in range(2)))
    return gh.GLMHMM(Levels(2, 2), gh.Bernoulli(), TwoLevels(**options), first)


DRIVEN = gh.InputDriven(covariates=["satiety"])
MODELS = {
    "emissions": emitting(),
    "emissions by slow state and group": emitting(POOLED, "group", "slow"),
    "emissions of one column": emitting(read=["x1"]),
    "emissions across sessions": emitting(across_sessions=True),
    "emissions pooled over slow states": emitting(POOLED, "slow"),
    "emissions pooled across sessions": emitting("pooled", "slow", clock="session"),
    "emissions pooled in chains within chains": emitting(
        "pooled", "slow", entry=gh.Initial(), slow_depends_on_fast=True
    ),
    "moves": moving(gh.Stationary()),
    "driven moves": moving(DRIVEN, clock="poke"),
    "moves by group": moving(DRIVEN, law=POOLED, over="group", across_sessions=True),
    "moves across sessions": moving(gh.InputDriven(), across_sessions=True),
    "moves between sessions": moving(gh.Stationary(), clock="session"),
    "fast moves": moving(None, gh.InputDriven()),
    "fast moves by group": moving(None, DRIVEN, POOLED, "group", across_sessions=True),
    "fast moves with scales by slow state": moving(None, gh.Stationary(), BY_SLOW),
    "fast moves across sessions": moving(None, gh.Stationary(), across_sessions=True),
    "fast moves on their own": moving(None, gh.InputDriven(), None, clock="poke"),
    "moves of both levels": moving(gh.Stationary(), DRIVEN, None, clock="poke"),
    "moves by the fast state that is left": moving(
        DRIVEN, across_sessions=True, slow_depends_on_fast=True
    ),
    "fast moves of chains within chains": moving(
        None,
        gh.InputDriven(),
        across_sessions=True,
        entry=gh.Initial(),
        slow_depends_on_fast=True,
    ),
    "fast moves in common": moving(None, DRIVEN, fast_depends_on_slow=False),
    "first states": beginning("pooled"),
    "first states across sessions": beginning(POOLED, across_sessions=True),
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


def test_a_scale_by_slow_state_is_that_of_its_moves():
    model = moving(None, gh.InputDriven(), BY_SLOW)
    program = Program.of(model, short_data())
    params = random_params(program.model, program.data)
    name = "transitions.fast.weights"
    assert params[f"{name}_scale"].shape == (2,)
    with program.model.at(params):
        law = program.model.components["transitions.fast"].filled("weights")
    expected = 0.0
    for slow in range(2):
        mean, scale = params[f"{name}_mean"][slow], params[f"{name}_scale"][slow]
        moves = params[name][:, slow]
        expected += Normal(mean, scale).log_prob(moves).sum()
    torch.testing.assert_close(law.log_prob(params[name]), expected, **EXACT)


def weights_by_session(component, params, prefix, data):
    """Weights of all covariates of every session, those that do not vary included."""
    rows = component.rows(component.over, data)
    weights = params[f"{prefix}.weights"][rows]
    fixed = params.get(f"{prefix}.constant_weights")
    found = weights.new_zeros(*weights.shape[:-1], sum(map(len, component.places)))
    for values, places in zip((weights, fixed), component.places):
        if values is not None:
            found[..., places] = values
    return found


def three_by_session():
    """Models whose parts vary, with those parts alone, named as theirs."""
    columns = ["satiety", "reward"]
    for over, law, constant in (
        ("session", WALK, ()),
        ("group", "pooled", ["reward"]),
        ("session", None, ()),
    ):
        parts = [gh.InputDriven(covariates=columns) for _ in range(2)]
        first = [gh.InitialGLM() for _ in range(2)]
        vary = [Varying(part, over, law, constant) for part in parts]
        begin = [Varying(part, "session", POOLED) for part in first]
        yield [
            gh.GLMHMM(
                Levels(2, 3),
                gh.Bernoulli(),
                TwoLevels(*moves),
                TwoLevelsInitial(*firsts),
            )
            for moves, firsts in ((vary, begin), (parts, first))
        ]


@pytest.mark.parametrize("model, plain", [*three_by_session()])
def test_every_session_is_that_of_the_weights_of_its_unit(model, plain):
    first = torch.tensor([[0.5, 1.0], [-1.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    data = short_data().replace(initial_covariates=first.double())
    program = Program.of(model, data)
    params = random_params(program.model, data)
    hidden = program.model.hidden_markov_at(params, data)
    found = hidden.log_prob_per_session(data.emissions)
    own = {"emissions.weights": params["emissions.weights"]}
    by_session = {
        f"{prefix}.weights": weights_by_session(component, params, prefix, data)
        for prefix, component in program.components.items()
        if prefix != "emissions"
    }
    assert len(by_session) == 4
    for session, part in enumerate(data):
        plain.bind(part)
        at = own | {name: values[session] for name, values in by_session.items()}
        expected = plain.hidden_markov_at(at, part).log_prob(part.emissions)
        torch.testing.assert_close(found[session], expected, **EXACT)


def test_fast_moves_alike_in_slow_states_are_those_of_one_level():
    """Whatever slow states do, and whichever units there are."""
    data = short_data()
    fast = Varying(gh.InputDriven(), "group", "pooled", ["reward"])
    model = gh.GLMHMM(Levels(2, 3), gh.Bernoulli(), TwoLevels(fast=fast))
    flat = gh.GLMHMM(3, gh.Bernoulli(), fast)
    values = random_params(Program.of(flat, data).model, data)
    two = Program.of(model, data).model
    pairs = random_params(two, data)
    first = values["initial.probs"].repeat(2)
    pairs["initial.probs"] = first * torch.tensor([0.3, 0.7]).repeat_interleave(3)
    pairs["emissions.weights"] = values["emissions.weights"]
    for name in ("weights", "constant_weights"):
        value, axis = values[f"transitions.{name}"], name == "weights"
        pairs[f"transitions.fast.{name}"] = torch.stack([value, value], int(axis))
    flat.bind(data)
    found, expected = (
        one.hidden_markov_at(params, data).log_prob_per_session(data.emissions)
        for one, params in ((two, pairs), (flat, values))
    )
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("name", MODELS)
def test_states_are_renumbered_by_level(name):
    data = short_data()
    program = Program.of(MODELS[name], data)
    model, params = program.model, random_params(program.model, data)
    fit = made_fit(model, data, params)
    order = [3, 2, 1, 0]
    mine, theirs = (f.distribution(data) for f in (fit, fit.permuted(order)))
    torch.testing.assert_close(
        mine.smoothed_probs(data.emissions)[:, order],
        theirs.smoothed_probs(data.emissions),
        **EXACT,
    )


@pytest.mark.parametrize("level", ["slow", "fast"])
@pytest.mark.parametrize("across", [False, True])
def test_simulated_states_move_as_the_weights_of_their_session_say(across, level):
    """Weights of one session lead to state 1 of the level, those of the next to 0."""
    data = short_data()
    model = moving(**{level: gh.Stationary()}, across_sessions=across)
    model = Program.of(model, data).model
    params = random_params(model, data)
    towards = torch.tensor([1, 0, 1, 0])
    away = torch.tensor([[30.0], [-30.0]], dtype=torch.float64)[:, None]
    name = f"transitions.{level}.weights"
    signs = 2.0 * towards.reshape(4, *(1 for _ in params[name].shape[1:])) - 1
    params[name] = (signs * away).expand(params[name].shape)
    fit = fit_at(model, data, params, "by hand")
    inside = torch.ones(data.num_steps, dtype=torch.bool)
    is_slow = level == "slow"
    inside[model.transitions.first_steps(data) if is_slow else data.starts] = False
    expected = towards.repeat_interleave(data.lengths)[inside]
    again = {"x0": lambda past, rows: data.covariates[rows, 0]}
    for more in ({}, {"history": again}):
        _, path = fit.simulate(data, num_samples=20, **more)
        pairs = torch.tensor(path).reshape(20, -1)[:, inside]
        assert (model.levels.of(pairs, level) == expected).all()


def test_a_new_session_has_fast_moves_from_the_law():
    """Of a pooled law without a spread those of the mean; of units fitted their own."""
    data = short_data().replace(session_names=["1", "2", "3", "4"])
    law = gh.priors.Ridge(1e-7)
    model = Program.of(moving(fast=gh.Stationary(), law=law), data).model
    params = random_params(model, data)
    fit = fit_at(model, data, params, "by hand")
    later = data.replace(session_names=["w", "x", "y", "z"])
    mean = params["transitions.fast.weights_mean"]
    at_mean = params | {"transitions.fast.weights": mean.expand(4, *mean.shape)}
    expected = model.hidden_markov_at(at_mean, data).log_prob(data.emissions)
    steps = sum(OBSERVED)
    assert float(fit.score(later)) == pytest.approx(float(expected) / steps, abs=1e-6)
    own = model.hidden_markov_at(params, data).log_prob(data.emissions)
    assert float(fit.score(data)) == pytest.approx(float(own) / steps, abs=1e-9)
    assert abs(float(own) - float(expected)) > 0.01


def test_every_room_serves_fast_moves_that_vary(tmp_path):
    data = drifting(4, 20, groups=["a", "a", "b", "b"])
    fast = Varying(gh.InputDriven(), "group", "pooled", ["bias"])
    model = gh.GLMHMM(Levels(2, 2), gh.Bernoulli(), TwoLevels(fast=fast))
    model = Program.of(model, data).model
    params = random_params(model, data)
    fit = fit_at(model, data, params, "by hand")
    weights = fit.parameters["transitions.fast.weights"]
    ends = ("fast_origin", "fast_destination", "covariate")
    assert weights.dims == ("group", "slow", *ends)
    assert weights.group.values.tolist() == ["a", "b"]
    assert weights.covariate.values.tolist() == ["s"]
    scale = fit.parameters["transitions.fast.weights_scale"]
    assert scale.dims == ("slow", "fast_origin", "covariate")
    fixed = fit.parameters["transitions.fast.constant_weights"]
    assert fixed.shape == (2, 2, 2, 1)
    assert "weights by group, pooled" in model.explain()
    assert fit.decode(data).fast_probs.shape == (80, 2)
    fit.save(tmp_path / "fit.glmhmm")
    again = gh.load(tmp_path / "fit.glmhmm")
    assert float(again.score(data)) == float(fit.score(data))
    occupancy = gh.analysis.occupancy(fit, data, by="group")
    assert {"a", "b"} <= set(np.ravel(occupancy.reset_index().astype(str).values))
    curve = gh.analysis.response_curve(fit, data, "s")
    assert np.isfinite(curve["estimate"]).all()
    ax = gh.plotting.transitions(fit, data, level="fast", slow=1)
    assert "mean over 76 steps" in ax.get_xlabel()
    with pytest.raises(ValueError, match="data must be given to draw the fast"):
        gh.plotting.transitions(fit, level="fast")


def test_moves_that_no_law_links_end_where_map_begins():
    """Of both levels by unit; EM's M-steps are of every unit by itself."""
    data = drifting(4, 30, groups=["a", "a", "b", "b"])
    slow = Varying(gh.InputDriven(RIDGE), "group", None)
    fast = Varying(gh.InputDriven(RIDGE), "session", None)
    model = gh.GLMHMM(
        Levels(2, 2),
        gh.Bernoulli(RIDGE),
        TwoLevels(slow, fast),
        gh.Initial(Dirichlet(torch.full((4,), 2.0))),
    )
    fit = gh.fit(model, data, num_restarts=1, progress=False)
    steps = fit.model.components["transitions.fast"]
    assert steps.blocks == ("session", "slow", "origin") and steps.separates()
    check_mode(fit, data)


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
