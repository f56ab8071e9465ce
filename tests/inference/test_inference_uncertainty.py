"""Standard errors: closed forms, numeric differences, coverage, and what has none."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from families import log_joint, normals, seeded_generator
from inference_cases import RIDGE, clear_data, penalised
from made_fits import made_fit
from torch.distributions import Normal

import glmhmm_pyro as gh
from glmhmm_pyro.components.initial import InitialState
from glmhmm_pyro.distributions import HiddenMarkov
from glmhmm_pyro.inference import StandardErrorWarning
from glmhmm_pyro.inference.curvature.information import Information

ONCE = {"num_restarts": 1, "progress": False}
MISSING = r"standard errors are missing \(NaN\) or mean little: "


def values(errors, name="emissions.weights"):
    return errors[name].values


def test_with_one_state_they_are_those_of_a_logistic_regression():
    data = clear_data()
    fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, "map", **ONCE)
    x = data.covariates
    probs = (x @ fit.params["emissions.weights"][0]).sigmoid()
    information = (x * (probs * (1 - probs))[:, None]).T @ x
    expected = information.inverse().diagonal().sqrt()
    np.testing.assert_allclose(values(fit.standard_errors(data))[0], expected)


def test_they_are_those_of_differences_of_the_log_joint_in_the_values_themselves():
    """Probabilities as such in place of their log-odds: the delta method is exact."""
    data = clear_data()
    fit = gh.fit(penalised(transitions="stationary"), data, "map", **ONCE)
    moves = fit.params["transitions.probs"]
    start = torch.cat([fit.params["initial.probs"][:1], moves[:, 0]])
    start = torch.cat([start, fit.params["emissions.weights"].flatten()])

    def value(free):
        pairs = torch.stack([free[:3], 1 - free[:3]], -1)
        params = {"initial.probs": pairs[0], "transitions.probs": pairs[1:]}
        params["emissions.weights"] = free[3:].reshape(2, 2)
        return log_joint(fit.model, data, params)

    units = 1e-4 * torch.eye(len(start), dtype=torch.float64)
    second = [
        [
            value(start + a + b)
            - value(start + a - b)
            - value(start - a + b)
            + value(start - a - b)
            for b in units
        ]
        for a in units
    ]
    expected = (-torch.tensor(second) / 4e-8).inverse().diagonal().sqrt()
    errors = fit.standard_errors(data)
    found = [values(errors, "initial.probs"), values(errors, "transitions.probs")]
    for pair, error in zip(np.vstack(found), expected[:3]):
        np.testing.assert_allclose(pair, error, rtol=1e-5)
    np.testing.assert_allclose(values(errors).ravel(), expected[3:], rtol=1e-5)


class UnitNormal(gh.GLMEmission):
    """A linear regression whose noise is known."""

    def distribution(self, predictor):
        return dist.Normal(predictor, 1.0, validate_args=False)


def test_errors_of_simulated_fits_are_as_large_as_they_say():
    """Mean squares of errors in units of their standard errors are about 1.

    That of 40 errors of a parameter is below 0.22 or above 2.8 once in 2e7, that of all
    six parameters' below 0.55 or above 1.6 once in 6e6 (chi-squared; 200 of the 240 are
    taken to be independent). Errors 1.5 times too large or too small are seen with a
    probability of .99, those of one parameter at 3 times with more.
    """
    x = normals(600, 1, seed=5)
    x = torch.cat([x, torch.ones_like(x)], 1)
    design = gh.Sequences(torch.zeros(600).double(), x, lengths=[100] * 6)
    truth = {
        "initial.probs": [0.5, 0.5],
        "transitions.probs": [[0.8, 0.2], [0.3, 0.7]],
        "emissions.weights": [[0.5, 1.5], [-0.5, -1.5]],
    }
    model = gh.GLMHMM(2, UnitNormal(), initial=gh.Initial(prior=_beta(50.0)))
    origin, found = made_fit(model, design, truth), []
    method = gh.MAP(em_iters=0, tol=1e-5)
    for seed in range(40):
        data, _ = origin.simulate(design, seed=seed)
        fit = gh.fit(model, data, method, init=truth, **ONCE)
        errors = fit.standard_errors(data)
        off = [
            (values(fit.parameters, name) - truth[name]) / values(errors, name)
            for name in ("transitions.probs", "emissions.weights")
        ]
        found.append(np.concatenate([off[0][:, 0], off[1].ravel()]))
    squares = np.square(found).mean(0)
    assert squares.shape == (6,) and (squares > 0.22).all() and (squares < 2.8).all()
    assert 0.55 < squares.mean() < 1.6


def _beta(concentration):
    return dist.Dirichlet(torch.full((2,), concentration))


def test_they_have_the_names_and_axes_of_the_parameters_and_0_in_reference_rows():
    data = clear_data("categorical", mask=True)
    fit = gh.fit(penalised("categorical"), data, "map", **ONCE)
    errors = fit.standard_errors(data)
    assert list(errors) == list(fit.parameters)
    for name, array in fit.parameters.items():
        assert errors[name].dims == array.dims and errors[name].name == name
        for axis in array.coords:
            assert (errors[name][axis] == array[axis]).all()
    assert (errors["emissions.weights"].sel({"class": 0}) == 0).all()
    assert (np.diagonal(values(errors, "transitions.weights")) == 0).all()
    assert (errors["emissions.weights"].sel({"class": [1, 2]}) > 0).all()
    table = fit.summary(data)
    assert list(table.columns[-4:]) == [
        "estimate",
        "standard_error",
        "lower",
        "upper",
    ]
    row = table.query("parameter == 'emissions.weights' and state == 1").iloc[-1]
    error = values(errors)[1, 2, 1]
    assert row["standard_error"] == error
    assert row["upper"] - row["estimate"] == pytest.approx(1.959964 * error)
    assert list(fit.summary().columns) == list(table.columns[:-3])


class Known(InitialState):
    """A first state whose probabilities are no parameters."""

    def logits(self, data):
        return self.known.log()[None]


@pytest.mark.parametrize("method", [gh.EM(), gh.MAP(tol=1e-6)])
def test_values_at_the_border_are_left_out_and_named(method):
    """They count as known: the others are those of a model that is given them."""
    data = clear_data()
    model = gh.GLMHMM(2, gh.Bernoulli(prior=RIDGE))
    fit = gh.fit(model, data, method, num_restarts=2, progress=False)
    said = r"initial.probs\[state=0\] and initial.probs\[state=1\] are at the border"
    with pytest.warns(gh.ConvergenceWarning, match=MISSING + said):
        errors = fit.standard_errors(data)
    assert np.isnan(values(errors, "initial.probs")).all()
    known = gh.GLMHMM(2, gh.Bernoulli(prior=RIDGE), initial=Known())
    known.initial.known = fit.params["initial.probs"]
    rest = {n: v for n, v in fit.params.items() if n != "initial.probs"}
    expected = made_fit(known, data, rest).standard_errors(data)
    for name in ("transitions.probs", "emissions.weights"):
        np.testing.assert_allclose(
            values(errors, name), values(expected, name), rtol=1e-3
        )


@pytest.mark.parametrize("zero", [0, 1, 2])
def test_of_probabilities_that_sum_to_1_only_the_ones_at_the_border_are_left_out(zero):
    """Wherever in the broken stick they stand; the others sum to what is known."""
    kept = [k for k in range(3) if k != zero]
    counts = torch.zeros(3, dtype=torch.float64)
    counts[kept] = torch.tensor([30.0, 10.0], dtype=torch.float64)

    def model(data):
        probs = pyro.sample("probs", dist.Dirichlet(1.0 + counts))
        zeros = torch.zeros(1, 1, dtype=torch.float64)
        table = dist.Normal(data.covariates, 1.0).to_event(0)
        pyro.sample("y", HiddenMarkov(zeros, zeros[None], table, data.lengths), obs=y)
        return probs

    data = gh.Sequences([0.0, 1.0], [[0.0], [0.0]])
    y = data.emissions
    start = torch.full((3,), 0.01, dtype=torch.float64)
    start[kept] = torch.tensor([0.745, 0.245], dtype=torch.float64)
    init = {"probs": start / start.sum()}
    fit = gh.fit(model, data, "map", init=init, tol=1e-6, **ONCE)
    with pytest.warns(StandardErrorWarning, match=rf"probs\[{zero}\] is at the border"):
        errors = values(fit.standard_errors(data), "probs")
    assert np.isnan(errors[zero])
    np.testing.assert_allclose(errors[kept], (0.75 * 0.25 / 40) ** 0.5, rtol=1e-5)


def test_columns_that_repeat_one_another_are_named_and_the_others_have_errors():
    data = clear_data()
    data = data.replace(covariates=data.covariates.flip(1))
    x = torch.cat([data.covariates, data.covariates[:, 1:]], 1)
    twice = data.replace(covariates=x, covariate_names=["one", "x", "again"])
    model = gh.GLMHMM(2, gh.Bernoulli(), initial=gh.Initial(prior=_beta(2.0)))
    with pytest.warns(gh.ConvergenceWarning, match="of x, again are not determined"):
        fit = gh.fit(model, twice, **ONCE)
    said = (
        r"(emissions.weights\[state=[01], covariate=(x|again)\](, | and )?){4} are "
        "not determined by data and priors$"
    )
    with pytest.warns(gh.ConvergenceWarning, match=MISSING + said):
        errors = fit.standard_errors(twice)
    assert np.isnan(values(errors)[:, 1:]).all()
    sum_of_both = fit.params["emissions.weights"][:, 1:].sum(1, keepdim=True)
    weights = torch.cat([fit.params["emissions.weights"][:, :1], sum_of_both], 1)
    once = gh.fit(
        model, data, init={**fit.params, "emissions.weights": weights}, **ONCE
    )
    expected = once.standard_errors(data)
    for found, wanted in [
        (values(errors)[:, 0], values(expected)[:, 0]),
        (values(errors, "transitions.probs"), values(expected, "transitions.probs")),
    ]:
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize("nothing", [0.0, 1e-300])
def test_a_state_never_visited_is_named_and_the_other_has_errors(nothing):
    """Nor does the square of a tiny probability do any harm."""
    data = clear_data()
    alone = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, "map", **ONCE)
    params = {
        "initial.probs": [nothing, 1.0],
        "transitions.probs": [[0.3, 0.7], [nothing, 1.0]],
        "emissions.weights": torch.cat(
            [normals(1, 2), alone.params["emissions.weights"]]
        ),
    }
    fit = made_fit(gh.GLMHMM(2, gh.Bernoulli()), data, params)
    said = (
        r".*transitions.probs\[origin=1, destination=0\].* are at the border.*; "
        r"emissions.weights\[state=0, covariate=x0\] and emissions.weights\[state=0, "
        r"covariate=x1\] are not determined"
    )
    with pytest.warns(gh.ConvergenceWarning, match=MISSING + said):
        errors = fit.standard_errors(data)
    np.testing.assert_allclose(
        values(errors)[1], values(alone.standard_errors(data))[0], rtol=1e-6
    )
    assert np.isnan(values(errors)[0]).all()
    assert np.isnan(values(errors, "transitions.probs")).all()


def test_many_names_are_shortened():
    data = clear_data()
    nothing = data.replace(covariates=torch.zeros(data.num_steps, 9))
    params = {"emissions.weights": normals(1, 9)}
    fit = made_fit(gh.GLMHMM(1, gh.Bernoulli()), nothing, params)
    with pytest.warns(gh.ConvergenceWarning, match=r"x5\] and 3 more are not determ"):
        fit.standard_errors(nothing)


def test_a_point_that_is_no_maximum_is_told_of():
    data = clear_data()
    fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, "map", **ONCE)
    other = data.subset([0, 2])
    with pytest.warns(StandardErrorWarning, match="maximum of the log-joint of these"):
        fit.standard_errors(other)
    model = gh.GLMHMM(2, gh.Bernoulli(prior=Normal(0.0, 5.0)), gh.InputDriven(RIDGE))
    symmetric = {
        "initial.probs": [0.5, 0.5],
        "transitions.weights": [[[-1.0, 0.0]], [[-1.0, 0.0]]],
        "emissions.weights": fit.params["emissions.weights"].expand(2, 2),
    }
    saddle = made_fit(model, data, symmetric)
    said = r"emissions.weights\[state=0, covariate=.*not at a maximum of the log-joint"
    with pytest.warns(gh.ConvergenceWarning, match=said):
        errors = saddle.standard_errors(data)
    assert np.isnan(values(errors)).any()


def test_what_the_fit_said_of_unbounded_weights_is_said_again():
    x = torch.linspace(-2, 2, 50).double()[torch.randperm(50, generator=_rng())]
    data = gh.Sequences((x > 0).long(), x[:, None])
    with pytest.warns(gh.ConvergenceWarning, match="no finite maximum"):
        fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, **ONCE)
    with pytest.warns(gh.ConvergenceWarning, match="predicted without error$"):
        fit.standard_errors(data)


def _rng():
    return seeded_generator()


@pytest.mark.parametrize("spread", [None, 1e8])
def test_the_parameters_of_a_users_model_are_named_by_number(spread):
    """What only a wide prior determines has that prior's error: who knows its unit."""
    zeros = torch.zeros(2, 3, dtype=torch.float64)
    prior = gh.priors.Flat(zeros.shape) if spread is None else dist.Normal(zeros, 1e8)

    def model(data):
        weights = pyro.sample("weights", prior.to_event(2))
        scores = data.covariates @ weights[:1, :2].T
        table = dist.Bernoulli(logits=scores, validate_args=False)
        zeros = torch.zeros(1, 1, dtype=torch.float64)
        hidden = HiddenMarkov(zeros, zeros[None], table, data.lengths)
        pyro.sample("y", hidden, obs=data.emissions)

    data = clear_data()
    start = {"weights": torch.zeros(2, 3, dtype=torch.float64)}
    fit = gh.fit(model, data, "map", init=start, **ONCE)
    said = (
        r"weights\[0, 2\], weights\[1, 0\], .* and weights\[1, 2\] are not determined"
    )
    if spread is None:
        with pytest.warns(gh.ConvergenceWarning, match=MISSING + said):
            errors = values(fit.standard_errors(data), "weights")
    else:
        errors = values(fit.standard_errors(data), "weights")
    alone = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, "map", **ONCE)
    expected = values(alone.standard_errors(data))[0]
    np.testing.assert_allclose(errors[0, :2], expected, rtol=1e-6)
    others = np.append(errors[1], errors[0, 2])
    np.testing.assert_allclose(others, np.nan if spread is None else spread)


def test_the_root_of_the_covariance_does_not_move_with_rounding():
    """Correlations that are all alike: four eigenvalues coincide, with noise none."""
    matrix = torch.full((5, 5), 0.3).double() + 0.7 * torch.eye(5).double()
    noise = 1e-13 * normals(5, 5)
    none = torch.zeros(5).double(), torch.zeros(5).double(), 1e-10
    factors = [
        Information._of(m, torch.eye(5).double(), m.diagonal(), *none).factor
        for m in (matrix, matrix + noise + noise.T)
    ]
    torch.testing.assert_close(*factors, rtol=0, atol=1e-11)
    covariance = factors[0] @ factors[0].T
    torch.testing.assert_close(covariance @ matrix, torch.eye(5).double())
    torch.testing.assert_close(factors[0], factors[0].T)
