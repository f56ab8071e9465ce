"""Fits that are killed go on from their checkpoint to the numbers they would have had.

Real processes are killed by SIGKILL at moments at which the file is written, which here
is whenever a loop could go on. Equality is to the last bit everywhere.
"""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from unittest import mock

import pyro
import pyro.distributions as dist
import pytest
import torch
from inference_cases import clear_data
from torch.distributions import Dirichlet, Normal

import glmhmm_pyro as gh
from glmhmm_pyro.inference import journal
from glmhmm_pyro.inference.fits import checkpoint, files
from glmhmm_pyro.inference.fits.checkpoint import Checkpoint
from glmhmm_pyro.inference.fits.digests import digest
from glmhmm_pyro.inference.journal import LongLoop
from glmhmm_pyro.inference.nuts import chains
from glmhmm_pyro.inference.nuts.chain_files import ChainFile
from glmhmm_pyro.inference.steps.steps import ComponentSteps

ROW = Dirichlet(torch.tensor([2.0, 1.0], dtype=torch.float64))
SCALE = 2.0


def model(scale=1.0):
    weights = gh.Bernoulli(prior=Normal(0.0, scale))
    return gh.GLMHMM(2, weights, gh.Stationary(prior=ROW), gh.Initial(prior=ROW))


def doubled(value):
    return value * SCALE


def own(data):
    """A model of the user's own, which reads a function and a number beside it."""
    zeros, ones = torch.zeros(2, 2).double(), torch.ones(2, 2).double()
    weights = pyro.sample("weights", dist.Normal(zeros, doubled(1.0)).to_event(2))
    rows = dist.Dirichlet(ones + 4 * torch.eye(2)).to_event(1)
    stay = pyro.sample("stay", rows)
    hidden = gh.HiddenMarkov(
        zeros[:1],
        stay.log()[None],
        dist.Bernoulli(logits=data.covariates @ weights.mT),
        data.lengths,
    )
    pyro.sample("y", hidden, obs=data.emissions)


SVI = {"num_steps": 30, "window": 10, "learning_rate": 0.05, "num_samples": 20}
NUTS = {"num_samples": 6, "num_warmup": 12, "num_chains": 2, "parallel": False}
SESSIONS = {"subsample_sessions": 2, "num_particles": 2}
GIVEN = {"init": "glm"}

# Methods and options.
CASES = {
    "EM": (gh.EM(), {}),
    "EM of given starts": (gh.EM(num_iters=25, keep_weights=True), GIVEN),
    "annealed EM": (
        gh.EM(num_iters=9, inverse_temperatures=[0.2, 0.5, 0.8]),
        {"init": "random"},
    ),
    "MAP": (gh.MAP(), {}),
    "MAP without EM": (gh.MAP(em_iters=0), {"init": "random"}),
    "Laplace": (gh.Laplace(num_samples=20), {}),
    "SVI": (gh.SVI(**SVI), {}),
    "SVI by sessions": (gh.SVI("low_rank", **SVI, **SESSIONS), {}),
}
SAMPLED = {"NUTS": (gh.NUTS(**NUTS, dense_mass=True), {})}


@pytest.fixture(scope="module")
def data():
    return clear_data(lengths=(20, 15, 25))


@pytest.fixture
def always(monkeypatch):
    """The file is written whenever a loop could go on."""
    monkeypatch.setattr(journal, "EVERY", 0.0)
    monkeypatch.setattr(journal, "SHARE", 0.0)


def fitted(name, data, made=model, **options):
    method, known = {**CASES, **SAMPLED}[name]
    options = {"num_restarts": 2, "progress": False, **known, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gh.ConvergenceWarning)
        return gh.fit(made() if made is model else made, data, method, **options)


def numbers(fit):
    """All that a fit found, for comparison to the last bit."""
    found = [fit.params, fit.log_joint, fit.log_likelihood, fit.status, fit.notes]
    found += [fit.weights, fit.best, fit.rounds_without_gain]
    found += [(r.log_joints, r.status, r.kind) for r in fit.restarts]
    found += [(s.params, s.starts, s.kicks) for s in fit.solutions]
    if fit.posterior is not None:
        found += [fit.posterior.draws, fit.posterior.stats, fit.posterior.elbo]
    return digest(found)


def writings(function):
    """How often a call could write its file."""
    real = {"autospec": True, "side_effect": Checkpoint.keep}
    with mock.patch.object(Checkpoint, "keep", **real) as counted:
        function()
    return counted.call_count


def ended_by(function):
    """The signal that ended a child which calls a function, if any did."""
    child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)


def killed(after, function):
    """The signal that ended a child after it kept so much, if any did."""

    def run():
        done, keep = [], Checkpoint.keep

        def counted(*args, **options):
            keep(*args, **options)
            done.append(1)
            if len(done) == after:
                kill_myself()

        Checkpoint.keep = counted
        function()

    return ended_by(run)


