"""Emissions pooled over slow states: what pairs emit, and the law that links them."""

import numpy as np
import pytest
import torch
from families import hidden_markov, path_log_joints, random_params
from level_cases import short_sessions
from made_fits import made_fit
from pyro.distributions import HalfNormal, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.components import ByLevel, Levels, TwoLevels, Varying
from glmhmm_pyro.inference.program.program import Program

EXACT = {"rtol": 0, "atol": 1e-10}
LEVELS = Levels(slow=2, fast=3)
LENGTHS = (3, 1, 2)
OBSERVED = (True, False, True, True, True, True)
TICKS = torch.tensor([0.0, 1, 0, 1, 0, 1], dtype=torch.float64)


def short_data(emissions=None):
    data = short_sessions(LENGTHS, OBSERVED, TICKS)
    if emissions is None:
        return data
    return gh.Sequences(emissions, data.covariates, lengths=LENGTHS)


def model_of(family, law, constant=(), **moves):
    emissions = Varying(family, "slow", law, constant)
    return gh.GLMHMM(LEVELS, emissions, TwoLevels(**moves))


def bound(model, data):
    """The model with random values of its sites."""
    model = Program.of(model, data).model
    return model, random_params(model, data)


# Families with the emissions of six steps, and how many numbers these are of.
COUNTS = [0, 3, 1, 0, 2, 5]
REALS = [0.3, -1.2, 0.8, 2.1, 0.0, -0.4]
TWO = [[0, 1], [1, 1], [0, 0], [1, 0], [1, 1], [0, 1]]
FAMILIES = {
    "labels": (gh.Bernoulli(), None),
    "classes": (gh.Categorical(3), [0, 2, 1, 0, 2, 2]),
    "two labels": (gh.Bernoulli(num_outputs=2), TWO),
    "two outputs of classes": (gh.Categorical(2, num_outputs=2), TWO),
    "counts": (gh.Poisson(), COUNTS),
    "spread counts": (gh.components.NegativeBinomial(), COUNTS),
    "numbers": (gh.Gaussian(), REALS),
    "two numbers": (gh.Gaussian(num_outputs=2), np.c_[REALS, REALS[::-1]]),
    "far numbers": (gh.components.StudentT(), REALS),
}


@pytest.mark.parametrize("constant", [(), ("x0",)])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_pair_emits_as_the_family_with_its_weights(name, constant):
    """Other parameters are those of the fast state, in all slow ones."""
    family, emissions = FAMILIES[name]
    data = short_data(emissions)
    columns = torch.cat([data.covariates, data.covariates[:, :1] ** 2], 1)
    data = data.replace(covariates=columns, covariate_names=["x0", "x1", "x2"])
    model, params = bound(model_of(family, "pooled", constant), data)
    whole = params["emissions.weights"]
    if constant:
        fixed = params["emissions.constant_weights"].expand(2, *whole.shape[1:-1], 1)
        whole = torch.cat([fixed, whole], -1)
    by_pair, values = bound(gh.GLMHMM(LEVELS, ByLevel(family, over="both")), data)
    others = by_pair.components["emissions"].sites.keys() - {"weights"}
    values |= {n: v for n, v in params.items() if not n.startswith("emissions")}
    values["emissions.weights"] = whole.flatten(0, 1)
    for other in others:
        own = params[f"emissions.{other}"]
        values[f"emissions.{other}"] = own.repeat(2, *(1 for _ in own.shape[1:]))
    found, expected = (
        hidden_markov(one, data, at).log_prob_per_session(data.emissions)
        for one, at in ((model, params), (by_pair, values))
    )
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("law", ["known", "learnt"])
def test_the_joint_density_is_the_sum_of_all_paths_and_the_law_of_weights(law):
    scale = HalfNormal(torch.tensor(2.0).double())
    zero, wide = torch.tensor([0.0, 1.5]).double()
    recipes = {
        "known": gh.priors.Ridge(0.7),
        "learnt": gh.priors.Hierarchical(scale, per=("state",)),
    }
    data = short_data()
    mean_prior = gh.priors.Ridge(1.5)
    model, params = bound(model_of(gh.Bernoulli(mean_prior), recipes[law]), data)
    program = Program.of(model, data)
    paths = [
        path_log_joints(model, data, params, session)[1].logsumexp(0)
        for session in range(3)
    ]
    weights, mean = params["emissions.weights"], params["emissions.weights_mean"]
    sizes = torch.tensor([0.7] * 3, dtype=torch.float64)
    expected = sum(paths) + Normal(zero, wide).log_prob(mean).sum()
    if law == "learnt":
        sizes = params["emissions.weights_scale"]
        expected += scale.log_prob(sizes).sum()
    for slow in range(2):
        for fast in range(3):
            own = Normal(mean[fast], sizes[fast]).log_prob(weights[slow, fast])
            expected += own.sum()
    for name, prior in program.priors.items():
        if not name.startswith("emissions"):
            expected += prior.log_prob(params[name]).sum()
    torch.testing.assert_close(program.log_joint(params), expected, **EXACT)


