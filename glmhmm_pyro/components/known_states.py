"""An output that holds the true state at the steps where it is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pyro import distributions as dist
from pyro.nn import pyro_method
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import one_hot

from glmhmm_pyro.arguments import has_items, suggests_names, whole_number
from glmhmm_pyro.broadcasting import broadcast_shape
from glmhmm_pyro.components.base import Site
from glmhmm_pyro.components.emission_checks import check_labels
from glmhmm_pyro.components.emissions import Emission
from glmhmm_pyro.components.label_families import Categorical
from glmhmm_pyro.components.marginal_laws import CONSTANT
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.step_laws import StepLaw, TorchLaw
from glmhmm_pyro.designs import DesignMatrix
from glmhmm_pyro.priors.fixed import Fixed
from glmhmm_pyro.priors.recipe import Place, PriorRecipe
from glmhmm_pyro.sequences import Sequences


@dataclass(frozen=True)
class _FixedLabel(PriorRecipe):
    """Fixes the labels of the states.

    Args:
        labels: in their order; ``None`` for 0, 1, ...
    """

    labels: tuple[int, ...] | None = None
    event_dim = Fixed.event_dim

    def __call__(self, shape: torch.Size, place: Place = Place()) -> Distribution:
        """Of so many states."""
        return Fixed(self.labels or range(torch.Size(shape)[-1]))(shape, place)


@suggests_names
class KnownStates(Emission):
    r"""Output that equals the hidden state, at the steps where that was observed.

    .. math:: p(y_t = c \mid z_t = k) = 1 \text{ where } c = c_k, \text{ else } 0

    An output of numbers 0, 1, ... of the states, missing (NaN) where the state is not
    known. What a fit then maximises is the joint probability of behaviour and known
    states. Renumbered states keep the numbers c that they have in the data.

    Args:
        labels: the number c that every state has in the data; 0, 1, ... by default.

    Example:
        >>> import glmhmm_pyro as gh
        >>> from glmhmm_pyro.components import KnownStates
        >>> missing = float("nan")
        >>> data = gh.Sequences(
        ...     [[1, 0], [1, missing], [0, 1], [1, missing]],
        ...     emission_names=["choice", "state"],
        ... )
        >>> family = gh.Outputs(choice=gh.Bernoulli(), state=KnownStates())
        >>> model = gh.GLMHMM(2, family, initial=gh.Initial(gh.priors.Fixed(0.5)))
        >>> model.bind(data)
        >>> names = [name for name, *_ in model.site_names()]
        >>> names[-2:]
        ['emissions.choice.weights', 'emissions.state.codes']
    """

    batched = True
    codes: Any

    def __init__(self, labels: Sequence[int] | None = None) -> None:
        super().__init__()
        self.codes = Site("state", prior=_FixedLabel(_listed(labels)))

    @property
    def labels(self) -> tuple[int, ...] | None:
        """The number that every state has in the data, if not its own."""
        prior: Any = self.sites["codes"].prior
        found: tuple[int, ...] | None = prior.labels
        return found

    def bind_states(self, num_states: int) -> None:
        """Record the number of states; refuse labels of others."""
        super().bind_states(num_states)
        if self.labels is not None and sorted(self.labels) != list(range(num_states)):
            raise ValueError(
                f"labels must hold every number from 0 to {num_states - 1} once, one "
                f"for each state, got {list(self.labels)}; leave them out for 0, 1, ..."
            )

    @property
    def is_numbered(self) -> bool:
        """Whether it knows its states by their numbers: it does."""
        return True

    def renumber(self, order: Sequence[int]) -> None:
        """Keep the labels of the states where state k is what was ``order[k]``."""
        known = torch.tensor(self.labels or range(int(self.num_states or 1)))
        moved = self.renumbered("codes", known, torch.tensor(list(order))).tolist()
        kept = None if moved == list(range(len(moved))) else tuple(moved)
        self.sites["codes"].prior = _FixedLabel(kept)

    def covariate_free(self) -> Any:
        """Labels as often as they are seen, whatever the state."""
        if (self.num_states or 1) < 2:
            return super().covariate_free()
        return Categorical(int(self.num_states or 1), covariates=(CONSTANT,))

    @property
    def is_linear(self) -> bool:
        """Whether no covariates are read."""
        return is_as_defined(self, KnownStates, "forward", "table", "log_probs")

    def bind(self, data: Sequences) -> None:
        """Raise a ValueError for labels that are no state; no covariate is read."""
        check_labels(data, int(self.num_states or 1), "KnownStates()")

    def forward(self, state: Tensor, covariates: Tensor) -> Distribution:
        """A distribution with all its mass on the label of the state."""
        shape = broadcast_shape(state.shape, covariates.shape[:-1])
        return self._certain(state.expand(shape))

    @pyro_method
    def table(self, design: DesignMatrix | Tensor) -> Distribution:
        """The distributions of all states, the same at every step."""
        states = self.all_states(design.device)
        return self._certain(states.expand(design.shape[0], -1))

    def step_law(self) -> StepLaw | None:
        """The law of one step, the same at every step."""
        if not self.is_linear:
            return None
        law = TorchLaw(self._certain(self.all_states(self.codes.device)[None]))
        return lambda covariates: law

    def _certain(self, state: Tensor) -> Distribution:
        codes = self.codes.round().long()
        probs = one_hot(codes, codes.shape[-1]).double()[..., state, :]
        return dist.Categorical(probs=probs, validate_args=False)


def _listed(labels: Sequence[int] | None) -> tuple[int, ...] | None:
    """The labels of states as whole numbers."""
    if labels is None:
        return None
    if not has_items(labels):
        raise TypeError(
            f"labels must be a list with a number for each state, got {labels!r:.60}; "
            "write such as [1, 0], or leave them out for 0, 1, ..."
        )
    return tuple(whole_number("labels", label, 0) for label in labels)
