"""The type of what is drawn follows the family: never that of the data at hand."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from made_fits import made_fit, with_posterior

import glmhmm_pyro as gh
from glmhmm_pyro.analysis.bootstrap import _Resampling
from glmhmm_pyro.analysis.calibration import _simulated
from glmhmm_pyro.inference.fits.predictive_draws import replicated
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.testing import check_emission

# Legal for all families but Bernoulli.
WHOLE = [1, 3, 2, 1, 1, 2, 3, 1]
CHOICES = [0, 1, 1, 0, 1, 0, 0, 1]
PAIRS = np.column_stack([WHOLE, WHOLE])
MIXED = gh.Outputs(first=gh.Poisson(), second=gh.Gaussian())
COUNTS = gh.Outputs(first=gh.Poisson(), second=gh.Poisson())


FAMILIES = {
    "Gaussian": (gh.Gaussian(), WHOLE, False),
    "Gaussians": (gh.Gaussian(2), PAIRS, False),
    "Gamma": (gh.components.Gamma(), WHOLE, False),
    "StudentT": (gh.components.StudentT(), WHOLE, False),
    "a count and a real number": (MIXED, PAIRS, False),
    "two counts": (COUNTS, PAIRS, True),
    "Poisson": (gh.Poisson(), WHOLE, True),
    "NegativeBinomial": (gh.components.NegativeBinomial(), WHOLE, True),
    "Categorical": (gh.Categorical(4), WHOLE, True),
    "Bernoulli": (gh.Bernoulli(), CHOICES, True),
}


def fit_of(family, values):
    names = ["first", "second"] if np.ndim(values) == 2 else None
    data = gh.Sequences(values, lengths=[5, 3], emission_names=names)
    model = gh.GLMHMM(1, family)
    program = Program.of(model, data)
    start = torch.zeros(program.coordinates.size, dtype=torch.float64)
    fit = made_fit(model, data, program.coordinates.unpack(start))
    return with_posterior(fit, data, num_chains=1, num_draws=3), data


def every_draw(fit, data):
    """Emissions from every place that draws them."""
    history = {"intercept": lambda past, rows: torch.ones(len(rows))}
    program = Program.of(fit.model, data)
    yield fit.simulate(data, num_samples=30)[0].emissions
    yield fit.simulate(data, num_samples=30, history=history)[0].emissions
    yield fit.simulate(data, num_samples=30, draws=True)[0].emissions
    yield torch.as_tensor(replicated(program, fit.draws, 0)["y"])
    yield _simulated(program, fit.params, 0).emissions
    job = _Resampling(fit, data, None, None, "parametric", 0, None)
    yield job._data(np.random.default_rng(0)).data.emissions


@pytest.mark.parametrize("name", FAMILIES)
def test_draws_have_the_type_of_the_family_whatever_that_of_the_data(name):
    family, values, is_discrete = FAMILIES[name]
    of_whole = every_draw(*fit_of(family, np.array(values)))
    of_real = every_draw(*fit_of(family, np.array(values, dtype=float)))
    wanted = torch.int64 if is_discrete else torch.float64
    for whole, real in zip(of_whole, of_real, strict=True):
        assert whole.dtype == real.dtype == wanted
        assert torch.equal(whole, real)
        assert is_discrete or not torch.equal(real, real.round())


def test_draws_in_single_precision_stay_so():
    data = gh.Sequences(WHOLE, lengths=[5, 3], dtype=torch.float32)
    zeros = {"emissions.weights": [[0.0]], "emissions.scale": [1.0]}
    fit = made_fit(gh.GLMHMM(1, gh.Gaussian()), data, zeros)
    assert fit.simulate(data)[0].emissions.dtype == torch.float32


class Losses(gh.GLMEmission):
    """A user's family of whole numbers that are no classes: from 0 downwards."""

    def distribution(self, predictor):
        return _MinusPoisson(predictor.exp(), validate_args=False)


class _MinusPoisson(dist.Poisson):
    def sample(self, sample_shape=torch.Size()):
        return -super().sample(sample_shape)

    def log_prob(self, value):
        return super().log_prob(-value)


def test_whole_numbers_below_0_stay_real_numbers():
    data = gh.Sequences(-np.array(WHOLE, dtype=float))
    fit = made_fit(gh.GLMHMM(1, Losses()), data, {"emissions.weights": [[1.0]]})
    drawn = fit.simulate(data)[0].emissions
    assert drawn.dtype == torch.float64 and (drawn < 0).any()


@pytest.mark.parametrize(
    "family, dtype", [(gh.Bernoulli, torch.int64), (gh.Gaussian, torch.float64)]
)
def test_the_conformance_kit_gives_a_family_the_type_that_data_will_have(family, dtype):
    seen = set()

    class Watched(family):
        def bind(self, data):
            seen.add(data.emissions.dtype)
            super().bind(data)

    check_emission(Watched)
    assert seen == {dtype}
