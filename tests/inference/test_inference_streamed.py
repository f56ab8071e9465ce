"""Fits to designs that are made as they are read are those to all their rows."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Normal

import glmhmm_pyro as gh
from glmhmm_pyro.analysis.evidence import expand_at_mode, search_near
from glmhmm_pyro.covariates import Design, Intercept, Lags, RaisedCosine, Standardised
from glmhmm_pyro.designs import Blocks, streamed
from glmhmm_pyro.inference.curvature.curvature import hessian
from glmhmm_pyro.inference.fits.digests import digest
from glmhmm_pyro.inference.program.program import Program

RIDGE, STEPS = Normal(0.0, 1.0), 240


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch):
    """Small designs stream like large ones."""
    monkeypatch.setattr(streamed, "_KEPT_NUMBERS", 0)


@pytest.fixture
def never_dense(monkeypatch):
    """The array of all rows is not asked for."""

    def refuse(design):
        raise AssertionError("all rows of a design were made at once")

    monkeypatch.setattr(streamed.Streamed, "dense", refuse)


def both():
    """Two states with cues on lags: covariates as an array, and streamed."""
    rng = np.random.default_rng(3)
    cue, noise = rng.normal(size=(2, STEPS))
    states = (np.arange(STEPS) // 40) % 2
    drive = np.where(states, 2.0, -1.0) * (cue + 0.5 * np.roll(cue, 1)) + states
    choice = (rng.random(STEPS) < 1 / (1 + np.exp(-drive))).astype(int)
    frame = pd.DataFrame(
        {"day": np.arange(STEPS) // 80, "cue": 3 * cue + 1, "noise": noise, "y": choice}
    )
    design = Design(
        Lags("cue", 2), Standardised(RaisedCosine("noise", 2, 6)), Intercept()
    )
    told = {"session": "day", "emissions": "y"}
    return [design.sequences(frame, **told, as_array=how) for how in (True, False)]


def test_rows_on_disk_are_fitted_as_those_in_memory(tmp_path, never_dense):
    array, _ = both()
    np.save(tmp_path / "rows.npy", array.covariates.numpy())
    rows = Blocks(tmp_path / "rows.npy", array.covariate_names)
    disk = gh.Sequences(array.emissions, rows, lengths=array.lengths)
    told = METHODS["em"] | {"seed": 0, "progress": False}
    with warnings.catch_warnings(action="ignore"):
        found, expected = (gh.fit(model(), d, "em", **told) for d in (disk, array))
    for name in expected.parameters:
        one, other = expected.parameters[name].values, found.parameters[name].values
        np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-7)


def model():
    return gh.GLMHMM(2, gh.Bernoulli(prior=RIDGE), gh.InputDriven(prior=RIDGE))


METHODS = {
    "em": {"num_iters": 15, "num_restarts": 1},
    "map": {"num_iters": 30, "num_restarts": 1},
    "laplace": {"num_samples": 20, "num_restarts": 1},
    "svi": {"num_steps": 20},
    "nuts": {"num_samples": 5, "num_warmup": 5, "num_chains": 1},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore")
def test_every_method_finds_the_same(method, never_dense):
    options = METHODS[method] | {"seed": 0}
    array, lazy = (gh.fit(model(), data, method, **options) for data in both())
    for name in array.parameters:
        one, other = array.parameters[name].values, lazy.parameters[name].values
        np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-7)


@pytest.mark.filterwarnings("ignore")
def test_errors_evidence_and_states_are_the_same(never_dense):
    array, lazy = both()
    fit = gh.fit(model(), array, "map", seed=0, num_restarts=1)
    for name, value in fit.standard_errors(array).items():
        np.testing.assert_allclose(fit.standard_errors(lazy)[name], value, rtol=1e-7)
    states = [fit.decode(data).smoothed_probs for data in (array, lazy)]
    np.testing.assert_allclose(*states, atol=1e-10)
    # Each form of a design would end its own search elsewhere within rounding.
    array, lazy = (Program.of(model(), data).in_own_units() for data in (array, lazy))
    mode, status = search_near(array, fit.params)
    expansions = [expand_at_mode(each, mode, status, fit) for each in (array, lazy)]
    evidence = [expansion.log_evidence for expansion in expansions]
    np.testing.assert_allclose(*evidence, rtol=1e-9)
    assert gh.analysis.log_evidence(fit, both()[1]) == pytest.approx(
        evidence[1], abs=2e-5
    )


def test_second_derivatives_are_the_same(never_dense):
    found = []
    for data in both():
        program = Program.of(model(), data)
        point = torch.linspace(-0.5, 0.5, program.coordinates.size).double()
        found.append(hessian(program, point))
    np.testing.assert_allclose(found[1], found[0], atol=1e-9)


def test_data_are_told_apart_without_all_their_rows(never_dense):
    _, lazy = both()
    assert digest(lazy) == digest(both()[1])
    assert digest(lazy) != digest(lazy.with_raw({"cue": 0.0}))
