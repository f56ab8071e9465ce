"""Gaussian emissions: least squares, correlated outputs, parts not observed."""

import numpy as np
import pytest
import torch
from component_cases import bound, within
from families import (
    constrained,
    enumerated_log_joint,
    hidden_markov,
    log_joint,
    normals,
    random_data,
    random_free,
    random_params,
    seeded_generator,
    with_sets,
)
from torch.distributions import Gamma, InverseGamma, MultivariateNormal, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.inference.steps.blocks import log_probs_and_sites

QUICK = {"num_restarts": 3, "progress": False, "tol": 1e-10}
FLAT = {
    "one output": gh.Gaussian(),
    "shared scale": gh.Gaussian(shared_scale=True),
    "diagonal": gh.Gaussian(2),
    "full": gh.Gaussian(3, "full"),
    "shared covariance": gh.Gaussian(2, "full", shared_scale=True),
}


def outputs_of(family):
    return () if family.num_outputs is None else (family.num_outputs,)


def made_data(family, by_output=False, seed=0):
    """Twelve steps of which the third, or the third of one output, was not observed."""
    shape = (12, *outputs_of(family))
    mask = torch.ones(shape if by_output else 12, dtype=torch.bool)
    mask[2] = not by_output
    mask[2 if not by_output else 5, ...] = False
    if by_output:
        mask[5] = torch.arange(shape[1]) > 0
    x = torch.cat([normals(12, 1, seed=seed), torch.ones(12, 1).double()], -1)
    return gh.Sequences(normals(*shape, seed=seed + 1), x, lengths=[7, 5], mask=mask)


def expected_log_joint(model, data, counts, params):
    """Of every set: what an M-step of the emissions maximises."""
    log_probs, sites = log_probs_and_sites(model.emissions, data, params)
    total = (counts * log_probs).flatten(1).sum(-1)
    return total + sum(s["fn"].log_prob(s["value"]) for s in sites.values())


def random_counts(data, sets=2, states=2):
    shape = (sets, data.num_steps, states)
    return torch.rand(shape, generator=seeded_generator(5)).double() + 0.1


@pytest.mark.parametrize("family", FLAT.values(), ids=FLAT)
def test_the_closed_form_is_a_maximum_of_the_expected_log_likelihood(family):
    data = made_data(family)
    model, _ = bound(family, data=data, states=2)
    counts = model.emissions.counted(random_counts(data), data)
    found = model.emissions.closed_form(counts, data, {})
    best = {f"emissions.{n}": v for n, v in found.items()}
    leaves = {n: v.clone().requires_grad_() for n, v in best.items()}
    value = expected_log_joint(model, data, counts, leaves)
    for gradient in torch.autograd.grad(value.sum(), list(leaves.values())):
        assert gradient.abs().max() < 1e-9
    for seed in range(10):
        other = {
            n: v + 0.02 * v.abs().clamp(max=0.5) * normals(*v.shape, seed=seed)
            for n, v in best.items()
        }
        assert (expected_log_joint(model, data, counts, other) < value).all()


@pytest.mark.parametrize(
    "family",
    [
        gh.Gaussian(prior=Normal(1.0, 0.2)),
        gh.Gaussian(2, shared_scale=True, prior=Normal(0.5, 0.1)),
        gh.Gaussian(prior=MultivariateNormal(torch.zeros(2), 0.1 * torch.eye(2))),
        gh.Gaussian(3, "full"),
    ],
    ids=["normal", "two outputs", "correlated weights", "parts not observed"],
)
def test_a_step_given_the_present_parameters_raises_the_log_joint_to_a_maximum(family):
    data = made_data(family, by_output=family.num_outputs is not None)
    model, _ = bound(family, data=data, states=2)
    counts = model.emissions.counted(random_counts(data), data)
    params = with_sets([random_params(model, data, seed=s) for s in (1, 2)])
    params = {n: v for n, v in params.items() if n.startswith("emissions.")}
    before = expected_log_joint(model, data, counts, params)
    for _ in range(100):
        now = {n.removeprefix("emissions."): v for n, v in params.items()}
        found = model.emissions.closed_form(counts, data, now)
        params = {f"emissions.{n}": v for n, v in found.items()}
        after = expected_log_joint(model, data, counts, params)
        assert (after >= before - 1e-9).all()
        before = after
    leaves = {n: v.clone().requires_grad_() for n, v in params.items()}
    value = expected_log_joint(model, data, counts, leaves).sum()
    for gradient in torch.autograd.grad(value, list(leaves.values())):
        assert gradient.abs().max() < 1e-6


