"""The evidence: against closed forms, quadrature, and its own maximum."""

import math
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from families import normals
from inference_cases import clear_data, penalised
from torch.distributions import MultivariateNormal, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import log_evidence
from glmhmm_pyro.inference.curvature import curvature, information
from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.priors import Flat

QUICK = {"num_restarts": 1, "progress": False}


class KnownNoise(gh.GLMEmission):
    """A linear regression whose noise is standard normal: its evidence is known."""

    def distribution(self, predictor):
        """A normal of standard deviation 1."""
        return dist.Normal(predictor, 1.0)


def regression_data(steps=40, features=3, seed=0):
    x = normals(steps, features, seed=seed)
    y = x @ normals(features, seed=seed + 1) + normals(steps, seed=seed + 2)
    return gh.Sequences(y, x)


def exact_evidence(data, covariance):
    """Log density of the emissions, the weights integrated out."""
    x, steps = data.covariates, data.num_steps
    total = x @ covariance @ x.T + torch.eye(steps).double()
    zero = torch.zeros(steps, dtype=torch.float64)
    return MultivariateNormal(zero, total).log_prob(data.emissions).item()


def test_the_evidence_of_a_regression_is_exact():
    data = regression_data()
    model = gh.GLMHMM(1, KnownNoise(prior=Normal(0.0, 0.5)))
    found = gh.fit(model, data, "map", **QUICK)
    expected = exact_evidence(data, 0.25 * torch.eye(3).double())
    assert log_evidence(found, data) == pytest.approx(expected, abs=1e-8)


class Seen(gh.GLMEmission):
    """States that are as good as seen: emissions are their numbers."""

    def distribution(self, predictor):
        """Narrow normals around the number of the state, whatever the weights."""
        return dist.Normal(0 * predictor + torch.arange(2.0).double(), WIDTH)


WIDTH = 2.0**-7


@pytest.mark.parametrize("prior", [(3.0, 2.0), None])
def test_the_evidence_of_probabilities_is_that_of_a_beta(prior):
    """Against the closed form, of which Laplace's integral is 1 / (12 n) off."""
    data = gh.Sequences([0.0] * 300 + [1.0] * 200, [[1.0]] * 500, lengths=[1] * 500)
    dirichlet = torch.distributions.Dirichlet
    first = gh.Initial(prior and dirichlet(torch.tensor(prior).double()))
    rows = gh.Stationary(dirichlet(torch.full((2,), 1e4).double()))
    model = gh.GLMHMM(2, Seen(prior=Normal(0.0, 1.0)), rows, first)
    found = gh.fit(model, data, "map", **QUICK)

    def log_beta(a, b):
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    a, b = prior or (1.0, 1.0)
    emitted = -500 * math.log(WIDTH * math.sqrt(2 * math.pi))
    exact = log_beta(a + 300, b + 200) - log_beta(a, b) + emitted
    assert log_evidence(found, data) == pytest.approx(exact, abs=1e-3)


def test_the_curvature_is_computed_once(monkeypatch):
    """It is what the evidence costs; the search for the mode does without."""
    data, model = clear_data(), penalised(transitions="stationary")
    found, calls = gh.fit(model, data, "map", **QUICK), []
    whole = information.hessian

    def counted(*arguments):
        calls.append(arguments)
        return whole(*arguments)

    monkeypatch.setattr(information, "hessian", counted)
    log_evidence(found, data)
    assert len(calls) == 1


