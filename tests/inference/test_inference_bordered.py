"""Standard errors of weights that a law links, beside those of dense algebra."""

import numpy as np
import pytest
import torch
from scipy.linalg import solveh_banded
from torch.distributions import Dirichlet, HalfNormal
from varying_cases import drifting, problem_of, rat

import glmhmm_pyro as gh
from glmhmm_pyro.components import Levels, TwoLevels, TwoLevelsInitial, Varying
from glmhmm_pyro.inference.curvature import bordered_information
from glmhmm_pyro.inference.curvature.bordered_information import (
    BorderedInformation,
    information_at,
)
from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.curvature.information import Information
from glmhmm_pyro.inference.curvature.uncertainty import Uncertainty
from glmhmm_pyro.inference.marginal.ascent import density_mode
from glmhmm_pyro.inference.marginal.law_evidence import (
    NoModeError,
    evidence_bends,
    expand_at_units_mode,
    gradient,
)
from glmhmm_pyro.inference.marginal.problem import MarginalProblem
from glmhmm_pyro.inference.program.labels import Labels

Walk, Ridge = gh.priors.RandomWalk, gh.priors.Ridge
ONCE = {"num_restarts": 1, "progress": False}


def known_scales():
    """Models whose scales are numbers, with data that determine all parameters."""
    data = drifting(5, 60)
    grouped = drifting(6, 60, groups=["a", "a", "a", "b", "b", "c"])
    row = torch.tensor([[9.0, 1.0], [1.0, 9.0]]).double()
    moves, first = gh.Stationary(Dirichlet(row)), gh.Initial(Dirichlet(row[0]))
    walk = Varying(gh.Bernoulli(), law=Walk(0.4, start_scale=1.0))
    yield "steps", gh.GLMHMM(1, Varying(gh.Bernoulli(), "step", Walk(0.1))), data
    three = drifting(5, 60, classes=3)
    by_step = Varying(gh.Categorical(3), "step", Walk(0.1, border_scale=0.5))
    yield "classes", gh.GLMHMM(1, by_step), three
    yield "sessions", gh.GLMHMM(1, walk), data
    part = Varying(gh.Bernoulli(), law=Walk(0.4), constant=["bias"])
    yield "constant", gh.GLMHMM(1, part), data
    yield "pooled", gh.GLMHMM(1, Varying(gh.Bernoulli(), law=Ridge(0.5))), data
    pooled = Varying(gh.Bernoulli(), "group", Ridge(0.5))
    yield "groups", gh.GLMHMM(1, pooled), grouped
    yield "two states", gh.GLMHMM(2, walk, moves, first), data
    noise = Varying(gh.Gaussian(), law=Walk(0.4))
    yield "a scale of noise", gh.GLMHMM(1, noise), data
    by_group = Varying(gh.InputDriven(Ridge()), "group", Ridge(0.5))
    same = grouped.replace(transition_covariates=np.ones((360, 1)))
    yield "other units", gh.GLMHMM(2, walk, by_group, first), same
    levels, start = Levels(2, 2), TwoLevelsInitial(first, first)
    on = TwoLevels(moves, moves, across_sessions=True)
    yield "states that go on", gh.GLMHMM(levels, walk, on, start), data
    by_pair = Varying(gh.Bernoulli(Ridge()), "slow", Ridge(0.5))
    beside = TwoLevels(moves, Varying(gh.InputDriven(Ridge()), law=Ridge(0.5)))
    driven = data.replace(transition_covariates=np.ones((300, 1)))
    yield "slow states", gh.GLMHMM(levels, by_pair, beside, start), driven


KNOWN = {name: (model, data) for name, model, data in known_scales()}


@pytest.fixture(params=KNOWN)
def at_mode(request):
    """A program, and units at their mode where the evidence of parameters has one."""
    program = problem_of(*KNOWN[request.param]).program
    vector = torch.zeros(program.coordinates.size, dtype=torch.float64)
    start = program.coordinates.slices.get("emissions.weights")
    vector[start] = torch.arange(len(vector[start])).double().cos()
    mode, _ = gh.MAP(tol=1e-9).density_mode(program, program.coordinates.unpack(vector))
    problem = MarginalProblem.of(program)
    w, v = problem.packed(program.coordinates.unpack(mode))
    if len(v):
        found = density_mode(problem, v, w)
        mode = problem.parts.joined(found.at.w, found.v)
    return program, mode


