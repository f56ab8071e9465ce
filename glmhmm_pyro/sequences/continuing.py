"""Which sessions of a data set go on from the ones before them."""

import functools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .sessions import Known, rows_of_sessions, sessions_of

if TYPE_CHECKING:
    from .data import Sequences


def go_on(data: "Sequences") -> Tensor:
    """Whether each session goes on from the one before it in its group, (sessions,).

    Sessions without groups are those of one group. A copy of a session that has been
    there before, as a bootstrap and a simulation have some, begins anew.

    Raises:
        ValueError: sessions of one group are apart, with others between them.
    """
    return torch.tensor(_go_on(sessions_of(data)), device=data.device)


# A fit asks of the same sessions thousands of times.
@functools.lru_cache(maxsize=16)
def _go_on(sessions: tuple[Known, ...]) -> tuple[bool, ...]:
    goes_on: list[bool] = []
    run: set[object] = set()
    seen: dict[str | None, set[object]] = {}
    group: str | None = None
    for name, origin in sessions:
        key, before = origin.key(), seen.setdefault(origin.group, set())
        is_next = bool(run) and origin.group == group and key not in run
        if not is_next:
            _check_consecutive(name, origin.group, key in before or not before)
            run, group = set(), origin.group
        run.add(key)
        before.add(key)
        goes_on.append(is_next)
    return tuple(goes_on)


def _check_consecutive(name: str, group: str | None, is_first: bool) -> None:
    if not is_first:
        raise ValueError(
            "data must have the sessions of a group next to each other, in the order "
            "of time, where slow states go on from one to the next, got session "
            f"{name!r} of group {group!r} apart from the others; put each group's "
            "together: data.subset(groups=list(data.group_names))"
        )


def check_order(data: "Sequences", goes_on: Tensor, known: tuple[Known, ...]) -> None:
    """Raise a ValueError if sessions go on from others than in the data fitted.

    Args:
        data: later data.
        goes_on: which of its sessions go on from the one before.
        known: the sessions fitted.
    """
    if not known or not goes_on.any():
        return
    places, _ = rows_of_sessions(known, sessions_of(data))
    for session in goes_on.nonzero().flatten().tolist():
        one, other = places[session - 1], places[session]
        if one is None or other is None or other == one + 1:
            continue
        names = data.session_names[session - 1 : session + 1]
        what = "follows" if other < one else "follows, without those between them,"
        raise ValueError(
            "data must have sessions that go on from one another as those fitted do, "
            f"got {names[1]!r}, which {what} {names[0]!r}; keep their order, and mask "
            "the emissions of sessions that are not to count: data.with_mask(...)"
        )
