"""The demonstration: what it prints is what it found, and its files can be read."""

import math
import re
import subprocess
import sys

import numpy as np
import pytest

import glmhmm_pyro as gh
from glmhmm_pyro import demo

SESSIONS, STARTS = 4, 2


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Folder and printed text of one short run, in a process of its own."""
    folder = tmp_path_factory.mktemp("demo") / "made" / "here"
    short = ["--sessions", str(SESSIONS), "--starts", str(STARTS)]
    done = subprocess.run(
        [sys.executable, "-m", "glmhmm_pyro.demo", str(folder), *short],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_demo_prints_the_log_likelihoods_of_the_fit_and_of_the_glm(ran):
    folder, text = ran
    data = gh.datasets.load_rat().subset(range(SESSIONS))
    fit = gh.load(folder / "fit.nc")
    glm = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(2.0)))
    single = gh.fit(glm, data, num_restarts=1, progress=False)
    found = re.search(r"Log-likelihood: (\S+) nats with 2 states, (\S+) with one", text)
    assert float(found[1]) == pytest.approx(
        fit.distribution(data).log_prob(data.emissions).item(), abs=1e-4
    )
    assert float(found[2]) == pytest.approx(single.log_likelihood, abs=1e-4)
    gain = (fit.log_likelihood - single.log_likelihood) / data.num_steps / math.log(2)
    assert f"{gain:.4f} bits per trial" in text
    assert f"{fit.num_agreeing} of {STARTS} starts end in the best of" in text


def test_demo_prints_a_table_of_the_states(ran):
    folder, text = ran
    data = gh.datasets.load_rat().subset(range(SESSIONS))
    fit = gh.load(folder / "fit.nc")

    def row(name):
        return [float(x) for x in re.search(rf"{name} +(\S+) +(\S+)\n", text).groups()]

    for number, name in enumerate(data.covariate_names):
        expected = fit.params["emissions.weights"][:, number].numpy()
        np.testing.assert_allclose(row(name), expected, atol=5.1e-4)
    occupancy = fit.decode(data).smoothed_probs.values.mean(0)
    np.testing.assert_allclose(row("part of the trials"), occupancy, atol=5.1e-4)
    assert sum(row("part of the trials")) == pytest.approx(1, abs=2e-3)
    leaving = 1 - np.diagonal(fit.params["transitions.probs"].numpy())
    np.testing.assert_allclose(row("mean stay in trials"), 1 / leaving, atol=5.1e-4)


def test_demo_writes_the_files_it_names(ran):
    folder, text = ran
    named = re.findall(r"^  (/\S+)$", text, re.MULTILINE)
    assert sorted(named) == sorted(str(path) for path in folder.iterdir())
    png = (folder / "demo.png").read_bytes()
    assert png.startswith(b"\x89PNG") and 20_000 < len(png) < 150_000


def test_demo_refuses_a_number_of_sessions_below_one(capsys):
    with pytest.raises(SystemExit):
        demo.main(["--sessions", "0"])
    assert "must be at least 1, got 0" in capsys.readouterr().err
