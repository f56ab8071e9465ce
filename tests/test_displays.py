"""Displays in notebooks: all is in them, closed at first, and no name becomes a tag."""

from html.parser import HTMLParser

import numpy as np
import pytest

import glmhmm_pyro as gh

NAME = "<b>stim & go</b>"
QUICK = {"num_restarts": 2, "tol": 1e-3, "progress": False}


def separated():
    """A fit whose weights have no finite maximum."""
    x = np.linspace(-1, 1, 20)
    data = gh.Sequences((x > 0).astype(int), x[:, None])
    with pytest.warns(gh.ConvergenceWarning):
        return gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, **QUICK)


@pytest.fixture(scope="module")
def shown():
    """HTML of objects, by what they are."""
    rng = np.random.default_rng(0)
    data = gh.Sequences(
        rng.integers(0, 2, 80),
        rng.normal(size=(80, 1)),
        lengths=[40, 40],
        covariate_names=[NAME],
        groups=["ann", "bob"],
    )
    ridge = gh.priors.Ridge(1.0)
    model = gh.GLMHMM(2, gh.Bernoulli(ridge))
    fit = gh.fit(model, data, **QUICK)
    options = {"num_restarts": 1, "progress": False}
    return {
        "data": data._repr_html_(),
        "model": model._repr_html_(),
        "fit": fit._repr_html_(),
        "doubtful": separated()._repr_html_(),
        "dwell": gh.analysis.dwell_times(fit, data, num_samples=5)._repr_html_(),
        "study": gh.analysis.choose_num_states(
            lambda k: gh.GLMHMM(k, gh.Bernoulli(ridge)),
            data,
            [1, 2],
            folds=2,
            **options,
        )._repr_html_(),
        "strengths": gh.analysis.cross_validate(
            lambda s: gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(s**-0.5))),
            data,
            [1.0, 2.0],
            folds=2,
            **options,
        )._repr_html_(),
        "groups": gh.analysis.fit_groups(fit, data, progress=False)._repr_html_(),
        "methods": gh.compare_methods(
            gh.GLMHMM(1, gh.Bernoulli(ridge)), data, ["em", "map"], **options
        )._repr_html_(),
    }


class Tags(HTMLParser):
    """Tags that are open, headings of the parts, and all text."""

    def __init__(self):
        super().__init__()
        self.open, self.headings, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        assert tag != "details" or attributes == []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] == "summary":
            self.headings.append(data)


SAID = {
    "data": (["Sessions"], "2 sessions of 40 steps"),
    "model": (["Model"], "GLM-HMM of 2 states"),
    "fit": (["Parameters", "Starts", "Solutions", "Model"], NAME),
    "doubtful": (["What to look out for", "Parameters"], "without error"),
    "dwell": (["Survival"], "model: geometric"),
    "study": (["Notes"], "held_out_bits_per_step"),
    "strengths": ([], "held_out_bits_per_step"),
    "groups": (["How they ended"], "bits_per_step_whole"),
    "methods": (["Messages", "Estimates"], "log_likelihood"),
}


@pytest.mark.parametrize("name", list(SAID))
def test_a_display_is_html_with_its_parts_closed(shown, name):
    tags = Tags()
    tags.feed(shown[name])
    headings, words = SAID[name]
    assert tags.open == [] and words in tags.text
    assert tags.headings[: len(headings)] == headings
    assert "<b>" not in shown[name]


def test_a_fit_without_draws_says_what_adds_standard_errors(shown):
    assert "fit.summary(data) adds standard errors." in shown["fit"]


def test_a_long_table_is_cut_and_its_rest_counted():
    data = gh.Sequences(np.zeros(100, int), lengths=[2] * 50)
    assert data._repr_html_().count("<tr>") == 30 + 1
    assert "and 20 rows more" in data._repr_html_()


def test_dwell_times_are_shown_as_their_table():
    data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
    fit = gh.fit(gh.GLMHMM(1, gh.Bernoulli()), data, **QUICK)
    dwell = gh.analysis.dwell_times(fit, data, num_samples=5)
    assert repr(dwell).endswith(dwell.table.to_string())


def test_a_fit_that_follows_along_says_where_it_is():
    data = gh.Sequences([0, 1, 1, 0, 1, 0], lengths=[3, 3])
    model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(1.0)))
    online = gh.fit(model, data, **QUICK).named(["engaged"]).online()
    assert repr(online) == "Online, 1 state, at the start of a session"
    online.update([1.0], 1)
    assert repr(online) == "Online, p(state) after the last step: engaged 1.000"
