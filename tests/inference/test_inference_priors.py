"""EM with every prior ends at the maximum that direct maximisation finds."""

from dataclasses import replace

import numpy as np
import pyro
import pytest
import torch
from families import log_joint, parameter_sites, random_params
from inference_cases import clear_data
from pyro.distributions import HalfCauchy, HalfNormal, InverseGamma, LogNormal, Normal
from pyro.nn import PyroSample
from scipy.optimize import minimize
from torch.distributions import Dirichlet, biject_to

import glmhmm_pyro as gh
from glmhmm_pyro.inference.steps.m_step import MStep

p = gh.priors
ROW = Dirichlet(torch.full((2,), 2.0))
STEADY = {"transitions": gh.Stationary(p.Sticky(5.0, 2.0)), "initial": gh.Initial(ROW)}
QUICK = {"num_restarts": 1, "progress": False}


def function_with_a_scale(shape):
    """A user's prior with a hyperparameter."""
    scale = pyro.sample("scale", LogNormal(0.0, 0.3))
    return Normal(0.0, scale).expand(shape)


def function_with_a_mean(shape):
    """A user's prior with two hyperparameters, one of several numbers."""
    mean = pyro.sample("mean", Normal(0.0, 1.0).expand(shape[-1:]))
    # torch's gamma density rounds values to the precision of its parameters.
    four, three = torch.tensor([4.0, 3.0], dtype=torch.float64)
    scale = pyro.sample("scale", InverseGamma(four, three))
    return Normal(mean, scale).expand(shape)


SMOOTH_PRIORS = {
    "ridge": p.Ridge(1.0),
    "student": p.StudentT(3.0, 1.0),
    "walk": p.RandomWalk(0.5, 2.0),
    "process": p.GaussianProcess(1.0, 2.0),
    "groups": p.Grouped({0: p.Ridge(0.5)}, rest=p.StudentT(5.0, 1.0)),
    "one scale": p.Hierarchical(InverseGamma(2.0, 1.0)),
    "by state": p.Hierarchical(InverseGamma(2.0, 2.0), per="state"),
    "a smooth scale": p.Hierarchical(LogNormal(0.0, 0.5), base=p.RandomWalk(1.0, 1.0)),
    "two scales": p.Hierarchical(
        LogNormal(0.0, 0.5), base=p.Hierarchical(LogNormal(0.0, 0.5), per="covariate")
    ),
    "function": function_with_a_scale,
    "function in a group": p.Grouped({1: function_with_a_scale}, rest=p.Ridge(1.0)),
    "function, two": function_with_a_mean,
}


def direct_maximum(model, data, params):
    """Best log-joint near ``params`` by scipy, over unconstrained numbers."""
    sites = parameter_sites(model, data)
    transforms = {name: biject_to(site.support) for name, site in sites.items()}
    free = {name: t.inv(params[name]) for name, t in transforms.items()}

    def minus_log_joint(x):
        leaf = torch.tensor(x, requires_grad=True)
        parts = leaf.split([value.numel() for value in free.values()])
        values = {
            name: transforms[name](part.reshape(free[name].shape))
            for name, part in zip(free, parts)
        }
        value = -log_joint(model, data, values)
        return value.item(), torch.autograd.grad(value, leaf)[0].numpy()

    near = torch.cat([value.reshape(-1) for value in free.values()]).numpy()
    start = near + 0.02 * np.random.default_rng(0).normal(size=len(near))
    options = {"ftol": 1e-16, "gtol": 1e-9, "maxiter": 3000, "maxfun": 6000}
    found = minimize(
        minus_log_joint, start, jac=True, method="L-BFGS-B", options=options
    )
    assert minus_log_joint(start)[0] > found.fun + 1e-4
    return -found.fun


@pytest.mark.parametrize("prior", SMOOTH_PRIORS.values(), ids=SMOOTH_PRIORS)
def test_em_ends_at_the_maximum_of_the_log_joint(prior):
    data = clear_data()
    model = gh.GLMHMM(2, gh.Bernoulli(prior), **STEADY)
    fit = gh.fit(model, data, tol=1e-12, num_restarts=2, progress=False)
    assert fit.status is gh.Status.CONVERGED
    assert fit.history["log_joint"].diff().min() > -1e-9
    joint = log_joint(fit.model, data, fit.params).item()
    assert fit.log_joint == pytest.approx(joint, abs=1e-9)
    best = direct_maximum(fit.model, data, fit.params)
    assert fit.log_joint == pytest.approx(best, abs=1e-7)


