"""One fit a group: what a loop by hand gives, states matched, failures kept apart."""

import dataclasses
import math

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from families import normals
from inference_cases import clear_data

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import fit_groups
from glmhmm_pyro.analysis.refits import warm_start
from glmhmm_pyro.inference.program.program import Program

matplotlib.use("Agg")

QUICK = {"num_restarts": 1, "progress": False}
GROUPS = ("ann", "bob", "ann", "cat", "bob", "cat")


def ridge(scale=1.0):
    even = torch.distributions.Dirichlet(torch.full((2,), 2.0))
    emissions = gh.Bernoulli(prior=gh.priors.Ridge(scale))
    return gh.GLMHMM(2, emissions, gh.Stationary(even), gh.Initial(even))


@pytest.fixture(scope="module")
def data():
    return clear_data(lengths=(40, 35, 40, 30, 35, 30)).replace(groups=GROUPS)


@pytest.fixture(scope="module")
def whole(data):
    return gh.fit(ridge(), data, **QUICK).named(["right", "left"])


@pytest.fixture(scope="module")
def each(whole, data):
    return fit_groups(whole, data, progress=False)


def test_every_group_has_the_fit_that_begins_at_the_fit_to_all(whole, data, each):
    assert list(each.fits) == ["ann", "bob", "cat"] and each.complete
    for name, fit in each.fits.items():
        part = data.subset(groups=name)
        alone = gh.fit(ridge(), part, init=whole.params, **QUICK)
        assert fit.log_joint == pytest.approx(alone.log_joint, abs=1e-6)
        assert fit.score(part) == pytest.approx(alone.score(part), abs=1e-8)
        assert fit.state_names == ("right", "left")
        assert fit.labels.sessions == part.session_names


def test_the_table_says_what_each_fit_says(whole, data, each):
    table = each.table()
    assert table.index.names == ["group", "state"]
    assert table.index.tolist()[:2] == [("ann", "right"), ("ann", "left")]
    for name, fit in each.fits.items():
        part, rows = data.subset(groups=name), table.loc[name]
        y = part.emissions.double()
        base = float((y * y.mean().log() + (1 - y) * (1 - y.mean()).log()).mean())
        for column, found in (("bits_per_step", fit), ("bits_per_step_whole", whole)):
            bits = (found.score(part) - base) / math.log(2)
            np.testing.assert_allclose(rows[column], bits, atol=1e-10)
        occupancy = fit.decode(part).smoothed_probs.mean("step")
        np.testing.assert_allclose(rows["occupancy"], occupancy)
        stay = fit.params["transitions.probs"].diagonal()
        np.testing.assert_allclose(rows["stay"], stay)
        np.testing.assert_allclose(rows[["x0", "x1"]], fit.params["emissions.weights"])
        assert (rows["num_sessions"] == 2).all()
        assert (rows["num_observed"] == part.num_steps).all()


def test_states_are_matched_however_the_fit_to_all_numbers_them(whole, data, each):
    turned = fit_groups(whole.permuted([1, 0]), data, progress=False)
    assert turned.whole.state_names == ("left", "right")
    for name, fit in each.fits.items():
        weights = turned.fits[name].params["emissions.weights"].flip(0)
        torch.testing.assert_close(
            weights, fit.params["emissions.weights"], atol=1e-3, rtol=0
        )


def test_groups_may_have_priors_of_their_own_and_begin_at_a_model(whole, data):
    weak = fit_groups(whole, data, model=ridge(2.0), progress=False)
    alone = gh.fit(ridge(2.0), data.subset(groups="bob"), init=whole.params, **QUICK)
    assert weak.fits["bob"].log_joint == pytest.approx(alone.log_joint, abs=1e-6)
    plain = gh.GLMHMM(1, gh.Bernoulli())
    from_model = fit_groups(plain, data, progress=False)
    assert from_model.whole.labels.sessions == data.session_names
    again = gh.fit(plain, data.subset(groups="cat"), **QUICK)
    assert from_model.fits["cat"].log_likelihood == pytest.approx(again.log_likelihood)


