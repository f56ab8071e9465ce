"""Units are a matter of writing: every result in others is the same, in these others.

Priors are carried along, for a fixed penalty does depend on units.
"""

import warnings
from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from families import EMISSIONS, normals, random_data, seeded_generator
from torch.distributions import LogNormal, Normal
from units_cases import Change, data_of, model_of

import glmhmm_pyro as gh
from glmhmm_pyro import priors as p
from glmhmm_pyro.analysis import log_evidence
from glmhmm_pyro.inference.fits.posterior import Posterior
from glmhmm_pyro.inference.fits.restored import in_users_units
from glmhmm_pyro.inference.program import Program

ONCE = {"num_restarts": 1, "progress": False}
CLOSE = {"rtol": 1e-6, "atol": 1e-6}
# Where a value no longer rises, a point is known to the root of its rounding.
NEAR = {"rtol": 2e-4, "atol": 2e-4}
SMALL = Change(scale=1e-8, outputs=1e8)
LARGE = Change(scale=1e8, shift=1e7, outputs=1e-8, level=1e7)
FAMILIES = ("bernoulli", "gaussian", "full", "heavy-tailed", "positive")
every_change = pytest.mark.parametrize("change", [SMALL, LARGE], ids=["small", "large"])


def quiet_fit(model, data, method, **options):
    """A fit that may say that its draws are poor, which is the same in all units."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(Pareto|draws)", gh.ConvergenceWarning)
        return gh.fit(model, data, method, **{**ONCE, **options})


@pytest.fixture(scope="module")
def plain():
    """Fits in the units in which the cases were made, each made once."""
    kept = {}

    def get(family, method):
        if (family, str(method)) not in kept:
            kept[family, str(method)] = in_units(Change(), family, method)
        return kept[family, str(method)]

    return get


def in_units(change, family, method):
    """A fit of the case's data in other units, and these data."""
    data = change.data(data_of(family), family)
    return quiet_fit(model_of(family, change), data, method), data


def assert_same(found, expected, change, family):
    """Whether values in new units are the old ones, seen from the old units."""
    back = change.back(found, family)
    for name, value in expected.items():
        torch.testing.assert_close(back[name], value, **NEAR)


@every_change
@pytest.mark.parametrize("family", FAMILIES)
def test_maxima_and_their_errors_are_the_same_in_all_units(plain, family, change):
    method = gh.EM(tol=1e-14)
    (expected, data), (found, moved) = (
        plain(family, method),
        in_units(change, family, method),
    )
    likelihood = found.log_likelihood - change.log_density(data)
    np.testing.assert_allclose(likelihood, expected.log_likelihood, **CLOSE)
    assert found.status is expected.status is gh.Status.CONVERGED
    assert_same(found.params, expected.params, change, family)
    jacobian = change.jacobian("emissions", family).numpy()
    wanted = jacobian @ expected.covariance(data).values @ jacobian.T
    errors = np.sqrt(np.einsum("...ii->...i", wanted))
    both = errors[..., :, None] * errors[..., None, :]
    got = found.covariance(moved).values
    np.testing.assert_allclose(got / both, wanted / both, **NEAR)
    shown = found.standard_errors(moved)
    np.testing.assert_allclose(shown["emissions.weights"].values, errors, rtol=2e-4)
    own, others = expected.standard_errors(data), {"emissions.scale": change.outputs}
    for name, error in own.items():
        if not name.endswith("weights"):
            factor = others.get(name, 1.0)
            np.testing.assert_allclose(shown[name] / factor, error, **NEAR)


@every_change
@pytest.mark.parametrize("family", ["bernoulli", "positive"])
def test_map_ends_at_the_same_place_in_all_units(plain, family, change):
    method = gh.MAP(tol=1e-9)
    (expected, data), (found, _) = (
        plain(family, method),
        in_units(change, family, method),
    )
    likelihood = found.log_likelihood - change.log_density(data)
    np.testing.assert_allclose(likelihood, expected.log_likelihood, **CLOSE)
    assert found.status is expected.status is gh.Status.CONVERGED
    assert_same(found.params, expected.params, change, family)


