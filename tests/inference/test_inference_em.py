"""EM: it never falls, it ends at a maximum, and the M-steps are maxima themselves."""

from itertools import cycle

import numpy as np
import pytest
import torch
from families import (
    EMISSIONS,
    INITIALS,
    TRANSITIONS,
    constrained,
    hidden_markov,
    log_joint,
    parameter_sites,
    random_params,
    with_sets,
)
from inference_cases import RIDGE, clear_data, penalised
from pyro import poutine
from torch.distributions import biject_to

import glmhmm_pyro as gh
from glmhmm_pyro.inference.search.runs import Run
from glmhmm_pyro.inference.status import FallingLikelihoodError
from glmhmm_pyro.inference.steps.m_step import MStep
from glmhmm_pyro.inference.steps.steps import ComponentSteps, m_step
from glmhmm_pyro.optim import LBFGSOptions, minimize

TO_THE_END = LBFGSOptions(max_iters=500, gradient_tol=1e-11, progress_tol=1e-16)


def run_em(model, data, starts, **options):
    model.bind(data)
    return gh.EM(**options).run(model, data, starts)


MODELS = [
    (family, transitions, initial)
    for transitions in TRANSITIONS
    for family, initial in zip(EMISSIONS, cycle(["initial", "per session", "glm"]))
]


@pytest.mark.parametrize("family, transitions, initial", MODELS)
def test_the_log_joint_never_falls(family, transitions, initial):
    data = clear_data(family, mask=initial == "initial")
    model = gh.GLMHMM(
        2, EMISSIONS[family](), TRANSITIONS[transitions](), INITIALS[initial]()
    )
    model.bind(data)
    (run,) = run_em(model, data, [random_params(model, data)], num_iters=3, tol=0.0)
    rises = np.diff(run.log_joints)
    assert len(rises) == 3 and rises.min() > -1e-9 and rises[0] > 0.1
    assert run.log_joints == run.log_likelihoods


@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
@pytest.mark.parametrize("transitions", TRANSITIONS)
def test_the_log_joint_never_falls_with_priors(family, transitions):
    data, model = clear_data(family), penalised(family, transitions)
    model.bind(data)
    (run,) = run_em(model, data, [random_params(model, data)], num_iters=4, tol=0.0)
    rises = np.diff(run.log_joints)
    assert rises.min() > -1e-9 and rises[0] > 0.1
    joint = log_joint(model, data, run.params)
    assert run.log_joints[-1] == pytest.approx(joint.item(), abs=1e-9)
    likelihood = hidden_markov(model, data, run.params).log_prob(data.emissions)
    assert run.log_likelihoods[-1] == pytest.approx(likelihood.item(), abs=1e-9)


@pytest.mark.parametrize("transitions", TRANSITIONS)
@pytest.mark.parametrize(
    "family",
    [
        "bernoulli",
        "categorical",
        "poisson",
        "gaussian",
        "normals",
        "counts",
        "positive",
    ],
)
def test_an_m_step_is_a_maximum_of_the_expected_log_joint(family, transitions):
    data = clear_data(family, mask=True)
    model = gh.GLMHMM(2, EMISSIONS[family](), TRANSITIONS[transitions]())
    model.bind(data)
    _check_m_step(model, data)


@pytest.mark.parametrize("transitions", TRANSITIONS)
def test_an_m_step_with_priors_is_a_maximum_of_the_expected_log_joint(transitions):
    data, model = clear_data("categorical", mask=True), penalised(
        "categorical", transitions
    )
    model.bind(data)
    _check_m_step(model, data)


def _check_m_step(model, data):
    """Zero gradient at the M-step's result, in coordinates made here."""
    params = random_params(model, data, seed=2)
    sets, e_step = with_sets([params]), ComponentSteps(model, data, None)
    e_step.expect([params])
    counts = e_step.counts
    steps = {n: MStep(c, data, TO_THE_END) for n, c in model.components.items()}
    best = {n: v[0] for n, v in m_step(steps, counts, sets).items()}
    priors = parameter_sites(model, data)
    free = {n: biject_to(priors[n].support).inv(v) for n, v in best.items()}
    free = {n: v.detach().requires_grad_() for n, v in free.items()}
    fixed = hidden_markov(model, data, params).expected_counts(data.emissions)

    def expected_log_joint(values):
        trace = poutine.trace(poutine.condition(model, data=values)).get_trace(data)
        hidden = trace.nodes["y"]["fn"]
        prior = sum(trace.nodes[n]["fn"].log_prob(values[n]) for n in values)
        return hidden.expected_log_prob(data.emissions, fixed) + prior

    value = expected_log_joint(constrained(model, data, free))
    assert value > expected_log_joint(params) + 0.1
    gradients = torch.autograd.grad(value, list(free.values()))
    assert max(g.abs().max() for g in gradients) < 1e-5
    for name, leaf in free.items():
        moved = leaf.detach().clone(memory_format=torch.contiguous_format)
        for step in (1e-3, -1e-3):
            moved.view(-1)[0] = leaf.detach().reshape(-1)[0] + step
            changed = constrained(model, data, {**free, name: moved})
            assert expected_log_joint(changed) < value + 1e-12


