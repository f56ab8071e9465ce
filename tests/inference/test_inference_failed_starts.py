"""A start that fails is one run with its reason; the search goes on with the others."""

import numpy as np
import pytest
import torch
from families import random_params
from inference_cases import RIDGE, clear_data

import glmhmm_pyro as gh
from glmhmm_pyro.inference.kinds.glmhmm_program import GLMHMMProgram
from glmhmm_pyro.inference.program.program import Program
from glmhmm_pyro.inference.search.runs import Run
from glmhmm_pyro.inference.status import FallingLikelihoodError
from glmhmm_pyro.plotting import history

FAILED = gh.Status.START_FAILED
WEIGHTS = "emissions.weights"
EM = gh.EM(accelerate=False, tol=1e-4)


def falling(monkeypatch, *numbers):
    """The M-step of these starts leads far away, once, in the third iteration."""
    steps_of = GLMHMMProgram.em_steps

    def em_steps(self, options):
        steps, calls = steps_of(self, options), []
        maximise = steps.maximise

        def wrong(sets, rows, multiplier=1.0):
            updated = maximise(sets, rows, multiplier)
            calls.append(len(rows))
            if len(calls) == 3:
                for number in numbers:
                    updated[number] = {n: v.flip(-1) for n, v in sets[number].items()}
            return updated

        steps.maximise = wrong
        return steps

    monkeypatch.setattr(GLMHMMProgram, "em_steps", em_steps)


@pytest.fixture
def started():
    """A model with its data, and two starts."""
    data, model = clear_data(), gh.GLMHMM(2, gh.Bernoulli(prior=RIDGE))
    model.bind(data)
    return model, data, [random_params(model, data, seed) for seed in (1, 2)]


def test_a_start_whose_log_joint_falls_ends_alone(started, monkeypatch):
    model, data, starts = started
    (alone,) = EM.run(model, data, starts[1:])
    falling(monkeypatch, 0)
    fell, other = EM.run(model, data, starts)
    assert fell.status is FAILED and "the log-joint fell from" in fell.restart.reason
    assert fell.log_joints[-1] < fell.log_joints[-2]
    assert other.status is gh.Status.CONVERGED and not other.restart.reason
    np.testing.assert_allclose(other.log_joints, alone.log_joints, rtol=1e-12)
    for name, value in other.params.items():
        torch.testing.assert_close(value, alone.params[name])


def test_where_all_starts_fail_the_error_is_raised(started, monkeypatch):
    model, data, starts = started
    falling(monkeypatch, 0, 1)
    with pytest.raises(FallingLikelihoodError, match="fell from .* in an EM"):
        EM.run(model, data, starts)
    with pytest.raises(FallingLikelihoodError, match="fell from .* in an EM"):
        gh.fit(model, data, EM, num_restarts=2, progress=False)


def refusing(monkeypatch, is_refused, beta=1.0):
    """E-steps refuse sets as a distribution refuses its parameters.

    Args:
        is_refused: of a set, and the sets that came first.
        beta: inverse temperature of the E-steps that do.
    """
    refused_beta = beta
    steps_of, first = GLMHMMProgram.em_steps, []

    def em_steps(self, options):
        steps = steps_of(self, options)
        expect = steps.expect

        def picky(sets, beta=1.0):
            first.extend(() if first else sets)
            some = any(is_refused(values, first) for values in sets)
            if some and beta == refused_beta:
                raise ValueError("weights must be small; give smaller ones")
            return expect(sets, beta)

        steps.expect = picky
        return steps

    monkeypatch.setattr(GLMHMMProgram, "em_steps", em_steps)


def is_second(values, first):
    name = "emissions.weights"
    return torch.equal(values[name], first[1][name])


@pytest.mark.parametrize("init", [None, "random"])
@pytest.mark.parametrize("method", ["em", "map"])
def test_a_search_goes_on_without_a_start_that_is_refused(method, init, monkeypatch):
    data, model = clear_data(), gh.GLMHMM(2, gh.Bernoulli(prior=RIDGE))
    options = {"num_restarts": 3, "progress": False, "init": init}
    known = gh.fit(model, data, method, **options)
    refusing(monkeypatch, is_second)
    with pytest.warns(gh.ConvergenceWarning, match="1 of . starts failed, the others"):
        fit = gh.fit(model, data, method, **options)
    statuses = [restart.status for restart in fit.restarts]
    assert statuses.count(FAILED) == 1 and fit.status is gh.Status.CONVERGED
    assert statuses[1] is FAILED
    assert fit.log_joint == pytest.approx(known.log_joint, abs=1e-3)
    report = fit.restart_report().set_index("start")
    for number, restart in enumerate(fit.restarts):
        assert ("must be small" in restart.reason) == (number == 1)
        assert report.reason[number] == restart.reason
    assert any("must be small" in note for note in fit.notes)
    assert all(1 not in solution.starts for solution in fit.solutions)
    assert len(history(fit).lines) == 2 * (len(statuses) - 1)
    refusing(monkeypatch, lambda values, first: True)
    with pytest.raises(ValueError, match="weights must be small"):
        gh.fit(model, data, method, **options)


@pytest.mark.parametrize("init", [None, "random"])
def test_a_start_that_is_refused_as_it_is_annealed_ends_alone(init, monkeypatch):
    data, model = clear_data(), gh.GLMHMM(2, gh.Bernoulli(prior=RIDGE))
    options = {"num_restarts": 3, "progress": False, "init": init}
    annealed = gh.EM(inverse_temperatures=(0.5, 0.8))
    known = gh.fit(model, data, annealed, **options)
    # Of an annealed E-step alone: the run would go on without.
    refusing(monkeypatch, is_second, beta=0.5)
    with pytest.warns(gh.ConvergenceWarning, match="1 of . starts failed, the others"):
        fit = gh.fit(model, data, annealed, **options)
    statuses = [restart.status for restart in fit.restarts]
    assert statuses.count(FAILED) == 1 and statuses[1] is FAILED
    assert fit.log_joint == pytest.approx(known.log_joint, abs=1e-3)
    assert "must be small" in fit.restarts[1].reason
    refusing(monkeypatch, lambda values, first: True, beta=0.5)
    with pytest.raises(ValueError, match="weights must be small"):
        gh.fit(model, data, annealed, **options)


def test_a_run_at_its_pause_has_its_m_step_though_another_fails(started):
    model, data, starts = started
    engine = gh.EM(accelerate=False)
    steps = Program.of(model, data).em_steps(engine.m_step)
    (alone,) = [Run(starts[1])]
    engine.advance(steps, [alone], most=1)
    maximise = steps.maximise

    def refused(sets, rows, multiplier=1.0):
        if any(torch.equal(sets[row][WEIGHTS], starts[0][WEIGHTS]) for row in rows):
            raise ValueError("weights must be small; give smaller ones")
        return maximise(sets, rows, multiplier)

    steps.maximise = refused
    failing, other = Run(starts[0]), Run(starts[1])
    engine.advance(steps, [failing, other], most=1)
    assert failing.status is FAILED and other.status is None
    torch.testing.assert_close(other.next_params, alone.next_params)
    assert not torch.equal(other.next_params[WEIGHTS], starts[1][WEIGHTS])
