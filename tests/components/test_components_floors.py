"""Floors of scales: where they stand, that they keep a fit sound, and change no other.

A floor is a part of the output's standard deviation over all data, so that it is the
same in any unit. What is right at a floor follows from the definition of the maximum
there: the other state's scale is that of its own residuals.
"""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from families import normals
from torch.distributions import InverseGamma, constraints

import glmhmm_pyro as gh
from glmhmm_pyro.components import Component, Gamma, NegativeBinomial, StudentT
from glmhmm_pyro.components.limits import FLOOR, Bounds, Clamped
from glmhmm_pyro.components.scales import scale_bounds

QUICK = {"num_restarts": 2, "init": "glm", "progress": False}
POSITIVE = constraints.positive


class OwnCauchy(gh.GLMEmission):
    """Cauchy noise, as a user writes it."""

    def __init__(self, scale_prior=None):
        super().__init__()
        self.width = gh.Site("state", support=POSITIVE, prior=scale_prior)

    def distribution(self, predictor, width):
        return dist.Cauchy(predictor, width, validate_args=False)


class OwnLogNormal(gh.GLMEmission):
    """Reaction times whose logarithm is normal, all states with one scale."""

    def __init__(self):
        super().__init__()
        self.width = gh.Site(support=POSITIVE)

    def distribution(self, predictor, width):
        return dist.LogNormal(predictor, width, validate_args=False)


class OwnWeibull(gh.GLMEmission):
    """Waiting times; the concentration is no scale."""

    def __init__(self):
        super().__init__()
        self.concentration = gh.Site("state", support=POSITIVE)

    def distribution(self, predictor, concentration):
        return dist.Weibull(predictor.exp(), concentration, validate_args=False)


class OwnPrecision(gh.GLMEmission):
    """Normal noise of two outputs, one by its scale, one by its precision."""

    def __init__(self):
        super().__init__(("output", 2))
        self.spread = gh.Site("state", ("output", 2), support=POSITIVE)

    def distribution(self, predictor, spread):
        return dist.Normal(predictor, spread, validate_args=False).to_event(1)


class OwnTail(gh.Emission):
    """Student's t around a level, written without linear predictors."""

    def __init__(self):
        super().__init__()
        self.level = gh.Site("state")
        self.df = gh.Site("state", support=POSITIVE)
        self.size = gh.Site("state", support=POSITIVE)

    def forward(self, state, covariates):
        level = self.level[..., state] + 0 * covariates[..., 0]
        size, df = self.size[..., state], self.df[..., state]
        return dist.StudentT(df.clamp(min=1e-3), level, size, validate_args=False)


def stretch(steps=90, constant=30):
    """Noise around a line, and a constant stretch; with the covariates."""
    x = normals(steps).numpy()
    y = x + 0.3 * normals(steps, seed=1).numpy()
    y[:constant] = 2.0
    return y, np.c_[x, np.ones(steps)]


def positive_stretch():
    values = np.exp(0.5 * normals(90).numpy())
    values[:30] = 2.0
    return values, np.ones((90, 1))


def both_columns(values):
    return np.c_[values, normals(90, seed=5).numpy()]


CLOSING_IN = {
    "gaussian": (gh.Gaussian, stretch, "scale"),
    "diagonal": (lambda: gh.Gaussian(2), stretch, "scale"),
    "full": (lambda: gh.Gaussian(2, "full"), stretch, "scale"),
    "t": (StudentT, stretch, "scale"),
    "own": (OwnCauchy, stretch, "width"),
    "own t": (OwnTail, stretch, "size"),
    "gamma": (Gamma, positive_stretch, "concentration"),
}


def closing_in(name, factor=1.0):
    make, data, site = CLOSING_IN[name]
    y, x = data()
    y = both_columns(y) if name in ("diagonal", "full") else y
    return gh.GLMHMM(2, make()), gh.Sequences(factor * y, x), site


@pytest.mark.parametrize(
    "name, method",
    [(name, "em") for name in CLOSING_IN] + [("full", "map"), ("t", "map")],
)
def test_a_state_that_closes_in_on_a_constant_ends_at_a_floor(name, method):
    model, data, site = closing_in(name)
    with pytest.warns(gh.ConvergenceWarning, match=f"{site} .*in state"):
        fit = gh.fit(model, data, method=method, **QUICK)
    assert fit.status is gh.Status.COLLAPSED
    if method == "em":
        # What stands beside a floor is maximised, not approached by a little a step.
        assert max(len(run.log_joints) for run in fit.restarts) < 100
    first = data.emissions.reshape(90, -1)[:, 0]
    values = fit.params[f"emissions.{site}"].reshape(2, -1)[:, 0]
    if name == "gamma":
        first, values = first.log(), values**-0.5
    spread = first.std(correction=0)
    assert values.min() == pytest.approx(FLOOR * float(spread), rel=1e-9)
    assert values.max() > 0.1 * spread
    steps = fit.decode(data).viterbi_states.values
    constant = int(values.argmin())
    assert (steps[:30] == constant).all() and (steps[30:] == constant).sum() <= 3
    assert np.abs(fit.log_joint) < 30 * 10 + 500


