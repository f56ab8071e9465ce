"""What weights vary over: groups, sessions or steps of a data set, or slow states."""

from dataclasses import dataclass

import torch
from torch import Tensor

from glmhmm_pyro.sequences import Sequences

OVER = ("group", "session", "step")

# What emissions of two levels vary over: a unit is a state, whichever steps are in it.
SLOW = "slow"


@dataclass(frozen=True)
class Units:
    """The units of a data set, in their order.

    Attributes:
        of_session: number of every session's unit, or of its first step's.
        lengths: numbers of steps of the sessions.
        follows: whether a unit goes on from the one before it, in its group.
        borders: whether it does so across a border of sessions.
        over: what the units are.
    """

    of_session: Tensor
    lengths: Tensor
    follows: Tensor
    borders: Tensor
    over: str

    def __len__(self) -> int:
        return len(self.follows)

    @classmethod
    def of(cls, data: Sequences, over: str) -> "Units":
        """The units of these data.

        Raises:
            ValueError: they are groups, and the data have none.
        """
        lengths, number = data.lengths, data.num_sessions
        groups = data.groups or ("",) * number
        known = {group: i for i, group in enumerate(dict.fromkeys(groups))}
        by_group = torch.tensor([known[g] for g in groups], device=lengths.device)
        goes_on = torch.zeros(number, dtype=torch.bool, device=lengths.device)
        goes_on[1:] = by_group[1:] == by_group[:-1]
        if over == "group":
            if data.groups is None:
                raise ValueError(
                    "data must have groups for weights that vary over them, got none; "
                    "give groups to Sequences, or group= to Sequences.from_dataframe"
                )
            none = torch.zeros(len(known), dtype=torch.bool, device=lengths.device)
            return cls(by_group, lengths, none, none, over)
        if over == "session":
            every = torch.arange(number, device=lengths.device)
            return cls(every, lengths, goes_on, goes_on, over)
        follows = torch.ones(data.num_steps, dtype=torch.bool, device=lengths.device)
        follows[data.starts] = goes_on
        borders = torch.zeros_like(follows)
        borders[data.starts] = goes_on
        return cls(data.starts, lengths, follows, borders, over)

    @classmethod
    def of_states(cls, number: int, device: torch.device) -> "Units":
        """So many slow states, which have neither sessions nor an order."""
        none = torch.zeros(number, dtype=torch.bool, device=device)
        no_session = torch.zeros(0, dtype=torch.long, device=device)
        return cls(no_session, no_session, none, none, SLOW)

    def of_steps(self) -> Tensor:
        """Number of every step's unit, shape (steps,)."""
        if self.over == "step":
            return torch.arange(len(self), device=self.follows.device)
        return self.of_session.repeat_interleave(self.lengths)

    def rows(self, session: int) -> range:
        """Numbers of the units of a session."""
        first = int(self.of_session[session])
        number = int(self.lengths[session]) if self.over == "step" else 1
        return range(first, first + number)
