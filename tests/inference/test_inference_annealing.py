"""Annealed EM: tempered posteriors by enumeration, scaled priors, better optima."""

from functools import partial

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from families import normals
from inference_cases import clear_data, two_animals
from made_fits import made_fit
from oracles import path_log_probs
from torch.distributions import Dirichlet, biject_to, constraints

import glmhmm_pyro as gh
from glmhmm_pyro.inference.em.annealing import schedule, with_share_of_start
from glmhmm_pyro.inference.kinds.starts import make_starts
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.steps.joint_steps import JointSteps
from glmhmm_pyro.inference.steps.steps import ComponentSteps

QUICK = {"num_restarts": 1, "progress": False}


def dirichlet(excess):
    return Dirichlet(1.0 + excess * torch.tensor([1.0, 2.0], dtype=torch.float64))


def model_with(strength):
    """Every log prior, but for constants, multiplied by this number."""
    ridge = gh.priors.Ridge(2.0 * strength**-0.5)
    return gh.GLMHMM(
        2,
        gh.Bernoulli(prior=ridge),
        gh.Stationary(dirichlet(strength)),
        gh.Initial(dirichlet(strength)),
    )


def steps_of(model, data):
    model.bind(data)
    return ComponentSteps(model, data, None)


def start_of(model, data):
    model.bind(data)
    return make_starts(model, data, 1, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_the_tempered_posterior_is_that_of_enumerated_paths(beta):
    steps, states = 4, 2
    initial, transition = normals(1, states, seed=1), normals(4, 2, 2, seed=2)
    logits = normals(steps, states, seed=3)
    lengths = torch.tensor([steps])
    hidden = gh.HiddenMarkov(
        initial, transition, dist.Bernoulli(logits=logits), lengths
    )
    y = torch.tensor([0.0, 1, 1, 0]).double()
    found = hidden.expected_counts(y, beta=beta)
    pi, moves, emission, _ = hidden.potentials(y)
    paths, logs = path_log_probs(pi[0], moves, emission)
    logs = beta * logs
    expected = torch.zeros(steps, states).double()
    pairs = torch.zeros(steps, states, states).double()
    for path, prob in zip(paths, logs.softmax(0)):
        for t in range(steps):
            expected[t, path[t]] += prob
            if t:
                pairs[t, path[t - 1], path[t]] += prob
    torch.testing.assert_close(found.emission, expected)
    torch.testing.assert_close(found.transition, pairs)
    torch.testing.assert_close(found.log_marginal[0], logs.logsumexp(0))


def test_an_m_step_under_a_multiplied_prior_is_that_of_the_stronger_prior():
    data, updated = clear_data(), []
    start = start_of(model_with(1.0), data)
    for model, multiplier in ((model_with(1.0), 5.0), (model_with(5.0), 1.0)):
        steps = steps_of(model, data)
        steps.expect(start)
        updated += steps.maximise(start, [0], multiplier)
    for name, value in updated[0].items():
        # Weights end where nearly all is gained, in coordinates of their own.
        tolerance = 1e-2 if name == "emissions.weights" else 1e-12
        torch.testing.assert_close(value, updated[1][name], atol=tolerance, rtol=0)


def test_a_multiplied_prior_in_the_m_step_of_a_users_model():
    pairs = [clear_data(seed=seed) for seed in (0, 1)]
    program = Program.of(two_animals, pairs)
    steps = JointSteps(program, None)
    start = program.coordinates.unpack(torch.full((6,), 0.1).double())
    steps.expect([start])
    weak, strong = (steps.maximise([start], [0], c)[0] for c in (1.0, 1e6))
    assert weak["common"].abs().max() > 0.1
    # What multiplies the prior alone leaves the data without a say.
    assert all(value.abs().max() < 1e-3 for value in strong.values())


@pytest.mark.parametrize("beta", [0.2, 0.7])
def test_the_tempered_objective_never_falls_at_a_constant_temperature(beta):
    model, data = model_with(1.0), clear_data()
    sets = start_of(model, data)
    steps, reached = steps_of(model, data), []
    for _ in range(25):
        tempered, joints = steps.expect(sets, beta)
        reached.append(tempered[0] / beta + joints[0] - tempered[0])
        sets = steps.maximise(sets, [0])
    assert np.diff(reached).min() > -1e-9
    assert reached[-1] - reached[0] > 1.0


def test_iterations_annealed_by_1_are_those_of_plain_em():
    model, data = model_with(1.0), clear_data()
    fit = partial(gh.fit, model, data, accelerate=False, **QUICK)
    plain = fit()
    later = fit(inverse_temperatures=[1.0] * 3, prior_multipliers=[1.0] * 2)
    np.testing.assert_allclose(
        later.history["log_joint"][:10], plain.history["log_joint"][3:13], atol=1e-9
    )


def test_annealed_starts_reach_an_optimum_that_plain_starts_miss():
    """Four levels under known noise; most starts put two states on one of them."""

    class Level(gh.GLMEmission):
        """A constant plus standard normal noise."""

        def distribution(self, predictor):
            """A normal of standard deviation 1."""
            return dist.Normal(predictor, torch.ones((), dtype=torch.float64))

    ones = torch.ones(200, dtype=torch.float64)
    data = gh.Sequences(ones, ones[:, None], lengths=[40] * 5)
    rows = torch.full((4, 4), 0.1 / 3).fill_diagonal_(0.9)
    truth = {
        "initial.probs": [0.25] * 4,
        "transitions.probs": rows,
        "emissions.weights": [[-12.0], [-8.0], [0.0], [4.0]],
    }
    model = gh.GLMHMM(4, Level())
    data, _ = made_fit(model, data, truth).simulate(data, 0)
    reached = {}
    for label, betas in (("plain", ()), ("annealed", np.geomspace(0.03, 1.0, 25))):
        em = gh.EM(tol=1e-6, num_iters=200, inverse_temperatures=betas)
        options = {"init": "random", "init_noise": 4.0, "progress": False}
        found = gh.fit(model, data, em, num_restarts=8, **options)
        reached[label] = np.array([run.log_joints[-1] for run in found.restarts])
    best = max(ends.max() for ends in reached.values())
    agreeing = {label: (ends > best - 0.1).sum() for label, ends in reached.items()}
    assert agreeing["plain"] <= 3
    assert agreeing["annealed"] >= 6


def test_states_that_heat_has_made_one_part_again():
    """Behaviour of two states, whose optimum is far above that of a single one."""
    data = clear_data(lengths=(200, 200))
    model = gh.GLMHMM(2, gh.Bernoulli())
    single = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, **QUICK)
    plain = gh.fit(model, data, num_restarts=3, progress=False)
    assert plain.log_joint > single.log_joint + 20
    hot = [0.02] * 60 + np.geomspace(0.02, 1.0, 20).tolist()
    annealed = gh.fit(model, data, inverse_temperatures=hot, **QUICK)
    assert annealed.log_joint == pytest.approx(plain.log_joint, abs=0.01)


