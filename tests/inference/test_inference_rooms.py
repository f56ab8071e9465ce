"""Weights that vary, levels and laws of dwell times: every room takes their fits."""

import matplotlib
import numpy as np
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.components import Levels, TwoLevels, Varying
from glmhmm_pyro.inference.program.refusals import carries_states_over

matplotlib.use("Agg")

RIDGE = gh.priors.Ridge(2.0)
LAW = gh.priors.RandomWalk(0.3, start_scale=2.0)
MAKERS = {
    "varying": lambda states: gh.GLMHMM(states, Varying(gh.Bernoulli(), law=LAW)),
    "levels": lambda states: gh.GLMHMM(states, gh.Bernoulli(RIDGE)),
    "dwell": lambda states: gh.GLMHMM(states, gh.Bernoulli(RIDGE), gh.SemiMarkov()),
    "levels across sessions": lambda states: gh.GLMHMM(
        states,
        gh.Bernoulli(RIDGE),
        TwoLevels(gh.Stationary(gh.priors.Sticky(stay=4, move=2)), clock="session"),
    ),
}
STATES = {name: Levels(2, 2) if "levels" in name else 2 for name in MAKERS}


@pytest.fixture(scope="module")
def data():
    return gh.datasets.simulate_choices(num_sessions=4, num_steps=45).data


@pytest.fixture(scope="module", params=MAKERS)
def case(request, data):
    """What makes models of a kind, the fit of one, and its data."""
    make = MAKERS[request.param]
    model = make(STATES[request.param])
    if carries_states_over(model):
        data = data.replace(groups=["a", "a", "b", "b"])
    return make, gh.fit(model, data, "map", num_restarts=1, progress=False), data


def states_of(fit):
    return fit.model.levels or fit.model.num_states


def decoded(make, fit, data, folder):
    probs = fit.decode(data).smoothed_probs
    assert probs.sizes["state"] == fit.model.num_states
    np.testing.assert_allclose(probs.sum("state"), 1.0, atol=1e-9)


def scored(make, fit, data, folder):
    whole = fit.score(data) * data.num_steps
    names = data.group_names if carries_states_over(fit.model) else ()
    alone = [data.subset(groups=name) for name in names] or list(data)
    parts = sum(fit.score(s) * s.num_steps for s in alone)
    assert whole == pytest.approx(parts, rel=1e-9)


def predicted(make, fit, data, folder):
    found = fit.predict(data)
    assert np.isfinite(np.asarray(found)).all()


def simulated(make, fit, data, folder):
    found, states = fit.simulate(data, seed=0)
    assert found.num_steps == data.num_steps
    assert int(np.max(np.asarray(states))) < fit.model.num_states


def simulated_in_closed_loop(make, fit, data, folder):
    """A covariate that is the choice before, drawn in the simulation itself."""
    name = data.covariate_names[0]

    def before(past, rows):
        last = past[:, -1] if past.shape[1] else 0.5 * torch.ones(len(rows))
        return 2.0 * last - 1.0

    found, states = fit.simulate(data, seed=0, history={name: before})
    column = np.asarray(found.covariates)[:, 0]
    choices = 2.0 * np.asarray(found.emissions) - 1.0
    inside = np.ones(len(choices), dtype=bool)
    inside[np.asarray(found.starts)] = False
    np.testing.assert_array_equal(column[inside], np.roll(choices, 1)[inside])
    assert (column[~inside] == 0).all()
    assert int(np.max(np.asarray(states))) < fit.model.num_states


def checked(make, fit, data, folder):
    assert isinstance(fit.check(data).codes, tuple | list | set | frozenset)


def saved(make, fit, data, folder):
    fit.save(folder / "fit.nc")
    loaded = gh.load(folder / "fit.nc", make(states_of(fit)))
    assert loaded.score(data) == pytest.approx(fit.score(data), rel=1e-12)


def exported(make, fit, data, folder):
    found = fit.to_arviz(data, ["posterior", "log_likelihood"])
    assert np.isfinite(np.asarray(found["log_likelihood"]["per_step"])).all()


def renumbered(make, fit, data, folder):
    order = [2, 3, 0, 1] if fit.model.num_states == 4 else [1, 0]
    turned = fit.permuted(order)
    assert turned.score(data) == pytest.approx(fit.score(data), rel=1e-10)
    probs = fit.decode(data).smoothed_probs.values[:, order]
    np.testing.assert_allclose(turned.decode(data).smoothed_probs, probs, atol=1e-9)


def ordered(make, fit, data, folder):
    level = {"level": "fast"} if fit.model.levels else {}
    turned = fit.ordered("occupancy", data, **level)
    assert turned.score(data) == pytest.approx(fit.score(data), rel=1e-10)
    decoded = turned.decode(data)
    probs = decoded.fast_probs if level else decoded.smoothed_probs
    shares = probs.mean("step").values
    assert (np.diff(shares) <= 1e-9).all()


def named(make, fit, data, folder):
    names = ["engaged", "away"]
    given = {"slow": ["calm", "hungry"], "fast": names} if fit.model.levels else names
    decoded = fit.named(given).decode(data)
    probs, axis = decoded.smoothed_probs, "state"
    if fit.model.levels:
        probs, axis = decoded.fast_probs, "fast"
    assert probs[axis].values.tolist() == names
    total = probs.sel({axis: "engaged"}) + probs.sel({axis: "away"})
    np.testing.assert_allclose(total, 1.0, atol=1e-9)


def chosen(make, fit, data, folder):
    found = gh.analysis.choose_num_states(
        make,
        data,
        [states_of(fit)],
        folds="group" if carries_states_over(fit.model) else [0, 1, 2, 2],
        method=gh.MAP(num_iters=3, em_iters=0),
        num_restarts=1,
        progress=False,
    )
    (chosen,) = found.fits.values()
    assert chosen.model.num_states == fit.model.num_states
    assert np.isfinite(found.table.select_dtypes("number").iloc[:, 0]).all()


def tabled(make, fit, data, folder):
    found = gh.analysis.occupancy(fit, data, num_samples=20)
    assert len(found)


def timed(make, fit, data, folder):
    gh.analysis.dwell_times(fit, data, num_samples=10)


def pictured(make, fit, data, folder):
    gh.plotting.timeline(fit, data)
    gh.plotting.transitions(fit, data=data)


ROOMS = (
    *(decoded, scored, predicted, simulated, checked, saved, exported, renumbered),
    *(tabled, timed, pictured, simulated_in_closed_loop, ordered, named, chosen),
)


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_every_room_takes_it(case, room, tmp_path):
    room(*case, tmp_path)
