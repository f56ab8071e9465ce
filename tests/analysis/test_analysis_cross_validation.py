"""Strengths of penalties: against a loop by hand, chosen as the rules say, drawn."""

import math
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from families import normals
from inference_cases import clear_data
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut, ShuffleSplit

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import cross_validate
from glmhmm_pyro.analysis.held_out import chosen

QUICK = {"num_restarts": 1, "progress": False}
STRENGTHS = (10.0, 0.1, 1000.0)


def ridge(strength, states=1):
    """A model whose emission weights have this precision."""
    even = torch.distributions.Dirichlet(torch.full((states,), 2.0))
    emissions = gh.Bernoulli(prior=gh.priors.Ridge(strength**-0.5))
    return gh.GLMHMM(states, emissions, gh.Stationary(even), gh.Initial(even))


def two_states(strength):
    return ridge(strength, 2)


@pytest.fixture(scope="module")
def sessions():
    return clear_data(lengths=(30, 25, 40, 20, 35, 30))


def by_hand(data, splits, strengths, method="map"):
    """Nats above the frequencies of training (sessions, strengths); steps.

    Of fits that begin afresh at every strength, one session after the other.
    """
    gains = np.full((data.num_sessions, len(strengths)), np.nan)
    for train, test in splits:
        fitted = data.subset(train)
        share = fitted.emissions.double().mean().item()
        for column, strength in enumerate(strengths):
            fit = gh.fit(ridge(strength), fitted, method, **QUICK)
            for session in test:
                one = data.subset([session])
                y = one.emissions.numpy()
                expected = np.log(np.where(y, share, 1 - share)).sum()
                gains[session, column] = fit.score(one) * len(y) - expected
    return gains, data.lengths.numpy()


def ratio(values, steps, units=None):
    """Bits per step and their standard error over units, written out."""
    units = np.arange(len(values)) if units is None else np.asarray(units)
    rate = values.sum() / steps.sum()
    rests = [(values - rate * steps)[units == unit].sum() for unit in set(units)]
    number = len(rests)
    error = math.sqrt(sum(r**2 for r in rests) / number / (number - 1)) * number
    return rate / math.log(2), error / steps.sum() / math.log(2)


def test_scores_are_those_of_a_loop_over_folds_and_strengths(sessions):
    found = cross_validate(ridge, sessions, STRENGTHS, folds=3, seed=4, **QUICK)
    splits = KFold(3, shuffle=True, random_state=4).split(np.arange(6))
    strengths = sorted(STRENGTHS)
    gains, steps = by_hand(sessions, splits, strengths)
    table, best = found.table, gains.sum(0).argmax()
    assert table.index.tolist() == strengths
    # One state: a single maximum, however it is reached.
    for column, strength in enumerate(strengths):
        own = ratio(gains[:, column], steps)
        pair = ratio(gains[:, column] - gains[:, best], steps)
        np.testing.assert_allclose(table.loc[strength].iloc[:4], own + pair, atol=1e-5)
    assert (table["num_converged"] == 3).all()
    assert found.best == strengths[best]
    assert (table["difference"] <= 0).all()


def test_the_fit_is_of_all_sessions_at_the_strength_chosen(sessions):
    found = cross_validate(ridge, sessions, STRENGTHS, folds=3, **QUICK)
    expected = gh.fit(ridge(found.best), sessions, "map", **QUICK)
    assert found.fit.log_joint == pytest.approx(expected.log_joint, abs=1e-8)
    assert found.fit.labels.sessions == sessions.session_names


def test_groups_are_held_out_whole_and_splitters_are_taken(sessions):
    animals = ["a", "a", "b", "b", "b", "c"]
    for folds, splitter in ((3, GroupKFold(3)), (LeaveOneGroupOut(),) * 2):
        found = cross_validate(
            ridge, sessions, [1.0, 10.0], folds=folds, groups=animals, **QUICK
        )
        splits = splitter.split(np.arange(6), groups=animals)
        gains, steps = by_hand(sessions, list(splits), [1.0, 10.0])
        own = [ratio(gains[:, column], steps, animals) for column in range(2)]
        columns = ["held_out_bits_per_step", "standard_error"]
        np.testing.assert_allclose(found.table[columns], own, atol=1e-5)


def test_processes_give_the_numbers_that_a_single_one_gives(sessions):
    one, two = (
        cross_validate(
            two_states, sessions, [0.5, 5.0], folds=2, num_jobs=jobs, **QUICK
        )
        for jobs in (1, 2)
    )
    pd.testing.assert_frame_equal(one.table, two.table)