def test_annealed_priors_end_in_a_maximum_of_the_model_as_it_is():
    model, data = model_with(1.0), clear_data()
    multipliers = [100.0 * 0.7**n for n in range(12)]
    annealed = gh.fit(model, data, prior_multipliers=multipliers, **QUICK)
    assert annealed.history["log_joint"].diff().min() > -1e-9
    again = gh.fit(model, data, "map", init=annealed.params, em_iters=0, **QUICK)
    assert again.log_joint == pytest.approx(annealed.log_joint, abs=1e-5)


def test_states_that_have_become_one_remember_what_told_them_apart():
    real = {"w": biject_to(constraints.real), "p": biject_to(constraints.simplex)}
    one = torch.tensor([1.0, 1.0]).double()
    even, vertex = torch.tensor([0.5, 0.5]).double(), torch.tensor([0.0, 1.0]).double()
    start = {"w": torch.tensor([0.0, 2.0]).double(), "p": even}
    mixed = with_share_of_start({"w": one, "p": vertex}, start, real, 0.1)
    torch.testing.assert_close(mixed["w"], torch.tensor([0.9, 1.1]).double())
    assert torch.equal(mixed["p"], vertex)


def test_the_two_lists_are_gone_through_together():
    assert schedule([0.5, 0.8], [3.0]) == [(0.5, 3.0), (0.8, 1.0)]
    assert schedule([], [3.0, 2.0]) == [(1.0, 3.0), (1.0, 2.0)]
    assert schedule([], []) == []


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_numbers_that_are_not_positive_are_refused(bad):
    with pytest.raises(ValueError, match="prior_multipliers must be positive, finite"):
        gh.EM(prior_multipliers=[1.0, bad])
    with pytest.raises(ValueError, match="inverse_temperatures must be positive"):
        gh.EM(inverse_temperatures=[bad])
    with pytest.raises(ValueError, match="and at most 1, one for each annealed"):
        gh.EM(inverse_temperatures=[1.5])
    for wrong in (0.5, None, "cold", [[1.0, 1.0]]):
        with pytest.raises(ValueError, match="inverse_temperatures must be positive"):
            gh.EM(inverse_temperatures=wrong)


def test_a_schedule_given_as_an_array_is_copied_and_compares():
    betas = np.array([0.5, 1.0])
    em = gh.EM(inverse_temperatures=betas)
    assert em == gh.EM(inverse_temperatures=[0.5, 1])
    betas[:] = 0.1
    assert em.inverse_temperatures == (0.5, 1.0) and len({em, em}) == 1
