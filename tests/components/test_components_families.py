"""Counts, positive and heavy-tailed emissions: their densities and their bad input."""

import mpmath
import numpy as np
import pytest
import torch
from component_cases import bound, within
from families import MASK, normals, random_data, random_params
from scipy import stats
from torch.distributions import HalfNormal, LogNormal, Uniform

import glmhmm_pyro as gh
from glmhmm_pyro.components import Gamma, NegativeBinomial, StudentT
from glmhmm_pyro.components.log_gamma import (
    GammaByMean,
    NegativeBinomialByMean,
    PreciseStudentT,
    stirling_rest,
    stirling_rest_and_slope,
)
from glmhmm_pyro.components.regressions import PoissonObjective
from glmhmm_pyro.inference.steps.m_step import MStep


def as_double(*values):
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def test_the_rest_of_stirlings_formula_is_exact_on_both_sides_of_the_series():
    (x,) = as_double([1e-3, 0.5, 3.0, 49.9, 50.1, 1e3, 1e9])
    with mpmath.workdps(40):
        root = mpmath.log(2 * mpmath.pi) / 2
        exact = [
            float(mpmath.loggamma(v) - (v - 0.5) * mpmath.log(v) + v - root)
            for v in map(mpmath.mpf, x.tolist())
        ]
    found = stirling_rest(x)
    (expected,) = as_double(exact)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13)
    assert torch.autograd.gradcheck(stirling_rest, x[:5].requires_grad_())
    again, slope = stirling_rest_and_slope(x.detach().numpy())
    np.testing.assert_allclose(again, expected, rtol=1e-9, atol=1e-13)
    with mpmath.workdps(40):
        exact = [
            float(mpmath.digamma(v) - mpmath.log(v) + 1 / (2 * v))
            for v in map(mpmath.mpf, x.tolist())
        ]
    np.testing.assert_allclose(slope, exact, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("dispersion", [3.0, 0.2])
def test_negative_binomial_counts_have_the_mean_and_variance_that_are_promised(
    dispersion,
):
    log_mean, dispersion = as_double(0.7, dispersion)
    family = NegativeBinomialByMean(log_mean, dispersion)
    size, mean = 1 / dispersion.item(), log_mean.exp().item()
    counts = np.arange(2000)
    expected = stats.nbinom.logpmf(counts, size, size / (size + mean))
    found = family.log_prob(torch.from_numpy(counts).double())
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
    probs = found.exp().numpy()
    variance = (counts**2 * probs).sum() - mean**2
    assert variance == pytest.approx(mean + dispersion.item() * mean**2, rel=1e-6)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = family.sample(torch.Size([20_000])).numpy()
    # Five standard errors: one false alarm in two million.
    assert abs(drawn.mean() - mean) < 5 * np.sqrt(variance / 20_000)


def test_values_are_drawn_from_the_density():
    log_mean, one, heavy = as_double(1.0, 0.8, 1.5)
    mean, size = np.e, 1 / 0.8
    families = {
        NegativeBinomialByMean(log_mean, one): stats.nbinom(size, size / (size + mean)),
        GammaByMean(log_mean, one): stats.gamma(0.8, scale=mean / 0.8),
        PreciseStudentT(heavy, log_mean, one): stats.t(1.5, 1.0, 0.8),
    }
    for family, exact in families.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            drawn = np.sort(family.sample(torch.Size([100_000])).numpy())
        below = np.searchsorted(drawn, drawn, side="right") / len(drawn)
        # Massart's bound: one false alarm in five million.
        assert np.abs(below - exact.cdf(drawn)).max() < 0.009


def test_a_tiny_dispersion_is_a_poisson_distribution_and_loses_no_digits():
    log_mean, dispersion = as_double(2.0, 1e-13)
    counts = torch.arange(40).double()
    found = NegativeBinomialByMean(log_mean, dispersion).log_prob(counts)
    expected = torch.distributions.Poisson(log_mean.exp()).log_prob(counts)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_gamma_and_students_t_are_those_of_scipy_and_stay_exact_far_out():
    y = normals(50).exp()
    log_mean, shape, df, scale = as_double(0.3, 2.5, 3.5, 0.7)
    found = GammaByMean(log_mean, shape).log_prob(y)
    expected = stats.gamma.logpdf(y, 2.5, scale=np.exp(0.3) / 2.5)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
    found = PreciseStudentT(df, log_mean, scale).log_prob(y)
    expected = stats.t.logpdf(y, 3.5, 0.3, 0.7)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
    far = PreciseStudentT(df + 1e15, log_mean, scale).log_prob(y)
    normal = stats.norm.logpdf(y, 0.3, 0.7)
    np.testing.assert_allclose(far, normal, rtol=1e-11, atol=1e-12)
    narrow = GammaByMean(log_mean, shape + 1e12).log_prob(log_mean.exp())
    assert narrow.item() == pytest.approx(
        stats.norm.logpdf(0.0, 0.0, np.exp(0.3) / 1e6), abs=1e-4
    )


@pytest.mark.parametrize(
    "make, mean",
    [(gh.Poisson, "exp"), (NegativeBinomial, "exp"), (Gamma, "exp"), (StudentT, "id")],
)
def test_the_mean_is_the_inverse_link_of_the_predictor(make, mean):
    data = random_data("positive" if make is Gamma else "counts")
    model, _ = bound(make(), data=data, states=2)
    params = random_params(model, data) | {"emissions.df": torch.tensor([2.5, 4.0])}
    table = within(model, params, lambda: model.emissions.table(data.covariates))
    predictor = data.covariates @ params["emissions.weights"].mT
    expected = predictor.exp() if mean == "exp" else predictor
    torch.testing.assert_close(table.mean, expected)


def test_the_objective_of_counts_has_its_curvature_and_survives_enormous_weights():
    data = random_data("counts", seed=4)
    objective = PoissonObjective(data, data.covariates.numpy())
    counts = objective.prepare(torch.rand(1, 8, 2).double())
    point, which = normals(2, 2, seed=1).numpy(), np.arange(2)
    found = objective.begin(point, counts).curvature[:, 0]
    for i in range(2):
        step = np.zeros((2, 2))
        step[:, i] = 1e-6
        up, down = (objective(point + s * step, which, counts)[1] for s in (1, -1))
        np.testing.assert_allclose(
            found[:, i], (down - up) / 2e-6, atol=3e-3 * np.abs(found).max()
        )
    values, _ = objective(1e4 + point, which, counts)
    assert (values < 0).all() and np.isfinite(
        objective.begin(1e4 + point, counts).curvature
    ).all()


@pytest.mark.parametrize("make", [NegativeBinomial, Gamma, StudentT])
@pytest.mark.parametrize("size", [1.0, 30.0])
def test_rough_curvature_is_positive_however_far_off(make, size):
    data = random_data("positive" if make is Gamma else "counts", seed=4)
    model, _ = bound(make(), data=data, states=2)
    objective = model.emissions.block_objective(data)
    counts = objective.prepare(torch.ones(1, 8, 2).double())
    points = size * normals(2, 4 if make is StudentT else 3, seed=1).numpy()
    found = objective.begin(points, counts).curvature
    assert np.isfinite(found).all()
    scale = np.sqrt(found.diagonal(axis1=-2, axis2=-1))
    unit = found / scale[..., None] / scale[..., None, :]
    assert (scale > 0).all() and np.linalg.eigvalsh(unit).min() > 0
    # What is nearly flat is held to a hundredth of the counts.
    assert (scale[:, 0, 2:] >= 0.1 * np.sqrt(8)).all()


def test_least_squares_with_the_weights_of_students_t_bound_its_density():
    data = random_data("heavy-tailed", seed=4)
    model, _ = bound(StudentT(), data=data, states=2)
    objective = model.emissions.block_objective(data)
    counts, which = objective.prepare(torch.ones(1, 8, 2).double()), np.arange(2)
    point = normals(2, 4).numpy()
    value, slope = objective(point, which, counts)
    bend = objective.begin(point, counts).curvature[:, 0, :2, :2]
    for seed in range(20):
        move = 10.0 ** (seed % 4 - 2) * normals(2, 2, seed=seed).numpy()
        there = objective(np.c_[point[:, :2] + move, point[:, 2:]], which, counts)[0]
        least = (slope[:, :2] * move).sum(1)
        least -= np.einsum("pi,pij,pj->p", move, bend, move) / 2
        assert (there >= value + least).all()


@pytest.mark.parametrize("make", [gh.Poisson, NegativeBinomial, Gamma, StudentT])
def test_steps_that_do_not_count_add_nothing_however_far_off(make):
    data = random_data("positive" if make is Gamma else "counts", mask=MASK)
    spoilt = data.emissions.clone()
    spoilt[~data.mask] = -1000
    model, _ = bound(make(), data=data, states=2)
    size = {gh.Poisson: 2, StudentT: 4}.get(make, 3)
    point, which = normals(2, size, seed=1).numpy(), np.arange(2)
    counts = data.mask[:, None].double().expand(1, 8, 2)
    found = []
    for values in (data.emissions, spoilt):
        # The covariates of a masked step take its rate past any number.
        design = torch.where(data.mask[:, None], data.covariates, 1e6)
        other = data._derive(emissions=values, covariates=design)
        objective = model.emissions.block_objective(other)
        found.append(objective(point, which, objective.prepare(counts)))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert np.isfinite(found[0][0]).all() and np.isfinite(found[0][1]).all()


@pytest.mark.parametrize("prior", [None, LogNormal(0.0, 1.0), HalfNormal(1.0)])
def test_m_steps_of_positive_parameters_know_their_gradient(prior):
    data = random_data("counts")
    model, _ = bound(NegativeBinomial(dispersion_prior=prior), data=data)
    assert MStep(model.emissions, data).fast is not None
    model, _ = bound(NegativeBinomial(dispersion_prior=Uniform(0.1, 2.0)), data=data)
    assert MStep(model.emissions, data).fast is None


@pytest.mark.parametrize("start", [1e-3, 1e3])
def test_degrees_of_freedom_come_back_from_far_off(start):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 800, generator=generator).double()
    data = gh.Sequences(noise[0] / noise[1:].square().mean(0).sqrt())
    model = gh.GLMHMM(1, StudentT())
    best, far = (
        gh.fit(
            model,
            data,
            init={"emissions.df": torch.tensor([df]).double()},
            num_restarts=1,
            progress=False,
        )
        for df in (3.0, start)
    )
    assert far.log_likelihood == pytest.approx(best.log_likelihood, abs=1e-4)


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
@pytest.mark.parametrize("init", ["glm", "kmeans", "random"])
def test_starts_lie_at_the_level_of_large_counts(init):
    levels = torch.tensor([2e3, 9e3]).double()[torch.arange(120) // 30 % 2]
    values = torch.poisson(levels, generator=torch.Generator().manual_seed(0))
    fit = gh.fit(
        gh.GLMHMM(2, gh.Poisson()),
        gh.Sequences(values),
        init=init,
        num_restarts=3,
        progress=False,
    )
    rates = fit.params["emissions.weights"].exp().flatten().sort().values
    torch.testing.assert_close(
        rates, torch.tensor([2e3, 9e3]).double(), rtol=0.02, atol=0
    )


def test_a_gamma_state_that_closes_in_on_a_constant_is_named():
    values = np.concatenate([np.full(30, 2.0), np.exp(normals(60).numpy())])
    with pytest.warns(
        gh.ConvergenceWarning, match="concentration grows without end in"
    ):
        fit = gh.fit(
            gh.GLMHMM(2, Gamma()), gh.Sequences(values), num_restarts=1, progress=False
        )
    assert fit.status is gh.Status.COLLAPSED and np.isfinite(fit.log_joint)


def test_tails_that_are_normal_end_at_the_normal_fit():
    data = gh.Sequences(np.linspace(-1.0, 1.0, 41))
    ends = [
        gh.fit(gh.GLMHMM(1, make()), data, num_restarts=1, progress=False)
        for make in (StudentT, gh.Gaussian)
    ]
    assert ends[0].log_likelihood == pytest.approx(ends[1].log_likelihood, abs=1e-3)


@pytest.mark.parametrize(
    "make, values, match",
    [
        (gh.Poisson, [1.0, -1.0], r"counts 0, 1, 2, ... for Poisson\(\), got -1.0"),
        (gh.Poisson, [1.0, 0.5], "got 0.5; mask steps without a count"),
        (NegativeBinomial, [1.0, 2.5], r"NegativeBinomial\(\), got 2.5"),
        (
            gh.Poisson,
            [[1, 2], [3, 4]],
            r"shape \(steps,\) for Poisson\(\), got \(2, 2\)",
        ),
        (Gamma, [1.0, 0.0], r"must be positive for Gamma\(\), got 0.0"),
        (Gamma, [[1.0, 2.0], [3.0, 4.0]], r"shape \(steps,\) for Gamma"),
        (StudentT, [[1.0, 2.0], [3.0, 4.0]], r"shape \(steps,\) for StudentT"),
    ],
)
def test_emissions_that_the_family_cannot_have_are_refused(make, values, match):
    with pytest.raises(ValueError, match=match):
        bound(make(), data=gh.Sequences(values))


def test_what_is_masked_may_be_anything():
    for make in (gh.Poisson, Gamma):
        found = []
        for masked in (-1.0, 0.5, 7.0):
            data = gh.Sequences([2.0, masked, 3.0], mask=[True, False, True])
            model, _ = bound(make(), data=data)
            hidden = model.hidden_markov_at(random_params(model, data), data)
            found.append(hidden.log_prob(data.emissions).item())
        assert np.isfinite(found[0]) and found == found[:1] * 3
