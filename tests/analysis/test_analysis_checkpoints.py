"""Long calls that are interrupted or killed: what is done is kept, and they go on."""

import os
import signal
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch
from inference_cases import clear_data
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.analysis import (
    bootstrap,
    cross_validate,
    maximise_evidence,
    simulation_based_calibration,
)
from glmhmm_pyro.inference import journal
from glmhmm_pyro.inference.fits.checkpoint import Checkpoint
from glmhmm_pyro.inference.fits.digests import digest
from glmhmm_pyro.inference.steps.steps import ComponentSteps

QUICK = {"num_restarts": 1, "progress": False}


def ridge(strength):
    return gh.GLMHMM(1, gh.Bernoulli(prior=gh.priors.Ridge(strength**-0.5)))


@pytest.fixture(scope="module")
def data():
    return clear_data(lengths=(20, 15, 25, 20))


@pytest.fixture(scope="module")
def fit(data):
    return gh.fit(ridge(1.0), data, "map", **QUICK)


def validated(data, fit, **options):
    return cross_validate(ridge, data, [1.0, 5.0], folds=4, **QUICK, **options)


def bootstrapped(data, fit, num_samples=4, **options):
    return bootstrap(fit, data, num_samples, progress=False, **options)


def calibrated(data, fit, **options):
    return simulation_based_calibration(
        ridge(1.0),
        data,
        "laplace",
        num_simulations=4,
        num_draws=7,
        progress=False,
        **options,
    )


CALLS = [validated, bootstrapped, calibrated]


def figures(result):
    """The numbers that a call returns."""
    if isinstance(result, gh.analysis.CrossValidation):
        return result.table.to_numpy()
    if isinstance(result, gh.analysis.Bootstrap):
        return result.replicates["emissions.weights"].values
    return result.ranks


def break_off(monkeypatch, after, how):
    """Do something in place of the parts after so many."""
    add, done = Checkpoint.add, []

    def added(self, number, result):
        add(self, number, result)
        done.append(number)
        if len(done) == after:
            how()

    monkeypatch.setattr(Checkpoint, "add", added)


def interrupt():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def killed_with(function):
    """The signal that ended a child process which ran a function."""
    child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os._exit(1)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("call", CALLS)
def test_a_killed_call_goes_on_to_the_result_of_an_uninterrupted_one(
    call, data, fit, tmp_path, monkeypatch
):
    path, expected = tmp_path / "parts", figures(call(data, fit))
    with monkeypatch.context() as patched:
        break_off(patched, 2, kill)
        ended = killed_with(lambda: call(data, fit, checkpoint=path))
    assert ended == signal.SIGKILL
    assert [file.name for file in tmp_path.iterdir()] == ["parts"]
    made = []
    add = Checkpoint.add
    monkeypatch.setattr(
        Checkpoint, "add", lambda *args: (made.append(args[1]), add(*args))
    )
    again = call(data, fit, checkpoint=path)
    assert again.complete and made == [2, 3]
    np.testing.assert_array_equal(figures(again), expected)
    # There is nothing left to do: the file has all of it.
    np.testing.assert_array_equal(figures(call(data, fit, checkpoint=path)), expected)
    assert made == [2, 3]


@pytest.mark.parametrize(
    "call, num_jobs", [*[(call, 1) for call in CALLS], (bootstrapped, 2)]
)
def test_an_interrupted_call_returns_what_is_done_and_goes_on(
    call, num_jobs, data, fit, tmp_path, monkeypatch
):
    path = tmp_path / "parts"
    options = {"checkpoint": path, "num_jobs": num_jobs}
    with monkeypatch.context() as patched:
        break_off(patched, 2, interrupt)
        with pytest.warns(gh.ConvergenceWarning, match="interrupted after 2 of 4"):
            first = call(data, fit, **options)
    assert not first.complete
    again = call(data, fit, **options)
    assert again.complete
    np.testing.assert_array_equal(figures(again), figures(call(data, fit)))
    if call is not validated:
        np.testing.assert_array_equal(figures(first), figures(again)[:2])


