"""Fits in threads, in forked and in spawned processes are those made alone."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from concurrency_cases import (
    OPTIONS,
    QUICK,
    errors_of_ones_own_model,
    fitted,
    fitted_by_all_threads,
    numbers_of,
)
from inference_cases import clear_data, penalised
from pyro import poutine

import glmhmm_pyro as gh
from glmhmm_pyro import concurrency
from glmhmm_pyro.concurrency import exclusively

pytestmark = pytest.mark.filterwarnings(
    "ignore::glmhmm_pyro.ConvergenceWarning",
    # Python's own notice, from 3.12 on: the children below are made in spite of it.
    "ignore:This process .* is multi-threaded:DeprecationWarning",
)

# Seconds after which a process is taken for one that waits for ever.
_EVER = 240


def in_threads(jobs):
    with ThreadPoolExecutor(len(jobs)) as pool:
        return [done.result() for done in [pool.submit(job) for job in jobs]]


def in_process(kind, function, *arguments):
    """What a function returns in a process that was started in this way."""
    with multiprocessing.get_context(kind).Pool(1) as pool:
        return pool.apply_async(function, arguments).get(_EVER)


def test_fits_in_threads_are_the_fits_alone():
    jobs = [partial(fitted, method, seed) for method in OPTIONS for seed in (0, 1)]
    alone = [job() for job in jobs]
    state = torch.get_rng_state()
    assert in_threads(jobs) == alone
    assert torch.equal(torch.get_rng_state(), state)


def test_one_fit_is_read_by_many_threads():
    data = clear_data(lengths=(8, 7))
    fit = gh.fit(penalised(), data, num_iters=2, **QUICK)
    jobs = [partial(numbers_of, fit, data, seed) for seed in range(6)]
    assert in_threads(jobs) == [job() for job in jobs]


def test_standard_errors_of_ones_own_model_in_threads_are_those_alone():
    alone = errors_of_ones_own_model()
    assert in_threads([errors_of_ones_own_model] * 3) == [alone] * 3


def test_a_forked_process_fits_with_one_thread_after_its_parent_with_many():
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        log_joint, _ = fitted_by_all_threads()
        found, in_child = in_process("fork", fitted_by_all_threads)
    finally:
        torch.set_num_threads(threads)
    assert in_child == 1
    # Sums of 40,000 terms, taken in another order by several threads.
    assert found == pytest.approx(log_joint, rel=1e-10)


def test_a_process_forked_during_a_fit_of_another_thread_fits_as_alone():
    alone, begun, over = fitted("em", 0), threading.Event(), threading.Event()

    def busy():
        with exclusively(), poutine.trace(), poutine.condition(data={}):
            begun.set()
            over.wait(_EVER)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(busy)
        begun.wait(_EVER)
        try:
            assert in_process("fork", fitted, "em", 0) == alone
        finally:
            over.set()
        done.result()


def test_a_spawned_process_fits_as_alone():
    assert in_process("spawn", fitted, "em", 0) == fitted("em", 0)


def test_only_one_thread_is_inside_and_it_may_enter_again():
    def others():
        return concurrency._state.lock.acquire(blocking=False)

    with ThreadPoolExecutor(1) as pool:
        with exclusively():
            with exclusively():
                assert concurrency._state.is_mine
            assert not pool.submit(others).result()
        assert not concurrency._state.is_mine
        assert pool.submit(others).result()
        pool.submit(concurrency._state.lock.release).result()


@pytest.mark.parametrize("threads", [1, 3])
def test_calls_are_answered_in_their_order_and_read_a_few_ahead(threads):
    read, answered = [], []

    def numbers():
        for number in range(40):
            read.append(number)
            yield (number,)

    for answer in concurrency.in_threads(lambda n: n * n, numbers(), threads):
        answered.append(answer)
        assert len(read) <= len(answered) + 2 * threads + 1
    assert answered == [n * n for n in range(40)]
    assert list(concurrency.in_threads(lambda n: n, [], threads)) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_thread_is_the_callers(threads):
    calls = ((n,) for n in (2, 1, 0, 1))
    with pytest.raises(ZeroDivisionError):
        list(concurrency.in_threads(lambda n: 1 // n, calls, threads))
