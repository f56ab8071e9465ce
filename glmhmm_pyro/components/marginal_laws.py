"""A family without covariates: the marginal law of emissions, a baseline of scores."""

import copy
from typing import Any, TypeAlias

import torch
from torch import Tensor

from glmhmm_pyro.components.base import Component
from glmhmm_pyro.masking import steps_observed
from glmhmm_pyro.priors.fixed import Fixed
from glmhmm_pyro.sequences import Sequences
from glmhmm_pyro.sequences.members import MEMBER_AXES
from glmhmm_pyro.sequences.weights import by_step

# The name of the constant column that a baseline reads.
CONSTANT = "constant of the baseline"

# Parameters by attribute, and a sentence where they are smoothed.
Marginal: TypeAlias = tuple[dict[str, Tensor], str]


class HasMarginal(Component):
    """Hooks for the baseline of a family: one state, no covariates."""

    def covariate_free(self) -> Any:
        """A copy for a constant column: flat priors, alike in all sessions.

        It reads its offset too, if it has one, whose weight is no parameter, and is
        bound to no data. A family whose other attributes follow from its
        covariates overrides this.
        """
        own, offset = copy.deepcopy(self), getattr(self, "offset", None)
        for name, site in self.sites.items():
            plain = copy.copy(site)
            plain.prior = None
            plain.axes = tuple(axis for axis in site.axes if axis not in MEMBER_AXES)
            if offset is not None and name == "weights":
                plain.prior = Fixed({offset: 1.0})
            setattr(own, name, plain)
        own.num_states = own.num_features = own.covariate_names = own.members = None
        own.bounds, own.own_states = {}, None
        own.choose((CONSTANT,) if offset is None else (CONSTANT, offset))
        return own

    def marginal(self, data: Sequences) -> Marginal | None:
        """Parameters of one state at a constant column that fit the data best.

        Args:
            data: what the family reads of a data set, the column its covariate, beside
                its offset if it has one.

        Returns:
            By attribute, and a sentence where they are smoothed; ``None`` where there
            is no formula, so that a search is made.
        """
        return None


def log_frequencies(
    data: Sequences, num_classes: int
) -> tuple[Tensor, tuple[int, ...]]:
    """Logarithms of how often each class is observed, and the classes never seen.

    Sessions count as often as their weights say.

    Where there are any, half a count is added to every class (Jeffreys).
    """
    seen = steps_observed(data.mask)
    labels, weights = data.emissions.long().cpu(), by_step(data).double().cpu()
    if seen is not None:
        labels, weights = labels[seen.cpu()], weights[seen.cpu()]
    counts = torch.bincount(labels, weights, num_classes)
    counts = data.ranks.total(counts)
    unseen = tuple((counts == 0).nonzero().flatten().tolist())
    counts = counts + 0.5 if unseen else counts
    return (counts / counts.sum()).log(), unseen


def label_marginal(data: Sequences, num_classes: int) -> tuple[Tensor, str]:
    """Log-odds of all classes but the first against it, and a sentence if smoothed."""
    logs, unseen = log_frequencies(data, num_classes)
    names = data.class_names or tuple(map(str, range(num_classes)))
    said = ", ".join(names[number] for number in unseen)
    note = f"half a count was added to every class, for {said} was never observed"
    return logs[1:] - logs[0], note if unseen else ""