@every_change
@pytest.mark.parametrize("family", ["bernoulli", "gaussian", "positive"])
def test_draws_and_the_evidence_are_the_same_in_all_units(plain, family, change):
    method = gh.Laplace(50)
    (expected, data), (found, moved) = (
        plain(family, method),
        in_units(change, family, method),
    )
    gain = change.log_density(data)
    draws = expected.posterior.draws
    assert_same(found.posterior.draws, draws, change, family)
    stats = found.posterior.stats["log_weight"] - gain
    np.testing.assert_allclose(stats, expected.posterior.stats["log_weight"], **NEAR)
    evidence = log_evidence(found, moved) - gain
    np.testing.assert_allclose(evidence, log_evidence(expected, data), **CLOSE)


def logistic_maximum(x, y):
    """Highest log-likelihood of one logistic regression, by Newton's method."""
    design = torch.stack([(x - x.mean()) / x.std(), torch.ones_like(x)], 1)
    weights = torch.zeros(2, dtype=torch.float64)
    for _ in range(20):
        probs = (design @ weights).sigmoid()
        curvature = (design.T * probs * (1 - probs)) @ design
        weights = weights + torch.linalg.solve(curvature, design.T @ (y - probs))
    return torch.distributions.Bernoulli(logits=design @ weights).log_prob(y).sum()


@pytest.mark.parametrize("method", ["em", "map"])
def test_a_covariate_in_unix_time_is_fitted_to_the_end(method):
    """The problem is convex: whoever says that it has converged is at its optimum."""
    x = normals(200, seed=1)
    y = (torch.rand(200, generator=seeded_generator(2)) < (2 * x - 1).sigmoid()).long()
    time = 1.7e9 + 300 * x
    design = torch.stack([time, torch.ones_like(time)], 1)
    fit = quiet_fit(gh.GLMHMM(1, gh.Bernoulli()), gh.Sequences(y, design), method)
    assert fit.status is gh.Status.CONVERGED
    best = logistic_maximum(time, y.double()).item()
    assert fit.log_likelihood == pytest.approx(best, abs=1e-6)


def shifted(data):
    """The same covariates with sizes and offsets of all kinds, a constant last."""

    def moved(design):
        scale = 10.0 ** torch.arange(-3, design.shape[1] - 3).double()
        return torch.cat([scale * design + 5 * scale, 2 + 0 * design[:, :1]], 1)

    return data.replace(
        covariates=moved(data.covariates),
        transition_covariates=moved(data.transition_covariates),
        initial_covariates=moved(data.initial_covariates),
    )


def positive_weights():
    """A user's prior under which weights cannot change their sign."""
    return gh.GLMHMM(2, gh.Gaussian(prior=LogNormal(0.0, 1.0)), gh.InputDriven())


def sampled_scale(shape):
    """A user's prior with a hyperparameter."""
    one = torch.tensor(1.0, dtype=torch.float64)
    return Normal(0.0, pyro.sample("size", dist.LogNormal(0 * one, one))).expand(shape)


def several_outputs():
    """Families side by side, one of which reads no constant column."""
    return gh.GLMHMM(
        2,
        gh.Outputs(
            rt=gh.components.Gamma(p.Ridge(0.3)),
            both=gh.Gaussian(2, "full", scale_prior=LogNormal(0.0, 1.0)),
            covariates={"both": ["x0", "x1"]},
            columns={"both": ["a", "b"]},
        ),
        gh.SharedInputDriven(p.Ridge(2.0), p.Ridge(1.0)),
    )


def three_outputs(steps):
    y = torch.stack([normals(steps, seed=5).exp(), *normals(2, steps, seed=6)], 1)
    return 100 * y.where(normals(steps, 3, seed=7) > -1, torch.tensor(torch.nan))