def dense_matrix(program, vector):
    """Minus the second derivatives, with the evidence's for the Schur complement."""
    problem, matrix = MarginalProblem.of(program), -hessian(program, vector)
    w, v = problem.packed(program.coordinates.unpack(vector))
    places = problem.parts.places.tolist()
    units = [i for i in range(len(vector)) if i not in places]
    border = matrix[units][:, places]
    taken = border.T @ torch.linalg.solve(matrix[units][:, units], border)
    if places:
        bends = evidence_bends(problem, v, w)
        matrix[np.ix_(places, places)] = bends + (taken + taken.T) / 2
    slope = torch.zeros(len(vector), dtype=vector.dtype)
    if places:
        slope[places] = gradient(problem, v, expand_at_units_mode(problem, v, w))
    return matrix, slope


def test_what_is_known_is_what_dense_algebra_says(at_mode):
    program, vector = at_mode
    found = information_at(program, vector)
    matrix, slope = dense_matrix(program, vector)
    dense = Information.of_matrix(program, vector, matrix, False, slope=slope)
    assert isinstance(found, BorderedInformation) and dense.is_complete
    errors = [Uncertainty.of(program, vector, one).errors for one in (found, dense)]
    assert errors[0].keys() == errors[1].keys()
    for name, error in errors[0].items():
        torch.testing.assert_close(error, errors[1][name], rtol=1e-9, atol=1e-12)
    inverse = dense.factor @ dense.factor.T
    place = program.coordinates.slices["emissions.weights"]
    variances = inverse.diagonal()[place]
    torch.testing.assert_close(errors[0]["emissions.weights"].flatten() ** 2, variances)
    slope = torch.arange(len(vector)).double().sin()
    apart = found.curvature.problem.parts.slopes_apart(slope)
    rise = sum(float(x.square().sum()) / 2 for x in found.whole.halfway(*apart))
    assert rise == pytest.approx(dense.rise(slope), rel=1e-9)
    moves = found.spread(program, vector, "emissions.weights").directions.flatten(1, -2)
    number = moves.shape[1]
    for unit, own in enumerate(moves):
        here = slice(place.start + unit * number, place.start + (unit + 1) * number)
        torch.testing.assert_close(own @ own.T, inverse[here, here])


def test_what_data_and_priors_leave_open_is_open_beside_units_too():
    """Of a column given twice the means add up; each by itself is left open."""
    data = drifting(5, 60)
    x = data.covariates
    twice = data.replace(
        covariates=torch.cat([x, x[:, :1]], 1), covariate_names=["s", "bias", "again"]
    )
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), law=Ridge(0.5)))
    program = problem_of(model, twice).program
    found, _ = gh.MAP(tol=1e-9).density_mode(
        program, {n: torch.zeros(p.shape()) for n, p in program.priors.items()}
    )
    matrix, slope = dense_matrix(program, found)
    dense = Information.of_matrix(program, found, matrix, False, slope=slope)
    parts = information_at(program, found), dense
    of_both = [Uncertainty.of(program, found, part) for part in parts]
    for name in ("emissions.weights", "emissions.weights_mean"):
        own, dense = (one.errors[name] for one in of_both)
        torch.testing.assert_close(own, dense, equal_nan=True, rtol=1e-6, atol=0)
        assert own.isnan()[..., [0, 2]].all() and not own.isnan()[..., 1].any()
    said, dense = (
        one.sentences(program.model, Labels.of_program(program)) for one in of_both
    )
    assert len(said) == len(dense) == 1 and said[0].endswith("by data and priors")


