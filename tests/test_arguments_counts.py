"""Counts that a user gives: integers of any kind, and nothing else."""

from fractions import Fraction

import numpy as np
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro import analysis
from glmhmm_pyro.arguments import suggests_names, whole_number

DATA = gh.Sequences([0, 1, 1, 0, 1, 0, 0, 1], lengths=[2, 2, 2, 2])
MODEL = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
QUICK = {"num_restarts": 1, "progress": False}


def fitted():
    return gh.fit(MODEL, DATA, **QUICK)


# Every count that is asked for, by its name: a call with it.
COUNTS = {
    "num_states": lambda value: gh.GLMHMM(value, gh.Bernoulli()),
    "num_classes": lambda value: gh.Categorical(value),
    "num_outputs": lambda value: gh.Gaussian(value),
    "num_restarts": lambda value: gh.fit(
        MODEL, DATA, num_restarts=value, progress=False
    ),
    "seed": lambda value: gh.fit(MODEL, DATA, seed=value, **QUICK),
    "num_iters": lambda value: gh.fit(MODEL, DATA, num_iters=value, **QUICK),
    "num_iters of MAP": lambda value: gh.MAP(num_iters=value),
    "em_iters": lambda value: gh.MAP(em_iters=value),
    "num_samples": lambda value: gh.Laplace(num_samples=value),
    "num_iters of Laplace": lambda value: gh.Laplace(num_iters=value),
    "num_samples of NUTS": lambda value: gh.NUTS(num_samples=value),
    "num_warmup": lambda value: gh.NUTS(num_warmup=value),
    "num_chains": lambda value: gh.NUTS(num_chains=value),
    "max_tree_depth": lambda value: gh.NUTS(max_tree_depth=value),
    "num_steps": lambda value: gh.SVI(num_steps=value),
    "num_particles": lambda value: gh.SVI(num_particles=value),
    "num_samples of SVI": lambda value: gh.SVI(num_samples=value),
    "window": lambda value: gh.SVI(window=value),
    "patience": lambda value: gh.SVI(patience=value),
    "num_decays": lambda value: gh.SVI(num_decays=value),
    "subsample_sessions": lambda value: gh.SVI(subsample_sessions=value),
    "num_samples of paths": lambda value: fitted().sample_states(DATA, value),
    "seed of paths": lambda value: fitted().sample_states(DATA, seed=value),
    "num_samples of simulate": lambda value: fitted().simulate(DATA, num_samples=value),
    "steps_ahead": lambda value: fitted().predict(DATA, steps_ahead=value),
    "num_samples of bootstrap": lambda value: analysis.bootstrap(
        fitted(), DATA, value, progress=False
    ),
    "num_simulations": lambda value: analysis.simulation_based_calibration(
        MODEL, DATA, "laplace", num_simulations=value, progress=False
    ),
    "num_draws": lambda value: analysis.simulation_based_calibration(
        MODEL, DATA, "laplace", num_draws=value, progress=False
    ),
    "folds": lambda value: analysis.cross_validate(
        lambda s: gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1 / s))),
        DATA,
        [1.0, 2.0],
        folds=value,
        **QUICK,
    ),
    "max_evals": lambda value: analysis.maximise_evidence(
        lambda scale: gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(scale))),
        {"scale": 1.0},
        DATA,
        max_evals=value,
        progress=False,
    ),
}


@pytest.mark.parametrize("wrong", [2.5, 2.0, True, np.float64(3.0)], ids=repr)
@pytest.mark.parametrize("name", COUNTS)
def test_a_count_that_is_no_integer_is_refused_by_name(name, wrong):
    match = rf"{name.partition(' ')[0]}.* must be a whole number from \d.*got"
    with pytest.raises(ValueError, match=match) as caught:
        COUNTS[name](wrong)
    assert repr(wrong) in str(caught.value)


@pytest.mark.parametrize("name", COUNTS)
def test_a_count_that_is_too_small_is_refused_by_name(name):
    with pytest.raises(ValueError, match=r"must be .*\d.*got -1"):
        COUNTS[name](-1)


@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.int64, np.array, torch.tensor])
def test_integers_of_numpy_and_torch_are_integers(kind):
    assert (
        whole_number("count", kind(3)) == 3
        and type(whole_number("count", kind(3))) is int
    )
    method = gh.NUTS(num_samples=kind(5), num_chains=kind(2))
    assert method == gh.NUTS(num_samples=5, num_chains=2)
    model = gh.GLMHMM(kind(2), gh.Categorical(kind(3)))
    assert (model.num_states, model.emissions.num_classes) == (2, 3)
    assert gh.Gaussian(kind(2)).num_outputs == 2


def test_numpys_integers_do_in_a_fit():
    options = {"num_restarts": np.int64(2), "seed": np.int32(1), "progress": False}
    fits = [gh.fit(MODEL, DATA, num_iters=np.int16(20), **options)]
    plain = {"num_restarts": 2, "seed": 1, "progress": False}
    fits.append(gh.fit(MODEL, DATA, num_iters=20, **plain))
    assert fits[0].log_joint == fits[1].log_joint
    assert fits[0].sample_states(DATA, np.int64(3)).shape == (3, 8)


@suggests_names
def given(count: int = 1, size: float | None = None, rest=None):
    """What a function of the package is given."""
    return count, size, rest


def test_a_function_is_given_numbers_of_python():
    for count in (np.int64(3), np.array(3), torch.tensor(3)):
        found = given(count, rest=count)
        assert found[0] == 3 and type(found[0]) is int
        assert found[1] is None and found[2] is count
    for size in (Fraction(1, 2), np.float32(0.5), torch.tensor(0.5)):
        found = given(size=size)
        assert found[1] == 0.5 and type(found[1]) is float
    # What is no number is left for a sentence of the function's own.
    assert given("3", size=True)[:2] == ("3", True)


def test_a_tensor_without_axes_does_as_a_number_of_replicates():
    fit = gh.fit(MODEL, DATA, "map", **QUICK)
    many = [
        analysis.bootstrap(fit, DATA, number, kind="parametric", progress=False)
        for number in (3, torch.tensor(3))
    ]
    one, other = (found.replicates["emissions.weights"] for found in many)
    assert one.equals(other) and many[1].complete
