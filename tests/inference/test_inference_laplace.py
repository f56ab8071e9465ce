"""Laplace: closed forms of conjugate models, diagnosis, and where it has no draws."""

import math
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from arviz_faces import IS_TREE, pareto_shape
from families import normals, seeded_generator
from inference_cases import RIDGE, clear_data, penalised
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference.draws.importance import pareto_k
from glmhmm_pyro.inference.fits.restored import in_users_units
from glmhmm_pyro.inference.mode.map import MAP
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.search import Search

ONCE = {"num_restarts": 1, "progress": False}

# Draws that are too few to be judged, for tests that are not about how good they are.
FEW = 90


class UnitNormal(gh.GLMEmission):
    """A linear regression whose noise is known."""

    def distribution(self, predictor):
        return dist.Normal(predictor, 1.0, validate_args=False)


def regression_data(steps=50):
    x = torch.stack([normals(steps, seed=1), torch.ones(steps).double()], 1)
    y = x @ torch.tensor([1.0, -0.5]).double() + normals(steps, seed=2)
    return gh.Sequences(y, x)


def test_a_linear_regression_has_its_closed_form():
    """A posterior that is normal is found exactly: all weights are the evidence."""
    data, spread = regression_data(), 2.0
    model = gh.GLMHMM(1, UnitNormal(prior=Normal(0.0, spread)))
    fit = gh.fit(model, data, gh.Laplace(4000), **ONCE)
    x, y = data.covariates, data.emissions
    covariance = (x.T @ x + torch.eye(2) / spread**2).inverse()
    draws = fit.posterior.draws["emissions.weights"]
    assert draws.shape == (1, 4000, 1, 2) and fit.status is gh.Status.CONVERGED
    marginal = spread**2 * x @ x.T + torch.eye(len(y))
    evidence = dist.MultivariateNormal(torch.zeros_like(y), marginal).log_prob(y)
    log_weight = fit.posterior.stats["log_weight"]
    np.testing.assert_allclose(log_weight, evidence.expand(1, 4000), rtol=1e-8)
    # Whitened, one of 5 statistics is 7 standard errors away once in 8e10; with a
    # spread that is 15 % off, those of squares are 14 away.
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(
        root, (draws[0, :, 0] - covariance @ x.T @ y).T, upper=False
    )
    assert white.mean(1).abs().max() < 7 / 4000**0.5
    moments = white @ white.T / 4000 - torch.eye(2)
    assert moments.abs().max() < 7 * (2 / 4000) ** 0.5
    mean = fit.params["emissions.weights"]
    torch.testing.assert_close(mean, draws.mean((0, 1)))
    likelihood = dist.Normal(x @ mean[0], 1.0).log_prob(y).sum().item()
    assert fit.log_likelihood == pytest.approx(likelihood)
    prior = dist.Normal(0.0, spread).log_prob(mean).sum().item()
    assert fit.log_joint == pytest.approx(likelihood + prior)


class Seen(gh.Emission):
    """An emission that tells the state: 10 times its number, with little noise."""

    batched = True

    def forward(self, state, covariates):
        return dist.Normal(10.0 * state + 0.0 * covariates[..., 0], 0.1)


def seen_chain(steps=120, states=3):
    """A chain whose states are known, and its counts of moves."""
    path = torch.randint(states, (steps,), generator=seeded_generator(3))
    counts = torch.zeros(states, states, dtype=torch.float64)
    for before, after in zip(path[:-1], path[1:]):
        counts[before, after] += 1
    return gh.Sequences(10.0 * path.double(), torch.ones(steps, 1)), path, counts


# Whether draws are good is not what a test is about whose posterior is so skewed that
# the Pareto shape of one set of draws is anywhere from .5 to 1.
ANY_SHAPE = pytest.mark.filterwarnings("ignore:the draws are far from the posterior")


