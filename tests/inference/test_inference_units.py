"""Units are a matter of writing: every result in others is the same, in these others.

Priors are carried along, for a fixed penalty does depend on units.
"""

import warnings

import numpy as np
import pytest
import torch
from families import normals, seeded_generator
from units_cases import Change, data_of, model_of

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import log_evidence

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
