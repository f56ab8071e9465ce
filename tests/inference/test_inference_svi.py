"""SVI: against a posterior in closed form, and all the ways in which a fit can end."""

import copy
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from families import Poisson
from inference_cases import clear_data, penalised
from svi_cases import (
    SHORT,
    regression,
    small_data,
    small_fit,
    small_program,
    two_animals,
    written_guide,
)
from torch.distributions import Normal
from tqdm import tqdm

import glmhmm_pyro as gh
from glmhmm_pyro.inference.svi.elbo import Plateau
from glmhmm_pyro.inference.svi.svi import SVI, draws_from

CLOSE = {"learning_rate": 0.05, "window": 30, "patience": 2, "num_particles": 40}


def climbed(program, start, **options):
    """An ascent that has ended, its status, and the guide's mean and covariance."""
    svi = SVI(**options)
    torch.manual_seed(0)
    ascent = svi._ascent(program, start)
    status = svi._schedule().climb(ascent, tqdm(disable=True))
    if svi.guide == "normal":
        loc, scale = ascent.guide._get_loc_and_scale("emissions.weights")
        return ascent, status, loc.detach()[0], torch.diag(scale.detach()[0] ** 2)
    normal = ascent.guide.get_posterior()
    return ascent, status, normal.mean.detach(), normal.covariance_matrix.detach()


def test_a_full_normal_guide_reaches_the_posterior_and_evidence_in_closed_form():
    model, data, mean, precision, evidence = regression()
    program, start = small_program(model, data)
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        options = {"guide": "multivariate_normal", "tol": 1e-3, **CLOSE}
        ascent, status, loc, found = climbed(program, start, **options)
        stats = draws_from(ascent.guide, program, 100).stats
    covariance = torch.linalg.inv(precision)
    deviation = covariance.diagonal().sqrt()
    assert status is gh.Status.CONVERGED
    # Stochastic gradients leave 5 % of a standard deviation, 8 % of a variance.
    assert ((loc - mean) / deviation).abs().max() < 0.05
    scale = deviation[:, None] * deviation
    assert ((found - covariance) / scale).abs().max() < 0.08
    last = ascent.history[-30:]
    assert np.mean(last) == pytest.approx(evidence, abs=0.01)
    # log p(y, theta) - log q(theta) is the evidence at every draw, not on average.
    weights = stats["log_joint"] - stats["log_guide"]
    np.testing.assert_allclose(weights, evidence, atol=0.2)


def test_a_mean_field_guide_has_variances_that_are_too_small_by_the_known_formula():
    model, data, mean, precision, evidence = regression()
    program, start = small_program(model, data)
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        ascent, status, loc, found = climbed(program, start, tol=1e-3, **CLOSE)
    narrow, true = 1 / precision.diagonal(), torch.linalg.inv(precision).diagonal()
    assert status is gh.Status.CONVERGED and (narrow < 0.75 * true).all()
    assert (found.diagonal() / narrow - 1).abs().max() < 0.08
    assert ((loc - mean) / narrow.sqrt()).abs().max() < 0.05
    divergence = (precision.diagonal().log().sum() - precision.logdet()).item() / 2
    last = ascent.history[-30:]
    noise = np.std(last) / 30**0.5
    assert np.mean(last) == pytest.approx(evidence - divergence, abs=4 * noise)
    assert 4 * noise < 0.1 < divergence


