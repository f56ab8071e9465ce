"""Initial state from the stationary distribution of the transitions."""

import torch
from torch import Tensor

from glmhmm_pyro.arguments import suggests_names
from glmhmm_pyro.components.base import Component
from glmhmm_pyro.components.initial import InitialState
from glmhmm_pyro.components.rescaling import logits_as_defined
from glmhmm_pyro.sequences import Sequences


@suggests_names
class StationaryInitial(InitialState):
    r"""The stationary distribution of the transitions.

    For sessions that are pieces of one long behaviour (Hamilton 1994, section 22.2):

    .. math:: \pi^\top P = \pi^\top

    It has no parameters, and needs transitions that are the same at all steps, such as
    :class:`Stationary` ones; those of :class:`SemiMarkov` give every state the share of
    time that its dwells take. The transitions then have a say in the first states too,
    so that an M-step of EM takes all parameters together, by differentiation;
    ``method="map"`` is often faster. The search for the best optimum runs with a free
    first state, and leads the best solutions it finds on with this one.

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

    def right_side(self) -> str:
        """Whose stationary distribution it is."""
        return "the stationary distribution of the transitions"

    def follow(self, transitions: Component) -> None:
        """Hook: receives the transitions, whose stationary distribution this is."""
        if transitions.reads_covariates:
            raise ValueError(
                "initial must not be a StationaryInitial where covariates drive the "
                f"transitions, got {transitions!r:.80}, which has no stationary "
                "distribution; take Stationary transitions, or an Initial"
            )
        own = [part for part in transitions.parts.values() if _varies(part)]
        if own:
            raise ValueError(
                "initial must not be a StationaryInitial where transitions vary over "
                f"sessions or groups, got {own[0]!r:.80}, which has no single "
                "stationary distribution; take an Initial, or Varying(Initial(), ...)"
            )
        # Not as a part of its own: it stays the model's.
        self.__dict__["transitions"] = transitions

    @property
    def is_linear(self) -> bool:
        """Whether no covariates are read."""
        return logits_as_defined(self, StationaryInitial)

    def logits(self, data: Sequences) -> Tensor:
        """Logarithms of the stationary probabilities, shape (*batch, 1, states)."""
        table = self.transitions.logits(data)
        by_chain_state = stationary_probs(table.softmax(-1))
        return self.transitions.expansion.fold(by_chain_state).log()


def _varies(part: Component) -> bool:
    """Whether moves are not the same in all sessions."""
    return bool(part.varies_over) or any(s.latent for s in part.sites.values())


def stationary_probs(matrix: Tensor) -> Tensor:
    r"""Share of time in every state in the long run, shape (*batch, states).

    States are left out one after the other, the chain seen when it is in those that are
    left having the moves

    .. math:: A_{ij} + A_{in} A_{nj} / \sum_{k < n} A_{nk},

    where nothing is subtracted, so that small probabilities of leaving keep all their
    digits (Grassmann, Taksar & Heyman 1985, Oper. Res. 33:1107). The diagonal is not
    read.

    Args:
        matrix: probabilities of moves, shape (*batch, states, states).

    Returns:
        Not a number where there is no single answer, as for a chain that never moves;
        all but 0 for a state that is left for good, so that it has a logarithm.
    """
    first, is_single = _always_reached(matrix)
    number = matrix.shape[-1]
    order = (torch.arange(number, device=matrix.device) + first.unsqueeze(-1)) % number
    rows = order.unsqueeze(-1).expand(matrix.shape)
    left = matrix.gather(-2, rows).gather(-1, rows.mT)
    entered = []
    for n in reversed(range(1, number)):
        leaving = left[..., n, :n]
        column = left[..., :n, n] / leaving.sum(-1, keepdim=True)
        left = left[..., :n, :n] + column.unsqueeze(-1) * leaving.unsqueeze(-2)
        entered.append(column)
    found = torch.ones_like(matrix[..., 0, :1])
    for column in reversed(entered):
        found = torch.cat([found, (found * column).sum(-1, keepdim=True)], -1)
    found = found / found.sum(-1, keepdim=True)
    found = found.gather(
        -1, (torch.arange(number).to(first) - first.unsqueeze(-1)) % number
    )
    found = found.clamp(min=torch.finfo(found.dtype).tiny)
    return found.masked_fill(~is_single.unsqueeze(-1), torch.nan)


def _always_reached(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A state that every other leads to, shape (*batch,), and whether there is one."""
    reached = (matrix.detach() > 0) | torch.eye(
        matrix.shape[-1], dtype=torch.bool, device=matrix.device
    )
    for _ in range(matrix.shape[-1].bit_length()):
        walked = reached.to(matrix.dtype)
        reached = walked @ walked > 0
    by_all = reached.all(-2)
    return by_all.to(torch.uint8).argmax(-1), by_all.any(-1)
