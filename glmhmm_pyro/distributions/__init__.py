"""Distributions of sequences whose hidden states are summed out."""

from glmhmm_pyro.distributions.hidden_markov import HiddenMarkov
from glmhmm_pyro.distributions.labels_apart import LabelsApart
from glmhmm_pyro.distributions.log_probs import normalised, weighted_sum
from glmhmm_pyro.distributions.output import (
    Output,
    expected_emission,
    inner_name,
    outputs_of,
    typed_by_support,
)

__all__ = [
    "HiddenMarkov",
    "LabelsApart",
    "Output",
    "expected_emission",
    "inner_name",
    "normalised",
    "outputs_of",
    "typed_by_support",
    "weighted_sum",
]