def test_folds_done_before_an_interrupt_make_the_table(data, fit, monkeypatch):
    whole, scores, calls = validated(data, fit), [], []
    original = gh.analysis.cross_validation.whole_fit

    def interrupted(*args, **options):
        calls.append(args)
        if len(calls) == 6:  # The second strength of the third fold.
            raise KeyboardInterrupt
        return original(*args, **options)

    monkeypatch.setattr(gh.analysis.cross_validation, "whole_fit", interrupted)
    with pytest.warns(gh.ConvergenceWarning, match="interrupted after 2 of 4 folds"):
        found = validated(data, fit)
    assert found.fit is None and not found.complete
    assert "(interrupted)" in repr(found)
    monkeypatch.undo()
    splits = gh.analysis.folds.splits_of(data, 4, None, 0)
    for train, test in splits[:2]:
        ends = [
            gh.fit(ridge(s), data.subset(train), "map", **QUICK) for s in (1.0, 5.0)
        ]
        held_out = data.subset(test)
        gains = [e.score(held_out, units="bits") * held_out.num_steps for e in ends]
        scores.append([*gains, held_out.num_steps])
    *totals, steps = np.sum(scores, 0)
    np.testing.assert_allclose(
        found.table["held_out_bits_per_step"], np.divide(totals, steps), atol=1e-6
    )
    assert whole.complete and whole.fit is not None


def test_an_interrupt_before_anything_is_done_goes_on(data, fit, monkeypatch):
    for name in ("cross_validation", "bootstrap", "calibration"):
        # A function of the package has the name of its module.
        module = import_module(f"glmhmm_pyro.analysis.{name}")
        monkeypatch.setattr(module, "whole_fit", lambda *a, **o: interrupt())
    for call in CALLS:
        with pytest.raises(KeyboardInterrupt):
            call(data, fit)


def test_searches_for_the_evidence_keep_what_they_found(data, monkeypatch):
    original, calls = gh.analysis.learnt_scales.expand_at_mode, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(gh.analysis.learnt_scales, "expand_at_mode", interrupted)
    with pytest.warns(gh.ConvergenceWarning, match="stopped before its end"):
        found = maximise_evidence(
            lambda scale: ridge(scale**-2.0), {"scale": 1.0}, data, progress=False
        )
    assert len(found.table) == 2 and not found.converged


def test_a_path_by_the_evidence_keeps_the_strengths_that_are_done(data, monkeypatch):
    original, calls = gh.analysis.cross_validation.whole_fit, []

    def interrupted(*args, **options):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args, **options)

    monkeypatch.setattr(gh.analysis.cross_validation, "whole_fit", interrupted)
    with pytest.warns(gh.ConvergenceWarning, match="after 2 of 3 strengths"):
        found = cross_validate(
            ridge, data, [1.0, 2.0, 3.0], criterion="evidence", **QUICK
        )
    assert found.table.index.tolist() == [1.0, 2.0] and not found.complete


def test_more_replicates_go_on_from_fewer(data, fit, tmp_path):
    path = tmp_path / "parts"
    bootstrapped(data, fit, 2, checkpoint=path)
    more = bootstrapped(data, fit, 4, checkpoint=path)
    np.testing.assert_array_equal(figures(more), figures(bootstrapped(data, fit)))
    fewer = bootstrapped(data, fit, 3, checkpoint=path)
    assert fewer.complete and len(figures(fewer)) == 3


def test_a_checkpoint_of_another_call_is_refused(data, fit, tmp_path):
    path = tmp_path / "parts"
    bootstrapped(data, fit, checkpoint=path)
    before = path.read_bytes()
    other = gh.fit(ridge(3.0), data, "map", **QUICK)
    flipped = data.replace(emissions=1 - data.emissions)
    for call, message in (
        (lambda: validated(data, fit, checkpoint=path), "whose call is 'bootstrap'"),
        (lambda: bootstrapped(data, other, checkpoint=path), "with another fit;"),
        (lambda: bootstrapped(flipped, fit, checkpoint=path), "with another data;"),
        (
            lambda: bootstrapped(data, fit, seed=1, checkpoint=path),
            "with another options;",
        ),
        (
            lambda: bootstrapped(data, fit, method=gh.MAP(tol=1e-4), checkpoint=path),
            "with another options;",
        ),
    ):
        with pytest.raises(ValueError, match=f"checkpoint must be.*parts.*{message}"):
            call()
    assert path.read_bytes() == before


def test_no_other_file_is_ever_taken_for_a_checkpoint(data, fit, tmp_path):
    path = tmp_path / "parts"
    bootstrapped(data, fit, 2, checkpoint=path)
    whole = path.read_bytes()
    damaged = whole.replace(b"CONVERGED", b"CONVERGES", 1)
    assert damaged != whole
    for content in (b"", b"my notes", b"[]", whole[:-9], damaged, b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match="checkpoint must be a new path.*no intact"
        ):
            bootstrapped(data, fit, checkpoint=path)
        assert path.read_bytes() == content
    fit.save(path)
    with pytest.raises(ValueError, match="checkpoint must be a new path.*no intact"):
        bootstrapped(data, fit, checkpoint=path)


