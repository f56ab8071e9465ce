"""Checks before and after a fit: each finds what was planted, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_fits import sticky

import glmhmm_pyro as gh
from glmhmm_pyro.components import ByLevel, Levels, TwoLevels, Varying
from glmhmm_pyro.inference import Finding, Report
from glmhmm_pyro.inference.checks.after import weights_of_a_state
from glmhmm_pyro.inference.checks.level_checks import fewer_of
from glmhmm_pyro.inference.checks.state_checks import StateUse, unusable_states
from glmhmm_pyro.inference.fits.given import fit_at

FLAT, RIDGE = gh.Bernoulli(), gh.Bernoulli(gh.priors.Ridge(1.0))


def noise(*shape, seed=0):
    """Standard normal numbers."""
    return np.random.default_rng(seed).normal(size=shape)


def choices(steps=300, seed=1, classes=2):
    """Labels that nothing predicts."""
    return np.random.default_rng(seed).integers(0, classes, steps)


def with_column(column):
    """A data set of two good columns, a constant, and this one."""
    x = np.column_stack([noise(300, 2), np.ones(300), column])
    return gh.Sequences(choices(), x, covariate_names=["a", "b", "one", "bad"])


X = noise(300, 2)

PLANTED = {
    "zero-columns": with_column(np.zeros(300)),
    "constant-twice": with_column(np.full(300, -2.0)),
    "badly-scaled": with_column(3000 * noise(300, seed=2)),
    "far-from-zero": with_column(500 + 0.1 * noise(300, seed=2)),
    # A tenth of the column's own spread, so that its variance is inflated 200-fold.
    "collinear": with_column(X[:, 0] + X[:, 1] + 0.1 * noise(300, seed=2)),
}


@pytest.mark.parametrize("code", PLANTED)
def test_a_bad_column_is_found_and_named(code):
    report = gh.check(gh.GLMHMM(1, FLAT), PLANTED[code])
    assert report.codes == (code,)
    assert "bad" in report.findings[0].sentence


def test_good_data_have_no_findings():
    data = with_column(noise(300, seed=3))
    for family in (FLAT, RIDGE, gh.Gaussian()):
        report = gh.check(gh.GLMHMM(2, family, gh.InputDriven()), data)
        assert report.codes == () and not report.warns and len(report) == 0
        assert len(report.made) == 9


def test_an_exact_sum_of_columns_is_a_note_only_under_a_prior():
    data = with_column(X[:, 0] - 2 * X[:, 1])
    reports = [gh.check(gh.GLMHMM(1, family), data) for family in (FLAT, RIDGE)]
    assert [report.codes for report in reports] == [("collinear",)] * 2
    assert [report.warns for report in reports] == [True, False]


def test_a_near_sum_is_told_from_a_far_one_by_the_variance_inflation():
    for share, expected in ((0.13, ("collinear",)), (0.16, ())):
        # 1 / R of the others' sum: (1 + share^2 / 2) over share^2 / 2 is 119 or 79.
        own = noise(300, seed=2)
        design = np.column_stack([X, np.ones(300)])
        own -= design @ np.linalg.lstsq(design, own, rcond=None)[0]
        base = X.sum(1) - X.sum(1).mean()
        own *= share / np.sqrt(2) * base.std() / own.std()
        assert gh.check(gh.GLMHMM(1, FLAT), with_column(base + own)).codes == expected


def test_columns_count_where_they_bear_on_something_observed():
    column = np.where(np.arange(300) < 100, noise(300, seed=4), 0.0)
    mask = np.arange(300) >= 100
    data = with_column(column)
    assert gh.check(gh.GLMHMM(1, FLAT), data).codes == ()
    assert gh.check(gh.GLMHMM(1, FLAT), data.with_mask(mask)).codes == ("zero-columns",)


def test_separation_is_found_along_no_single_column_and_not_after_one_mistake():
    x = noise(300, 3)
    labels = (x @ [1.0, -2.0, 0.5] > 0).astype(int)
    model = gh.GLMHMM(2, FLAT)
    assert gh.check(model, gh.Sequences(labels, x)).codes == ("separation",)
    worst = np.abs(x @ [1.0, -2.0, 0.5]).argmax()
    labels[worst] = 1 - labels[worst]
    assert gh.check(model, gh.Sequences(labels, x)).codes == ()


def test_separation_agrees_with_a_search_of_all_directions():
    # Few rows of few values, so that it is often quasi-complete; no chance in it.
    rng, found = np.random.default_rng(5), []
    directions = np.array([(a, b) for a in range(-9, 10) for b in range(-9, 10)])
    for _ in range(30):
        x = rng.integers(-1, 2, (6, 2)).astype(float)
        labels = rng.integers(0, 2, 6)
        if len(set(labels)) < 2:
            continue
        signed = x * np.where(labels, 1, -1)[:, None] @ directions.T
        expected = ((signed >= 0).all(0) & (signed > 0).any(0)).any()
        report = gh.check(gh.GLMHMM(1, FLAT), gh.Sequences(labels, x))
        assert ("separation" in report.codes) == expected
        found.append(expected)
    assert 5 < sum(found) < len(found) - 5


def test_classes_that_never_come_are_named():
    data = gh.Sequences(2 * choices(), X, class_names=["left", "none", "right"])
    report = gh.check(gh.GLMHMM(1, gh.Categorical(3)), data)
    assert report.codes == ("unseen-classes",)
    assert "none" in report.findings[0].sentence


def test_more_transition_weights_than_switches_are_noted():
    data = gh.Sequences(choices(), X)
    report = gh.check(gh.GLMHMM(4, FLAT, gh.InputDriven()), data)
    assert report.codes == ("few-switches",) and not report.warns
    assert "24 free numbers" in report.findings[0].sentence
    assert "15 times" in report.findings[0].sentence


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.inference.ConvergenceWarning")
def test_numbers_that_vary_are_no_parameters_of_moves():
    """Two means of slow weights, four free shares of fast moves."""
    data = gh.Sequences(choices(24), np.ones((24, 1)), lengths=[4] * 6)
    slow = Varying(gh.Stationary(), "session", gh.priors.Ridge(1.0))
    model = gh.GLMHMM(Levels(2, 2), RIDGE, TwoLevels(slow))
    said = gh.check(model, data).table.sentence["few-switches"]
    assert f"have {2 + 4} free numbers" in said
    method = gh.MAP(num_iters=2)
    fit = gh.fit(model, data, method, num_restarts=1, progress=False)
    said = fit.check(data).table.sentence["few-slow-switches"]
    assert "each of their 2 parameters" in said and "give these a prior" in said


@pytest.mark.filterwarnings("ignore::glmhmm_pyro.inference.ConvergenceWarning")
def test_a_prior_is_not_advised_where_moves_have_one():
    data = gh.Sequences(choices(24), np.ones((24, 1)))
    drive = gh.InputDriven(gh.priors.Ridge(1.0))
    model = gh.GLMHMM(Levels(2, 2), RIDGE, TwoLevels(drive, drive))
    said = gh.check(model, data).table.sentence["few-switches"]
    assert said.endswith("fit fewer slow or fast states")
    flat = gh.GLMHMM(3, RIDGE, drive)
    said = gh.check(flat, data).table.sentence["few-switches"]
    assert "fit fewer states, or take fewer transition covariates" in said
    assert "prior" not in said
    method = gh.MAP(num_iters=2)
    fit = gh.fit(model, data, method, num_restarts=1, progress=False)
    said = fit.check(data).table.sentence["few-slow-switches"]
    assert said.endswith("is a guess: take fewer covariates, or more data")


def test_a_single_state_is_not_told_of_moves_or_fewer_states():
    few = gh.Sequences([0, 1, 1], [[1.0], [2.0], [3.0]])
    assert "few-switches" not in gh.check(gh.GLMHMM(1, RIDGE), few).codes
    two = gh.check(gh.GLMHMM(2, RIDGE), few).table.sentence["few-switches"]
    assert two.endswith("fit fewer states, or give the transitions a prior")
    three = gh.check(gh.GLMHMM(3, RIDGE, gh.InputDriven()), few)
    said = three.table.sentence["few-switches"]
    assert "transition covariates or gh.Stationary(), or give" in said
    for status in gh.Status:
        assert "states" not in status.advice_for(1)
    assert "fewer states" in gh.Status.UNBOUNDED.advice_for(2)
    late = np.repeat([0, 1], 100)
    model = gh.GLMHMM(1, gh.Bernoulli(gh.priors.Ridge(2.0)))
    fit = gh.fit(model, gh.Sequences(late), progress=False)
    said = fit.check(gh.Sequences(late)).table.sentence["drift"]
    assert said.endswith("add a covariate of time, or fit the halves apart")


def test_advice_on_states_of_two_levels_names_the_levels():
    family = ByLevel(gh.Bernoulli(), over="fast")
    model = gh.GLMHMM(Levels(2, 2), family, TwoLevels())
    assert fewer_of(model) == "fewer slow or fast states"
    steps = 40
    alike = torch.full((4, 4), 0.25).double().log()
    law = torch.distributions.Bernoulli(torch.full((steps, 4), 0.5).double())
    hidden = gh.HiddenMarkov(alike[:1], alike[None], law, torch.tensor([steps]))
    value = torch.zeros(steps).double()
    use = StateUse.of(hidden, value, list("abcd"), 1, "fewer slow or fast states")
    found = [finding.sentence for finding in unusable_states(use)]
    assert found and all("fit fewer slow or fast states" in said for said in found)


def test_a_model_of_ones_own_has_its_checks_left_out_with_a_reason():
    def model(data):
        return gh.GLMHMM(2, RIDGE)(data)

    report = gh.check(model, gh.Sequences(choices(), X))
    assert not report.made and set(report.left_out) >= {"separation"}


def made(weights, moves, steps=400, seed=0):
    """A fit at weights of a bias and these transitions, and data drawn from it."""
    number = len(weights)
    data = gh.Sequences(choices(steps), np.ones((steps, 1)))
    params = {
        "initial.probs": torch.full((number,), 1 / number).double(),
        "transitions.probs": torch.as_tensor(moves).double(),
        "emissions.weights": torch.tensor(weights).double()[:, None],
    }
    model = gh.GLMHMM(number, FLAT)
    drawn = fit_at(model, data, params, "the truth").simulate(data, seed)[0]
    return fit_at(model, drawn, params, "the truth"), drawn


def test_states_that_are_used_have_no_findings():
    fit, data = made([2.0, -2.0], sticky(2))
    assert fit.check(data).codes == ()


def test_empty_states_are_unusable_and_named():
    moves = np.array([[0.95, 0.05, 0.0], [0.05, 0.95, 0.0], [0.5, 0.5, 0.0]])
    fit, data = made([2.0, -2.0, 0.0], moves)
    fit = fit_at(
        fit.model,
        data,
        {**fit.params, "initial.probs": torch.tensor([0.5, 0.5, 0.0]).double()},
        "the truth",
    ).named(["left", "right", "nowhere"])
    report = fit.check(data)
    assert report.codes == ("empty-states",)
    assert report.findings[0].severity == "unusable"
    assert "nowhere" in report.findings[0].sentence


def test_twins_are_unusable_and_phases_a_warning():
    fit, data = made([2.0, -2.0, -2.0], sticky(3))
    assert fit.check(data).codes == ("twin-states",)
    # Left to right: the second half of a visit, and so no copy of the first.
    moves = np.array([[0.9, 0.1, 0.0], [0.0, 0.9, 0.1], [0.1, 0.0, 0.9]])
    fit, data = made([2.0, -2.0, -2.0], moves)
    assert fit.check(data).codes == ("alike-states",)


@pytest.mark.parametrize("weight, code", [(-1.02, "twin"), (-1.2, "alike"), (0.0, "")])
def test_states_are_alike_by_the_expected_log_likelihood_ratio(weight, code):
    fit, data = made([2.0, -1.0, weight], sticky(3))
    probs, y = fit.decode(data).smoothed_probs.values, data.emissions.numpy()
    right = 1 / (1 + np.exp(-np.array([2.0, -1.0, weight])))
    logs = np.log(np.where(y[:, None] == 1, right, 1 - right))
    ratio = np.sum((probs[:, 1] - probs[:, 2]) * (logs[:, 1] - logs[:, 2]))
    assert weights_of_a_state(fit.model, fit.params) == 1
    # One weight: less than a twentieth of a nat, or one nat.
    assert (ratio < 0.05, ratio < 1) == (code == "twin", code != "")
    assert fit.check(data).codes == ((f"{code}-states",) if code else ())


def test_states_that_vanish_are_a_warning():
    moves = np.array([[0.97, 0.029, 0.001], [0.029, 0.97, 0.001], [0.5, 0.5, 0.0]])
    fit, data = made([2.0, -2.0, 0.0], moves)
    assert "vanishing-states" in fit.check(data).codes


def test_a_prior_of_states_is_not_advised_where_they_have_one():
    """Moves of which one is made, and a state of a few steps, are doubtful."""
    moves = np.array([[0.996, 0.002, 0.002], [0.002, 0.996, 0.002], [0.5, 0.5, 0.0]])
    fit, data = made([2.0, -2.0, 0.0], moves, steps=150, seed=1)
    flat = fit.check(data).table.sentence
    assert flat["few-switches"].endswith("these transitions, or give them a prior")
    assert flat["vanishing-states"].endswith("or give the weights a prior")
    held = gh.GLMHMM(3, RIDGE, gh.Stationary(gh.priors.Sticky(5.0)))
    said = fit_at(held, data, fit.params, "the truth").check(data).table.sentence
    assert said["few-switches"].endswith("do not interpret these transitions")
    assert said["vanishing-states"].endswith("weights: fit fewer states")


def test_a_prior_of_columns_is_not_advised_where_weights_have_one():
    """The mean of weights that vary has one, or these walk from a known start."""
    x = np.repeat(noise(60, 1, seed=4), 2, 1)
    data = gh.Sequences(choices(60), x, lengths=[20] * 3)
    ridge = gh.priors.Ridge(1.0)
    without = [FLAT, Varying(FLAT, law=ridge)]
    held = [RIDGE, Varying(RIDGE, law=ridge), Varying(FLAT, law="walk")]
    for family in without + held:
        said = gh.check(gh.GLMHMM(1, family), data).table.sentence["collinear"]
        assert ("prior" in said) is any(family is one for one in without)


def test_gh_fit_warns_of_states_to_spare_and_names_no_numbers():
    _, data = made([2.0, -2.0], sticky(2), steps=200)
    # EM never tells apart what begins alike.
    init = {"emissions.weights": [[2.0], [-2.0], [-2.0]]}
    options = {"num_restarts": 1, "init": init, "init_noise": 0.0}
    with pytest.warns(gh.ConvergenceWarning, match="of 3 states 1 repeats another"):
        fit = gh.fit(gh.GLMHMM(3, RIDGE), data, tol=1e-2, progress=False, **options)
    assert fit.status is gh.Status.CONVERGED
    assert any("of 3 states" in note for note in fit.notes)
    assert fit.check(data).codes == ("twin-states",)


def test_reports_are_in_order_of_severity_and_tables_hold_all():
    findings = [
        Finding("a", "note", "A: do b."),
        Finding("c", "unusable", "C: do d.", 0.01),
        Finding("a", "note", "A: do b."),
    ]
    report = Report.of("x", findings, ["one"], {"two": "<none>"})
    assert [f.code for f in report] == ["c", "a"] and report.warns
    assert list(report.table.index) == ["c", "a"]
    assert report.table.p_value.tolist()[0] == 0.01
    assert repr(report).startswith("Checks of x: 1 unusable, 1 note; 1 check made")
    assert "&lt;none&gt;" in report._repr_html_()


@pytest.mark.parametrize("steps, states", [(1, 2), (1, 3), (2, 3), (3, 5)])
def test_of_few_steps_not_all_states_are_empty(steps, states):
    alike = torch.full((states, states), 1 / states).double().log()
    law = torch.distributions.Bernoulli(torch.full((steps, states), 0.5).double())
    hidden = gh.HiddenMarkov(alike[:1], alike[None], law, torch.tensor([steps]))
    names = [str(k) for k in range(states)]
    use = StateUse.of(hidden, torch.zeros(steps).double(), names, 1)
    torch.testing.assert_close(
        use.visits, torch.full((states,), steps / states).double()
    )
    assert use.empty() == []
    probs = torch.zeros(steps, states).double()
    probs[:, 0] = 1.0
    assert replace(use, probs=probs).empty() == list(range(1, states))