@pytest.mark.parametrize("transitions", TRANSITIONS)
@pytest.mark.parametrize("family", ["bernoulli", "categorical"])
def test_the_default_m_step_raises_the_expected_log_joint_for_every_set(
    family, transitions
):
    data, model = clear_data(family, mask=True), penalised(
        family, transitions, states=3
    )
    model.bind(data)
    params = [random_params(model, data, seed=s, size=1.5) for s in range(3)]
    sets, e_step = with_sets(params), ComponentSteps(model, data, None)
    e_step.expect(params)
    counts = e_step.counts
    steps = {n: MStep(c, data, gh.EM().m_step) for n, c in model.components.items()}
    after = m_step(steps, counts, sets)

    def bounds(params):
        trace = poutine.trace(poutine.condition(model, data=params)).get_trace(data)
        hidden = trace.nodes["y"]["fn"]
        prior = sum(trace.nodes[n]["fn"].log_prob(params[n]) for n in params)
        return hidden.expected_log_prob(data.emissions, counts) + prior

    assert (bounds(after) > bounds(sets) + 0.1).all()


@pytest.mark.parametrize("transitions", TRANSITIONS)
def test_em_ends_where_the_gradient_of_the_log_joint_vanishes(transitions):
    data, model = clear_data("bernoulli", mask=True), penalised(
        "bernoulli", transitions
    )
    model.bind(data)
    (run,) = run_em(model, data, [random_params(model, data)], tol=1e-11)
    assert run.status is gh.Status.CONVERGED
    leaves = {n: v.clone().requires_grad_() for n, v in run.params.items()}
    gradients = torch.autograd.grad(log_joint(model, data, leaves), leaves.values())
    for name, gradient in zip(leaves, gradients):
        if name.endswith("probs"):
            # On the simplex the gradient may point along its normal.
            gradient = gradient - gradient.mean(-1, keepdim=True)
        assert gradient.abs().max() < 1e-3


@pytest.mark.parametrize(
    "family, transitions",
    [
        ("categorical", "stationary"),
        ("categorical", "input-driven"),
        ("bernoulli", "shared"),
    ],
)
def test_em_and_direct_maximisation_reach_one_log_joint(family, transitions):
    data, model = clear_data(family, mask=True), penalised(family, transitions)
    model.bind(data)
    start = random_params(model, data, seed=4)
    (run,) = run_em(model, data, [start], tol=1e-11)
    transforms = {
        n: biject_to(s.support) for n, s in parameter_sites(model, data).items()
    }
    shapes = {n: t.inv(start[n]).shape for n, t in transforms.items()}

    def values_of(x):
        parts = x.split([s.numel() for s in shapes.values()])
        return {n: transforms[n](p.reshape(shapes[n])) for n, p in zip(shapes, parts)}

    def minus_log_joint(x):
        leaf = x.clone().requires_grad_()
        value = -log_joint(model, data, values_of(leaf))
        return value.detach(), torch.autograd.grad(value, leaf)[0]

    # Beside EM's end: a likelihood of several maxima has no other common one.
    near = torch.cat([transforms[n].inv(run.params[n]).flatten() for n in shapes])
    result = minimize(minus_log_joint, near + 0.02, gradient_tol=1e-8)
    assert -result.fun == pytest.approx(run.log_joints[-1], abs=1e-6)
    assert minus_log_joint(near + 0.02)[0] > result.fun + 1e-3