@pytest.mark.parametrize("name", ["gaussian", "full", "t", "own", "gamma"])
def test_the_log_joint_does_not_fall_on_the_way_to_a_floor(name):
    model, data, _ = closing_in(name)
    with pytest.warns(gh.ConvergenceWarning):
        fit = gh.fit(model, data, accelerate=False, num_iters=60, **QUICK)
    for restart in fit.restarts:
        assert np.diff(restart.log_joints).min() > -1e-9


@pytest.mark.parametrize("name", ["gaussian", "t", "own"])
def test_a_floor_is_the_same_in_any_unit(name):
    scales = []
    for factor in (1.0, 1024.0):
        model, data, site = closing_in(name, factor)
        with pytest.warns(gh.ConvergenceWarning):
            fit = gh.fit(model, data, **QUICK)
        assert fit.status is gh.Status.COLLAPSED
        scales.append(float(fit.params[f"emissions.{site}"].min()))
    assert scales[1] == pytest.approx(1024 * scales[0], rel=1e-9)


def without_floors(monkeypatch):
    monkeypatch.setattr(Component, "limit", lambda self, data: None)


UNTOUCHED = [
    (gh.Gaussian, "em"),
    (gh.Gaussian, "map"),
    (gh.Gaussian, "laplace"),
    (StudentT, "em"),
    (OwnCauchy, "map"),
]


@pytest.mark.parametrize("make, method", UNTOUCHED)
@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
def test_a_floor_that_is_not_reached_changes_nothing(make, method, monkeypatch):
    y, x = stretch()
    y = x[:, 0] + np.repeat([0.1, 1.0, 0.1], 30) * normals(90, seed=3).numpy()
    data, model = gh.Sequences(y, x), gh.GLMHMM(2, make())
    fits = [gh.fit(model, data, method=method, num_restarts=1, progress=False)]
    assert fits[0].model.emissions.bounds
    without_floors(monkeypatch)
    fits.append(gh.fit(model, data, method=method, num_restarts=1, progress=False))
    assert not fits[1].model.emissions.bounds
    for name, value in fits[0].params.items():
        assert torch.equal(value, fits[1].params[name]), name
    assert fits[0].log_joint == fits[1].log_joint
    assert fits[0].status is fits[1].status is not gh.Status.COLLAPSED


def test_an_output_that_varies_hardly_leaves_the_states_to_the_one_beside_it():
    states = np.repeat([0, 1, 0, 1], 50)
    good = 3 * states + 0.5 * normals(200).numpy()
    poor = np.full(200, np.nan)
    poor[[3, 100]] = 0.2, 0.3
    data = gh.Sequences(np.c_[good, poor], emission_names=["good", "poor"])
    model = gh.GLMHMM(2, gh.Outputs(good=gh.Gaussian(), poor=gh.Gaussian()))
    with pytest.warns(gh.ConvergenceWarning, match="emissions.poor.scale runs to 0"):
        fit = gh.fit(model, data, num_restarts=5, progress=False)
    found = fit.decode(data).viterbi_states.values
    assert max((found == states).mean(), (found != states).mean()) > 0.98


CONSTANT = [gh.Gaussian, StudentT, Gamma, OwnCauchy, OwnLogNormal]


@pytest.mark.parametrize("make", CONSTANT)
def test_an_output_that_is_constant_is_refused_by_name(make):
    values = np.c_[normals(40).numpy(), np.full(40, 0.2)]
    values[3, 1] = np.nan
    data = gh.Sequences(values, emission_names=["good", "dull"])
    model = gh.GLMHMM(2, gh.Outputs(good=gh.Gaussian(), dull=make()))
    match = "emissions must vary.*got 0.2 at all 39 steps where output 'dull'.*leave"
    for method in ("em", "map", "laplace", "nuts", "svi"):
        with pytest.raises(ValueError, match=match):
            gh.fit(model, data, method=method, progress=False)


def test_an_output_that_is_constant_but_for_rounding_is_refused():
    values = np.where(np.arange(40) % 2, 0.1 + 0.2, 0.3)
    with pytest.raises(ValueError, match="got 0.3 at all 40 steps"):
        gh.fit(gh.GLMHMM(2, gh.Gaussian()), gh.Sequences(values), progress=False)


def test_one_constant_column_of_a_gaussian_is_refused_by_name():
    values = np.c_[normals(40).numpy(), np.ones(40)]
    data = gh.Sequences(values, emission_names=["moves", "rests"])
    for family in (gh.Gaussian(2), gh.Gaussian(2, "full", shared_scale=True)):
        with pytest.raises(ValueError, match="where output 'rests' was observed"):
            gh.fit(gh.GLMHMM(2, family), data, progress=False)