def test_particles_drawn_together_estimate_the_bound_of_each():
    program, start = small_program()
    svi = SVI(num_particles=5)
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        ascent = svi._ascent(program, start)
        ascent.step()
    ((model, guide),) = ascent.estimator.traces
    values = {name: guide.nodes[name]["value"] for name in program.priors}
    assert values["emissions.weights"].shape == (5, 2, 2)
    joints = [program.log_joint({n: v[i] for n, v in values.items()}) for i in range(5)]
    logs = sum(
        site["log_prob"] for site in guide.nodes.values() if site["type"] == "sample"
    )
    assert logs.shape == (5,)
    expected = (torch.stack(joints) - logs).mean().item()
    assert ascent.history[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("guide", ["normal", "multivariate_normal", "low_rank"])
def test_draws_come_with_their_joint_density_and_that_of_the_guide(guide):
    program, start = small_program()
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        ascent = SVI(guide=guide)._ascent(program, start)
        posterior = draws_from(ascent.guide, program, 3)
        free = program.coordinates.pack(posterior.draws)[0]
        if guide == "normal":
            sites = program.coordinates.shapes
            parts = [ascent.guide._get_loc_and_scale(name) for name in sites]
            loc, scale = (torch.cat([p[i].flatten() for p in parts]) for i in (0, 1))
            expected = Normal(loc, scale).log_prob(free).sum(-1)
        else:
            expected = ascent.guide.get_posterior().log_prob(free)
    expected = (expected - program.coordinates.log_jacobian(free)).detach().numpy()
    np.testing.assert_allclose(posterior.stats["log_guide"][0], expected, atol=1e-9)
    for i, joint in enumerate(posterior.stats["log_joint"][0]):
        values = {name: v[0, i] for name, v in posterior.draws.items()}
        assert joint == pytest.approx(program.log_joint(values).item(), abs=1e-9)


def test_the_fit_is_the_mean_of_the_draws_and_keeps_the_starts_of_map():
    model, data = penalised(transitions="stationary"), small_data()
    options = {"num_restarts": 3, "progress": False, "seed": 2}
    mode = gh.fit(model, data, "map", **options)
    fit = small_fit(model, data, **options)
    assert fit.method == "svi" and fit.best == mode.best
    for mine, other in zip(fit.restarts, mode.restarts):
        np.testing.assert_array_equal(mine.log_joints, other.log_joints)
    for name, value in fit.params.items():
        draws = fit.posterior.draws[name]
        assert draws.shape == (1, 20, *value.shape) and draws.dtype == torch.float64
        torch.testing.assert_close(value, draws.mean((0, 1)))
    program, _ = small_program(model, data)
    likelihood, prior = program.log_parts(fit.params)
    assert fit.log_likelihood == pytest.approx(likelihood.item(), abs=1e-9)
    assert fit.log_joint == pytest.approx((likelihood + prior).item(), abs=1e-9)
    assert "svi" in repr(fit) and fit.decode(data).sizes["state"] == 2


def test_a_model_of_the_users_own_with_data_of_its_own_is_fitted():
    data = [clear_data(lengths=(20,), seed=s) for s in (0, 1)]
    fit = small_fit(two_animals, data, num_decays=1, guide="multivariate_normal")
    assert fit.status is gh.Status.CONVERGED
    shapes = {name: tuple(v.shape) for name, v in fit.posterior.draws.items()}
    assert shapes["weights"] == (1, 20, 2, 2, 2) and shapes["stay"] == (1, 20)
    assert {value.dtype for value in fit.params.values()} == {torch.float64}
    stats = fit.posterior.stats
    bound = (stats["log_joint"] - stats["log_guide"]).mean()
    assert bound == pytest.approx(fit.posterior.elbo[-10:].mean(), abs=3)
    assert fit.posterior.elbo[-10:].mean() > fit.posterior.elbo[:10].mean()


def test_one_seed_gives_one_fit_and_nothing_outside_is_touched():
    pyro.param("AutoNormal.locs.emissions.weights", torch.ones(3))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with torch.no_grad():
        stored = {k: v.clone() for k, v in pyro.get_param_store().items()}
    fits = [small_fit(seed=seed, num_steps=20_000) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert pyro.get_param_store().keys() == stored.keys()
    for name, value in pyro.get_param_store().items():
        assert torch.equal(value, stored[name])
    assert pyro.infer.util.is_validation_enabled()
    same, again, other = (fit.posterior for fit in fits)
    np.testing.assert_array_equal(same.elbo, again.elbo)
    for name, value in same.draws.items():
        assert torch.equal(value, again.draws[name])
        assert not torch.equal(value, other.draws[name])


def test_stopping_early_is_a_status_and_the_bounds_are_kept():
    with pytest.warns(gh.ConvergenceWarning, match="num_steps") as warned:
        fit = small_fit(num_steps=30)
    assert fit.status is gh.Status.MAX_ITERS and len(warned) == 1
    assert fit.posterior.elbo.shape == (30,) and np.isfinite(fit.posterior.elbo).all()
    assert fit.posterior.num_draws == 20


def test_flat_priors_are_warned_of_once_by_name():
    with pytest.warns(gh.ConvergenceWarning) as warned:
        fit = small_fit(gh.GLMHMM(1, gh.Bernoulli()))
    assert fit.status is gh.Status.IMPROPER and len(warned) == 1
    message = str(warned[0].message)
    assert "the priors of emissions.weights are flat. Give these sites" in message
    with pytest.warns(gh.ConvergenceWarning, match="not yet.*priors of emissions.weig"):
        fit = small_fit(gh.GLMHMM(1, gh.Bernoulli()), num_steps=5)
    assert fit.status is gh.Status.MAX_ITERS


def test_a_flat_prior_on_probabilities_is_proper():
    model = gh.GLMHMM(2, gh.Bernoulli(), initial=gh.Initial(per_session=True))
    program, _ = small_program(copy.deepcopy(model))
    assert program.improper == ["emissions.weights"]


def test_a_bound_that_is_not_finite_ends_the_fit_at_the_last_finite_guide():
    data = clear_data("poisson", lengths=(20, 10))
    model = gh.GLMHMM(1, Poisson(prior=Normal(0.0, 1.0)))
    with pytest.warns(gh.ConvergenceWarning, match="not finite at step 2.*site 'y'"):
        fit = small_fit(model, data, learning_rate=1e4)
    assert fit.status is gh.Status.NON_FINITE
    assert len(fit.posterior.elbo) == 1 and np.isfinite(fit.posterior.elbo).all()
    # Nothing was learnt, but nothing was lost: the draws are around the mode.
    mode = gh.fit(model, data, "map", num_restarts=1, progress=False)
    drawn = fit.params["emissions.weights"]
    assert (drawn - mode.params["emissions.weights"]).abs().max() < 0.1


class Interrupting:
    """Raises KeyboardInterrupt at one call of a guide."""

    def __init__(self, guide, at):
        self.guide, self.at, self.calls = guide, at, 0

    def __call__(self, data):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.guide(data)


def test_an_interrupt_keeps_what_was_computed():
    # Two calls look at the guide's sites and plates.
    with pytest.warns(gh.ConvergenceWarning, match="interrupted"):
        fit = small_fit(guide=Interrupting(written_guide, at=12), num_steps=40)
    assert fit.status is gh.Status.INTERRUPTED and fit.method == "svi"
    assert len(fit.posterior.elbo) == 10 and fit.posterior.num_draws == 20
    with pytest.warns(gh.ConvergenceWarning, match="interrupted"):
        fit = small_fit(guide=Interrupting(written_guide, at=30), num_steps=20)
    assert len(fit.posterior.elbo) == 20 and fit.posterior.num_draws == 8
    with pytest.warns(gh.ConvergenceWarning, match="interrupted"):
        fit = small_fit(guide=Interrupting(written_guide, at=1))
    assert fit.posterior is None and np.isfinite(fit.log_joint)


def test_an_interrupt_of_map_returns_its_fit(monkeypatch):
    def interrupted(engine, program, run):
        run.status = gh.Status.INTERRUPTED

    monkeypatch.setattr(gh.MAP, "climb", interrupted)
    with pytest.warns(gh.ConvergenceWarning, match="interrupted"):
        fit = small_fit()
    assert fit.method == "map" and fit.posterior is None


def test_a_plateau_is_where_windows_rise_by_less_than_their_noise():
    def first(curve, tol=0.0, patience=3):
        plateau = Plateau(tol, patience)
        windows = enumerate(curve.reshape(-1, 100), 1)
        return next((i for i, window in windows if plateau.reached(window)), None)

    rng = np.random.default_rng(0)
    noise, steps = rng.normal(size=3000), np.arange(3000)
    assert first(noise) < 10
    # Of curves of noise alone 5 % seem to rise; without the errors 3 in 4 would.
    ends = [first(curve) for curve in rng.normal(size=(200, 1000))]
    assert np.mean([end == 4 for end in ends]) > 0.85
    # 0.2 a window is less than the noise of two means, 0.28, but not over 3 windows.
    assert first(noise + 0.002 * steps) is None
    assert first(noise + 0.0002 * steps) < 20
    smooth = 1 - np.exp(-steps / 500)
    assert first(smooth, tol=0.01) > 14 > first(smooth, tol=0.3)


def test_the_learning_rate_falls_at_every_plateau_and_the_last_one_ends_the_fit():
    rates = []
    program, start = small_program()
    svi = SVI(**{**SHORT, "num_decays": 3}, tol=1e6, decay=0.5)
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        ascent = svi._ascent(program, start)

        class Bar:
            def update(self):
                rates.append(ascent.optimiser.param_groups[0]["lr"])

            def set_postfix(self, elbo, refresh):
                assert float(elbo) == pytest.approx(
                    np.mean(ascent.history[-10:]), abs=1e-3
                )

        assert svi._schedule().climb(ascent, Bar()) is gh.Status.CONVERGED
    # The first window always counts as a rise.
    halves = [0.05] * 20 + [0.025] * 10 + [0.0125] * 10 + [0.00625] * 10
    assert rates == pytest.approx(halves)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"guide": "normall"}, "guide must be one of normal, multivariate_normal"),
        ({"guide": 3}, "a guide, got 3"),
        ({"num_steps": 0}, "num_steps must be at least 1, got 0"),
        ({"window": 1}, "window must be at least 2"),
        (
            {"num_particles": 1.5},
            "num_particles must be a whole number from 1, got 1.5",
        ),
        ({"num_samples": 0}, "num_samples must be"),
        ({"subsample_sessions": 0}, "subsample_sessions must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
        ({"learning_rate": np.nan}, "learning_rate must be above 0"),
        ({"tol": -1.0}, "tol must be at least 0"),
        ({"decay": 1.0}, "decay must be between 0 and 1, got 1.0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SVI(**options)


@pytest.mark.parametrize("width, is_poor", [(0.05, True), (1.0, False)])
def test_draws_that_are_far_from_the_posterior_are_told_of(width, is_poor):
    """A guide of a fixed width, for a hundred weights that keep their standard prior.

    Over seeds the Pareto shape of 600 draws is above 2 where the guide is 20 times too
    narrow; where it has the posterior's width its weights are equal.
    """
    data = clear_data().replace(covariates=torch.zeros(120, 100))
    model = gh.GLMHMM(1, gh.Bernoulli(prior=dist.Normal(0.0, 1.0)))

    def guide(data):
        place = pyro.param("place", torch.zeros(1, 100).double())
        # It has a parameter, as it must, and does not depend on it.
        normal = dist.Normal(0 * place, width).to_event(2)
        pyro.sample("emissions.weights", normal)

    options = {**SHORT, "num_samples": 600, "guide": guide}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = gh.fit(model, data, "svi", num_restarts=1, progress=False, **options)
    if not is_poor:
        assert fit.status is gh.Status.CONVERGED and not caught
        return
    assert fit.status is gh.Status.POOR_DRAWS
    assert "far from the posterior" in str(caught[0].message)
    assert "Pareto shape of their importance weights" in fit.notes[0]
