"""Chains with more states than the model that they serve.

How long a state has lasted, or which slow state goes with it, makes several states of
the chain out of one state of the model. What every chain state emits as says all that
is needed: sums over the chain states of a state, and the states spread over them.
"""

import torch
from torch import Tensor


class Expansion:
    """Maps states of a chain to states of the model, and back.

    Args:
        emits: state of the model that each chain state emits as, (chain states,);
            ``None`` where the two are the same, and everything is given back as it is.
        num_states: number of states of the model.

    Raises:
        ValueError: a state that no chain state emits as, or one that is not there; or
            states that are only renumbered.

    Example:
        >>> phases = Expansion(torch.tensor([0, 0, 1]), num_states=2)
        >>> phases.fold(torch.tensor([0.1, 0.2, 0.7]))
        tensor([0.3000, 0.7000])
        >>> phases.expand(torch.tensor([5.0, 6.0]))
        tensor([5., 5., 6.])
        >>> phases.enter(torch.tensor([0.4, 0.6]).log()).exp()
        tensor([0.4000, 0.0000, 0.6000])
    """

    def __init__(self, emits: Tensor | None, num_states: int):
        self.num_states = self.num_chain_states = num_states
        self.emits = emits
        if emits is None:
            return
        _check_emits(emits, num_states)
        self.num_chain_states = len(emits)
        if len(emits) == num_states:
            self.emits = None

    def check_even(self) -> None:
        """Raise a ValueError if states have unequal numbers of chain states."""
        numbers = [] if self.emits is None else self.emits.bincount().tolist()
        if len(set(numbers)) > 1:
            raise ValueError(
                "emits must name all states equally often for them to be renumbered, "
                f"got {numbers} times; give all states as many chain states"
            )

    def states(self, path: Tensor) -> Tensor:
        """States that the chain states of a path emit as, of the same shape."""
        return path if self.emits is None else self.emits.to(path.device)[path]

    def expand(self, by_state: Tensor) -> Tensor:
        """Repeat each state's value for all its chain states, along the last axis."""
        if self.emits is None:
            return by_state
        return by_state.index_select(-1, self.emits.to(by_state.device))

    def fold(self, by_chain_state: Tensor) -> Tensor:
        """Sum over the chain states of each state, along the last axis."""
        if self.emits is None:
            return by_chain_state
        nothing = by_chain_state.new_zeros(
            by_chain_state.shape[:-1] + (self.num_states,)
        )
        emits = self.emits.to(by_chain_state.device)
        return nothing.index_add(-1, emits, by_chain_state)

    def fold_first(self, firsts: Tensor) -> Tensor:
        """As :meth:`fold`; values by state of the model stay as they are."""
        return firsts if firsts.shape[-1] == self.num_states else self.fold(firsts)

    def fold_pairs(self, pairs: Tensor) -> Tensor:
        """As :meth:`fold` along the last two axes, for pairs of chain states."""
        return self.fold(self.fold(pairs).mT).mT

    def enter(self, log_probs: Tensor) -> Tensor:
        """First chain states of sessions: every state begins with its first one.

        Args:
            log_probs: of the first state (..., states), or of the first chain state
                already, which is given back as it is.
        """
        if self.emits is None or log_probs.shape[-1] == self.num_chain_states:
            return log_probs
        numbers = torch.arange(self.num_chain_states)
        firsts = [int((self.emits == k).nonzero()[0]) for k in range(self.num_states)]
        is_first = torch.isin(numbers, torch.tensor(firsts)).to(log_probs.device)
        return self.expand(log_probs).masked_fill(~is_first, -torch.inf)

    def spread(self, moves: Tensor, probs: Tensor) -> Tensor:
        """Numbers of moves between states as moves between chain states.

        Those between two states are shared out as the chain would, were all chain
        states of the first one as probable.

        Args:
            moves: shape (..., states, states).
            probs: of the chain, shape (..., chain states, chain states).
        """
        if self.emits is None:
            return moves
        within = self.fold_pairs(probs)
        rates = torch.where(within > 0, moves / within, 0.0)
        return self.expand(self.expand(rates).mT).mT * probs


def _check_emits(emits: Tensor, num_states: int) -> None:
    is_whole = not emits.is_floating_point() and emits.dim() == 1
    if not is_whole or sorted(set(emits.tolist())) != list(range(num_states)):
        raise ValueError(
            "emits must be whole numbers (chain states,) in which every state from 0 "
            f"to {num_states - 1} occurs, got {emits.tolist()}; give the state that "
            "each chain state emits as"
        )
    if len(emits) == num_states and emits.tolist() != list(range(num_states)):
        raise ValueError(
            f"emits must not only renumber the {num_states} states, got "
            f"{emits.tolist()}; leave it out"
        )
