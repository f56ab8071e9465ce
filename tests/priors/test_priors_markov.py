"""Laws of units one after another against the multivariate normal that they are."""

import pytest
import torch
from torch.distributions import HalfNormal, MultivariateNormal

import glmhmm_pyro as gh
from glmhmm_pyro.priors.markov import GaussianMarkov, markov

FOLLOWS = torch.tensor([False, True, True, False, True])
CENTRE = torch.tensor([0.5, -1.0]).double()
SCALE = torch.arange(1.0, 11.0).double().reshape(5, 2) / 4
LAW = GaussianMarkov(CENTRE, SCALE, FOLLOWS, torch.Size([2]))


def normal(column):
    """One number of all units: sums of steps, as a multivariate normal."""
    sums = torch.zeros(5, 5).double()
    for unit in range(5):
        sums[unit, unit] = 1.0
        if FOLLOWS[unit]:
            sums[unit] += sums[unit - 1]
    root = sums * SCALE[:, column]
    mean = torch.full((5,), float(CENTRE[column])).double()
    return MultivariateNormal(mean, root @ root.T)


def test_its_density_is_that_of_sums_of_steps():
    value = torch.randn(3, 5, 2, dtype=torch.float64)
    expected = sum(normal(i).log_prob(value[..., i]) for i in range(2))
    torch.testing.assert_close(LAW.log_prob(value), expected, rtol=1e-12, atol=0)
    assert markov(LAW.to_event(0)) is LAW and markov(HalfNormal(1.0)) is None


def test_its_draws_have_its_moments():
    """Of 20,000 draws each of 60 numbers is off by 5 sd once in 30,000 runs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = LAW.rsample((20_000,))
    for column in range(2):
        known, own = normal(column), draws[..., column]
        spread = known.covariance_matrix.diagonal()
        error = (own.mean(0) - known.mean).abs() / (spread / 20_000).sqrt()
        assert error.max() < 5
        size = (spread[:, None] * spread + known.covariance_matrix**2) / 20_000
        error = (own.T.cov() - known.covariance_matrix).abs() / size.sqrt()
        assert error.max() < 5


@pytest.mark.parametrize("scale", [0, "0.1", True, [1.0, -1.0], None, float("nan")])
def test_what_is_no_scale_is_refused(scale):
    with pytest.raises(ValueError, match="step_scale of RandomWalk must be a positive"):
        gh.priors.RandomWalk(scale)


def test_scales_are_learnt_in_laws_alone():
    with pytest.raises(ValueError, match="step_scale of RandomWalk must be one number"):
        gh.priors.RandomWalk("learnt")((2, 3))
    with pytest.raises(ValueError, match="scale_prior of Hierarchical must be a dist"):
        gh.priors.Hierarchical("learnt")((2, 3))
    assert gh.priors.RandomWalk([0.1, 0.2]).step_scale == (0.1, 0.2)
