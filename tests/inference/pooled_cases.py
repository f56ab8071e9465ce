"""Models of emissions that are pooled over slow states, and a few steps of data."""

import torch
from level_cases import RIDGE, short_sessions
from pyro.distributions import Dirichlet

import glmhmm_pyro as gh
from glmhmm_pyro.components import Levels, TwoLevels, TwoLevelsInitial, Varying

EVEN = Dirichlet(torch.full((2,), 2.0).double())
LENGTHS = (4, 2, 3)
SEEN = (True, True, False, True, True, True, True, False, True)
TICKS = torch.tensor([0.0, 1, 0, 1, 0, 1, 0, 1, 1], dtype=torch.float64)


def pooled(law, constant=(), prior=RIDGE, **moves):
    """A model whose other parameters have maxima inside their support."""
    moves = TwoLevels(gh.Stationary(EVEN), gh.Stationary(EVEN), **moves)
    first = TwoLevelsInitial(gh.Initial(EVEN), gh.Initial(EVEN))
    emissions = Varying(gh.Bernoulli(prior), "slow", law, constant)
    return gh.GLMHMM(Levels(2, 2), emissions, moves, first)


def short_data(**options):
    return short_sessions(LENGTHS, SEEN, TICKS, **options)
