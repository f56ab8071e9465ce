"""ArviZ comes in silence, whatever the home folder, and fits outlive its failures."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
import xarray as xr

from glmhmm_pyro.inference.draws import arviz_versions
from glmhmm_pyro.inference.draws.agreement import bulk_size, r_hat, tail_size
from glmhmm_pyro.inference.draws.arviz_versions import container, load_arviz
from glmhmm_pyro.inference.draws.diagnostics import diagnose

_SAMPLES = """
import warnings
import glmhmm_pyro as gh
from nuts_cases import regression
warnings.simplefilter("ignore", gh.ConvergenceWarning)
fit = gh.fit(*regression(), gh.NUTS(9, 4, 2, parallel=False), progress=False)
print(fit.posterior.num_draws, bool(fit.diagnostics()["ess_tail"].notna().all()))
print(fit.status.name, *fit.notes)
"""

# A folder that does not exist yet, and one that nobody can make, root neither.
HOMES = ["new", "/dev/null"]


@pytest.mark.parametrize("home", HOMES)
def test_nuts_keeps_its_draws_in_silence_whatever_the_home_folder(tmp_path, home):
    folder = home if home.startswith("/") else str(tmp_path / home)
    ours = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    environment = {k: v for k, v in os.environ.items() if k not in ours}
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", _SAMPLES],
        env={**environment, "HOME": folder, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:3] == ["9", "True", "NOT_MIXED"]
    assert "ArviZ" not in done.stderr and "Traceback" not in done.stderr


def test_a_second_import_gives_the_same_module():
    assert load_arviz() is load_arviz()


def test_r_hat_and_effective_sizes_are_those_of_their_definitions():
    draws = np.random.default_rng(1).normal(size=(4, 500))
    # Independent draws: R-hat is 1 and every draw counts, within a few percent.
    assert r_hat(draws) == pytest.approx(1.0, abs=0.01)
    assert bulk_size(draws) == pytest.approx(2000, rel=0.25)
    assert tail_size(draws) == pytest.approx(2000, rel=0.25)
    # One chain that stands elsewhere.
    draws[0] += 3
    assert r_hat(draws) > 1.3 and bulk_size(draws) < 20


def walks(chains, length, memory, seed):
    """Chains of autoregressive numbers, rounded so that some are tied."""
    noise = np.random.default_rng(seed).normal(size=(chains, length))
    for t in range(1, length):
        noise[:, t] += memory * noise[:, t - 1]
    return np.round(noise, 1)


@pytest.mark.parametrize("chains", [1, 2, 4])
@pytest.mark.parametrize(
    "length, memory", [(4, 0.0), (9, 0.5), (200, -0.6), (301, 0.9)]
)
def test_r_hat_and_effective_sizes_are_those_of_arviz(chains, length, memory):
    arviz = load_arviz()
    for shift in (0.0, 2.0):
        draws = walks(chains, length, memory, seed=chains + length)
        draws[0] += shift
        tail = arviz.ess(draws, method="tail", prob=(0.05, 0.95))
        assert bulk_size(draws) == pytest.approx(float(arviz.ess(draws)), rel=1e-9)
        assert tail_size(draws) == pytest.approx(float(tail), rel=1e-9)
        if chains > 1:
            assert r_hat(draws) == pytest.approx(float(arviz.rhat(draws)), rel=1e-12)


def test_diagnostics_do_without_arviz(monkeypatch):
    monkeypatch.setattr(arviz_versions, "load_arviz", broken(ImportError("none")))
    table = diagnose({"x": torch.randn(2, 40)})
    assert table.notna().all(axis=None)


def broken(error):
    def load():
        raise error

    return load


@pytest.mark.parametrize("error", [ImportError("none"), OSError("no space left")])
def test_groups_outlive_an_arviz_that_cannot_be_imported(monkeypatch, error):
    monkeypatch.setattr(arviz_versions, "load_arviz", broken(error))
    groups = {"posterior": xr.Dataset({"x": ("draw", [1.0, 2.0])})}
    with pytest.warns(UserWarning, match=f"arviz cannot be imported .*{error}"):
        tree = container(groups)
    assert isinstance(tree, xr.DataTree)
    assert tree["posterior"].to_dataset().identical(groups["posterior"])


@pytest.mark.parametrize("version, kind", [("0.23.4", "InferenceData"), ("1.3.0", "")])
def test_the_container_is_that_of_the_interface(monkeypatch, version, kind):
    class Stub:
        __version__ = version

        @staticmethod
        def InferenceData(**groups):
            return "InferenceData"

    monkeypatch.setattr(arviz_versions, "load_arviz", lambda: Stub)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = container({"posterior": xr.Dataset()})
    assert found == kind or isinstance(found, xr.DataTree)
