"""Units change no result where weights are held: offsets, forbidden moves, Fixed."""

import numpy as np
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.inference.program.program import Program

FREE = float("nan")
NEVER = [(0, 2), (1, 0), (2, 1)]
ONCE = {"num_restarts": 2, "progress": False}
SECONDS = (1e3, 1.6e9)


def made(seed=0, steps=240):
    """Counts of three states in a circle, and a covariate of rates and of moves."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=steps), [0]
    for t in range(1, steps):
        z.append((z[-1] + (rng.random() < 1 / (1 + np.exp(1.5 - x[t])))) % 3)
    exposed = 0.5 * (np.arange(steps) % 2)
    counts = rng.poisson(np.exp(1.2 * np.array(z) + 0.3 * x + exposed))
    return x, exposed, counts, np.array(z) * 2 + rng.normal(size=steps)


def offset_case(scale, shift):
    """Counts with an offset."""
    x, exposed, counts, _ = made()
    columns = np.column_stack([scale * x + shift, np.ones(len(x)), exposed])
    names = ["x", "one", "exposed"]
    data = gh.Sequences(counts, columns, covariate_names=names)
    return gh.GLMHMM(3, gh.Poisson(offset="exposed")), data, "emissions.weights"


def measured(scale, shift, transitions, constant=True):
    x, _, _, y = made()
    columns = np.column_stack([scale * x + shift, np.ones(len(x))])
    columns = columns if constant else columns[:, :1]
    data = gh.Sequences(y, np.ones((len(x), 1)), transition_covariates=columns)
    return gh.GLMHMM(3, gh.Gaussian(), transitions), data, "transitions.weights"


def driven_case(scale, shift):
    """Moves that cannot be."""
    return measured(scale, shift, gh.InputDriven(forbidden=NEVER))


def shared_case(scale, shift):
    """Moves that cannot be, with weights that origins share."""
    return measured(scale, shift, gh.SharedInputDriven(forbidden=NEVER), False)


def dwell_case(scale, shift):
    """A law of dwell times one of whose weights is held."""
    held = gh.priors.Fixed([[0.3 / scale, FREE], [FREE, FREE], [FREE, FREE]])
    law = gh.dwell.NegativeBinomial(1, prior=held, driven=True)
    case = measured(scale, shift, gh.SemiMarkov(law))
    return *case[:2], "transitions.dwell_weights"


CASES = [offset_case, driven_case, shared_case]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("method", ["em", "map"])
def test_a_time_stamp_is_as_good_as_a_standardised_covariate(case, method):
    (model, data, name), (other, moved, _) = case(1.0, 0.0), case(*SECONDS)
    found = gh.fit(model, data, method, **ONCE)
    large = gh.fit(other, moved, method, **ONCE)
    assert large.status is found.status is gh.Status.CONVERGED
    assert large.log_likelihood == pytest.approx(found.log_likelihood, abs=1e-4)
    assert large.log_joint == pytest.approx(found.log_joint, abs=1e-4)
    large = large.aligned(found.decode(data).smoothed_probs.values, moved)
    slopes = large.params[name][..., 0] * SECONDS[0]
    torch.testing.assert_close(slopes, found.params[name][..., 0], rtol=0, atol=5e-3)


@pytest.mark.parametrize("case", [*CASES, dwell_case])
def test_values_held_are_those_given_to_the_last_digit(case):
    model, data, name = case(*SECONDS)
    program = Program.of(bound(model, data), data)
    own = program.in_own_units()
    assert name in own.units.maps
    vector = torch.full((own.coordinates.size,), 0.3, dtype=torch.float64)
    users = own.users_values(vector)
    known = program.priors[name].support
    if case is not shared_case:
        held = ~known.value.isnan()
        assert held.any() and torch.equal(users[name][held], known.value[held])
    one, _ = program.log_parts(users)
    other, _ = own.log_parts(own.coordinates.unpack(vector))
    other = other + own.units.log_likelihood
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def test_densities_of_what_is_held_move_by_the_volume_of_what_is_free():
    """Of a ridge beside a held weight, by the definition of a density."""
    prior = gh.priors.Fixed([[FREE, 2.0]], rest=gh.priors.Ridge(3.0))
    x = np.column_stack([np.linspace(1.0, 9.0, 40), np.linspace(-1.0, 1.0, 40) ** 2])
    data = gh.Sequences(np.arange(40) % 2, 100.0 * x)
    program = Program.of(bound(gh.GLMHMM(1, gh.Bernoulli(prior)), data), data)
    own = program.in_own_units()
    scale = own.units.maps["emissions.weights"].factor[0]
    vector = torch.tensor([0.7], dtype=torch.float64)
    users = own.users_values(vector)["emissions.weights"]
    torch.testing.assert_close(users, torch.stack([0.7 * scale, scale * 0 + 2])[None])
    density = torch.distributions.Normal(0.0, 3.0).log_prob(users[0, 0])
    found = own.priors["emissions.weights"].log_prob(
        own.coordinates.unpack(vector)["emissions.weights"]
    )
    torch.testing.assert_close(found, density + scale.log())


def bound(model, data):
    model.bind(data)
    return model


@pytest.mark.parametrize("level", [0.0, 60.0, 1e6])
def test_errors_beside_a_held_weight_are_those_of_the_mean(level):
    """The deviation of measured numbers over the root of how many there are."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(size=50), np.ones(50)])
    y = level + rng.normal(size=50)
    data = gh.Sequences(y, x, covariate_names=["x", "one"])
    family = gh.Gaussian(prior=gh.priors.Fixed({"x": 0.0}))
    fit = gh.fit(gh.GLMHMM(1, family), data, num_restarts=1, progress=False)
    wanted = y.std() / np.sqrt(50)
    (errors,) = fit.standard_errors(data)["emissions.weights"].values
    np.testing.assert_allclose(errors, [0.0, wanted], rtol=1e-6)
    (matrix,) = fit.covariance(data).values
    np.testing.assert_allclose(matrix, [[0, 0], [0, wanted**2]], rtol=1e-6)
