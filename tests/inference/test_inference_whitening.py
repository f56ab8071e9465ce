"""Whitened coordinates: exact where the posterior is normal, refused without a mode."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from families import normals, random_data, random_params
from inference_cases import clear_data, penalised
from nuts_cases import RIDGE, SPREAD, KnownSpread, regression, regression_posterior
from varying_cases import drifting

import glmhmm_pyro as gh
from glmhmm_pyro.components import Varying
from glmhmm_pyro.inference.curvature.curvature import hessian, round_scale
from glmhmm_pyro.inference.curvature.round_scales import BorderedScale
from glmhmm_pyro.inference.nuts import whitening as whitening_module
from glmhmm_pyro.inference.nuts.potential import Potential
from glmhmm_pyro.inference.nuts.prior_ends import is_maximum
from glmhmm_pyro.inference.nuts.whitening import whitened
from glmhmm_pyro.inference.program.program import Program


def test_a_normal_posterior_becomes_standard():
    model, data = regression()
    program = Program.of(model, data)
    whitening = whitened(program, random_params(model, data))
    mean, covariance = regression_posterior(data)
    torch.testing.assert_close(whitening.centre, mean, rtol=0, atol=1e-6)
    found = whitening.scale @ whitening.scale.T
    torch.testing.assert_close(found, covariance, rtol=1e-6, atol=0)


def test_directions_that_are_alike_stay_apart():
    """Columns without correlation, of one size: any basis is one of eigenvectors."""
    x = torch.linalg.qr(normals(30, 6)).Q
    y = x.sum(1) + SPREAD * normals(30)
    prior = dist.Normal(0.0, RIDGE)
    model, data = gh.GLMHMM(1, KnownSpread(prior=prior)), gh.Sequences(y, x)
    whitening = whitened(Program.of(model, data), random_params(model, data))
    expected = torch.eye(6).double() / (1 / SPREAD**2 + 1 / RIDGE**2) ** 0.5
    torch.testing.assert_close(whitening.scale, expected, rtol=0, atol=1e-12)


def test_the_map_does_not_depend_on_where_the_search_stopped(monkeypatch):
    model, data = penalised(transitions="stationary"), clear_data()
    program, found = Program.of(model, data), []
    for tol in (1e-4, 1e-9):
        monkeypatch.setattr(whitening_module, "_SEARCH", gh.MAP(tol=tol))
        found.append(whitened(program, random_params(model, data)))
    for rough, fine in zip(*found):
        torch.testing.assert_close(rough, fine, rtol=0, atol=1e-10)


def test_a_mode_at_the_border_is_found_inside():
    data, model = clear_data(), penalised(transitions="stationary")
    model = gh.GLMHMM(2, model.emissions, gh.Stationary(), gh.Initial())
    program = Program.of(model, data)
    params = random_params(model, data)
    params["initial.probs"] = torch.tensor([1.0, 0.0], dtype=torch.float64)
    whitening = whitened(program, params)
    probs = program.coordinates.unpack(whitening.centre)["initial.probs"]
    assert 0.01 < probs.min() and torch.isfinite(whitening.scale).all()


def centred(data):
    """A hierarchy whose density grows without end as its scale falls."""
    spread = pyro.sample("spread", dist.HalfNormal(torch.ones(()).double()))
    with pyro.plate("animals", 4):
        own = pyro.sample("own", dist.Normal(0.0, spread))
    emissions = dist.Bernoulli(logits=own[:2].expand(data.num_steps, 2))
    start, stay = torch.zeros(1, 2), torch.eye(2)[None]
    hidden = gh.HiddenMarkov(start, stay, emissions, data.lengths)
    pyro.sample("y", hidden, obs=data.emissions)


def test_a_density_without_a_mode_is_not_whitened():
    program = Program.of(centred, random_data())
    start = torch.zeros(program.coordinates.size, dtype=torch.float64)
    assert whitened(program, program.coordinates.unpack(start)) is None


def walking():
    """Choices by weights that walk over sessions, some of them in groups of fewer."""
    data = drifting(5, 30, groups=list("aaabb"))
    data = data.replace(transition_covariates=torch.ones(150, 1))
    law, row = gh.priors.RandomWalk(0.5, 1.0), torch.tensor([5.0, 2.0]).double()
    walk = Varying(gh.Bernoulli(), law=law)
    ridge = gh.priors.Ridge(0.5)
    moves = Varying(gh.InputDriven(gh.priors.Ridge(1.0)), "group", ridge)
    first = gh.Initial(dist.Dirichlet(row))
    sticky = gh.Stationary(dist.Dirichlet(torch.stack([row, row.flip(0)])))
    return {
        "walk": (gh.GLMHMM(1, walk), data),
        "two states": (gh.GLMHMM(2, walk, sticky, first), data),
        "other units": (gh.GLMHMM(2, walk, moves, first), data),
    }


WALKS = walking()


@pytest.mark.parametrize("name", WALKS)
def test_units_that_a_law_links_are_whitened_by_their_factor(name):
    """Energies, slopes, volume and inverse are those of the map as one matrix."""
    program = Program.of(*WALKS[name])
    whitening = whitened(program, random_params(*WALKS[name]))
    size = program.coordinates.size
    assert isinstance(whitening.scale, BorderedScale)
    matrix = whitening(torch.eye(size).double()).T - whitening.centre[:, None]
    curvature = -hessian(program, whitening.centre, jacobian=True)
    torch.testing.assert_close(matrix @ matrix.T, curvature.inverse())
    volume = float(torch.linalg.slogdet(matrix).logabsdet)
    assert whitening.log_volume == pytest.approx(volume, rel=1e-9)
    points = normals(2, 3, size)
    torch.testing.assert_close(whitening.inverse(whitening(points)), points)
    energy, slope = Potential(program, whitening).evaluated(points[0, 0])
    leaf = points[0, 0].clone().requires_grad_()
    density = program.log_density(whitening.centre + matrix @ leaf, jacobian=True)
    assert energy == pytest.approx(-density.item(), rel=1e-12)
    torch.testing.assert_close(slope, -torch.autograd.grad(density, leaf)[0])
    assert is_maximum(program, whitening.centre)
    # Of one state the density is a hill everywhere.
    away = is_maximum(program, whitening.centre + 5 * torch.ones(size))
    assert away == (name == "walk")


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.inference.ConvergenceWarning")
def test_draws_of_a_walk_are_those_of_the_dense_whitening(monkeypatch):
    """Means and widths of 3 weights by 200 draws each, at most 5 standard errors apart.

    Of normal draws 6 such numbers would be so far apart once in 290,000 times; the
    sampler's are taken for a third as many.
    """
    data = drifting(3, 30).replace(covariates=torch.ones(90, 1), covariate_names=["c"])
    law = gh.priors.RandomWalk(0.5, 1.0)
    model, found = gh.GLMHMM(1, Varying(gh.Bernoulli(), law=law)), []
    nuts = gh.NUTS(200, 60, num_chains=1, parallel=False)
    start = {"emissions.weights": torch.zeros(3, 1, 1)}
    options = {"num_restarts": 1, "progress": False, "init": start}
    for scale in (whitening_module.scale_at, round_scale):
        monkeypatch.setattr(whitening_module, "scale_at", scale)
        fit = gh.fit(model, data, nuts, **options)
        found.append(fit.posterior.draws["emissions.weights"].reshape(200, 3))
    (one, other), fewer = found, 200 / 3
    spread = (one.var(0) + other.var(0)).sqrt()
    apart = (one.mean(0) - other.mean(0)) / spread * fewer**0.5
    ratio = (one.std(0) / other.std(0)).log() * fewer**0.5
    assert not torch.equal(one, other)
    assert apart.abs().max() < 5 and ratio.abs().max() < 5
