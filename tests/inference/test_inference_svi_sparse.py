"""The guide of block-tridiagonal precision: its density, what it learns, refusals."""

import math
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from families import random_params
from svi_cases import KnownNoise, small_fit
from test_inference_whitening import WALKS
from varying_cases import drifting, problem_of

import glmhmm_pyro as gh
from glmhmm_pyro.components import ByLevel, Levels, TwoLevels, Varying
from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.curvature.newton import newton_mode
from glmhmm_pyro.inference.curvature.round_scales import scale_at
from glmhmm_pyro.inference.marginal.law_evidence import expand_at_units_mode
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.svi import sparse_precision
from glmhmm_pyro.inference.svi.guides import make_guide
from glmhmm_pyro.inference.svi.svi import SVI, draws_from

ONCE = {"num_restarts": 1, "progress": False}
BAR = SimpleNamespace(update=lambda: None, set_postfix=lambda **_: None)


def normal_walk():
    """A posterior that is normal: of weights that walk, and of their mean."""
    data = drifting(5, 20)
    noise = torch.arange(100.0).double().mul(7).sin()
    data = data.replace(emissions=data.covariates[:, 0] + noise)
    pooled = Varying(KnownNoise(prior=dist.Normal(0.0, 2.0)), law=gh.priors.Ridge(0.5))
    walk = Varying(KnownNoise(), "step", gh.priors.RandomWalk(0.3, 1.0))
    return {"pooled": (gh.GLMHMM(1, pooled), data), "walk": (gh.GLMHMM(1, walk), data)}


NORMAL = normal_walk()


def at_mode(model, data):
    """A program, and values of its sites at the mode of its density."""
    program = Program.of(model, data)
    start = {n: p.mean.double() for n, p in program.priors.items()}
    mode, _ = gh.MAP(tol=1e-10).density_mode(program, start)
    mode = newton_mode(program, mode, scale_at(program, mode))[0]
    return program, program.coordinates.unpack(mode)


@pytest.mark.parametrize("name", NORMAL)
def test_it_begins_at_a_posterior_that_is_normal(name):
    """All importance weights are then the evidence, by dense Laplace here."""
    program, mode = at_mode(*NORMAL[name])
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        guide = make_guide("sparse_precision", program, mode)
        stats = draws_from(guide, program, 4).stats
    weights = stats["log_joint"] - stats["log_guide"]
    size = program.coordinates.size
    vector = program.coordinates.pack(mode)
    curvature = -hessian(program, vector, jacobian=True)
    height = program.log_density(vector, True) - torch.logdet(curvature) / 2
    evidence = height.item() + size * math.log(2 * math.pi) / 2
    assert weights[0].tolist() == pytest.approx([evidence] * 4, abs=1e-6)


@pytest.mark.parametrize("name", WALKS)
def test_its_density_is_that_of_a_normal_vector(name):
    """Of any parameters, in the values of the sites, by the covariance as a matrix."""
    program, mode = at_mode(*WALKS[name])
    size = program.coordinates.size
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        guide = make_guide("sparse_precision", program, mode)
        with torch.no_grad():
            for leaf in guide.parameters():
                leaf += 0.2 * torch.randn(leaf.shape).double()
            root = (torch.eye(size).double() @ guide.scale().T).T
            mean = guide.vector + guide.mean @ guide.start.T
        found = draws_from(guide, program, 3)
    draws = {n: x[0] for n, x in found.draws.items()}
    vectors = program.coordinates.pack(draws)
    normal = torch.distributions.MultivariateNormal(mean, root @ root.T)
    wanted = normal.log_prob(vectors) - program.coordinates.log_jacobian(vectors)
    torch.testing.assert_close(torch.tensor(found.stats["log_guide"][0]), wanted)