def test_a_start_at_the_maximum_stays_there():
    data, model = clear_data(), penalised()
    model.bind(data)
    (run,) = run_em(model, data, [random_params(model, data)], tol=1e-11)
    (again,) = run_em(model, data, [run.params], tol=1e-10)
    assert len(again.log_joints) == 2
    for name, value in again.params.items():
        torch.testing.assert_close(value, run.params[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("transitions", ["stationary", "input-driven"])
def test_restarts_in_lockstep_go_the_way_they_go_alone(transitions):
    data, model = clear_data(mask=True), penalised(transitions=transitions)
    model.bind(data)
    starts = [random_params(model, data, seed=s) for s in range(3)]
    together = run_em(model, data, starts, num_iters=8, tol=1e-6)
    for start, run in zip(starts, together):
        (alone,) = run_em(model, data, [start], num_iters=8, tol=1e-6)
        assert alone.status is run.status
        np.testing.assert_allclose(run.log_joints, alone.log_joints, rtol=1e-7)
        for name in start:
            torch.testing.assert_close(
                run.params[name], alone.params[name], rtol=1e-4, atol=1e-4
            )


@pytest.mark.parametrize("filler", [0, 1, 5])
def test_values_at_masked_steps_change_no_iteration_of_em(filler):
    data = clear_data("categorical")
    mask = torch.arange(data.num_steps) % 7 != 3
    results = []
    for value in (data.emissions, torch.where(mask, data.emissions, filler)):
        masked = data.replace(emissions=value, mask=mask)
        model = gh.GLMHMM(2, gh.Categorical(3, prior=RIDGE))
        model.bind(masked)
        # The tensor that Sequences would have cleaned, put back as it came.
        raw = masked._derive(emissions=value)
        (run,) = run_em(
            model, raw, [random_params(model, data)], num_iters=5, keep_weights=True
        )
        results.append(run)
    expected, actual = results
    assert actual.log_joints == expected.log_joints
    for before, after in zip(expected.weights, actual.weights):
        assert all(torch.equal(before[n], after[n]) for n in before)


def test_masked_steps_equal_steps_left_out_of_a_stationary_chain_of_one_state():
    data = clear_data("bernoulli", mask=True)
    kept = data.mask
    shorter = gh.Sequences(data.emissions[kept], data.covariates[kept])
    runs = []
    for part in (data, shorter):
        model = gh.GLMHMM(1, gh.Bernoulli())
        model.bind(part)
        runs += run_em(model, part, [random_params(model, part)], tol=1e-11)
    assert runs[0].log_likelihoods[-1] == pytest.approx(runs[1].log_likelihoods[-1])


def test_an_interrupt_keeps_the_best_so_far():
    data, model = clear_data(), penalised()
    model.bind(data)

    def stop(iteration, runs):
        if iteration == 3:
            raise KeyboardInterrupt

    starts = [random_params(model, data, seed=s) for s in (0, 1)]
    runs = gh.EM(tol=0.0).run(model, data, starts, callback=stop)
    for start, run in zip(starts, runs):
        assert run.status is gh.Status.INTERRUPTED and len(run.log_joints) == 4
        assert log_joint(model, data, run.params) >= run.log_joints[-1] - 1e-9
        assert not torch.equal(
            run.params["emissions.weights"], start["emissions.weights"]
        )


def test_a_falling_log_joint_is_an_error():
    class Broken(gh.Bernoulli):
        def block_objective(self, data):
            objective = super().block_objective(data)

            class Downhill:
                def __getattr__(self, name):
                    return getattr(objective, name)

                def __call__(self, *arguments):
                    value, gradient = objective(*arguments)
                    return -0.1 * value, -0.1 * gradient

            return Downhill()

    data = clear_data()
    model = gh.GLMHMM(2, Broken(prior=RIDGE))
    model.bind(data)
    with pytest.raises(
        FallingLikelihoodError,
        match="fell from .* in an EM.*your own has a closed_form",
    ):
        run_em(model, data, [random_params(model, data)])


def test_options_out_of_range_are_refused():
    for options, match in [
        ({"num_iters": 0}, "num_iters must be at least 1, got 0"),
        ({"tol": -1.0}, "tol must be at least 0, got -1"),
        ({"tol": float("nan")}, "tol must be at least 0, got nan"),
    ]:
        with pytest.raises(ValueError, match=match):
            gh.EM(**options)


def test_an_impossible_start_is_named():
    data = clear_data()
    model = gh.GLMHMM(2, gh.Bernoulli())
    model.bind(data)
    params = random_params(model, data)
    params["emissions.weights"] = params["emissions.weights"] * torch.nan
    with pytest.raises(ValueError, match="possible under the start of EM"):
        run_em(model, data, [params])


def test_weights_are_kept_for_every_iteration_where_asked():
    data, model = clear_data(), penalised()
    model.bind(data)
    start = random_params(model, data)
    (run,) = run_em(model, data, [start], num_iters=4, tol=0.0, keep_weights=True)
    assert len(run.weights) == len(run.log_joints) == 5
    assert torch.equal(run.weights[0]["emissions.weights"], start["emissions.weights"])
    for params, joint in zip(run.weights, run.log_joints):
        assert log_joint(model, data, params).item() == pytest.approx(joint, abs=1e-9)


def test_expected_counts_of_sets_are_those_of_each_set():
    data, model = clear_data(mask=True), penalised()
    model.bind(data)
    params = [random_params(model, data, seed=s) for s in range(3)]
    e_step = ComponentSteps(model, data, None)
    likelihoods, joints = e_step.expect(params)
    counts = e_step.counts
    for i, one in enumerate(params):
        expected = hidden_markov(model, data, one).expected_counts(data.emissions)
        for actual, alone in zip(counts, expected):
            torch.testing.assert_close(actual[i], alone)
        assert likelihoods[i] == pytest.approx(expected.log_marginal.sum().item())
        assert joints[i] == pytest.approx(log_joint(model, data, one).item())
    assert (counts.emission[:, ~data.mask] == 0).all()


def test_a_run_records_copies_that_later_iterations_leave_alone():
    run = Run({"a": torch.zeros(1)})
    run.record(-2.0, -3.0, keep=True)
    run.next_params = {"a": torch.ones(1)}
    run.record(-1.0, -2.0, keep=True)
    assert [w["a"].item() for w in run.weights] == [0.0, 1.0]
