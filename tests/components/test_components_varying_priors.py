"""Priors of some columns, offsets and known weights, where other weights vary by unit.

The joint density of the model against the one written by hand with torch's laws.
"""

import numpy as np
import pytest
import torch
from pyro import poutine
from torch.distributions import Normal, Poisson

import glmhmm_pyro as gh
from glmhmm_pyro.priors import Fixed, Grouped, Ridge

RNG = np.random.default_rng(0)
NAMES = ["cue", "bias", "time"]
X = np.c_[RNG.normal(size=8), np.ones(8), RNG.uniform(0.5, 1, 8)]
LENGTHS = [3, 5]
DATA = gh.Sequences(RNG.poisson(2, 8), X, lengths=LENGTHS, covariate_names=NAMES)
LAW = Ridge(0.5)
MEAN, UNITS = torch.tensor([[0.3]]), torch.tensor([[[0.5]], [[-0.2]]])


def log_joint(model, params):
    trace = poutine.trace(poutine.condition(model, data=params)).get_trace(DATA)
    assert {*trace.observation_nodes} == {*params, "y"}
    return trace.log_prob_sum().item()


def by_hand(weights):
    """Of counts at weights (sessions, columns), and of cues' weights by session."""
    rows = weights.double().repeat_interleave(torch.tensor(LENGTHS), 0)
    rates = (rows * torch.from_numpy(X)).sum(-1).exp()
    law = Normal(MEAN.double(), 0.5).log_prob(UNITS.double()).sum()
    return law + Poisson(rates).log_prob(DATA.emissions.double()).sum()


def varying(prior=None, constant=(), **options):
    family = gh.Poisson(prior, **options)
    varying = gh.components.Varying(family, "session", LAW, constant)
    return gh.GLMHMM(1, varying)


def params(constant):
    values = {"weights_mean": MEAN, "weights": UNITS, "constant_weights": constant}
    return {f"emissions.{name}": value.double() for name, value in values.items()}


@pytest.mark.parametrize("constant", [["bias"], ["bias", "time"], ["time", "bias"]])
def test_an_offset_has_weight_1_in_every_unit(constant):
    model = varying(Ridge(2.0), constant, offset="time")
    known = torch.tensor([[-0.4, 1.0]])
    found = log_joint(model, params(known))
    weights = torch.cat([UNITS[:, 0], known.expand(2, -1)], -1)
    prior = Normal(0.0, 2.0).log_prob(torch.tensor([0.3, -0.4]).double()).sum()
    assert found == pytest.approx(float(by_hand(weights) + prior), rel=1e-6)


@pytest.mark.parametrize("method", ["em", "map", "laplace"])
def test_a_fit_holds_the_offset_beside_weights_that_vary(method):
    model = varying(Ridge(2.0), offset="time")
    fit = gh.fit(model, DATA, method, num_restarts=1, progress=False)
    assert fit.parameters["emissions.weights"].coords["covariate"].size == 2
    assert (fit.params["emissions.constant_weights"] == 1).all()


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
def test_an_offset_is_held_over_slow_states():
    family = gh.Poisson(Ridge(2.0), offset="time")
    pooled = gh.components.Varying(family, "slow", LAW)
    model = gh.GLMHMM(gh.components.Levels(2, 2), pooled)
    fit = gh.fit(model, DATA, num_restarts=1, progress=False)
    assert (fit.params["emissions.constant_weights"] == 1).all()


PRIORS = {
    "by name": Grouped({"bias": Ridge(3.0), "cue": Ridge(0.7)}, rest=Ridge(5.0)),
    "by number": Grouped({1: Ridge(3.0), 0: Ridge(0.7)}, rest=Ridge(5.0)),
    "by pattern": Grouped({"b*": Ridge(3.0), "c*": Ridge(0.7)}, rest=Ridge(5.0)),
    "by range": Grouped([(slice(0, 1), Ridge(0.7)), (2, Ridge(5.0))], rest=Ridge(3.0)),
}


@pytest.mark.parametrize("name", PRIORS)
def test_groups_of_columns_have_their_priors_whether_they_vary_or_not(name):
    constant = torch.tensor([[-0.4, 0.6]])
    found = log_joint(varying(PRIORS[name], ["time", "bias"]), params(constant))
    values, scales = torch.tensor([0.3, -0.4, 0.6]), torch.tensor([0.7, 3.0, 5.0])
    weights = torch.cat([UNITS[:, 0], constant.expand(2, -1)], -1)
    prior = Normal(0.0, scales.double()).log_prob(values.double()).sum()
    assert found == pytest.approx(float(by_hand(weights) + prior), rel=1e-6)


@pytest.mark.parametrize("value", [{"bias": -0.4}, [np.nan, -0.4, np.nan]])
def test_known_weights_are_held_where_others_vary(value):
    model = varying(Fixed(value, rest=Ridge(2.0)), ["bias", "time"])
    fit = gh.fit(model, DATA, num_restarts=1, progress=False)
    held = fit.parameters["emissions.constant_weights"].sel(constant="bias")
    np.testing.assert_allclose(held, -0.4, rtol=1e-12)
    prior = Normal(0.0, 2.0).log_prob(torch.tensor([0.3, 0.6]).double()).sum()
    known = torch.tensor([[-0.4, 0.6]], dtype=torch.float64)
    weights = torch.cat([UNITS[:, 0].double(), known.expand(2, -1)], -1)
    found = log_joint(model, params(known))
    assert found == pytest.approx(float(by_hand(weights) + prior), rel=1e-6)


def test_a_known_weight_must_not_walk():
    family = gh.Poisson(Fixed({"cue": 0.0}))
    model = gh.GLMHMM(1, gh.components.Varying(family, "session", "walk", ["bias"]))
    with pytest.raises(ValueError, match="prior must hold no weight that walks .*cue"):
        gh.fit(model, DATA, num_restarts=1, progress=False)


def test_a_name_of_no_column_is_refused_where_weights_vary():
    model = varying(Grouped({"cues": Ridge(1.0)}), ["bias"])
    with pytest.raises(ValueError, match="cue, bias, time, got 'cues'"):
        gh.fit(model, DATA, num_restarts=1, progress=False)
