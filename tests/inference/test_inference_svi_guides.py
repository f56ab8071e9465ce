"""Guides of SVI: every way to give one, in float64, left as they were."""

import copy
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from inference_cases import penalised
from pyro.infer.autoguide import (
    AutoDiagonalNormal,
    AutoGuideList,
    AutoIAFNormal,
    AutoLowRankMultivariateNormal,
    AutoNormal,
)
from svi_cases import (
    made_guide,
    small_data,
    small_fit,
    small_program,
    two_animals,
    written_guide,
)

import glmhmm_pyro as gh
from glmhmm_pyro.inference.svi.guides import GUIDES, make_guide
from glmhmm_pyro.inference.svi.svi import SVI


def listed_guide(model):
    """Two autoguides, each for a part of the model."""
    guide = AutoGuideList(model)
    hidden = ["initial.probs", "transitions.probs"]
    guide.append(AutoNormal(pyro.poutine.block(model, expose=hidden)))
    guide.append(AutoDiagonalNormal(pyro.poutine.block(model, hide=hidden)))
    return guide


MAKERS = {
    **{name: name for name in GUIDES},
    "class": AutoDiagonalNormal,
    "partial": partial(AutoLowRankMultivariateNormal, rank=1),
    "maker": made_guide,
    "list": listed_guide,
    "flow": partial(AutoIAFNormal, hidden_dim=[8], init_loc_fn=None),
    "function of the data": written_guide,
}


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def default_dtype(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


@pytest.mark.parametrize("name", MAKERS)
def test_every_guide_climbs_in_float64_whatever_the_default_is(name, default_dtype):
    program, start = small_program()
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        torch.manual_seed(0)
        svi = SVI(guide=MAKERS[name], learning_rate=0.02)
        ascent = svi._ascent(program, start)
        assert ascent.step()
        leaves = ascent.estimator.parameters().values()
        before = [leaf.detach().clone() for leaf in leaves]
        assert ascent.step() and len(ascent.history) == 2
        assert {leaf.dtype for leaf in leaves} == {torch.float64}
        assert all((leaf != old).any() for leaf, old in zip(leaves, before))
    assert torch.get_default_dtype() is default_dtype


@pytest.mark.parametrize("name", [*GUIDES, "class", "partial"])
def test_guides_made_here_begin_at_the_values_given(name):
    program, start = small_program()
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        guide = make_guide(MAKERS[name], program, start)
        median = guide.median(program.data)
    for site, value in start.items():
        torch.testing.assert_close(median[site], value)


def test_a_partial_may_fix_where_its_guide_begins():
    program, start = small_program()
    zeros = pyro.infer.autoguide.init_to_feasible
    with pyro.get_param_store().scope(), torch.random.fork_rng():
        maker = partial(AutoNormal, init_loc_fn=zeros)
        median = make_guide(maker, program, start).median(program.data)
    assert (median["emissions.weights"] == 0).all()


@pytest.mark.parametrize("make", [made_guide, listed_guide])
@pytest.mark.parametrize("is_used", [False, True])
def test_a_guide_that_was_given_is_fitted_as_a_copy(make, is_used):
    model, data = penalised(transitions="stationary"), small_data()
    guide = make(model)
    if is_used:
        guide(data)
    pyro.clear_param_store()
    before = copy.deepcopy(guide.state_dict())
    fits = [small_fit(model, data, guide=guide, num_steps=9_999) for _ in range(2)]
    assert fits[0].posterior.num_draws == 20
    draws = [fit.posterior.draws["emissions.weights"] for fit in fits]
    assert torch.equal(*draws)
    after = guide.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    # The guide and its parts still know their model, and can be used.
    assert guide(data).keys() == fits[0].params.keys()
    if not is_used:
        assert model.emissions.num_features == 2


def test_a_model_given_through_an_unused_guide_is_not_bound():
    model = penalised(transitions="stationary")
    small_fit(model, guide=made_guide(model))
    assert model.emissions.num_features is None


def test_tensors_that_a_written_guide_begins_with_are_not_trained():
    spread = torch.full((2, 2), -2.0, dtype=torch.float64)
    tensors = {"loc": torch.zeros(2, 2), "spread": spread}
    kept = {name: value.clone() for name, value in tensors.items()}

    def guide(data):
        loc, spread = (pyro.param(n, value) for n, value in tensors.items())
        normal = dist.Normal(loc, spread.exp()).to_event(2)
        pyro.sample("emissions.weights", normal)
        for name, shape in [("initial.probs", (2,)), ("transitions.probs", (2, 2))]:
            uniform = dist.Dirichlet(torch.full(shape, 2.0))
            pyro.sample(name, uniform.to_event(len(shape) - 1))

    fit = small_fit(guide=guide)
    assert fit.posterior.draws["emissions.weights"].dtype == torch.float64
    assert all(torch.equal(value, kept[name]) for name, value in tensors.items())


def other_model(data):
    """A model with other sites than a GLMHMM."""
    return two_animals([data])


@pytest.mark.parametrize(
    "guide, message",
    [
        (
            AutoNormal(other_model),
            "does not sample initial.probs, transitions.probs, emissions.weights and "
            "the model has no centre, weights, stay",
        ),
        (
            AutoNormal(penalised(transitions="input-driven")),
            "not sample transitions.probs and the model has no transitions.weights",
        ),
        (
            AutoNormal(penalised(transitions="stationary", states=3)),
            r"'initial.probs' in the shape of the model's, \(2,\), got \(3,\)",
        ),
        (lambda m: None, "does not sample.*must call its argument 'model'"),
    ],
)
def test_a_guide_for_another_model_is_refused_by_its_sites(guide, message):
    with pytest.raises(ValueError, match="guide must sample .*" + message):
        small_fit(guide=guide)


def test_a_guide_that_leaves_the_support_is_refused():
    def guide(data):
        written_guide(data)

    def outside(data):
        with pyro.poutine.block(hide=["initial.probs"]):
            written_guide(data)
        normal = dist.Normal(torch.tensor([-3.0, 3.0]), 0.1).to_event(1)
        pyro.sample("initial.probs", normal)

    small_fit(guide=guide)
    with pytest.raises(ValueError, match="'initial.probs' within .*implex.*got"):
        small_fit(guide=outside)


def test_a_guide_without_parameters_is_refused():
    def fixed(data):
        with pyro.poutine.block(hide_types=["param"]):
            written_guide(data)

    def nothing_to_learn(data):
        shapes = {"initial.probs": (2,), "transitions.probs": (2, 2)}
        for name, shape in shapes.items():
            uniform = dist.Dirichlet(torch.ones(shape)).to_event(len(shape) - 1)
            pyro.sample(name, uniform)
        pyro.sample("emissions.weights", dist.Normal(torch.zeros(2, 2), 1).to_event(2))

    with pytest.raises(ValueError, match="guide must have parameters"):
        small_fit(guide=nothing_to_learn)


def test_a_user_s_model_takes_a_guide_of_its_own():
    data = [gh.Sequences([0, 1, 1, 0], [[1.0, 0.5]] * 4)] * 2
    fit = small_fit(two_animals, data, guide=AutoNormal(two_animals))
    assert fit.status is gh.Status.CONVERGED
