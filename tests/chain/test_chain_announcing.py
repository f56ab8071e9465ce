"""Compilation is told of where a person watches, and nowhere else."""

import io
import sys
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
import torch

import glmhmm_pyro as gh
from glmhmm_pyro.chain import compiled as engine
from glmhmm_pyro.chain.announcing import NOTICE, is_watched, watched
from glmhmm_pyro.chain.compiler import compiled


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Makes a kernel that calls another, neither compiled yet in this process."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def make(module="glmhmm_pyro.chain.made"):
        def inner(x):
            return x + 1

        def outer(x):
            return called(x) * 2

        inner.__module__ = outer.__module__ = module
        called = compiled(inner)
        return compiled(outer)

    return make


def test_it_is_told_of_once_where_progress_is_wanted(kernel, capsys):
    with watched(True):
        assert kernel()(3) == 8
    shown = capsys.readouterr().err
    assert shown.count(NOTICE) == 1
    # The line goes when it is done.
    assert shown.endswith("\r") and not shown.split("\r")[-2].strip()


def test_it_is_not_told_of_where_no_progress_is_wanted(kernel, capsys):
    with watched(False):
        kernel()(3)
    assert capsys.readouterr().err == ""


def test_what_others_compile_is_theirs_to_tell(kernel, capsys):
    with watched(True):
        kernel("somebody.elses")(3)
    assert capsys.readouterr().err == ""


def test_a_kernel_that_cannot_be_compiled_ends_the_line_too(kernel, capsys):
    with watched(True):
        with pytest.raises(numba.errors.TypingError):
            kernel()("text")
        kernel()(3)
    shown = capsys.readouterr().err
    assert shown.count(NOTICE) == 2 and not shown.split("\r")[-2].strip()


class Terminal(io.StringIO):
    """A stream that a person reads."""

    def isatty(self):
        """Yes."""
        return True


def test_without_a_fit_a_terminal_is_watched_and_a_pipe_is_not(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not is_watched()
    monkeypatch.setattr(sys, "stderr", None)
    assert not is_watched()
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert is_watched()
    with watched(False):
        assert not is_watched()
    assert is_watched()


@pytest.mark.parametrize("progress", [True, False])
def test_a_fit_is_watched_if_its_progress_is(progress, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    seen = []

    class Spy:
        name = "spy"

        def fit(self, program, search):
            seen.append(is_watched())
            raise KeyError("seen")

    with pytest.raises(KeyError, match="seen"):
        model, data = gh.GLMHMM(2, gh.Bernoulli()), gh.Sequences([0, 1, 1])
        gh.fit(model, data, Spy(), progress=progress)
    assert seen == [progress]


def test_the_threads_that_kernels_run_in_are_watched_like_their_caller():
    work = engine.Work(
        torch.Size([]), 1, np.array([0, 1, 2]), [(0, 1), (1, 2)], threads=2
    )
    seen = []
    with watched(True), ThreadPoolExecutor(1):
        work.run(lambda *piece: seen.append(is_watched()), work.pieces)
    assert seen == [True, True]
