"""Scales with hyperpriors: sites of their own names, one density in every body."""

import pyro
import pytest
import torch
from families import (
    constrained,
    enumerated_log_joint,
    log_joint,
    normals,
    random_data,
    random_free,
    random_params,
    with_sets,
)
from prior_cases import HIERARCHIES, ROWS, priors
from pyro import poutine
from pyro.distributions import HalfNormal, InverseGamma, LogNormal, Normal
from pyro.infer.autoguide import AutoNormal
from torch.distributions import Beta, Dirichlet

import glmhmm_pyro as gh
from glmhmm_pyro.inference.steps.blocks import PackedRows, prior_sites

SITES = {
    "one scale": {"weights_scale": ()},
    "by state": {"weights_scale": (2,)},
    "smooth": {"weights_scale": (2,)},
    "horseshoe": {"weights_scale": (), "weights_base_scale": (2, 2)},
    "in groups": {"weights_0_scale": (), "weights_rest_scale": (2,)},
}
ALL = {name: recipe for name, (recipe, *_) in ROWS.items() if name != "grouped"}
ALL |= {"in columns": priors.Grouped({0: priors.Lasso(0.7)}, priors.Ridge(1.5))}
ALL |= HIERARCHIES


def bound(prior, transitions=None):
    """A model with the prior on its emissions, bound to data."""
    model, data = gh.GLMHMM(2, gh.Bernoulli(prior), transitions), random_data()
    model.bind(data)
    return model, data


@pytest.mark.parametrize("name", HIERARCHIES)
def test_a_scale_is_a_site_named_after_its_parameter(name):
    model, data = bound(HIERARCHIES[name])
    params = random_params(model, data)
    shapes = {n: tuple(v.shape) for n, v in params.items() if "_scale" in n}
    assert shapes == {f"emissions.{n}": s for n, s in SITES[name].items()}
    assert set(model.emissions.hyperparameters) == set(SITES[name])
    for axes, shape in zip(model.emissions.hyperparameters.values(), shapes.values()):
        assert len(axes) == len(shape)


def test_the_density_is_that_of_the_hyperprior_times_that_of_the_scaled_base():
    w, s = normals(2, 2, seed=1), torch.tensor([0.5, 2.0], dtype=torch.float64)
    hyper = InverseGamma(torch.tensor(3.0).double(), torch.tensor(2.0).double())
    given = {"emissions.weights": w, "emissions.weights_scale": s}
    model, data = bound(HIERARCHIES["by state"])
    expected = Normal(0.0, s[:, None]).log_prob(w).sum() + hyper.log_prob(s).sum()
    torch.testing.assert_close(_log_prior(model, given), expected)
    model, data = bound(HIERARCHIES["horseshoe"])
    local = torch.tensor([[0.1, 3.0], [1.0, 0.5]], dtype=torch.float64)
    given = {
        "emissions.weights": w,
        "emissions.weights_scale": s[0],
        "emissions.weights_base_scale": local,
    }
    expected = Normal(0.0, s[0] * local).log_prob(w).sum()
    expected = expected + HalfNormal(0.5).log_prob(s[0])
    expected = expected + HalfNormal(1.0).log_prob(local).sum()
    torch.testing.assert_close(_log_prior(model, given), expected)
    walk = priors.RandomWalk(0.5, 1.0)
    for state in range(2):
        scaled = priors.RandomWalk(0.5 * float(s[state]), 1.0 * float(s[state]))
        direct = scaled((2,)).log_prob(w[state])
        by_factor = walk.scaled((2,), s[state].reshape(1)).log_prob(w[state])
        torch.testing.assert_close(by_factor, direct)


def _log_prior(model, given):
    sites = prior_sites(model.emissions, given)
    return sum(site["fn"].log_prob(site["value"]) for site in sites.values())


@pytest.mark.parametrize("prior", ALL.values(), ids=ALL)
def test_the_prior_counts_once_in_both_bodies(prior):
    model, data = bound(prior, gh.Stationary(priors.Sticky(4.0)))
    _check_bodies(model, data)


def _check_bodies(model, data):
    """The same log-joint and gradient, states summed out or written out."""
    free = random_free(model, data, seed=2)
    params = constrained(model, data, free)
    summed = log_joint(model, data, params)
    written_out = enumerated_log_joint(model, data, params)
    torch.testing.assert_close(summed, written_out)
    leaves = list(free.values())
    gradients = [
        torch.autograd.grad(v, leaves, retain_graph=True) for v in (summed, written_out)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("prior", ALL.values(), ids=ALL)
def test_log_priors_of_blocks_and_scales_sum_to_the_log_prior(prior):
    model, data = bound(prior)
    component = model.emissions
    assert component.separates() and component.takes_sets()
    params = [random_params(model, data, seed=s) for s in (1, 2, 3)]
    own = [{n: v for n, v in p.items() if n.startswith("emissions")} for p in params]
    sites = prior_sites(component, own[0])
    scales = {n: s for n, s in sites.items() if n != "emissions.weights"}
    weights = PackedRows(component, {"emissions.weights": sites["emissions.weights"]})
    together = prior_sites(component, with_sets(own))
    by_state = weights.log_prior(together)
    assert by_state.shape == (6,)
    total = by_state.reshape(3, 2).sum(1)
    if scales:
        total = total + PackedRows(component, scales, False).log_prior(together)
    expected = torch.stack([_log_prior(model, values) for values in own])
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("name", HIERARCHIES)
def test_guides_of_pyro_take_the_names_of_scales(name):
    model, data = bound(HIERARCHIES[name])
    guide = AutoNormal(
        poutine.block(model, hide=["initial.probs", "transitions.probs"])
    )
    with torch.random.fork_rng(devices=[]):
        drawn = guide(data)
    assert {f"emissions.{n}" for n in SITES[name]} < set(drawn)


def test_two_functions_may_give_their_hyperparameters_one_name():
    def prior(shape):
        scale = pyro.sample("scale", LogNormal(0.0, 1.0))
        return Normal(0.0, scale).expand(shape)

    model, data = bound(prior, gh.InputDriven(prior))
    names = set(random_params(model, data))
    assert {"emissions.scale", "transitions.scale"} < names
    _check_bodies(model, data)
    assert not model.emissions.takes_sets()


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        (
            (2.0,),
            TypeError,
            "scale_prior of Hierarchical must be a distribution.*got 2",
        ),
        ((Normal(0.0, 1.0),), ValueError, "a positive number.*got Normal"),
        ((Dirichlet(torch.ones(2)),), ValueError, "a positive number.*got Dirichlet"),
        (
            (HalfNormal(1.0), Normal(0.0, 1.0)),
            TypeError,
            "base of Hierarchical must be",
        ),
        ((HalfNormal(1.0), priors.Sticky()), TypeError, "base of Hierarchical must be"),
    ],
)
def test_wrong_parts_of_a_hierarchy_are_named(arguments, error, match):
    with pytest.raises(error, match=match):
        priors.Hierarchical(*arguments)


def test_scales_by_an_unknown_axis_are_refused():
    prior = priors.Hierarchical(Beta(2.0, 2.0), per=("origin",))
    with pytest.raises(ValueError, match="axes.*are state, covariate, got 'origin'"):
        gh.fit(gh.GLMHMM(2, gh.Bernoulli(prior)), random_data(), progress=False)
    with pytest.raises(ValueError, match="which are unknown, got 'origin'"):
        prior((2, 2))