@pytest.mark.parametrize("transitions", [gh.InputDriven, gh.SharedInputDriven])
def test_em_ends_at_the_maximum_with_priors_of_transitions(transitions):
    data = clear_data()
    prior = p.Hierarchical(InverseGamma(2.0, 1.0), base=p.RandomWalk(1.0, 1.0))
    options = {"baseline_prior": p.Ridge(2.0)}
    options = options if transitions is gh.SharedInputDriven else {}
    moves = transitions(prior, **options)
    model = gh.GLMHMM(2, gh.Bernoulli(p.Ridge(2.0)), moves, gh.Initial(ROW))
    fit = gh.fit(model, data, tol=1e-12, **QUICK)
    best = direct_maximum(fit.model, data, fit.params)
    assert fit.log_joint == pytest.approx(best, abs=1e-7)


@pytest.mark.parametrize(
    "prior",
    [
        p.Lasso(0.3),
        lambda shape: torch.distributions.Laplace(0.0, 0.3).expand(shape),
        p.Grouped({1: p.Lasso(0.05)}),
    ],
    ids=["recipe", "function, states together", "group"],
)
def test_em_with_a_laplace_prior_ends_where_no_weight_can_gain(prior):
    # No gradient vanishes at a kink: each weight's one-sided slopes must be downhill.
    data = clear_data()
    model = gh.GLMHMM(2, gh.Bernoulli(prior), **STEADY)
    fit = gh.fit(model, data, tol=1e-13, num_restarts=2, progress=False)
    weights, best = fit.params["emissions.weights"], fit.log_joint
    assert fit.status is gh.Status.CONVERGED
    for index in range(weights.numel()):
        for step in (1e-4, -1e-4):
            moved = weights.clone()
            moved.view(-1)[index] += step
            params = {**fit.params, "emissions.weights": moved}
            assert log_joint(fit.model, data, params) < best + 1e-9
    if isinstance(prior, p.Grouped):
        assert (weights[:, 1].abs() < 1e-6).any() and (weights[:, 0].abs() > 0.5).all()


def test_a_laplace_prior_on_shared_weights_ends_there_too():
    data = clear_data()
    moves = gh.SharedInputDriven(p.Lasso(0.2), baseline_prior=p.Ridge(2.0))
    model = gh.GLMHMM(2, gh.Bernoulli(p.Ridge(2.0)), moves, gh.Initial(ROW))
    fit = gh.fit(model, data, **QUICK)
    weights = fit.params["transitions.weights"]
    for index in range(weights.numel()):
        for step in (1e-4, -1e-4):
            moved = weights.clone()
            moved.view(-1)[index] += step
            params = {**fit.params, "transitions.weights": moved}
            assert log_joint(fit.model, data, params) < fit.log_joint + 1e-9


def test_weights_that_are_all_0_do_not_break_the_step_of_their_scale():
    data = clear_data()
    x = torch.zeros(data.num_steps, 2, dtype=torch.float64)
    data = data.replace(covariates=x)
    model = gh.GLMHMM(2, gh.Bernoulli(p.Hierarchical(HalfNormal(1.0))), **STEADY)
    with pytest.warns(gh.ConvergenceWarning, match="runs to 0"):
        fit = gh.fit(model, data, init="random", **QUICK)
    assert all(torch.isfinite(value).all() for value in fit.params.values())


def test_a_prior_on_positive_weights_is_fitted_over_positive_weights():
    # A block objective takes unconstrained numbers for weights: not to be used here.
    data = clear_data()
    model = gh.GLMHMM(2, gh.Bernoulli(LogNormal(0.0, 1.0)), **STEADY)
    fit = gh.fit(model, data, tol=1e-12, **QUICK)
    assert (fit.params["emissions.weights"] > 0).all()
    best = direct_maximum(fit.model, data, fit.params)
    assert fit.log_joint == pytest.approx(best, abs=1e-7)


def test_a_sticky_prior_makes_states_stickier():
    data = clear_data()

    def stays(prior):
        moves, initial = gh.Stationary(prior), gh.Initial(ROW)
        model = gh.GLMHMM(2, gh.Bernoulli(p.Ridge(2.0)), moves, initial)
        fit = gh.fit(model, data, **QUICK)
        return fit.params["transitions.probs"].diagonal().min().item()

    found = [stays(p.Sticky(stay, move=1.5)) for stay in (1.5, 15.0, 40.0)]
    assert found[0] + 0.02 < found[1] and found[1] + 0.02 < found[2] < 0.99
    assert stays(p.Sticky(1.0, 1.0)) == pytest.approx(stays(None), abs=1e-4)


def test_emissions_and_transitions_take_penalties_of_their_own():
    data, sizes = clear_data(), {}
    for name, emit, move in (("a", 0.1, 2.0), ("b", 2.0, 0.1), ("both", 2.0, 2.0)):
        model = gh.GLMHMM(2, gh.Bernoulli(p.Ridge(emit)), gh.InputDriven(p.Ridge(move)))
        fit = gh.fit(model, data, tol=1e-6, **QUICK)
        sizes[name] = [
            fit.params[f"{part}.weights"].abs().max().item()
            for part in ("emissions", "transitions")
        ]
    assert sizes["a"][0] < 0.3 < 1.0 < sizes["both"][0]
    assert sizes["b"][1] < 0.5 < 1.0 < sizes["both"][1]
    assert sizes["b"][0] > 1.0 and sizes["a"][1] > 0.5


