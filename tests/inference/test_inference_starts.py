"""Starts of a fit and its options: every way works, and a wrong one is named."""

import numpy as np
import pytest
import torch
from inference_cases import RIDGE, clear_data, penalised

import glmhmm_pyro as gh

QUICK = {"num_restarts": 2, "progress": False, "tol": 1e-6}
ONE_STEP = {"num_restarts": 1, "progress": False, "num_iters": 1}


@pytest.fixture(scope="module")
def data():
    return clear_data("categorical", mask=True)


@pytest.fixture(scope="module")
def fitted(data):
    return gh.fit(penalised("categorical"), data, **QUICK)


@pytest.mark.parametrize("init", ["glm", "kmeans", "random"])
def test_every_way_to_start_gives_a_fit_of_clear_data(init):
    data = clear_data(lengths=(150, 150))
    model = gh.GLMHMM(2, gh.Bernoulli(prior=RIDGE))
    fit = gh.fit(model, data, init=init, seed=1, **QUICK)
    assert fit.status is gh.Status.CONVERGED and len(fit.restarts) == 2
    slopes = sorted(fit.params["emissions.weights"][:, 0].tolist())
    assert slopes[0] < -1.0 and slopes[1] > 1.0
    starts = [restart.log_joints[0] for restart in fit.restarts]
    assert starts[0] != starts[1] and fit.log_joint >= max(starts)


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
def test_given_weights_are_the_first_start_as_they_stand(data, fitted):
    again = gh.fit(penalised("categorical"), data, init=fitted.params, **QUICK)
    assert again.restarts[0].log_joints[0] == pytest.approx(fitted.log_joint, abs=1e-9)
    assert again.restarts[1].log_joints[0] < fitted.log_joint - 0.01
    some = {"emissions.weights": fitted.params["emissions.weights"].numpy()}
    part = gh.fit(penalised("categorical"), data, init=some, **ONE_STEP)
    assert np.isfinite(part.log_joint)


def named(order, classes=None):
    """Choices by three covariates, in an order of their own in every design."""
    steps, rng = 60, np.random.default_rng(0)
    x = np.c_[rng.normal(size=(steps, 2)), np.ones(steps)]
    rows, called = x[:, order], [["light", "sound", "bias"][i] for i in order]
    return gh.Sequences(
        (rng.random(steps) < 0.3 + 0.4 * (x[:, 0] > 0)).astype(int),
        rows,
        lengths=[20] * 3,
        initial_covariates=rows[:3],
        covariate_names=called,
        initial_covariate_names=called,
        class_names=classes,
    )


def driven():
    parts = gh.InputDriven(RIDGE), gh.InitialGLM(RIDGE)
    return gh.GLMHMM(2, gh.Bernoulli(RIDGE), *parts)


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
def test_a_fit_starts_another_by_the_names_of_covariates():
    before = gh.fit(driven(), named([0, 1, 2]), **QUICK)
    after = gh.fit(driven(), named([2, 0, 1]), init=before, **ONE_STEP)
    assert after.restarts[0].log_joints[0] == pytest.approx(before.log_joint, abs=1e-9)


def test_a_fit_of_the_same_classes_in_another_order_is_no_start():
    one, other = (named([0, 1, 2], classes=c) for c in (["L", "R"], ["R", "L"]))
    before = gh.fit(driven(), one, num_restarts=1, progress=False)
    with pytest.raises(ValueError, match="init must .*order of data, R, L, got .*L, R"):
        gh.fit(driven(), other, init=before, **ONE_STEP)


@pytest.mark.parametrize(
    "init, match",
    [
        ("best", "init must be one of glm, kmeans, random.*got 'best'"),
        ({"emission.weights": np.zeros((2, 2, 2))}, "init must name.*emission.weights"),
        (
            {"emissions.weights": np.zeros((2, 3, 2))},
            r"\(2, 2, 2\), got shape \(2, 3, 2\)",
        ),
        ({"emissions.weights": np.full((2, 2, 2), np.nan)}, "must be finite"),
    ],
)
def test_a_wrong_start_is_named(data, init, match):
    with pytest.raises(ValueError, match=match):
        gh.fit(penalised("categorical"), data, init=init, **QUICK)


@pytest.mark.parametrize("values", [[0.5, 0.6], [-0.2, 1.2], [0.0, 0.0]])
def test_given_probabilities_must_be_probabilities(data, values):
    with pytest.raises(ValueError, match=r"init\['initial.probs'\].*sum to 1"):
        gh.fit(penalised("categorical"), data, init={"initial.probs": values}, **QUICK)


@pytest.mark.parametrize(
    "options, match",
    [
        ({"method": "newton"}, "method must be one of em, map.*got 'newton'"),
        ({"num_restarts": 0}, "num_restarts must be at least 1, got 0"),
        ({"num_iter": 5}, "options of 'em' must be among num_iters.*got 'num_iter'"),
        ({"method": gh.EM(), "tol": 1.0}, r"got tol; write EM\(...\)"),
        ({"tol": -1.0}, "tol must be at least 0"),
    ],
)
def test_a_wrong_option_is_named(data, options, match):
    with pytest.raises(ValueError, match=match):
        gh.fit(penalised("categorical"), data, **{"progress": False, **options})


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
@pytest.mark.parametrize("init", ["glm", "kmeans"])
def test_values_at_masked_steps_change_no_start(data, init):
    starts = []
    for filler in (0, 9):
        values = torch.where(data.mask, data.emissions, filler)
        fit = gh.fit(
            penalised("categorical"),
            data._derive(emissions=values),
            init=init,
            **ONE_STEP,
        )
        starts.append(fit.restarts[0].log_joints)
    np.testing.assert_array_equal(*starts)
