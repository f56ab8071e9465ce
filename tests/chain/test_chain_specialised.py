"""Kernels for any number of states and kernels for theirs: the same bits, chosen."""

import numpy as np
import pytest
import torch
from chain_cases import random_potentials

from glmhmm_pyro import chain
from glmhmm_pyro.chain import compiled, specialised
from glmhmm_pyro.chain.scaled_kernels import counts_scaled
from glmhmm_pyro.chain.stationary_kernels import counts_stationary

LENGTHS = torch.tensor([300, 1, 2, 33, 7])


def _told(kernel, num_states, steps):
    return type(specialised.states_for(kernel, num_states, steps))


@pytest.fixture
def fresh(monkeypatch):
    """A process that has passed over no chain, on a machine with an empty cache."""
    monkeypatch.setattr(specialised, "_passed", specialised.Counter())
    monkeypatch.setattr(specialised, "_special", set())
    monkeypatch.setattr(specialised, "is_on_disk", lambda *_: False)


@pytest.mark.parametrize("states", [2, 3])
@pytest.mark.parametrize("shared", [False, True])
def test_both_give_the_same_bits(states, shared, monkeypatch):
    potentials = random_potentials(states, LENGTHS, shared=(True, shared))
    # A session that only log space can do.
    potentials[2][-7:] -= 1e4 * torch.arange(7 * states).reshape(7, states)
    results = []
    for told in ((0.0,) * states, np.empty(states)):
        monkeypatch.setattr(compiled, "states_for", lambda *_, told=told: told)
        results.append(chain.expected_counts(*potentials, LENGTHS))
    for one, other in zip(*results):
        assert torch.equal(one, other)
    expected = chain.expected_counts(*potentials, LENGTHS, engine="torch")
    for actual, reference in zip(results[0], expected):
        torch.testing.assert_close(actual, reference)


def test_a_number_of_states_that_is_used_for_long_gets_its_own(fresh, monkeypatch):
    monkeypatch.setattr(specialised, "ENOUGH_STEPS", 100)
    assert [_told(counts_scaled, 3, 60) for _ in range(3)] == [np.ndarray, tuple, tuple]
    # Each number and each kernel by itself; many states gain nothing.
    assert _told(counts_stationary, 3, 60) is np.ndarray
    assert _told(counts_scaled, 2, 60) is np.ndarray
    assert {_told(counts_scaled, 9, 1000) for _ in range(2)} == {np.ndarray}


def test_what_is_on_disk_is_used_from_the_start(fresh, monkeypatch):
    monkeypatch.setattr(specialised, "is_on_disk", lambda kernel, _: True)
    assert _told(counts_scaled, 3, 1) is tuple


def test_warming_up_compiles_and_keeps(fresh):
    kernels = (counts_stationary, counts_scaled)
    assert {_told(kernel, 2, 1) for kernel in kernels} == {np.ndarray}
    chain.warm_up([2, 12])
    assert {_told(kernel, 2, 1) for kernel in kernels} == {tuple}
    assert {_told(kernel, 12, 1) for kernel in kernels} == {np.ndarray}
    signature = specialised._signature(2)
    for kernel in kernels:
        assert signature in kernel.overloads
        assert chain.compiler.is_on_disk(kernel, signature)
        assert not chain.compiler.is_on_disk(kernel, signature[1:])


@pytest.mark.parametrize("wrong", [0, 2.5, "2"])
def test_what_is_no_number_of_states_is_told(wrong):
    with pytest.raises(ValueError, match="num_states must hold integers of at least 1"):
        chain.warm_up([wrong])