def test_a_weight_without_data_is_0_and_a_state_without_visits_keeps_a_scale():
    data = gh.Sequences([1.0, 3.0, 4.0], [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    model, _ = bound(gh.Gaussian(), data=data, states=2)
    counts = torch.tensor([[[1.0, 0.0]] * 3]).double()
    found = model.emissions.closed_form(counts, data, {})
    expected = torch.tensor([[8 / 3, 0.0], [0.0, 0.0]]).double()
    torch.testing.assert_close(found["weights"][0], expected)
    assert found["scale"][0, 1] == pytest.approx(data.emissions.std(correction=0))


def test_the_correlations_of_three_outputs_are_those_given_the_outputs_before():
    data = random_data("normals", seed=3)
    data = data.replace(
        emissions=torch.cat([data.emissions, normals(8, 1)], -1), emission_names=None
    )
    model, _ = bound(gh.Gaussian(3, "full"), data=data, states=1)
    params = random_params(model, data, seed=1)
    table = within(model, params, lambda: model.emissions.table(data.covariates))
    covariance = table.covariance_matrix[0, 0]
    scale, given = params["emissions.scale"][0], params["emissions.correlation"][0]
    torch.testing.assert_close(covariance.diagonal().sqrt(), scale)
    plain = covariance / scale / scale[:, None]
    assert plain[1, 0] == pytest.approx(given[0]) and plain[2, 0] == pytest.approx(
        given[1]
    )
    left = plain[2, 1] - plain[2, 0] * plain[1, 0]
    left /= ((1 - plain[2, 0] ** 2) * (1 - plain[1, 0] ** 2)).sqrt()
    assert left == pytest.approx(given[2])


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_an_output_not_observed_leaves_the_marginal_density_of_the_others(covariance):
    data = made_data(FLAT["full"], by_output=True)
    model, _ = bound(gh.Gaussian(3, covariance), data=data, states=2)
    params = random_params(model, data, seed=2)
    log_probs = within(model, params, lambda: model.emissions.log_probs(data))
    scale, mean = (
        params["emissions.scale"],
        data.covariates[5] @ params["emissions.weights"].mT,
    )
    assert data.mask[5].tolist() == [False, True, True] and not data.mask[2].any()
    assert (log_probs[2] == 0).all()
    for k in range(2):
        covariance_of = (scale[k] ** 2).diag()
        if covariance == "full":
            table = within(
                model, params, lambda: model.emissions.table(data.covariates)
            )
            covariance_of = table.covariance_matrix[0, k]
        marginal = MultivariateNormal(mean[k, 1:], covariance_of[1:, 1:])
        assert log_probs[5, k] == pytest.approx(
            marginal.log_prob(data.emissions[5, 1:]).item(), abs=1e-12
        )
    spoilt = data.emissions.clone()
    spoilt[~data.mask] = torch.nan
    changed = within(
        model, params, lambda: model.emissions.log_probs(data._derive(emissions=spoilt))
    )
    assert torch.equal(changed, log_probs)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_parts_not_observed_agree_with_the_states_enumerated(covariance):
    data = made_data(FLAT["full"], by_output=True)
    model, _ = bound(gh.Gaussian(3, covariance), data=data, states=2)
    free = random_free(model, data, seed=7)
    found = []
    for function in (log_joint, enumerated_log_joint):
        value = function(model, data, constrained(model, data, free))
        found.append((value.detach(), *torch.autograd.grad(value, list(free.values()))))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10)
    hidden = hidden_markov(model, data, constrained(model, data, free))
    counts = hidden.expected_counts(data.emissions)
    assert hidden.num_observed == 11 and (counts.emission[2] == 0).all()


def two_levels(units=1.0, steps=160):
    """A sticky chain between two levels far from 0, in any units."""
    low = torch.arange(steps) // 20 % 2 == 0
    noise = torch.where(low, 0.5, 1.5) * normals(steps, seed=3)
    return gh.Sequences(units * (torch.where(low, 40.0, 45.0) + noise))


@pytest.mark.parametrize("init", ["glm", "kmeans", "random"])
@pytest.mark.parametrize("units", [1.0, 1e-4, 1e5])
def test_starts_are_made_in_the_units_of_the_data(init, units):
    fit = gh.fit(gh.GLMHMM(2, gh.Gaussian()), two_levels(units), init=init, **QUICK)
    assert fit.status is gh.Status.CONVERGED
    levels = fit.params["emissions.weights"][:, 0].sort().values / units
    torch.testing.assert_close(
        levels, torch.tensor([40.0, 45.0]).double(), atol=0.4, rtol=0
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prior": Normal(40.0, 0.5)},
        {"prior": Normal(40.0, 1.0), "scale_prior": Gamma(3.0, 3.0)},
        {"shared_scale": True},
    ],
    ids=["flat", "normal", "with a scale's", "shared"],
)
def test_em_and_map_end_at_one_optimum(options):
    data = two_levels()
    ends = [
        gh.fit(gh.GLMHMM(2, gh.Gaussian(**options)), data, method=method, **QUICK)
        for method in ("em", "map")
    ]
    assert ends[0].log_joint == pytest.approx(ends[1].log_joint, abs=1e-5)