COLLAPSING = {
    "half normal": (
        p.Hierarchical(HalfNormal(0.05)),
        r"emissions.weights_scale runs to 0",
    ),
    "horseshoe": (
        p.Hierarchical(
            HalfCauchy(0.1),
            base=p.Hierarchical(HalfCauchy(1.0), per=("state", "covariate")),
        ),
        r"emissions.weights_(base_)?scale(\[\d\])? runs to 0",
    ),
    "function": (
        lambda s: Normal(0.0, pyro.sample("size", HalfNormal(0.05))).expand(s),
        "emissions.size runs to 0",
    ),
}


@pytest.mark.parametrize("prior, sentence", COLLAPSING.values(), ids=COLLAPSING)
def test_a_scale_that_runs_to_0_with_its_weights_is_a_status_and_named(prior, sentence):
    model = gh.GLMHMM(2, gh.Bernoulli(prior), **STEADY)
    with pytest.warns(gh.ConvergenceWarning, match=f"{sentence}.*InverseGamma"):
        fit = gh.fit(model, clear_data(), num_restarts=2, progress=False)
    assert fit.status is gh.Status.COLLAPSED and sentence[:9] in fit.unbounded[0]
    assert all(torch.isfinite(value).all() for value in fit.params.values())
    assert np.isfinite(fit.history).all(axis=None)
    assert fit.history["log_joint"].diff().min() > -1e-9


@pytest.mark.parametrize("method", ["map", "laplace"])
@pytest.mark.parametrize("varies", [False, True])
def test_no_method_takes_a_scale_that_runs_to_0_for_an_end(method, varies):
    first = gh.Initial(ROW)
    if varies:
        first = gh.Varying(gh.Initial(), "session", p.Ridge(0.5))
    weights = p.Hierarchical(HalfNormal(0.05))
    model = gh.GLMHMM(2, gh.Bernoulli(weights), STEADY["transitions"], first)
    with pytest.warns(gh.ConvergenceWarning, match="weights_scale runs to 0"):
        fit = gh.fit(model, clear_data(), method, **QUICK)
    assert fit.status is gh.Status.COLLAPSED and fit.posterior is None


def test_a_start_that_finds_a_mode_is_kept_before_those_that_collapse():
    prior = p.Hierarchical(HalfNormal(1.0))
    model = gh.GLMHMM(2, gh.Bernoulli(prior), **STEADY)
    fit = gh.fit(model, clear_data(), num_restarts=3, init="glm", progress=False)
    ends = [restart.log_joints[-1] for restart in fit.restarts]
    names = [restart.status.name for restart in fit.restarts]
    assert set(names) == {"CONVERGED", "COLLAPSED"}
    assert fit.status is gh.Status.CONVERGED and fit.log_joint < max(ends)
    assert fit.unbounded == () and fit.num_agreeing == names.count("CONVERGED")
    more = replace(fit, restarts=fit.restarts + (fit.restarts[fit.best],), solutions=())
    assert more.num_agreeing == fit.num_agreeing + 1
    report = fit.restart_report()
    assert report["agrees"].tolist() == (report["status"] == "CONVERGED").tolist()


def test_a_density_infinite_at_the_border_is_a_status_and_named():
    moves = gh.Stationary(p.Sticky(stay=5.0, move=0.5))
    model = gh.GLMHMM(3, gh.Bernoulli(p.Ridge(1.0)), moves, gh.Initial())
    with pytest.warns(gh.ConvergenceWarning, match="transitions.probs is infinite"):
        fit = gh.fit(model, clear_data(), **QUICK)
    assert fit.status is gh.Status.COLLAPSED and np.isfinite(fit.log_joint)


def test_the_scale_of_weights_that_are_all_0_moves_only_so_far():
    data, model = clear_data(), gh.GLMHMM(2, gh.Bernoulli(COLLAPSING["horseshoe"][0]))
    model.bind(data)
    params = random_params(model, data)
    own = {n: v[None] for n, v in params.items() if n.startswith("emissions.")}
    own["emissions.weights"] = torch.zeros_like(own["emissions.weights"])
    found = MStep(model.emissions, data).hyper_step(own)
    for name, value in found.items():
        ratio = value / own[name]
        assert (ratio > 0.999e-3).all() and (ratio < 0.01).all(), name


