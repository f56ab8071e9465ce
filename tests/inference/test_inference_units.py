"""Units are a matter of writing: every result in others is the same, in these others.

Priors are carried along, for a fixed penalty does depend on units.
"""

import re
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
from glmhmm_pyro.inference.draws.posterior import Posterior
from glmhmm_pyro.inference.fits.restored import in_users_units
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.optim import LBFGSOptions

ONCE = {"num_restarts": 1, "progress": False}
CLOSE = {"rtol": 1e-6, "atol": 1e-6}
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
        torch.testing.assert_close(back[name], value, **CLOSE)


@every_change
@pytest.mark.parametrize("family", FAMILIES)
def test_maxima_and_their_errors_are_the_same_in_all_units(plain, family, change):
    method = gh.EM()
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
    np.testing.assert_allclose(got / both, wanted / both, **CLOSE)
    shown = found.standard_errors(moved)
    np.testing.assert_allclose(shown["emissions.weights"].values, errors, rtol=1e-6)
    own, others = expected.standard_errors(data), {"emissions.scale": change.outputs}
    for name, error in own.items():
        if not name.endswith("weights"):
            factor = others.get(name, 1.0)
            np.testing.assert_allclose(shown[name] / factor, error, **CLOSE)


@every_change
@pytest.mark.parametrize("family", ["bernoulli", "positive"])
def test_map_ends_at_the_same_place_in_all_units(plain, family, change):
    method = gh.MAP()
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
    np.testing.assert_allclose(stats, expected.posterior.stats["log_weight"], **CLOSE)
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
    users = Program.of(make(), data)
    own = Program.of(make(), data).in_own_units()
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
    own = Program.of(model, data).in_own_units()
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


def users_model(scale):
    """A model whose design nobody can see, its prior carried along."""
    spread = torch.tensor([2.0 / scale, 2.0], dtype=torch.float64).expand(2, 2)
    prior = dist.Normal(torch.zeros_like(spread), spread).to_event(2)
    moves = torch.tensor([[3.0, 0.0], [0.0, 3.0]], dtype=torch.float64)

    def model(data):
        weights = pyro.sample("weights", prior)
        scores = data.covariates @ weights.T
        hidden = gh.HiddenMarkov(
            torch.zeros(1, 2, dtype=torch.float64),
            moves[None],
            dist.Bernoulli(logits=scores, validate_args=False),
            data.lengths,
        )
        pyro.sample("y", hidden, obs=data.emissions.double())

    return model


@pytest.mark.parametrize("method", ["em", "map"])
def test_a_users_model_is_fitted_to_the_end_in_any_units(method):
    """Its errors too: what a gradient or a curvature means is not told by its size."""
    found = []
    for scale in (1.0, 1e-7, 1e7):
        data = Change(scale=scale).data(data_of("bernoulli"), "bernoulli")
        start = np.array([[1 / scale, 1.0], [-1 / scale, -1.0]])
        fit = quiet_fit(users_model(scale), data, method, init={"weights": start})
        assert fit.status is gh.Status.CONVERGED
        errors = fit.standard_errors(data)["weights"].values * [scale, 1.0]
        found.append((fit.log_joint + 2 * np.log(1 / scale), errors))
    for log_joint, errors in found[1:]:
        np.testing.assert_allclose(log_joint, found[0][0], rtol=1e-9)
        np.testing.assert_allclose(errors, found[0][1], rtol=1e-6)


