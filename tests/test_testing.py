"""The conformance kit passes what is right and names what is wrong."""

import pyro.distributions as dist
import pytest
import torch
from families import Gaussian, Poisson
from torch.distributions import LogNormal, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.testing import check_emission

GOOD = {
    "bernoulli": gh.Bernoulli,
    "categorical": lambda: gh.Categorical(3),
    "with a prior": lambda: gh.Categorical(2, prior=Normal(0.0, 2.0)),
    "gaussian": gh.Gaussian,
    "gaussian with priors": lambda: gh.Gaussian(
        prior=Normal(0.0, 2.0), scale_prior=LogNormal(0.0, 1.0)
    ),
    "two outputs": lambda: gh.Gaussian(2, prior=Normal(0.0, 2.0)),
    "correlated outputs": lambda: gh.Gaussian(3, "full"),
    "poisson": gh.Poisson,
    "negative binomial": gh.components.NegativeBinomial,
    "gamma": gh.components.Gamma,
    "student": gh.components.StudentT,
    "a shared scale": lambda: gh.Gaussian(shared_scale=True),
    "a shared covariance": lambda: gh.Gaussian(2, "full", shared_scale=True),
    "a user's poisson": Poisson,
    "a user's gaussian": Gaussian,
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("options", [{}, {"covariates_dim": 1, "num_states": 3}])
def test_families_that_keep_the_contract_pass(make, options):
    state = torch.get_rng_state()
    check_emission(make, **options)
    assert torch.equal(torch.get_rng_state(), state)


class TableOfOtherWeights(gh.Bernoulli):
    """The table is not the definition."""

    def table(self, design):
        scores = design @ self.weights.transpose(-1, -2)
        return dist.Bernoulli(logits=2.0 * scores, validate_args=False)


class ReadsMaskedSteps(gh.Bernoulli):
    """Likelihoods straight from the distribution, the mask forgotten."""

    def log_probs(self, data):
        table = self.table(self.design(data))
        return table.log_prob(data.emissions.double().unsqueeze(-1))


class FixedShape(Gaussian):
    """Sums the covariates of all steps."""

    def forward(self, state, covariates):
        mean = (self.weights[state] * covariates).sum()
        return dist.Normal(mean, self.scale[state].mean())


class CutGradient(Gaussian):
    """The scale is read past automatic differentiation."""

    def forward(self, state, covariates):
        mean = (self.weights[state] * covariates).sum(-1)
        return dist.Normal(mean, self.scale[state].detach())


class FalseBlocks(gh.GLMEmission):
    """States are said to be separate, and share their mean weights."""

    def table(self, design):
        return self(self.all_states(design.device), design.unsqueeze(-2))

    def forward(self, state, covariates):
        weights = self.weights + self.weights.mean(-2, keepdim=True)
        return dist.Bernoulli(logits=(weights[..., state, :] * covariates).sum(-1))


class WrongObjective(gh.Bernoulli):
    """An M-step that walks away from the maximum."""

    def closed_form(self, counts, data, params):
        weights = torch.full((len(counts), self.num_states, self.num_features), 9.0)
        return {"weights": weights.double()}


class NoParameters(gh.Emission):
    """Nothing to learn."""

    def forward(self, state, covariates):
        return dist.Normal(state.double(), 1.0)


class NoDistribution(gh.Bernoulli):
    """A tensor where a distribution is due."""

    def distribution(self, predictor):
        return predictor.sigmoid()


@pytest.mark.parametrize(
    "make, sentence",
    [
        (TableOfOtherWeights, "table and TableOfOtherWeights.forward differ by"),
        (ReadsMaskedSteps, "ReadsMaskedSteps reads emissions of masked steps"),
        (FixedShape, "must return batch shape .*index the weights"),
        (CutGradient, "gradient with respect to emissions.scale must exist"),
        (FalseBlocks, "declares blocks = 'state', but the parameters of state 0"),
        (WrongObjective, "log-joint fell"),
        (NoParameters, "declares no parameters; assign Sites"),
        (NoDistribution, "must return a distribution, got Tensor"),
        (gh.InputDriven, "make must return an Emission, got InputDriven"),
    ],
)
def test_families_that_break_the_contract_are_told_what_is_wrong(make, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_emission(make)