def killed_once_kept(after, function):
    """The same after so many writings of chains, when another thread has kept them."""

    def run():
        written, kept, write, note = [], [], ChainFile.write, LongLoop.note

        def writing(*args):
            write(*args)
            written.append(1)
            if len(written) == after:
                threading.Event().wait()

        def noting(self):
            note(self)
            # One that was under way may have missed the last.
            kept.append(len(written) == after)
            if sum(kept) == 2:
                kill_myself()

        ChainFile.write, LongLoop.note = writing, noting
        function()

    return ended_by(run)


@pytest.mark.parametrize("name", CASES)
def test_a_fit_killed_twice_ends_in_the_numbers_of_one_that_was_not(
    name, data, tmp_path, always
):
    path = tmp_path / "fit.nc"
    expected = numbers(fitted(name, data))
    third = writings(lambda: fitted(name, data, checkpoint=path)) // 3
    assert third > 1
    path.unlink()
    for after in (third, third):
        before = path.read_bytes() if path.exists() else b""
        ended = killed(after, lambda: fitted(name, data, checkpoint=path))
        assert ended == signal.SIGKILL and path.read_bytes() != before
        assert [file.name for file in tmp_path.iterdir()] == ["fit.nc"]
    assert numbers(fitted(name, data, checkpoint=path)) == expected
    assert numbers(gh.load(path)) == expected


def test_chains_killed_in_warm_up_and_while_drawing_go_on(
    data, tmp_path, always, monkeypatch
):
    monkeypatch.setattr(chains, "_LOOK", 0.001)
    path = tmp_path / "fit.nc"
    expected = numbers(fitted("NUTS", data))
    # Of 2 chains with 12 draws of warm-up and 6 others.
    for after in (8, 15):
        ended = killed_once_kept(after, lambda: fitted("NUTS", data, checkpoint=path))
        assert ended == signal.SIGKILL
    made, write = [], ChainFile.write
    monkeypatch.setattr(
        ChainFile, "write", lambda *args: (made.append(args), write(*args))
    )
    assert numbers(fitted("NUTS", data, checkpoint=path)) == expected
    assert len(made) < 30


def test_draws_kept_are_no_older_than_the_states_of_their_chains(tmp_path, monkeypatch):
    """Of a chain that draws and notes its state while both are read."""
    board, read = (
        chains.Board(str(tmp_path), is_kept=True).clean(1, 2, 1),
        ChainFile.read,
    )

    def after_a_draw(file):
        board.open("vectors")[0, 0] = 7.0
        file.write({"iteration": 1})
        return read(file)

    monkeypatch.setattr(ChainFile, "read", after_a_draw)
    kept = board.state(1)
    assert kept["chains"][0]["iteration"] == 1
    assert kept["vectors"][0, 0] == 7.0


def test_a_kill_loses_the_iterations_since_the_last_writing_and_no_more(
    data, tmp_path, always, monkeypatch
):
    path, made, expect = tmp_path / "fit.nc", [], ComponentSteps.expect

    def counted(self, sets, beta=1.0):
        made.append(len(sets))
        return expect(self, sets, beta)

    monkeypatch.setattr(ComponentSteps, "expect", counted)
    fitted("EM of given starts", data)
    whole = len(made)
    made.clear()
    ended = killed(7, lambda: fitted("EM of given starts", data, checkpoint=path))
    assert ended == signal.SIGKILL
    fitted("EM of given starts", data, checkpoint=path)
    assert len(made) == whole - 7
    made.clear()
    fitted("EM of given starts", data, checkpoint=path)
    assert not made


def test_a_kill_in_the_midst_of_a_writing_leaves_what_was_written_before(
    data, tmp_path, always, monkeypatch
):
    path, expected = tmp_path / "fit.nc", numbers(fitted("MAP", data))
    run = lambda: fitted("MAP", data, checkpoint=path)  # noqa: E731
    assert killed(9, run) == signal.SIGKILL
    before = path.read_bytes()

    def dies(source, target):
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", dies)
        assert killed(0, run) == signal.SIGKILL
    assert path.read_bytes() == before
    assert numbers(run()) == expected


def test_a_process_killed_from_outside_goes_on_in_another(data, tmp_path, always):
    path, folder = tmp_path / "fit.nc", Path(__file__).parent
    code = f"""
import sys
sys.path[:0] = [{str(folder)!r}, {str(folder.parent)!r}]
import test_inference_checkpoints as cases
cases.journal.EVERY = cases.journal.SHARE = 0.0
data = cases.clear_data(lengths=(20, 15, 25))
cases.fitted("EM", data, checkpoint={str(path)!r})
"""
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        while not path.exists() or path.stat().st_size < 6000:
            assert child.poll() is None
            time.sleep(0.002)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    # Digests are those of the other process, and so are the numbers.
    kept = path.read_bytes()
    assert not kept.startswith(files.SIGNATURE)
    expected = numbers(fitted("EM", data))
    assert numbers(fitted("EM", data, checkpoint=path)) == expected