def test_starts_that_the_user_gives_are_in_the_users_units():
    """A fit that begins where another ended is there; wrong values are refused."""
    data = LARGE.data(data_of("gaussian"), "gaussian")
    model = model_of("gaussian", LARGE)
    fit = quiet_fit(model, data, "em", keep_weights=True)
    for name, value in fit.weights[-1].items():
        assert torch.equal(value, fit.params[name])
    again = quiet_fit(model, data, "em", init=fit.params)
    assert again.history["log_joint"][0] == pytest.approx(fit.log_joint, abs=1e-6)
    with pytest.raises(ValueError, match=r"must be finite, of shape \(2,\), got .*3"):
        gh.fit(model, data, init={"emissions.scale": [1.0, 2.0, 3.0]}, **ONCE)
    one = quiet_fit(gh.GLMHMM(1, gh.Gaussian()), data, "em")
    with pytest.raises(ValueError, match="a fit of 2 states, .* got one of 1; leave"):
        gh.fit(model, data, init=one, **ONCE)
    with pytest.raises(ValueError, match=r"inside .*, got \[-1.0, 2.0\]"):
        gh.fit(model, data, init={"emissions.scale": [-1.0, 2.0]}, **ONCE)


def test_given_options_of_the_m_step_are_for_the_weights_themselves():
    """The iterates of the original program are in the units of its covariates."""
    data = shifted(random_data())
    model = gh.GLMHMM(2, gh.Bernoulli(), gh.InputDriven())
    method = gh.EM(num_iters=2, m_step=LBFGSOptions(max_iters=2), keep_weights=True)
    with pytest.warns(gh.ConvergenceWarning):
        fit = gh.fit(model, data, method, **ONCE)
    bound = Program.of(model, data)
    (run,) = method.run(bound.model, data, [fit.weights[0]])
    for found, expected in zip(fit.weights, run.weights):
        for name, value in expected.items():
            assert torch.equal(found[name], value)


def test_what_drives_no_step_has_no_say_in_units():
    """Row 0 of a session's transition covariates is unused, whatever stands there."""
    data = data_of("bernoulli")
    moves = data.transition_covariates.clone()
    moves[data.starts] = 1e12
    other = data.replace(transition_covariates=moves)
    model = model_of("bernoulli", Change())
    fits = [quiet_fit(model, d, "em", tol=1e-4) for d in (data, other)]
    for name, value in fits[0].params.items():
        assert torch.equal(fits[1].params[name], value)


@pytest.mark.parametrize("init", [None, "glm"])
def test_progress_is_shown_in_the_users_units(capsys, init):
    data = LARGE.data(data_of("gaussian"), "gaussian")
    options = {"num_restarts": 2, "init": init}
    fit = gh.fit(model_of("gaussian", LARGE), data, **options)
    shown = re.findall(r"log_joint=(-?[\d.]+)", capsys.readouterr().err)
    assert float(shown[-1]) == pytest.approx(fit.log_joint, abs=0.01)


def test_the_bound_is_shown_in_the_users_units(capsys):
    data = LARGE.data(data_of("gaussian"), "gaussian")
    method = gh.SVI(num_steps=20, window=20, num_samples=2)
    options = {"num_restarts": 1, "init": {"emissions.scale": [0.5e-8, 0.6e-8]}}
    with pytest.warns(gh.ConvergenceWarning):
        fit = gh.fit(model_of("gaussian", LARGE), data, method, **options)
    (shown,) = set(re.findall(r"elbo=(-?[\d.]+)", capsys.readouterr().err))
    assert float(shown) == pytest.approx(fit.posterior.elbo.mean(), abs=0.01)


SAMPLERS = {
    "nuts": gh.NUTS(num_samples=6, num_warmup=6, num_chains=1, parallel=False),
    "svi": gh.SVI(num_steps=40, window=20, num_samples=6),
}


@pytest.mark.parametrize("method", SAMPLERS.values(), ids=SAMPLERS)
def test_samplers_draw_the_same_in_units_of_powers_of_two(method):
    """Nothing is rounded there, so that even chaotic trajectories are the same."""
    found = []
    for change in (Change(), Change(scale=2.0**-30)):
        data = change.data(data_of("bernoulli"), "bernoulli")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", gh.ConvergenceWarning)
            fit = gh.fit(model_of("bernoulli", change), data, method, **ONCE)
        found.append(change.back(fit.posterior.draws, "bernoulli"))
    for name, value in found[1].items():
        torch.testing.assert_close(value, found[0][name], rtol=1e-9, atol=1e-9)