def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_first_fit(
    data, fit, tmp_path, monkeypatch
):
    monkeypatch.setattr(gh.analysis.refits, "quiet_fit", None)
    for call in CALLS:
        with pytest.raises(FileNotFoundError, match="checkpoint must be where.*no fol"):
            call(data, fit, checkpoint=tmp_path / "no" / "parts")
        with pytest.raises(TypeError, match="checkpoint must be the path.*got 3"):
            call(data, fit, checkpoint=3)
    with pytest.raises(ValueError, match="checkpoint must be None with criterion='ev"):
        validated(data, fit, criterion="evidence", checkpoint=tmp_path / "parts")


def add_one(x):
    return x + 1


def test_digests_tell_what_differs_and_nothing_else():
    def enclosing(number):
        return lambda shape: Normal(0.0, number).expand(shape)

    def model(prior, states=2):
        return gh.GLMHMM(states, gh.Bernoulli(prior=prior))

    alike = [
        (model(Normal(0.0, 1.0)), model(Normal(0.0, 1.0))),
        (model(enclosing(1.0)), model(enclosing(1.0))),
        (gh.MAP(tol=1e-3), gh.MAP(tol=1e-3)),
        (Dirichlet(torch.ones(2)), Dirichlet(torch.ones(2))),
        (clear_data(), clear_data()),
        (add_one, add_one),
    ]
    for one, other in alike:
        assert digest(one) == digest(other)
    unlike = [
        *[one for one, _ in alike],
        model(Normal(0.0, 2.0)),
        model(Normal(0.0, 1.0), 3),
        model(enclosing(2.0)),
        gh.MAP(tol=1e-4),
        Dirichlet(torch.ones(3)),
        Dirichlet(torch.ones(2) * 2),
        clear_data(mask=True),
        clear_data().replace(session_names=list("abcdefgh")[: len(clear_data())]),
        None,
        1,
        1.0,
        "1",
        ["1", "2"],
        [["1"], "2"],
        torch.ones(2),
        torch.ones(2, 1),
        np.ones(2),
        pd.Series([1.0]),
    ]
    assert len({digest(value) for value in unlike}) == len(unlike)


def chosen(data, **options):
    def make_model(num_states):
        return gh.GLMHMM(num_states, gh.Bernoulli(gh.priors.Ridge(2.0)))

    options = {"folds": 2, **QUICK, **options}
    return gh.analysis.choose_num_states(make_model, data, [1, 2], **options)


@pytest.mark.parametrize("after", [10, 60])
def test_a_choice_killed_in_the_midst_of_a_fit_goes_on_within_it(
    after, data, tmp_path, monkeypatch
):
    path, made, expect = tmp_path / "study", [], ComponentSteps.expect

    def counted(*args):
        made.append(1)
        return expect(*args)

    monkeypatch.setattr(ComponentSteps, "expect", counted)
    expected, whole = chosen(data), len(made)
    monkeypatch.setattr(journal, "EVERY", 0.0)
    monkeypatch.setattr(journal, "SHARE", 0.0)
    keep, kept = Checkpoint.keep, []

    def dies(self, results):
        keep(self, results)
        kept.extend(results)
        if len(kept) == after:
            kill()

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "keep", dies)
        ended = killed_with(lambda: chosen(data, checkpoint=path))
    assert ended == signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2  # A fit was on its way.
    made.clear()
    again = chosen(data, checkpoint=path)
    # Beside iterations, ends of loops and results of fits were kept.
    assert whole - after <= len(made) <= whole - after + 13
    assert [file.name for file in tmp_path.iterdir()] == ["study"]
    pd.testing.assert_frame_equal(again.table, expected.table, check_exact=True)
    pd.testing.assert_frame_equal(again.folds, expected.folds, check_exact=True)
    assert digest(again.fit.params) == digest(expected.fit.params)


def test_files_of_parts_that_are_something_else_are_left_alone(data, tmp_path):
    path, notes = tmp_path / "study", tmp_path / "study.part1"
    notes.write_text("my notes")
    expected = chosen(data).table
    found = chosen(data, checkpoint=path).table
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert notes.read_text() == "my notes"
