"""The sessions of one process as a part of those of all ranks of a process group."""

import hashlib
from typing import TYPE_CHECKING, Any

import torch

from glmhmm_pyro.ranks import ALONE, Ranks

from .construction import DESIGNS
from .naming import names_of

if TYPE_CHECKING:
    from .data import Sequences

# Bytes of a digest that a message takes without rounding.
_BYTES = 6


def spread_over_ranks(data: "Sequences", ranks: Ranks) -> "Sequences":
    """The same data, of which other ranks hold other sessions.

    What is masked or weighted on one rank has a mask or weights on all of them.

    Args:
        data: the sessions of this rank.
        ranks: over which all sessions are spread.

    Raises:
        ValueError: ranks differ in what must be alike, or hold the same session.
    """
    if ranks is ALONE:
        return data
    for argument, said in _facts_to_share(data).items():
        check_alike(ranks, argument, said)
    _check_own(data, ranks)
    changes: dict[str, Any] = {"ranks": ranks}
    of_mask = 0 if data.mask is None else data.mask.dim()
    widest = int(ranks.most(torch.tensor(float(of_mask))))
    if of_mask < widest:
        ones = torch.ones_like(data.emissions, dtype=torch.bool)
        if widest == 1:
            ones = ones.reshape(data.num_steps, -1)[:, 0]
        elif data.mask is not None:
            ones = ones & data.mask[:, None]
        changes["mask"] = ones
    is_weighted = data.session_weights is not None
    if ranks.any(is_weighted) and not is_weighted:
        ones = torch.ones(data.num_sessions, dtype=data.dtype, device=data.device)
        changes["session_weights"] = ones
    return data._derive(**changes)


def check_alike(
    ranks: Ranks, argument: str, said: str, shown: str | None = None
) -> None:
    """Raise a ValueError on all ranks if something is not the same on all of them.

    Args:
        argument: what it is, for the message.
        said: in words, which tell it from others.
        shown: what stands for these in the message.
    """
    found = ranks.by_rank(
        torch.tensor(_hash_number(said), dtype=torch.float64)
    ).tolist()
    others = [rank for rank, one in enumerate(found) if one != found[0]]
    if others:
        raise ValueError(
            f"{argument} must be the same on all ranks, but differ on ranks 0 and "
            f"{others[0]}, got {shown or said:.80} here; give all ranks the same"
        )


def _facts_to_share(data: "Sequences") -> dict[str, str]:
    """What must be the same on all ranks, by the argument that it follows from."""
    columns = {names_of(d): repr(getattr(data, names_of(d))) for d in DESIGNS}
    kind = "numbers" if data.emissions.is_floating_point() else "whole numbers"
    return {
        "emissions": f"{kind} of shape (steps, {data.num_outputs})",
        "emission_names": repr(data.emission_names),
        "class_names": repr(data.class_names),
        **columns,
        "dtype": repr(data.dtype),
        "groups": "given" if data.groups else "none",
    }


def check_groups(data: "Sequences", ranks: Ranks) -> None:
    """Raise a ValueError if two ranks hold sessions of one group, or of no group.

    Args:
        data: the sessions of this rank, before they are spread.
        ranks: over which all sessions are spread.
    """
    named = {group: group for group in data.group_names} or {"": "none"}
    twice = _held_twice(named, ranks)
    if twice is not None:
        raise ValueError(
            "every rank must hold whole groups of sessions where slow states go on "
            f"from one to the next, got group {twice[0]!r} on ranks {ranks.number} and "
            f"{twice[1]}; give each its groups, as in data.subset(groups=list("
            "data.group_names[rank::world_size]))"
        )


def _check_own(data: "Sequences", ranks: Ranks) -> None:
    """Raise a ValueError if two ranks hold the same session."""
    named = {
        repr(o.key()): name for name, o in zip(data.session_names, data.session_origins)
    }
    twice = _held_twice(named, ranks)
    if twice is not None:
        raise ValueError(
            "every rank must hold sessions of its own, got session "
            f"{twice[0]!r} on ranks {ranks.number} and {twice[1]}; give each its part, "
            "as in data.subset(range(rank, data.num_sessions, world_size))"
        )


def _held_twice(named: dict[str, str], ranks: Ranks) -> tuple[str, int] | None:
    """Name of what another rank holds too, and the number of that rank, if any.

    Args:
        named: names by key, of what this rank holds.
        ranks: all of them.
    """
    own = torch.tensor([_hash_number(key) for key in named], dtype=torch.float64)
    most = int(ranks.most(torch.tensor(float(len(own)))))
    padded = torch.full((most,), -1.0, dtype=torch.float64)
    padded[: len(own)] = own
    for rank, others in enumerate(ranks.by_rank(padded)):
        both = torch.isin(own, others) if rank != ranks.number else own < 0
        if both.any():
            return list(named.values())[int(both.nonzero()[0])], rank
    return None


def _hash_number(said: str) -> int:
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:_BYTES], "big")
