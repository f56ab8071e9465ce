"""Emissions given all others: what their probabilities are without, by definition."""

import pytest
import torch
from chain_cases import ENGINES, FEW, chains, random_potentials
from hypothesis import given

from glmhmm_pyro import chain


def without(potentials, lengths, step):
    """Log-likelihoods of the sessions with an emission that says nothing."""
    initial, transition, emission = potentials
    emission = emission.clone()
    emission[..., step, :] = 0.0
    return chain.log_marginal(initial, transition, emission, lengths)


def by_definition(potentials, lengths):
    session = torch.arange(len(lengths)).repeat_interleave(lengths)
    whole = chain.log_marginal(*potentials, lengths)
    steps = range(int(lengths.sum()))
    return torch.stack(
        [(whole - without(potentials, lengths, t))[..., session[t]] for t in steps], -1
    )


@pytest.mark.parametrize("engine", ENGINES)
@FEW
@given(chains())
def test_each_is_the_likelihood_over_that_without_it(engine, case):
    potentials, lengths = case
    if any((x == -torch.inf).any() for x in potentials):
        return
    found = chain.left_out(*potentials, lengths, engine=engine)
    torch.testing.assert_close(found, by_definition(potentials, lengths))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_state_that_the_emission_rules_out_counts_among_the_others(engine):
    """Probabilities given all emissions underflow there, and would forget the state."""
    lengths = torch.tensor([3, 4])
    initial, transition, emission = random_potentials(lengths=lengths)
    emission[1] = torch.tensor([-1200.0, -3.0]).double()
    found = chain.left_out(initial, transition, emission, lengths, engine=engine)
    expected = by_definition((initial, transition, emission), lengths)
    torch.testing.assert_close(found, expected)
