"""Exact inference for Markov chains whose transitions vary in time.

Tensors of log potentials in, tensors out; nothing here knows what made them. Sessions
lie end to end, and row t of the transitions leads from step t-1 to step t.
"""

from glmhmm_pyro.chain.borders import Borders
from glmhmm_pyro.chain.decoding import (
    Filtered,
    Smoothed,
    ViterbiPath,
    filter,
    left_out,
    pairwise,
    sample_paths,
    smooth,
    viterbi,
)
from glmhmm_pyro.chain.expansion import Expansion
from glmhmm_pyro.chain.marginals import ExpectedCounts, expected_counts, log_marginal
from glmhmm_pyro.chain.specialised import warm_up

__all__ = [
    "Borders",
    "ExpectedCounts",
    "Expansion",
    "Filtered",
    "Smoothed",
    "ViterbiPath",
    "expected_counts",
    "filter",
    "left_out",
    "log_marginal",
    "pairwise",
    "sample_paths",
    "smooth",
    "viterbi",
    "warm_up",
]
