"""Emissions pooled over slow states: evidence, limits, and a law found again."""

import warnings

import matplotlib
import numpy as np
import pytest
import torch
from families import hidden_markov
from level_cases import RIDGE, UNFINISHED
from pooled_cases import pooled, short_data
from pyro.distributions import HalfNormal
from varying_cases import problem_of

import glmhmm_pyro as gh
from glmhmm_pyro.components import (
    ByLevel,
    Levels,
    TwoLevels,
    TwoLevelsInitial,
    Varying,
)
from glmhmm_pyro.inference.fits.given import fit_at
from glmhmm_pyro.inference.marginal.law_evidence import (
    NoModeError,
    expand_at_units_mode,
    gradient,
)

matplotlib.use("Agg")

LEARNT = gh.priors.Hierarchical(HalfNormal(1.0), per=("covariate",))


def engaged(steps=1200, seed=2, sessions=12):
    """Two strategies, of which one scales down where a slow state is disengaged."""
    rng = np.random.default_rng(seed)
    weights = np.array([[[3.5, 0.3], [0.5, -2.5]], [[1.0, -0.3], [0.2, -0.5]]])
    x = np.stack([rng.normal(size=steps), np.ones(steps)], 1)
    states, y = [0, 0], []
    for t in range(steps):
        leaves = (0.01, 0.04)
        for level in range(2):
            states[level] ^= int(rng.random() < leaves[level])
        odds = weights[states[0], states[1]] @ x[t]
        y.append(int(rng.random() < 1 / (1 + np.exp(-odds))))
    return gh.Sequences(
        y, x, lengths=[steps // sessions] * sessions, covariate_names=["s", "bias"]
    )


MODELS = {
    "known": pooled(gh.priors.Ridge(0.6)),
    "learnt": pooled(LEARNT),
    "beside constants": pooled(LEARNT, ["x1"]),
    "across sessions": pooled(LEARNT, across_sessions=True),
    "by the clock": pooled(LEARNT, clock="poke"),
}


@pytest.fixture(params=MODELS)
def expansion(request):
    problem = problem_of(MODELS[request.param], short_data())
    v = 0.3 * torch.arange(1.0, problem.theta.size + 1).double().cos() - 0.5
    w = torch.arange(problem.size).double().sin()[None] / 2
    return problem, v, expand_at_units_mode(problem, v, w)


def test_the_evidence_is_a_dense_laplaces(expansion):
    """Of all pairs' weights at their mode, those of different slow states included."""
    problem, v, at = expansion
    program, name = problem.program, "emissions.weights"
    mode = problem.params(at.w, v)

    def joint(weights):
        params = mode | {name: weights}
        return sum(program.log_parts(params))

    slope = torch.autograd.functional.jacobian(joint, mode[name])
    assert slope.abs().max() < 1e-6
    bends = torch.autograd.functional.hessian(joint, mode[name])
    size = mode[name].numel()
    log_det = torch.logdet(-bends.reshape(size, size))
    expected = float(joint(mode[name])) + size * np.log(2 * np.pi) / 2 - log_det / 2
    found = at.evidence + float(problem.prior(v).log_density)
    assert found == pytest.approx(float(expected), abs=1e-8)
    between = bends.reshape(2, size // 2, 2, size // 2)[0, :, 1]
    assert between.abs().max() > 1e-3


def test_its_gradient_is_that_of_differences(expansion):
    problem, v, at = expansion

    def height(point):
        found = expand_at_units_mode(problem, torch.as_tensor(point), at.w)
        return found.evidence + float(found.prior.log_density)

    steps = 1e-4 * torch.eye(len(v)).double()
    differences = [(height(v + s) - height(v - s)) / 2e-4 for s in steps]
    np.testing.assert_allclose(
        gradient(problem, v, at), differences, rtol=1e-4, atol=1e-4
    )


def fitted(model, data, method="map", **options):
    options = {"num_restarts": 1, "progress": False} | options
    return gh.fit(model, data, method, **options)


def values_of(fit):
    return {name: value.numpy() for name, value in fit.params.items()}


# Where slow states and fast ones of ``engaged`` are what they are drawn as.
TRUE = {
    "initial.slow.probs": [0.7, 0.3],
    "initial.fast.probs": [[0.5, 0.5]] * 2,
    "transitions.slow.probs": [[0.99, 0.01], [0.01, 0.99]],
    "transitions.fast.probs": [[[0.96, 0.04], [0.04, 0.96]]] * 2,
    "emissions.weights_mean": [[2.0, 0.0], [0.4, -1.5]],
    "emissions.weights": [[[3.5, 0.3], [0.5, -2.5]], [[1.0, -0.3], [0.2, -0.5]]],
}
AT = {name: torch.tensor(value, dtype=torch.float64) for name, value in TRUE.items()}
BIASES = TRUE | {
    "transitions.fast.probs": TRUE["transitions.fast.probs"][0],
    "emissions.weights_mean": [[0.0], [-1.5]],
    "emissions.weights_scale": [0.8],
    "emissions.weights": [[[0.3], [-2.5]], [[-0.3], [-0.5]]],
    "emissions.constant_weights": [[2.0], [0.4]],
}
MOVES = [name for name in TRUE if not name.startswith("emissions")]


def test_without_a_scale_emissions_are_those_of_fast_states():
    data = engaged(400, sessions=4)
    problem = problem_of(pooled(gh.priors.Ridge(1e-6)), data)
    at = expand_at_units_mode(problem, *problem.packed(AT)[::-1])
    shared = gh.GLMHMM(Levels(2, 2), gh.Bernoulli(), TwoLevels(), TwoLevelsInitial())
    shared.bind(data)
    values = {name: AT[name] for name in MOVES}
    values["emissions.weights"] = AT["emissions.weights_mean"]
    expected = hidden_markov(shared, data, values).log_prob(data.emissions)
    assert at.evidence == pytest.approx(float(expected), abs=1e-6)


def test_with_a_large_scale_emissions_are_those_of_pairs():
    """Under a flat prior, moves being held."""
    data = engaged(400, sessions=4)
    problem = problem_of(pooled(gh.priors.Ridge(1e4)), data)
    at = expand_at_units_mode(problem, *problem.packed(AT)[::-1])
    found = problem.latents(at.w)["emissions.weights"]
    held = {name: gh.priors.Fixed(TRUE[name]) for name in MOVES}
    by_pair = gh.GLMHMM(
        Levels(2, 2),
        ByLevel(gh.Bernoulli(), over="both"),
        TwoLevels(*(gh.Stationary(held[name]) for name in MOVES[2:])),
        TwoLevelsInitial(*(gh.Initial(held[name]) for name in MOVES[:2])),
    )
    start = {name: TRUE[name] for name in MOVES}
    start["emissions.weights"] = AT["emissions.weights"].flatten(0, 1).numpy()
    fit = fitted(by_pair, data, gh.EM(), init=start)
    expected = fit.params["emissions.weights"].unflatten(0, (2, 2))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def found():
    """A fit of data in which the weights alone tell slow states apart, and these."""
    data = engaged()
    model = pooled("pooled", fast_depends_on_slow=False)
    return fitted(model, data, "em"), data


def test_a_fit_is_where_map_ends_and_above_what_does_not_vary(found):
    fit, data = found
    assert fit.status is gh.Status.CONVERGED
    again = fitted(fit.model, data, "map", init=values_of(fit))
    assert again.log_joint == pytest.approx(fit.log_joint, abs=0.05)
    moves = fit.model.transitions, fit.model.initial
    shared = gh.GLMHMM(Levels(2, 2), gh.Bernoulli(RIDGE), *moves)
    assert fit.log_joint > fitted(shared, data).log_joint + 2
    assert fit.num_parameters == 1 + 2 + 2 + 2 + 4 + 2


def four_contexts(seed=0, steps=2400, length=100, scale=0.6):
    """Choices by three weights and more, which four slow states have for themselves."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(steps, 4))
    mean = np.stack([2 * np.cos(np.arange(4)), -2 * np.cos(np.arange(4))])
    weights = mean + scale * rng.normal(size=(4, 2, 4))
    y, fast = [], 0
    for t in range(steps):
        fast ^= int(rng.random() < 0.05)
        odds = weights[t // length % 4, fast] @ x[t]
        y.append(int(rng.random() < 1 / (1 + np.exp(-odds))))
    return gh.Sequences(y, x, lengths=[length] * (steps // length)), mean, weights


def test_a_spread_is_found_within_a_tenth():
    """That of the weights drawn around the means of four slow states.

    As of all maxima, it is this and not the law's, which is sqrt(4 / 3) of it.
    """
    data, mean, weights = four_contexts()
    fixed, even = gh.priors.Fixed, np.full((4, 4), 0.25)
    stays = np.array([[0.95, 0.05], [0.05, 0.95]])
    moves = TwoLevels(
        gh.Stationary(fixed(even)),
        gh.Stationary(fixed(stays)),
        clock="session",
        fast_depends_on_slow=False,
    )
    first = TwoLevelsInitial(
        gh.Initial(fixed(even[0])), gh.Initial(fixed(np.full((4, 2), 0.5)))
    )
    law = gh.priors.Hierarchical("learnt", per=())
    family = Varying(gh.Bernoulli(), "slow", law)
    model = gh.GLMHMM(Levels(4, 2), family, moves, first)
    start = {
        "initial.slow.probs": even[0],
        "initial.fast.probs": np.full((4, 2), 0.5),
        "transitions.slow.probs": even,
        "transitions.fast.probs": stays,
        "emissions.weights_mean": mean,
        "emissions.weights_scale": np.array(1.0),
        "emissions.weights": weights,
    }
    fit = fitted(model, data, init=start)
    assert fit.status is gh.Status.CONVERGED
    found = float(fit.params["emissions.weights_scale"])
    spread = np.sqrt(((weights - weights.mean(0)) ** 2).mean())
    assert found == pytest.approx(spread, rel=0.1)
    assert np.abs(fit.params["emissions.weights"].numpy() - weights).mean() < 0.3


def test_every_room_serves_pooled_emissions(found, tmp_path):
    fit, data = found
    fit = fit.ordered("s", level="fast", descending=True)
    fit = fit.ordered("bias", level="slow", descending=False)
    mean = fit.parameters["emissions.weights_mean"]
    assert mean.sel(covariate="s").values.tolist() == sorted(mean[:, 0], reverse=True)
    weights = fit.parameters["emissions.weights"]
    assert weights.dims == ("slow", "fast", "covariate")
    biases = weights.sel(covariate="bias").mean("fast").values
    assert biases[0] < biases[1]
    assert fit.parameters["emissions.weights_scale"].dims == ("covariate",)
    assert fit.log_prob(data) == pytest.approx(found[0].log_prob(data), abs=1e-8)
    fit.save(tmp_path / "fit.glmhmm")
    again = gh.load(tmp_path / "fit.glmhmm")
    assert float(again.score(data)) == float(fit.score(data))
    assert repr(again.model.emissions) == repr(fit.model.emissions)
    assert fit.decode(data).slow_probs.shape == (1200, 2)
    assert "free-levels" not in fit.check(data).codes
    assert "idle-level" not in gh.check(fit.model, data).codes
    rows = fit.summary().query("parameter == 'emissions.weights'")
    assert len(rows) == 8 and set(rows["slow"]) == {0, 1}
    for picture in (gh.plotting.weights, gh.plotting.overview):
        picture(fit, data)
    matplotlib.pyplot.close("all")


def test_choices_are_drawn_by_the_weights_of_their_pair(found):
    fit, data = found
    certain = torch.tensor([[-40.0, -40.0], [40.0, -40.0]], dtype=torch.float64)
    weights = torch.stack([torch.zeros(2, 2).double(), certain], -1)
    params = fit.params | {"emissions.weights": weights}
    drawn, pairs = fit_at(fit.model, data, params, "by hand").simulate(data)
    levels = fit.model.levels
    slow, fast = (levels.of(torch.tensor(pairs), level) for level in ("slow", "fast"))
    assert {*slow.flatten().tolist()} == {*fast.flatten().tolist()} == {0, 1}
    assert (drawn.emissions == (slow > fast).flatten()).all()


@UNFINISHED
@pytest.mark.parametrize(
    "method",
    [
        gh.Laplace(num_samples=20),
        gh.SVI(num_steps=20, num_samples=20),
        gh.NUTS(num_samples=20, num_warmup=4, num_chains=1, max_tree_depth=2),
    ],
    ids=lambda method: method.name,
)
def test_methods_of_draws_have_some_of_all_pairs(method):
    data = short_data()
    model = pooled(LEARNT, ["x1"], fast_depends_on_slow=False)
    fit = fitted(model, data, method, init=BIASES)
    draws = fit.posterior.draws["emissions.weights"]
    assert draws.shape == (1, 20, 2, 2, 1)
    assert (draws.std(1) > 0.01).all()
    assert np.isfinite(float(fit.score(data)))


def test_other_data_have_the_same_weights(found):
    """Slow states are the same in all of them, and nothing is drawn anew."""
    fit, _ = found
    other = engaged(200, seed=5, sessions=2).replace(session_names=["a", "b"])
    hidden = fit.model.hidden_markov_at(fit.params, other)
    expected = float(hidden.log_prob(other.emissions)) / 200
    assert float(fit.score(other)) == pytest.approx(expected, abs=1e-12)
    online = fit.online()
    online.start()
    predicted = np.array(fit.predict(other))[:3]
    for row, y, expected in zip(other.covariates, other.emissions, predicted):
        np.testing.assert_allclose(online.predict(row).emissions, expected)
        online.update(row, y)


def test_slow_states_that_are_alike_are_at_a_saddle_which_a_start_leaves():
    """Where weights alone tell them apart, symmetry holds Newton's steps there."""
    data = engaged(600, sessions=6)
    model = pooled(gh.priors.Ridge(1.0), fast_depends_on_slow=False)
    problem = problem_of(model, data)
    one = {"transitions.fast.probs": AT["transitions.fast.probs"][0]}
    alike = AT["emissions.weights_mean"].expand(2, 2, 2)
    even = torch.full((2,), 0.5).double()
    firsts = {"initial.slow.probs": even}
    w, v = problem.packed(AT | one | firsts | {"emissions.weights": alike})
    with pytest.raises(NoModeError):
        expand_at_units_mode(problem, v, w)
    at = expand_at_units_mode(problem, v, w, leaves_saddles=True)
    slow = problem.latents(at.w)["emissions.weights"]
    assert (slow[0] - slow[1]).abs().max() > 1
    _, slope, bends = problem.curvature.hessian(at.w, v)
    assert (slope + at.prior.slope(at.w)).abs().max() < 1e-6
    bent = torch.diag_embed(at.prior.precision()[0]) - bends
    assert (torch.linalg.eigvalsh(bent) > 0).all()


def test_sandwiches_are_refused_of_pooled_emissions(found):
    fit, data = found
    with pytest.raises(ValueError, match="where emissions.weights follow a law"):
        fit.standard_errors(data, robust="session")


def test_a_climb_that_is_said_to_have_converged_gains_nothing_from_there():
    """The evidence rises slowly, then faster; to see it takes two whole climbs."""
    rng = np.random.default_rng(0)
    x = np.column_stack([1 + 3 * rng.normal(size=60), rng.normal(size=60), np.ones(60)])
    rng.standard_t(3, size=60), rng.poisson(3, size=60)
    data = gh.Sequences(rng.gamma(2.0, size=60), x, lengths=[30, 1, 29])
    family = gh.components.Gamma(gh.priors.Ridge(1.0))
    model = gh.GLMHMM(Levels(2, 2), Varying(family, "slow", gh.priors.Ridge(1.0)))
    options = {"num_restarts": 1, "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gh.ConvergenceWarning)
        fit = gh.fit(model, data, seed=1, **options)
        again = gh.fit(model, data, init=fit.params, **options)
    gained = again.log_joint - fit.log_joint
    assert gained < 0.02 or fit.status is not gh.Status.CONVERGED
