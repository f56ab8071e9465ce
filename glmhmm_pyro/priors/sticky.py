"""The prior of transition matrices whose states tend to stay."""

from dataclasses import dataclass

import torch
from pyro import distributions as dist
from torch.distributions import Distribution

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.priors.answers import storable
from glmhmm_pyro.priors.recipe import Place, PriorRecipe, require_positive


@storable
@suggests_names
@dataclass(frozen=True)
class Sticky(PriorRecipe):
    r"""Dirichlet rows of a transition matrix, for any number of states.

    .. math:: p(z_t = \cdot \mid z_{t-1} = i) \sim \text{Dirichlet}(\alpha_i), \quad
        \alpha_{ii} = \text{stay}, \; \alpha_{ij} = \text{move}

    At the mode it acts like ``stay - 1`` steps seen to stay in every state and
    ``move - 1`` seen to move to every other one; Fox et al. 2011 call the excess of
    stay over move kappa.

    Args:
        stay: concentration on the diagonal.
        move: concentration off it. Below 1 the density is infinite where a move is
            impossible, so that there is no mode for EM to find.

    Example:
        >>> import glmhmm_pyro as gh
        >>> prior = gh.priors.Sticky(stay=50.0)
        >>> prior((2, 2)).concentration
        tensor([[50.,  1.],
                [ 1., 50.]], dtype=torch.float64)
        >>> transitions = gh.Stationary(prior=prior)
    """

    stay: float = 10.0
    move: float = 1.0

    def __post_init__(self) -> None:
        require_positive(self, "stay", "move")

    @property
    def event_dim(self) -> int:
        """A row sums to 1."""
        return 1

    def __call__(self, shape: torch.Size, place: Place = Place()) -> Distribution:
        """Dirichlet distributions of the rows of a square matrix."""
        shape = torch.Size(shape)
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise ValueError(
                "a Sticky prior must stand on a square matrix of probabilities, as "
                f"Stationary(prior=Sticky()) has, got shape {tuple(shape)} of "
                f"{place.name}; weights of transitions take a Ridge"
            )
        states = shape[-1]
        rows = torch.full((states, states), self.move, dtype=torch.float64)
        return dist.Dirichlet(rows.fill_diagonal_(self.stay)).expand(shape[:-1])
