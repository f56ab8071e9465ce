"""The processes over which the sessions of one data set are spread.

A fit runs alike in all of them. What it sums over steps, or asks of all of them, it has
summed here: with one process that is the number itself, in a process group of
``torch.distributed`` the sum over its ranks, to the same bits in each. So all ranks
take the same decisions, and there is nothing else that they tell one another.

Every message says at its head whether a rank has raised an error, and how many numbers
follow. A rank that fails says so in the place of its next message, and the others raise
an error that quotes it instead of waiting.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Summed = TypeVar("Summed", int, float, np.ndarray, Tensor)

# Numbers of a message that are sent at once, the rest of a longer one after them.
_FRAME = 512

# Numbers at its head: ranks that fail, how many numbers follow, and that squared.
_HEAD = 3

# Bytes of a sentence that one rank may tell the others.
_SENTENCE = 600


class RankError(Exception):
    """What a rank raises where another one has failed, or is lost."""


class Ranks:
    """One process that holds all sessions.

    Attributes:
        number: the rank of this process.
        size: how many processes there are.
    """

    number, size = 0, 1

    def total(self, value: Summed) -> Summed:
        """Sum over all ranks, of the type and shape of what this one gives."""
        return value

    def totals(self, *values: Summed) -> tuple[Summed, ...]:
        """Those of several values, by one message."""
        return values

    def by_rank(self, value: Tensor) -> Tensor:
        """What every rank gives, in their order, shape (ranks, *shape)."""
        return value[None]

    def before(self, value: int) -> int:
        """Sum over the ranks before this one."""
        return int(self.by_rank(torch.tensor(value))[: self.number].sum())

    def joined(self, rows: np.ndarray) -> np.ndarray:
        """Rows (steps, ...) of all ranks, one rank's after another's."""
        return rows

    def here(self, number: int) -> slice:
        """Where so many rows of this rank stand among those of all."""
        first = self.before(number)
        return slice(first, first + number)

    def most(self, value: Tensor) -> Tensor:
        """Largest over all ranks, number by number."""
        return self.by_rank(value).amax(0)

    def least(self, value: Tensor) -> Tensor:
        """Smallest over all ranks, number by number."""
        return self.by_rank(value).amin(0)

    def first(self, *values: Tensor) -> tuple[Tensor, ...]:
        """The values of rank 0, on all ranks."""
        own = values if not self.number else map(torch.zeros_like, values)
        return self.totals(*own)

    def any(self, is_so: bool) -> bool:
        """Whether it is so on any rank."""
        return bool(self.most(torch.tensor(float(is_so))))

    def shared(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Values that are the same on all ranks, for a sum to be differentiated by."""
        return values

    def summed(self, value: Tensor) -> Tensor:
        """:meth:`total` of what depends on :meth:`shared` values, with its slopes."""
        return value

    def sentences(self, said: str) -> list[str]:
        """What every rank says, in their order, up to some length."""
        return [said]

    @contextmanager
    def together(self) -> "Iterator[Ranks]":
        """Inside, an error of one rank is raised in all of them."""
        yield self


ALONE = Ranks()


