"""Families derived from the package's: formulas hold for the distribution they have.

EM must end where the log-joint, differentiated as it is defined, has no slope left.
"""

import numpy as np
import pyro.distributions as dist
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.inference.program.program import Program


class Doubled(gh.Poisson):
    def distribution(self, predictor):
        return dist.Poisson(2 * predictor.exp() + 0.5, validate_args=False)


class Wide(gh.Gaussian):
    def distribution(self, predictor, scale):
        return dist.StudentT(3.0, predictor, scale)


class Slipping(gh.Bernoulli):
    def distribution(self, predictor):
        return dist.Bernoulli(probs=0.1 + 0.8 * predictor.sigmoid())


class Lazy(gh.InputDriven):
    def logits(self, data):
        return super().logits(data) + 2 * torch.eye(self.num_states).double()

    def forward(self, state, covariates):
        logits = super().forward(state, covariates).logits
        stay = torch.eye(self.num_states)[state].double()
        return dist.Categorical(logits=logits + 2 * stay, validate_args=False)


RNG = np.random.default_rng(0)
COUNTS, REALS = RNG.poisson(4, 90), RNG.standard_t(3, 90)
CHOICES, X = RNG.integers(2, size=90), RNG.normal(size=(90, 1))
RIDGE = gh.priors.Ridge(1.0)
LENGTHS = [30, 60]
BY_SESSION = gh.components.Varying(Doubled(), "session", None)
CASES = {
    "poisson": (gh.GLMHMM(1, Doubled()), COUNTS),
    "gaussian": (gh.GLMHMM(1, Wide(prior=RIDGE)), REALS),
    "bernoulli": (gh.GLMHMM(1, Slipping(RIDGE)), CHOICES),
    "transitions": (gh.GLMHMM(2, gh.Bernoulli(RIDGE), Lazy(RIDGE)), CHOICES),
    "by session": (gh.GLMHMM(1, BY_SESSION), COUNTS),
}


@pytest.mark.parametrize("name", CASES)
def test_em_ends_where_the_density_of_a_derived_class_has_no_slope(name):
    model, emissions = CASES[name]
    data = gh.Sequences(emissions, X, lengths=LENGTHS)
    fit = gh.fit(model, data, num_restarts=1, num_iters=2000, progress=False)
    assert fit.status is gh.Status.CONVERGED
    program = Program.of(fit.model, data)
    point = program.packed(fit.params)
    slope = program.evaluated(point, jacobian=False).slope
    assert float(slope.abs().max()) < 0.01