@ANY_SHAPE
def test_a_chain_of_known_states_has_its_closed_form():
    """Draws and their weights, one by one: no part of it is left to chance.

    A broken stick of a Dirichlet consists of independent Betas; one of Beta(a, b) has
    its mode in log-odds at log(a / b), with information a b / (a + b). The joint
    density is that of Dirichlet-multinomial rows, of known noise, and of a first state
    under a flat prior, whose density is 1 all over the simplex, which has the area
    1 / 2.
    """
    data, path, counts = seen_chain()
    model = gh.GLMHMM(3, Seen(), gh.Stationary(prior=Dirichlet(torch.full((3,), 2.0))))
    fit = gh.fit(model, data, gh.Laplace(200, tol=1e-6), **ONCE)
    first = torch.ones(1, 3).double()
    first[0, path[0]] = 2.0
    alpha = torch.cat([first, counts + 2.0])
    probs = [fit.posterior.draws["initial.probs"][0, :, None]]
    probs = torch.cat([*probs, fit.posterior.draws["transitions.probs"][0]], 1)
    sticks, volume = [], torch.zeros(200).double()
    for k in range(2):
        a, b = alpha[:, k], alpha[:, k + 1 :].sum(-1)
        rest = probs[..., k + 1 :].sum(-1)
        odds = (probs[..., k] / rest).log()
        sticks.append((odds - (a / b).log()) / (1 / a + 1 / b).sqrt())
        volume += (probs[..., k] * rest / (probs[..., k] + rest)).log().sum(-1)
        volume += (1 / a + 1 / b).log().sum() / 2
    white = torch.stack(sticks, -1).flatten(1)
    noise = torch.randn(200, 8, generator=seeded_generator(0), dtype=torch.float64)
    torch.testing.assert_close(white, noise, rtol=0, atol=1e-9)
    joint = dist.Dirichlet(alpha).log_prob(probs).sum(-1)
    joint += float((_log_beta(alpha) - _log_beta(torch.full((3,), 2.0)))[1:].sum())
    joint += math.log(1 / 6) - 120 * math.log(0.1 * math.sqrt(2 * math.pi))
    weights = joint + volume - dist.Normal(0.0, 1.0).log_prob(white).sum(-1)
    found = torch.as_tensor(fit.posterior.stats["log_weight"][0])
    torch.testing.assert_close(found, weights, rtol=1e-9, atol=0)


def _log_beta(alpha):
    alpha = alpha.double()
    return torch.lgamma(alpha).sum(-1) - torch.lgamma(alpha.sum(-1))


@ANY_SHAPE
def test_the_mode_includes_the_jacobian_and_that_of_map_does_not():
    """A flat prior on the first state: its mode is at the border, not in log-odds.

    The median of 2000 draws, whose log-odds are about 0 with an sd of 1.2, is above .7
    once in 1e100; without the Jacobian it is 1.
    """
    data, path, _ = seen_chain()
    model = gh.GLMHMM(3, Seen(), gh.Stationary(prior=Dirichlet(torch.full((3,), 2.0))))
    mode = gh.fit(model, data, "map", tol=1e-6, **ONCE)
    first = int(path[0])
    assert mode.params["initial.probs"][first] > 0.9999
    fit = gh.fit(model, data, gh.Laplace(2000, tol=1e-6), **ONCE)
    draws = fit.posterior.draws["initial.probs"][0]
    assert draws[:, first].median() < 0.7


def test_draws_are_reproducible_and_leave_the_generator_alone():
    data, state = regression_data(), torch.get_rng_state()
    model = gh.GLMHMM(1, UnitNormal(prior=Normal(0.0, 2.0)))
    start = {"emissions.weights": torch.zeros(1, 2)}
    fits = [
        gh.fit(model, data, "laplace", num_samples=20, init=start, seed=seed, **ONCE)
        for seed in (1, 1, 2)
    ]
    draws = [fit.posterior.draws["emissions.weights"] for fit in fits]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert fits[0].method == "laplace" and fits[0].posterior.num_chains == 1
    assert fits[0].posterior.num_draws == 20 and len(fits[0].restarts) == 1


def test_draws_do_not_depend_on_where_the_search_stopped():
    """Rounding decides that; draws are around the mode to its last digits."""
    data, model = clear_data(), penalised(transitions="stationary")
    start = gh.fit(model, data, "map", **ONCE).params
    rough, fine = (
        gh.fit(model, data, gh.Laplace(FEW, tol=tol), init=start, **ONCE)
        for tol in (1e-4, 1e-9)
    )
    for name, draws in rough.posterior.draws.items():
        other = fine.posterior.draws[name]
        torch.testing.assert_close(draws, other, rtol=0, atol=1e-10)


