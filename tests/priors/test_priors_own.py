"""A prior of the user's own costs one file: this one, which no engine knows."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from inference_cases import clear_data
from pyro import distributions as dist
from pyro.distributions import TorchDistribution
from scipy import integrate
from torch.distributions import Dirichlet, Normal, constraints

import glmhmm_pyro as gh
from glmhmm_pyro.priors import answers

p = gh.priors
ROW = Dirichlet(torch.full((2,), 2.0))
STEADY = {"transitions": gh.Stationary(p.Sticky(5.0, 2.0)), "initial": gh.Initial(ROW)}
ASKED = []
QUICK = {"num_restarts": 1, "progress": False}


@answers.storable
@dataclass(frozen=True)
class Huber(p.PriorRecipe):
    """Weights that are normal near 0 and have the tails of a Laplace distribution."""

    knee: float = 0.5

    def __call__(self, shape, place=None):
        """Independent weights."""
        return HuberDensity(torch.tensor(self.knee, dtype=torch.float64)).expand(shape)


class HuberDensity(TorchDistribution):
    """Minus its logarithm is w**2 / 2 up to the knee k, and k |w| - k**2 / 2 beyond."""

    arg_constraints = {"knee": constraints.positive}
    support = constraints.real

    def __init__(self, knee):
        self.knee = knee
        super().__init__(validate_args=False)

    def log_prob(self, value):
        """The normaliser: what is within the knee, and the tails."""
        size, k = value.abs(), self.knee
        within = math.sqrt(2 * math.pi) * torch.erf(k / math.sqrt(2.0))
        mass = within + 2 * (-(k**2) / 2).exp() / k
        return -torch.where(size < k, size**2 / 2, k * size - k**2 / 2) - mass.log()

    def sample(self, sample_shape=torch.Size()):
        """Something to start with."""
        return torch.randn(self.shape(sample_shape), dtype=torch.float64)


@answers.majoriser.register
def _(prior: HuberDensity, value):
    ASKED.append(value)
    return dist.Normal(0.0, (value.abs() / prior.knee).clamp(min=1.0).sqrt())


@answers.curvature.register
def _(prior: HuberDensity, value):
    return (value.abs() < prior.knee).to(value).diag_embed()


def model_of(prior):
    return gh.GLMHMM(2, gh.Bernoulli(prior), **STEADY)


@pytest.fixture(scope="module")
def data():
    return clear_data()


@pytest.fixture(scope="module")
def by_em(data):
    return gh.fit(model_of(Huber()), data, tol=1e-10, **QUICK)


def test_em_with_it_ends_at_the_mode_that_map_finds(by_em, data):
    by_map = gh.fit(model_of(Huber()), data, "map", init=by_em.params, **QUICK)
    assert {by_em.status, by_map.status} == {gh.Status.CONVERGED}
    assert by_em.log_joint == pytest.approx(by_map.log_joint, abs=1e-7)
    ours = by_em.params["emissions.weights"]
    torch.testing.assert_close(
        ours, by_map.params["emissions.weights"], atol=1e-3, rtol=0.0
    )
    assert (ours.abs() > 0.5).any() and len(ASKED) > 5


def test_what_it_adds_to_the_log_joint_is_its_density(by_em, data):
    def density(w):
        return math.exp(-(w**2) / 2 if abs(w) < 0.5 else 0.125 - abs(w) / 2)

    mass, _ = integrate.quad(density, -60, 60, points=(-0.5, 0.5))
    weights = by_em.params["emissions.weights"].flatten().tolist()
    rows = (
        STEADY["transitions"].prior((2, 2)).log_prob(by_em.params["transitions.probs"])
    )
    others = float(rows.sum() + ROW.log_prob(by_em.params["initial.probs"].float()))
    expected = sum(math.log(density(w) / mass) for w in weights) + others
    assert by_em.log_joint - by_em.log_likelihood == pytest.approx(expected, abs=1e-5)


def test_its_bound_touches_it_and_is_below_it_elsewhere():
    prior, value = Huber(2.0)((3,)), torch.tensor([0.3, -2.5, 40.0]).double()
    bound = answers.majoriser(prior, value)
    grid = torch.linspace(-50, 50, 1001).double()[:, None]

    def gap(w):
        return prior.log_prob(w) - bound.log_prob(w)

    assert (gap(grid) - gap(value) > -1e-9).all() and not answers.is_flat(prior)
    found = answers.curvature(prior, value)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, 0.0]).double().diag())


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
@pytest.mark.parametrize("method", ["laplace", "nuts"])
def test_draws_with_it_have_the_mean_of_its_posterior(data, method):
    """By quadrature. Means of 25 draws are 1.2 sd off in less than 1e-8 of cases."""
    model, options = gh.GLMHMM(1, gh.Bernoulli(Huber())), {"num_samples": 100}
    if method == "nuts":
        options |= {"num_warmup": 60, "num_chains": 1}
    fit = gh.fit(model, data, method, seed=0, **options, **QUICK)
    grid = torch.linspace(-3.0, 3.0, 201).double()
    points = torch.cartesian_prod(grid, grid)
    odds = points @ data.covariates.double().T
    density = dist.Bernoulli(logits=odds).log_prob(data.emissions.double()).sum(-1)
    density = density + Huber()((2,)).log_prob(points).sum(-1)
    weights = density.softmax(0)[:, None]
    mean = (weights * points).sum(0)
    sd = (weights * (points - mean) ** 2).sum(0).sqrt()
    drawn = fit.posterior.draws["emissions.weights"].reshape(-1, 2).double()
    assert ((drawn.mean(0) - mean).abs() < 1.2 * sd).all()
    assert ((drawn.std(0) / sd).log().abs() < 0.9).all()


def test_evidence_counts_its_density(data):
    """With a knee far out it is a normal prior."""
    wide = Huber(30.0)
    found = [
        gh.fit(gh.GLMHMM(1, gh.Bernoulli(prior)), data, "map", **QUICK)
        for prior in (wide, Normal(0.0, 1.0))
    ]
    evidences = [gh.analysis.log_evidence(fit, data) for fit in found]
    assert evidences[0] == pytest.approx(evidences[1], abs=1e-6)


def test_a_file_holds_it_where_its_class_is_known(by_em, data, tmp_path, monkeypatch):
    by_em.save(tmp_path / "fit.nc")
    loaded = gh.load(tmp_path / "fit.nc")
    assert loaded.model.emissions.prior == Huber(0.5)
    assert loaded.score(data) == by_em.score(data)
    monkeypatch.delitem(answers._CLASSES, (True, "Huber"))
    with pytest.raises(ValueError, match="model must be given.*its emissions"):
        gh.load(tmp_path / "fit.nc")


def test_names_of_storable_classes_are_not_taken_twice():
    class Ridge(p.PriorRecipe):
        def __call__(self, shape, place=None):
            """Never asked."""

    with pytest.raises(ValueError, match="name of its own.*Ridge.*elementwise.*rename"):
        answers.storable(Ridge, "scale")
    assert answers.stored(p.Ridge(2.0)).fields == {"scale": 2.0}


class Sharper(Normal):
    """A normal distribution but for its density."""

    def log_prob(self, value):
        """That of a narrower one."""
        return 9.0 * super().log_prob(value)


def test_what_is_known_of_a_class_is_not_said_of_another_density():
    data = clear_data("normal")
    model = gh.GLMHMM(2, gh.Gaussian(prior=Sharper(0.0, 0.3)), **STEADY)
    by_em = gh.fit(model, data, tol=1e-10, **QUICK)
    by_map = gh.fit(model, data, "map", init=by_em.params, **QUICK)
    assert by_em.log_joint == pytest.approx(by_map.log_joint, abs=1e-6)
    value = torch.tensor([0.1, 0.7]).double()
    found = answers.curvature(Sharper(torch.zeros(2).double(), 0.3), value)
    torch.testing.assert_close(found, 100.0 * torch.eye(2).double())


def test_masked_priors_answer_for_what_they_do_not_mask(data):
    some = torch.tensor([True, False])
    lasso = dist.Laplace(torch.zeros(2).double(), 0.3).mask(some)
    masked = gh.fit(model_of(lasso), data, tol=1e-10, **QUICK)
    grouped = gh.fit(model_of(p.Grouped({0: p.Lasso(0.3)})), data, tol=1e-10, **QUICK)
    assert masked.log_joint == pytest.approx(grouped.log_joint, abs=1e-7)
    nothing = dist.Normal(0.0, 1.0).mask(False)
    assert answers.is_flat(nothing) and not answers.is_flat(lasso)
    for prior in (lasso, nothing):
        assert not answers.is_proper(prior)
        with pytest.raises(ValueError, match="proper.*emissions.weights"):
            gh.analysis.log_evidence(gh.fit(model_of(prior), data, **QUICK), data)


def test_probabilities_have_the_mode_of_a_dirichlet_however_it_is_wrapped():
    counts = torch.tensor([[3.0, 1.0], [0.0, 0.0]]).double()
    alpha = torch.tensor([2.0, 1.0]).double()
    expected = np.array([[4 / 5, 1 / 5], [1.0, 0.0]])
    for prior in (Dirichlet(alpha), dist.Dirichlet(alpha).to_event(0)):
        found = answers.mode_given(prior, counts, torch.Size([2, 2]))
        np.testing.assert_allclose(found, expected)
    assert answers.mode_given(lambda shape: Dirichlet(alpha), counts, (2, 2)) is None


class Undrawn(HuberDensity):
    """The same by somebody who has not thought of drawing from it."""

    sample = TorchDistribution.sample


def test_a_prior_that_cannot_be_drawn_from_is_refused_by_its_site():
    prior = Undrawn(torch.tensor(0.5))
    for method in ("em", "map"):
        with pytest.raises(ValueError) as caught:
            gh.fit(gh.GLMHMM(1, gh.Bernoulli(prior=prior)), clear_data(), method)
        for part in ("'emissions.weights' must", "no method sample; write"):
            assert part in str(caught.value)