class Group(Ranks):
    """The ranks of a process group.

    Args:
        group: of ``torch.distributed``, which this process is a rank of.
    """

    def __init__(self, group: "ProcessGroup"):
        import torch.distributed as dist

        self.group, self._reduce = group, dist.all_reduce
        self.number, self.size = dist.get_rank(group), dist.get_world_size(group)
        on_gpu = dist.get_backend(group) == "nccl"
        self.device = torch.device("cuda" if on_gpu else "cpu")
        self.lost: RankError | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Group":
        return self

    def total(self, value: Summed) -> Summed:
        """Sum over all ranks, of the type and shape of what this one gives."""
        (found,) = self.totals(value)
        return found

    def totals(self, *values: Summed) -> tuple[Summed, ...]:
        """Those of several values, by one message."""
        # A float of Python is a float64 to numpy, and none to torch.
        tensors = [
            v if isinstance(v, Tensor) else torch.as_tensor(np.asarray(v))
            for v in values
        ]
        flat = [t.detach().to(self.device, torch.float64).reshape(-1) for t in tensors]
        sums = self._sum(torch.cat(flat)).split([len(one) for one in flat])
        return tuple(
            _as_type_of(value, one.reshape(tensor.shape).to(tensor))
            for value, tensor, one in zip(values, tensors, sums)
        )

    def by_rank(self, value: Tensor) -> Tensor:
        """What every rank gives, in their order, shape (ranks, *shape)."""
        rows = value.new_zeros(self.size, *value.shape)
        rows[self.number] = value
        return self.total(rows)

    def joined(self, rows: np.ndarray) -> np.ndarray:
        """Rows (steps, ...) of all ranks, one rank's after another's."""
        whole = np.zeros((self.total(len(rows)), *rows.shape[1:]))
        whole[self.here(len(rows))] = rows
        return self.total(whole)

    def shared(self, *values: Tensor) -> tuple[Tensor, ...]:
        """The values; slopes by them are summed over all ranks."""
        found: tuple[Tensor, ...] = _Shared.apply(self, *values)
        return found

    def summed(self, value: Tensor) -> Tensor:
        """Sum over all ranks, whose slope by each one's share is 1."""
        (found,) = _Summed.apply(self, value)
        return found

    def sentences(self, said: str) -> list[str]:
        """What every rank says, in their order, up to some length."""
        return _decoded(self._sum(self._encoded(said)), self.size)

    @contextmanager
    def together(self) -> Iterator[Ranks]:
        """Inside, an error of one rank is raised in all of them."""
        try:
            yield self
            # One that fails after the last message of the others still finds them here.
            self._sum(torch.zeros(0))
        except RankError:
            raise
        except BaseException as error:
            if self.lost is None:
                self._tell(f"{type(error).__name__}: {error}")
            raise

    def _sum(self, values: Tensor) -> Tensor:
        """Sum of vectors (numbers,) of one length over all ranks.

        Raises:
            RankError: a rank has failed, is lost, or is at another place of the fit;
                from then on always.
        """
        if self.lost is not None:
            raise self.lost
        frame = torch.zeros(_FRAME, dtype=torch.float64, device=self.device)
        number = len(values)
        frame[1], frame[2] = number, number**2
        frame[_HEAD : _HEAD + number] = values[: _FRAME - _HEAD]
        self._send(frame)
        if frame[0] > 0:
            said = filter(None, self._exchanged(""))
            self._lose(RankError("; ".join(said)))
        # All alike if their squares have the square of the mean for a mean.
        if frame[1] != self.size * number or frame[2] != self.size * number**2:
            self._lose(
                RankError(
                    "all ranks must make the same call with the same options, but they "
                    "are at different places of it; or one was interrupted"
                )
            )
        found = frame[_HEAD : _HEAD + number]
        if len(found) < number:
            rest = values[len(found) :].to(frame)
            self._send(rest)
            found = torch.cat([found, rest])
        return found

    def _send(self, frame: Tensor) -> None:
        """Have a message summed over all ranks, in place."""
        try:
            self._reduce(frame, group=self.group)
        except RuntimeError as error:
            self._lose(
                RankError(
                    "a rank of the process group does not answer; it has ended, or did "
                    f"not come to this call within the group's timeout ({error})"
                ),
                error,
            )

    def _lose(self, found: RankError, cause: Exception | None = None) -> None:
        self.lost = found
        raise found from cause

    def _tell(self, said: str) -> None:
        """Say to all others, in the place of the next message, that this rank fails."""
        frame = torch.zeros(_FRAME, dtype=torch.float64, device=self.device)
        frame[0] = 1
        try:
            self._send(frame)
            self._exchanged(f"rank {self.number} raised {said}")
        except RankError:
            pass  # Its own error is the one to be seen.

    def _exchanged(self, said: str) -> list[str]:
        """Sentences of all ranks, where one has failed."""
        rows = self._encoded(said)
        self._send(rows)
        return _decoded(rows, self.size)

    def _encoded(self, said: str) -> Tensor:
        """A sentence as numbers, in this rank's place among those of all."""
        rows = torch.zeros(self.size * _SENTENCE, dtype=torch.float64)
        letters = list(said.encode()[:_SENTENCE])
        first = self.number * _SENTENCE
        rows[first : first + len(letters)] = torch.tensor(letters, dtype=torch.float64)
        return rows.to(self.device)


def ranks_of(group: "ProcessGroup | str | None") -> Ranks:
    """The ranks of a process group; of ``None``, this process alone.

    Args:
        group: of ``torch.distributed``; ``"world"`` is its default one.

    Raises:
        ValueError: it is none, or this process is no rank of it.
    """
    if group is None:
        return ALONE
    import torch.distributed as dist

    is_default = group == "world" and dist.is_available() and dist.is_initialized()
    found: Any = dist.group.WORLD if is_default else group
    is_group = dist.is_available() and isinstance(found, dist.ProcessGroup)
    if not is_group or dist.get_rank(found) < 0:
        raise ValueError(
            "process_group must be 'world', or a process group of torch.distributed, "
            f"with this process in it, got {group!r:.80}; call "
            "torch.distributed.init_process_group first"
        )
    return Group(found)


def _as_type_of(value: int | float | np.ndarray | Tensor, found: Tensor) -> Any:
    """A sum as the type of what was summed."""
    if isinstance(value, Tensor):
        return found
    return found.numpy() if isinstance(value, np.ndarray) else found.item()


def _decoded(rows: Tensor, size: int) -> list[str]:
    """Sentences of all ranks, from their letters."""
    letters = rows.reshape(size, -1).to("cpu", torch.uint8).numpy()
    return [bytes(row[row > 0]).decode(errors="ignore") for row in letters]


class _Kept(Protocol):
    """What the backward passes read."""

    group: Group


class _OverRanks(torch.autograd.Function):
    """A function of a group and of values, which says how it goes by vmap."""

    @staticmethod
    def setup_context(
        ctx: _Kept, inputs: tuple[Any, ...], output: tuple[Tensor, ...]
    ) -> None:
        ctx.group = inputs[0]

    @classmethod
    def vmap(
        cls,
        info: NamedTuple,
        in_dims: tuple[int | None, ...],
        group: Group,
        *values: Tensor,
    ) -> tuple[Any, tuple[int | None, ...]]:
        return cls.apply(group, *values), in_dims[1:]


class _Shared(_OverRanks):
    """Values as they are, and slopes by them summed over all ranks.

    With :class:`_Summed`, each the derivative of the other, derivatives of any order of
    a sum over ranks are those of the whole sum.
    """

    @staticmethod
    def forward(group: Group, *values: Tensor) -> tuple[Tensor, ...]:
        return tuple(value.clone() for value in values)

    @staticmethod
    def backward(ctx: _Kept, *slopes: Tensor) -> tuple[Any, ...]:
        return None, *_Summed.apply(ctx.group, *slopes)


class _Summed(_OverRanks):
    """Values summed over all ranks, and slopes as they are."""

    @staticmethod
    def forward(group: Group, *values: Tensor) -> tuple[Tensor, ...]:
        return group.totals(*values)

    @staticmethod
    def backward(ctx: _Kept, *slopes: Tensor) -> tuple[Any, ...]:
        return None, *_Shared.apply(ctx.group, *slopes)
