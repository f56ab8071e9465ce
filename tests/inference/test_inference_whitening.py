"""Whitened coordinates: exact where the posterior is normal, refused without a mode."""

import pyro
import pyro.distributions as dist
import torch
from families import normals, random_data, random_params
from inference_cases import clear_data, penalised
from nuts_cases import RIDGE, SPREAD, KnownSpread, regression, regression_posterior

import glmhmm_pyro as gh
from glmhmm_pyro.inference.nuts import whitening as whitening_module
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
