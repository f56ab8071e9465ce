"""Labels are no numbers: families that speak of numbers refuse them."""

import numpy as np
import pytest
from torch.distributions import Normal

import glmhmm_pyro as gh

SIDES = ["left", "right", "left", "none"]
OF_NUMBERS = [
    gh.Gaussian,
    gh.Poisson,
    gh.components.Gamma,
    gh.components.StudentT,
    gh.components.NegativeBinomial,
    lambda: gh.Outputs(y=gh.Gaussian()),
]


@pytest.mark.parametrize("make", OF_NUMBERS)
@pytest.mark.parametrize(
    "data",
    [
        gh.Sequences(SIDES, emission_names=["y"]),
        gh.Sequences([1, 2, 1, 0], class_names=["a", "b", "c"], emission_names=["y"]),
    ],
    ids=["labels", "named numbers"],
)
def test_families_of_numbers_refuse_labels(make, data):
    with pytest.raises(ValueError, match=r"must be numbers for .*got labels \(.*=3\)"):
        gh.fit(gh.GLMHMM(1, make()), data, num_restarts=1, progress=False)
    whole = gh.Sequences([1, 2, 1, 3], emission_names=["y"])
    gh.GLMHMM(1, make()).bind(whole)


def test_two_labels_may_be_a_bernoullis():
    with pytest.raises(ValueError, match=r"num_classes=2\), or gh.Bernoulli\(\)"):
        gh.GLMHMM(1, gh.Poisson()).bind(gh.Sequences(["a", "b"]))
    gh.GLMHMM(1, gh.Bernoulli()).bind(gh.Sequences(["a", "b"]))


CONSTANTS = np.column_stack([np.ones(6), np.arange(6.0), np.full(6, 2.0)])
NAMES = ["one", "ramp", "two"]


@pytest.mark.parametrize(
    "model, site",
    [
        (gh.GLMHMM(1, gh.Bernoulli()), "covariates.*emissions.weights"),
        (
            gh.GLMHMM(2, gh.Bernoulli(prior=Normal(0.0, 1.0)), gh.InputDriven()),
            "transition_covariates.*transitions.weights",
        ),
        (
            gh.GLMHMM(2, gh.Bernoulli(prior=Normal(0.0, 1.0)), initial=gh.InitialGLM()),
            "initial_covariates.*initial.weights",
        ),
        (
            gh.GLMHMM(1, gh.Outputs(y=gh.Bernoulli())),
            "covariates.*emissions.y.weights",
        ),
    ],
)
def test_two_constant_columns_under_a_flat_prior_are_named(model, site):
    data = gh.Sequences(
        [0, 1, 1, 0, 1, 0],
        CONSTANTS,
        lengths=[1] * 6,
        covariate_names=NAMES,
        initial_covariates=CONSTANTS,
        initial_covariate_names=NAMES,
    )
    with pytest.raises(ValueError, match=site + " have a flat prior, got one, two"):
        gh.fit(model, data, num_restarts=1, progress=False)


def test_a_prior_or_one_constant_alone_will_do():
    options = {"num_restarts": 1, "progress": False}
    y = [0, 1, 1, 0, 1, 0]
    ridge = gh.GLMHMM(1, gh.Bernoulli(prior=Normal(0.0, 1.0)))
    data = gh.Sequences(y, CONSTANTS, covariate_names=NAMES)
    assert gh.fit(ridge, data, **options).status.is_success
    alone = gh.Outputs(y=gh.Bernoulli(), covariates={"y": ["one", "ramp"]})
    assert gh.fit(gh.GLMHMM(1, alone), data, **options).status.is_success


@pytest.mark.parametrize("noise", [-1.0, float("nan"), float("inf"), "a", None, True])
def test_noise_of_starts_is_a_number_from_0(noise):
    data = gh.Sequences([0, 1, 1, 0])
    with pytest.raises(
        ValueError, match="init_noise must be a finite .*0.5 is the def"
    ):
        gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, init_noise=noise, progress=False)
    zero = {"init_noise": np.float32(0), "num_restarts": 1, "progress": False}
    gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, **zero)
