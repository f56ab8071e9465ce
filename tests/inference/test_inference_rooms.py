"""Weights that vary, levels and laws of dwell times: every room takes their fits."""

import matplotlib
import numpy as np
import pytest

import glmhmm_pyro as gh
from glmhmm_pyro.components import Levels, Varying

matplotlib.use("Agg")

RIDGE = gh.priors.Ridge(2.0)
LAW = gh.priors.RandomWalk(0.3, start_scale=2.0)
MODELS = {
    "varying": gh.GLMHMM(2, Varying(gh.Bernoulli(), law=LAW)),
    "levels": gh.GLMHMM(Levels(2, 2), gh.Bernoulli(RIDGE)),
    "dwell": gh.GLMHMM(2, gh.Bernoulli(RIDGE), gh.SemiMarkov()),
}


@pytest.fixture(scope="module")
def data():
    return gh.datasets.simulate_choices(num_sessions=3, num_steps=60).data


@pytest.fixture(scope="module", params=MODELS)
def case(request, data):
    """A model that is bound to nothing, and its fit."""
    model = MODELS[request.param]
    return model, gh.fit(model, data, "map", num_restarts=1, progress=False)


def decoded(model, fit, data, folder):
    probs = fit.decode(data).smoothed_probs
    assert probs.sizes["state"] == fit.model.num_states
    np.testing.assert_allclose(probs.sum("state"), 1.0, atol=1e-9)


def scored(model, fit, data, folder):
    whole = fit.score(data) * data.num_steps
    parts = sum(fit.score(s) * s.num_steps for s in data)
    assert whole == pytest.approx(parts, rel=1e-9)


def predicted(model, fit, data, folder):
    found = fit.predict(data)
    assert np.isfinite(np.asarray(found)).all()


def simulated(model, fit, data, folder):
    found, states = fit.simulate(data, seed=0)
    assert found.num_steps == data.num_steps
    assert int(np.max(np.asarray(states))) < fit.model.num_states


def checked(model, fit, data, folder):
    assert isinstance(fit.check(data).codes, tuple | list | set | frozenset)


def saved(model, fit, data, folder):
    fit.save(folder / "fit.nc")
    loaded = gh.load(folder / "fit.nc", model)
    assert loaded.score(data) == pytest.approx(fit.score(data), rel=1e-12)


def exported(model, fit, data, folder):
    found = fit.to_arviz(data, ["posterior", "log_likelihood"])
    assert np.isfinite(np.asarray(found["log_likelihood"]["per_step"])).all()


def renumbered(model, fit, data, folder):
    order = [2, 3, 0, 1] if fit.model.num_states == 4 else [1, 0]
    turned = fit.permuted(order)
    assert turned.score(data) == pytest.approx(fit.score(data), rel=1e-10)
    probs = fit.decode(data).smoothed_probs.values[:, order]
    np.testing.assert_allclose(turned.decode(data).smoothed_probs, probs, atol=1e-9)


def tabled(model, fit, data, folder):
    found = gh.analysis.occupancy(fit, data, num_samples=20)
    assert len(found)


def timed(model, fit, data, folder):
    gh.analysis.dwell_times(fit, data, num_samples=10)


def pictured(model, fit, data, folder):
    gh.plotting.timeline(fit, data)
    gh.plotting.transitions(fit, data=data)


ROOMS = (
    *(decoded, scored, predicted, simulated, checked, saved, exported, renumbered),
    *(tabled, timed, pictured),
)


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_every_room_takes_it(case, data, room, tmp_path):
    room(*case, data, tmp_path)
