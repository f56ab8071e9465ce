"""Initial state from the stationary distribution of the transitions."""

import torch
from torch import Tensor

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.initial import InitialState
from glmhmm_pyro.components.rescaling import is_as_defined
from glmhmm_pyro.components.transitions import Stationary
from glmhmm_pyro.sequences import Sequences


@suggests_names
class StationaryInitial(InitialState):
    r"""The stationary distribution of the transition matrix.

    For sessions that are pieces of one long behaviour (Hamilton 1994, section 22.2):

    .. math:: \pi^\top P = \pi^\top

    It has no parameters, and needs :class:`Stationary` transitions. The transition
    matrix then has a say in the first states too, so that an M-step of EM takes all
    parameters together, by differentiation; ``method="map"`` is often faster. The
    search for the best optimum runs with a free first state, and leads the best
    solutions it finds on with this one.

    Example:
        >>> import glmhmm_pyro as gh
        >>> model = gh.GLMHMM(2, gh.Bernoulli(), initial=gh.StationaryInitial())
        >>> model.bind(gh.Sequences([0, 1, 1]))
        >>> [name for name, *_ in model.site_names()]
        ['transitions.probs', 'emissions.weights']
    """

    batched = True

    @property
    def parts(self) -> dict[str, Component]:
        """Empty: the distribution has no parameters of its own."""
        return {}

    def follow(self, transitions: Component) -> None:
        """Hook: receives the transitions, whose stationary distribution this is."""
        if not isinstance(transitions, Stationary):
            raise ValueError(
                "initial must not be a StationaryInitial where covariates drive the "
                f"transitions, got {type(transitions).__name__}, which has no "
                "stationary distribution; take Stationary transitions, or an Initial"
            )
        # Not as a part of its own: it stays the model's.
        self.__dict__["transitions"] = transitions

    @property
    def is_linear(self) -> bool:
        """Whether no covariates are read."""
        return is_as_defined(
            self, StationaryInitial, "forward", "logits", "log_probs", "design"
        )

    def logits(self, data: Sequences) -> Tensor:
        """Logarithms of the stationary probabilities, shape (*batch, 1, states)."""
        return stationary_probs(self.transitions.probs).log().unsqueeze(-2)


def stationary_probs(matrix: Tensor) -> Tensor:
    """Left eigenvector of eigenvalue 1, shape (*batch, states).

    Not a number where it is not unique, as that of a chain that never moves.
    """
    states = matrix.shape[-1]
    eye = torch.eye(states, dtype=matrix.dtype, device=matrix.device)
    ones = torch.ones_like(matrix[..., :1])
    found = torch.linalg.solve_ex((eye - matrix + 1).mT, ones).result.squeeze(-1)
    return found.clamp(min=torch.finfo(matrix.dtype).tiny)