def test_every_fit_of_a_path_begins_where_the_one_before_ended(sessions, monkeypatch):
    starts = []

    def watched(model, data, engine, **options):
        found = original(model, data, engine, **options)
        starts.append((options["init"], found.params))
        return found

    module = gh.analysis.cross_validation
    original = module.whole_fit
    monkeypatch.setattr(module, "whole_fit", watched)
    cross_validate(two_states, sessions, [0.5, 5.0, 50.0], folds=2, **QUICK)
    assert starts[0][0] is None and starts[3][0] is None
    for (_, before), (init, _) in zip(starts[:2], starts[1:3]):
        torch.testing.assert_close(
            init["emissions.weights"], before["emissions.weights"]
        )
        assert init["initial.probs"].min() > 1e-3
        torch.testing.assert_close(init["initial.probs"].sum().item(), 1.0)


def test_one_standard_error_takes_the_strongest_penalty_that_is_near_the_best():
    """Near by the error of the difference, however uncertain each score is."""
    table = pd.DataFrame(
        {
            "held_out_bits_per_step": [-0.60, -0.50, -0.52, -0.53, -0.58],
            "standard_error": [0.01, 0.1, 0.1, 0.1, 0.1],
            "difference": [-0.1, 0.0, -0.02, -0.03, -0.08],
            "difference_error": [0.09, 0.0, 0.025, 0.029, 0.07],
        },
        index=[0.1, 1.0, 10.0, 100.0, 1000.0],
    )
    assert chosen(table[::-1], "best", "models") == 1.0
    assert chosen(table[::-1], "one_standard_error", "models") == 10.0
    assert chosen(table, "one_standard_error", "models") == 1.0


def test_the_evidence_chooses_the_strength_at_which_it_is_largest(sessions):
    found = cross_validate(ridge, sessions, STRENGTHS, criterion="evidence", **QUICK)
    expected = [
        gh.analysis.log_evidence(
            gh.fit(ridge(strength), sessions, "map", **QUICK), sessions
        )
        for strength in sorted(STRENGTHS)
    ]
    np.testing.assert_allclose(found.table["log_evidence"], expected, atol=1e-6)
    assert found.best == sorted(STRENGTHS)[int(np.argmax(expected))]
    assert found.fit.log_joint == pytest.approx(
        gh.fit(ridge(found.best), sessions, "map", **QUICK).log_joint, abs=1e-8
    )


def test_strengths_recover_the_order_of_size_of_the_weights():
    """Weights drawn at a known precision: neither far weaker nor far stronger."""
    x = normals(600, 20, seed=1)
    weights = normals(20, seed=2) / 10.0**0.5
    noise = torch.rand(600, generator=torch.Generator().manual_seed(3)).double()
    y = (noise < (x @ weights).sigmoid()).long()
    data = gh.Sequences(y, x, lengths=[60] * 10)
    path = [0.01, 1.0, 10.0, 100.0, 10_000.0]
    for criterion in ("held_out", "evidence"):
        found = cross_validate(ridge, data, path, criterion=criterion, **QUICK)
        assert 1.0 <= found.best <= 100.0


@pytest.mark.parametrize("rule", ["best", "one_standard_error"])
def test_the_picture_shows_scores_errors_and_the_choice(sessions, rule):
    matplotlib.use("Agg")
    found = cross_validate(ridge, sessions, STRENGTHS, folds=3, rule=rule, **QUICK)
    ax = gh.plotting.penalty_path(found)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), found.table.index)
    np.testing.assert_allclose(
        ax.lines[0].get_ydata(), found.table["held_out_bits_per_step"]
    )
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert f"chosen: {found.best:g}" in texts
    assert "best" in texts
    assert ax.get_xscale() == "log"
    matplotlib.pyplot.close("all")


def test_the_picture_of_an_evidence_and_of_a_strength_of_0(sessions):
    matplotlib.use("Agg")

    def none_or_ridge(strength):
        return ridge(strength) if strength else gh.GLMHMM(1, gh.Bernoulli())

    ax = gh.plotting.penalty_path(
        cross_validate(none_or_ridge, sessions, [0.0, 1.0], folds=2, **QUICK)
    )
    assert ax.get_xscale() == "symlog"
    by_evidence = cross_validate(
        ridge, sessions, [1.0, 2.0], criterion="evidence", **QUICK
    )
    assert "evidence" in gh.plotting.penalty_path(by_evidence).get_ylabel()
    matplotlib.pyplot.close("all")