def test_a_group_that_cannot_be_fitted_is_a_row_that_says_why(whole):
    """Two constant columns, in the sessions of one animal alone."""
    x = np.c_[normals(60), np.ones(60)]
    x[20:40, 0] = 2.0
    y = np.tile([0, 1, 1, 0, 1], 12)
    data = gh.Sequences(y, x, lengths=[10] * 6, groups=list("aabbcc"))
    each = fit_groups(gh.GLMHMM(1, gh.Bernoulli()), data, progress=False)
    assert list(each.fits) == ["a", "c"]
    assert "1 without one" in repr(each)
    row = each.table().loc[("b", "0")]
    assert "covariates must have one constant column" in row["message"]
    assert math.isnan(row["occupancy"]) and math.isnan(row["x0"])


def test_states_that_a_group_has_no_use_for_are_warned_of(whole):
    # Three steps that look alike do not tell states apart.
    data = clear_data(lengths=(60, 60, 3)).replace(groups=("ann", "bob", "dan"))
    alike = data.emissions.clone(), data.covariates.clone()
    alike[0][-3:], alike[1][-3:] = alike[0][0], alike[1][0]
    data = data.replace(emissions=alike[0], covariates=alike[1])
    with pytest.warns(gh.ConvergenceWarning, match="in the fit of 'dan', of 2 states"):
        found = fit_groups(whole, data, progress=False)
    assert "so that fewer explain as much" in found.messages["dan"]
    assert "explain as much" not in found.messages["ann"]


def test_what_is_done_is_kept(whole, data, each, tmp_path, monkeypatch):
    module, calls = gh.analysis.groups.fits, []
    original = module.whole_fit

    def watched(*args, **options):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args, **options)

    monkeypatch.setattr(module, "whole_fit", watched)
    options = {"checkpoint": tmp_path / "groups.json", "progress": False}
    with pytest.warns(gh.ConvergenceWarning, match="interrupted after 2 of 3 groups"):
        part = fit_groups(whole, data, **options)
    assert list(part.fits) == ["ann", "bob"] and "(interrupted)" in repr(part)
    found = fit_groups(whole, data, **options)
    assert len(calls) == 4
    pd.testing.assert_frame_equal(found.table(), each.table())


def test_the_picture_has_the_weights_of_groups_before_those_of_all(whole, each):
    ax = gh.plotting.groups(each)
    bars = [c for c in ax.collections if hasattr(c, "get_segments")]
    for state, bar in enumerate(bars):
        heights = [segment[0, 1] for segment in bar.get_segments()]
        np.testing.assert_allclose(heights, whole.params["emissions.weights"][state])
    points = [c for c in ax.collections if c not in bars]
    for state, cloud in enumerate(points):
        own = [fit.params["emissions.weights"][state] for fit in each.fits.values()]
        np.testing.assert_allclose(cloud.get_offsets()[:, 1], torch.cat(own))
        assert cloud.get_zorder() > bars[state].get_zorder()
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["right", "left"]
    assert not ax.lines[1:]  # A line at 0 alone, none between covariates.
    matplotlib.pyplot.close("all")


def test_the_picture_keeps_its_place_in_a_column_of_a_paper(whole, each):
    names = ["engaged with the right side", "engaged with the left side"]
    each = dataclasses.replace(each, whole=whole.named(names))
    figure, ax = matplotlib.pyplot.subplots(figsize=(3.5, 2.6), layout="constrained")
    gh.plotting.groups(each, ax)
    figure.canvas.draw()
    assert ax.get_position().width > 0.6
    legend = ax.get_legend().get_window_extent()
    assert legend.x1 <= figure.bbox.x1
    matplotlib.pyplot.close("all")