def test_log_joints_and_weights_are_those_of_every_draw():
    """Draws that are evaluated together, and in parts as memory allows."""
    data = clear_data()
    fit = gh.fit(penalised(), data, "laplace", num_samples=24, **ONCE)
    program, draws = Program.of(fit.model, data), fit.posterior.flattened()
    singly = [
        program.log_joint({name: value[i] for name, value in draws.items()})
        for i in range(24)
    ]
    np.testing.assert_allclose(fit.posterior.stats["log_joint"][0], singly)
    own, search = Program.of(fit.model, data).in_own_units(), Search(1, progress=False)
    own.num_together = 10
    again = in_users_units(own, gh.Laplace(24).fit(own, search))
    np.testing.assert_allclose(
        again.posterior.stats["log_joint"], fit.posterior.stats["log_joint"]
    )


def pooled(animals):
    """A user's model: two animals, whose weights have a common spread."""
    spread = pyro.sample("spread", dist.LogNormal(torch.tensor(0.0).double(), 0.3))
    stay = dist.Dirichlet(torch.tensor([[9.0, 1.0], [1.0, 9.0]]).double()).to_event(1)
    moves = pyro.sample("moves", stay).log()[None]
    centre = torch.tensor([[2.0, 1.0], [-2.0, -1.0]]).double()
    zeros = torch.zeros(1, 2, dtype=torch.float64)
    for number, data in enumerate(animals):
        offsets = pyro.sample(
            f"offsets_{number}", dist.Normal(0 * centre, 1.0).to_event(2)
        )
        scores = data.covariates @ (centre + spread * offsets).T
        table = dist.Bernoulli(logits=scores, validate_args=False)
        hidden = HiddenMarkov(zeros, moves, table, data.lengths)
        pyro.sample(f"y_{number}", hidden, obs=data.emissions)


def test_a_users_model_has_draws():
    animals = [clear_data(seed=1, lengths=(60, 40)), clear_data(seed=2)]
    fit = gh.fit(pooled, animals, gh.Laplace(24), **ONCE)
    draws = fit.posterior.draws
    assert draws["spread"].shape == (1, 24) and (draws["spread"] > 0).all()
    assert draws["offsets_1"].shape == (1, 24, 2, 2)
    at = {name: value[0, 7] for name, value in draws.items()}
    expected = Program.of(pooled, animals).trace(at).log_prob_sum().item()
    assert fit.posterior.stats["log_joint"][0, 7] == pytest.approx(expected)


@pytest.mark.parametrize("tail", [0.2, 0.6, 1.1])
def test_the_pareto_shape_is_that_of_arviz(tail):
    uniform = torch.rand(1500, generator=seeded_generator(4), dtype=torch.float64)
    log_weights = -tail * uniform.log() + 700.0
    expected = pareto_shape(log_weights.numpy())
    # From 1.0 on ArviZ rounds the number of draws in the tail down, to 116 of them.
    near = {"abs": 0.05} if IS_TREE else {"rel": 1e-6}
    assert pareto_k(log_weights) == pytest.approx(expected, **near)
    # The standard error of k from a tail of 117 draws is (1 + k) / sqrt(117).
    assert abs(pareto_k(log_weights) - tail) < 4 * (1 + tail) / 117**0.5


def test_impossible_draws_count_and_few_draws_say_nothing():
    log_weights = normals(400)
    assert pareto_k(torch.cat([log_weights, torch.full((4,), -math.inf)])) < 0.7
    assert math.isnan(pareto_k(log_weights[:95])) and pareto_k(log_weights[:96]) < 0.7
    assert pareto_k(torch.full((400,), -math.inf)) == -math.inf


def heavy_tailed():
    """Weights that keep a prior of very heavy tails, so many that draws are poor.

    Over seeds the Pareto shape of 4000 draws is 2.2 with an sd of 0.2: it is below 0.7
    once in 1e12.
    """
    data = clear_data().replace(covariates=torch.zeros(120, 100))
    return gh.GLMHMM(1, gh.Bernoulli(prior=dist.StudentT(0.1, 0.0, 1.0))), data