def test_wrong_arguments_are_named(sessions):
    def call(make_model=ridge, data=sessions, strengths=(1.0, 2.0), **options):
        cross_validate(make_model, data, strengths, **QUICK, **options)

    with pytest.raises(ValueError, match="at least two different, finite numbers"):
        call(strengths=[1.0, 1.0])
    with pytest.raises(ValueError, match="folds must be from 2 to the 6 sessions"):
        call(folds=7)
    with pytest.raises(ValueError, match="folds must be from 2 to the 2 groups"):
        call(folds=3, groups=[0, 0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match="groups must have an entry for each of the 6"):
        call(groups=[0, 1])
    with pytest.raises(ValueError, match="groups must name .* none for session 1"):
        call(folds=2, groups=["a", None, "b", "b", "c", "c"])
    with pytest.raises(ValueError, match="at least 2 sessions.*criterion='evidence'"):
        call(data=sessions.subset([0]))
    with pytest.raises(ValueError, match="strengths must be a list of numbers, got 5"):
        call(strengths=5)
    with pytest.raises(ValueError, match="at least 2 splits"):
        call(folds=ShuffleSplit(n_splits=1))
    with pytest.raises(TypeError, match="or a splitter of scikit-learn such as"):
        call(folds="five")
    with pytest.raises(ValueError, match="rule must be one of best, one_standard"):
        call(rule="worst")
    with pytest.raises(ValueError, match="rule must be 'best' with criterion"):
        call(rule="one_standard_error", criterion="evidence")
    with pytest.raises(ValueError, match="criterion must be one of held_out, evidence"):
        call(criterion="aic")
    with pytest.raises(TypeError, match="make_model must return a GLMHMM, got str"):
        call(make_model=str)
    by_session = "make_model must give all sessions .*Initial.per_session=False"
    with pytest.raises(ValueError, match=by_session):
        call(lambda _: gh.GLMHMM(2, gh.Bernoulli(), initial=gh.Initial(None, True)))
    with pytest.raises(TypeError, match="data must be a Sequences, got a list"):
        call(data=[1])
    with pytest.raises(ValueError, match="num_jobs must be a number of processes"):
        call(num_jobs=0)


def test_a_flat_prior_has_no_evidence(sessions):
    with pytest.raises(ValueError, match="be proper .* flat ones of emissions.weights"):
        cross_validate(
            lambda strength: gh.GLMHMM(1, gh.Bernoulli()),
            sessions,
            [1.0, 2.0],
            criterion="evidence",
            **QUICK,
        )


def test_an_interrupt_ends_the_whole_of_it_and_not_a_single_fit(sessions):
    calls = []

    class Interrupted(gh.MAP):
        def fit(self, program, search):
            calls.append(program)
            found = super().fit(program, search)
            return replace(found, status=gh.Status.INTERRUPTED)

    with pytest.raises(KeyboardInterrupt):
        cross_validate(ridge, sessions, STRENGTHS, method=Interrupted(), **QUICK)
    assert len(calls) == 1


def test_a_fold_without_an_observed_step_is_refused_before_anything_is_fitted(sessions):
    mask = np.ones(sessions.num_steps, dtype=bool)
    mask[sessions.session_rows(2)] = False
    masked = sessions.with_mask(mask)
    with pytest.raises(ValueError, match="an observed step, got none in sessions .2.;"):
        cross_validate(ridge, masked, STRENGTHS, folds=6, **QUICK)
    found = cross_validate(ridge, masked, STRENGTHS, folds=np.int64(3), **QUICK)
    assert np.isfinite(found.table.to_numpy()).all()
    with pytest.raises(
        ValueError, match="data must have an observed step to be scored"
    ):
        found.fit.score(masked.subset([2]))


@pytest.mark.parametrize("rule", ["best", "one_standard_error"])
def test_sessions_that_are_impossible_at_every_strength_choose_none(rule):
    columns = {"difference": [np.nan, np.nan], "difference_error": np.nan}
    table = pd.DataFrame(columns, index=[1.0, 2.0])
    with pytest.raises(ValueError, match="sessions held out are possible"):
        chosen(table, rule, "make_model")
    table.loc[1.0] = (0.0, 0.0)
    assert chosen(table, rule, "make_model") == 1.0


@pytest.mark.parametrize(
    "family, said",
    [
        (gh.Bernoulli, "covariates must have one constant column at most.*got x0, x1"),
        (gh.Gaussian, "emissions must vary for Gaussian.*leave the output out"),
    ],
)
def test_a_fold_that_cannot_be_fitted_is_named_before_any_is(family, said):
    y, x = normals(40).numpy(), np.ones((40, 2))
    if family is gh.Bernoulli:
        y = (y > 0).astype(int)
        x[20:30, 1] = np.arange(10)
    else:
        x = normals(40, seed=3).numpy()[:, None]
        y[:20], y[30:] = 1.5, 1.5
    data = gh.Sequences(y, x, lengths=[10] * 4, session_names=list("abcd"))
    made = []

    def flat(strength):
        made.append(strength)
        return gh.GLMHMM(1, family())

    leaves = KFold(4)
    words = rf"^folds must .* got fold 3 of 4, without session c, of which: {said}"
    with pytest.raises(ValueError, match=words):
        cross_validate(flat, data, [1.0, 2.0], folds=leaves, **QUICK)
    assert made == [1.0]