def test_columns_of_several_classes_and_outputs_have_names_of_their_own():
    labels = clear_data("categorical", lengths=(20, 20)).replace(
        groups=["a", "b"], class_names=["left", "right", "none"]
    )
    model = gh.GLMHMM(1, gh.Categorical(3, gh.priors.Ridge(1.0)))
    table = fit_groups(model, labels, progress=False).table()
    assert {"right x0", "right x1", "none x0", "none x1"} <= set(table)
    assert not any(str(name).startswith("left") for name in table)
    values = np.c_[labels.emissions > 0, normals(40)]
    both = gh.Sequences(
        values, lengths=[20, 20], groups=["a", "b"], emission_names=["choice", "time"]
    )
    family = gh.Outputs(choice=gh.Bernoulli(gh.priors.Ridge(1)), time=gh.Gaussian())
    table = fit_groups(gh.GLMHMM(1, family), both, progress=False).table()
    assert {"choice intercept", "time intercept"} <= set(table)


def test_wrong_arguments_are_named(whole, data):
    plain = clear_data(lengths=(30, 30))
    with pytest.raises(ValueError, match="data must have groups .* got none; give"):
        fit_groups(whole, plain)
    with pytest.raises(ValueError, match="model must have the parameters of the fit"):
        fit_groups(whole, data, model=gh.GLMHMM(3, gh.Bernoulli()))
    own = gh.GLMHMM(2, gh.Bernoulli(), initial=gh.Initial(None, True))
    with pytest.raises(ValueError, match="model must have the same parameters in all"):
        fit_groups(whole, data, model=own)
    with pytest.raises(TypeError, match="each must be a GroupFits, got a Fit; take"):
        gh.plotting.groups(whole)


KINDS = {
    "two levels": lambda: gh.GLMHMM(
        gh.Levels(2, 2), gh.Bernoulli(gh.priors.Ridge(1.0))
    ),
    "slow weights": lambda: gh.GLMHMM(
        gh.Levels(2, 2), gh.ByLevel(gh.Bernoulli(gh.priors.Ridge(1.0)), over="slow")
    ),
    "by session": lambda: gh.GLMHMM(
        1, gh.Varying(gh.Bernoulli(), law=gh.priors.RandomWalk(0.3))
    ),
}


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.ConvergenceWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_groups_of_models_of_other_kinds_have_a_table(kind):
    """Of two levels a state has the weights of its slow, or fast, state."""
    y = np.random.default_rng(0).integers(0, 2, 80)
    days = {"session_names": list("1234"), "groups": ["ann", "ann", "bob", "bob"]}
    data = gh.Sequences(y, lengths=[20] * 4, **days)
    options = {"num_restarts": 1, "progress": False}
    whole = gh.fit(KINDS[kind](), data, **options)
    each = gh.analysis.fit_groups(whole, data, progress=False)
    assert set(each.fits) == {"ann", "bob"}
    table = each.table()
    if kind == "by session":
        assert len(table) == 2 and "intercept" not in table
        again = gh.fit(whole.model, data.subset(groups="bob"), "map", **options)
        wanted = again.log_likelihood
        assert each.fits["bob"].log_likelihood == pytest.approx(wanted, abs=1e-3)
        return
    level = "slow" if kind == "slow weights" else "fast"
    for name, fit in each.fits.items():
        weights = fit.parameters["emissions.weights"]
        assert weights.dims == (level, "covariate")
        at = [int(state.split(".")[level == "fast"]) for state in fit.state_names]
        np.testing.assert_array_equal(
            table.loc[name]["intercept"], weights.values[at, 0]
        )


def test_a_group_begins_where_every_allowed_move_can_be():
    """A probability of 0 that is held stays one; another one does not."""
    model = gh.GLMHMM(3, gh.Bernoulli(), gh.Stationary(forbidden=[(0, 2)]))
    model.bind(gh.Sequences([0, 1, 1]))
    with torch.no_grad():
        prior = Program.of(model, gh.Sequences([0, 1, 1])).priors["transitions.probs"]
    rows = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.5, 0, 0.5]], dtype=torch.float64)
    found = warm_start({"rows": rows}, {"rows": prior})["rows"]
    assert found[0, 2] == 0 and (found.flatten()[[1, 3, 5, 7]] > 0).all()
    torch.testing.assert_close(found.sum(-1), torch.ones(3, dtype=torch.float64))