def test_scales_of_a_law_by_its_name_are_those_of_covariates():
    model, params = bound(model_of(gh.Bernoulli(), "pooled"), short_data())
    assert params["emissions.weights_scale"].shape == (2,)
    axes = model.components["emissions"].sites["weights"].axes
    assert axes == ("slow", "state", "covariate")


@pytest.mark.parametrize("entry", [None, gh.Initial()])
def test_renumbering_both_levels_changes_nothing(entry):
    """Also where each slow state has a chain of its own: means are in common."""
    data = short_data()
    model, params = bound(model_of(gh.Bernoulli(), "pooled", entry=entry), data)
    program = Program.of(model, data)
    fit = made_fit(model, data, params)
    orders = [order.tolist() for order in LEVELS.orders()]
    assert len(orders) == 12
    for order in orders:
        turned = fit.permuted(order)
        torch.testing.assert_close(
            program.log_joint(turned.params), program.log_joint(params), **EXACT
        )
        smoothed = [
            f.distribution(data).smoothed_probs(data.emissions) for f in (fit, turned)
        ]
        torch.testing.assert_close(smoothed[0][:, order], smoothed[1], **EXACT)
    with pytest.raises(ValueError, match="order must renumber fast states alike"):
        fit.permuted([0, 1, 2, 4, 3, 5])


def test_components_say_that_weights_are_pooled_over_slow_states():
    emissions = Varying(gh.Bernoulli(), "slow", "pooled", ["x1"])
    said = "Varying(Bernoulli(), over='slow', law='pooled', constant=['x1'])"
    assert repr(ByLevel(emissions)) == f"ByLevel({said})"
    model = gh.GLMHMM(LEVELS, emissions)
    line = "weights by slow state, pooled, those of x1 excepted"
    assert f"Bernoulli(f[t], x[t]), {line}" in model.explain()


REFUSED = {
    "walk": (
        lambda: Varying(gh.Bernoulli(), "slow"),
        "law must be pooled for weights that vary over slow states, got a walk",
    ),
    "no law": (
        lambda: Varying(gh.Bernoulli(), "slow", None),
        "law must be pooled for weights that vary over slow states, got None",
    ),
    "moves": (
        lambda: Varying(gh.InputDriven(), "slow", "pooled"),
        "over must be 'group' or 'session' for transitions and .*, got 'slow'",
    ),
    "first states": (
        lambda: Varying(gh.Initial(), "slow", "pooled"),
        "over must be 'group' or 'session' for transitions and .*, got 'slow'",
    ),
    "one level": (
        lambda: gh.GLMHMM(3, Varying(gh.Bernoulli(), "slow", "pooled")).bind(
            short_data()
        ),
        "num_states must be Levels for weights that vary over slow states, got 3",
    ),
    "by pair": (
        lambda: ByLevel(Varying(gh.Bernoulli(), "slow", "pooled"), over="both"),
        "over must be 'fast' for a family whose weights vary over slow states",
    ),
    "another output": (
        lambda: gh.Outputs(
            choice=Varying(gh.Bernoulli(), "slow", "pooled"), time=gh.Gaussian()
        ),
        "families must have no weights by a law beside other outputs",
    ),
    "not by Varying": (
        lambda: gh.components.VaryingEmission(gh.Bernoulli(), "slow", "pooled"),
        "over must be one of group, session, step, got 'slow'",
    ),
    "scales by slow state": (
        lambda: model_of(
            gh.Bernoulli(), gh.priors.Hierarchical("learnt", per=("slow",))
        ).bind(short_data()),
        "per of the law must name axes of the weights, which are state, covariate",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_pooled_is_refused(case):
    make, said = REFUSED[case]
    with pytest.raises(ValueError, match=said):
        make()