SEEN_ONCE = [
    (gh.Gaussian, {"scale_prior": InverseGamma(2.0, 1.0)}, "InverseGamma"),
    (StudentT, {"scale_prior": InverseGamma(2.0, 1.0)}, "InverseGamma"),
    (
        Gamma,
        {"concentration_prior": torch.distributions.Gamma(2.0, 0.1)},
        r"Gamma\(2, 0.1\)",
    ),
]


@pytest.mark.parametrize("make, options, advice", SEEN_ONCE)
def test_an_output_seen_once_needs_a_prior_as_is_advised(make, options, advice):
    good = np.repeat([0.0, 3.0], 30) + 0.5 * normals(60).numpy()
    rare = np.full(60, np.nan)
    rare[7] = 1.5
    data = gh.Sequences(np.c_[good, rare], emission_names=["good", "rare"])

    def fitted(family):
        model = gh.GLMHMM(2, gh.Outputs(good=gh.Gaussian(), rare=family))
        return gh.fit(model, data, **QUICK)

    match = f"got 1.5 at the one step where output 'rare' was observed.*{advice}"
    with pytest.raises(ValueError, match=match):
        fitted(make())
    weights = dist.Normal(0.0, 2.0)
    if make is StudentT:
        options = options | {"df_prior": torch.distributions.Gamma(2.0, 0.1)}
    fit = fitted(make(prior=weights, **options))
    assert fit.status is gh.Status.CONVERGED
    found = fit.decode(data).viterbi_states.values
    assert len(set(found[:30])) == len(set(found[30:])) == 1 and found[0] != found[-1]


def test_counts_and_labels_may_be_constant():
    values = np.c_[normals(40).numpy(), np.full(40, 3.0), np.zeros(40)]
    data = gh.Sequences(values, emission_names=["good", "count", "more"])
    families = gh.Outputs(
        good=gh.Gaussian(),
        count=gh.Poisson(prior=dist.Normal(0.0, 5.0)),
        more=NegativeBinomial(prior=dist.Normal(0.0, 2.0)),
    )
    fit = gh.fit(gh.GLMHMM(1, families), data, **QUICK)
    assert np.isfinite(fit.log_joint)


FOUND = {
    OwnCauchy: {"width": lambda y: y.std(0, correction=0)[0]},
    OwnLogNormal: {"width": lambda y: y.log().std(0, correction=0)[0]},
    OwnWeibull: {},
    OwnTail: {"size": lambda y: y.std(0, correction=0)[0]},
    OwnPrecision: {"spread": lambda y: y.std(0, correction=0)},
    gh.Bernoulli: {},
}


@pytest.mark.parametrize("make", FOUND)
def test_scales_of_users_families_are_found_by_their_density(make):
    values = normals(20).exp().unsqueeze(-1)
    if make is OwnPrecision:
        values = torch.stack([normals(20), 8 * normals(20, seed=1)], -1)
    if make is gh.Bernoulli:
        values = (values > 1).double()
    data = gh.Sequences(values.squeeze(-1), 1e9 + normals(20, 2))
    model = gh.GLMHMM(2, make())
    model.bind(data)
    found = scale_bounds(model.emissions, data)
    assert set(found) == set(FOUND[make])
    for name, spread in FOUND[make].items():
        torch.testing.assert_close(found[name].low, FLOOR * spread(values))


def test_bounds_move_values_and_stop_their_gradient():
    bounds = Bounds.of_scale(torch.tensor([1.0, 10.0]).double())
    exponential = torch.distributions.biject_to(POSITIVE)
    bounded = Clamped(exponential, bounds)
    free = torch.tensor([[-20.0, 0.5], [0.5, -8.0]]).double().requires_grad_()
    values = bounded(free)
    expected = torch.tensor([[1e-4, 0.5], [0.5, 1e-3]]).double()
    inside = torch.tensor([[False, True], [True, False]])
    assert torch.equal(values[inside], exponential(free)[inside])
    torch.testing.assert_close(values[~inside], expected[~inside])
    (slope,) = torch.autograd.grad(values.sum(), free)
    torch.testing.assert_close(slope, torch.where(inside, values, 0.0))
    # Beyond the floor a density keeps the volume of the transform: a finite integral.
    assert torch.equal(bounded.log_abs_det_jacobian(free, values), free)
    assert bounds.reached(values).tolist() == [[True, False], [False, True]]


def test_laplace_at_a_floor_says_so_and_has_no_draws():
    model, data, _ = closing_in("gaussian")
    with pytest.warns(gh.ConvergenceWarning, match="scale runs to 0 in state"):
        fit = gh.fit(model, data, method="laplace", **QUICK)
    assert fit.status is gh.Status.COLLAPSED and fit.posterior is None
