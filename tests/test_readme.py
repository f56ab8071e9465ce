"""The README: its code runs, and what it shows as printed is what is printed."""

import functools
import re
from pathlib import Path

import matplotlib
import pytest

import glmhmm_pyro as gh

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
ESTIMATOR = "GLMHMMEstimator"


def blocks(language):
    """The fenced blocks of the README in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def run(code):
    """The names that blocks of code leave behind."""
    names = {"__name__": "readme"}
    for block in code:
        exec(compile(block, "README.md", "exec"), names)
    return names


@pytest.fixture
def quick(monkeypatch):
    """load_rat gives ten days, the one drawn among them; EM is content with less."""
    days = gh.datasets.load_rat().subset(slice(16, 26))
    monkeypatch.setattr(gh.datasets, "load_rat", lambda: days)
    monkeypatch.setattr(gh, "fit", functools.partial(gh.fit, tol=1e-5, progress=False))


def test_all_code_of_the_readme_runs_in_its_order(quick, tmp_path, monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    names = run(block for block in blocks("python") if ESTIMATOR not in block)
    assert names["again"].log_likelihood == names["fit"].log_likelihood
    assert {path.name for path in tmp_path.iterdir()} == {"day24.png", "fit.nc"}
    assert names["generated"].num_sessions == 5 * names["training"].num_sessions
    assert names["filters"]["term"].unique().tolist() == ["older choices"]
    assert names["mine"].num_sessions == 80 and names["two"].num_sessions == 2
    means = sorted(names["means"]["emissions.weights"].values.ravel())
    # The waiting times were drawn at means 1 and 8.
    assert means == pytest.approx([0.0, 2.079], abs=0.3)
    matplotlib.pyplot.close("all")


def test_the_call_of_the_predecessor_returns_the_weights_of_every_iteration():
    code = [block for block in blocks("python") if ESTIMATOR in block]
    output = run(["import glmhmm_pyro as gh", *code])["output"]
    assert output[-1]["emit_w"].shape == (2, 1, 91)
    assert output[-1]["trans_w"].shape == (2, 2, 91)


def test_the_first_example_takes_eight_lines():
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) <= 8


def test_the_readme_shows_what_explain_prints():
    model = gh.GLMHMM(num_states=2, emissions=gh.Bernoulli())
    assert blocks("text") == [model.explain() + "\n"]


def test_every_file_that_the_readme_points_to_exists():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (Path(__file__).resolve().parents[1] / target).is_file(), target
