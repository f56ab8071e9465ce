"""Classes of a user's own that would be two models: to the chain, and in simulation.

The likelihood of a fit is that of ``forward``, or the class is refused in a sentence.
"""

import numpy as np
import pyro.distributions as dist
import pytest
from pyro import poutine
from pyro.infer import TraceEnum_ELBO

import glmhmm_pyro as gh

RNG = np.random.default_rng(0)
CHOICES, X = RNG.integers(2, size=9), RNG.normal(size=(9, 2))
DATA = gh.Sequences(CHOICES, X, lengths=[4, 5])
RIDGE = gh.priors.Ridge(1.0)


def slipping(law):
    return dist.Bernoulli(0.1 + 0.8 * law.probs, validate_args=False)


def sticky(law):
    return dist.Categorical(probs=law.probs.square(), validate_args=False)


class ForwardAlone(gh.Bernoulli):
    def forward(self, state, covariates):
        return slipping(super().forward(state, covariates))


class TableAlone(gh.Bernoulli):
    def table(self, design):
        return slipping(super().table(design))


class LogProbs(gh.Bernoulli):
    def log_probs(self, data):
        return 0.5 * super().log_probs(data)


class Both(ForwardAlone):
    def table(self, design):
        return slipping(super().table(design))


class SameTable(gh.Bernoulli):
    def table(self, design):
        scores = design @ self.weights.transpose(-1, -2)
        return dist.Bernoulli(logits=scores, validate_args=False)


class MovesAlone(gh.Stationary):
    def forward(self, state, covariates):
        return sticky(super().forward(state, covariates))


class LogitsAlone(gh.InputDriven):
    def logits(self, data):
        return 2 * super().logits(data)


class MovesLogProbs(gh.Stationary):
    def log_probs(self, data):
        return 2 * super().log_probs(data)


class FirstLogProbs(gh.Initial):
    def log_probs(self, data):
        return 2 * super().log_probs(data)


class BothMoves(MovesAlone):
    def logits(self, data):
        return 2 * super().logits(data)


class Unfinished(gh.components.Transitions):
    def __init__(self):
        super().__init__()
        self.weights = gh.Site("state", ("destination", 2), prior=RIDGE)

    def logits(self, data):
        return self.weights.unsqueeze(-3)


def model(part):
    parts = {"emissions": gh.Bernoulli(RIDGE)}
    kinds = {
        "emissions": gh.Emission,
        "transitions": gh.components.Transitions,
        "initial": gh.Initial,
    }
    name = next(name for name, kind in kinds.items() if isinstance(part, kind))
    return gh.GLMHMM(2, **parts | {name: part})


TWO_LAWS = {
    "forward": (ForwardAlone(RIDGE), "ForwardAlone.table must have the law of"),
    "table": (TableAlone(RIDGE), r"differ by up to .* or distribution\(predictor\)"),
    "moves": (
        MovesAlone(),
        "MovesAlone.logits must have the law of MovesAlone.forward",
    ),
    "logits": (LogitsAlone(RIDGE), "LogitsAlone.logits must have .*write both alike"),
    "emission": (LogProbs(RIDGE), "LogProbs must say by table .*to LogProbs.table"),
    "log_probs": (MovesLogProbs(), "MovesLogProbs must say by logits what the chain"),
    "first": (FirstLogProbs(), "FirstLogProbs must say by logits .* got a method log"),
    "slow": (
        gh.TwoLevels(MovesAlone(), gh.Stationary()),
        "MovesAlone.logits must have the law of MovesAlone.forward",
    ),
    "output": (
        gh.Outputs(a=ForwardAlone(RIDGE), b=gh.Bernoulli(RIDGE)),
        "ForwardAlone.table must have the law of ForwardAlone.forward",
    ),
}


@pytest.mark.parametrize("method", ["em", "map"])
@pytest.mark.parametrize("name", TWO_LAWS)
def test_a_part_with_two_laws_is_refused(name, method):
    part, sentence = TWO_LAWS[name]
    whole, data = gh.GLMHMM(2, part) if name == "output" else None, DATA
    if name == "slow":
        whole = gh.GLMHMM(gh.Levels(2, 2), gh.Bernoulli(RIDGE), part)
    if name == "output":
        columns = np.column_stack([CHOICES, CHOICES[::-1]])
        data = gh.Sequences(columns, X, emission_names=["a", "b"])
    with pytest.raises(ValueError, match=sentence):
        gh.fit(whole or model(part), data, method, num_restarts=1, progress=False)


@pytest.mark.parametrize("part", [Both(RIDGE), SameTable(RIDGE), BothMoves()])
def test_the_likelihood_of_a_part_that_says_one_thing_twice_is_that_of_forward(part):
    fit = gh.fit(model(part), DATA, num_restarts=1, progress=False)
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    written_out = poutine.condition(fit.model.enumerated, data=fit.params)
    joint = -elbo.loss(written_out, lambda data: None, DATA)
    assert fit.log_joint == pytest.approx(joint, rel=1e-9)


def test_moves_without_a_forward_are_fitted_by_their_logits():
    fit = gh.fit(model(Unfinished()), DATA, num_restarts=1, progress=False)
    assert np.isfinite(fit.log_joint)