@pytest.mark.parametrize("over, law", [("session", "walk"), ("group", "pooled")])
def test_learnt_scales_are_known_as_the_evidence_bends(over, law):
    """By second differences of its height, and by first ones of the mode of weights."""
    data = drifting(6, 60, groups=list("aabbcc"), step=(0.8, 0.5))
    recipe = (
        Walk(HalfNormal(1.0), 2.0)
        if law == "walk"
        else gh.priors.Hierarchical(HalfNormal(1.0))
    )
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), over, recipe))
    fit = gh.fit(model, data, "map", **ONCE)
    errors, problem = fit.standard_errors(data), problem_of(model, data)
    w, v = problem.packed(fit.params)

    def at(point):
        found = expand_at_units_mode(problem, point, w)
        return found.evidence + float(found.prior.log_density), found

    steps = 1e-3 * torch.eye(len(v)).double()
    ends = [[at(v + a + b)[0] - at(v + a - b)[0] for b in steps] for a in steps]
    less = [[at(v - a + b)[0] - at(v - a - b)[0] for b in steps] for a in steps]
    bends = torch.tensor(less, dtype=v.dtype) - torch.tensor(ends, dtype=v.dtype)
    covariance = (bends / 4e-6).inverse()
    end = "step_scale" if law == "walk" else "scale"
    name = f"emissions.weights_{end}"
    place = problem.theta.slices[name]
    scale = fit.params[name].flatten()
    expected = covariance.diagonal()[place].sqrt() * scale
    np.testing.assert_allclose(errors[name].values.ravel(), expected, rtol=1e-4)
    moves = [(at(v + s)[1].w - at(v - s)[1].w).flatten() / 2e-3 for s in steps]
    moves = torch.stack(moves, 1)
    dense = -hessian(problem.program, problem.parts.joined(w, v))
    units = problem.program.coordinates.slices["emissions.weights"]
    total = dense[units, units].inverse() + moves @ covariance @ moves.T
    found = errors["emissions.weights"].values.ravel()
    np.testing.assert_allclose(found, total.diagonal().sqrt(), rtol=1e-4)


def test_an_evidence_that_ends_next_to_the_fit_is_told_of(monkeypatch):
    data, law = drifting(5, 60), Walk(HalfNormal(1.0), 2.0)
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), law=law))
    fit = gh.fit(model, data, "map", **ONCE)

    def none(*_):
        raise NoModeError("the weights of the units have no finite mode")

    monkeypatch.setattr(bordered_information, "evidence_bends", none)
    with pytest.raises(ValueError, match="evidence must bend .*no finite mode next"):
        fit.standard_errors(data)


def test_many_steps_make_no_dense_matrix(shared, monkeypatch):
    """Of 12,000 numbers, beside columns of the inverse by a banded Cholesky factor."""
    step, start, border, number = 2.0**-4, 16.0, 2.0**-2, 2000
    law = Walk(step, start_scale=start, border_scale=border)
    model, data = gh.GLMHMM(1, Varying(gh.Bernoulli(), "step", law)), rat(
        shared, number
    )
    fit = gh.fit(model, data, "map", **ONCE)
    monkeypatch.setattr(Information, "of", None)
    errors = fit.standard_errors(data)["emissions.weights"].values.reshape(-1)
    x, w = data.covariates.numpy(), fit.params["emissions.weights"][:, 0].numpy()
    odds = (x * w).sum(1)
    blocks = np.einsum("t,ti,tj->tij", 1 / (2 + 2 * np.cosh(odds)), x, x)
    scales = np.full(number, step)
    scales[np.cumsum(data.lengths.numpy())[:-1]], scales[0] = border, start
    walk = scales**-2
    blocks[:, range(6), range(6)] += (walk + np.append(walk[1:], 0))[:, None]
    below = np.zeros((7, 6 * number))
    for lag in range(6):
        below[lag].reshape(number, 6)[:, : 6 - lag] = blocks.diagonal(-lag, 1, 2)
    below[6].reshape(number, 6)[:-1] = -walk[1:, None]
    some = [0, 5, 6001, 11_999]
    columns = solveh_banded(below, np.eye(6 * number)[:, some], lower=True)
    np.testing.assert_allclose(errors[some] ** 2, columns[some, range(4)], rtol=1e-8)