WALK = p.RandomWalk(0.5, 2.0)
MODELS = {
    "labels": ("categorical", lambda: gh.GLMHMM(3, gh.Categorical(3, p.Lasso(1.0)))),
    "counts": ("counts", lambda: gh.GLMHMM(2, gh.Poisson(sampled_scale))),
    "overdispersed": (
        "overdispersed",
        lambda: gh.GLMHMM(
            2,
            gh.components.NegativeBinomial(p.StudentT(3.0, 1.0)),
            gh.InputDriven(p.Grouped({(0, 1): WALK}, rest=p.Ridge(1.0))),
            gh.InitialGLM(p.Ridge(1.0)),
        ),
    ),
    "measured": (
        "normal",
        lambda: gh.GLMHMM(
            2,
            gh.Gaussian(prior=p.Hierarchical(LogNormal(0.0, 1.0), per="state")),
            gh.InputDriven(WALK),
        ),
    ),
    "correlated": ("normals", lambda: gh.GLMHMM(2, gh.Gaussian(2, "full", True, WALK))),
    "heavy-tailed": (
        "heavy-tailed",
        lambda: gh.GLMHMM(2, gh.components.StudentT(scale_prior=LogNormal(0.0, 1.0))),
    ),
    "positive": ("positive", lambda: gh.GLMHMM(2, gh.components.Gamma(WALK))),
    "positive weights": ("normal", positive_weights),
    "the user's family": ("gaussian", lambda: gh.GLMHMM(2, EMISSIONS["gaussian"]())),
    "outputs": ("outputs", several_outputs),
}


@pytest.mark.parametrize(("family", "make"), MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("constant", [True, False])
def test_a_program_in_its_own_units_has_the_density_of_the_users(
    family, make, constant
):
    """Value by value, constants and volumes included; to nothing but rounding."""
    data = random_data("normals" if family == "outputs" else family)
    if constant:
        data = shifted(data)
    elif family == "outputs":
        data = data.replace(
            covariates=torch.cat([data.covariates, normals(8, 1, seed=9)], 1)
        )
    if family == "outputs":
        names = ["rt", "a", "b"]
        data = data.replace(emissions=three_outputs(8), emission_names=names)
        data = data.replace(transition_covariates=normals(8, 2, seed=11) * 1e3)
    users = Program(make(), data)
    own = Program(make(), data).in_own_units()
    vector = 0.3 * normals(own.coordinates.size, seed=3)
    params = own.coordinates.unpack(vector)
    outward = own.units.outward(params)
    back = own.units.inward(outward)
    for name, value in params.items():
        torch.testing.assert_close(back[name], value)
    likelihood, prior = own.log_parts(params)
    expected = users.log_parts(outward)
    torch.testing.assert_close(likelihood + own.units.log_likelihood, expected[0])
    joint = likelihood + prior + own.units.log_joint
    torch.testing.assert_close(joint, sum(expected))
    volume = 0.0
    for name, affine in own.units.maps.items():
        size = params[name].numel()
        slopes = torch.autograd.functional.jacobian(affine, params[name])
        volume += torch.linalg.slogdet(slopes.reshape(size, size)).logabsdet.item()
    assert own.units.log_volume == pytest.approx(volume)
    freely_read = family == "gaussian"
    assert (own is users or not own.units.maps) == freely_read


@pytest.mark.parametrize("estimate", ["mean", "a draw"])
def test_the_estimate_of_draws_is_given_in_the_users_units(estimate):
    """Whichever point of the draws a method took for its estimate."""
    data = shifted(random_data("normal"))
    model = gh.GLMHMM(1, gh.Gaussian(prior=Normal(0.0, 50.0)))
    own = Program(model, data).in_own_units()
    shapes = {name: prior.shape() for name, prior in own.priors.items()}
    draws = {name: normals(1, 4, *shape).exp() for name, shape in shapes.items()}
    posterior = Posterior(draws)
    params = {name: value[0, 2] for name, value in draws.items()}
    fit = gh.fit(model, data, "map", **ONCE)
    at = posterior.mean() if estimate == "mean" else params
    found = in_users_units(own, replace(fit, posterior=posterior, params=at))
    users = found.posterior.draws
    for name, value in found.params.items():
        torch.testing.assert_close(value, own.units.outward(at)[name])
        if estimate == "mean":
            assert torch.equal(value, users[name].mean((0, 1)))
