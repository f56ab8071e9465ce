"""A prior for every group of covariates: by number, range, slice or name."""

import pytest
import torch
from families import normals
from prior_cases import priors
from pyro import poutine
from torch.distributions import Dirichlet, HalfNormal, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.priors.answers import is_proper
from glmhmm_pyro.priors.filling import fill
from glmhmm_pyro.priors.recipe import Place

REAL = torch.distributions.constraints.real
NAMES = ("cue0_lag0", "cue0_lag1", "cue1_lag0", "cue1_lag1", "intercept")
PLACE = Place("emissions.weights", ("state", "covariate"), NAMES)
WALK, RIDGE = priors.RandomWalk(0.3), priors.Ridge(2.0)
SHAPE = torch.Size((2, 5))


def expected(value, first=(0, 1), second=(2, 3), rest=(4,)):
    """Two walks and a ridge, each over its columns."""
    walks = [
        fill(WALK, (2, 2), REAL).log_prob(value[..., list(c)]) for c in (first, second)
    ]
    return sum(walks) + fill(RIDGE, (2, len(rest)), REAL).log_prob(
        value[..., list(rest)]
    )


@pytest.mark.parametrize(
    "groups",
    [
        {(0, 1): WALK, range(2, 4): WALK},
        [([0, 1], WALK), (slice(2, 4), WALK)],
        {"cue0_*": WALK, "cue1_*": WALK},
        {("cue0_lag0", 1): WALK, "cue1_lag?": WALK},
        [(torch.tensor([0, 1]), WALK), ([-3, -2], WALK)],
    ],
)
def test_columns_are_given_by_number_or_name(groups):
    filled = fill(priors.Grouped(groups, rest=RIDGE), SHAPE, REAL, PLACE)
    value = normals(3, *SHAPE, seed=2)
    torch.testing.assert_close(filled.log_prob(value), expected(value))


def test_the_order_of_a_groups_columns_is_that_of_its_lags():
    place = Place("w", None, None)
    one = fill(priors.Grouped({(2, 0, 1): WALK}, rest=RIDGE), (4,), REAL, place)
    value = normals(4, seed=1)
    walk = fill(WALK, (3,), REAL).log_prob(value[[2, 0, 1]])
    other = fill(RIDGE, (1,), REAL).log_prob(value[3:])
    torch.testing.assert_close(one.log_prob(value), walk + other)


def test_a_name_is_taken_as_it_stands_before_it_is_taken_as_a_pattern():
    place = Place("w", None, ("lag[0]", "lag0"))
    one = priors.Grouped({"lag[0]": RIDGE}, rest=priors.Ridge(0.1))
    value = torch.tensor([1.0, 0.0], dtype=torch.float64)
    found = fill(one, (2,), REAL, place).log_prob(value)
    other = fill(RIDGE, (1,), REAL).log_prob(value[:1])
    rest = fill(priors.Ridge(0.1), (1,), REAL).log_prob(value[1:])
    torch.testing.assert_close(found, other + rest)


def test_distributions_and_flat_priors_may_stand_in_groups():
    one = priors.Grouped({0: Normal(1.0, 2.0), 1: None}, rest=RIDGE)
    filled = fill(one, (2, 3), REAL)
    value = normals(2, 3, seed=4)
    normal = Normal(torch.tensor(1.0).double(), 2.0).log_prob(value[:, 0]).sum()
    rest = fill(RIDGE, (2, 1), REAL).log_prob(value[:, 2:])
    torch.testing.assert_close(filled.log_prob(value), normal + rest)
    with torch.random.fork_rng(devices=[]):
        assert not is_proper(filled) and filled.sample().shape == (2, 3)
    assert not is_proper(fill(priors.Grouped({0: RIDGE}), (2, 3), REAL))
    assert is_proper(fill(priors.Grouped([(slice(None), RIDGE)]), (2, 3), REAL))


@pytest.mark.parametrize(
    "groups, match",
    [
        ({}, "at least one, got {}"),
        ([(0, RIDGE, RIDGE)], "pairs of both"),
        ({0.5: RIDGE}, "columns of a group must be numbers.*got 0.5"),
        ({(): RIDGE}, r"columns of a group must be numbers.*got \(\)"),
        ({(True,): RIDGE}, "columns of a group must be numbers"),
    ],
)
def test_wrong_groups_are_named(groups, match):
    with pytest.raises(ValueError, match=match):
        priors.Grouped(groups)


@pytest.mark.parametrize(
    "groups, match",
    [
        ({5: RIDGE}, "below 5, the number of covariates of emissions.weights, got 5"),
        ({0: RIDGE, range(2): WALK}, r"must not share a column, got \(0, 1\)"),
        ({(0, 0): RIDGE}, "must not share a column"),
        ({"cue2_*": RIDGE}, "must name covariates.*cue0_lag0.*got 'cue2_"),
        ({0: HalfNormal(1.0)}, "one of real weights.*got HalfNormal"),
        ({range(5): Dirichlet(torch.ones(5))}, "one of real weights.*got Dirichlet"),
    ],
)
def test_groups_that_do_not_fit_the_covariates_are_named(groups, match):
    with pytest.raises(ValueError, match=match):
        fill(priors.Grouped(groups, rest=RIDGE), SHAPE, REAL, PLACE)


def test_names_need_covariates_with_names():
    with pytest.raises(ValueError, match="must be numbers.*bind the model to data"):
        fill(priors.Grouped({"x*": RIDGE}), SHAPE, REAL)


def test_each_component_resolves_the_names_of_its_own_covariates():
    data = gh.Sequences(
        [0, 1, 1, 0],
        normals(4, 2),
        covariate_names=["tone", "bias"],
        transition_covariates=normals(4, 2, seed=1),
        transition_covariate_names=["bias", "reward"],
    )
    prior = priors.Grouped({"bias": priors.Ridge(0.1)}, rest=priors.Ridge(3.0))
    model = gh.GLMHMM(2, gh.Bernoulli(prior), gh.InputDriven(prior))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        draws = [_weights(model, data) for _ in range(400)]
    emissions, transitions = (torch.stack(w).reshape(-1, 2) for w in zip(*draws))
    # The two scales differ by a factor of 30: 800 draws cannot be mistaken.
    assert emissions.std(0)[1] < 0.2 < 2.0 < emissions.std(0)[0]
    assert transitions.std(0)[0] < 0.2 < 2.0 < transitions.std(0)[1]
    wrong = gh.GLMHMM(2, gh.Bernoulli(priors.Grouped({"reward": RIDGE})))
    with pytest.raises(ValueError, match="emissions.weights, which are tone, bias"):
        gh.fit(wrong, data, progress=False)


def _weights(model, data):
    nodes = poutine.trace(model).get_trace(data).nodes
    return nodes["emissions.weights"]["value"], nodes["transitions.weights"]["value"]