@pytest.fixture(scope="module")
def long():
    """A fit to thousands of steps, of covariates of unlike sizes that go together."""
    x = normals(6000, 4, seed=3)
    x[:, 1] = 20 * x[:, 0] + x[:, 1]
    x[:, 3] = 1.0
    draws = torch.Generator().manual_seed(4)
    score = torch.where(torch.arange(6000) // 50 % 2 == 0, 2 * x[:, 2], -1 + x[:, 0])
    y = torch.rand(6000, generator=draws, dtype=torch.float64) < score.sigmoid()
    data = gh.Sequences(y.int(), x, lengths=[250] * 24)
    prior = Normal(0.0, 2.0)
    model = gh.GLMHMM(2, gh.Bernoulli(prior=prior), gh.InputDriven(prior=prior))
    return gh.fit(model, data, "map", **QUICK), data


def test_of_long_data_one_whole_curvature_is_made(long, monkeypatch):
    """The search goes by that of a quarter of the sessions."""
    calls, whole = [], information.hessian

    def counted(program, *arguments):
        calls.append(program.data.num_steps)
        return whole(program, *arguments)

    monkeypatch.setattr(information, "hessian", counted)
    monkeypatch.setattr(curvature, "hessian", counted)
    log_evidence(*long)
    assert calls == [1500, 6000]


def test_the_evidence_is_that_at_the_mode_to_its_last_digits(long):
    """Against Newton's method, with the whole curvature at every step."""
    found, data = long
    program = Program.of(found.model, data)
    vector = program.packed(found.params)
    for _ in range(6):
        slope = program.evaluated(vector, jacobian=True).slope
        vector = vector - torch.linalg.solve(hessian(program, vector, True), slope)
    density = program.evaluated(vector, jacobian=True).log_density
    volume = len(vector) * math.log(2 * math.pi)
    volume -= (-hessian(program, vector, True)).logdet().item()
    assert log_evidence(found, data) == pytest.approx(density + volume / 2, abs=1e-5)


def two_weights(prior, data):
    """Two weights, fixed probabilities by strong priors, and the evidence on a grid.

    The sum over a grid has all hills of the posterior in it, one of every image.
    """
    rows = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).double()
    half = torch.full((2,), 0.5).double()
    dirichlet = torch.distributions.Dirichlet
    moves, first = gh.Stationary(dirichlet(1e5 * rows)), gh.Initial(
        dirichlet(1e5 * half)
    )
    model = gh.GLMHMM(2, gh.Bernoulli(prior=prior), moves, first)
    found = gh.fit(model, data, "map", num_restarts=4, progress=False)
    grid = torch.linspace(-4.0, 4.0, 81).double()
    pairs = torch.cartesian_prod(grid, grid)[..., None]
    values = {
        "initial.probs": half.expand(1, 2),
        "transitions.probs": rows.expand(1, 2, 2),
        "emissions.weights": pairs,
    }
    densities = found.model.hidden_markov_at(values, data).log_prob(data.emissions)
    densities = densities + prior.log_prob(pairs).sum((-1, -2))
    return found, (densities.logsumexp(0) + 2 * math.log(0.1)).item()


def one_column(lengths):
    data = clear_data(lengths=lengths)
    return gh.Sequences(data.emissions, data.covariates[:, :1], lengths=list(lengths))


@pytest.mark.parametrize("lengths, error", [((120, 80), 0.1), ((600, 400), 0.03)])
def test_two_states_against_the_sum_over_a_grid(lengths, error):
    """A prior that treats states alike has two hills; Laplace errs by 1 / n."""
    data = one_column(lengths)
    found, area = two_weights(Normal(0.0, 2.0), data)
    both = log_evidence(found, data, all_images=True)
    assert both == pytest.approx(area, abs=error)
    assert both == pytest.approx(log_evidence(found, data) + math.log(2))


def test_a_prior_that_tells_states_apart_has_no_other_image():
    """Another numbering of the states is another mode, here of almost no weight."""
    data = one_column((300, 200))
    centre = torch.tensor([[-2.0], [2.0]]).double()
    found, area = two_weights(Normal(centre, 0.5), data)
    all_images = log_evidence(found, data, all_images=True)
    assert all_images == pytest.approx(area, abs=0.03)
    assert all_images == log_evidence(found, data)


def test_images_are_those_of_the_renumberings_that_keep_the_prior():
    """Of three states two are alike: two of the six orders."""
    data = clear_data(lengths=(400, 300))
    centre = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 6.0]]).double()
    width = torch.tensor([[2.0, 2.0], [2.0, 2.0], [0.1, 0.1]]).double()
    row = torch.distributions.Dirichlet(torch.full((3,), 30.0))
    model = gh.GLMHMM(
        3,
        gh.Bernoulli(prior=Normal(centre, width)),
        gh.Stationary(row),
        gh.Initial(row),
    )
    found = gh.fit(model, data, "map", num_restarts=4, progress=False)
    one = log_evidence(found, data)
    both = log_evidence(found, data, all_images=True)
    assert both == pytest.approx(one + math.log(2))


def test_states_that_are_the_same_have_a_single_image():
    """Without covariates their weights say nothing: exchanged, the mode stays."""
    data = clear_data().replace(covariates=torch.zeros(120, 2))
    model = penalised(transitions="stationary")
    found = gh.fit(model, data, "map", **QUICK)
    assert log_evidence(found, data, all_images=True) == log_evidence(found, data)