@pytest.mark.parametrize("name", NORMAL)
def test_it_finds_a_normal_posterior_from_elsewhere(name, monkeypatch):
    """Means to a part of a width, and widths, which were 25 to 100 % off, to 10 %."""
    program, mode = at_mode(*NORMAL[name])
    beginning = sparse_precision._beginning

    def wide(program, vector):
        start = beginning(program, vector)
        inside, solved, spread = start.root
        wide = inside._replace(roots=0.8 * inside.roots, links=0.5 * inside.links)
        root = start.root._replace(
            inside=wide, solved=0.0 * solved, spread=1.5 * spread
        )
        return start._replace(root=root)

    exact = beginning(program, program.coordinates.pack(mode))
    monkeypatch.setattr(sparse_precision, "_beginning", wide)
    away = {name: value + 0.3 for name, value in mode.items()}
    svi = SVI("sparse_precision", num_steps=500, learning_rate=0.05, window=50)
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        torch.manual_seed(0)
        ascent = svi._ascent(program, away)
        svi._schedule().climb(ascent, BAR)
        with torch.no_grad():
            scale = ascent.guide.scale()
            mean = ascent.guide.vector + ascent.guide.mean @ ascent.guide.start.T
    matrices = [(torch.eye(len(mean)).double() @ s.T).T for s in (exact, scale)]
    wanted, found = ((m @ m.T).diagonal().sqrt() for m in matrices)
    off = (mean - program.coordinates.pack(mode)) / wanted
    assert off.abs().max() < 0.1 and (found / wanted - 1).abs().max() < 0.1


def test_it_is_above_independent_coordinates_and_near_laplace():
    """Of choices by weights that walk over 6 sessions of 60 trials.

    Its bound is the higher by what independent coordinates miss, several nats. Means of
    500 draws are within 5 standard errors of Laplace's and a tenth of a width, for
    the posterior is not normal; that happens by chance once in 140,000 times.
    """
    data = drifting(6, 60)
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), law=gh.priors.RandomWalk(0.3, 1.0)))
    options = {"learning_rate": 0.02, "window": 50, "num_steps": 300, "seed": 0}
    fits = [
        small_fit(model, data, guide=guide, num_samples=500, tol=1e-3, **options)
        for guide in ("sparse_precision", "normal")
    ]
    bounds = [fit.posterior.elbo[-50:].mean() for fit in fits]
    laplace = gh.fit(model, data, gh.Laplace(500), **ONCE)
    assert bounds[0] > bounds[1] + 1
    assert bounds[0] < laplace.log_likelihood + 1
    one, other = (
        fit.posterior.draws["emissions.weights"][0].flatten(1)
        for fit in (fits[0], laplace)
    )
    apart = (one.mean(0) - other.mean(0)).abs() / other.std(0)
    assert apart.max() < 0.1 + 5 * (2 / 500) ** 0.5
    assert (one.std(0) / other.std(0) - 1).abs().max() < 0.1 + 5 * (1 / 500) ** 0.5


def test_learnt_scales_are_drawn_with_the_weights():
    data = drifting(6, 60, step=(0.8, 0.5))
    law = gh.priors.RandomWalk(dist.HalfNormal(1.0), 2.0)
    model = gh.GLMHMM(1, Varying(gh.Bernoulli(), law=law))
    fit = small_fit(
        model, data, guide="sparse_precision", num_steps=60, num_samples=200
    )
    name = "emissions.weights_step_scale"
    scales, at = fit.posterior.draws[name], gh.fit(model, data, "map", **ONCE)
    error = at.standard_errors(data)[name].item() / at.params[name].item()
    assert (scales > 0).all()
    assert 0.6 < scales.log().std() / error < 1.6
    # It began as wide as the evidence has it.
    problem = problem_of(at.model, data)
    w, v = problem.packed(at.params)

    def height(point):
        found = expand_at_units_mode(problem, point, w).evidence
        return found + float(problem.prior(point, jacobian=True).log_density)

    bend = (2 * height(v) - height(v + 0.01) - height(v - 0.01)) / 1e-4
    vector = problem.program.coordinates.pack(at.params)
    start = sparse_precision._beginning(problem.program, vector)
    assert start.root.spread.item() == pytest.approx(bend**-0.5, rel=1e-3)


def test_models_without_such_weights_are_refused_in_a_sentence():
    words = "guide must not be 'sparse_precision' for a model in which no law links"
    with pytest.raises(ValueError, match=words + ".*guide='multivariate_normal'"):
        small_fit(guide="sparse_precision")
    data = drifting(4, 20, groups=["a", "a", "b", "b"])
    walk = Varying(gh.Bernoulli(), law=gh.priors.RandomWalk(0.3, 1.0))
    across = TwoLevels(across_sessions=True)
    linked = gh.GLMHMM(Levels(2, 2), ByLevel(walk, over="slow"), across)
    program = Program.of(linked, data)
    with pytest.raises(ValueError, match="not through states that go on across"):
        make_guide("sparse_precision", program, random_params(linked, data))
