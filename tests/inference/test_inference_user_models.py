"""A model written by a user is read by every method, and means what it says."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy.optimize import minimize
from user_models import animals, double, horseshoe, partial_pooling

import glmhmm_pyro as gh
from glmhmm_pyro.inference.program.program import Program

ONCE = {"num_restarts": 1, "progress": False}
START = {"mean": [[-2.0, -2.0], [2.5, 2.0]]}


@pytest.fixture(scope="module")
def pair():
    return animals()


@pytest.fixture(scope="module")
def pooled(pair):
    return gh.fit(partial_pooling, pair, method="map", init=START, **ONCE)


def best_of_scipy(program, params):
    """The mode that scipy finds from there, on the definition of the model alone."""
    coordinates = program.coordinates

    def minus(vector):
        leaf = torch.tensor(vector).requires_grad_()
        conditioned = poutine.condition(program.model, data=coordinates.unpack(leaf))
        value = -poutine.trace(conditioned).get_trace(program.data).log_prob_sum()
        return value.item(), torch.autograd.grad(value, leaf)[0].numpy()

    start = coordinates.pack(params).numpy()
    return -minimize(minus, start, jac=True, method="BFGS", options={"gtol": 1e-6}).fun


def test_map_of_partial_pooling_is_its_mode(pair, pooled):
    program = Program.of(partial_pooling, pair)
    assert pooled.status is gh.Status.CONVERGED
    expected = best_of_scipy(program, pooled.params)
    assert pooled.log_joint == pytest.approx(expected, abs=1e-4)
    likelihood, prior = program.log_parts(pooled.params)
    assert pooled.log_likelihood == pytest.approx(likelihood.item(), abs=1e-9)
    assert pooled.log_joint == pytest.approx((likelihood + prior).item(), abs=1e-9)


def test_em_of_partial_pooling_reaches_the_mode_of_map(pair, pooled):
    em = gh.fit(partial_pooling, pair, init=pooled.params, **ONCE)
    assert em.log_joint == pytest.approx(pooled.log_joint, abs=1e-4)
    start = {**pooled.params, "mean": pooled.params["mean"] + 0.3}
    options = {"num_iters": 5, "accelerate": False, "init": start}
    with pytest.warns(gh.ConvergenceWarning):
        slow = gh.fit(partial_pooling, pair, **options, **ONCE)
    rises = torch.tensor(slow.restarts[0].log_joints).diff()
    assert rises.min() > -1e-9 and rises[0] > 0.1


def test_a_fit_of_several_sites_is_asked_for_one_of_them(pair, pooled):
    decoded = pooled.decode(pair, site="y_1")
    hidden = pooled.distribution(pair, site="y_1")
    expected = hidden.smoothed_probs(pair[1].emissions)
    torch.testing.assert_close(torch.tensor(decoded.smoothed_probs.values), expected)
    assert pooled.predict(pair, site="y_0").shape == (150, 2)
    assert pooled.sample_states(pair, 3, site="y_0").shape == (3, 150)
    assert pooled.score(pair) == pytest.approx(pooled.log_likelihood / 300)
    with pytest.raises(ValueError, match="site must name.*y_0, y_1, got None"):
        pooled.decode(pair)


def test_a_fit_of_a_users_model_is_saved_and_read_with_the_model(pooled, tmp_path):
    path = tmp_path / "fit.nc"
    pooled.save(path)
    again = gh.load(path, model=partial_pooling)
    assert again.params.keys() == pooled.params.keys()
    assert all(torch.equal(again.params[n], v) for n, v in pooled.params.items())
    assert again.num_parameters == pooled.num_parameters == 4 + 1 + 2 + 8
    with pytest.raises(ValueError, match="model must be given"):
        gh.load(path)


def test_a_fit_is_not_read_with_another_model(pair, pooled, tmp_path):
    path = tmp_path / "fit.nc"
    pooled.save(path)
    match = "model must be your own 'partial_pooling'.*got your own 'horseshoe'"
    with pytest.raises(ValueError, match=match):
        gh.load(path, model=horseshoe)
    first = gh.load(path, model=partial_pooling).score(pair[:1])
    hidden = pooled.distribution(pair, site="y_0")
    assert first == pytest.approx(hidden.log_prob(pair[0].emissions).item() / 150)


def test_the_summary_and_the_text_of_a_users_model_name_its_sites(pooled):
    table = pooled.summary()
    assert set(table["parameter"]) == set(pooled.params)
    assert "by map" in repr(pooled)


def test_a_horseshoe_leaves_the_weights_of_what_drives_nothing_near_0():
    data, _ = animals(400, seed=3)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn((400, 3), generator=generator, dtype=torch.float64)
    data = data.replace(transition_covariates=noise)
    start = {"weights": [[-2.0, -2.0], [2.5, 2.0]]}
    found = gh.fit(horseshoe, data, method="map", init=start, **ONCE)
    assert found.status is gh.Status.CONVERGED
    scales = found.params["global_scale"] * found.params["local_scale"]
    assert (scales * found.params["raw"]).abs().max() < 0.1
    assert found.decode(data).smoothed_probs.shape == (400, 2)


def test_a_scale_around_a_site_weighs_its_likelihood_in_em_and_map():
    data, _ = animals()

    def counted(times):
        def model(data):
            zero, one = double(0.0, 1.0)
            weights = pyro.sample("weights", dist.Normal(zero, one).expand([2, 2, 1]))
            logits = (data.covariates @ weights[..., 0].T).double()
            hidden = gh.HiddenMarkov(
                torch.zeros(1, 2, dtype=torch.float64),
                double([[2.0, 0.0], [0.0, 2.0]]),
                dist.Bernoulli(logits=logits),
                data.lengths,
            )
            with poutine.scale(scale=times):
                pyro.sample("y", hidden, obs=data.emissions)

        return model

    twice = data.replace(
        emissions=data.emissions.repeat(2),
        covariates=data.covariates.repeat(2, 1),
        lengths=data.lengths.repeat(2),
    )
    start = {"weights": double([[-2.0], [-2.0]], [[2.5], [2.0]])}
    for method in ("em", "map"):
        options = {"method": method, "init": start, **ONCE}
        scaled = gh.fit(counted(2.0), data, **options)
        plain = gh.fit(counted(1.0), twice, **options)
        assert scaled.log_joint == pytest.approx(plain.log_joint, abs=1e-4)


@pytest.mark.parametrize(
    "model, match",
    [
        (lambda data: pyro.sample("w", dist.Normal(0.0, 1.0)), "observed HiddenMarkov"),
        (lambda data: _with_a_coin(data), "discrete site 'coin'.*sums"),
        (lambda data: _without_a_prior(data), "site 'free'.*Improper.*priors.Flat"),
        (lambda data: _of_one_guess(data), "must have parameters.*pyro.param"),
    ],
)
def test_models_that_no_method_could_read_are_refused(model, match):
    with pytest.raises(ValueError, match=match):
        gh.fit(model, animals()[0], method="map", **ONCE)


def _with_a_coin(data):
    pyro.sample("coin", dist.Bernoulli(0.5))
    horseshoe(data)


def _without_a_prior(data):
    pyro.sample("free", dist.ImproperUniform(dist.constraints.real, (), ()))
    horseshoe(data)


def _of_one_guess(data):
    logits = double(0.0, 1.0).expand(data.num_steps, 2)
    even = torch.zeros(1, 2, 2, dtype=torch.float64)
    hidden = gh.HiddenMarkov(even[0, :1], even, dist.Bernoulli(logits), data.lengths)
    pyro.sample("y", hidden, obs=data.emissions)


@pytest.mark.parametrize(
    "init, match",
    [
        ("glm", "init must be 'random' or a mapping.*got 'glm'"),
        ({"nothing": 1.0}, "init must name sites of the model, mean, spread"),
        ({"spread": -1.0}, "spread"),
        ({"mean": [1.0]}, "must be finite, of shape"),
    ],
)
def test_wrong_starts_of_a_users_model_are_named(pair, init, match):
    with pytest.raises(ValueError, match=match):
        gh.fit(partial_pooling, pair, method="map", init=init, **ONCE)