def test_images_that_overlap_are_refused():
    """A third state that the data know little of is near one of the others."""
    data, model = clear_data(), penalised(transitions="stationary", states=3)
    found = gh.fit(model, data, "map", num_restarts=3, progress=False)
    log_evidence(found, data)
    said = (
        r"overlap: renumbering states \d, \d moves it by [0-3]\.\d standard deviations"
    )
    with pytest.raises(ValueError, match=said):
        log_evidence(found, data, all_images=True)


def test_images_of_a_users_model_need_the_axes_of_its_states():
    def model(data):
        prior = dist.Normal(torch.zeros(2).double(), 2.0).to_event(1)
        weights = pyro.sample("weights", prior)
        table = dist.Bernoulli(logits=data.covariates[:, :1] * weights)
        stay = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).double().log()[None]
        start = torch.zeros(1, 2, dtype=torch.float64)
        hidden = gh.HiddenMarkov(start, stay, table, data.lengths)
        pyro.sample("y", hidden, obs=data.emissions.double())

    data = one_column((120, 80))
    start = {"weights": torch.tensor([-2.0, 2.0]).double()}
    found = gh.fit(model, data, "map", init=start, **QUICK)
    with pytest.raises(ValueError, match="renumbered, .*give state_axes.* in weights"):
        log_evidence(found, data, all_images=True)
    both = log_evidence(found, data, all_images=True, state_axes={"weights": (0,)})
    assert both == pytest.approx(log_evidence(found, data) + math.log(2))


def test_the_fit_may_come_from_any_method_and_stays_as_it_is():
    data, model = clear_data(), penalised(transitions="stationary")
    by_em = gh.fit(model, data, num_restarts=2, progress=False)
    by_map = gh.fit(model, data, "map", num_restarts=2, progress=False)
    before = {name: value.clone() for name, value in by_em.params.items()}
    assert log_evidence(by_em, data) == pytest.approx(
        log_evidence(by_map, data), abs=1e-6
    )
    for name, value in before.items():
        assert torch.equal(value, by_em.params[name])


def test_a_flat_prior_of_probabilities_is_the_uniform_one():
    """Three states, whose simplex has a volume of a half."""
    data, ones = clear_data(), torch.distributions.Dirichlet(torch.ones(3).double())
    emissions = gh.Bernoulli(prior=Normal(0.0, 2.0))
    flat = gh.GLMHMM(3, emissions)
    uniform = gh.GLMHMM(3, emissions, gh.Stationary(ones), gh.Initial(ones))
    found = gh.fit(flat, data, "map", **QUICK)
    same = replace(found, model=uniform)
    assert log_evidence(found, data) == pytest.approx(log_evidence(same, data))
    assert Flat((2, 3), torch.distributions.constraints.simplex).log_volume == (
        pytest.approx(ones.log_prob(torch.ones(3).double() / 3).item() * -2)
    )
    inside = torch.distributions.constraints.interval(-1.0, 3.0)
    assert Flat((2,), inside).log_volume == pytest.approx(2 * math.log(4.0))
    assert Flat((2,)).log_volume == math.inf


def test_what_has_no_evidence_is_named():
    data = clear_data()
    flat = gh.GLMHMM(1, gh.Bernoulli())
    found = gh.fit(flat, data, "map", **QUICK)
    with pytest.raises(ValueError, match="be proper .* flat ones of emissions.weights"):
        log_evidence(found, data)


def test_a_direction_without_curvature_is_named():
    data = regression_data()

    class Sum(KnownNoise):
        """A prior of the weights' sum alone, whose density is flat along the rest."""

    def along_the_sum(shape):
        root = torch.full((3, 1), 1.0).double()
        return dist.LowRankMultivariateNormal(
            torch.zeros(3).double(), root, torch.full((3,), 1e24).double()
        ).expand(shape[:-1])

    x = torch.ones_like(data.covariates)
    data = gh.Sequences(data.emissions, x)
    found = gh.fit(gh.GLMHMM(1, Sum(prior=along_the_sum)), data, "map", **QUICK)
    with pytest.raises(ValueError, match="quadratic maximum: .*covariate"):
        log_evidence(found, data)


def test_what_is_no_fit_is_refused():
    with pytest.raises(TypeError, match="found must be a Fit, got a GLMHMM"):
        log_evidence(gh.GLMHMM(2, gh.Bernoulli()), clear_data())