def test_a_poor_approximation_is_told_of():
    model, data = heavy_tailed()
    with pytest.warns(
        gh.ConvergenceWarning, match="far from the posterior.*Pareto.*nuts"
    ) as caught:
        fit = gh.fit(model, data, gh.Laplace(4000), **ONCE)
    assert caught[0].filename == __file__
    assert fit.status is gh.Status.POOR_DRAWS and fit.posterior.num_draws == 4000
    assert "above 0.7" in fit.notes[0]


def test_a_prior_that_holds_the_weights_closer_makes_good_draws_as_is_advised():
    """Covariates are all 0: the posterior is the prior, which is normal."""
    _, data = heavy_tailed()
    assert "priors that hold the parameters closer" in gh.Status.POOR_DRAWS.advice
    model = gh.GLMHMM(1, gh.Bernoulli(prior=dist.Normal(0.0, 1.0)))
    assert gh.fit(model, data, gh.Laplace(4000), **ONCE).status is gh.Status.CONVERGED


def same_as_map(fit, model, data):
    mode = gh.fit(model, data, gh.MAP(tol=1e-8), **ONCE)
    assert fit.posterior is None and fit.log_joint == mode.log_joint
    return all(torch.equal(fit.params[n], v) for n, v in mode.params.items())


def test_a_singular_curvature_keeps_the_map_fit_and_names_the_parameters():
    data = clear_data()
    x = torch.cat([data.covariates, data.covariates[:, :1]], 1)
    twice = data.replace(covariates=x, covariate_names=["x", "one", "again"])
    model = gh.GLMHMM(1, gh.Bernoulli())
    said = "=(x|again).* and .*=(x|again).* are not determined.*proper priors"
    with pytest.warns(gh.ConvergenceWarning, match="MAP, without draws; .*" + said):
        fit = gh.fit(model, twice, "laplace", **ONCE)
    with pytest.warns(gh.ConvergenceWarning, match="of x, again are not determined"):
        assert fit.status is gh.Status.SINGULAR and same_as_map(fit, model, twice)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method = gh.Laplace(FEW)
        ridge = gh.fit(gh.GLMHMM(1, gh.Bernoulli(RIDGE)), twice, method, **ONCE)
    assert ridge.posterior.num_draws == FEW


def test_a_posterior_that_cannot_be_normalised_keeps_the_map_fit():
    x = torch.linspace(-2, 2, 50).double()[
        torch.randperm(50, generator=seeded_generator())
    ]
    data = gh.Sequences((x > 0).long(), x[:, None])
    with pytest.warns(gh.ConvergenceWarning, match="no finite maximum.*without error"):
        fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, "laplace", **ONCE)
    assert fit.status is gh.Status.UNBOUNDED and fit.posterior is None


def test_draws_that_overflow_keep_the_map_fit():
    def model(data):
        # Its mode is near 1; around that of its logarithm it is hundreds wide.
        prior = dist.InverseGamma(
            torch.tensor(1e-5).double(), torch.tensor(1.0).double()
        )
        scale = pyro.sample("scale", prior)
        zeros = torch.zeros(1, 1, dtype=torch.float64)
        table = dist.Normal(data.covariates + 0.0 * scale.clamp(max=1.0), 1.0)
        hidden = HiddenMarkov(zeros, zeros[None], table, data.lengths)
        pyro.sample("y", hidden, obs=data.emissions)

    data = gh.Sequences([0.0, 1.0], [[0.0], [0.0]])
    start = {"scale": torch.tensor(1.0).double()}
    with pytest.warns(gh.ConvergenceWarning, match="approximation of scale overflows"):
        fit = gh.fit(model, data, "laplace", init=start, num_iters=50, **ONCE)
    assert fit.status is gh.Status.SINGULAR and fit.posterior is None


def test_second_derivatives_that_are_not_finite_keep_the_map_fit(monkeypatch):
    class Kinked(gh.GLMEmission):
        """A regression with a term whose slope at 0 is 0 and whose curvature is not."""

        def distribution(self, predictor):
            bump = predictor.abs().clamp(max=1.0) ** 1.5
            return dist.Normal(1e-9 * bump, 1.0, validate_args=False)

    data = gh.Sequences([0.5, -0.5, 0.1], [[0.0], [0.0], [0.0]])
    model = gh.GLMHMM(1, Kinked(prior=Normal(0.0, 1.0)))
    said = "not finite.*got nan in those of emissions.weights"
    with pytest.warns(gh.ConvergenceWarning, match=said):
        fit = gh.fit(model, data, "laplace", **ONCE)
    assert fit.status is gh.Status.NON_FINITE and same_as_map(fit, model, data)