def test_a_block_objective_serves_real_weights_only():
    # Its numbers are weights, which unconstrained ones of a positive prior are not.
    data = clear_data()
    for prior, fast in (
        (p.Ridge(1.0), True),
        (None, True),
        (LogNormal(0.0, 1.0), False),
    ):
        model = gh.GLMHMM(2, gh.Bernoulli(prior))
        model.bind(data)
        assert (MStep(model.emissions, data).fast is not None) == fast


class Lapsing(gh.Emission):
    """A user's family with a lapse rate that no Site declares."""

    blocks = "state"

    def __init__(self):
        super().__init__()
        self.weights = gh.Site("state", "covariate", prior=p.Ridge(2.0))
        self.lapse = PyroSample(pyro.distributions.Beta(2.0, 8.0))

    def forward(self, state, covariates):
        """A logistic regression that lapses."""
        right = (self.weights[..., state, :] * covariates).sum(-1).sigmoid()
        probs = self.lapse / 2 + (1 - self.lapse) * right
        return pyro.distributions.Bernoulli(probs)


def test_an_undeclared_parameter_that_emissions_read_is_fitted_to_them():
    data = clear_data()
    fit = gh.fit(gh.GLMHMM(2, Lapsing(), **STEADY), data, tol=1e-12, **QUICK)
    assert set(fit.params) > {"emissions.lapse", "emissions.weights"}
    best = direct_maximum(fit.model, data, fit.params)
    assert fit.log_joint == pytest.approx(best, abs=1e-6)


def test_restarts_with_sampled_scales_go_the_way_they_go_alone():
    data, prior = clear_data(), SMOOTH_PRIORS["two scales"]
    model = gh.GLMHMM(2, gh.Bernoulli(prior), **STEADY)
    model.bind(data)
    starts = [random_params(model, data, seed=s) for s in range(3)]
    engine = gh.EM(num_iters=5, tol=0.0)
    for start, run in zip(starts, engine.run(model, data, starts)):
        (alone,) = engine.run(model, data, [start])
        np.testing.assert_allclose(run.log_joints, alone.log_joints, rtol=1e-8)


def test_a_fit_with_scales_reports_starts_from_and_saves_them(tmp_path):
    data, prior = clear_data(), SMOOTH_PRIORS["by state"]
    model = gh.GLMHMM(2, gh.Bernoulli(prior), **STEADY)
    fit = gh.fit(model, data, keep_weights=True, **QUICK)
    scale = fit.parameters["emissions.weights_scale"]
    assert scale.dims == ("state",) and scale.shape == (2,)
    assert fit.num_parameters == 1 + 2 + 4 + 2
    rows = fit.summary().query("parameter == 'emissions.weights_scale'")
    np.testing.assert_array_equal(
        rows["estimate"], fit.params["emissions.weights_scale"]
    )
    assert all("emissions.weights_scale" in weights for weights in fit.weights)
    again = gh.fit(model, data, init=fit.params, **QUICK)
    assert again.restarts[0].log_joints[0] == pytest.approx(fit.log_joint, abs=1e-9)
    part = {"emissions.weights_scale": np.array([0.5, 2.0])}
    assert np.isfinite(gh.fit(model, data, init=part, tol=1e-3, **QUICK).log_joint)
    with pytest.raises(ValueError, match=r"init\['emissions.weights_scale'\] must be"):
        gh.fit(model, data, init={"emissions.weights_scale": -np.ones(2)}, **QUICK)
    zero = gh.GLMHMM(2, gh.Bernoulli(p.Hierarchical(HalfNormal(1.0))), **STEADY)
    with pytest.raises(ValueError, match=r"must be inside GreaterThanEq.*got 0.0"):
        gh.fit(zero, data, init={"emissions.weights_scale": 0.0}, **QUICK)
    fit.save(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc")
    assert loaded.summary().equals(fit.summary())
    assert loaded.model.emissions.prior.per == ("state",)


def test_a_single_scale_has_no_axes_in_the_summary():
    model = gh.GLMHMM(2, gh.Bernoulli(SMOOTH_PRIORS["one scale"]), **STEADY)
    fit = gh.fit(model, clear_data(), tol=1e-4, **QUICK)
    assert fit.parameters["emissions.weights_scale"].dims == ()
    (row,) = fit.summary().query("parameter == 'emissions.weights_scale'").values
    assert set(row[1:-1]) == {""}
    assert row[-1] == pytest.approx(fit.params["emissions.weights_scale"].item())


def test_scales_of_free_rows_are_not_named_after_whole_axes():
    prior = p.Hierarchical(InverseGamma(2.0, 1.0), per=("origin", "destination"))
    model = gh.GLMHMM(3, gh.Bernoulli(p.Ridge(1.0)), gh.InputDriven(prior))
    fit = gh.fit(model, clear_data(), tol=1e-3, **QUICK)
    scale = fit.parameters["transitions.weights_scale"]
    assert scale.dims == ("origin", "free_destination") and scale.shape == (3, 2)