@pytest.mark.parametrize("method", ["em", "map"])
def test_a_state_that_closes_in_on_a_constant_is_named_and_the_fit_kept(method):
    values = np.concatenate([np.zeros(30), normals(60).numpy() + 1.0])
    model = gh.GLMHMM(2, gh.Gaussian())
    with pytest.warns(gh.ConvergenceWarning, match="scale runs to 0 in state"):
        fit = gh.fit(model, gh.Sequences(values), method=method, **QUICK)
    assert fit.status is gh.Status.COLLAPSED and np.isfinite(fit.log_joint)
    assert fit.params["emissions.scale"].max() == pytest.approx(1.0, abs=0.3)
    with_prior = gh.Gaussian(scale_prior=InverseGamma(2.0, 1.0))
    kept = gh.fit(
        gh.GLMHMM(2, with_prior), gh.Sequences(values), method=method, **QUICK
    )
    assert kept.params["emissions.scale"].min() > 1e-3


def test_outputs_that_depend_on_each_other_without_error_are_named():
    first = normals(80)
    values = torch.stack([first, 2 * first], -1)
    with pytest.warns(gh.ConvergenceWarning, match="correlation runs to 1 or -1"):
        gh.fit(gh.GLMHMM(1, gh.Gaussian(2, "full")), gh.Sequences(values), **QUICK)


@pytest.mark.parametrize(
    "family, shape, match",
    [
        (gh.Gaussian(), (5, 2), r"shape \(steps,\).*got \(5, 2\).*num_outputs=2"),
        (gh.Gaussian(2), (5,), r"shape \(steps, 2\).*got \(5,\)"),
        (gh.Gaussian(2), (5, 3), r"shape \(steps, 2\).*got \(5, 3\)"),
    ],
)
def test_emissions_of_another_number_of_outputs_are_refused(family, shape, match):
    with pytest.raises(ValueError, match=match):
        bound(family, data=gh.Sequences(normals(*shape)))


@pytest.mark.parametrize(
    "options, match",
    [
        ({"num_outputs": 1}, "num_outputs must be at least 2, got 1; leave it out"),
        ({"num_outputs": 2, "covariance": "spherical"}, "'diagonal' or 'full'"),
        ({"covariance": "full"}, "give num_outputs"),
        ({"correlation_prior": Normal(0.0, 1.0)}, "write covariance='full'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        gh.Gaussian(**options)


def test_emissions_that_one_line_fits_exactly_are_a_collapse():
    data = gh.Sequences(np.arange(20.0), np.c_[np.arange(20.0), np.ones(20)])
    with pytest.warns(gh.ConvergenceWarning, match="scale runs to 0 in state"):
        fit = gh.fit(gh.GLMHMM(2, gh.Gaussian()), data, progress=False, num_restarts=1)
    assert fit.status is gh.Status.COLLAPSED
