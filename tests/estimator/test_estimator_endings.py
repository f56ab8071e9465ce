"""How the original's EM ends: a failed M-step is a status that names the part."""

import numpy as np
import pytest
from estimator_cases import make_estimator, make_trials

import glmhmm_pyro as gh
from glmhmm_pyro.estimator import original_em as em


def trials(size):
    """Choices, and rows of X of which one is as large as this."""
    rng = np.random.default_rng(0)
    rows = rng.choice([1.0, 0.9], size=60) * size
    return [np.vstack([np.ones(60), rows])], [(rng.random(60) < 0.7).astype(int)]


def fitted(size, **options):
    starts = {"emit_w_init": np.zeros((2, 1, 2)), "trans_w_init": np.zeros((2, 2, 2))}
    estimator = gh.GLMHMMEstimator(random_state=0, emit_lambda=0.1, **options)
    history = estimator.fit(*trials(size), **starts)
    return estimator, history


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_an_m_step_whose_gradient_is_not_finite_ends_the_run_and_names_the_part():
    words = "M-step of emissions: its log density, or the gradient .*divide the rows"
    with pytest.warns(gh.ConvergenceWarning, match=words):
        estimator, history = fitted(1e308)
    assert estimator.status_ is gh.Status.M_STEP_FAILED
    assert not estimator.converged_ and len(history) == 1
    assert not estimator.emit_w_.any(), "the weights are where they began"


def test_rows_that_are_divided_as_advised_are_fitted():
    estimator, _ = fitted(1.0)
    assert estimator.status_ is gh.Status.CONVERGED and estimator.converged_
    assert estimator.emit_w_.all()


def test_as_many_iterations_may_be_allowed_as_any_number_says():
    estimator, history = fitted(1.0, max_iter=10**15)
    assert estimator.converged_ and len(history) == estimator.n_iter_


def test_an_interrupt_ends_the_fit_and_leaves_the_estimator_as_it_was(monkeypatch):
    estimator = make_estimator()
    estimator.fit(*make_trials())
    before, maximise = estimator.emit_w_, em.OriginalSteps.maximise
    calls = []

    def interrupted(self, *arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return maximise(self, *arguments)

    monkeypatch.setattr(em.OriginalSteps, "maximise", interrupted)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(*make_trials(seed=1))
    assert len(calls) == 3 and estimator.emit_w_ is before
