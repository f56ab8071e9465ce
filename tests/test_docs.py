"""README and documentation: their code runs, their links lead somewhere, and what they
show as printed is what is printed."""

import functools
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import glmhmm_pyro as gh

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]
ESTIMATOR = "GLMHMMEstimator"


def named(page):
    """A page's path from the root, which names its test."""
    return page.relative_to(ROOT).as_posix()


def blocks(page, language):
    """The fenced blocks of a page in this language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def run(page):
    """The names that a page's code leaves behind."""
    names = {"__name__": named(page)}
    for block in blocks(page, "python"):
        exec(compile(block, named(page), "exec"), names)
    return names


def has_outcome(page, names):
    """What is known of the numbers that a page's code computes."""
    outcome = OUTCOMES.get(named(page))
    return outcome is None or outcome(names)


OUTCOMES = {
    "README.md": lambda n: n["again"].log_likelihood == n["fit"].log_likelihood,
    "docs/tour.md": lambda n: n["again"].log_likelihood == n["fit"].log_likelihood,
    "docs/howto/data.md": lambda n: (
        (n["mine"].num_sessions, n["held_out"].num_sessions, n["two"].num_sessions)
        == (80, 10, 2)
    ),
    "docs/howto/covariates.md": lambda n: (
        n["generated"].num_sessions == 5 * n["training"].num_sessions
        and n["filters"]["term"].unique().tolist() == ["older choices"]
    ),
    # The waiting times were drawn at means 1 and 8.
    "docs/howto/own_model.md": lambda n: (
        sorted(n["means"]["emissions.weights"].values.ravel())
        == pytest.approx([0.0, 2.079], abs=0.3)
    ),
    "docs/howto/swaps.md": lambda n: (
        n["swapped"].permuted([1, 0]).params["emissions.weights"].tolist()
        == n["fit"].params["emissions.weights"].tolist()
    ),
    "docs/howto/coming_from.md": lambda n: (
        n["output"][-1]["emit_w"].shape == (2, 1, 91)
        and n["output"][-1]["trans_w"].shape == (2, 2, 91)
    ),
}


@pytest.fixture
def quick(monkeypatch):
    """load_rat gives ten days, the one drawn among them."""
    days = gh.datasets.load_rat().subset(slice(16, 26))
    monkeypatch.setattr(gh.datasets, "load_rat", lambda: days)
    monkeypatch.setattr(gh, "fit", functools.partial(gh.fit, progress=False))


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=named)
def test_all_code_of_a_page_runs_in_its_order(page, quick, tmp_path, monkeypatch):
    plt.switch_backend("Agg")
    monkeypatch.chdir(tmp_path)
    assert has_outcome(page, run(page))
    written = {path.name for path in tmp_path.iterdir()}
    assert written <= {"cues.npy", "day24.png", "fit.nc"}
    plt.close("all")


def test_the_first_example_takes_eight_lines():
    code = blocks(ROOT / "README.md", "python")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 8
    assert code == blocks(ROOT / "docs/index.md", "python")[0]


def test_the_model_page_shows_what_explain_prints():
    model = gh.GLMHMM(num_states=2, emissions=gh.Bernoulli())
    assert blocks(ROOT / "docs/model.md", "text")[-1] == model.explain() + "\n"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_to_a_file(page):
    made = ("tutorials/", "reference/")
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", text):
        if page.parent == ROOT / "docs" and target.startswith(made):
            continue
        assert (page.parent / target).is_file(), target


def test_every_page_of_the_site_is_in_a_list_of_contents():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    # Either a name alone, or a shorter title with the name in brackets.
    listed = {
        re.sub(r"^.+ <(\S+)>$", r"\1", line.strip()) for line in text.splitlines()
    }
    for page in PAGES[1:]:
        folder = page.parent
        name = page.relative_to(folder).with_suffix("").as_posix()
        if page.stem == "index":
            name = f"{folder.name}/index"
        assert name in listed or named(page) == "docs/index.md", named(page)
