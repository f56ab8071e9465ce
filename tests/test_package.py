"""The package as installed."""

import configparser
import os
import re
import subprocess
import sys
import warnings
from dataclasses import fields
from pathlib import Path

import pytest
from packaging.version import Version

import glmhmm_pyro
import glmhmm_pyro as gh
from glmhmm_pyro.version import __version__

ROOT = Path(__file__).resolve().parents[1]

# Modules that users complete names in.
ROOMS = [gh, gh.analysis, gh.components, gh.covariates, gh.datasets, gh.dwell]
ROOMS += [gh.importers, gh.inference, gh.levels, gh.optim, gh.plotting, gh.priors]


def test_the_package_is_typed_and_has_a_version():
    assert __version__.count(".") == 2
    assert glmhmm_pyro.__doc__


def test_what_is_listed_of_the_package_are_its_public_names_and_nothing_else():
    code = "import glmhmm_pyro as gh; print(*dir(gh))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    listed = found.stdout.split()
    # The estimator too, although nobody has asked for it yet.
    assert {"GLMHMMEstimator", "components", "optim", "fit"} <= set(listed)
    assert listed == sorted(glmhmm_pyro.__all__)
    assert all(hasattr(glmhmm_pyro, name) for name in listed)


def test_names_that_live_in_a_room_are_found_at_the_top_too_but_not_listed():
    rooms = dict.fromkeys(("StationaryInitial", "Transitions"), "components")
    for name, room in rooms.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = getattr(glmhmm_pyro, name)
        assert found is getattr(getattr(glmhmm_pyro, room), name)
        assert name not in dir(glmhmm_pyro)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_completion_in_a_room_offers_its_public_names_alone(room):
    assert dir(room) == sorted(room.__all__)
    assert all(hasattr(room, name) for name in dir(room))


@pytest.mark.parametrize("method", [gh.EM, gh.MAP, gh.Laplace, gh.SVI, gh.NUTS])
def test_the_help_of_fit_names_the_options_of_every_method(method):
    said = " ".join(gh.fit.__doc__.split())
    said = said.split(f'``"{method.name}"``: ')[1].split(". ")[0]
    assert re.findall("``([a-z_]+)``", said) == [f.name for f in fields(method)]


def requirements(section, option):
    """Lower bounds by name of a list of requirements in setup.cfg."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = settings[section][option].splitlines()
    return dict(line.split(">=") for line in lines if ">=" in line)


def test_the_oldest_versions_that_are_tested_are_those_that_are_allowed():
    allowed = {
        **requirements("options", "install_requires"),
        **requirements("options.extras_require", "test"),
    }
    lines = (ROOT / ".ci" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert tested.keys() == allowed.keys()
    for name, version in tested.items():
        assert Version(version) == Version(allowed[name]), name


def test_the_tests_have_a_home_folder_of_their_own():
    for name in ("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "IPYTHONDIR"):
        assert "glmhmm-tests-" in os.environ[name]


RIVALS = {"fit_dynamax", "fit_numpyro", "fit_psytrack"}


def test_every_benchmark_and_script_can_be_loaded():
    """But for those of rivals, which come with environments of their own."""
    for folder in ("benchmarks", "docs"):
        here = ROOT / folder
        names = sorted({path.stem for path in here.glob("*.py")} - RIVALS)
        code = f"import {', '.join(names)}"
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=here, capture_output=True
        )
        assert run.returncode == 0, run.stderr.decode()


def test_a_benchmark_records_what_map_evaluates():
    code = (
        "import fit_ours, glmhmm_pyro as gh; "
        "data = gh.Sequences([0, 1, 1, 0], lengths=[4]); "
        "model = gh.GLMHMM(1, gh.Bernoulli()); seen = []; "
        "params = gh.fit(model, data, num_restarts=1, progress=False).params; "
        "model.bind(data); fit_ours.maximum(model, data, params, seen.append, 3); "
        "assert seen"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "benchmarks")
    assert run.returncode == 0