@pytest.mark.parametrize("call", [1, 2])
def test_an_interrupt_keeps_the_map_fit(call, monkeypatch):
    """During MAP's search, and during the one for the mode with the Jacobian."""
    calls, minimise = [], MAP.minimise

    def interrupted(self, objective, start):
        calls.append(1)
        if len(calls) < call:
            return minimise(self, objective, start)
        raise KeyboardInterrupt

    monkeypatch.setattr(MAP, "minimise", interrupted)
    with pytest.warns(gh.ConvergenceWarning, match="interrupted"):
        fit = gh.fit(penalised(), clear_data(), "laplace", **ONCE)
    assert fit.status is gh.Status.INTERRUPTED and fit.posterior is None
    assert np.isfinite(fit.log_joint) and len(calls) == call


def test_an_interrupt_among_the_draws_keeps_the_map_fit(monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("glmhmm_pyro.inference.mode.laplace._log_joints", interrupted)
    with pytest.warns(gh.ConvergenceWarning, match="interrupted"):
        fit = gh.fit(penalised(), clear_data(), "laplace", **ONCE)
    assert fit.status is gh.Status.INTERRUPTED
    monkeypatch.undo()
    assert same_as_map(fit, penalised(), clear_data())


@pytest.mark.parametrize("option", ["num_samples", "num_iters"])
def test_options_are_checked(option):
    with pytest.raises(ValueError, match=f"{option} must be at least 1, got 0"):
        gh.Laplace(**{option: 0})


def test_errors_of_a_fit_with_draws_are_those_of_its_draws():
    """By hand from the draws; laid out as the errors of the mode, and near them."""
    data, even = clear_data(), Dirichlet(torch.full((2,), 5.0))
    parts = gh.Bernoulli(RIDGE), gh.Stationary(even), gh.Initial(even)
    fit = gh.fit(gh.GLMHMM(2, *parts), data, gh.Laplace(2000), **ONCE)
    mode = gh.fit(fit.model, data, "map", init=fit.params, **ONCE)
    errors, matrix = fit.standard_errors(), fit.covariance()
    known = mode.standard_errors(data), mode.covariance(data)
    for name, error in errors.items():
        assert error.dims == known[0][name].dims
        np.testing.assert_allclose(error, known[0][name], rtol=0.3, atol=1e-3)
    draws = fit.draws["emissions.weights"].flatten(0, 1).numpy()
    np.testing.assert_allclose(errors["emissions.weights"], draws.std(0, ddof=1))
    np.testing.assert_allclose(matrix[1], np.cov(draws[:, 1].T))
    assert matrix.dims == known[1].dims
    assert matrix.coords.equals(known[1].coords)
    table = fit.summary()
    np.testing.assert_allclose(
        table.standard_error,
        np.concatenate([e.values.ravel() for e in errors.values()]),
    )
    np.testing.assert_allclose(
        fit.standard_errors(data)["emissions.weights"], errors["emissions.weights"]
    )


def test_the_report_of_starts_compares_their_ends_not_the_mean_of_draws():
    data, starts = clear_data(), {"num_restarts": 2, "progress": False}
    fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli(RIDGE)), data, gh.Laplace(1), **starts)
    report = fit.restart_report()
    assert fit.log_joint < report["log_joint"][0] - 0.1
    assert report["below_best"][0] == 0
    assert report["agrees"].sum() == fit.num_agreeing == 2


def test_notes_are_saved(tmp_path):
    model, data = heavy_tailed()
    with pytest.warns(gh.ConvergenceWarning):
        fit = gh.fit(model, data, gh.Laplace(4000), **ONCE)
    fit.save(tmp_path / "fit.nc")
    again = gh.load(tmp_path / "fit.nc")
    assert again.notes == fit.notes and again.status is fit.status