def test_a_model_of_the_users_own_goes_on_and_is_known_by_its_code(
    data, tmp_path, always, monkeypatch
):
    path = tmp_path / "fit.nc"

    def run(**options):
        return fitted("EM of given starts", data, own, init="random", **options)

    expected = numbers(run())
    assert killed(4, lambda: run(checkpoint=path)) == signal.SIGKILL
    with monkeypatch.context() as patched:
        patched.setitem(globals(), "SCALE", 3.0)
        with pytest.raises(ValueError, match="a call with another model;"):
            run(checkpoint=path)
    assert numbers(run(checkpoint=path)) == expected
    assert numbers(run(checkpoint=path)) == expected


def test_the_file_in_the_end_is_the_fit_and_warns_again(data, tmp_path):
    path = tmp_path / "fit.nc"
    options = {"num_restarts": 1, "progress": False, "num_iters": 2}
    with pytest.warns(gh.ConvergenceWarning, match="largest number of iterations"):
        first = gh.fit(model(), data, checkpoint=path, **options)
    content = path.read_bytes()
    with pytest.warns(gh.ConvergenceWarning, match="largest number of iterations"):
        again = gh.fit(model(), data, checkpoint=str(path), **options)
    assert path.read_bytes() == content
    assert numbers(first) == numbers(again) == numbers(gh.load(path))
    assert again.summary().equals(first.summary())


def test_another_call_is_refused_in_words_that_say_what_differs(
    data, tmp_path, always, monkeypatch
):
    path, other = tmp_path / "fit.nc", clear_data(lengths=(20, 15, 25), seed=3)
    for finished in (False, True):
        if finished:
            fitted("MAP", data, checkpoint=path)
        else:
            killed(3, lambda: fitted("MAP", data, checkpoint=path))
        before = path.read_bytes()
        for call, what in (
            (lambda: fitted("MAP", other, checkpoint=path), "another data;"),
            (lambda: fitted("MAP", data, seed=1, checkpoint=path), "another options;"),
            (lambda: fitted("EM", data, checkpoint=path), "another options;"),
            (
                lambda: fitted("MAP", other, model(2.0), seed=1, checkpoint=path),
                "another model and another data and another options;",
            ),
        ):
            with pytest.raises(ValueError, match=f"checkpoint must be a new.*{what}"):
                call()
        with monkeypatch.context() as patched:
            patched.setattr(checkpoint, "__version__", "99.0")
            with pytest.raises(ValueError, match="glmhmm_pyro_version is '0"):
                fitted("MAP", data, checkpoint=path)
        assert path.read_bytes() == before
        content = before
        for damaged in (b"", content[:-40], content[:200], content[:-99] + b"x" * 99):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match="no intact file of fit"):
                fitted("MAP", data, checkpoint=path)
            assert path.read_bytes() == damaged
        path.unlink()


def test_files_that_are_no_checkpoint_are_refused_and_checkpoints_no_fits(
    data, tmp_path, always
):
    path = tmp_path / "fit.nc"
    killed(3, lambda: fitted("MAP", data, checkpoint=path))
    with pytest.raises(ValueError, match="checkpoint of a call that has not ended"):
        gh.load(path)
    saved = tmp_path / "saved.nc"
    fitted("MAP", data).save(saved)
    with pytest.raises(ValueError, match="which fit.save wrote and no checkpoint"):
        fitted("MAP", data, checkpoint=saved)
    with pytest.raises(TypeError, match="checkpoint must be the path.*got 3"):
        fitted("MAP", data, checkpoint=3)
    with pytest.raises(FileNotFoundError, match="checkpoint must be where"):
        fitted("MAP", data, checkpoint=tmp_path / "no" / "fit.nc")


def test_an_interrupted_fit_is_given_back_and_goes_on(
    data, tmp_path, always, monkeypatch
):
    path, expect, made = tmp_path / "fit.nc", ComponentSteps.expect, []

    def interrupted(self, sets, beta=1.0):
        made.append(1)
        if len(made) == 9:
            raise KeyboardInterrupt
        return expect(self, sets, beta)

    expected = numbers(fitted("EM", data))
    with monkeypatch.context() as patched:
        patched.setattr(ComponentSteps, "expect", interrupted)
        first = fitted("EM", data, checkpoint=path)
    assert first.status is gh.Status.INTERRUPTED
    assert numbers(fitted("EM", data, checkpoint=path)) == expected


def test_a_full_disk_costs_the_checkpoint_and_not_the_fit(
    data, tmp_path, always, monkeypatch
):
    path, expected = tmp_path / "fit.nc", numbers(fitted("MAP", data))

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "keep", full)
        patched.setattr(checkpoint, "write_record", full)
        options = {"num_restarts": 2, "progress": False, "checkpoint": path}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = gh.fit(model(), data, "map", **options)
    said = [str(warning.message) for warning in caught]
    assert any("No space left" in text and "not up to date" in text for text in said)
    assert numbers(found) == expected
    assert numbers(fitted("MAP", data, checkpoint=path)) == expected


def test_nothing_is_asked_of_loops_without_a_checkpoint(data, monkeypatch):
    monkeypatch.setattr(journal, "_feed_plain", None)
    monkeypatch.setattr(journal, "monotonic", None)
    fitted("EM", data)
    fitted("MAP without EM", data)
